#include "weir/io/decision_log/encoder.h"

#include <algorithm>

namespace weir::io {
namespace {

// A pool record of more is divided.
constexpr size_t kPoolBodyBytes = kDecisionLogRecordBytesMax / 4;

int64_t NewestSample(const PoolDelta& delta) {
  int64_t newest_ns = INT64_MIN;
  for (const auto& change : delta.changed) {
    if ((change.fields & PoolDelta::kSampleTime) == 0) continue;
    newest_ns = std::max(newest_ns, change.values.sample_time_ns);
  }
  for (const auto& added : delta.added) newest_ns = std::max(newest_ns, added.sample_time_ns);
  return newest_ns == INT64_MIN ? 0 : newest_ns;
}

}  // namespace

LogEncoder::LogEncoder() {
  bytes_ = kLogMagic;
  WireOut out(&bytes_);
  out.Fixed32(kDecisionLogVersion);
  out.Fixed32(kLogMinorVersion);
}

void LogEncoder::Finish(LogRecordType type) {
  // A large pool is several records.
  if (frame_.size() >= kFrameBytes) CloseFrame();
  WireOut out(&frame_);
  out.Number(static_cast<uint64_t>(type));
  out.Bytes(body_);
  body_.clear();
}

void LogEncoder::CloseFrame() {
  if (frame_.empty()) return;
  WireOut out(&bytes_);
  out.Fixed32(static_cast<uint32_t>(frame_.size()));
  out.Fixed64(FrameChecksum(frame_, offset_));
  bytes_.append(frame_);
  offset_ += kFrameHeadBytes + frame_.size();
  frame_.clear();
}

void LogEncoder::DropUnwritten() {
  offset_ -= bytes_.size();
  bytes_.clear();
  frame_.clear();
}

// 0: a text that is not kept; 1: one that is, under the next number; n: the kept text n - 2.
void LogEncoder::Text(std::string_view text) {
  const auto known = texts_.find(text);
  if (known != texts_.end()) return body().Number(uint64_t{known->second} + 2);
  const bool keep = texts_.size() < kDecisionLogStringsMax;
  body().Number(keep ? 1 : 0);
  body().Bytes(text);
  if (keep) texts_.emplace(text, static_cast<uint32_t>(texts_.size()));
}

void LogEncoder::Labels(const std::map<std::string, std::string>& labels) {
  body().Number(labels.size());
  for (const auto& [key, value] : labels) {
    Text(key);
    Text(value);
  }
}

void LogEncoder::Texts(const std::vector<std::string>& texts) {
  body().Number(texts.size());
  for (const std::string& text : texts) Text(text);
}

void LogEncoder::Time(int64_t now_ns) {
  body().Signed(Difference(static_cast<uint64_t>(now_ns), static_cast<uint64_t>(last_ns_)));
  last_ns_ = now_ns;
}

void LogEncoder::Append(const LogHeader& header) {
  attribute_count_ = header.attribute_count;
  WireOut out = body();
  out.Bytes(header.weir_version);
  out.Bytes(header.pipeline_name);
  out.Fixed64(header.pipeline_hash);
  out.Bytes(header.pipeline_text);
  out.Number((header.count_unscraped_requests ? 1u : 0u) |
             (header.allow_experimental_plugins ? 2u : 0u));
  out.Number(static_cast<uint64_t>(header.unscraped));
  out.Signed(header.sample_age_ns_max);
  out.Number(header.plugin_files.size());
  for (const std::string& file : header.plugin_files) out.Bytes(file);
  out.Number(header.attribute_count);
  out.Number(header.prompt_block_tokens);
  out.Signed(header.start_unix_ns);
  Finish(LogRecordType::kHeader);
}

// Ages count back from `base_ns`, from 1; 0 is never.
void LogEncoder::Columns(const LoggedEndpoint& values, uint32_t fields, int64_t base_ns) {
  WireOut out = body();
  if ((fields & PoolDelta::kWaiting) != 0) out.Number(values.waiting_requests);
  if ((fields & PoolDelta::kRunning) != 0) out.Number(values.running_requests);
  if ((fields & PoolDelta::kKvUsed) != 0)
    out.Fixed32(std::bit_cast<uint32_t>(values.kv_used_ratio));
  if ((fields & PoolDelta::kBlockTokens) != 0) out.Number(values.kv_block_tokens);
  if ((fields & PoolDelta::kBlockCount) != 0) out.Number(values.kv_block_count);
  if ((fields & PoolDelta::kSampleTime) != 0) {
    const bool never = values.sample_time_ns == INT64_MIN;
    out.Number(never ? 0
                     : static_cast<uint64_t>(base_ns) -
                           static_cast<uint64_t>(values.sample_time_ns) + 1);
  }
  if ((fields & PoolDelta::kAddress) != 0) Text(values.address);
  if ((fields & PoolDelta::kLabels) != 0) Labels(values.labels);
  if ((fields & PoolDelta::kAdapters) != 0) {
    out.Number(values.adapters.adapters_max);
    Texts(values.adapters.active);
    Texts(values.adapters.waiting);
  }
  if ((fields & PoolDelta::kAttributes) == 0) return;
  // One per column of the header's count: 0, or 1 and the value.
  for (uint32_t a = 0; a < attribute_count_; ++a) {
    const bool reported = a < values.attributes.size() && values.attributes[a].has_value();
    out.Number(reported ? 1 : 0);
    if (reported) out.Double(*values.attributes[a]);
  }
}

void LogEncoder::Append(const PoolDelta& delta) {
  const int64_t base_ns = NewestSample(delta);
  size_t changed = 0, added = 0;
  const std::vector<uint32_t>* removed = &delta.removed;
  static const std::vector<uint32_t> kNone;
  do {
    // Counts come before elements, so these are written aside.
    std::string head;
    WireOut out(&head);
    out.Number(delta.version);
    out.Number(delta.pool_epoch);
    out.Signed(Difference(static_cast<uint64_t>(base_ns), static_cast<uint64_t>(last_ns_)));
    out.Number(removed->size());
    uint32_t next_row = 0;
    for (const uint32_t row : *removed) {
      out.Number(row - next_row);
      next_row = row + 1;
    }
    removed = &kNone;
    const size_t first_changed = changed, first_added = added;
    next_row = 0;
    for (; changed < delta.changed.size() && body_.size() < kPoolBodyBytes; ++changed) {
      const PoolDelta::Change& change = delta.changed[changed];
      body().Number(change.row - next_row);
      next_row = change.row + 1;
      body().Number(change.fields);
      Columns(change.values, change.fields, base_ns);
    }
    out.Number(changed - first_changed);
    head.append(body_);
    body_.clear();
    for (; added < delta.added.size() && head.size() + body_.size() < kPoolBodyBytes; ++added) {
      const LoggedEndpoint& endpoint = delta.added[added];
      body().Number(endpoint.id.slot);
      body().Number(endpoint.id.generation);
      Text(endpoint.name);
      Columns(endpoint, PoolDelta::kAllFields, base_ns);
    }
    out.Number(added - first_added);
    head.append(body_);
    body_.swap(head);
    Finish(LogRecordType::kPool);
  } while (changed < delta.changed.size() || added < delta.added.size());
  if (delta.removed.empty() && delta.added.empty()) return;
  sent_.assign(sent_.size() - delta.removed.size() + delta.added.size(), {});
}

void LogEncoder::Append(const LoggedDecision& decision) {
  const LoggedRequest& request = decision.request;
  WireOut out = body();
  out.Number((request.stream ? 1u : 0u) | (request.include_usage ? 2u : 0u) |
             (request.cut ? 4u : 0u) | (request.max_output_tokens ? 8u : 0u) |
             (decision.has_sent ? 16u : 0u) | (request.subset ? 32u : 0u) |
             (request.if_available ? 64u : 0u) | (request.any_endpoint ? 128u : 0u));
  out.Signed(Difference(decision.number, last_decision_ + 1));
  last_decision_ = decision.number;
  Time(decision.now_ns);
  out.Fixed64(decision.seed);
  out.Number(decision.draws);
  out.Number(static_cast<uint64_t>(decision.code));
  Request(request);
  if (decision.has_sent) Sent(decision);
  out.Number(decision.primary_profile);
  out.Number(decision.profiles.size());
  for (const LoggedDecision::Profile& profile : decision.profiles) {
    out.Number(uint64_t{profile.index} << 1 | (profile.failed ? 1 : 0));
    out.Number(profile.picks.size());
    for (const LoggedDecision::Pick& pick : profile.picks) {
      out.Number(pick.row);
      out.Double(pick.score);
    }
  }
  Finish(LogRecordType::kDecision);
}

void LogEncoder::Request(const LoggedRequest& request) {
  WireOut out = body();
  out.Number(static_cast<uint64_t>(request.api));
  out.Signed(request.priority);
  out.Number(request.size_bytes);
  if (request.max_output_tokens) out.Signed(*request.max_output_tokens);
  out.Bytes(request.id);
  Text(request.model);
  Text(request.incoming_model);
  Text(request.objective);
  Text(request.cache_salt);
  Text(request.fairness_id);
  if (request.subset) Texts(*request.subset);
  out.Number(request.headers.size());
  for (const auto& [name, value] : request.headers) {
    Text(name);
    out.Bytes(value);
  }
  out.Number(request.prompts.size());
  for (const LoggedPrompt& prompt : request.prompts) Prompt(prompt);
}

// A block's hash stands for all blocks before it, so a known one names the whole prefix.
void LogEncoder::Prompt(const LoggedPrompt& prompt) {
  const std::vector<uint64_t>& hashes = prompt.block_hashes;
  const auto is_known = [this](uint64_t hash) { return nodes_.contains(hash); };
  auto first_new = std::partition_point(hashes.begin(), hashes.end(), is_known);
  const bool forget = next_node_ + hashes.size() > kDecisionLogNodesMax;
  if (forget) {
    nodes_.clear();
    next_node_ = 0;
    first_new = hashes.begin();
  }
  WireOut out = body();
  out.Number((prompt.estimated ? 1u : 0u) | (forget ? 2u : 0u));
  out.Number(prompt.token_count);
  out.Number(first_new == hashes.begin() ? 0 : uint64_t{nodes_.at(*(first_new - 1))} + 1);
  out.Number(static_cast<uint64_t>(hashes.end() - first_new));
  for (; first_new != hashes.end(); ++first_new) {
    out.Fixed64(*first_new);
    // Numbers count what was written, also a hash that occurs twice.
    nodes_[*first_new] = next_node_++;
  }
}

void LogEncoder::Sent(const LoggedDecision& decision) {
  next_sent_.assign(sent_.size(), {});
  for (const LoggedDecision::Sent& one : decision.sent) {
    next_sent_[one.row] = {one.requests, one.tokens};
  }
  uint64_t count = 0;
  for (size_t row = 0; row < sent_.size(); ++row) count += sent_[row] == next_sent_[row] ? 0 : 1;
  body().Number(count);
  size_t next_row = 0;
  for (size_t row = 0; row < sent_.size(); ++row) {
    if (sent_[row] == next_sent_[row]) continue;
    body().Number(row - next_row);
    next_row = row + 1;
    body().Number(next_sent_[row].requests);
    if (next_sent_[row].requests != 0) body().Number(next_sent_[row].tokens);
  }
  sent_.swap(next_sent_);
}

void LogEncoder::Flight(uint64_t flight, int64_t now_ns) {
  body().Signed(Difference(last_flight_, flight));
  Time(now_ns);
}

void LogEncoder::Append(const LoggedBegin& begin) {
  body().Signed(Difference(begin.flight, last_flight_ + 1));
  last_flight_ = begin.flight;
  body().Signed(Difference(last_decision_, begin.decision));
  body().Number(begin.target_index);
  Time(begin.now_ns);
  Finish(LogRecordType::kBegin);
}

void LogEncoder::Append(const LoggedFirstToken& first) {
  Flight(first.flight, first.now_ns);
  Finish(LogRecordType::kFirstToken);
}

void LogEncoder::Append(const LoggedEnd& end) {
  Flight(end.flight, end.now_ns);
  body().Number(static_cast<uint64_t>(end.end));
  body().Signed(end.usage.prompt_tokens);
  body().Signed(end.usage.cached_tokens);
  body().Signed(end.usage.output_tokens);
  Finish(LogRecordType::kEnd);
}

void LogEncoder::Append(const LoggedGap& gap) {
  body().Number(gap.dropped);
  Finish(LogRecordType::kGap);
}

void LogEncoder::Append(const LogEnd& end) {
  body().Number(static_cast<uint64_t>(end.reason));
  body().Number(end.decisions);
  body().Number(end.dropped);
  Finish(LogRecordType::kLogEnd);
}

}  // namespace weir::io
