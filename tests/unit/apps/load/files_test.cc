#include "load/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/temp_directory.h"

namespace weir::load {
namespace {

using ::testing::HasSubstr;

TEST(ReadFile, ReadsUpToItsLimitAndSaysWhyNot) {
  const TempDirectory directory;
  const std::string file = (directory.path() / "file").string();
  ASSERT_TRUE(WriteFile(file, "12345").ok());
  EXPECT_EQ(ReadFile(file, 5).value(), "12345");
  EXPECT_THAT(std::string(ReadFile(file, 4).status().message()), HasSubstr("larger than 4 bytes"));
  EXPECT_THAT(std::string(ReadFile(file + "x", 5).status().message()), HasSubstr("No such file"));
  EXPECT_THAT(std::string(ReadFile(directory.path(), 5).status().message()),
              HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace weir::load
