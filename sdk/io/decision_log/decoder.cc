#include "weir/io/decision_log/decoder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weir::io {
namespace {

constexpr uint64_t kTokensMax = 1ull << 40;  // of one prompt: keeps sums inside 64 bits
constexpr uint32_t kPathBytesMax = 4096;
constexpr uint32_t kNoRow = UINT32_MAX;

// The next of ascending rows, given as the distance from the first possible one.
uint32_t Row(WireIn& in, uint32_t* next_row, uint32_t row_count) {
  const uint64_t row = uint64_t{*next_row} + in.Number32();
  if (row >= row_count) {
    in.Fail();
    return kNoRow;
  }
  *next_row = static_cast<uint32_t>(row) + 1;
  return static_cast<uint32_t>(row);
}

}  // namespace

void LogDecoder::Check(const WireIn& in, std::string_view field) {
  if (!in.ok() && problem_.empty()) {
    problem_ = absl::StrCat(std::string(field), ": cut short or out of range");
  }
}

void LogDecoder::Refuse(WireIn& in, std::string_view problem) {
  if (in.ok() && problem_.empty()) problem_ = problem;
  in.Fail();
}

std::string LogDecoder::Decode(LogRecordType type, std::string_view body, LogRecord* record,
                               LoggedPool* pool) {
  WireIn in(body);
  problem_.clear();
  switch (type) {
    case LogRecordType::kHeader:
      Decode(in, record->emplace<LogHeader>());
      break;
    case LogRecordType::kPool:
      Decode(in, record->emplace<PoolDelta>(), *pool);
      if (in.ok()) pool->Apply(std::get<PoolDelta>(*record));
      break;
    case LogRecordType::kDecision:
      Decode(in, record->emplace<LoggedDecision>(), *pool);
      break;
    case LogRecordType::kBegin:
      Decode(in, record->emplace<LoggedBegin>());
      break;
    case LogRecordType::kFirstToken:
      Decode(in, record->emplace<LoggedFirstToken>());
      break;
    case LogRecordType::kEnd:
      Decode(in, record->emplace<LoggedEnd>());
      break;
    case LogRecordType::kGap:
      record->emplace<LoggedGap>().dropped = in.Number();
      Check(in, "dropped");
      break;
    case LogRecordType::kLogEnd: {
      LogEnd& end = record->emplace<LogEnd>();
      end.reason = static_cast<LogEnd::Reason>(in.Below(1));
      end.decisions = in.Number();
      end.dropped = in.Number();
      Check(in, "end of the log");
      break;
    }
  }
  return problem_;
}

std::string LogDecoder::Text(WireIn& in) {
  const uint64_t number = in.Below(uint64_t{kDecisionLogStringsMax} + 1);
  if (number >= 2) {
    if (number - 2 < texts_.size()) return texts_[number - 2];
    in.Fail();
    return {};
  }
  std::string text(in.Bytes(kDecisionLogStringBytesMax * 2 + 1));
  if (number == 1 && in.ok()) {
    if (texts_.size() == kDecisionLogStringsMax) {
      in.Fail();
    } else {
      texts_.push_back(text);
    }
  }
  return text;
}

void LogDecoder::Labels(WireIn& in, std::map<std::string, std::string>& labels) {
  const uint64_t count = in.Below(kLabelsPerEndpointMax);
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    std::string key = Text(in);
    labels[std::move(key)] = Text(in);
  }
}

void LogDecoder::Texts(WireIn& in, uint64_t count_max, std::vector<std::string>& texts) {
  const uint64_t count = in.Below(count_max);
  for (uint64_t i = 0; i < count && in.ok(); ++i) texts.push_back(Text(in));
}

int64_t LogDecoder::Time(WireIn& in) {
  const int64_t difference = in.Signed();
  if (in.ok()) last_ns_ = static_cast<int64_t>(Sum(static_cast<uint64_t>(last_ns_), difference));
  return last_ns_;
}

void LogDecoder::Decode(WireIn& in, LogHeader& header) {
  header.weir_version = in.Bytes(kNameBytesMax);
  header.pipeline_name = in.Bytes(kPathBytesMax);
  header.pipeline_hash = in.Fixed64();
  header.pipeline_text = in.Bytes(kConfigBytesMax);
  Check(in, "pipeline");
  if (in.ok() && header.pipeline_hash != TextHash(header.pipeline_text)) {
    Refuse(in, "pipeline: its hash is not that of its text");
  }
  const uint64_t flags = in.Number();
  header.count_unscraped_requests = (flags & 1) != 0;
  header.allow_experimental_plugins = (flags & 2) != 0;
  header.unscraped = static_cast<UnscrapedPolicy>(in.Below(1));
  header.sample_age_ns_max = in.Signed();
  const uint64_t file_count = in.Below(kPluginsMax);
  for (uint64_t i = 0; i < file_count && in.ok(); ++i) {
    header.plugin_files.emplace_back(in.Bytes(kPathBytesMax));
  }
  header.attribute_count = static_cast<uint32_t>(in.Below(kAttributesMax));
  header.prompt_block_tokens = in.Number32();
  header.start_unix_ns = in.Signed();
  Check(in, "options");
  if (in.ok() && header.prompt_block_tokens == 0) {
    Refuse(in, "prompt_block_tokens: 0, expected at least 1");
  }
  prompt_block_tokens_ = std::max(1u, header.prompt_block_tokens);
  attribute_count_ = header.attribute_count;
}

void LogDecoder::Columns(WireIn& in, uint32_t fields, int64_t base_ns, LoggedEndpoint& values) {
  if ((fields & PoolDelta::kWaiting) != 0) values.waiting_requests = in.Number32();
  if ((fields & PoolDelta::kRunning) != 0) values.running_requests = in.Number32();
  if ((fields & PoolDelta::kKvUsed) != 0) values.kv_used_ratio = std::bit_cast<float>(in.Fixed32());
  if ((fields & PoolDelta::kBlockTokens) != 0) values.kv_block_tokens = in.Number32();
  if ((fields & PoolDelta::kBlockCount) != 0) values.kv_block_count = in.Number32();
  if ((fields & PoolDelta::kSampleTime) != 0) {
    const uint64_t age_ns = in.Number();
    values.sample_time_ns =
        age_ns == 0 ? INT64_MIN : static_cast<int64_t>(static_cast<uint64_t>(base_ns) - age_ns + 1);
  }
  if ((fields & PoolDelta::kAddress) != 0) values.address = Text(in);
  if ((fields & PoolDelta::kLabels) != 0) Labels(in, values.labels);
  if ((fields & PoolDelta::kAdapters) != 0) {
    values.adapters.adapters_max = in.Number32();
    Texts(in, kAdaptersPerEndpointMax, values.adapters.active);
    Texts(in, kAdaptersPerEndpointMax, values.adapters.waiting);
  }
  if ((fields & PoolDelta::kAttributes) == 0) return;
  values.attributes.resize(attribute_count_);
  for (std::optional<double>& value : values.attributes) {
    if (in.Below(1) == 1) value = in.Double();
  }
}

void LogDecoder::Decode(WireIn& in, PoolDelta& delta, const LoggedPool& pool) {
  delta.version = in.Number();
  delta.pool_epoch = in.Number();
  const auto base_ns = static_cast<int64_t>(Sum(static_cast<uint64_t>(last_ns_), in.Signed()));
  const auto rows_before = static_cast<uint32_t>(pool.endpoints.size());
  const uint64_t removed = in.Below(rows_before);
  uint32_t next_row = 0;
  for (uint64_t i = 0; i < removed && in.ok(); ++i) {
    delta.removed.push_back(Row(in, &next_row, rows_before));
  }
  Check(in, "removed endpoints");
  const uint32_t rows_kept = rows_before - static_cast<uint32_t>(removed);
  const uint64_t changed = in.Below(rows_kept);
  next_row = 0;
  for (uint64_t i = 0; i < changed && in.ok(); ++i) {
    PoolDelta::Change& change = delta.changed.emplace_back();
    change.row = Row(in, &next_row, rows_kept);
    change.fields = static_cast<uint32_t>(in.Below(PoolDelta::kAllFields));
    Columns(in, change.fields, base_ns, change.values);
  }
  Check(in, "changed endpoints");
  const uint64_t added = in.Below(kEndpointsMax - std::min(kEndpointsMax, rows_kept));
  for (uint64_t i = 0; i < added && in.ok(); ++i) {
    LoggedEndpoint& endpoint = delta.added.emplace_back();
    endpoint.id.slot = static_cast<uint32_t>(in.Below(kEndpointsMax - 1));
    endpoint.id.generation = in.Number32();
    endpoint.name = Text(in);
    Columns(in, PoolDelta::kAllFields, base_ns, endpoint);
  }
  Check(in, "added endpoints");
  if (in.ok() && removed + added > 0) sent_.assign(rows_kept + added, {});
}

void LogDecoder::Decode(WireIn& in, LoggedDecision& decision, const LoggedPool& pool) {
  const auto row_count = static_cast<uint32_t>(pool.endpoints.size());
  const uint64_t flags = in.Number();
  decision.number = Sum(last_decision_ + 1, in.Signed());
  if (in.ok()) last_decision_ = decision.number;
  decision.now_ns = Time(in);
  decision.seed = in.Fixed64();
  decision.draws = in.Number32();
  decision.code = static_cast<Code>(in.Below(static_cast<uint64_t>(Code::kUnauthenticated)));
  Check(in, "decision");
  Request(in, flags, decision.request);
  decision.has_sent = (flags & 16) != 0;
  if (decision.has_sent) Sent(in, decision, row_count);
  Profiles(in, decision, row_count);
}

void LogDecoder::Request(WireIn& in, uint64_t flags, LoggedRequest& request) {
  request.stream = (flags & 1) != 0;
  request.include_usage = (flags & 2) != 0;
  request.cut = (flags & 4) != 0;
  request.if_available = (flags & 64) != 0;
  request.any_endpoint = (flags & 128) != 0;
  request.api = static_cast<Api>(in.Number32());
  const int64_t priority = in.Signed();
  if (priority < INT32_MIN || priority > INT32_MAX) in.Fail();
  request.priority = static_cast<int32_t>(priority);
  request.size_bytes = in.Number();
  if ((flags & 8) != 0) request.max_output_tokens = in.Signed();
  request.id = in.Bytes(kDecisionLogStringBytesMax);
  request.model = Text(in);
  request.incoming_model = Text(in);
  request.objective = Text(in);
  request.cache_salt = Text(in);
  request.fairness_id = Text(in);
  if ((flags & 32) != 0) Texts(in, kDecisionLogSubsetMax, request.subset.emplace());
  Check(in, "request");
  const uint64_t header_count = in.Below(kDecisionLogHeadersMax);
  for (uint64_t i = 0; i < header_count && in.ok(); ++i) {
    std::string name = Text(in);
    request.headers.emplace_back(std::move(name), in.Bytes(kDecisionLogStringBytesMax));
  }
  Check(in, "headers");
  const uint64_t prompt_count = in.Below(kPromptsMax);
  uint64_t blocks_left = kDecisionLogBlocksMax;
  for (uint64_t i = 0; i < prompt_count && in.ok(); ++i) {
    Prompt(in, &blocks_left, request.prompts.emplace_back());
  }
  Check(in, "prompts");
}

void LogDecoder::Prompt(WireIn& in, uint64_t* blocks_left, LoggedPrompt& prompt) {
  const uint64_t flags = in.Number();
  prompt.estimated = (flags & 1) != 0;
  if ((flags & 2) != 0) nodes_.clear();
  prompt.token_count = in.Below(kTokensMax);
  uint32_t parent = static_cast<uint32_t>(in.Below(nodes_.size()));
  const uint64_t added = in.Below(*blocks_left);
  if (!in.ok()) return;
  const uint32_t known = parent == 0 ? 0 : nodes_[parent - 1].depth;
  const uint64_t count = known + added;
  const uint64_t blocks_in_prompt =
      prompt.token_count / prompt_block_tokens_ + (prompt.token_count % prompt_block_tokens_ != 0);
  if (count > *blocks_left || count > blocks_in_prompt) {
    Refuse(in, absl::StrCat("prompts: ", count, " blocks, expected at most ",
                            std::min(*blocks_left, blocks_in_prompt)));
    return;
  }
  if (nodes_.size() + added > kDecisionLogNodesMax) return in.Fail();
  *blocks_left -= count;
  prompt.block_hashes.resize(count);
  for (uint32_t node = parent; node != 0; node = nodes_[node - 1].parent) {
    prompt.block_hashes[nodes_[node - 1].depth - 1] = nodes_[node - 1].hash;
  }
  for (uint64_t i = known; i < count; ++i) {
    prompt.block_hashes[i] = in.Fixed64();
    if (!in.ok()) return;
    nodes_.push_back({prompt.block_hashes[i], parent, static_cast<uint32_t>(i + 1)});
    parent = static_cast<uint32_t>(nodes_.size());
  }
}

void LogDecoder::Sent(WireIn& in, LoggedDecision& decision, uint32_t row_count) {
  const uint64_t count = in.Below(row_count);
  uint32_t next_row = 0;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    const uint32_t row = Row(in, &next_row, row_count);
    if (row == kNoRow) break;
    sent_[row].requests = in.Number32();
    sent_[row].tokens = sent_[row].requests == 0 ? 0 : in.Number32();
  }
  Check(in, "load sent");
  if (!in.ok()) return;
  for (uint32_t row = 0; row < row_count; ++row) {
    if (sent_[row].requests == 0) continue;
    decision.sent.push_back({row, sent_[row].requests, sent_[row].tokens});
  }
}

void LogDecoder::Profiles(WireIn& in, LoggedDecision& decision, uint32_t row_count) {
  decision.primary_profile = static_cast<uint32_t>(in.Below(kProfilesMax - 1));
  const uint64_t profile_count = in.Below(kProfilesMax);
  for (uint64_t p = 0; p < profile_count && in.ok(); ++p) {
    LoggedDecision::Profile& profile = decision.profiles.emplace_back();
    const uint64_t index = in.Below(kProfilesMax * 2 - 1);
    profile.index = static_cast<uint32_t>(index >> 1);
    profile.failed = (index & 1) != 0;
    const uint64_t pick_count = in.Below(std::min(kTargetsMax, row_count));
    for (uint64_t i = 0; i < pick_count && in.ok(); ++i) {
      const uint64_t row = in.Below(row_count - 1);
      profile.picks.push_back({static_cast<uint32_t>(row), in.Double()});
    }
  }
  Check(in, "profiles");
}

void LogDecoder::Decode(WireIn& in, LoggedBegin& begin) {
  begin.flight = Sum(last_flight_ + 1, in.Signed());
  if (in.ok()) last_flight_ = begin.flight;
  begin.decision = last_decision_ - static_cast<uint64_t>(in.Signed());
  begin.target_index = static_cast<uint32_t>(in.Below(kTargetsMax - 1));
  begin.now_ns = Time(in);
  Check(in, "begin of a flight");
}

void LogDecoder::Decode(WireIn& in, LoggedFirstToken& first) {
  first.flight = last_flight_ - static_cast<uint64_t>(in.Signed());
  first.now_ns = Time(in);
  Check(in, "first token of a flight");
}

void LogDecoder::Decode(WireIn& in, LoggedEnd& end) {
  end.flight = last_flight_ - static_cast<uint64_t>(in.Signed());
  end.now_ns = Time(in);
  end.end = static_cast<End>(in.Below(static_cast<uint64_t>(End::kFailed)));
  end.usage.prompt_tokens = in.Signed();
  end.usage.cached_tokens = in.Signed();
  end.usage.output_tokens = in.Signed();
  Check(in, "end of a flight");
}

}  // namespace weir::io
