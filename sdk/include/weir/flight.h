// weir/flight.h: a request on its way. Feedback to the engine goes through it.
#pragma once

#include <cstdint>

namespace weir {

namespace internal {
struct FlightState;
}  // namespace internal

// How a request ended. -1 where the engine did not say.
struct Usage {
  int64_t prompt_tokens = -1;
  int64_t cached_tokens = -1;
  int64_t output_tokens = -1;
};

enum class End : uint32_t { kCompleted = 0, kClientGone = 1, kFailed = 2 };

// Counts the request as in flight until Finish or the destructor, on every path. Movable; the
// router must outlive it. One thread at a time. [hot]
class Flight {
 public:
  Flight() noexcept = default;
  Flight(Flight&& other) noexcept;
  Flight& operator=(Flight&& other) noexcept;
  // Ends as kFailed if it has not ended.
  ~Flight();

  // False for a default-constructed, moved-from or ended flight.
  explicit operator bool() const noexcept { return state_ != nullptr; }

  // The first token (or the first body byte) came. Later calls do nothing.
  void FirstToken() noexcept;
  // Ends the flight. Later calls do nothing.
  void Finish(const Usage& usage = {}, End end = End::kCompleted) noexcept;

 private:
  friend class Router;
  explicit Flight(internal::FlightState* state) noexcept : state_(state) {}
  internal::FlightState* state_ = nullptr;
};

}  // namespace weir
