#include "weir/io/metrics/series_names.h"

#include <functional>
#include <utility>

namespace weir::io {

std::string NameGuard::Admit(std::string_view name) {
  name = name.substr(0, kLabelBytesMax);
  if (name.empty()) return "";
  std::lock_guard lock(mutex_);
  if (names_.contains(name) || kept_.contains(name)) return std::string(name);
  if (names_.size() >= names_max_) return std::string(kOtherLabel);
  return *names_.emplace(name).first;
}

void NameGuard::Keep(std::span<const std::string_view> names) {
  std::set<std::string, std::less<>> kept;
  for (const std::string_view name : names) kept.emplace(name.substr(0, kLabelBytesMax));
  std::lock_guard lock(mutex_);
  kept_ = std::move(kept);
}

SeriesNames::SeriesNames(uint32_t series_max, std::vector<Values> known)
    : series_max_(series_max),
      overflow_(static_cast<uint32_t>(known.size()) - 1),
      sets_(std::move(known)) {
  for (uint32_t i = 0; i < sets_.size(); ++i) numbers_.emplace(sets_[i], i);
}

uint32_t SeriesNames::NumberOf(const Values& values) {
  std::lock_guard lock(mutex_);
  const auto known = numbers_.find(values);
  if (known != numbers_.end()) return known->second;
  if (sets_.size() >= series_max_) return overflow_;
  const auto number = static_cast<uint32_t>(sets_.size());
  numbers_.emplace(values, number);
  sets_.push_back(values);
  return number;
}

std::vector<SeriesNames::Values> SeriesNames::All() const {
  std::lock_guard lock(mutex_);
  return sets_;
}

uint32_t SeriesCache::Find(std::string_view key) noexcept {
  hash_ = std::hash<std::string_view>{}(key);
  const size_t first = hash_ % (kEntries / kWays) * kWays;
  for (size_t way = 0; way < kWays; ++way) {
    const Entry& entry = entries_[first + way];
    if (entry.hash == hash_ && entry.number != kNotFound && entry.key == key) return entry.number;
  }
  return kNotFound;
}

void SeriesCache::Put(std::string_view key, uint32_t number) {
  const size_t first = hash_ % (kEntries / kWays) * kWays;
  size_t way = 0;
  while (way < kWays && entries_[first + way].number != kNotFound) ++way;
  // All taken: the upper bits of the hash choose, so that keys which share places do not always
  // push out the same one.
  if (way == kWays) way = hash_ >> 60 & (kWays - 1);
  entries_[first + way] = {hash_, number, std::string(key)};
}

}  // namespace weir::io
