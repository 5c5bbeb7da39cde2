#include "weir/io/loop/stream.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "loop_testing.h"

namespace weir::io {
namespace {

std::string ReadAll(Stream& stream, IoResult* last = nullptr) {
  std::string text;
  std::array<char, 8> piece;
  while (true) {
    const IoResult result = stream.TryRead(piece);
    if (last != nullptr) *last = result;
    if (!result.ok()) return text;
    text.append(piece.data(), result.bytes);
  }
}

TEST(Stream, PlainMovesBytesAndTellsTheEnd) {
  FdPair pair = MakePair();
  Stream ours = Stream::Plain(std::move(pair.first));
  Stream theirs = Stream::Plain(std::move(pair.second));
  IoResult last;
  EXPECT_EQ(ReadAll(ours, &last), "");
  EXPECT_TRUE(last.would_block());
  const IoResult written = theirs.TryWrite("hello ", "world");
  EXPECT_EQ(written.bytes, 11u);
  EXPECT_FALSE(written.drained);
  std::array<char, 32> out;
  const IoResult read = ours.TryRead(out);
  EXPECT_EQ(std::string(out.data(), read.bytes), "hello world");
  EXPECT_TRUE(read.drained) << "a short read is the last";
  EXPECT_EQ(theirs.TryWrite("", "12345678").bytes, 8u);
  theirs.ShutdownWrite();
  EXPECT_EQ(ReadAll(ours, &last), "12345678");
  EXPECT_EQ(last.status, IoStatus::kEof);
}

TEST(Stream, PlainWritesWhatFitsThenWouldBlock) {
  FdPair pair = MakePair(4096);
  Stream ours = Stream::Plain(std::move(pair.first));
  Stream theirs = Stream::Plain(std::move(pair.second));
  const std::string head(1000, 'h');
  const std::string body(1'000'000, 'b');
  const IoResult first = ours.TryWrite(head, body);
  ASSERT_TRUE(first.ok());
  EXPECT_LT(first.bytes, head.size() + body.size());
  EXPECT_TRUE(first.drained);
  while (ours.TryWrite(body).ok()) {
  }
  EXPECT_TRUE(ours.TryWrite(body).would_block());
  EXPECT_FALSE(ReadAll(theirs).empty());
  EXPECT_TRUE(ours.TryWrite(body).ok());
}

TEST(Stream, WritingToAClosedPeerIsAnErrorNotASignal) {
  FdPair pair = MakePair();
  Stream ours = Stream::Plain(std::move(pair.first));
  pair.second.Reset();
  const IoResult result = ours.TryWrite("x");
  EXPECT_EQ(result.status, IoStatus::kError);
  EXPECT_EQ(result.error, EPIPE);
  EXPECT_EQ(ours.error_text(result), "Broken pipe");
  EXPECT_EQ(ours.TryWrite("x", "y").error, EPIPE);
}

TEST(Stream, AClosedOneRefusesEverything) {
  Stream stream;
  std::array<char, 4> out;
  EXPECT_FALSE(stream.open());
  EXPECT_EQ(stream.TryRead(out).error, EBADF);
  EXPECT_EQ(stream.TryWrite("x").error, EBADF);
  stream.Close();
}

TEST(Stream, MoveLeavesNothingBehind) {
  FakeTransport transport;
  Stream one = transport.NewStream();
  Stream two = std::move(one);
  EXPECT_FALSE(one.open());
  one.Close();
  EXPECT_FALSE(transport.closed());
  two = Stream();
  EXPECT_TRUE(transport.closed());
}

TEST(FakeTransport, ReadsFollowTheScript) {
  FakeTransport transport;
  Stream stream = transport.NewStream();
  std::array<char, 4> out;
  EXPECT_TRUE(stream.TryRead(out).would_block());
  transport.Deliver("ab");
  transport.Deliver("cdefgh");
  EXPECT_EQ(stream.TryRead(out).bytes, 2u);
  EXPECT_EQ(stream.TryRead(out).bytes, 4u);
  EXPECT_EQ(std::string(out.data(), 4), "cdef");
  EXPECT_EQ(stream.TryRead(out).bytes, 2u);
  EXPECT_TRUE(transport.all_read());
  transport.DeliverEof();
  EXPECT_EQ(stream.TryRead(out).status, IoStatus::kEof);
  transport.DeliverError(ECONNRESET);
  EXPECT_EQ(stream.TryRead(out).error, ECONNRESET);
}

TEST(FakeTransport, WritesFollowTheScript) {
  FakeTransport transport;
  Stream stream = transport.NewStream();
  transport.LimitWrite(3);
  transport.AllowWrite(5);
  EXPECT_EQ(stream.TryWrite("ab", "cd").bytes, 3u);
  EXPECT_EQ(stream.TryWrite("d", "efgh").bytes, 2u);
  EXPECT_TRUE(stream.TryWrite("fgh").would_block());
  EXPECT_EQ(transport.written(), "abcde");
  EXPECT_EQ(transport.write_calls(), 3u);
  transport.FailWrites(EPIPE);
  EXPECT_EQ(stream.TryWrite("f").error, EPIPE);
  stream.Abort();
  EXPECT_TRUE(transport.aborted());
}

TEST(FakeTransport, NotifiesTheHandlerThatWatches) {
  struct Recorder : EventHandler {
    void OnReady(Ready ready) override { seen |= ready; }
    Ready seen = 0;
  } recorder;
  auto loop = EventLoop::Create().value();
  FakeTransport transport;
  Stream stream = transport.NewStream();
  ASSERT_EQ(loop->Watch(stream, recorder), Code::kOk);
  transport.Notify(kReadable | kPeerClosed);
  EXPECT_EQ(recorder.seen, kReadable | kPeerClosed);
  recorder.seen = 0;
  loop->Close(stream, recorder);
  transport.Notify(kReadable);
  EXPECT_EQ(recorder.seen, 0u);
}

}  // namespace
}  // namespace weir::io
