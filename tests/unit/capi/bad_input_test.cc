// The C API, used as it should not be: a code and a text, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "capi_testing.h"
#include "weir/c/weir.h"

namespace weir::testing {
namespace {

using ::testing::HasSubstr;

class CapiBadInputTest : public CapiTest {
 protected:
  weir_code Create(const weir_router_options& options) {
    return weir_router_create(&options, &router_, error_.get());
  }
  weir_code Decide(const weir_query& query) {
    weir_decision decision = {};
    const weir_code code = weir_decide(router_, &query, &decision, error_.get());
    weir_decision_release(&decision);
    return code;
  }
  weir_code Upsert(const weir_endpoint& endpoint) {
    return weir_pool_upsert(router_, &endpoint, nullptr, error_.get());
  }
};

TEST_F(CapiBadInputTest, RefusesOtherVersionsWithBothNumbers) {
  weir_router_options newer = weir_router_options_init();
  newer.api_minor = WEIR_C_API_MINOR + 3;
  newer.struct_size += 64;
  EXPECT_EQ(Create(newer), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(error_.text(), "built for weir's C API 1.3, this library speaks 1.0");
  weir_router_options other = weir_router_options_init();
  other.api_major = 2;
  EXPECT_EQ(Create(other), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(error_.text(), "built for weir's C API 2.0, this library speaks 1.0");
  for (const int difference : {-8, 8}) {
    weir_router_options wrong = weir_router_options_init();
    wrong.struct_size += static_cast<uint32_t>(difference);
    EXPECT_EQ(Create(wrong), WEIR_INVALID_ARGUMENT);
    EXPECT_THAT(error_.text(), HasSubstr("weir_router_options.struct_size"));
  }
  weir_router_options none = weir_router_options_init();
  none.struct_size = 0;
  EXPECT_EQ(Create(none), WEIR_INVALID_ARGUMENT);
  EXPECT_EQ(router_, nullptr);
}

TEST_F(CapiBadInputTest, RefusesBadOptions) {
  EXPECT_EQ(weir_router_create(nullptr, &router_, error_.get()), WEIR_INVALID_ARGUMENT);
  weir_router_options options = weir_router_options_init();
  EXPECT_EQ(weir_router_create(&options, nullptr, error_.get()), WEIR_INVALID_ARGUMENT);
  options.flags = 1u << 31;
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  options = weir_router_options_init();
  options.config_text = Str("a: b");
  options.config_path = Str("x.yaml");
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  EXPECT_THAT(error_.text(), HasSubstr("expected one"));
  options.config_text = {nullptr, 5};
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  options = weir_router_options_init();
  options.config_path = Str("no such file.yaml");
  EXPECT_EQ(Create(options), WEIR_NOT_FOUND);
  options = weir_router_options_init();
  options.plugin_file_count = 1;
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  options = weir_router_options_init();
  options.decisions_kept = 4096;
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  options = weir_router_options_init();
  options.reserved = 1;
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  options = weir_router_options_init();
  options.config_path = Str("/");
  EXPECT_EQ(Create(options), WEIR_NOT_FOUND);
}

TEST_F(CapiBadInputTest, SaysLineAndFieldOfAWrongConfiguration) {
  weir_router_options options = weir_router_options_init();
  options.config_text =
      Str("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
          "plugins:\n- type: queue-scorr\n");
  options.config_name = Str("mine.yaml");
  EXPECT_EQ(Create(options), WEIR_INVALID_ARGUMENT);
  EXPECT_THAT(error_.text(), HasSubstr("mine.yaml:4"));
  EXPECT_THAT(error_.text(), HasSubstr("did you mean \"queue-scorer\"?"));
}

TEST_F(CapiBadInputTest, CutsTextsToTheCallersBuffer) {
  Make();
  Add("a", 1);
  const weir_query query = weir_query_init();
  weir_decision decision = {};
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
  Buffer whole;
  ASSERT_EQ(weir_decision_json(&decision, whole.get()), WEIR_OK);
  const std::string json = whole.text();
  for (const uint64_t capacity : {uint64_t{0}, uint64_t{1}, uint64_t{9}, json.size()}) {
    std::vector<char> memory(capacity, '#');
    weir_buffer small = {memory.data(), capacity, 0};
    EXPECT_EQ(weir_decision_json(&decision, &small), WEIR_RESOURCE_EXHAUSTED);
    EXPECT_EQ(small.size, json.size());
    if (capacity == 0) continue;
    EXPECT_EQ(std::string(memory.data()), json.substr(0, capacity - 1));
  }
  std::vector<char> memory(json.size() + 1, '#');
  weir_buffer exact = {memory.data(), memory.size(), 0};
  EXPECT_EQ(weir_decision_json(&decision, &exact), WEIR_OK);
  EXPECT_EQ(std::string(memory.data()), json);
  weir_buffer none = {nullptr, 0, 0};
  EXPECT_EQ(weir_decision_text(&decision, &none), WEIR_RESOURCE_EXHAUSTED);
  EXPECT_GT(none.size, 0u);
  // A target array that is too small still says how many there are.
  uint64_t count = 0;
  EXPECT_EQ(weir_decision_targets(&decision, nullptr, 0, &count), WEIR_OK);
  EXPECT_EQ(count, 1u);
  weir_decision_release(&decision);

  char tiny[8];
  weir_buffer error = {tiny, sizeof(tiny), 0};
  EXPECT_EQ(weir_decide(nullptr, &query, &decision, &error), WEIR_INVALID_ARGUMENT);
  EXPECT_STREQ(tiny, "router:");
  EXPECT_EQ(error.size, std::string("router: null").size());
  EXPECT_EQ(weir_decide(nullptr, &query, &decision, nullptr), WEIR_INVALID_ARGUMENT);
}

TEST_F(CapiBadInputTest, TakesNullHandlesForErrors) {
  const weir_query query = weir_query_init();
  const weir_http_request request = weir_http_request_init();
  weir_decision decision = {};
  weir_flight flight = {};
  weir_stats stats = weir_stats_init();
  weir_intake* intake = nullptr;
  uint64_t count = 0;
  weir_buffer* error = error_.get();
  const weir_admitted ignore = [](void*, weir_code, weir_str) {};
  const weir_code codes[] = {
      weir_decide(nullptr, &query, &decision, error),
      weir_decide_batch(nullptr, nullptr, 0, nullptr, nullptr, nullptr),
      weir_admit(nullptr, &query, &decision, ignore, nullptr, error),
      weir_begin(nullptr, 0, &flight, error),
      weir_begin(&decision, 0, nullptr, error),
      weir_flight_first_token(nullptr),
      weir_flight_finish(nullptr, nullptr),
      weir_decision_targets(nullptr, nullptr, 0, &count),
      weir_decision_targets(&decision, nullptr, 0, nullptr),
      weir_decision_targets(&decision, nullptr, 1, &count),
      weir_decision_headers(nullptr, nullptr, 0, &count),
      weir_decision_json(nullptr, error),
      weir_decision_json(&decision, nullptr),
      weir_decision_text(nullptr, error),
      weir_decision_record(nullptr),
      weir_router_describe(nullptr, error),
      weir_router_stats(nullptr, &stats),
      weir_router_metrics(nullptr, error),
      weir_router_recent_decisions(nullptr, error),
      weir_pool_upsert(nullptr, nullptr, nullptr, error),
      weir_pool_remove(nullptr, Str("a"), {}, error),
      weir_pool_replace(nullptr, nullptr, 0, error),
      weir_pool_sample_started(nullptr, {}),
      weir_pool_apply_samples(nullptr, nullptr, 0, error),
      weir_intake_create(nullptr, 0, &intake, error),
      weir_intake_create(nullptr, 0, nullptr, error),
      weir_intake_decide(nullptr, &request, &decision, nullptr, error),
  };
  for (size_t i = 0; i < std::size(codes); ++i) EXPECT_EQ(codes[i], WEIR_INVALID_ARGUMENT) << i;
  EXPECT_EQ(weir_router_needs(nullptr), 0u);
  EXPECT_EQ(weir_pool_in_flight(nullptr, {}), 0u);
  weir_router_destroy(nullptr);
  weir_router_destroy(&router_);
  weir_intake_destroy(nullptr);
  weir_intake_destroy(&intake);
  weir_decision_release(nullptr);
  weir_decision_release(&decision);
}

TEST_F(CapiBadInputTest, EmptyHandlesAreErrors) {
  Make();
  Add("a", 1);
  weir_decision decision = {};
  weir_flight flight = {};
  Buffer text;
  uint64_t count = 7;
  EXPECT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(weir_flight_first_token(&flight), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(weir_decision_json(&decision, text.get()), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(weir_decision_text(&decision, text.get()), WEIR_FAILED_PRECONDITION);
  EXPECT_EQ(weir_decision_targets(&decision, nullptr, 0, &count), WEIR_OK);
  EXPECT_EQ(count, 0u);
  const weir_query query = weir_query_init();
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK);
  EXPECT_EQ(weir_begin(&decision, 1, &flight, error_.get()), WEIR_OUT_OF_RANGE);
  ASSERT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_OK);
  // Beginning into a flight that is open ends that one.
  ASSERT_EQ(weir_begin(&decision, 0, &flight, error_.get()), WEIR_OK);
  EXPECT_EQ(Stats().flights_ended, 1u);
  weir_usage usage = weir_usage_init();
  usage.end = 9;
  EXPECT_EQ(weir_flight_finish(&flight, &usage), WEIR_INVALID_ARGUMENT);
  usage = weir_usage_init();
  usage.struct_size = 0;
  EXPECT_EQ(weir_flight_finish(&flight, &usage), WEIR_INVALID_ARGUMENT);
  EXPECT_EQ(Stats().flights_ended, 1u) << "still open";
  EXPECT_EQ(weir_flight_finish(&flight, nullptr), WEIR_OK);
  weir_decision_release(&decision);
}

TEST_F(CapiBadInputTest, AnEmptyPoolHasNoDecision) {
  Make();
  EXPECT_EQ(Decide(weir_query_init()), WEIR_UNAVAILABLE);
  EXPECT_THAT(error_.text(), HasSubstr("endpoint"));
}

TEST_F(CapiBadInputTest, RefusesBadQueries) {
  Make();
  Add("a", 1);
  const weir_str no_data = {nullptr, 3};
  const std::vector<weir_header> headers(129, weir_header{Str("a"), Str("b")});
  const weir_header bad_header = {Str("a"), no_data};
  const weir_part bad_kind = {9, 0, Str("x")}, bad_bytes = {WEIR_PART_TEXT, 0, no_data};
  const weir_prompt no_parts = {nullptr, 2, nullptr, 0}, no_tokens = {nullptr, 0, nullptr, 2};
  const weir_prompt bad_kinds = weir_prompt_of_parts(&bad_kind, 1);
  const weir_prompt bad_texts = weir_prompt_of_parts(&bad_bytes, 1);
  const std::vector<weir_part> parts(16385, weir_part_of_text(Str("x")));
  const weir_prompt many_parts = weir_prompt_of_parts(parts.data(), parts.size());
  const weir_prompt overflow[] = {weir_prompt_of_parts(parts.data(), 1),
                                  weir_prompt_of_parts(parts.data(), UINT64_MAX)};
  const std::vector<weir_prompt> prompts(2049, weir_prompt{});
  struct Case {
    const char* text;
    weir_code code;
    std::function<void(weir_query&)> spoil;
  };
  const auto one = [](const weir_prompt& prompt) {
    return [&prompt](weir_query& q) { q.prompts = &prompt, q.prompt_count = 1; };
  };
  const Case cases[] = {
      {"weir_query.struct_size", WEIR_INVALID_ARGUMENT, [](weir_query& q) { q.struct_size = 0; }},
      {"api: ", WEIR_INVALID_ARGUMENT, [](weir_query& q) { q.api = 99; }},
      {"flags: ", WEIR_INVALID_ARGUMENT, [](weir_query& q) { q.flags = 1u << 20; }},
      {"id: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.id = no_data; }},
      {"model: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.model = no_data; }},
      {"cache_salt: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.cache_salt = no_data; }},
      {"objective: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.objective = no_data; }},
      {"fairness_id: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.fairness_id = no_data; }},
      {"subset: ", WEIR_INVALID_ARGUMENT, [&](weir_query& q) { q.subset = no_data; }},
      {"headers: null", WEIR_INVALID_ARGUMENT, [](weir_query& q) { q.header_count = 1; }},
      {"headers: 129 ", WEIR_OUT_OF_RANGE,
       [&](weir_query& q) { q.headers = headers.data(), q.header_count = headers.size(); }},
      {"headers[0]: ", WEIR_INVALID_ARGUMENT,
       [&](weir_query& q) { q.headers = &bad_header, q.header_count = 1; }},
      {"prompts: null", WEIR_INVALID_ARGUMENT, [](weir_query& q) { q.prompt_count = 1; }},
      {"prompts: 2049 ", WEIR_OUT_OF_RANGE,
       [&](weir_query& q) { q.prompts = prompts.data(), q.prompt_count = prompts.size(); }},
      {"prompts[0].parts: null", WEIR_INVALID_ARGUMENT, one(no_parts)},
      {"prompts[0].tokens: null", WEIR_INVALID_ARGUMENT, one(no_tokens)},
      {"prompts[0].parts[0]: kind", WEIR_INVALID_ARGUMENT, one(bad_kinds)},
      {"prompts[0].parts[0]: a size", WEIR_INVALID_ARGUMENT, one(bad_texts)},
      {"prompts: more than 16384 parts", WEIR_OUT_OF_RANGE, one(many_parts)},
      {"prompts: more than 16384 parts", WEIR_OUT_OF_RANGE,
       [&](weir_query& q) { q.prompts = overflow, q.prompt_count = 2; }},
  };
  for (const Case& one_case : cases) {
    weir_query query = weir_query_init();
    one_case.spoil(query);
    EXPECT_EQ(Decide(query), one_case.code) << one_case.text;
    EXPECT_THAT(error_.text(), ::testing::StartsWith(one_case.text));
  }
  // At the limits.
  weir_query full = weir_query_init();
  const weir_prompt most_parts = weir_prompt_of_parts(parts.data(), 16384);
  full.headers = headers.data();
  full.header_count = 128;
  full.prompts = &most_parts;
  full.prompt_count = 1;
  EXPECT_EQ(Decide(full), WEIR_OK) << error_.text();
  full.prompts = prompts.data();
  full.prompt_count = 2048;
  EXPECT_EQ(Decide(full), WEIR_OK) << error_.text();
}

TEST_F(CapiBadInputTest, RefusesBadHttpRequests) {
  Make();
  Add("a", 1);
  weir_intake* intake = nullptr;
  ASSERT_EQ(weir_intake_create(router_, 0, &intake, error_.get()), WEIR_OK);
  weir_decision decision = {};
  weir_http_result result = weir_http_result_init();
  const auto decide = [&](const weir_http_request& request) {
    return weir_intake_decide(intake, &request, &decision, &result, error_.get());
  };
  for (const char* body : {"", "{", "[]", "{\"prompt\": 1}", "{\"model\":\"m\",\"prompt\":{}}",
                           "{\"model\":\"m\",\"prompt\":\"\xff\xfe\"}"}) {
    weir_http_request request = weir_http_request_init();
    request.path = Str("/v1/completions");
    request.body = Str(body);
    EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT) << body;
    EXPECT_NE(error_.text(), "");
    EXPECT_EQ(Primary(decision), "none");
  }
  EXPECT_EQ(weir_intake_decide(intake, nullptr, &decision, nullptr, error_.get()),
            WEIR_INVALID_ARGUMENT);
  weir_http_request request = weir_http_request_init();
  EXPECT_EQ(weir_intake_decide(intake, &request, nullptr, nullptr, error_.get()),
            WEIR_INVALID_ARGUMENT);
  request.struct_size = 8;
  EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT);
  request = weir_http_request_init();
  request.flags = 1024;
  EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT);
  request = weir_http_request_init();
  request.header_count = 1;
  EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT);
  const std::vector<weir_header> headers(129, weir_header{Str("a"), Str("b")});
  request.headers = headers.data();
  request.header_count = headers.size();
  EXPECT_EQ(decide(request), WEIR_OUT_OF_RANGE);
  request = weir_http_request_init();
  request.body = {nullptr, 9};
  EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT);
  result.struct_size = 1;
  request = weir_http_request_init();
  EXPECT_EQ(decide(request), WEIR_INVALID_ARGUMENT);
  weir_intake_destroy(&intake);
}

TEST_F(CapiBadInputTest, RefusesBadEndpointsAndSamples) {
  Make();
  const weir_str no_data = {nullptr, 3};
  weir_endpoint good = weir_endpoint_init();
  good.name = Str("a");
  good.address = Str("10.0.0.1:8000");
  weir_metrics bad_bits = weir_metrics_init(), bad_size = weir_metrics_init();
  weir_metrics bad_names = weir_metrics_init();
  bad_bits.present = 1u << 30;
  bad_size.struct_size = 1;
  bad_names.present = WEIR_METRIC_ADAPTERS;
  bad_names.active_adapter_count = 1;
  weir_metrics bad_ratio = weir_metrics_init(), bad_reserved = weir_metrics_init();
  bad_ratio.present = WEIR_METRIC_KV_USED_RATIO;
  bad_ratio.kv_used_ratio = std::nan("");
  bad_reserved.reserved = 1;
  const std::vector<weir_label> labels(65, weir_label{Str("k"), Str("v")});
  const weir_label bad_label = {Str("k"), no_data};
  const std::function<void(weir_endpoint&)> spoils[] = {
      [](weir_endpoint& e) { e.struct_size = 4; },
      [](weir_endpoint& e) { e.name = {}; },
      [&](weir_endpoint& e) { e.name = no_data; },
      [&](weir_endpoint& e) { e.namespace_name = no_data; },
      [&](weir_endpoint& e) { e.address = no_data; },
      [](weir_endpoint& e) { e.address = Str("10.0.0.1:70000"); },
      [](weir_endpoint& e) { e.label_count = 1; },
      [&](weir_endpoint& e) { e.labels = &bad_label, e.label_count = 1; },
      [&](weir_endpoint& e) { e.labels = labels.data(), e.label_count = labels.size(); },
      [&](weir_endpoint& e) { e.metrics = &bad_bits; },
      [&](weir_endpoint& e) { e.metrics = &bad_size; },
      [&](weir_endpoint& e) { e.metrics = &bad_names; },
      [&](weir_endpoint& e) { e.metrics = &bad_ratio; },
      [&](weir_endpoint& e) { e.metrics = &bad_reserved; },
      [](weir_endpoint& e) { e.reserved = 1; },
  };
  for (size_t i = 0; i < std::size(spoils); ++i) {
    weir_endpoint endpoint = good;
    spoils[i](endpoint);
    EXPECT_EQ(Upsert(endpoint), WEIR_INVALID_ARGUMENT) << i;
    EXPECT_NE(error_.text(), "") << i;
    // Replace skips it and takes the other.
    const weir_endpoint* both[] = {&endpoint, &good, nullptr};
    EXPECT_EQ(weir_pool_replace(router_, both, 3, error_.get()), WEIR_INVALID_ARGUMENT) << i;
    EXPECT_EQ(Stats().endpoint_count, 1u) << i;
  }
  weir_sample sample = weir_sample_init();
  const weir_sample* samples[] = {&sample};
  EXPECT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_INVALID_ARGUMENT);
  sample.metrics = &bad_bits;
  EXPECT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_INVALID_ARGUMENT);
  EXPECT_THAT(error_.text(), HasSubstr("samples[0]: "));
  for (const weir_metrics* bad : {&bad_size, &bad_ratio, &bad_reserved}) {
    sample.metrics = bad;
    EXPECT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_INVALID_ARGUMENT);
  }
  weir_metrics fine = weir_metrics_init();
  sample.metrics = &fine;
  sample.reserved = 1;
  EXPECT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_INVALID_ARGUMENT);
  sample.reserved = 0;
  sample.id = {4'000'000'000u, 1};
  EXPECT_EQ(weir_pool_apply_samples(router_, samples, 1, error_.get()), WEIR_OK)
      << "unknown ids are ignored";
  EXPECT_EQ(weir_pool_sample_started(router_, sample.id), WEIR_OK);
  EXPECT_EQ(weir_pool_in_flight(router_, sample.id), 0u);
}

// Texts are bytes: what is not UTF-8 goes through, and JSON stays JSON.
TEST_F(CapiBadInputTest, InvalidUtf8StaysInsideTexts) {
  Make();
  Add("a\xff", 1);
  weir_query query = weir_query_init();
  query.id = Str("\xc3(");
  query.model = Str("\xf0\x28\x8c\x28");
  const weir_part part = weir_part_of_text(Str("\xed\xa0\x80 half a surrogate"));
  const weir_prompt prompt = weir_prompt_of_parts(&part, 1);
  query.prompts = &prompt;
  query.prompt_count = 1;
  weir_decision decision = {};
  ASSERT_EQ(weir_decide(router_, &query, &decision, error_.get()), WEIR_OK) << error_.text();
  Buffer json;
  ASSERT_EQ(weir_decision_json(&decision, json.get()), WEIR_OK);
  EXPECT_TRUE(nlohmann::json::accept(json.text()));
  weir_decision_release(&decision);
}

}  // namespace
}  // namespace weir::testing
