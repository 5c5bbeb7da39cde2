#include "weir/status.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(Code, ValuesAreThoseOfAbseil) {
  EXPECT_EQ(static_cast<int>(Code::kResourceExhausted),
            static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(static_cast<int>(Code::kUnauthenticated),
            static_cast<int>(absl::StatusCode::kUnauthenticated));
}

TEST(Code, NamesAreSnakeCaseAndUnknownValuesAreSafe) {
  EXPECT_EQ(CodeName(Code::kOk), "ok");
  EXPECT_EQ(CodeName(Code::kUnauthenticated), "unauthenticated");
  EXPECT_EQ(CodeName(static_cast<Code>(-7)), "unknown");
}

}  // namespace
}  // namespace weir
