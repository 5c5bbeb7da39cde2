// The C API, used as it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "capi_testing.h"
#include "testing/allocation_guard.h"
#include "weir/c/weir.h"

namespace weir::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(CapiVersionTest, SaysItsVersions) {
  EXPECT_EQ(weir_c_api_version(), WEIR_C_API_MAJOR << 16 | WEIR_C_API_MINOR);
  EXPECT_THAT(weir_version(), ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(Text(weir_code_name(WEIR_OUT_OF_RANGE)), "out_of_range");
  EXPECT_EQ(Text(weir_code_name(-1)), "unknown");
}

TEST_F(CapiTest, DecidesBeginsAndFinishes) {
  Make();
  const weir_endpoint_id a = Add("a", 1, 4);
  Add("b", 2, 0);
  const uint32_t tokens[] = {1, 2, 3, 4};
  const weir_prompt prompt = weir_prompt_of_tokens(tokens, 4);
  weir_query query = weir_query_init();
  query.id = Str("r1");
  query.model = Str("m");
  query.prompts = &prompt;
  query.prompt_count = 1;
  weir_decision decision = {};
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK) << error_.text();
  EXPECT_EQ(Primary(decision), "default/b");
  weir_header header = {};
  uint64_t count = 0;
  ASSERT_EQ(weir_decision_headers(&decision, &header, 1, &count), WEIR_OK);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(Text(header.name), "x-gateway-destination-endpoint");
  EXPECT_EQ(Text(header.value), "10.0.0.2:8000");

  weir_target target = {};
  weir_decision_targets(&decision, &target, 1, &count);
  weir_flight flight = {};
  ASSERT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_OK) << error_.text();
  EXPECT_EQ(weir_pool_in_flight(router_, target.id), 1u);
  EXPECT_EQ(weir_pool_in_flight(router_, a), 0u);
  EXPECT_EQ(weir_flight_first_token(&flight), WEIR_OK);
  weir_usage usage = weir_usage_init();
  usage.output_tokens = 10;
  EXPECT_EQ(weir_flight_finish(&flight, &usage), WEIR_OK);
  EXPECT_EQ(weir_pool_in_flight(router_, target.id), 0u);

  Buffer json, text;
  EXPECT_EQ(weir_decision_json(&decision, json.get()), WEIR_OK);
  const auto parsed = nlohmann::json::parse(json.text());
  EXPECT_EQ(parsed["request_id"], "r1");
  EXPECT_EQ(parsed["prompt_tokens"], 4);
  EXPECT_EQ(weir_decision_text(&decision, text.get()), WEIR_OK);
  EXPECT_THAT(text.text(), HasSubstr("queue-scorer"));
  weir_decision_release(&decision);
  EXPECT_EQ(decision.opaque[0], nullptr);

  const weir_stats stats = Stats();
  EXPECT_EQ(stats.decisions, 1u);
  EXPECT_EQ(stats.flights_begun, 1u);
  EXPECT_EQ(stats.flights_ended, 1u);
  EXPECT_EQ(stats.endpoint_count, 2u);
}

// The default of flow control: nothing waits.
TEST_F(CapiTest, AdmitCallsBackOnce) {
  Make();
  struct Seen {
    int calls = 0;
    weir_code code = -1;
    std::string error;
  } seen;
  const auto admitted = [](void* context, weir_code code, weir_str error) {
    auto& into = *static_cast<Seen*>(context);
    ++into.calls;
    into.code = code;
    into.error = Text(error);
  };
  const weir_query query = weir_query_init();
  weir_decision decision = {};
  ASSERT_EQ(weir_admit(router_, &query, &decision, admitted, &seen, error_.get()), WEIR_OK);
  EXPECT_EQ(seen.calls, 1);
  EXPECT_EQ(seen.code, WEIR_UNAVAILABLE);
  EXPECT_THAT(seen.error, HasSubstr("endpoint"));
  Add("a", 1);
  ASSERT_EQ(weir_admit(router_, &query, &decision, admitted, &seen, error_.get()), WEIR_OK);
  EXPECT_EQ(seen.calls, 2);
  EXPECT_EQ(seen.code, WEIR_OK);
  EXPECT_EQ(seen.error, "");
  EXPECT_EQ(Primary(decision), "default/a");
  weir_decision_release(&decision);
}

TEST_F(CapiTest, ReadsOpenAiBodiesThroughAnIntake) {
  Make();
  Add("a", 1);
  weir_intake* intake = nullptr;
  ASSERT_EQ(weir_intake_create(router_, 1, &intake, error_.get()), WEIR_OK);
  const std::string body =
      R"({"model":"m","stream":true,"messages":[{"role":"user","content":"Hello there"}]})";
  const weir_header headers[] = {{Str("x-request-id"), Str("r7")}};
  weir_http_request request = weir_http_request_init();
  request.path = Str("/v1/chat/completions");
  request.headers = headers;
  request.header_count = 1;
  request.body = Str(body);
  weir_http_result result = weir_http_result_init();
  weir_decision decision = {};
  ASSERT_EQ(weir_intake_decide(intake, &request, &decision, &result, error_.get()), WEIR_OK)
      << error_.text();
  EXPECT_EQ(result.flags, uint32_t{WEIR_HTTP_STREAM});
  EXPECT_EQ(Text(result.parser), "openai-parser");
  EXPECT_EQ(Text(result.target_model), "m");
  EXPECT_EQ(Text(result.body[0]) + Text(result.body[1]) + Text(result.body[2]), body);
  Buffer json;
  ASSERT_EQ(weir_decision_json(&decision, json.get()), WEIR_OK);
  EXPECT_EQ(nlohmann::json::parse(json.text())["request_id"], "r7");

  request.flags = WEIR_HTTP_HEADERS_ONLY;
  request.body = {};
  EXPECT_EQ(weir_intake_decide(intake, &request, &decision, nullptr, error_.get()), WEIR_OK);
  EXPECT_EQ(Primary(decision), "default/a");
  weir_decision_release(&decision);
  weir_intake_destroy(&intake);
  EXPECT_EQ(intake, nullptr);
}

TEST_F(CapiTest, RewritesModels) {
  Make(std::string(kQueueOnly) +
       "resources:\n  modelRewrites:\n  - name: r\n    rules:\n"
       "    - matches: [{model: {value: old}}]\n      targets: [{modelRewrite: new}]\n");
  Add("a", 1);
  weir_intake* intake = nullptr;
  ASSERT_EQ(weir_intake_create(router_, 1, &intake, error_.get()), WEIR_OK);
  weir_http_request request = weir_http_request_init();
  request.path = Str("/v1/completions");
  request.body = Str(R"({"model":"old","prompt":"p"})");
  weir_http_result result = weir_http_result_init();
  weir_decision decision = {};
  ASSERT_EQ(weir_intake_decide(intake, &request, &decision, &result, error_.get()), WEIR_OK)
      << error_.text();
  EXPECT_EQ(result.flags, uint32_t{WEIR_HTTP_BODY_CHANGED});
  EXPECT_EQ(Text(result.incoming_model), "old");
  EXPECT_EQ(Text(result.target_model), "new");
  EXPECT_EQ(Text(result.body[0]) + Text(result.body[1]) + Text(result.body[2]),
            R"({"model":"new","prompt":"p"})");
  weir_decision_release(&decision);
  weir_intake_destroy(&intake);
}

// A sole text need not be aligned or padded: the engine's plugins read a copy.
TEST_F(CapiTest, TextPromptsOfAnyAlignmentAreTheSamePrompt) {
  Make();
  Add("a", 1);
  Add("b", 2);
  std::string text(1027, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * i % 26);
  std::string home;
  for (size_t shift = 0; shift < 5; ++shift) {
    // Ends where its memory ends, so that a sanitizer sees one byte more being read.
    std::vector<char> memory(shift + text.size());
    std::copy(text.begin(), text.end(), memory.begin() + static_cast<ptrdiff_t>(shift));
    const weir_part part = weir_part_of_text({memory.data() + shift, text.size()});
    const weir_prompt prompt = weir_prompt_of_parts(&part, 1);
    weir_query query = weir_query_init();
    query.model = Str("m");
    query.prompts = &prompt;
    query.prompt_count = 1;
    weir_decision decision = {};
    weir_flight flight = {};
    ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK) << error_.text();
    if (shift == 0) home = Primary(decision);
    EXPECT_EQ(Primary(decision), home) << "its prefix is held there";
    ASSERT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_OK);
    weir_flight_finish(&flight, nullptr);
    Buffer json;
    weir_decision_json(&decision, json.get());
    EXPECT_EQ(nlohmann::json::parse(json.text())["prompt_tokens"], 257);
    weir_decision_release(&decision);
  }
}

TEST_F(CapiTest, SubsetsAndFlagsReachTheEngine) {
  Make();
  Add("a", 1, 0);
  Add("b", 2, 9);
  weir_query query = weir_query_init();
  query.flags = WEIR_QUERY_SUBSET;
  query.subset = Str("10.0.0.3:8000,10.0.0.2");
  weir_decision decision = {};
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK) << error_.text();
  EXPECT_EQ(Primary(decision), "default/b");
  query.subset = {};
  EXPECT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_UNAVAILABLE);
  EXPECT_EQ(Primary(decision), "none") << "empty on failure";
  query.flags = WEIR_QUERY_IF_AVAILABLE;
  EXPECT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_FAILED_PRECONDITION);
  query.flags = WEIR_QUERY_ANY_ENDPOINT;
  EXPECT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
  weir_decision_release(&decision);
}

TEST_F(CapiTest, PoolsAreReplacedSampledAndEmptied) {
  Make();
  weir_endpoint a = weir_endpoint_init(), b = weir_endpoint_init();
  a.name = Str("a");
  a.address = Str("10.0.0.1:8000");
  b.name = Str("b");
  b.address = Str("10.0.0.2:8000");
  const weir_endpoint* both[] = {&a, &b};
  ASSERT_EQ(weir_pool_replace(router_, both, 2, error_.get()), WEIR_OK) << error_.text();
  EXPECT_EQ(Stats().endpoint_count, 2u);
  weir_endpoint_id id = {};
  ASSERT_EQ(weir_pool_upsert(router_, &a, &id, error_.get()), WEIR_OK);
  weir_metrics metrics = weir_metrics_init();
  const weir_str adapters[] = {Str("lora-1")};
  metrics.present = WEIR_METRIC_WAITING_REQUESTS | WEIR_METRIC_RUNNING_REQUESTS |
                    WEIR_METRIC_KV_USED_RATIO | WEIR_METRIC_KV_BLOCKS | WEIR_METRIC_ADAPTERS;
  metrics.waiting_requests = 5;
  metrics.kv_used_ratio = 0.5;
  metrics.active_adapters = adapters;
  metrics.active_adapter_count = 1;
  weir_sample sample = weir_sample_init();
  sample.id = id;
  sample.metrics = &metrics;
  const weir_sample* samples[] = {&sample};
  EXPECT_EQ(weir_pool_sample_started(router_, id), WEIR_OK);
  ASSERT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_OK) << error_.text();
  const weir_query query = weir_query_init();
  weir_decision decision = {};
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
  Buffer json;
  ASSERT_EQ(weir_decision_json(&decision, json.get()), WEIR_OK);
  const auto row = nlohmann::json::parse(json.text())["profiles"][0]["endpoints"][0];
  EXPECT_EQ(row["waiting_requests"], 5);
  EXPECT_EQ(row["kv_used_ratio"], 0.5);

  ASSERT_EQ(weir_pool_remove(router_, Str("a"), {}, error_.get()), WEIR_OK) << error_.text();
  EXPECT_EQ(weir_pool_remove(router_, Str("a"), Str("default"), error_.get()), WEIR_NOT_FOUND);
  weir_decision_release(&decision);
  EXPECT_EQ(weir_pool_replace(router_, nullptr, 0, error_.get()), WEIR_OK);
  EXPECT_EQ(Stats().endpoint_count, 0u);
  EXPECT_EQ(weir_router_needs(router_),
            uint32_t{WEIR_METRIC_WAITING_REQUESTS} | uint32_t{WEIR_METRIC_KV_BLOCKS});
}

TEST_F(CapiTest, ShowsMetricsPipelineAndRecordedDecisions) {
  Make();
  Add("a", 1);
  Buffer page, pipeline, empty, recent;
  ASSERT_EQ(weir_router_recent_decisions(router_, empty.get()), WEIR_OK);
  EXPECT_EQ(empty.text(), "[]");
  for (const char* id : {"r1", "r2"}) {
    weir_query query = weir_query_init();
    query.id = weir_text(id);
    weir_decision decision = {};
    ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
    EXPECT_EQ(weir_decision_record(&decision), WEIR_OK);
    EXPECT_EQ(weir_decision_record(&decision), WEIR_FAILED_PRECONDITION);
  }
  ASSERT_EQ(weir_router_recent_decisions(router_, recent.get()), WEIR_OK);
  const auto parsed = nlohmann::json::parse(recent.text());
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_EQ(parsed[0]["request_id"], "r2");
  ASSERT_EQ(weir_router_metrics(router_, page.get()), WEIR_OK);
  EXPECT_THAT(page.text(), HasSubstr("\nweir_decisions_total 2\n"));
  EXPECT_THAT(page.text(), HasSubstr("plugin_name=\"queue-scorer\""));
  ASSERT_EQ(weir_router_describe(router_, pipeline.get()), WEIR_OK);
  EXPECT_THAT(pipeline.text(), HasSubstr("queue-scorer"));
}

TEST_F(CapiTest, LoadsFilesAndTheDefaultPipeline) {
  weir_router_options options = weir_router_options_init();
  ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
  weir_router_destroy(&router_);
  EXPECT_EQ(router_, nullptr);
  options.config_path = Str(WEIR_SOURCE_DIR "/examples/quickstart/prefix_aware.yaml");
  ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
}

TEST_F(CapiTest, LoadsPluginsAndLogsWarnings) {
  const weir_str files[] = {Str(WEIR_BIN_DIR "/libbad_plugins.so")};
  std::string log;
  weir_router_options options = weir_router_options_init();
  options.config_text =
      Str("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
          "- {type: tokenizer}\n- {type: drop-all-filter}\n- {type: queue-scorer}\n");
  options.log = [](void* context, uint32_t level, weir_str text) {
    EXPECT_EQ(level, uint32_t{WEIR_LOG_WARNING});
    *static_cast<std::string*>(context) += Text(text) + "\n";
  };
  options.log_context = &log;
  EXPECT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_INVALID_ARGUMENT);
  EXPECT_THAT(error_.text(), HasSubstr("drop-all-filter")) << "nobody has loaded it";
  options.plugin_files = files;
  options.plugin_file_count = 1;
  ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
  EXPECT_THAT(log, HasSubstr("token-producer")) << "the new name of a deprecated type";
  Add("a", 1);
  const weir_query query = weir_query_init();
  weir_decision decision = {};
  EXPECT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_RESOURCE_EXHAUSTED);
  EXPECT_EQ(Stats().decisions_all_dropped, 1u);
}

TEST_F(CapiTest, BatchDecidesEachAndGoesOnAfterErrors) {
  Make();
  Add("a", 1);
  weir_query good = weir_query_init(), bad = weir_query_init();
  bad.struct_size = 3;
  const weir_query* queries[] = {&good, &bad, nullptr, &good};
  weir_decision decisions[4] = {};
  weir_code codes[4] = {-1, -1, -1, -1};
  char texts[4][256];
  weir_buffer errors[4];
  for (int i = 0; i < 4; ++i) errors[i] = {texts[i], sizeof(texts[i]), 0};
  EXPECT_EQ(weir_decide_batch(router_, queries, 4, decisions, codes, errors),
            WEIR_INVALID_ARGUMENT);
  EXPECT_THAT(codes, ::testing::ElementsAre(WEIR_OK, WEIR_INVALID_ARGUMENT, WEIR_INVALID_ARGUMENT,
                                            WEIR_OK));
  EXPECT_EQ(Primary(decisions[0]), "default/a");
  EXPECT_EQ(Primary(decisions[1]), "none");
  EXPECT_EQ(Primary(decisions[3]), "default/a");
  EXPECT_THAT(texts[1], StartsWith("weir_query.struct_size: 3, expected "));
  EXPECT_STREQ(texts[2], "query: null");
  for (weir_decision& decision : decisions) weir_decision_release(&decision);
  EXPECT_EQ(weir_decide_batch(router_, nullptr, 0, nullptr, nullptr, nullptr), WEIR_OK);
}

// Handles keep what they need: any order of release is fine, and moving is copying the bytes.
TEST_F(CapiTest, DecisionsFlightsAndIntakesOutliveTheirRouter) {
  Make();
  Add("a", 1);
  const weir_query query = weir_query_init();
  weir_decision decision = {};
  weir_flight flight = {};
  weir_intake* intake = nullptr;
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
  ASSERT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_OK);
  ASSERT_EQ(weir_intake_create(router_, 0, &intake, error_.get()), WEIR_OK);
  weir_router_destroy(&router_);
  weir_decision moved = decision;
  decision = {};
  EXPECT_EQ(Primary(moved), "default/a");
  weir_http_request request = weir_http_request_init();
  request.flags = WEIR_HTTP_HEADERS_ONLY;
  weir_decision another = {};
  EXPECT_EQ(weir_intake_decide(intake, &request, &another, nullptr, error_.get()), WEIR_OK);
  weir_intake_destroy(&intake);
  weir_decision_release(&moved);
  weir_decision_release(&moved);
  weir_decision_release(&another);
  EXPECT_EQ(weir_flight_finish(&flight, nullptr), WEIR_OK);
  EXPECT_EQ(weir_flight_finish(&flight, nullptr), WEIR_FAILED_PRECONDITION);
}

TEST_F(CapiTest, HotCallsAllocateNothingInSteadyState) {
  Make();
  for (int i = 1; i <= 20; ++i) Add("e" + std::to_string(i), i);
  std::vector<uint32_t> tokens(4096, 17);
  const weir_prompt prompt = weir_prompt_of_tokens(tokens.data(), tokens.size());
  const weir_header headers[] = {{Str("x-request-id"), Str("r")}, {Str("a"), Str("b")}};
  weir_query query = weir_query_init();
  query.model = Str("m");
  query.prompts = &prompt;
  query.prompt_count = 1;
  query.headers = headers;
  query.header_count = 2;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"Hello \"there\""}]})";
  weir_http_request request = weir_http_request_init();
  request.path = Str("/v1/chat/completions");
  request.headers = headers;
  request.header_count = 2;
  request.body = Str(body);
  weir_intake* intake = nullptr;
  ASSERT_EQ(weir_intake_create(router_, 1, &intake, error_.get()), WEIR_OK);
  const auto serve = [&] {
    const weir_query* queries[] = {&query, &query};
    weir_decision decisions[3] = {};
    weir_code codes[2];
    weir_target targets[4];
    uint64_t count = 0;
    weir_flight flight = {};
    bool ok = weir_decide_batch(router_, queries, 2, decisions, codes, nullptr) == WEIR_OK &&
              weir_intake_decide(intake, &request, &decisions[2], nullptr, nullptr) == WEIR_OK &&
              weir_decision_targets(&decisions[0], targets, 4, &count) == WEIR_OK && count > 0 &&
              weir_begin(&decisions[0], 0, &flight, nullptr) == WEIR_OK &&
              weir_flight_first_token(&flight) == WEIR_OK &&
              weir_flight_finish(&flight, nullptr) == WEIR_OK &&
              weir_decision_record(&decisions[1]) == WEIR_OK;
    for (weir_decision& decision : decisions) weir_decision_release(&decision);
    return ok;
  };
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(serve());
  {
    const AllocationForbidden guard;
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(serve());
  }
  weir_intake_destroy(&intake);
}

// Whichever allocation finds no memory: a code, and the next request is served.
TEST_F(CapiTest, SaysWhenNoMemoryIsLeft) {
  const weir_str files[] = {Str(WEIR_BIN_DIR "/libbad_plugins.so")};
  weir_router_options options = weir_router_options_init();
  options.plugin_files = files;
  options.plugin_file_count = 1;
  options.log = [](void*, uint32_t, weir_str) {};
  options.config_text =
      Str("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
          "- {type: throwing-scorer}\n- {type: prefix-cache-scorer}\n- {type: max-score-picker}\n");
  weir_http_request request = weir_http_request_init();
  request.path = Str("/v1/chat/completions");
  request.body = Str(R"({"model":"m","messages":[{"role":"user","content":"Hello \"there\""}]})");
  bool any_failed = true;
  int refused = 0;
  for (uint64_t calls = 0; any_failed; ++calls) {
    weir_router_destroy(&router_);
    ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
    Add("a", 1);
    weir_intake* intake = nullptr;
    ASSERT_EQ(weir_intake_create(router_, 1, &intake, nullptr), WEIR_OK);
    const auto serve = [&] {
      weir_decision decision = {};
      weir_flight flight = {};
      weir_code code = weir_intake_decide(intake, &request, &decision, nullptr, error_.get());
      if (code == WEIR_OK) code = weir_begin(&decision, 0, &flight, error_.get());
      if (code == WEIR_OK) code = weir_flight_finish(&flight, nullptr);
      weir_decision_release(&decision);
      return code;
    };
    {
      const AllocationFails fails(calls);
      const weir_code code = serve();
      any_failed = fails.failed() > 0;
      EXPECT_TRUE(code == WEIR_OK || code == WEIR_RESOURCE_EXHAUSTED) << calls << " gave " << code;
      if (code != WEIR_OK) ++refused;
    }
    EXPECT_EQ(serve(), WEIR_OK) << calls << ": " << error_.text();
    EXPECT_EQ(Stats().flights_begun, Stats().flights_ended);
    weir_intake_destroy(&intake);
  }
  EXPECT_GT(refused, 2) << "decision, scratch memory and flight at least";
}

// 32 picks among eight equal endpoints, as digits.
std::string Picks(const weir_router* router) {
  std::string picks;
  for (int i = 0; i < 32; ++i) {
    const weir_query query = weir_query_init();
    weir_decision decision = {};
    weir_target target = {};
    uint64_t count = 0;
    if (weir_decide(router, &query, &decision, nullptr) != WEIR_OK) return "refused";
    weir_decision_targets(&decision, &target, 1, &count);
    picks += target.name.data[target.name.size - 1];
    weir_decision_release(&decision);
  }
  return picks;
}
std::string PicksOfAChild(const weir_router* router) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    const std::string picks = Picks(router);
    _exit(write(ends[1], picks.data(), picks.size()) == 32 ? 0 : 1);
  }
  char picks[32] = {};
  const ssize_t size = read(ends[0], picks, sizeof(picks));
  int status = -1;
  waitpid(child, &status, 0);
  close(ends[0]);
  close(ends[1]);
  return status == 0 ? std::string(picks, size) : "failed";
}

TEST_F(CapiTest, ForkedProcessesDrawApartUnlessASeedWasGiven) {
  for (const uint64_t seed : {0, 7}) {
    weir_router_options options = weir_router_options_init();
    options.seed = seed;
    weir_router_destroy(&router_);
    ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
    for (int i = 0; i < 8; ++i) Add(std::to_string(i), 1 + i);
    const std::string first = PicksOfAChild(router_), second = PicksOfAChild(router_);
    const std::string own = Picks(router_);
    EXPECT_EQ(own.size(), 32u) << own;
    EXPECT_EQ(first == second, seed != 0) << first << " " << second;
    EXPECT_EQ(first == own, seed != 0) << first << " " << own;
  }
}

TEST_F(CapiTest, ManyThreadsDecideAtOnce) {
  Make();
  for (int i = 1; i <= 4; ++i) Add("e" + std::to_string(i), i);
  constexpr int kThreads = 8, kRounds = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      weir_intake* intake = nullptr;
      EXPECT_EQ(weir_intake_create(router_, 1, &intake, nullptr), WEIR_OK);
      weir_http_request request = weir_http_request_init();
      request.path = Str("/v1/completions");
      request.body = Str(R"({"model":"m","prompt":"hello"})");
      const weir_query query = weir_query_init();
      for (int i = 0; i < kRounds; ++i) {
        weir_decision decision = {};
        weir_flight flight = {};
        const weir_code code =
            i % 2 == 0 ? weir_decide(router_, &query, &decision, nullptr)
                       : weir_intake_decide(intake, &request, &decision, nullptr, nullptr);
        EXPECT_EQ(code, WEIR_OK);
        EXPECT_EQ(weir_begin(&decision, 0, &flight, nullptr), WEIR_OK);
        if (t == 0 && i % 16 == 0) Add("new" + std::to_string(i), 100 + i);
        weir_flight_finish(&flight, nullptr);
        weir_decision_release(&decision);
      }
      weir_intake_destroy(&intake);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Stats().decisions, uint64_t{kThreads} * kRounds);
  EXPECT_EQ(Stats().flights_ended, Stats().flights_begun);
}

}  // namespace
}  // namespace weir::testing
