// Statuses as Python exceptions, one class per code.
#include "native.h"

namespace weir::python {
namespace {

// weir.errors; borrowed from sys.modules at import, kept forever.
py::handle errors_module;

}  // namespace

py::handle ErrorClass(const char* name) {
  return py::object(errors_module.attr(name))
      .release();  // a class: one more reference harms nobody
}

py::object ErrorOf(const absl::Status& status) {
  return errors_module.attr("from_code")(status.raw_code(), std::string(status.message()));
}

void Raise(const char* name, const std::string& text) {
  py::object error = errors_module.attr(name);
  PyErr_SetString(error.ptr(), text.c_str());
  throw py::error_already_set();
}

void RaiseType(const std::string& what, py::handle value, const char* expected) {
  throw py::type_error(what + ": " + Py_TYPE(value.ptr())->tp_name + ", expected " + expected);
}

void Check(const absl::Status& status) {
  if (!status.ok()) throw StatusError(status);
}

std::string_view Utf8(py::handle value, const char* what) {
  if (!PyUnicode_Check(value.ptr())) RaiseType(what, value, "str");
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

void AddErrors(py::module_&) {
  errors_module = py::module_::import("weir.errors").release();
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const StatusError& error) {
      const py::object raised = ErrorOf(error.status());
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
    }
  });
}

}  // namespace weir::python
