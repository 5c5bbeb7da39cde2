#include "weir/io/http/chunk.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::io {
namespace {

struct Result {
  std::string data;
  std::string rest;
  bool done;
  ChunkError error;
};

// Feeds `text` in pieces of `step` bytes and joins the data.
Result Dechunk(std::string_view text, size_t step) {
  ChunkScanner scanner;
  Result result{};
  while (!text.empty()) {
    std::string_view piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    for (std::string_view data = scanner.Next(piece); !data.empty(); data = scanner.Next(piece))
      result.data += data;
    if (scanner.done()) result.rest += piece;
    if (scanner.error() != ChunkError::kNone) break;
  }
  result.done = scanner.done();
  result.error = scanner.error();
  return result;
}

ChunkError ErrorOf(std::string_view text) {
  const ChunkError whole = Dechunk(text, text.size()).error;
  EXPECT_EQ(Dechunk(text, 1).error, whole) << text;
  return whole;
}

TEST(ChunkScannerTest, FindsDataAndEndHoweverSplit) {
  const std::string text =
      "5\r\nhello\r\n00A;name=\"v\"\r\n 123456789\r\n0\r\nX-Trailer: t\r\nB: c\r\n\r\nGET /";
  for (size_t step = 1; step <= text.size(); ++step) {
    const Result result = Dechunk(text, step);
    EXPECT_EQ(result.data, "hello 123456789") << step;
    EXPECT_EQ(result.rest, "GET /") << step;
    EXPECT_TRUE(result.done) << step;
    EXPECT_EQ(result.error, ChunkError::kNone) << step;
  }
}

TEST(ChunkScannerTest, SkipReturnsTheBytesOfTheBody) {
  ChunkScanner scanner;
  EXPECT_EQ(scanner.Skip("3\r\nab"), 5u);
  EXPECT_FALSE(scanner.done());
  EXPECT_EQ(scanner.Skip("c\r\n0\r\n\r\nnext"), 8u);
  EXPECT_TRUE(scanner.done());
  EXPECT_EQ(scanner.Skip("more"), 0u);
}

TEST(ChunkScannerTest, JumpsOverLargeData) {
  ChunkScanner scanner;
  const std::string block(1 << 16, 'x');
  EXPECT_EQ(scanner.Skip("fffffffffffffff\r\n"), 17u);  // the largest size there is
  for (int i = 0; i < 100; ++i) EXPECT_EQ(scanner.Skip(block), block.size());
  EXPECT_FALSE(scanner.done());
  EXPECT_EQ(scanner.error(), ChunkError::kNone);
}

TEST(ChunkScannerTest, RefusesBadFraming) {
  EXPECT_EQ(ErrorOf("\r\n"), ChunkError::kBadSize);
  EXPECT_EQ(ErrorOf("g\r\n"), ChunkError::kBadSize);
  EXPECT_EQ(ErrorOf("-1\r\n"), ChunkError::kBadSize);
  EXPECT_EQ(ErrorOf("0x5\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("1000000000000000\r\n"), ChunkError::kBadSize);
  EXPECT_EQ(ErrorOf("5 \r\nhello\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("5\nhello\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("5\rhello\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("5;a\nb\r\nhello\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("5;a\rb\r\nhello\r\n"), ChunkError::kBadExtension);
  EXPECT_EQ(ErrorOf("5\r\nhelloX\r\n"), ChunkError::kBadDataEnd);
  EXPECT_EQ(ErrorOf("5\r\nhello\rX"), ChunkError::kBadDataEnd);
  EXPECT_EQ(ErrorOf("5\r\nhello\n"), ChunkError::kBadDataEnd);
  EXPECT_EQ(ErrorOf("0\r\nA: b\n\r\n"), ChunkError::kBadTrailer);
  EXPECT_EQ(ErrorOf("0\r\nA: b\r\r\n"), ChunkError::kBadTrailer);
  EXPECT_EQ(ErrorOf("0\r\nA: b\r\n folded\r\n\r\n"), ChunkError::kBadTrailer);
  EXPECT_EQ(ErrorOf("0\r\n\rX"), ChunkError::kBadTrailer);
  EXPECT_EQ(ErrorOf("0\r\n\x01"), ChunkError::kBadTrailer);
}

TEST(ChunkScannerTest, HoldsItsLimits) {
  const auto line = [](size_t size) { return "1;" + std::string(size - 2, 'x') + "\r\na\r\n"; };
  EXPECT_EQ(ErrorOf(line(kChunkLineBytesMax)), ChunkError::kNone);
  EXPECT_EQ(ErrorOf(line(kChunkLineBytesMax + 1)), ChunkError::kLineTooLong);

  const auto trailer = [](size_t size) {
    return "0\r\n" + std::string(size - 4, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(ErrorOf(trailer(kTrailerBytesMax)), ChunkError::kNone);
  EXPECT_EQ(ErrorOf(trailer(kTrailerBytesMax + 1)), ChunkError::kTrailerTooLarge);

  std::string many;
  for (int i = 0; i < 100; ++i) many += line(kChunkLineBytesMax);
  EXPECT_EQ(ErrorOf(many), ChunkError::kTooMuchOverhead);
  std::string small;  // one byte a chunk without extensions is slow but honest
  for (int i = 0; i < 20000; ++i) small += "1\r\na\r\n";
  EXPECT_EQ(ErrorOf(small), ChunkError::kNone);
}

}  // namespace
}  // namespace weir::io
