#include "weir/io/fleet/host_names.h"

#include <gtest/gtest.h>

namespace weir::io {
namespace {

class HostNamesTest : public ::testing::Test {
 protected:
  std::map<std::string, std::string, std::less<>> known_;
  int lookups_ = 0;
  HostNames names_{[this](std::string_view text) -> absl::StatusOr<std::vector<SocketAddress>> {
    ++lookups_;
    const auto found = known_.find(text);
    if (found == known_.end()) return absl::UnavailableError("no such name");
    return std::vector<SocketAddress>{SocketAddress::Parse(found->second).value()};
  }};
};

TEST_F(HostNamesTest, AsksOncePerNameAndList) {
  known_["one:80"] = "10.0.0.1:80";
  names_.BeginList();
  EXPECT_EQ(names_.Resolve("one:80"), "10.0.0.1:80");
  EXPECT_EQ(names_.Resolve("one:80"), "10.0.0.1:80");
  EXPECT_EQ(names_.Resolve("10.0.0.9:80"), "10.0.0.9:80");
  EXPECT_EQ(lookups_, 1) << "and never for an address";
  known_["one:80"] = "10.0.0.2:80";
  names_.BeginList();
  EXPECT_EQ(names_.Resolve("one:80"), "10.0.0.2:80");
  EXPECT_EQ(names_.failures(), 0u);
}

TEST_F(HostNamesTest, ANameThatFailsKeepsItsAddress) {
  known_["one:80"] = "10.0.0.1:80";
  names_.BeginList();
  names_.Resolve("one:80");
  known_.clear();
  for (uint64_t list = 1; list <= 2; ++list) {
    names_.BeginList();
    EXPECT_EQ(names_.Resolve("one:80"), "10.0.0.1:80");
    EXPECT_EQ(names_.Resolve("one:80"), "10.0.0.1:80");
    EXPECT_EQ(names_.failures(), list);
  }
  names_.BeginList();
  names_.BeginList();
  EXPECT_EQ(names_.Resolve("one:80"), "") << "a list without it has forgotten it";
  EXPECT_EQ(names_.Resolve("two:80"), "");
}

}  // namespace
}  // namespace weir::io
