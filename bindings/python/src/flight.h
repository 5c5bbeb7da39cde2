// flight.h: a weir::Flight that keeps its router alive.
#pragma once

#include <memory>

#include "native.h"

namespace weir::python {

class FlightView {
 public:
  FlightView(std::shared_ptr<Home> home, weir::Flight flight)
      : home_(std::move(home)), flight_(std::move(flight)) {}
  FlightView(FlightView&&) noexcept = default;
  FlightView& operator=(FlightView&&) = delete;
  ~FlightView();

  bool active() const { return static_cast<bool>(flight_); }
  // Both raise ForkedError, and do nothing when the flight has ended.
  void FirstToken();
  void Finish(const Usage& usage, End end);

 private:
  void Require() const;

  std::shared_ptr<Home> home_;  // before the flight, which dies first
  weir::Flight flight_;
};

}  // namespace weir::python
