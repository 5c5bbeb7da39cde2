#include "weir/io/decision_log/record.h"

#include <bit>
#include <cmath>

namespace weir::io {
namespace {

std::vector<std::optional<double>> AttributesOf(const PoolSnapshot& snapshot, uint32_t row,
                                                uint32_t attribute_count) {
  std::vector<std::optional<double>> attributes(attribute_count);
  for (uint32_t a = 0; a < attribute_count; ++a) {
    const double value = snapshot.attribute(a)[row];
    if (!std::isnan(value)) attributes[a] = value;
  }
  return attributes;
}

LoggedEndpoint RowOf(const PoolSnapshot& snapshot, uint32_t row, uint32_t attribute_count) {
  return {.id = snapshot.ids()[row],
          .name = std::string(snapshot.name(row)),
          .address = std::string(snapshot.address(row)),
          .labels = snapshot.labels(row),
          .waiting_requests = snapshot.waiting_requests()[row],
          .running_requests = snapshot.running_requests()[row],
          .kv_used_ratio = snapshot.kv_used_ratio()[row],
          .kv_block_tokens = snapshot.kv_block_tokens()[row],
          .kv_block_count = snapshot.kv_block_count()[row],
          .sample_time_ns = snapshot.sample_time_ns()[row],
          .adapters = snapshot.adapters(row),
          .attributes = AttributesOf(snapshot, row, attribute_count)};
}

// Bit patterns, because a column may hold -0 or whatever a server reported.
bool Same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

PoolDelta::Change ChangeOf(const LoggedEndpoint& before, const PoolSnapshot& snapshot, uint32_t row,
                           uint32_t attribute_count, bool members_changed) {
  PoolDelta::Change change{.row = row};
  const auto take = [&](uint32_t field, auto LoggedEndpoint::*member, auto value, bool same) {
    if (same) return;
    change.fields |= field;
    change.values.*member = std::move(value);
  };
  const auto number = [&](uint32_t field, auto LoggedEndpoint::*member, auto value) {
    take(field, member, value, before.*member == value);
  };
  number(PoolDelta::kWaiting, &LoggedEndpoint::waiting_requests, snapshot.waiting_requests()[row]);
  number(PoolDelta::kRunning, &LoggedEndpoint::running_requests, snapshot.running_requests()[row]);
  const float kv_used = snapshot.kv_used_ratio()[row];
  take(PoolDelta::kKvUsed, &LoggedEndpoint::kv_used_ratio, kv_used,
       Same(before.kv_used_ratio, kv_used));
  number(PoolDelta::kBlockTokens, &LoggedEndpoint::kv_block_tokens,
         snapshot.kv_block_tokens()[row]);
  number(PoolDelta::kBlockCount, &LoggedEndpoint::kv_block_count, snapshot.kv_block_count()[row]);
  number(PoolDelta::kSampleTime, &LoggedEndpoint::sample_time_ns, snapshot.sample_time_ns()[row]);
  const EndpointAdapters& adapters = snapshot.adapters(row);
  if (before.adapters != adapters) {
    take(PoolDelta::kAdapters, &LoggedEndpoint::adapters, adapters, false);
  }
  if (attribute_count > 0) {
    auto attributes = AttributesOf(snapshot, row, attribute_count);
    const bool same = before.attributes == attributes;
    take(PoolDelta::kAttributes, &LoggedEndpoint::attributes, std::move(attributes), same);
  }
  if (!members_changed) return change;
  const std::string_view address = snapshot.address(row);
  take(PoolDelta::kAddress, &LoggedEndpoint::address, std::string(address),
       before.address == address);
  take(PoolDelta::kLabels, &LoggedEndpoint::labels, snapshot.labels(row),
       before.labels == snapshot.labels(row));
  return change;
}

}  // namespace

const std::vector<LoggedDecision::Pick>& LoggedDecision::targets() const {
  static const std::vector<Pick> kNone;
  for (const Profile& profile : profiles) {
    if (code == Code::kOk && profile.index == primary_profile) return profile.picks;
  }
  return kNone;
}

void LoggedPool::Apply(const PoolDelta& delta) {
  version = delta.version;
  pool_epoch = delta.pool_epoch;
  for (auto row = delta.removed.rbegin(); row != delta.removed.rend(); ++row) {
    endpoints.erase(endpoints.begin() + *row);
  }
  for (const PoolDelta::Change& change : delta.changed) {
    LoggedEndpoint& endpoint = endpoints[change.row];
    const LoggedEndpoint& values = change.values;
    const auto set = [&](uint32_t field, auto LoggedEndpoint::*member) {
      if ((change.fields & field) != 0) endpoint.*member = values.*member;
    };
    set(PoolDelta::kWaiting, &LoggedEndpoint::waiting_requests);
    set(PoolDelta::kRunning, &LoggedEndpoint::running_requests);
    set(PoolDelta::kKvUsed, &LoggedEndpoint::kv_used_ratio);
    set(PoolDelta::kBlockTokens, &LoggedEndpoint::kv_block_tokens);
    set(PoolDelta::kBlockCount, &LoggedEndpoint::kv_block_count);
    set(PoolDelta::kSampleTime, &LoggedEndpoint::sample_time_ns);
    set(PoolDelta::kAddress, &LoggedEndpoint::address);
    set(PoolDelta::kLabels, &LoggedEndpoint::labels);
    set(PoolDelta::kAdapters, &LoggedEndpoint::adapters);
    set(PoolDelta::kAttributes, &LoggedEndpoint::attributes);
  }
  endpoints.insert(endpoints.end(), delta.added.begin(), delta.added.end());
}

PoolDelta LoggedPool::Diff(const PoolSnapshot& snapshot, uint32_t attribute_count) const {
  PoolDelta delta{.version = snapshot.version(), .pool_epoch = snapshot.pool_epoch()};
  const auto ids = snapshot.ids();
  const bool members_changed = pool_epoch != snapshot.pool_epoch();
  // Both orders are that of addition, so what stays stands in the same order in both.
  uint32_t kept = 0;
  for (uint32_t row = 0; row < endpoints.size(); ++row) {
    if (kept < ids.size() && endpoints[row].id == ids[kept]) {
      auto change = ChangeOf(endpoints[row], snapshot, kept++, attribute_count, members_changed);
      if (change.fields != 0) delta.changed.push_back(std::move(change));
    } else {
      delta.removed.push_back(row);
    }
  }
  for (uint32_t row = kept; row < ids.size(); ++row) {
    delta.added.push_back(RowOf(snapshot, row, attribute_count));
  }
  return delta;
}

}  // namespace weir::io
