// The services that plugins may call during a decision.
#include "engine/engine.h"

namespace weir::internal {
namespace {

CallState& StateOf(const weir_call* call) {
  return *const_cast<CallState*>(static_cast<const CallState*>(call));
}

void* Allocate(const weir_call* call, uint64_t bytes) {
  const CallState& current = StateOf(call);
  return current.arena == nullptr ? nullptr : current.arena->Allocate(bytes);
}

double Uniform(const weir_call* call) { return StateOf(call).Draw(); }

const uint32_t* Labels(const weir_call* call, const weir_batch* batch, weir_str key) {
  const CallState& current = StateOf(call);
  const uint32_t* all = current.state->snapshot->LabelColumn({key.data, key.size});
  if (current.survivors == nullptr) return all;
  auto* gathered = static_cast<uint32_t*>(Allocate(call, batch->count * sizeof(uint32_t)));
  if (gathered == nullptr) return current.state->snapshot->members->no_label.data();
  for (uint32_t i = 0; i < batch->count; ++i) gathered[i] = all[current.survivors[i]];
  return gathered;
}

uint32_t Intern(const weir_call* call, weir_str value) {
  return StateOf(call).state->snapshot->LabelValue({value.data, value.size});
}

const weir_adapter* Adapters(const weir_call* call, const weir_batch* batch, weir_str name) {
  const CallState& current = StateOf(call);
  auto* column = static_cast<weir_adapter*>(Allocate(call, batch->count * sizeof(weir_adapter)));
  if (column == nullptr) return nullptr;
  current.state->snapshot->AdapterColumn({name.data, name.size}, current.survivors, batch->count,
                                         column);
  return column;
}

weir_code SetTokens(const weir_call* call, uint64_t prompt, const uint32_t* tokens,
                    uint64_t token_count) {
  const CallState& current = StateOf(call);
  const DecisionState& state = *current.state;
  if (current.arena == nullptr || !state.engine->WritesTokens(current.plugin)) {
    return WEIR_FAILED_PRECONDITION;
  }
  if (prompt >= state.request.prompt_count) return WEIR_INVALID_ARGUMENT;
  state.prompts[prompt].tokens = tokens;
  state.prompts[prompt].token_count = token_count;
  return WEIR_OK;
}

void Count(const weir_call* call, uint32_t counter, uint64_t delta) {
  const CallState& current = StateOf(call);
  current.state->engine->CountPlugin(current.plugin, counter, delta);
}

}  // namespace

void SetHotSlots(weir_host* host) {
  host->struct_size = sizeof(weir_host);
  host->abi_minor = WEIR_ABI_MINOR;
  host->allocate = Allocate;
  host->uniform = Uniform;
  host->labels = Labels;
  host->intern = Intern;
  host->set_tokens = SetTokens;
  host->count = Count;
  host->adapters = Adapters;
}

}  // namespace weir::internal
