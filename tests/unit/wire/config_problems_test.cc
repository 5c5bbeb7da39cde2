#include "wire/config_problems.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;

TEST(ConfigProblemsTest, SortsByLineAndKeepsTheOrderWithin) {
  ConfigProblems problems("f.yaml");
  EXPECT_TRUE(problems.ToStatus().ok());
  problems.Error(9, "b", "second");
  problems.Error(2, "a", "first");
  problems.Error(9, "c", "third");
  problems.Error(0, "", "the whole file");
  EXPECT_EQ(problems.ToStatus().message(),
            "f.yaml: the whole file\nf.yaml:2: a: first\nf.yaml:9: b: second\nf.yaml:9: c: third");
}

TEST(ConfigProblemsTest, IsUnimplementedOnlyIfAllIs) {
  ConfigProblems problems("f.yaml");
  problems.Error(1, "a", "later", Code::kUnimplemented);
  EXPECT_EQ(problems.ToStatus().code(), absl::StatusCode::kUnimplemented);
  problems.Error(2, "b", "wrong");
  EXPECT_EQ(problems.ToStatus().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ConfigProblemsTest, CountsWhatIsBeyondTheLimit) {
  ConfigProblems problems("f.yaml");
  for (uint32_t i = 0; i < kConfigProblemsMax; ++i) {
    EXPECT_FALSE(problems.full());
    problems.Error(1, "a", "x");
    problems.Warning(1, "a", "x");
  }
  EXPECT_TRUE(problems.full());
  EXPECT_EQ(problems.ToStatus().message().find("more"), std::string::npos);
  problems.Error(1, "a", "x");
  problems.Warning(1, "a", "x");
  EXPECT_EQ(problems.error_count(), kConfigProblemsMax + 1);
  EXPECT_EQ(problems.warnings().size(), kConfigProblemsMax);
  EXPECT_THAT(std::string(problems.ToStatus().message()), EndsWith("\nf.yaml: and 1 more"));
}

TEST(ConfigProblemsTest, AppendsFindings) {
  ConfigProblems problems("f.yaml");
  ConfigProblems other("f.yaml");
  other.Error(1, "a", "x");
  other.Warning(3, "b", "y");
  problems.Append(other);
  EXPECT_EQ(problems.error_count(), 1u);
  EXPECT_THAT(problems.warnings(), ElementsAre("f.yaml:3: b: y"));
}

TEST(ConfigProblemsTest, NamesOfTheFileCannotBreakALine) {
  ConfigProblems problems("f.yaml");
  problems.Error(1, "spec.a\rb", "unknown field");
  EXPECT_EQ(problems.ToStatus().message(), "f.yaml:1: spec.a\\x0db: unknown field");
  ConfigProblems long_name("f.yaml");
  long_name.Error(1, std::string(5000, 'k'), "unknown field");
  EXPECT_LT(long_name.ToStatus().message().size(), 500u);
}

TEST(QuoteTest, CutsAtCharactersAndEscapesControlBytes) {
  EXPECT_EQ(Quote("a\nb"), "\"a\\x0ab\"");
  EXPECT_EQ(Quote(std::string(80, 'x')), "\"" + std::string(80, 'x') + "\"");
  EXPECT_EQ(Quote(std::string(81, 'x')), "\"" + std::string(80, 'x') + "...\"");
  EXPECT_EQ(Quote(std::string(79, 'x') + "€"), "\"" + std::string(79, 'x') + "...\"");
}

}  // namespace
}  // namespace weir::internal
