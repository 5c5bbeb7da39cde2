#include "model/pool.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace weir::internal {
namespace {

std::string FullName(std::string_view namespace_name, std::string_view name) {
  return absl::StrCat(std::string(namespace_name), "/", std::string(name));
}

bool HasControlByte(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

// Empty if the text is a fine name, otherwise what is wrong with it.
std::string NameProblem(std::string_view text) {
  if (text.empty()) return "empty";
  if (text.size() > kNameBytesMax) return absl::StrCat("longer than ", kNameBytesMax, " bytes");
  if (HasControlByte(text)) return "holds a control byte";
  return "";
}

// "a" with "b/c" and "a/b" with "c" would be one full name.
std::string NamespaceProblem(std::string_view text) {
  if (text.find('/') != std::string_view::npos) return "holds a slash, which only a name may";
  return NameProblem(text);
}

std::string AddressProblem(std::string_view address) {
  if (const std::string problem = NameProblem(address); !problem.empty()) return problem;
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return "no port";
  const std::string_view host = address.substr(0, colon);
  if (host.find(':') != std::string_view::npos && (host.front() != '[' || host.back() != ']')) {
    return "an IPv6 address without brackets";
  }
  if (host.find_first_of(" /?#@,") != std::string_view::npos) return "a byte that no host name has";
  const std::string_view port_text = address.substr(colon + 1);
  int port = 0;
  if (port_text.empty() || port_text.front() < '0' || port_text.front() > '9' ||
      !absl::SimpleAtoi(std::string(port_text), &port) || port < 1 || port > 65535) {
    return absl::StrCat("port \"", std::string(port_text), "\", expected 1..65535");
  }
  return "";
}

absl::Status Check(const Endpoint& endpoint) {
  const auto error = [&](std::string_view field, std::string_view value, std::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoint \"", endpoint.name, "\": ", std::string(field), " \"",
                     std::string(value), "\": ", std::string(problem)));
  };
  if (auto problem = NameProblem(endpoint.name); !problem.empty()) {
    return error("name", endpoint.name.substr(0, 64), problem);
  }
  if (auto problem = NamespaceProblem(endpoint.namespace_name); !problem.empty()) {
    return error("namespace", endpoint.namespace_name.substr(0, 64), problem);
  }
  if (auto problem = AddressProblem(endpoint.address); !problem.empty()) {
    return error("address", endpoint.address.substr(0, 64),
                 absl::StrCat(problem, "; expected \"ip:port\", \"[ipv6]:port\" or \"host:port\""));
  }
  if (endpoint.labels.size() > kLabelsPerEndpointMax) {
    return error("labels", absl::StrCat(endpoint.labels.size()),
                 absl::StrCat("expected at most ", kLabelsPerEndpointMax));
  }
  for (const auto& [key, value] : endpoint.labels) {
    if (auto problem = NameProblem(key); !problem.empty()) return error("label", key, problem);
    if (value.size() > kNameBytesMax || HasControlByte(value)) {
      return error("label", key, "value too long or with a control byte");
    }
  }
  if (endpoint.metrics.kv_used_ratio && !std::isfinite(*endpoint.metrics.kv_used_ratio)) {
    return error("kv_used_ratio", absl::StrCat(*endpoint.metrics.kv_used_ratio), "not a number");
  }
  return absl::OkStatus();
}

std::vector<std::string> UsableNames(const std::vector<std::string>& names) {
  std::vector<std::string> usable;
  for (const std::string& name : names) {
    if (usable.size() == kAdaptersPerEndpointMax) break;
    if (!name.empty() && name.size() <= kNameBytesMax) usable.push_back(name);
  }
  return usable;
}

bool HasKvUsedRatio(const EndpointMetrics& metrics) {
  return metrics.kv_used_ratio && std::isfinite(*metrics.kv_used_ratio);
}

bool HasLoad(const EndpointMetrics& metrics) {
  return metrics.waiting_requests || metrics.running_requests || HasKvUsedRatio(metrics);
}

}  // namespace

Pool::Pool(const Clock& clock, std::function<void(uint32_t)> slot_freed)
    : clock_(clock), slot_freed_(std::move(slot_freed)), row_of_slot_(kEndpointsMax, kNoRow) {
  free_slots_.reserve(kEndpointsMax);
  for (uint32_t slot = kEndpointsMax; slot-- > 0;) free_slots_.push_back(slot);
  std::lock_guard lock(mutex_);
  PublishLocked(true);
}

void Pool::DeclareAttributes(uint32_t count) {
  std::lock_guard lock(mutex_);
  next_.attributes.assign(count, {});
  PublishLocked(true);
}

absl::StatusOr<EndpointId> Pool::Upsert(const Endpoint& endpoint) {
  const int64_t now_ns = clock_.now_ns();
  std::lock_guard lock(mutex_);
  SweepDrainingLocked();
  absl::StatusOr<EndpointId> id = UpsertLocked(endpoint, now_ns);
  if (id.ok()) PublishLocked(true);
  return id;
}

absl::StatusOr<EndpointId> Pool::UpsertLocked(const Endpoint& endpoint, int64_t now_ns) {
  if (absl::Status status = Check(endpoint); !status.ok()) return status;
  const std::string full_name = FullName(endpoint.namespace_name, endpoint.name);
  uint32_t row = FindRowLocked(endpoint.name, endpoint.namespace_name);
  if (!AddLabelKeysLocked(endpoint.labels)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("endpoint \"", endpoint.name, "\": labels: with these the pool has more than ",
                     kLabelKeysMax, " label keys"));
  }
  if (row == kNoRow) {
    const uint32_t slot = TakeSlotLocked();
    if (slot == kNoRow) {
      RemoveLabelKeysLocked(endpoint.labels);
      return absl::ResourceExhaustedError(absl::StrCat("endpoint \"", endpoint.name,
                                                       "\": the pool holds its maximum of ",
                                                       kEndpointsMax, " endpoints"));
    }
    row = static_cast<uint32_t>(rows_.size());
    rows_.push_back({{slot, live_load_[slot].generation.load()}, full_name, {}, {}});
    row_of_slot_[slot] = row;
    slot_of_name_.emplace(full_name, slot);
    next_.waiting.push_back(0);
    next_.running.push_back(0);
    next_.kv_used.push_back(0);
    next_.block_tokens.push_back(0);
    next_.block_count.push_back(0);
    next_.kv_ratio_per_token.push_back(0);
    next_.sample_time.push_back(INT64_MIN);
    adapters_.emplace_back();
    for (auto& column : next_.attributes) column.push_back(std::nan(""));
  }
  rows_[row].address = endpoint.address;
  RemoveLabelKeysLocked(rows_[row].labels);
  rows_[row].labels = endpoint.labels;
  MergeMetricsLocked(row, endpoint.metrics, now_ns);
  return rows_[row].id;
}

absl::Status Pool::Remove(std::string_view name, std::string_view namespace_name) {
  std::lock_guard lock(mutex_);
  SweepDrainingLocked();
  const uint32_t row = FindRowLocked(name, namespace_name);
  if (row == kNoRow) {
    return absl::NotFoundError(
        absl::StrCat("endpoint \"", FullName(namespace_name, name), "\" is not in the pool"));
  }
  RemoveRowLocked(row);
  PublishLocked(true);
  return absl::OkStatus();
}

absl::Status Pool::Replace(std::span<const Endpoint> endpoints) {
  const int64_t now_ns = clock_.now_ns();
  std::lock_guard lock(mutex_);
  SweepDrainingLocked();
  std::set<std::string> wanted;
  for (const Endpoint& endpoint : endpoints) {
    if (!NamespaceProblem(endpoint.namespace_name).empty()) continue;
    wanted.insert(FullName(endpoint.namespace_name, endpoint.name));
  }
  std::vector<bool> is_gone(rows_.size());
  for (size_t row = 0; row < rows_.size(); ++row) {
    is_gone[row] = !wanted.contains(rows_[row].full_name);
  }
  RemoveRowsLocked(is_gone);
  std::vector<std::string> problems;
  std::vector<bool> is_accepted(kEndpointsMax);  // by slot
  for (const Endpoint& endpoint : endpoints) {
    const absl::StatusOr<EndpointId> id = UpsertLocked(endpoint, now_ns);
    if (id.ok()) {
      is_accepted[id->slot] = true;
      continue;
    }
    problems.emplace_back(id.status().message());
    const uint32_t row = FindRowLocked(endpoint.name, endpoint.namespace_name);
    if (row != kNoRow && !is_accepted[rows_[row].id.slot]) RemoveRowLocked(row);
  }
  PublishLocked(true);
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(absl::StrJoin(problems, "\n"), "; the other ",
                                                 rows_.size(), " endpoints are in use"));
}

void Pool::SampleStarted(EndpointId id) {
  std::lock_guard lock(mutex_);
  if (id.slot < kEndpointsMax && row_of_slot_[id.slot] != kNoRow &&
      rows_[row_of_slot_[id.slot]].id == id) {
    live_load_.SampleStarted(id.slot);
  }
}

void Pool::ApplySamples(std::span<const MetricsUpdate> samples) {
  const int64_t now_ns = clock_.now_ns();
  std::lock_guard lock(mutex_);
  SweepDrainingLocked();
  bool changed = false;
  for (const MetricsUpdate& sample : samples) {
    if (sample.id.slot >= kEndpointsMax) continue;
    const uint32_t row = row_of_slot_[sample.id.slot];
    if (row == kNoRow || rows_[row].id != sample.id) continue;
    MergeMetricsLocked(row, sample.metrics, now_ns);
    changed = true;
  }
  if (changed) PublishLocked(false);
}

uint32_t Pool::in_flight(EndpointId id) const noexcept {
  if (id.slot >= kEndpointsMax || live_load_[id.slot].generation.load() != id.generation) return 0;
  return live_load_[id.slot].open_flights.load(std::memory_order_relaxed);
}

std::shared_ptr<const Snapshot> Pool::Current() const {
  std::lock_guard lock(mutex_);
  return current_;
}

void Pool::RemoveRowLocked(uint32_t row) {
  std::vector<bool> is_gone(rows_.size());
  is_gone[row] = true;
  RemoveRowsLocked(is_gone);
}

void Pool::RemoveRowsLocked(const std::vector<bool>& is_gone) {
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (!is_gone[row]) continue;
    const uint32_t slot = rows_[row].id.slot;
    RemoveLabelKeysLocked(rows_[row].labels);
    live_load_.Retire(slot);
    draining_slots_.push_back(slot);
    row_of_slot_[slot] = kNoRow;
    slot_of_name_.erase(rows_[row].full_name);
  }
  const auto compact = [&](auto& column) {
    size_t kept = 0;
    for (size_t row = 0; row < is_gone.size(); ++row) {
      if (is_gone[row]) continue;
      if (kept != row) column[kept] = std::move(column[row]);
      ++kept;
    }
    column.resize(kept);
  };
  compact(rows_);
  compact(next_.waiting);
  compact(next_.running);
  compact(next_.kv_used);
  compact(next_.block_tokens);
  compact(next_.block_count);
  compact(next_.kv_ratio_per_token);
  compact(next_.sample_time);
  compact(adapters_);
  for (auto& column : next_.attributes) compact(column);
  for (uint32_t row = 0; row < rows_.size(); ++row) row_of_slot_[rows_[row].id.slot] = row;
  SweepDrainingLocked();
}

void Pool::MergeMetricsLocked(uint32_t row, const EndpointMetrics& metrics, int64_t now_ns) {
  if (metrics.waiting_requests) next_.waiting[row] = *metrics.waiting_requests;
  if (metrics.running_requests) next_.running[row] = *metrics.running_requests;
  if (HasKvUsedRatio(metrics)) {
    next_.kv_used[row] = static_cast<float>(std::clamp(*metrics.kv_used_ratio, 0.0, 1.0));
  }
  if (metrics.kv_block_tokens) next_.block_tokens[row] = *metrics.kv_block_tokens;
  if (metrics.kv_block_count) next_.block_count[row] = *metrics.kv_block_count;
  const float kv_tokens =
      static_cast<float>(next_.block_tokens[row]) * static_cast<float>(next_.block_count[row]);
  next_.kv_ratio_per_token[row] = kv_tokens > 0 ? 1 / kv_tokens : 0;
  for (const AttributeValue& one : metrics.attributes) {
    if (one.attribute < next_.attributes.size() && std::isfinite(one.value)) {
      next_.attributes[one.attribute][row] = one.value;
    }
  }
  if (metrics.adapters && *metrics.adapters != adapters_[row]) {
    adapters_[row] = {UsableNames(metrics.adapters->active), UsableNames(metrics.adapters->waiting),
                      metrics.adapters->adapters_max};
    adapters_changed_ = true;
  }
  if (HasLoad(metrics)) {
    next_.sample_time[row] = now_ns;
    live_load_.SampleApplied(rows_[row].id.slot);
  }
}

uint32_t Pool::FindRowLocked(std::string_view name, std::string_view namespace_name) const {
  if (!NamespaceProblem(namespace_name).empty()) return kNoRow;
  const auto found = slot_of_name_.find(FullName(namespace_name, name));
  return found == slot_of_name_.end() ? kNoRow : row_of_slot_[found->second];
}

bool Pool::AddLabelKeysLocked(const std::map<std::string, std::string>& labels) {
  const auto added = std::count_if(labels.begin(), labels.end(), [this](const auto& label) {
    return !label_keys_.contains(label.first);
  });
  if (label_keys_.size() + static_cast<size_t>(added) > kLabelKeysMax) return false;
  for (const auto& [key, value] : labels) ++label_keys_[key];
  return true;
}

void Pool::RemoveLabelKeysLocked(const std::map<std::string, std::string>& labels) {
  for (const auto& [key, value] : labels) {
    const auto found = label_keys_.find(key);
    if (--found->second == 0) label_keys_.erase(found);
  }
}

uint32_t Pool::TakeSlotLocked() {
  if (free_slots_.empty()) return kNoRow;
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void Pool::SweepDrainingLocked() {
  std::erase_if(draining_slots_, [this](uint32_t slot) {
    if (!live_load_.idle(slot)) return false;
    live_load_.Clear(slot);
    if (slot_freed_) slot_freed_(slot);
    free_slots_.push_back(slot);
    return true;
  });
}

void Pool::PublishLocked(bool members_changed) {
  if (members_changed) {
    auto members = std::make_shared<Membership>();
    members->epoch = next_.members == nullptr ? 1 : next_.members->epoch + 1;
    members->rows = rows_;
    members->Index();
    next_.members = std::move(members);
  }
  if (members_changed || adapters_changed_) {
    auto adapters = std::make_shared<AdapterTable>();
    adapters->rows = adapters_;
    adapters->Index();
    next_.adapter_table = std::move(adapters);
    adapters_changed_ = false;
  }
  ++next_.version_number;
  current_ = std::make_shared<const Snapshot>(next_);
  pool_epoch_.store(next_.members->epoch, std::memory_order_release);
  version_.store(next_.version_number, std::memory_order_release);
}

}  // namespace weir::internal
