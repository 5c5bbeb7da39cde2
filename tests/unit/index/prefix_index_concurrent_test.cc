// Readers and writers at once. Runs under TSan in that preset.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testing/allocation_guard.h"
#include "weir/prefix_index.h"
#include "weir/random.h"

namespace weir {
namespace {

constexpr uint32_t kSlots = 8;
constexpr uint32_t kSystemBlocks = 16;
constexpr uint32_t kPromptBlocks = 48;
constexpr uint32_t kConversations = 64;

// Blocks 0..15 are the same for all conversations, the rest their own.
std::vector<uint64_t> Conversation(uint32_t number) {
  std::vector<uint64_t> hashes;
  uint64_t system = 1, own = 1000 + number;
  for (uint32_t i = 0; i < kSystemBlocks; ++i) hashes.push_back(SplitMix64(system));
  while (hashes.size() < kPromptBlocks) hashes.push_back(SplitMix64(own));
  return hashes;
}

class PrefixIndexConcurrent : public ::testing::Test {
 protected:
  PrefixIndexConcurrent() {
    for (uint32_t i = 0; i < kConversations; ++i) conversations_.push_back(Conversation(i));
    // Slots 0 and 1 are never written again; conversation 0 stays in slot 0, its half in slot 1.
    index_->Insert(0, conversations_[0]);
    index_->Insert(1, std::span(conversations_[0]).first(kPromptBlocks / 2));
  }

  // Writers give conversation c to slots whose number has c's parity only, and never to 0 and 1.
  void Write(uint64_t seed) {
    Random random(seed);
    for (int step = 0; step < 4000; ++step) {
      const uint32_t conversation = random.NextBelow(kConversations);
      const uint32_t slot = 2 + conversation % 2 + 2 * random.NextBelow((kSlots - 2) / 2);
      const PrefixTicket ticket = index_->Insert(slot, conversations_[conversation]);
      const uint32_t dice = random.NextBelow(200);
      if (dice < 10) index_->Erase(ticket);
      if (dice == 11) index_->Clear(slot);
      if (dice == 12) index_->SetCapacity(slot, 100 + random.NextBelow(1000));
    }
    writers_left_.fetch_sub(1);
  }

  // Returns how many questions were asked.
  uint64_t Read(uint64_t seed) {
    Random random(seed);
    uint64_t asked = 0;
    std::vector<uint32_t> matched(kSlots);
    while (writers_left_.load() > 0 || asked < 100) {
      const uint32_t conversation = random.NextBelow(kConversations);
      {
        const testing::AllocationForbidden guard;
        index_->Match(conversations_[conversation], matched);
      }
      ++asked;
      CheckAnswer(conversation, matched);
      index_->held_blocks(random.NextBelow(kSlots));
    }
    return asked;
  }

  void CheckAnswer(uint32_t conversation, const std::vector<uint32_t>& matched) {
    const bool first = conversation == 0;
    EXPECT_LE(matched[0], first ? kPromptBlocks : kSystemBlocks);
    EXPECT_LE(matched[1], first ? kPromptBlocks / 2 : kSystemBlocks);
    for (uint32_t slot = 2; slot < kSlots; ++slot) {
      EXPECT_LE(matched[slot], kPromptBlocks);
      if (slot % 2 != conversation % 2) {
        EXPECT_LE(matched[slot], kSystemBlocks) << "a slot that never held that conversation";
      }
    }
  }

  std::unique_ptr<PrefixIndex> index_ =
      *PrefixIndex::Create({.slots_max = kSlots, .capacity_blocks = 500});
  std::vector<std::vector<uint64_t>> conversations_;
  std::atomic<int> writers_left_{2};
};

TEST_F(PrefixIndexConcurrent, ReadersSeeOnlyWhatIsOrWasTrue) {
  std::thread writer_a([&] { Write(1); });
  std::thread writer_b([&] { Write(2); });
  std::atomic<uint64_t> asked{0};
  std::thread reader_a([&] { asked += Read(3); });
  std::thread reader_b([&] { asked += Read(4); });
  writer_a.join();
  writer_b.join();
  reader_a.join();
  reader_b.join();
  EXPECT_GE(asked.load(), 200u);
  std::vector<uint32_t> matched(kSlots);
  index_->Match(conversations_[0], matched);
  EXPECT_EQ(matched[0], kPromptBlocks);
  EXPECT_EQ(matched[1], kPromptBlocks / 2);
}

TEST_F(PrefixIndexConcurrent, HotCallsDoNotAllocate) {
  std::vector<uint32_t> matched(kSlots);
  const testing::AllocationForbidden guard;
  for (uint32_t i = 0; i < kConversations; ++i) {
    const PrefixTicket ticket = index_->Insert(i % kSlots, conversations_[i]);
    index_->Match(conversations_[i], matched);
    if (i % 3 == 0) index_->Erase(ticket);
  }
  const testing::AllocationAllowed done;
  EXPECT_EQ(matched[(kConversations - 1) % kSlots], kPromptBlocks);
}

}  // namespace
}  // namespace weir
