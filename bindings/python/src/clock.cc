#include "clock.h"

#include <cmath>

namespace weir::python {
namespace {

constexpr double kNsPerS = 1e9;

// Asks a Python callable for seconds. What it raises is reported as unraisable, and the last time
// counts; Ctrl-C reaches the caller.
class CallableClock final : public Clock {
 public:
  explicit CallableClock(py::handle seconds) : seconds_(seconds) {}
  int64_t now_ns() const noexcept override {
    const PyGILState_STATE gil = PyGILState_Ensure();
    PyObject* value = PyObject_CallNoArgs(seconds_.ptr());
    const double seconds = value == nullptr ? -1.0 : PyFloat_AsDouble(value);
    Py_XDECREF(value);
    if (PyErr_Occurred() == nullptr) {
      if (const double ns = seconds * kNsPerS; std::fabs(ns) < 9e18) {
        last_ns_ = std::max(last_ns_, static_cast<int64_t>(std::llround(ns)));
      }
    } else if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
      PyErr_Clear();
      PyErr_SetInterrupt();  // again, once the engine is left
    } else {
      PyErr_WriteUnraisable(seconds_.ptr());
    }
    const int64_t now = last_ns_;
    PyGILState_Release(gil);
    return now;
  }

 private:
  py::handle seconds_;                       // Home keeps it
  mutable int64_t last_ns_ = INT64_MIN / 2;  // guarded by the GIL
};

int64_t NanosecondsOf(double seconds) {
  if (!(std::fabs(seconds) < 9e9)) throw py::value_error("seconds: out of range");
  return std::llround(seconds * kNsPerS);
}

}  // namespace

ChosenClock ChooseClock(const py::object& clock) {
  if (clock.is_none()) return {nullptr, py::none(), &SystemClock()};
  if (py::isinstance<ManualClock>(clock)) return {nullptr, clock, clock.cast<const ManualClock*>()};
  if (PyCallable_Check(clock.ptr()) == 0) {
    RaiseType("clock", clock, "a callable that returns seconds, a ManualClock or None");
  }
  auto owned = std::make_unique<CallableClock>(clock);
  const Clock* time = owned.get();
  return {std::move(owned), clock, time};
}

void AddClock(py::module_& module) {
  py::class_<ManualClock>(module, "ManualClock", py::module_local(),
                          "A clock that moves only when told to, for tests and simulations.")
      .def(py::init([](double start_s) {
             return std::make_unique<ManualClock>(NanosecondsOf(start_s));
           }),
           py::arg("start_s") = 0.0)
      .def(
          "advance",
          [](ManualClock& clock, double step_s) {
            if (step_s < 0) throw py::value_error("step_s: negative, expected >= 0");
            clock.Advance(NanosecondsOf(step_s));
          },
          py::arg("step_s"), "Moves the clock on by step_s seconds.")
      .def(
          "__call__", [](const ManualClock& clock) { return double(clock.now_ns()) / kNsPerS; },
          "The time in seconds.");
}

}  // namespace weir::python
