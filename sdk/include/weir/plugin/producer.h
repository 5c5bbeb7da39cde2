// weir/plugin/producer.h: computes columns that filters, scorers and other producers read.
#pragma once

#include "weir/plugin/observer.h"
#include "weir/plugin/plugin.h"

namespace weir::plugin {

// What a producer fills.
class Output {
 public:
  Output(const weir_call* call, void* const* columns) noexcept : call_(call), columns_(columns) {}
  // The column of the attribute declared as number `index`: batch.count() elements, preset with
  // zero bytes. REQUIRES: declared with Writes, and T has the declared size.
  template <class T>
  T* column(uint32_t index) const noexcept {
    return static_cast<T*>(columns_[index]);
  }
  // Gives prompt `prompt` its tokens, in memory of call.allocate or of the prompt's own text.
  // REQUIRES: declared Writes(kTokenizedPrompt).
  void SetTokens(uint64_t prompt, const uint32_t* tokens, uint64_t token_count) const {
    if (call_->host->set_tokens(call_, prompt, tokens, token_count) != WEIR_OK) {
      throw std::runtime_error("set_tokens refused");
    }
  }

 private:
  const weir_call* call_;
  void* const* columns_;
};

// T has: void Produce(const Request&, const Batch&, const Output&, RequestState*) const, where
// RequestState is T::RequestState (see observer.h) or, if T has none, the last parameter is absent.
// The batch holds all candidates. To report failure, throw. [hot, concurrent]
template <class T>
struct ProducerTable {
  using RequestState = typename ObserverTable<T>::RequestState;
  static weir_code Produce(void* self, const weir_call* call, const weir_request* request,
                           const weir_batch* batch, void* const* columns,
                           void* request_state) noexcept {
    try {
      const auto* producer = static_cast<const T*>(self);
      if constexpr (ObserverTable<T>::kRequestStateBytes == 0) {
        producer->Produce(Request(request), Batch(call, batch), Output(call, columns));
      } else {
        producer->Produce(Request(request), Batch(call, batch), Output(call, columns),
                          static_cast<RequestState*>(request_state));
      }
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static constexpr weir_producer kTable{sizeof(weir_producer), 0, Produce,
                                        ObserverTable<T>::kRequestStateBytes};
};

}  // namespace weir::plugin
