#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<KitPart> PartsOf(const json& parts) {
  std::vector<KitPart> prompt;
  for (const json& part : parts) {
    const std::string kind = part.begin().key();
    const uint32_t number = kind == "text"    ? WEIR_PART_TEXT
                            : kind == "image" ? WEIR_PART_IMAGE
                            : kind == "video" ? WEIR_PART_VIDEO
                                              : WEIR_PART_AUDIO;
    prompt.push_back({number, part.begin().value()});
  }
  return prompt;
}

std::vector<uint32_t> TokensOf(const weir_prompt& prompt) {
  return {prompt.tokens, prompt.tokens + prompt.token_count};
}

// The tokens of one prompt under default parameters.
std::vector<uint32_t> Tokens(std::vector<KitPart> parts) {
  PluginHarness harness("token-producer");
  const KitPool pool({{.name = "a"}});
  KitRequestView request(KitRequest{.prompts = {std::move(parts)}});
  EXPECT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
  return TokensOf(request.prompts()[0]);
}

TEST(TokenProducer, Goldens) {
  for (const json& one : Golden("tokens")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    PluginHarness harness("token-producer", one.value("parameters", json::object()).dump());
    KitRequest fields{.prompts = {PartsOf(one["parts"])}};
    if (one.contains("headers")) {
      for (const auto& [name, value] : one["headers"].items())
        fields.headers.push_back({name, value});
    }
    KitRequestView request(std::move(fields));
    const KitPool pool({{.name = "a"}});
    ASSERT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
    const std::vector<uint32_t> tokens = TokensOf(request.prompts()[0]);
    EXPECT_EQ(tokens.size(), one.value("token_count", tokens.size()));
    EXPECT_EQ(json(tokens), one.value("tokens", json(tokens)));
    if (one.contains("run")) {
      EXPECT_EQ(tokens, std::vector<uint32_t>(one["run"]["count"], one["run"]["value"]));
    }
  }
}

TEST(TokenProducer, TextIsNotCopied) {
  PluginHarness harness("tokenizer");
  const KitPool pool({{.name = "a"}});
  KitRequestView request(
      KitRequest{.prompts = {{{WEIR_PART_TEXT, "one"}}, {{WEIR_PART_TEXT, "two!"}}}});
  ASSERT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
  for (int i = 0; i < 2; ++i) {
    const weir_prompt& prompt = request.prompts()[i];
    EXPECT_EQ(static_cast<const void*>(prompt.tokens), prompt.parts[0].bytes.data);
    EXPECT_EQ(prompt.token_count, 1u);
  }
}

TEST(TokenProducer, LeavesTokensThatArriveAlone) {
  PluginHarness harness("token-producer");
  const KitPool pool({{.name = "a"}});
  KitRequestView request(
      KitRequest{.prompts = {{{WEIR_PART_TEXT, "text"}}}, .tokens = {{1, 2, 3}}});
  ASSERT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
  EXPECT_THAT(TokensOf(request.prompts()[0]), ::testing::ElementsAre(1, 2, 3));
}

TEST(TokenProducer, ReadsThePixelsOfDataUrls) {
  // The first bytes of pictures of 1920 x 1080.
  for (const char* url :
       {"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAB4AAAAQ4CAIAAAA=",
        "data:image/gif;base64,R0lGODlhgAc4BPAAAA==",
        // A JFIF segment, a fill byte, the frame header.
        "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD//8AAEQgEOAeAAwEiAA=="}) {
    EXPECT_EQ(Tokens({{WEIR_PART_IMAGE, url}}).size(), 1920u * 1080 / 1024) << url;
  }
}

TEST(TokenProducer, TakesTheDefaultForPicturesItCannotRead) {
  const char* const urls[] = {
      "data:image/png;base64,",
      "data:image/png;base64,iVBORw0KGgo",
      "data:image/png,x",
      "data:text/plain;base64,iVBORw0KGgoAAAANSUhEUgAAB4AAAAQ4CAIAAAA=",
      "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAB4AAAA==",  // cut inside the height
      "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAAAAAQ4",  // no width
      "data:image/gif;base64,R0lGODlh????",
      "data:image/webp;base64,UklGRg==",
      "data:image/jpeg;base64,/9j/4AAQ",
      "data:image/jpeg;base64,/9j/4AAAAAAAAAAAAAAAAAAA",  // segment length 0
      "data:image/jpeg;base64,/9j/2gAIAAAAAAAAAAAAAAAA",  // no frame header
  };
  for (const char* url : urls) EXPECT_EQ(Tokens({{WEIR_PART_IMAGE, url}}).size(), 225u) << url;
}

TEST(TokenProducer, HostilePicturesAreWorthABoundedNumber) {
  // PNGs of 2^20 x 2^20 pixels, it says: 65,536 tokens each.
  const char* const url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAQAAAAEAAACAIAAAA=";
  const KitPool pool({{.name = "a"}});
  for (const auto& [parts, tokens, capped] :
       {std::tuple(4u, 4u << 16, 0u), std::tuple(5u, (4u << 16) + 1, 1u),
        std::tuple(240u, (4u << 16) + 236, 1u)}) {
    PluginHarness harness("token-producer");
    KitRequestView request(
        KitRequest{.prompts = {std::vector<KitPart>(parts, {WEIR_PART_IMAGE, url})}});
    EXPECT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
    EXPECT_EQ(request.prompts()[0].token_count, tokens);
    EXPECT_EQ(harness.host().counter(1), capped);
  }
}

TEST(TokenProducer, GoesWithoutTokensAtTheMemoryLimit) {
  PluginHarness harness("token-producer");
  harness.host().SetArenaBytesMax(1000);
  const KitPool pool({{.name = "a"}});
  KitRequestView request(KitRequest{
      .prompts = {{{WEIR_PART_IMAGE, "https://x/a"}, {WEIR_PART_IMAGE, "https://x/b"}}}});
  EXPECT_EQ(harness.Produce(pool, request, {nullptr}), WEIR_OK);
  EXPECT_EQ(request.prompts()[0].token_count, 0u);
  EXPECT_EQ(harness.host().counter(0), 1u);
}

TEST(TokenProducer, RefusesOtherBackends) {
  const auto error = [](const char* parameters) {
    return PluginHarness::CreateError("token-producer", parameters);
  };
  EXPECT_EQ(error(R"({"vllm": {"url": "http://x"}})"),
            "vllm: this backend is not built in this version, expected estimate");
  EXPECT_THAT(error(R"({"modelName": "m"})"), HasSubstr("not built in this version"));
  EXPECT_THAT(error(R"({"modelName": "m", "vllm": {}})"),
              HasSubstr("vllm: this backend is not built in this version"));
  EXPECT_THAT(error(R"({"udsTokenizerConfig": {}})"), HasSubstr("not built in this version"));
  EXPECT_THAT(error(R"({"vllm": {}, "estimate": {}})"), HasSubstr("more than one backend"));
  EXPECT_THAT(error(R"({"estimate": {"image": {"mode": "best"}}})"),
              HasSubstr("expected dynamic or static"));
  EXPECT_THAT(error(R"({"estimate": {"image": {"dynamic": {"factor": -1}}}})"),
              HasSubstr("expected >= 0"));
  EXPECT_THAT(error(R"({"estimate": {"video": {"defaultDuration": 1e300}}})"),
              HasSubstr("expected 0 to 1e9"));
}

}  // namespace
}  // namespace weir::testing
