#include "weir/io/loop/intrusive_list.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace weir::io {
namespace {

struct Item : ListNode {
  explicit Item(char name) : name(name) {}
  char name;
};

std::string Names(const IntrusiveList<Item>& list) {
  std::string names;
  for (Item* item = list.front(); item != nullptr; item = list.Next(*item)) names += item->name;
  return names;
}

TEST(IntrusiveList, KeepsOrderAndLetsElementsLeave) {
  IntrusiveList<Item> list;
  Item a('a'), b('b'), c('c');
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.PopFront(), nullptr);
  list.PushBack(b);
  list.PushBack(c);
  list.PushFront(a);
  EXPECT_EQ(Names(list), "abc");
  EXPECT_EQ(list.back(), &c);
  b.Unlink();
  b.Unlink();
  EXPECT_EQ(Names(list), "ac");
  list.PushBack(a);
  EXPECT_EQ(Names(list), "ca");
  EXPECT_EQ(list.PopFront(), &c);
  EXPECT_FALSE(c.linked());
}

TEST(IntrusiveList, DestroyedElementsLeaveAndDestroyedListsForget) {
  auto a = std::make_unique<Item>('a');
  Item b('b');
  {
    IntrusiveList<Item> list;
    list.PushBack(*a);
    list.PushBack(b);
    a.reset();
    EXPECT_EQ(Names(list), "b");
  }
  EXPECT_FALSE(b.linked());
}

TEST(IntrusiveList, TakesAllOfAnother) {
  IntrusiveList<Item> one, other;
  Item a('a'), b('b'), c('c');
  one.PushBack(a);
  other.PushBack(b);
  other.PushBack(c);
  one.TakeAll(other);
  EXPECT_EQ(Names(one), "abc");
  EXPECT_TRUE(other.empty());
  one.TakeAll(other);
  EXPECT_EQ(Names(one), "abc");
}

}  // namespace
}  // namespace weir::io
