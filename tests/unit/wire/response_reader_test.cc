#include "weir/response_reader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "weir/response_format.h"
#include "weir/response_model.h"

namespace weir {

void PrintTo(const ResponseUsage& usage, std::ostream* out) {
  const auto text = [](const std::optional<uint64_t>& count) {
    return count ? std::to_string(*count) : "-";
  };
  *out << text(usage.prompt_tokens) << " " << text(usage.completion_tokens) << " "
       << text(usage.total_tokens) << " " << text(usage.cached_tokens);
}

namespace {

nlohmann::json Golden(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/intake/" + name);
  return nlohmann::json::parse(file).at("cases");
}

ResponseFormat FormatOf(const std::string& name) {
  constexpr std::pair<std::string_view, ResponseFormat> kFormats[] = {
      {"none", ResponseFormat::kNone},
      {"openai", ResponseFormat::kOpenAi},
      {"anthropic", ResponseFormat::kAnthropic},
      {"sglang", ResponseFormat::kSglang},
      {"vllm-generate", ResponseFormat::kVllmGenerate},
      {"vllm-embed", ResponseFormat::kVllmEmbed},
      {"vertex", ResponseFormat::kVertex}};
  for (const auto& [known, format] : kFormats) {
    if (known == name) return format;
  }
  ADD_FAILURE() << "no format " << name;
  return ResponseFormat::kNone;
}

std::string BodyOf(const nlohmann::json& one) {
  if (one.contains("body")) return one.at("body");
  const std::string hex = one.at("hex");
  std::string body;
  for (size_t i = 0; i < hex.size(); i += 2) {
    body.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return body;
}

std::optional<uint64_t> CountOf(const nlohmann::json& usage, const char* name) {
  if (!usage.contains(name)) return std::nullopt;
  return usage.at(name).get<uint64_t>();
}

TEST(ResponseReader, ReadsWhatTheGoldenResponsesReport) {
  for (const nlohmann::json& one : Golden("usage.json")) {
    const std::string body = BodyOf(one);
    const nlohmann::json& usage = one.at("usage");
    const ResponseUsage expected{CountOf(usage, "prompt"), CountOf(usage, "completion"),
                                 CountOf(usage, "total"), CountOf(usage, "cached")};
    for (size_t step = 1; step <= body.size(); ++step) {
      ResponseReader reader(FormatOf(one.at("format")));
      for (size_t at = 0; at < body.size(); at += step) {
        reader.Feed(std::string_view(body).substr(at, step));
      }
      ASSERT_EQ(reader.usage(), expected) << one.at("name") << " in pieces of " << step;
      ASSERT_EQ(reader.events(), one.at("events").get<uint64_t>())
          << one.at("name") << " in pieces of " << step;
    }
  }
}

TEST(ResponseReader, GivesUpOnDeepObjectsAndFindsTheNext) {
  ResponseReader reader(ResponseFormat::kOpenAi);
  reader.Feed("{\"usage\":{\"a\":" + std::string(100, '[') + " \"usage\":{\"prompt_tokens\":5}");
  EXPECT_EQ(reader.usage().prompt_tokens, 5u);
}

TEST(ResponseReader, MemoryIsConstant) { EXPECT_LE(sizeof(ResponseReader), 280u); }

std::string Filtered(ResponseModelFilter& filter, std::string_view body, size_t step) {
  std::string out;
  for (size_t at = 0; at < body.size(); at += step) {
    filter.Feed(body.substr(at, step), at + step >= body.size(), &out);
  }
  return out;
}

TEST(ResponseModelFilter, PutsTheNameBackInTheGoldenResponses) {
  for (const nlohmann::json& one : Golden("response_model.json")) {
    const std::string body = one.at("body");
    ResponseModelFilter filter;
    for (size_t step = 1; step <= body.size(); ++step) {
      filter.Start(one.at("target").get<std::string>(), one.at("incoming").get<std::string>());
      EXPECT_EQ(Filtered(filter, body, step), one.at("expected")) << "in pieces of " << step;
    }
  }
}

TEST(ResponseModelFilter, HoldsBackOneMemberAtMost) {
  ResponseModelFilter filter;
  filter.Start("abc", "x");
  ASSERT_TRUE(filter.active());
  std::string out;
  filter.Feed("{\"model\":", false, &out);
  EXPECT_EQ(out, "{");
  filter.Feed(std::string(1000, ' '), false, &out);
  EXPECT_GE(out.size(), 1000u - ResponseModelFilter::kHeldBytesMax);
  filter.Feed("\"mod", false, &out);
  filter.Feed("", true, &out);
  EXPECT_EQ(out, "{\"model\":" + std::string(1000, ' ') + "\"mod");
  filter.Start("same", "same");
  EXPECT_FALSE(filter.active());
}

}  // namespace
}  // namespace weir
