#include "sched/subset.h"

#include <algorithm>

#include "sched/columns.h"
#include "weir/limits.h"

namespace weir::internal {
namespace {

struct Address {
  std::string_view host;  // without brackets
  std::string_view port;  // empty: any
};

// "host:port", "[ipv6]:port", "[ipv6]", "host" or "ipv6".
Address Split(std::string_view text) noexcept {
  const size_t colon = text.rfind(':');
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return {text, {}};
    const bool has_port = close + 1 == colon;
    return {text.substr(1, close - 1), has_port ? text.substr(colon + 1) : std::string_view()};
  }
  if (colon == std::string_view::npos || text.find(':') != colon) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string_view Trimmed(std::string_view text) noexcept {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

struct Entry {
  Address address;
  bool exact = false;    // an endpoint has this address with this port
  bool by_host = false;  // of the first entry of a host: some entry stands for all its ports
};

bool Less(const Entry& entry, const Address& address) noexcept {
  const int hosts = entry.address.host.compare(address.host);
  return hosts != 0 ? hosts < 0 : entry.address.port < address.port;
}

class EntryList {
 public:
  EntryList(Entry* entries, uint32_t max) noexcept : begin_(entries), max_(max) {}

  void Add(std::string_view text) noexcept {
    const Address address = Split(Trimmed(text));
    if (count_ < max_ && !address.host.empty()) begin_[count_++] = {address};
  }
  // Sorts, and drops what is there twice.
  void Sort() noexcept {
    std::sort(begin(), end(), [](const Entry& a, const Entry& b) { return Less(a, b.address); });
    const auto same = [](const Entry& a, const Entry& b) {
      return a.address.host == b.address.host && a.address.port == b.address.port;
    };
    count_ = static_cast<uint32_t>(std::unique(begin(), end(), same) - begin());
  }
  Entry* begin() noexcept { return begin_; }
  Entry* end() noexcept { return begin_ + count_; }
  // The first entry that is not before this one.
  Entry* Find(const Address& address) noexcept {
    return std::lower_bound(begin(), end(), address, Less);
  }
  Entry* FindHost(std::string_view host) noexcept {
    Entry* entry = Find({host, {}});
    return entry != end() && entry->address.host == host ? entry : nullptr;
  }

 private:
  Entry* begin_;
  uint32_t max_;
  uint32_t count_ = 0;
};

uint32_t CountEntries(std::span<const std::string_view> subset) noexcept {
  uint64_t count = subset.size();
  for (const std::string_view list : subset) {
    count += static_cast<uint64_t>(std::count(list.begin(), list.end(), ','));
  }
  return static_cast<uint32_t>(std::min<uint64_t>(count, kSubsetEntriesMax));
}

}  // namespace

bool KeepSubset(std::span<const std::string_view> subset, const weir_str* addresses, uint32_t count,
                Arena& arena, uint64_t* keep) noexcept {
  std::fill_n(keep, MaskWords(count), 0);
  const uint32_t entries_max = CountEntries(subset);
  auto* memory = arena.AllocateArray<Entry>(entries_max);
  if (memory == nullptr) return false;
  EntryList entries(memory, entries_max);
  for (std::string_view list : subset) {
    for (size_t comma; (comma = list.find(',')) != std::string_view::npos;) {
      entries.Add(list.substr(0, comma));
      list.remove_prefix(comma + 1);
    }
    entries.Add(list);
  }
  entries.Sort();
  const auto address_of = [&](uint32_t i) {
    return Split({addresses[i].data, static_cast<size_t>(addresses[i].size)});
  };
  for (uint32_t i = 0; i < count; ++i) {
    const Address address = address_of(i);
    if (address.port.empty()) continue;
    Entry* entry = entries.Find(address);
    if (entry == entries.end() || entry->address.host != address.host ||
        entry->address.port != address.port) {
      continue;
    }
    entry->exact = true;
    keep[i / 64] |= uint64_t{1} << (i % 64);
  }
  for (Entry& entry : entries) {
    if (!entry.exact) entries.FindHost(entry.address.host)->by_host = true;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const Entry* first = entries.FindHost(address_of(i).host);
    if (first != nullptr && first->by_host) keep[i / 64] |= uint64_t{1} << (i % 64);
  }
  return true;
}

}  // namespace weir::internal
