#include "weir/io/decision_log/ring.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "weir/random.h"

namespace weir::io {
namespace {

bool Put(EventRing& ring, size_t size, unsigned char fill) {
  std::byte* const entry = ring.Reserve(size);
  if (entry == nullptr) return false;
  std::memset(entry, fill, size);
  EventRing::Commit(entry);
  return true;
}

TEST(EventRingTest, KeepsOrderAndContentsAcrossManyTurns) {
  EventRing ring(4096);
  Random random(1);
  std::vector<std::pair<size_t, unsigned char>> waiting;
  size_t taken = 0, refused = 0;
  for (uint32_t i = 0; i < 20'000; ++i) {
    const size_t size = 1 + random.NextBelow(700);
    const auto fill = static_cast<unsigned char>(i);
    if (Put(ring, size, fill)) {
      waiting.emplace_back(size, fill);
    } else {
      ++refused;
    }
    if (random.NextBelow(3) != 0) continue;
    while (!waiting.empty() && random.NextBelow(8) != 0) {
      const auto entry = ring.Front();
      ASSERT_FALSE(entry.empty());
      const auto [size_then, fill_then] = waiting.front();
      ASSERT_EQ(entry.size(), (size_then + 7) / 8 * 8);
      for (size_t b = 0; b < size_then; ++b) ASSERT_EQ(entry[b], std::byte{fill_then});
      ring.Pop();
      waiting.erase(waiting.begin());
      ++taken;
    }
  }
  EXPECT_GT(taken, 5'000u);
  EXPECT_GT(refused, 100u);
}

TEST(EventRingTest, RefusesWhenFullAndLeavesSpareRoom) {
  EventRing ring(4096);
  EXPECT_EQ(ring.capacity_bytes(), 4096u);
  EXPECT_EQ(ring.Reserve(4096), nullptr) << "an entry has a word before it";
  size_t count = 0;
  while (std::byte* const entry = ring.Reserve(56, 1024)) {
    EventRing::Commit(entry);
    ++count;
  }
  EXPECT_EQ(count, (4096u - 1024) / 64);
  while (Put(ring, 56, 0)) ++count;
  EXPECT_EQ(count, 4096u / 64);
  ring.Pop();
  EXPECT_TRUE(Put(ring, 56, 0));
  EXPECT_FALSE(Put(ring, 1, 0));
}

TEST(EventRingTest, ShowsAnEntryOnlyOnceItIsCommitted) {
  EventRing ring(4096);
  std::byte* const first = ring.Reserve(8);
  ASSERT_TRUE(Put(ring, 8, 2));
  EXPECT_TRUE(ring.Front().empty()) << "the second waits for the first";
  EventRing::Commit(first);
  EXPECT_FALSE(ring.Front().empty());
  ring.Pop();
  EXPECT_EQ(ring.Front()[0], std::byte{2});
  ring.Pop();
  EXPECT_EQ(ring.reserved(), ring.popped());
}

// Each producer's entries arrive whole and in its order, whatever the others do.
TEST(EventRingTest, TakesEntriesOfManyThreads) {
  struct Head {
    uint32_t producer, number, size;
  };
  constexpr uint32_t kProducers = 3, kEntries = 5'000;
  EventRing ring(1 << 14);
  std::vector<std::thread> producers;
  for (uint32_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&ring, p] {
      Random random(p);
      for (uint32_t i = 0; i < kEntries; ++i) {
        const uint32_t size = random.NextBelow(200);
        std::byte* entry = nullptr;
        while ((entry = ring.Reserve(sizeof(Head) + size)) == nullptr) std::this_thread::yield();
        const Head head{p, i, size};
        std::memcpy(entry, &head, sizeof head);
        std::memset(entry + sizeof head, static_cast<int>(i), size);
        EventRing::Commit(entry);
      }
    });
  }
  std::vector<uint32_t> next(kProducers, 0);
  bool whole = true;
  for (uint32_t taken = 0; taken < kProducers * kEntries;) {
    const auto entry = ring.Front();
    if (entry.empty()) {
      std::this_thread::yield();
      continue;
    }
    Head head;
    std::memcpy(&head, entry.data(), sizeof head);
    whole &= head.producer < kProducers && head.number == next[head.producer]++;
    for (uint32_t b = 0; b < head.size; ++b) {
      whole &= entry[sizeof head + b] == static_cast<std::byte>(head.number);
    }
    ring.Pop();
    ++taken;
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_TRUE(whole);
  EXPECT_TRUE(ring.Front().empty());
}

}  // namespace
}  // namespace weir::io
