#include "json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "weir/random.h"

namespace weir::sim {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

TEST(JsonText, EscapesWhatJsonForbids) {
  EXPECT_EQ(Quoted("a\"b\\c\n\t\x01"), R"("a\"b\\c\n\u0009\u0001")");
  EXPECT_EQ(Quoted("caf\xC3\xA9 \xF0\x9F\x98\x80"), "\"caf\xC3\xA9 \xF0\x9F\x98\x80\"");
}

TEST(JsonText, ReplacesBytesThatAreNoUtf8) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(Quoted("a\xFFz"), "\"a" + mark + "z\"");
  EXPECT_EQ(Quoted("\xC0\xAF"), "\"" + mark + mark + "\"");
  EXPECT_EQ(Quoted("\xED\xA0\x80"), "\"" + mark + mark + mark + "\"");  // a surrogate
  EXPECT_EQ(Quoted("\xE2\x82"), "\"" + mark + mark + "\"");             // cut short
}

TEST(JsonText, AnyBytesGiveValidJson) {
  Random random(2);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random.NextBelow(12), '\0');
    for (char& c : text) c = static_cast<char>(random.NextBelow(256));
    ASSERT_TRUE(nlohmann::json::accept(Quoted(text))) << Quoted(text);
  }
}

}  // namespace
}  // namespace weir::sim
