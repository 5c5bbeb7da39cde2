// clock.h: clocks that Python gives a router.
#pragma once

#include <memory>

#include "native.h"

namespace weir::python {

// What the option clock= says. None: the machine's monotonic clock.
struct ChosenClock {
  std::unique_ptr<const Clock> owned;
  py::object keep;  // the Python object behind `time`
  const Clock* time = nullptr;
};
// Raises TypeError if it is neither None, nor a ManualClock, nor callable.
ChosenClock ChooseClock(const py::object& clock);

}  // namespace weir::python
