// capi/handles.h: what stands behind the handles of weir/c/weir.h, and how its functions check what
// they are given and say what went wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "weir/c/weir.h"
#include "weir/clock.h"
#include "weir/decision.h"
#include "weir/flight.h"
#include "weir/intake.h"
#include "weir/router.h"

namespace weir::capi {

// The embedder's clock.
class CallbackClock final : public Clock {
 public:
  CallbackClock(int64_t (*now_ns)(void*), void* context) : now_ns_(now_ns), context_(context) {}
  int64_t now_ns() const noexcept override { return now_ns_(context_); }

 private:
  int64_t (*const now_ns_)(void*);
  void* const context_;
};

}  // namespace weir::capi

struct weir_router {
  // Of the embedder, its decisions, flights and intakes: the last one deletes.
  std::atomic<uint64_t> holders{1};
  std::optional<weir::capi::CallbackClock> clock;
  std::optional<weir::Router> router;
};

namespace weir::capi {

inline weir_str Str(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view View(weir_str text) { return {text.data, text.size}; }
inline bool IsValid(weir_str text) { return text.data != nullptr || text.size == 0; }

inline weir_router* Hold(const weir_router* router) noexcept {
  auto* held = const_cast<weir_router*>(router);
  held->holders.fetch_add(1, std::memory_order_relaxed);
  return held;
}
inline void LetGo(weir_router* router) noexcept {
  if (router->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete router;
}

// Stores the text as weir_buffer says. False if it was cut.
bool Store(std::string_view text, weir_buffer* buffer) noexcept;
// The same for an error; `error` may be null.
weir_code Fail(weir_buffer* error, weir_code code, std::string_view text) noexcept;
weir_code Fail(weir_buffer* error, const absl::Status& status) noexcept;
// WEIR_INVALID_ARGUMENT: "<what>: <problem>".
weir_code Refuse(weir_buffer* error, std::string_view what, std::string_view problem) noexcept;

// A text as the result of a call.
weir_code Answer(std::string_view text, weir_buffer* buffer) noexcept;

// Runs the body of a function of the API: no exception leaves it.
template <class Body>
weir_code Guarded(weir_buffer* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Fail(error, WEIR_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& problem) {
    return Fail(error, WEIR_INTERNAL, problem.what());
  } catch (...) {
    return Fail(error, WEIR_INTERNAL, "unknown exception");
  }
}

// Whether a struct of the caller's is one that this library knows. `size_bytes_min`: of API 1.0.
inline bool IsKnownSize(uint32_t struct_size, size_t size_bytes_min, size_t size_bytes) {
  return struct_size >= size_bytes_min && struct_size <= size_bytes;
}
weir_code RefuseSize(weir_buffer* error, const char* type, uint32_t struct_size,
                     size_t size_bytes) noexcept;

// A decision or a flight in the caller's memory: the C++ handle in the first word, its router in
// the second, which is null when there is none. Both C++ handles are one pointer, so that copying
// the bytes moves them.
template <class Handle, class Slot>
Handle& In(Slot& slot) noexcept {
  static_assert(sizeof(Handle) == sizeof(void*) && alignof(Handle) == alignof(void*));
  return *std::launder(reinterpret_cast<Handle*>(&slot.opaque[0]));
}
template <class Handle, class Slot>
const Handle& In(const Slot& slot) noexcept {
  return *std::launder(reinterpret_cast<const Handle*>(&slot.opaque[0]));
}
template <class Slot>
weir_router* RouterOf(const Slot& slot) noexcept {
  return static_cast<weir_router*>(slot.opaque[1]);
}
template <class Handle, class Slot>
void Put(Handle handle, const weir_router* router, Slot& slot) noexcept {
  new (&slot.opaque[0]) Handle(std::move(handle));
  slot.opaque[1] = Hold(router);
}
// Takes the handle out; the slot is empty then. REQUIRES: it is not.
template <class Handle, class Slot>
void Clear(Slot& slot) noexcept {
  weir_router* router = RouterOf(slot);
  In<Handle>(slot).~Handle();
  slot = {};
  LetGo(router);
}

// Decides into the caller's memory, and lets go of the request's.
weir_code DecideInto(const weir_router& router, const Request& request, weir_decision& decision,
                     weir_buffer* error);

}  // namespace weir::capi
