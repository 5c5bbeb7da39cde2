#include "driver.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>

#include "allocation_watch.h"

namespace weir::plugin_check {
namespace {

constexpr uint32_t kIndexMax = 16;  // as the engine asks

int64_t NowNs() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

[[noreturn]] void Fail(const std::string& text) { throw CheckFailure(text); }

}  // namespace

Driver::Driver(const KitInstance& instance, Progress progress, DriverOptions options)
    : instance_(instance), progress_(std::move(progress)), options_(options) {}

std::byte* Driver::Output(size_t size_bytes) {
  if (memory_used_ == memory_.size()) memory_.emplace_back();
  return memory_[memory_used_++].Reset(size_bytes);
}

const void* Driver::Guard(const void* data, size_t size_bytes) {
  if (data == nullptr) return nullptr;
  std::byte* copy = Output(size_bytes);
  if (size_bytes != 0) std::memcpy(copy, data, size_bytes);
  return copy;
}

// The struct as a host of this minor gives it, or with other bytes behind as a newer one would.
template <class Struct>
const Struct* Driver::GuardStruct(const Struct& value) {
  std::byte* memory = Output(sizeof(Struct) + options_.struct_bytes_extra);
  std::memcpy(memory, &value, sizeof(Struct));
  std::memset(memory + sizeof(Struct), 0xee, options_.struct_bytes_extra);
  auto* copy = reinterpret_cast<Struct*>(memory);
  copy->struct_size = sizeof(Struct) + options_.struct_bytes_extra;
  return copy;
}

Driver::Inputs Driver::GuardInputs(const weir_call* call, const KitPool& pool,
                                   const KitRequestView& request) {
  weir_batch batch = pool.batch();
  const uint32_t count = batch.count;
  const auto guard = [&]<class T>(const T*& column) {
    column = static_cast<const T*>(Guard(column, count * sizeof(T)));
  };
  guard(batch.slots);
  guard(batch.names);
  guard(batch.addresses);
  guard(batch.waiting_requests);
  guard(batch.running_requests);
  guard(batch.kv_used_ratio);
  guard(batch.sample_age_ms);
  guard(batch.kv_block_tokens);
  guard(batch.kv_block_count);
  const weir_plugin& plugin = instance_.plugin();
  std::vector<const void*> columns(plugin.attribute_count);
  for (uint64_t i = 0; i < plugin.attribute_count; ++i) {
    columns[i] = Guard(batch.columns == nullptr ? nullptr : batch.columns[i],
                       size_t{count} * plugin.attributes[i]->element_bytes);
  }
  batch.columns =
      static_cast<const void* const*>(Guard(columns.data(), columns.size() * sizeof(columns[0])));
  weir_request raw = request.raw();
  raw.headers =
      static_cast<const weir_header*>(Guard(raw.headers, raw.header_count * sizeof(weir_header)));
  return {call, GuardStruct(raw), GuardStruct(batch)};
}

template <class Function>
weir_code Driver::Call(const char* what, const Function& function) {
  progress_(what);
  const uint64_t allocations_before = AllocationsOfThread();
  const int64_t start_ns = NowNs();
  const weir_code code = function();
  elapsed_ns_ += NowNs() - start_ns;
  allocations_ += AllocationsOfThread() - allocations_before;
  CheckMargins(what);
  return code;
}

void Driver::CheckMargins(const char* what) const {
  for (size_t i = 0; i < memory_used_; ++i) {
    if (!memory_[i].Untouched()) Fail(std::string(what) + ": wrote before the start of a buffer");
  }
}

Results Driver::Run(const KitPool& pool, KitRequestView& request, uint64_t seed) {
  memory_used_ = 0;
  allocations_ = 0;
  elapsed_ns_ = 0;
  host_.SetSeed(seed);
  const Inputs inputs = GuardInputs(host_.Begin(pool, request, 1'000'000'000), pool, request);
  Results results;
  RunProducer(inputs, request, &results);
  RunFilter(inputs, &results);
  RunScorer(inputs, &results);
  RunPicker(inputs, &results);
  RunHandler(inputs, &results);
  return results;
}

void Driver::RunFilter(const Inputs& inputs, Results* results) {
  const auto* filter = instance_.table<weir_filter>(WEIR_INTERFACE_FILTER);
  if (filter == nullptr) return;
  const uint32_t count = inputs.batch->count;
  const size_t words = (count + 63) / 64;
  auto* keep = reinterpret_cast<uint64_t*>(Output(words * sizeof(uint64_t)));
  // Every third endpoint is already out, and so are the bits behind the last one.
  std::vector<uint64_t> before(words, 0);
  for (uint32_t i = 0; i < count; ++i) {
    if (i % 3 != 2) before[i / 64] |= uint64_t{1} << (i % 64);
  }
  std::copy(before.begin(), before.end(), keep);
  results->codes.push_back(Call("filter.apply", [&] {
    return filter->apply(instance_.self(), inputs.call, inputs.request, inputs.batch, keep);
  }));
  for (size_t i = 0; i < words; ++i) {
    if ((keep[i] & ~before[i]) != 0) Fail("filter.apply: brought back an endpoint that was out");
  }
  results->keep.assign(keep, keep + words);
}

void Driver::RunScorer(const Inputs& inputs, Results* results) {
  const auto* scorer = instance_.table<weir_scorer>(WEIR_INTERFACE_SCORER);
  if (scorer == nullptr) return;
  const uint32_t count = inputs.batch->count;
  auto* score = reinterpret_cast<double*>(Output(count * sizeof(double)));
  results->codes.push_back(Call("scorer.score", [&] {
    return scorer->score(instance_.self(), inputs.call, inputs.request, inputs.batch, score);
  }));
  for (uint32_t i = 0; i < count && options_.scores_in_range; ++i) {
    if (!std::isfinite(score[i]) || score[i] < 0 || score[i] > 1) {
      Fail("scorer.score: score[" + std::to_string(i) + "] is " + std::to_string(score[i]) +
           ", expected 0 to 1");
    }
  }
  results->scores.assign(score, score + count);
  // NaN is no equal of itself; the runs are compared, so make it one number.
  std::replace_if(
      results->scores.begin(), results->scores.end(), [](double one) { return std::isnan(one); },
      -1e308);
}

void Driver::RunPicker(const Inputs& inputs, Results* results) {
  const auto* picker = instance_.table<weir_picker>(WEIR_INTERFACE_PICKER);
  if (picker == nullptr) return;
  const uint32_t count = inputs.batch->count;
  auto* score = reinterpret_cast<double*>(Output(count * sizeof(double)));
  for (uint32_t i = 0; i < count; ++i) score[i] = (i * 7 % 5) * 0.25;
  for (const uint32_t index_max : {1u, kIndexMax}) {
    auto* index = reinterpret_cast<uint32_t*>(Output(index_max * sizeof(uint32_t)));
    uint32_t picked = 0;
    results->codes.push_back(Call("picker.pick", [&] {
      return picker->pick(instance_.self(), inputs.call, inputs.request, inputs.batch, score, index,
                          index_max, &picked);
    }));
    if (picked > index_max) Fail("picker.pick: more indices than index_max");
    const std::set<uint32_t> distinct(index, index + picked);
    if (distinct.size() != picked) Fail("picker.pick: an index twice");
    if (picked != 0 && *distinct.rbegin() >= count) Fail("picker.pick: index outside the batch");
    results->picks.insert(results->picks.end(), index, index + picked);
  }
}

void Driver::RunHandler(const Inputs& inputs, Results* results) {
  const auto* handler = instance_.table<weir_profile_handler>(WEIR_INTERFACE_PROFILE_HANDLER);
  if (handler == nullptr) return;
  const uint32_t count = handler->profiles_max == 0 ? 3 : std::min(handler->profiles_max, 16u);
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < count; ++i) texts.push_back("profile-" + std::to_string(i));
  std::vector<weir_str> names;
  for (const std::string& text : texts) names.push_back(Str(text));
  std::vector<uint32_t> states(count, WEIR_PROFILE_NOT_RUN);
  const std::vector<uint32_t> slots(count, 0);
  const weir_profiles* profiles = GuardStruct(
      weir_profiles{sizeof(weir_profiles), count, names.data(), states.data(), slots.data()});
  for (uint32_t round = 0;; ++round) {
    if (round > count) Fail("profile_handler.next: still runs profiles when all have run");
    uint64_t run = 0;
    results->codes.push_back(Call("profile_handler.next", [&] {
      return handler->next(instance_.self(), inputs.call, inputs.request, profiles, &run);
    }));
    if (count < 64 && run >> count != 0)
      Fail("profile_handler.next: a profile that does not exist");
    bool fresh = false;
    for (uint32_t i = 0; i < count; ++i) {
      if ((run >> i & 1) != 0 && states[i] == WEIR_PROFILE_NOT_RUN) {
        states[i] = WEIR_PROFILE_PICKED;
        fresh = true;
      }
    }
    if (!fresh) break;
  }
  uint32_t primary = UINT32_MAX;
  results->codes.push_back(Call("profile_handler.finish", [&] {
    return handler->finish(instance_.self(), inputs.call, inputs.request, profiles, &primary);
  }));
  if (results->codes.back() == WEIR_OK && primary >= count) {
    Fail("profile_handler.finish: a profile that does not exist");
  }
}

void Driver::RunProducer(const Inputs& inputs, KitRequestView& request, Results* results) {
  const auto* producer = instance_.table<weir_producer>(WEIR_INTERFACE_PRODUCER);
  const std::byte* request_state = nullptr;
  if (producer != nullptr) {
    const weir_plugin& plugin = instance_.plugin();
    std::vector<void*> columns(plugin.attribute_count, nullptr);
    std::vector<size_t> sizes(plugin.attribute_count, 0);
    for (uint64_t i = 0; i < plugin.attribute_count; ++i) {
      const weir_attribute& attribute = *plugin.attributes[i];
      if ((attribute.flags & WEIR_ATTRIBUTE_WRITE) == 0 || attribute.element_bytes == 0) continue;
      sizes[i] = size_t{inputs.batch->count} * attribute.element_bytes;
      columns[i] = Output(sizes[i]);
    }
    std::byte* state = Output((producer->request_state_bytes + 7) / 8 * 8);
    results->codes.push_back(Call("producer.produce", [&] {
      return producer->produce(instance_.self(), inputs.call, inputs.request, inputs.batch,
                               columns.data(), state);
    }));
    if (results->codes.back() == WEIR_OK) request_state = state;
    for (uint64_t i = 0; i < columns.size(); ++i) {
      const auto* bytes = static_cast<const std::byte*>(columns[i]);
      results->columns.insert(results->columns.end(), bytes, bytes + sizes[i]);
    }
    for (uint64_t i = 0; i < request.raw().prompt_count; ++i) {
      const weir_prompt& prompt = request.prompts()[i];
      results->tokens.insert(results->tokens.end(), prompt.tokens,
                             prompt.tokens + prompt.token_count);
    }
  }
  RunObserver(inputs, request_state);
}

void Driver::RunObserver(const Inputs& inputs, const void* request_state) {
  const auto* observer = instance_.table<weir_observer>(WEIR_INTERFACE_OBSERVER);
  if (observer == nullptr) return;
  const std::string name = "default";
  const weir_str profile = Str(name);
  const uint32_t target = inputs.batch->count - 1;
  const weir_choice* choice = GuardStruct(
      weir_choice{sizeof(weir_choice), 1, &inputs.batch->slots[target], &target, &profile});
  std::byte* flight = Output((observer->flight_state_bytes + 7) / 8 * 8);
  const auto call = [&](const char* what, const auto& function) {
    Call(what, [&] {
      function();
      return WEIR_OK;
    });
  };
  if (observer->begin != nullptr) {
    call("observer.begin", [&] {
      observer->begin(instance_.self(), inputs.call, inputs.request, inputs.batch, choice,
                      request_state, flight);
    });
  }
  if (observer->first_token != nullptr) {
    call("observer.first_token", [&] { observer->first_token(instance_.self(), flight); });
  }
  const weir_usage* usage =
      GuardStruct(weir_usage{sizeof(weir_usage), WEIR_END_COMPLETED, 100, 50, 20});
  if (observer->end != nullptr) {
    call("observer.end", [&] { observer->end(instance_.self(), flight, usage); });
  }
}

}  // namespace weir::plugin_check
