// weir/plugin/observer.h: feedback from requests in flight.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// Which endpoints a decision chose; element 0 is the primary profile. [hot]
class Choice {
 public:
  explicit Choice(const weir_choice* choice) noexcept : choice_(choice) {}
  uint32_t count() const noexcept { return choice_->count; }
  uint32_t slot(uint32_t index) const noexcept { return choice_->slots[index]; }
  // Index into the batch that Produce and Begin see.
  uint32_t batch_index(uint32_t index) const noexcept { return choice_->batch_indices[index]; }
  std::string_view profile_name(uint32_t index) const noexcept {
    return View(choice_->profile_names[index]);
  }

 private:
  const weir_choice* choice_;
};

// T has (each is found by its presence):
//   using RequestState = ...; using FlightState = ...;   trivially copyable, zero-initialised
//   void Begin(const Request&, const Batch&, const Choice&, const RequestState*, FlightState*)
//   void FirstToken(FlightState*)
//   void End(FlightState*, const weir_usage& usage)
//   void EndpointRemoved(uint32_t slot)
// Begin runs when a request goes to its endpoint, End exactly once for each Begin, FirstToken at
// most once between them. RequestState is null if Produce failed. [hot, concurrent]
template <class T>
struct ObserverTable {
  struct None {};
  template <class U, class = void>
  struct RequestStateOf {
    using type = None;
  };
  template <class U>
  struct RequestStateOf<U, std::void_t<typename U::RequestState>> {
    using type = typename U::RequestState;
  };
  template <class U, class = void>
  struct FlightStateOf {
    using type = None;
  };
  template <class U>
  struct FlightStateOf<U, std::void_t<typename U::FlightState>> {
    using type = typename U::FlightState;
  };
  using RequestState = typename RequestStateOf<T>::type;
  using FlightState = typename FlightStateOf<T>::type;
  static_assert(std::is_trivially_copyable_v<RequestState>);
  static_assert(std::is_trivially_copyable_v<FlightState> && sizeof(FlightState) <= 64);
  static constexpr uint64_t kRequestStateBytes =
      std::is_same_v<RequestState, None> ? 0 : sizeof(RequestState);
  static constexpr uint32_t kFlightStateBytes =
      std::is_same_v<FlightState, None> ? 0 : sizeof(FlightState);

  template <class U, class = void>
  struct HasBegin : std::false_type {};
  template <class U>
  struct HasBegin<U, std::void_t<decltype(&U::Begin)>> : std::true_type {};
  template <class U, class = void>
  struct HasFirstToken : std::false_type {};
  template <class U>
  struct HasFirstToken<U, std::void_t<decltype(&U::FirstToken)>> : std::true_type {};
  template <class U, class = void>
  struct HasEnd : std::false_type {};
  template <class U>
  struct HasEnd<U, std::void_t<decltype(&U::End)>> : std::true_type {};
  template <class U, class = void>
  struct HasEndpointRemoved : std::false_type {};
  template <class U>
  struct HasEndpointRemoved<U, std::void_t<decltype(&U::EndpointRemoved)>> : std::true_type {};
  static constexpr bool kObserves = HasBegin<T>::value || HasFirstToken<T>::value ||
                                    HasEnd<T>::value || HasEndpointRemoved<T>::value;

  static void Begin(void* self, const weir_call* call, const weir_request* request,
                    const weir_batch* batch, const weir_choice* choice, const void* request_state,
                    void* flight_state) noexcept {
    try {
      static_cast<T*>(self)->Begin(Request(request), Batch(call, batch), Choice(choice),
                                   static_cast<const RequestState*>(request_state),
                                   static_cast<FlightState*>(flight_state));
    } catch (...) {
    }
  }
  static void FirstToken(void* self, void* flight_state) noexcept {
    try {
      static_cast<T*>(self)->FirstToken(static_cast<FlightState*>(flight_state));
    } catch (...) {
    }
  }
  static void End(void* self, void* flight_state, const weir_usage* usage) noexcept {
    try {
      static_cast<T*>(self)->End(static_cast<FlightState*>(flight_state), *usage);
    } catch (...) {
    }
  }
  static void EndpointRemoved(void* self, uint32_t slot) noexcept {
    try {
      static_cast<T*>(self)->EndpointRemoved(slot);
    } catch (...) {
    }
  }

  static constexpr weir_observer MakeTable() {
    weir_observer table{
        sizeof(weir_observer), kFlightStateBytes, nullptr, nullptr, nullptr, nullptr};
    if constexpr (HasBegin<T>::value) table.begin = Begin;
    if constexpr (HasFirstToken<T>::value) table.first_token = FirstToken;
    if constexpr (HasEnd<T>::value) table.end = End;
    if constexpr (HasEndpointRemoved<T>::value) table.endpoint_removed = EndpointRemoved;
    return table;
  }
  static constexpr weir_observer kTable = MakeTable();
};

}  // namespace weir::plugin
