#include "weir/io/metrics/series_names.h"

#include <gtest/gtest.h>

namespace weir::io {
namespace {

TEST(NameGuard, LaterNamesAreOther) {
  NameGuard guard(2);
  EXPECT_EQ(guard.Admit("a"), "a");
  EXPECT_EQ(guard.Admit("b"), "b");
  EXPECT_EQ(guard.Admit("c"), "other");
  EXPECT_EQ(guard.Admit("a"), "a");
  EXPECT_EQ(guard.Admit(""), "");
}

TEST(NameGuard, KeptNamesTakeNoRoom) {
  NameGuard guard(1);
  const std::string_view first[] = {"kept"};
  guard.Keep(first);
  EXPECT_EQ(guard.Admit("a"), "a");
  EXPECT_EQ(guard.Admit("kept"), "kept");
  const std::string_view second[] = {"late"};
  guard.Keep(second);
  EXPECT_EQ(guard.Admit("late"), "late");
  EXPECT_EQ(guard.Admit("b"), "other");
  EXPECT_EQ(guard.Admit("kept"), "other");
}

TEST(NameGuard, CutsLongNames) {
  NameGuard guard(2);
  EXPECT_EQ(guard.Admit(std::string(kLabelBytesMax + 9, 'x')).size(), kLabelBytesMax);
}

TEST(SeriesNames, NumbersStay) {
  SeriesNames names(4, {{"known"}, {"other"}});
  EXPECT_EQ(names.NumberOf({"known"}), 0u);
  EXPECT_EQ(names.NumberOf({"a"}), 2u);
  EXPECT_EQ(names.NumberOf({"b"}), 3u);
  EXPECT_EQ(names.NumberOf({"c"}), 1u);
  EXPECT_EQ(names.NumberOf({"a"}), 2u);
  EXPECT_EQ(names.All(), (std::vector<SeriesNames::Values>{{"known"}, {"other"}, {"a"}, {"b"}}));
}

TEST(SeriesCache, FindsWhatWasPut) {
  SeriesCache cache;
  EXPECT_EQ(cache.Find("a"), SeriesCache::kNotFound);
  cache.Put("a", 7);
  EXPECT_EQ(cache.Find("b"), SeriesCache::kNotFound);
  cache.Put("b", 8);
  EXPECT_EQ(cache.Find("a"), 7u);
  EXPECT_EQ(cache.Find("b"), 8u);
}

TEST(SeriesCache, ManyKeysPushOutOthersAndStayRight) {
  SeriesCache cache;
  const uint32_t count = 3 * SeriesCache::kEntries;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string key = std::to_string(i);
    if (cache.Find(key) == SeriesCache::kNotFound) cache.Put(key, i);
  }
  uint32_t found = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t number = cache.Find(std::to_string(i));
    if (number == SeriesCache::kNotFound) continue;
    EXPECT_EQ(number, i);
    ++found;
  }
  EXPECT_GT(found, SeriesCache::kEntries / 2);
  EXPECT_LE(found, SeriesCache::kEntries);
}

}  // namespace
}  // namespace weir::io
