#include "load/dispatcher.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "load/text.h"

namespace weir::load {

uint32_t MaxShards(const DispatchPlan& plan) {
  uint64_t shards = plan.in_flight_max;
  if (plan.requests_max > 0) shards = std::min(shards, plan.requests_max);
  if (plan.arrival == Arrival::kClosed) shards = std::min<uint64_t>(shards, plan.concurrency);
  return static_cast<uint32_t>(std::max<uint64_t>(1, shards));
}

DispatchPlan ShareOf(const DispatchPlan& plan, Shard shard) {
  const auto part = [shard](auto whole) {
    using T = decltype(whole);
    return static_cast<T>(whole / shard.count + (shard.index < whole % shard.count ? 1 : 0));
  };
  DispatchPlan share = plan;
  share.phase_ns = plan.phase_ns + std::llround(1e9 / plan.rate_per_s * shard.index);
  share.rate_per_s = plan.rate_per_s / shard.count;
  share.concurrency = part(plan.concurrency);
  share.in_flight_max = part(plan.in_flight_max);
  share.requests_max = part(plan.requests_max);
  share.warmup_requests = part(plan.warmup_requests);
  share.seed = MixSeed(plan.seed, shard.index);
  share.due_ns.clear();
  for (size_t i = shard.index; i < plan.due_ns.size(); i += shard.count) {
    share.due_ns.push_back(plan.due_ns[i]);
  }
  return share;
}

Dispatcher::Dispatcher(DispatchPlan plan, Source& source)
    : plan_(std::move(plan)), source_(source), random_(MixSeed(plan_.seed, 0xA221)) {
  if (plan_.arrival != Arrival::kClosed) AdvanceDue();
}

void Dispatcher::AdvanceDue() {
  const double gap_ns = 1e9 / plan_.rate_per_s;
  switch (plan_.arrival) {
    case Arrival::kFixed:
      due_ns_ = plan_.phase_ns + std::llround(static_cast<double>(arrivals_) * gap_ns);
      break;
    case Arrival::kPoisson:
      due_exact_ns_ += NextExponential(random_, gap_ns);
      due_ns_ = std::llround(due_exact_ns_);
      break;
    case Arrival::kRecorded:
      arrivals_over_ = arrivals_ >= plan_.due_ns.size();
      if (!arrivals_over_) due_ns_ = plan_.due_ns[arrivals_];
      break;
    case Arrival::kClosed:
      break;
  }
  ++arrivals_;
  if (plan_.duration_ns > 0 && due_ns_ >= plan_.duration_ns) arrivals_over_ = true;
}

Step Dispatcher::Take(int64_t now_ns, int64_t due_ns, Launch* launch) {
  int64_t ready_ns = 0;
  switch (source_.Next(now_ns, &launch->item, &ready_ns)) {
    case Offer::kLater:
      turn_ready_ns_ = ready_ns;
      return {Step::Kind::kWaitUntil, ready_ns};
    case Offer::kBlocked:
      blocked_ = true;
      return {Step::Kind::kWaitForFinish};
    case Offer::kEnd:
      return {Step::Kind::kDone};
    case Offer::kItem:
      break;
  }
  // A request that finished meanwhile may have made another conversation ready before.
  launch->due_ns = std::max(due_ns, std::min(turn_ready_ns_, now_ns));
  waited_for_turn_ += launch->due_ns > due_ns ? 1 : 0;
  launch->measured = launch->due_ns >= plan_.warmup_ns && launched_ >= plan_.warmup_requests;
  ++launched_;
  ++in_flight_;
  return {Step::Kind::kSend};
}

Step Dispatcher::NextClosed(int64_t now_ns, Launch* launch) {
  if (plan_.duration_ns > 0 && now_ns >= plan_.duration_ns) return {Step::Kind::kDone};
  uint32_t allowed = plan_.concurrency;
  if (now_ns < plan_.ramp_ns) {
    const double share = static_cast<double>(now_ns) / static_cast<double>(plan_.ramp_ns);
    allowed = std::min(allowed, 1 + static_cast<uint32_t>(share * plan_.concurrency));
  }
  if (in_flight_ < allowed) return Take(now_ns, now_ns, launch);
  if (allowed >= plan_.concurrency) return {Step::Kind::kWaitForFinish};
  const double next_share = static_cast<double>(allowed) / plan_.concurrency;
  const int64_t next_ns = static_cast<int64_t>(next_share * static_cast<double>(plan_.ramp_ns)) + 1;
  return {Step::Kind::kWaitUntil, std::max(next_ns, now_ns + 1)};
}

Step Dispatcher::NextOpen(int64_t now_ns, Launch* launch) {
  if (arrivals_over_) return {Step::Kind::kDone};
  if (now_ns < due_ns_) return {Step::Kind::kWaitUntil, due_ns_};
  if (plan_.duration_ns > 0 && now_ns >= plan_.duration_ns + kArrivalGraceNs) {
    for (; !arrivals_over_; AdvanceDue()) ++unsent_;
    return {Step::Kind::kDone};
  }
  if (in_flight_ >= plan_.in_flight_max) return {Step::Kind::kWaitForFinish};
  const Step step = Take(now_ns, due_ns_, launch);
  if (step.kind == Step::Kind::kSend) AdvanceDue();
  return step;
}

Step Dispatcher::Next(int64_t now_ns, Launch* launch) {
  if (plan_.requests_max > 0 && launched_ >= plan_.requests_max) return {Step::Kind::kDone};
  return plan_.arrival == Arrival::kClosed ? NextClosed(now_ns, launch) : NextOpen(now_ns, launch);
}

void Dispatcher::Finish(const Launch& launch, std::string_view escaped_answer, int64_t now_ns) {
  --in_flight_;
  if (std::exchange(blocked_, false)) turn_ready_ns_ = now_ns;
  source_.Finish(launch.item, escaped_answer, now_ns);
}

}  // namespace weir::load
