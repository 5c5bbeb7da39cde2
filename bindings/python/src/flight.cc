// A request on its way, as a context manager.
#include "flight.h"

#include <cstring>

namespace weir::python {
namespace {

End EndOf(std::string_view name) {
  if (name == "completed") return End::kCompleted;
  if (name == "client_gone") return End::kClientGone;
  if (name == "failed") return End::kFailed;
  throw py::value_error("end: '" + std::string(name) +
                        "', expected 'completed', 'client_gone' or 'failed'");
}

int64_t TokensOf(const char* name, int64_t count) {
  if (count >= -1) return count;
  throw py::value_error(std::string(name) + ": " + std::to_string(count) +
                        ", expected >= 0, or -1 if it is not known");
}

// A task that was cancelled lost its client.
End EndOfException(const py::object& type) {
  if (type.is_none() || PyType_Check(type.ptr()) == 0) return End::kFailed;
  const char* name = reinterpret_cast<PyTypeObject*>(type.ptr())->tp_name;
  const bool left =
      std::strcmp(name, "CancelledError") == 0 || std::strcmp(name, "GeneratorExit") == 0;
  return left ? End::kClientGone : End::kFailed;
}

py::object Ready(const py::object& value) {
  return py::module_::import("weir._tables").attr("ready")(value);
}

}  // namespace

FlightView::~FlightView() {
  // In the child of a fork an observer may wait for a lock that nobody will give back.
  if (home_ != nullptr && home_->forked()) new weir::Flight(std::move(flight_));
}

void FlightView::FirstToken() {
  Require();
  flight_.FirstToken();
}

void FlightView::Finish(const Usage& usage, End end) {
  Require();
  flight_.Finish(usage, end);
}

void FlightView::Require() const {
  if (home_->forked()) Raise("ForkedError", "this flight began before fork(); it is its parent's");
}

void AddFlight(py::module_& module) {
  py::class_<FlightView>(
      module, "Flight", py::module_local(),
      "A request in flight: counted on its endpoint until finish() or the end of its `with` "
      "block.\n\n"
      "Leaving the block without finish(), by an exception or not, ends it as failed; a task that\n"
      "is cancelled ends it as client_gone.")
      .def_property_readonly(
          "active", [](const FlightView& self) { return self.active(); },
          "False once it has ended.")
      .def("first_token", &FlightView::FirstToken,
           "The first token, or the first byte, came. Later calls do nothing.")
      .def(
          "finish",
          [](FlightView& self, int64_t prompt, int64_t cached, int64_t output,
             std::string_view end) {
            self.Finish({TokensOf("prompt_tokens", prompt), TokensOf("cached_tokens", cached),
                         TokensOf("output_tokens", output)},
                        EndOf(end));
          },
          py::kw_only(), py::arg("prompt_tokens") = -1, py::arg("cached_tokens") = -1,
          py::arg("output_tokens") = -1, py::arg("end") = "completed",
          "Ends the flight; -1 where the engine did not say. Later calls do nothing.")
      .def("__enter__", [](const py::object& self) { return self; })
      .def("__exit__", [](FlightView& self, const py::object& type, const py::object&,
                          const py::object&) { self.Finish({}, EndOfException(type)); })
      .def("__aenter__", [](const py::object& self) { return Ready(self); })
      .def("__aexit__",
           [](FlightView& self, const py::object& type, const py::object&, const py::object&) {
             self.Finish({}, EndOfException(type));
             return Ready(py::none());
           });
}

}  // namespace weir::python
