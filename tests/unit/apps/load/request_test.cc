#include "load/request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::load {
namespace {

TEST(Request, BodyHasWhatWasAskedFor) {
  const auto source = CreateFixedSource(Api::kChat, 20, 7);
  Item item;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  std::string body;
  AppendBody({.model = "a \"model\"", .ignore_eos = true, .extra_members = "\"temperature\":0"},
             *source, item, body);
  const auto json = nlohmann::json::parse(body);
  EXPECT_EQ(json["model"], "a \"model\"");
  EXPECT_EQ(json["max_tokens"], 7);
  EXPECT_EQ(json["stream"], true);
  EXPECT_EQ(json["stream_options"]["include_usage"], true);
  EXPECT_EQ(json["ignore_eos"], true);
  EXPECT_EQ(json["temperature"], 0);
  EXPECT_EQ(json["messages"].size(), 1u);

  body.clear();
  AppendBody({.streaming = false}, *source, item, body);
  const auto whole = nlohmann::json::parse(body);
  EXPECT_EQ(whole["stream"], false);
  EXPECT_FALSE(whole.contains("stream_options"));
  EXPECT_FALSE(whole.contains("ignore_eos"));
}

TEST(Request, MembersComeFromAnObjectOnly) {
  EXPECT_EQ(*MembersOf("{\"a\": [1, 2], \"b\": {}}"), "\"a\":[1,2],\"b\":{}");
  EXPECT_EQ(*MembersOf("{}"), "");
  for (const char* bad : {"", "[]", "{\"a\":1", "{\"a\":1} x", "3"}) {
    EXPECT_FALSE(MembersOf(bad).ok()) << bad;
  }
}

TEST(Target, ReadsUrls) {
  const struct {
    const char* url;
    const char* authority;
    const char* path;
    bool tls;
  } kCases[] = {
      {"http://localhost:8080", "localhost:8080", "/v1/chat/completions", false},
      {"http://localhost:8080/", "localhost:8080", "/v1/chat/completions", false},
      {"http://h", "h:80", "/v1/chat/completions", false},
      {"https://api.example.com/v1", "api.example.com:443", "/v1/chat/completions", true},
      {"http://h:1/team/a", "h:1", "/team/a/v1/chat/completions", false},
      {"http://h:1/x/completions", "h:1", "/x/completions", false},
      {"http://[::1]:8000/v1/", "[::1]:8000", "/v1/chat/completions", false},
  };
  for (const auto& good : kCases) {
    const auto target = ParseTarget(good.url, Api::kChat);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->authority, good.authority);
    EXPECT_EQ(target->path, good.path);
    EXPECT_EQ(target->tls, good.tls);
  }
  EXPECT_EQ(ParseTarget("http://[::1]:8000", Api::kChat)->host, "::1");
  EXPECT_EQ(ParseTarget("http://h", Api::kCompletions)->path, "/v1/completions");
}

TEST(Target, RefusesWhatIsNoUrl) {
  for (const char* bad :
       {"", "localhost:8080", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:70000",
        "http://h:", "http://h:x", "http://[::1", "http://[::1]x", "http://a b", "http://u@h",
        "http://h/\r\nx", "http://h#f"}) {
    EXPECT_FALSE(ParseTarget(bad, Api::kChat).ok()) << bad;
  }
}

}  // namespace
}  // namespace weir::load
