// weir._native: the engine of weir for Python. The package weir documents it.
#include "native.h"
#include "weir/plugin/abi.h"

namespace weir::python {
namespace {

py::dict BuildInfo() {
  py::dict info;
  info["version"] = WEIR_VERSION;
  info["plugin_abi"] = std::to_string(WEIR_ABI_MAJOR) + "." + std::to_string(WEIR_ABI_MINOR);
  info["compiler"] = WEIR_COMPILER;
  info["build_type"] = WEIR_BUILD_TYPE;
  info["python"] = PY_VERSION;
  info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." +
                     std::to_string(PYBIND11_VERSION_MINOR) + "." +
                     PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
#ifdef WEIR_DCHECKS
  info["checks"] = true;
#else
  info["checks"] = false;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "The native part of weir; use the package weir.";
  AddErrors(module);
  AddLifecycle(module);
  AddClock(module);
  AddDecision(module);
  AddFlight(module);
  AddPool(module);
  AddPlugin(module);
  AddRouter(module);
  AddArrow(module);
  AddSim(module);
  module.attr("version") = WEIR_VERSION;
  module.attr("abi_version") = py::make_tuple(WEIR_ABI_MAJOR, WEIR_ABI_MINOR);
  module.def("build_info", BuildInfo, "How this module was built.");
}

}  // namespace weir::python
