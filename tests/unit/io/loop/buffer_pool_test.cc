#include "weir/io/loop/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::io {
namespace {

TEST(BufferPool, RoundsUpToPowersOfTwo) {
  BufferPool pool;
  EXPECT_EQ(pool.Acquire(0).capacity_bytes(), kPooledBufferBytesMin);
  EXPECT_EQ(pool.Acquire(1024).capacity_bytes(), 1024u);
  EXPECT_EQ(pool.Acquire(1025).capacity_bytes(), 2048u);
  EXPECT_EQ(pool.Acquire(kPooledBufferBytesMax + 1).capacity_bytes(), 2 * kPooledBufferBytesMax);
}

TEST(BufferPool, GivesTheLastFreedBufferFirst) {
  BufferPool pool;
  Buffer one = pool.Acquire(4000);
  Buffer two = pool.Acquire(4000);
  char* const first = one.data();
  char* const second = two.data();
  EXPECT_EQ(pool.in_use_bytes(), 8192u);
  one.Release();
  two.Release();
  EXPECT_FALSE(two);
  EXPECT_EQ(pool.in_use_bytes(), 0u);
  EXPECT_EQ(pool.retained_bytes(), 8192u);
  Buffer again = pool.Acquire(4096);
  EXPECT_EQ(again.data(), second);
  EXPECT_EQ(pool.Acquire(3000).data(), first);
}

TEST(BufferPool, RetainsNoMoreThanItsLimitAndNothingHuge) {
  BufferPool pool(10'000);
  {
    std::vector<Buffer> many;
    for (int i = 0; i < 10; ++i) many.push_back(pool.Acquire(4096));
    many.push_back(pool.Acquire(kPooledBufferBytesMax * 2));
  }
  EXPECT_EQ(pool.retained_bytes(), 8192u);
  pool.Trim();
  EXPECT_EQ(pool.retained_bytes(), 0u);
}

TEST(BufferPool, GrowKeepsContentAndMovesOwn) {
  BufferPool pool;
  Buffer buffer = pool.Acquire(1024);
  std::memcpy(buffer.data(), "hello", 5);
  buffer.Grow(1000, 5);
  EXPECT_EQ(buffer.capacity_bytes(), 1024u);
  buffer.Grow(5000, 5);
  EXPECT_EQ(buffer.capacity_bytes(), 8192u);
  EXPECT_EQ(std::string_view(buffer.data(), 5), "hello");
  Buffer moved = std::move(buffer);
  EXPECT_FALSE(buffer);
  EXPECT_EQ(pool.in_use_bytes(), 8192u);
  moved = pool.Acquire(1);
  EXPECT_EQ(pool.in_use_bytes(), 1024u);
}

}  // namespace
}  // namespace weir::io
