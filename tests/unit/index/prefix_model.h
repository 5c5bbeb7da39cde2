// The prefix index as anyone would write it: what the fast one is compared with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <vector>

#include "weir/prefix_index.h"

namespace weir {

class PrefixModel {
 public:
  PrefixModel(uint32_t slots, uint32_t capacity, bool llmd_compat)
      : lists_(slots), capacities_(slots, capacity), llmd_compat_(llmd_compat) {}

  bool Holds(uint32_t slot, uint64_t hash) const { return Find(slot, hash) != lists_[slot].end(); }

  std::vector<uint32_t> Match(std::span<const uint64_t> hashes) const {
    std::vector<uint32_t> matched(lists_.size());
    for (size_t i = 0; i < hashes.size(); ++i) {
      bool is_held = false;
      for (uint32_t slot = 0; slot < lists_.size(); ++slot) {
        if (!Holds(slot, hashes[i])) continue;
        is_held = true;
        if (llmd_compat_ || matched[slot] == i) ++matched[slot];
      }
      if (!is_held) break;
    }
    return matched;
  }

  PrefixTicket Insert(uint32_t slot, std::span<const uint64_t> hashes) {
    PrefixTicket ticket;
    if (capacities_[slot] == 0 || hashes.empty()) return ticket;
    ticket.insert_number = ++insert_number_;
    auto& list = lists_[slot];
    if (!llmd_compat_) hashes = hashes.first(std::min<size_t>(hashes.size(), capacities_[slot]));
    auto place = list.begin();
    for (size_t i = 0; i < hashes.size(); ++i) {
      auto held = Find(slot, hashes[i]);
      if (held != list.end()) {
        if (ticket.held_blocks == i) ++ticket.held_blocks;
        if (place == held) ++place;
        list.erase(held);
      } else if (list.size() == capacities_[slot]) {
        if (place != list.end() && std::next(place) == list.end()) ++place;
        list.pop_back();
      }
      if (llmd_compat_) place = list.begin();
      list.insert(place, {hashes[i], insert_number_});
      ++ticket.inserted_blocks;
    }
    return ticket;
  }

  void Erase(uint32_t slot, std::span<const uint64_t> hashes, const PrefixTicket& ticket) {
    for (size_t end = ticket.inserted_blocks; end > ticket.held_blocks; --end) {
      const auto held = Find(slot, hashes[end - 1]);
      if (held == lists_[slot].end() || held->insert_number != ticket.insert_number) return;
      lists_[slot].erase(held);
    }
  }

  void SetCapacity(uint32_t slot, uint32_t capacity) {
    capacities_[slot] = capacity;
    while (lists_[slot].size() > capacity) lists_[slot].pop_back();
  }
  void Clear(uint32_t slot) { lists_[slot].clear(); }

  size_t held_blocks(uint32_t slot) const { return lists_[slot].size(); }

 private:
  struct Entry {
    uint64_t hash;
    uint64_t insert_number;
  };
  using List = std::list<Entry>;  // most recently used first

  List::const_iterator Find(uint32_t slot, uint64_t hash) const {
    return std::find_if(lists_[slot].begin(), lists_[slot].end(),
                        [hash](const Entry& entry) { return entry.hash == hash; });
  }

  std::vector<List> lists_;
  std::vector<uint32_t> capacities_;
  bool llmd_compat_;
  uint64_t insert_number_ = 0;
};

}  // namespace weir
