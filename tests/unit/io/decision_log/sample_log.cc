#include "sample_log.h"

#include <sstream>

#include "weir/io/decision_log/wire.h"

namespace weir::io {

LogHeader SampleHeader() {
  return {.weir_version = "9.8.7",
          .pipeline_name = "pipeline.yaml",
          .pipeline_text = "kind: EndpointPickerConfig\n",
          .pipeline_hash = TextHash("kind: EndpointPickerConfig\n"),
          .count_unscraped_requests = false,
          .unscraped = UnscrapedPolicy::kIdle,
          .sample_age_ns_max = 2'000'000'000,
          .allow_experimental_plugins = true,
          .plugin_files = {"libzone.so", "libother.so"},
          .attribute_count = 3,
          .prompt_block_tokens = 64,
          .start_unix_ns = 1'700'000'000'000'000'000};
}

namespace {

PoolDelta FirstPool() {
  PoolDelta first{.version = 4, .pool_epoch = 3};
  for (uint32_t i = 0; i < 3; ++i) {
    first.added.push_back({.id = {i, i * 7},
                           .name = "default/server-" + std::to_string(i),
                           .address = "10.0.0." + std::to_string(i + 1) + ":8000",
                           .labels = {{"zone", i == 0 ? "a" : "b"}, {"role", ""}},
                           .waiting_requests = i,
                           .running_requests = 1000 * i,
                           .kv_used_ratio = 0.1f * static_cast<float>(i),
                           .kv_block_tokens = 16,
                           .kv_block_count = UINT32_MAX,
                           .sample_time_ns = i == 2 ? INT64_MIN : 1'000'000 - i,
                           .adapters = {{"sql-" + std::to_string(i)}, {"chat"}, i},
                           .attributes = {0.5 * i, std::nullopt, -1.0}});
  }
  return first;
}

// Every field has another value than its default.
LoggedDecision FullDecision() {
  LoggedDecision full{.number = 1,
                      .now_ns = 2'000'000,
                      .seed = 0xFEDCBA9876543210u,
                      .draws = 2,
                      .code = Code::kOk,
                      .has_sent = true,
                      .sent = {{0, 2, 300}, {2, 1, 0}},
                      .primary_profile = 1,
                      .profiles = {{.index = 0, .failed = true, .picks = {}},
                                   {.index = 1, .failed = false, .picks = {{2, 1.75}, {0, -0.0}}}}};
  full.request = {.api = Api::kChatCompletions,
                  .id = "0b1f6d3e",
                  .model = "meta-llama/Llama-3.1-8B-Instruct",
                  .incoming_model = "alias",
                  .objective = "critical",
                  .cache_salt = "salt",
                  .fairness_id = "tenant",
                  .priority = -3,
                  .stream = true,
                  .include_usage = true,
                  .if_available = true,
                  .any_endpoint = true,
                  .cut = true,
                  .max_output_tokens = 256,
                  .size_bytes = 12'345,
                  .subset = std::vector<std::string>{"10.0.0.1:8000", "10.0.0.2"},
                  .headers = {{"x-llm-d-a", "1"}, {"x-llm-d-b", ""}},
                  .prompts = {{.token_count = 150, .block_hashes = {11, 22, 33}},
                              {.token_count = 0, .estimated = true}}};
  return full;
}

}  // namespace

std::vector<LogRecord> SampleRecords() {
  std::vector<LogRecord> records;
  records.emplace_back(FirstPool());
  const LoggedDecision full = FullDecision();
  records.emplace_back(full);
  records.emplace_back(
      LoggedBegin{.flight = 1, .decision = 1, .target_index = 1, .now_ns = 2'000'100});
  LoggedDecision second = full;
  second.number = 3;  // 2 was dropped
  second.now_ns = 1'999'999;
  second.sent = {{2, 5, 9}};
  second.request.subset.emplace();
  second.request.prompts = {{.token_count = 200, .block_hashes = {11, 22, 44, 55}}};
  records.emplace_back(LoggedGap{1});
  records.emplace_back(second);
  PoolDelta changes{.version = 9, .pool_epoch = 4, .removed = {1}};
  changes.changed.push_back({.row = 0,
                             .fields = PoolDelta::kWaiting | PoolDelta::kSampleTime,
                             .values = {.waiting_requests = 9, .sample_time_ns = 2'500'000}});
  changes.changed.push_back({.row = 1,
                             .fields = PoolDelta::kAddress | PoolDelta::kLabels,
                             .values = {.address = "[fd00::1]:1", .labels = {{"zone", "c"}}}});
  changes.added.push_back({.id = {1, 8}, .name = "default/server-3", .address = "h:1"});
  changes.added.back().attributes = {std::nullopt, 3.0, std::nullopt};
  changes.changed.back().fields |= PoolDelta::kAdapters | PoolDelta::kAttributes;
  changes.changed.back().values.adapters.adapters_max = 7;
  changes.changed.back().values.attributes = {1.0, 2.0, std::nullopt};
  records.emplace_back(changes);
  records.emplace_back(LoggedDecision{.number = 2, .now_ns = -5, .code = Code::kUnavailable});
  records.emplace_back(LoggedFirstToken{.flight = 1, .now_ns = 3'000'000});
  records.emplace_back(LoggedEnd{.flight = 1,
                                 .now_ns = 4'000'000,
                                 .end = End::kClientGone,
                                 .usage = {.prompt_tokens = 150, .output_tokens = 7}});
  records.emplace_back(LogEnd{LogEnd::Reason::kBytesMax, 3, 1});
  return records;
}

void AppendRecord(const LogRecord& record, LogEncoder* encoder) {
  std::visit([encoder](const auto& one) { encoder->Append(one); }, record);
}

std::string LogOf(const std::vector<LogRecord>& records, size_t records_per_frame) {
  LogEncoder encoder;
  encoder.Append(SampleHeader());
  encoder.CloseFrame();
  for (size_t i = 0; i < records.size(); ++i) {
    AppendRecord(records[i], &encoder);
    if ((i + 1) % records_per_frame == 0) encoder.CloseFrame();
  }
  encoder.CloseFrame();
  return encoder.bytes();
}

ReadResult ReadAll(const std::string& bytes) {
  ReadResult result;
  auto reader =
      DecisionLogReader::FromStream(std::make_unique<std::istringstream>(bytes), "test.log");
  if (!reader.ok()) return {.status = reader.status(), .records = {}};
  while (true) {
    const auto record = (*reader)->Next();
    result.status = record.status();
    if (!record.ok() || *record == nullptr) break;
    result.records.push_back(**record);
  }
  result.closed = (*reader)->closed();
  result.skipped = (*reader)->skipped_records();
  return result;
}

}  // namespace weir::io
