#include "weir/intake.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "testing/allocation_guard.h"
#include "weir/resources.h"
#include "weir/response_format.h"

namespace weir {
namespace {

using Json = nlohmann::json;

Json Golden(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/intake/" + name);
  return Json::parse(file);
}

// A router whose file names these parsers; null: the default ones.
Router RouterWith(const Json& parsers) {
  std::string text =
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: "
      "random-picker\n";
  if (!parsers.is_null()) {
    std::string references;
    for (const std::string parser : parsers) {
      text += "- type: " + parser + "\n";
      references += "  - pluginRef: " + parser + "\n";
    }
    text += "requestHandler:\n  parsers:" + (references.empty() ? " []\n" : "\n" + references);
  }
  absl::StatusOr<Router> router = Router::FromText(text, "test.yaml", {.seed = 1});
  EXPECT_TRUE(router.ok()) << router.status() << text;
  return *std::move(router);
}

Resources ResourcesOf(const Json& objectives, const Json& rewrites) {
  Resources resources;
  for (const auto& [name, priority] : objectives.items()) {
    resources.objectives.push_back({.name = name, .priority = priority});
  }
  for (const Json& one : rewrites) {
    InferenceModelRewrite rewrite{.name = one.at("name"), .created_ns = one.at("created")};
    for (const Json& one_rule : one.at("rules")) {
      InferenceModelRewrite::Rule rule{.models = one_rule.at("models")};
      for (const Json& target : one_rule.at("targets")) {
        std::optional<uint32_t> weight;
        if (!target.at(1).is_null()) weight = target.at(1).get<uint32_t>();
        rule.targets.push_back({.model = target.at(0), .weight = weight});
      }
      rewrite.rules.push_back(rule);
    }
    resources.rewrites.push_back(rewrite);
  }
  return resources;
}

std::string BytesOf(const Json& one) {
  if (one.contains("body")) return one.at("body");
  const std::string hex = one.at("hex");
  std::string body;
  for (size_t i = 0; i < hex.size(); i += 2) {
    body.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return body;
}

std::string Joined(const IntakeResult& result) {
  std::string body;
  for (const std::string_view piece : result.body) body += piece;
  EXPECT_EQ(result.body_bytes(), body.size());
  return body;
}

std::string FormatName(ResponseFormat format) {
  constexpr const char* kNames[] = {"none",          "openai",     "anthropic", "sglang",
                                    "vllm-generate", "vllm-embed", "vertex"};
  return kNames[static_cast<uint32_t>(format)];
}

// What the test looks at, by the names that the golden cases use.
Json Seen(const Request& request, const IntakeResult& result, const std::string& original) {
  Json seen = {{"parser", result.parser},
               {"api", static_cast<uint32_t>(request.api)},
               {"incoming", result.incoming_model},
               {"target", result.target_model},
               {"body", Joined(result)},
               {"bytes", result.body_bytes()},
               {"unchanged", !result.body_changed && Joined(result) == original},
               {"stream", result.stream},
               {"skip_response", result.skip_response},
               {"can_rewrite", result.can_rewrite},
               {"format", FormatName(result.response_format)},
               {"id", request.id},
               {"salt", request.cache_salt},
               {"objective", request.objective},
               {"priority", request.priority},
               {"fairness", request.fairness_id},
               {"if_available", request.if_available},
               {"max_tokens", request.max_output_tokens.value_or(-1)},
               {"texts", Json::array()},
               {"media", Json::array()},
               {"tokens", Json::array()}};
  for (const Prompt& prompt : request.prompts) {
    std::string text;
    for (const PromptPart& part : prompt.parts) {
      if (part.kind == PromptPart::Kind::kText) {
        text += part.bytes;
      } else {
        seen["media"].push_back(part.bytes);
      }
    }
    if (!text.empty()) seen["texts"].push_back(text);
    for (const uint32_t token : prompt.tokens) seen["tokens"].push_back(token);
  }
  EXPECT_EQ(request.model, result.target_model);
  EXPECT_EQ(request.incoming_model, result.incoming_model);
  EXPECT_EQ(request.stream, result.stream);
  return seen;
}

TEST(Intake, ChoosesTheParserOfTheGoldenPaths) {
  const Json golden = Golden("parser_choice.json");
  for (const Json& one : golden.at("cases")) {
    if (one.at("parsers").empty()) continue;  // a file cannot say so
    Intake intake(RouterWith(one.at("parsers")));
    Request request;
    IntakeResult result;
    const std::string path = one.at("path");
    const absl::Status status = intake.Read({.path = path, .body = ""}, &request, &result);
    // The parser refuses the empty body, in words of its own.
    if (one.at("parser") == "") {
      EXPECT_EQ(status.message(), "no parser registered matching path suffix for: " + path);
    } else if (status.ok()) {
      EXPECT_EQ(result.parser, one.at("parser")) << path;
    } else {
      EXPECT_EQ(status.message().find("no parser"), std::string::npos) << path;
    }
  }
}

TEST(Intake, ReadsTheGoldenRequests) {
  const Json golden = Golden("requests.json");
  for (const Json& one : golden.at("cases")) {
    const std::string name = one.at("name");
    const Json parsers = one.contains("parsers") ? one.at("parsers") : Json();
    const Router router = RouterWith(parsers);
    ASSERT_TRUE(router.resources()
                    .Replace(ResourcesOf(golden.at("objectives"),
                                         one.contains("rewrites") ? one.at("rewrites") : Json()))
                    .ok())
        << name;
    Intake intake(router, 1);
    std::vector<std::pair<std::string, std::string>> texts;
    if (one.contains("headers")) texts = one.at("headers").get<decltype(texts)>();
    std::vector<Header> headers;
    for (const auto& [header, value] : texts) headers.push_back({header, value});
    const std::string path = one.at("path"), body = BytesOf(one);
    Request request;
    IntakeResult result;
    const absl::Status status =
        intake.Read({.headers = headers, .path = path, .body = body}, &request, &result);
    const Json& expected = one.at("expect");
    if (expected.contains("code")) {
      EXPECT_EQ(absl::StatusCodeToString(status.code()),
                expected.at("code") == "kInvalidArgument" ? "INVALID_ARGUMENT" : "OUT_OF_RANGE")
          << name;
      const std::string text(status.message());
      if (expected.contains("error")) {
        EXPECT_EQ(text, expected.at("error")) << name;
      }
      if (expected.contains("error_begins")) {
        EXPECT_EQ(text.rfind(expected.at("error_begins").get<std::string>(), 0), 0u)
            << name << ": " << text;
      }
      continue;
    }
    ASSERT_TRUE(status.ok()) << name << ": " << status;
    const Json seen = Seen(request, result, body);
    for (const auto& [field, value] : expected.items()) {
      EXPECT_EQ(seen.at(field), value) << name << ": " << field;
    }
  }
}

TEST(Intake, WeightsDecideHowOftenATargetIsChosen) {
  const Router router = RouterWith({});
  struct Case {
    std::optional<uint32_t> a, b, c;
    double share_a, share_b, share_c;
  };
  constexpr int kDraws = 2000;
  for (const Case& one :
       {Case{50, 50, std::nullopt, 0.5, 0.5, 0}, Case{70, 30, std::nullopt, 0.7, 0.3, 0},
        Case{{}, {}, {}, 1.0 / 3, 1.0 / 3, 1.0 / 3}, Case{1, 3, std::nullopt, 0.25, 0.75, 0}}) {
    Resources resources;
    resources.rewrites.push_back(
        {.name = "r",
         .rules = {{.models = {"m"}, .targets = {{"a", one.a}, {"b", one.b}, {"c", one.c}}}}});
    ASSERT_TRUE(router.resources().Replace(resources).ok());
    Intake intake(router, 7);
    std::map<std::string, int> count;
    for (int i = 0; i < kDraws; ++i) {
      Request request;
      IntakeResult result;
      ASSERT_TRUE(intake
                      .Read({.path = "/v1/completions", .body = R"({"model":"m","prompt":"x"})"},
                            &request, &result)
                      .ok());
      ++count[std::string(result.target_model)];
    }
    EXPECT_NEAR(count["a"], one.share_a * kDraws, 0.2 * kDraws * one.share_a);
    EXPECT_NEAR(count["b"], one.share_b * kDraws, 0.2 * kDraws * one.share_b);
    EXPECT_NEAR(count["c"], one.share_c * kDraws, 0.2 * kDraws * one.share_c);
  }
}

TEST(Intake, HeadersAloneAreEnoughForAnyEndpoint) {
  const Router router = RouterWith(Json::array({"openai-parser"}));
  Intake intake(router, 1);
  const std::string_view subset[] = {"10.0.0.1"};
  const Header headers[] = {
      {":path", "/v1/models"}, {"x-request-id", "r"}, {"prefer", "if-available"}};
  Request request;
  IntakeResult result;
  request.model = "left from before";
  intake.ReadHeadersOnly({.headers = headers, .subset = subset}, &request, &result);
  EXPECT_TRUE(request.any_endpoint);
  EXPECT_FALSE(request.if_available);
  EXPECT_EQ(request.id, "r");
  EXPECT_EQ(request.model, "");
  EXPECT_EQ(result.parser, "");
  ASSERT_TRUE(request.subset.has_value());
  EXPECT_EQ(request.subset->size(), 1u);
  ASSERT_TRUE(intake
                  .Read({.path = "/v1/completions", .body = R"({"model":"m","prompt":"x"})"},
                        &request, &result)
                  .ok());
  EXPECT_FALSE(request.any_endpoint);
  EXPECT_FALSE(request.subset.has_value());
}

TEST(Intake, AModelMayBeLeftToTheServer) {
  Intake intake(RouterWith({}));
  Request request;
  IntakeResult result;
  const auto read = [&](std::string_view body, std::span<const Header> headers = {}) {
    return intake.Read(
        {.headers = headers, .path = "/v1/completions", .body = body, .model_optional = true},
        &request, &result);
  };
  for (const char* body : {R"({"prompt":"x"})", R"({"prompt":"x","model":null})"}) {
    ASSERT_TRUE(read(body).ok()) << body;
    EXPECT_FALSE(result.body_changed);
    EXPECT_EQ(request.model, "");
  }
  for (const char* body : {R"({"prompt":"x","model":7})", R"({"prompt":"x","model":""})"}) {
    EXPECT_EQ(read(body).message(), "model not found in request body") << body;
  }
  const Header headers[] = {{"x-llm-d-model-name-rewrite", "t"}};
  ASSERT_TRUE(read(R"({"prompt":"x"})", headers).ok());
  EXPECT_EQ(Joined(result), R"({"model":"t","prompt":"x"})");
}

TEST(Intake, LimitsOfBodiesAreOutOfRange) {
  Intake intake(RouterWith({}));
  Request request;
  IntakeResult result;
  std::string body(kRequestBodyBytesMax + 1, ' ');
  for (const char* path : {"/v1/completions", "/v1/messages", "/inference/v1/generate"}) {
    EXPECT_EQ(intake.Read({.path = path, .body = body}, &request, &result).code(),
              absl::StatusCode::kOutOfRange)
        << path;
  }
  EXPECT_TRUE(intake.Read({.path = "/v1/other", .body = body}, &request, &result).ok())
      << "what is not read has no limit here";
}

TEST(Intake, SteadyTrafficAllocatesNothing) {
  const Router router = RouterWith({});
  Resources resources;
  resources.objectives.push_back({.name = "gold", .priority = 3});
  resources.rewrites.push_back(
      {.name = "r", .rules = {{.models = {"m"}, .targets = {{"target", std::nullopt}}}}});
  ASSERT_TRUE(router.resources().Replace(resources).ok());
  Intake intake(router, 1);
  const Header headers[] = {{"x-llm-d-inference-objective", "gold"}, {"prefer", "wait=1"}};
  const std::string_view bodies[][2] = {
      {"/v1/chat/completions",
       R"({"model":"m","messages":[{"role":"user","content":"hello"}],"tools":[{}],"x":[1,{"a":"b"}]})"},
      {"/v1/messages",
       R"({"model":"m","system":"s","messages":[{"content":"hello","role":"user"}]})"},
      {"/inference/v1/generate", R"({"model":"m","token_ids":[1,2,3,4]})"},
      {"/v1/models", "anything"}};
  const auto read_all = [&] {
    for (const auto& [path, body] : bodies) {
      Request request;
      IntakeResult result;
      ASSERT_TRUE(
          intake.Read({.headers = headers, .path = path, .body = body}, &request, &result).ok());
      ASSERT_EQ(request.priority, 3);
    }
  };
  read_all();
  testing::AllocationForbidden guard;
  for (int i = 0; i < 10; ++i) read_all();
}

}  // namespace
}  // namespace weir
