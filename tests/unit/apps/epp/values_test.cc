#include "values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::epp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Ports, KeepTheirOrderAndEachOnce) {
  EXPECT_THAT(ParsePorts({"8002", "8000", "8002", "0", "65535"}).value(),
              ElementsAre(8002, 8000, 0, 65535));
  EXPECT_THAT(ParsePorts({}).value(), IsEmpty());
}

TEST(Bytes, AtTheLimit) {
  EXPECT_EQ(ParseBytes("f", "2147483647").value(), kMessageBytesMax);
  EXPECT_FALSE(ParseBytes("f", "2147483648").ok());
  EXPECT_EQ(ParseBytes("f", "-0").value(), 0);
  EXPECT_EQ(ParseBytes("f", "+5").value(), 5);
  EXPECT_EQ(ParseBytes("f", "1500m").value(), 2);
}

TEST(Bytes, NonsenseIsRefused) {
  for (const char* text : {"", "B", "-", "--5", "5--", "1e", "1e+", "0x10", "5 Mi", "Infinity",
                           "1e99999999999999999999", ".", "5MiBB"}) {
    EXPECT_FALSE(ParseBytes("f", text).ok()) << text;
  }
}

TEST(Durations, ReadGosTexts) {
  EXPECT_EQ(ParseDuration("f", "1h2m3.5s").value(), 3'723'500'000'000);
  EXPECT_EQ(ParseDuration("f", "10\xCE\xBCs").value(), 10'000);
  EXPECT_EQ(ParseDuration("f", "0").value(), 0);
  for (const char* text : {"", "s", "1", "1 s", "infinity", "-inf", "1d", "99999999999999h"}) {
    const auto parsed = ParseDuration("f", text);
    EXPECT_TRUE(!parsed.ok() || *parsed == INT64_MAX) << text;
  }
}

}  // namespace
}  // namespace weir::epp
