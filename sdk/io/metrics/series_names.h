// weir/io/metrics/series_names.h: which label sets exist, bounded, and their numbers.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::io {

// The value that stands for all names beyond a limit.
inline constexpr std::string_view kOtherLabel = "other";
// Bytes of a label value that are kept.
inline constexpr size_t kLabelBytesMax = 512;

// Lets a limited number of names become label values. Safe for concurrent use. Takes a lock.
class NameGuard {
 public:
  explicit NameGuard(uint32_t names_max) : names_max_(names_max) {}
  // `name` itself while there is room, and for names that are known; then kOtherLabel. The empty
  // name is always itself. [concurrent]
  std::string Admit(std::string_view name);
  // These names, in place of those of the call before, are always themselves. [control, concurrent]
  void Keep(std::span<const std::string_view> names);

 private:
  const uint32_t names_max_;
  std::mutex mutex_;
  std::set<std::string, std::less<>> names_;  // guarded by mutex_, as is kept_
  std::set<std::string, std::less<>> kept_;
};

// Numbers label sets 0, 1, 2 ... in order of their first appearance; numbers never change. Safe for
// concurrent use. Takes a lock.
class SeriesNames {
 public:
  using Values = std::vector<std::string>;
  // `known` get the first numbers; the last of them stands for all that come after `series_max`
  // were given. REQUIRES: 0 < known.size() <= series_max
  SeriesNames(uint32_t series_max, std::vector<Values> known);
  // [concurrent]
  uint32_t NumberOf(const Values& values);
  // All sets, by number. [control, concurrent]
  std::vector<Values> All() const;

 private:
  const uint32_t series_max_;
  const uint32_t overflow_;
  mutable std::mutex mutex_;
  std::map<Values, uint32_t> numbers_;  // guarded by mutex_, as is sets_
  std::vector<Values> sets_;
};

// Remembers for one thread which number a label set got, so that a request in steady state takes no
// lock and allocates nothing. Holds at most kEntries sets; a new one may push out another.
class SeriesCache {
 public:
  static constexpr uint32_t kNotFound = UINT32_MAX;
  static constexpr size_t kEntries = 4096;
  static constexpr size_t kWays = 4;  // places that one key may have

  SeriesCache() : entries_(kEntries) {}
  // [hot, serial]
  uint32_t Find(std::string_view key) noexcept;
  // REQUIRES: Find(key) has just returned kNotFound. [serial]
  void Put(std::string_view key, uint32_t number);

 private:
  struct Entry {
    uint64_t hash = 0;
    uint32_t number = kNotFound;
    std::string key;
  };
  uint64_t hash_ = 0;  // of the key looked for last
  std::vector<Entry> entries_;
};

}  // namespace weir::io
