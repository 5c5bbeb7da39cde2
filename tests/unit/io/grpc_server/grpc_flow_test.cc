// Back-pressure, time-outs, drain, and who owns which bytes for how long.
#include <malloc.h>
#include <sys/socket.h>

#include "grpc_testing.h"
#include "testing/allocation_guard.h"
#include "weir/io/grpc_server/grpc_connection.h"
#include "weir/io/grpc_server/grpc_server_core.h"

namespace weir::io {
namespace {

// A body that an echo refers to.
class HeldBody final : public BytesOwner {
 public:
  explicit HeldBody(size_t bytes) : text(bytes, 'b') {}
  std::string text;
  int unused = 0;

 private:
  void OnUnused() noexcept override { ++unused; }
};

using GrpcFlowTest = GrpcServerTest;

TEST_F(GrpcFlowTest, BorrowedBodiesAreSentAndReleased) {
  HeldBody body(200'000);
  handler_.on_message = [&](GrpcCall& call, std::string_view) {
    const std::string_view text = body.text;
    call.Send("1", text.substr(0, 100'000), &body);
    call.Send("2", text.substr(100'000), &body);
    call.Send("3", text.substr(0, 10), &body);
    EXPECT_EQ(body.users(), 2u) << "a small piece is copied";
  };
  handler_.on_end = [&](GrpcCall&) { EXPECT_EQ(body.users(), 0u); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "go", true);
  Exchange(c);
  EXPECT_EQ(
      c.client.reply(stream).messages(),
      (std::vector<std::string>{"1" + std::string(100'000, 'b'), "2" + std::string(100'000, 'b'),
                                "3" + std::string(10, 'b')}));
  EXPECT_EQ(c.client.reply(stream).status(), "0");
  EXPECT_EQ(body.users(), 0u);
  EXPECT_EQ(body.unused, 1);
}

TEST_F(GrpcFlowTest, BorrowedBodiesAreReleasedWhenTheClientGoes) {
  for (const bool reset : {true, false}) {
    HeldBody body(500'000);
    handler_.on_message = [&](GrpcCall& call, std::string_view) {
      call.Send("", body.text, &body);
    };
    handler_.on_end = [&](GrpcCall&) { EXPECT_EQ(body.users(), 0u); };
    TestConnection& c = Connect(false);
    const int32_t stream = c.client.Open();
    c.client.Send(stream, "go");
    Exchange(c);
    EXPECT_EQ(body.users(), 1u) << "the client's window is closed";
    if (reset) {
      nghttp2_submit_rst_stream(c.client.session(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
      Exchange(c);
      EXPECT_EQ(handler_.ends.back(), GrpcEnd::kReset);
    } else {
      c.transport.DeliverEof();
      c.transport.Notify(kReadable | kPeerClosed);
      EXPECT_EQ(handler_.ends.back(), GrpcEnd::kConnectionLost);
    }
    EXPECT_EQ(handler_.end_codes.back(), Code::kCancelled);
    EXPECT_EQ(body.users(), 0u);
    EXPECT_EQ(body.unused, 1);
  }
}

TEST_F(GrpcFlowTest, ShortWritesAndABlockedSocket) {
  HeldBody body(300'000);
  handler_.on_message = [&](GrpcCall& call, std::string_view) { call.Send("h", body.text, &body); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "go", true);
  c.transport.LimitWrite(1000);
  c.transport.AllowWrite(10'500);
  Exchange(c);
  const size_t first = c.client.reply(stream).data.size();
  EXPECT_GT(first, 9000u);
  EXPECT_LT(first, 10'500u);
  c.transport.AllowWrite(~size_t{0});
  c.transport.Notify(kWritable);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).messages(), std::vector<std::string>{"h" + body.text});
  EXPECT_EQ(c.client.reply(stream).status(), "0");
  EXPECT_EQ(body.users(), 0u);
}

TEST_F(GrpcFlowTest, ABlockedSocketIsNotReadAndGivenUpInTime) {
  GrpcServerOptions options;
  options.send_ns = 5 * kSecondNs;
  Restart(options);
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "go");
  c.transport.AllowWrite(0);
  c.transport.Deliver(c.client.TakeOutput());
  c.transport.Notify(kReadable);
  const size_t calls = handler_.messages.size();
  c.client.Send(stream, "unread");
  c.transport.Deliver(c.client.TakeOutput());
  c.transport.Notify(kReadable);
  EXPECT_EQ(handler_.messages.size(), calls);
  EXPECT_FALSE(c.transport.all_read()) << "until the client takes what it asked for";
  Advance(5 * kSecondNs);
  EXPECT_TRUE(c.transport.closed());
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kTimeout});
}

TEST_F(GrpcFlowTest, SlowReaderStopsTheEchoAndGoesOnLater) {
  GrpcServerOptions options;
  options.unsent_high_water_bytes = 100'000;
  options.stream_window_bytes = 65'535;
  Restart(options);
  TestConnection& c = Connect(false);
  const int32_t stream = c.client.Open();
  for (int i = 0; i < 100; ++i) c.client.Send(stream, std::string(10'000, 's'));
  Exchange(c);
  ASSERT_NE(handler_.call, nullptr);
  EXPECT_LT(handler_.call->unsent_bytes(), 100'000u + 70'000u);
  EXPECT_GT(c.client.unsent(stream), 700'000u) << "the client got no window for more";
  EXPECT_EQ(handler_.send_readies, 0u);
  for (int i = 0; i < 100; ++i) {
    nghttp2_session_consume(c.client.session(), stream, 30'000);
    Exchange(c);
  }
  c.client.End(stream);
  Exchange(c);
  EXPECT_GT(handler_.send_readies, 0u);
  EXPECT_EQ(c.client.reply(stream).messages().size(), 100u);
  EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcFlowTest, UnsentBytesAtTheLimitAndBeyond) {
  GrpcServerOptions options;
  options.unsent_bytes_max = 50'000;
  options.unsent_high_water_bytes = 40'000;
  Restart(options);
  // A client that takes no bytes at all.
  TestConnection& c = Connect(true, 0);
  const int32_t fits = c.client.Open();
  const int32_t over = c.client.Open();
  handler_.on_message = [](GrpcCall& call, std::string_view message) {
    call.Send(std::string(message == "over" ? 49'996 : 49'995, 'u'));
  };
  c.client.Send(fits, "fits");
  c.client.Send(over, "over");
  Exchange(c);
  EXPECT_FALSE(c.client.reply(fits).closed);
  EXPECT_EQ(c.client.reply(over).status(), "8");
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kOverLimit});
}

TEST_F(GrpcFlowTest, HeldBytesStopTheClientAtTheCallLimit) {
  GrpcServerOptions options;
  options.message_bytes_max = 10'000;
  options.call_held_bytes_max = 100'000;
  options.stream_window_bytes = 65'535;
  Restart(options);
  uint64_t held = 0;
  handler_.on_message = [&](GrpcCall& call, std::string_view message) {
    held += message.size();
    call.SetHeldBytes(held);
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  for (int i = 0; i < 100; ++i) c.client.Send(stream, std::string(10'000, 'h'));
  Exchange(c);
  EXPECT_GT(held, 100'000u);
  EXPECT_LE(held, 100'000u + 65'535u);
  EXPECT_GE(server_->counters().held_bytes.value(), held);
  EXPECT_GT(c.client.unsent(stream), 800'000u);
  while (held != 0 || c.client.unsent(stream) != 0) {
    held = 0;
    handler_.call->SetHeldBytes(0);
    Exchange(c);
  }
  EXPECT_EQ(handler_.messages.size(), 100u);
  c.client.End(stream);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "0");
  EXPECT_EQ(server_->counters().held_bytes.value(), 0u);
}

TEST_F(GrpcFlowTest, HeldBytesOfAConnectionThatDoNotMoveEndTheLargestCall) {
  GrpcServerOptions options;
  options.message_bytes_max = 10'000;
  options.call_held_bytes_max = 100'000;
  options.connection_held_bytes_max = 150'000;
  options.connection_window_bytes = 65'535;
  options.held_ns = 3 * kSecondNs;
  Restart(options);
  std::map<GrpcCall*, uint64_t> held;
  handler_.on_message = [&](GrpcCall& call, std::string_view message) {
    held[&call] += message.size();
    call.SetHeldBytes(held[&call]);
  };
  TestConnection& c = Connect();
  const int32_t small = c.client.Open();
  const int32_t large = c.client.Open();
  for (int i = 0; i < 9; ++i) c.client.Send(small, std::string(7'000, 'h'));
  for (int i = 0; i < 10; ++i) c.client.Send(large, std::string(9'900, 'h'));
  Exchange(c);
  ASSERT_EQ(held.size(), 2u);
  const int32_t blocked = c.client.Open();
  for (int i = 0; i < 10; ++i) c.client.Send(blocked, std::string(9'900, 'h'));
  Exchange(c);
  EXPECT_GT(c.client.unsent(blocked), 0u);
  EXPECT_LE(server_->counters().held_bytes.value(), 150'000u + 65'535u);
  Advance(3 * kSecondNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(large).status(), "8");
  EXPECT_FALSE(c.client.reply(small).closed);
  EXPECT_EQ(Count(GrpcEnd::kOverLimit), 1u);
}

TEST_F(GrpcFlowTest, PausedCallsKeepWhatArrives) {
  handler_.on_message = [](GrpcCall& call, std::string_view message) {
    call.Send(message);
    if (message == "pause") call.Pause();
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "a");
  c.client.Send(stream, "pause");
  c.client.Send(stream, "b");
  Exchange(c);
  c.client.Send(stream, "pause");
  c.client.SendRaw(stream, Framed("cut").substr(0, 6));
  Exchange(c);
  c.client.SendRaw(stream, Framed("cut").substr(6), true);
  Exchange(c);
  EXPECT_EQ(handler_.messages, (std::vector<std::string>{"a", "pause"}));
  EXPECT_GT(server_->counters().held_bytes.value(), 0u);
  GrpcCall& call = *handler_.call;
  call.Resume();
  EXPECT_EQ(handler_.messages.size(), 2u) << "not from within Resume()";
  Turn();
  EXPECT_EQ(handler_.messages, (std::vector<std::string>{"a", "pause", "b", "pause"}));
  EXPECT_EQ(handler_.half_closes, 0u);
  call.Resume();
  Exchange(c);
  EXPECT_EQ(handler_.messages.back(), "cut");
  EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcFlowTest, PausedCallsAreBoundByTheWindow) {
  GrpcServerOptions options;
  options.stream_window_bytes = 65'535;
  Restart(options);
  handler_.on_call = [](GrpcCall& call) { call.Pause(); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  for (int i = 0; i < 100; ++i) c.client.Send(stream, std::string(10'000, 'p'));
  Exchange(c);
  EXPECT_LE(server_->counters().held_bytes.value(), 65'535u);
  handler_.call->Resume();
  Exchange(c);
  EXPECT_EQ(handler_.messages.size(), 100u);
}

// --- time ---

TEST_F(GrpcFlowTest, ClientDeadline) {
  TestConnection& c = Connect();
  Fields fields = GrpcFields();
  fields.emplace_back("grpc-timeout", "2S");
  const int32_t stream = c.client.Open(fields);
  c.client.Send(stream, "hello");
  Exchange(c);
  ASSERT_NE(handler_.call, nullptr);
  EXPECT_EQ(handler_.call->deadline_ns(), clock_.now_ns() + 2 * kSecondNs);
  Advance(1'990'000'000);
  EXPECT_TRUE(handler_.ends.empty());
  Advance(20'000'000);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "4");
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kDeadline});
  EXPECT_EQ(handler_.end_codes, std::vector<Code>{Code::kDeadlineExceeded});
}

TEST_F(GrpcFlowTest, HandlerDeadlineOnlyBringsForward) {
  handler_.on_call = [&](GrpcCall& call) {
    call.SetDeadline(clock_.now_ns() + kSecondNs);
    call.SetDeadline(clock_.now_ns() + 5 * kSecondNs);
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  Exchange(c);
  Advance(kSecondNs + kTickNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "4");
}

TEST_F(GrpcFlowTest, SilentCallsEnd) {
  GrpcServerOptions options;
  options.first_message_ns = 2 * kSecondNs;
  options.message_ns = 3 * kSecondNs;
  options.call_idle_ns = 10 * kSecondNs;
  options.keepalive_ns = 0;
  Restart(options);
  TestConnection& c = Connect();
  const int32_t silent = c.client.Open();
  const int32_t idle = c.client.Open();
  c.client.Send(idle, "first");
  const int32_t trickle = c.client.Open();
  c.client.Send(trickle, "first");
  c.client.SendRaw(trickle, std::string(1, '\0'));
  Exchange(c);
  Advance(2 * kSecondNs + kTickNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(silent).status(), "4");
  EXPECT_FALSE(c.client.reply(trickle).closed);
  c.client.SendRaw(trickle, std::string(1, '\0'));
  Exchange(c);
  Advance(kSecondNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(trickle).status(), "4") << "a trickle does not extend it";
  EXPECT_FALSE(c.client.reply(idle).closed);
  Advance(7 * kSecondNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(idle).status(), "4");
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>(3, GrpcEnd::kTimeout));
}

TEST_F(GrpcFlowTest, PausedCallsDoNotCountAsSilent) {
  GrpcServerOptions options;
  options.first_message_ns = kSecondNs;
  options.call_idle_ns = kSecondNs;
  options.keepalive_ns = 0;
  Restart(options);
  handler_.on_message = [](GrpcCall& call, std::string_view) { call.Pause(); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "work");
  Exchange(c);
  Advance(100 * kSecondNs);
  EXPECT_TRUE(handler_.ends.empty());
  handler_.call->Resume();
  Turn();
  Advance(kSecondNs + 2 * kTickNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "4");
}

TEST_F(GrpcFlowTest, CallsPausedBeforeTheirFirstMessageMayStillBeSilentOnlySoLong) {
  GrpcServerOptions options;
  options.first_message_ns = kSecondNs;
  Restart(options);
  handler_.on_call = [](GrpcCall& call) { call.Pause(); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  Exchange(c);
  Advance(2 * kSecondNs);
  EXPECT_TRUE(handler_.ends.empty());
  handler_.call->Resume();
  Turn();
  Advance(kSecondNs + 2 * kTickNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "4");
}

TEST_F(GrpcFlowTest, ClientThatTakesNothingIsCutOff) {
  GrpcServerOptions options;
  options.send_ns = 4 * kSecondNs;
  Restart(options);
  TestConnection& c = Connect(true, 0);
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "hello");
  const int32_t finished = c.client.Open();
  c.client.Send(finished, "hello", true);
  Exchange(c);
  Advance(4 * kSecondNs + kTickNs);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "4");
  EXPECT_EQ(c.client.reply(finished).error, uint32_t{NGHTTP2_CANCEL});
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>(2, GrpcEnd::kTimeout));
}

TEST_F(GrpcFlowTest, HandshakeInTime) {
  FakeTransport transport;
  server_->Accept(transport.NewStream(), {});
  Turn();
  EXPECT_FALSE(transport.written().empty()) << "SETTINGS";
  Advance(10 * kSecondNs - kTickNs);
  EXPECT_FALSE(transport.closed());
  Advance(2 * kTickNs);
  EXPECT_TRUE(transport.closed());
  EXPECT_EQ(Count(GrpcRefusal::kHandshake), 1u);
}

TEST_F(GrpcFlowTest, KeepaliveAsksAndGivesUp) {
  GrpcServerOptions options;
  options.keepalive_ns = 10 * kSecondNs;
  options.keepalive_timeout_ns = 5 * kSecondNs;
  Restart(options);
  TestConnection& alive = Connect();
  const int32_t stream = alive.client.Open();
  alive.client.Send(stream, "x");
  Exchange(alive);
  Advance(10 * kSecondNs);
  Exchange(alive);
  EXPECT_EQ(alive.client.pings, 1);
  Advance(6 * kSecondNs);
  Exchange(alive);
  EXPECT_FALSE(alive.transport.closed()) << "it answered";
  for (int i = 0; i < 4; ++i) {
    Advance(5 * kSecondNs);
  }
  EXPECT_TRUE(alive.transport.closed());
  EXPECT_EQ(Count(GrpcRefusal::kKeepalive), 1u);
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kConnectionLost});
}

// --- drain ---

TEST_F(GrpcFlowTest, DrainLetsCallsEndAndRefusesNewOnes) {
  TestConnection& c = Connect();
  const int32_t open = c.client.Open();
  c.client.Send(open, "a");
  Exchange(c);
  server_->Drain(-1);
  EXPECT_TRUE(server_->draining());
  const int32_t crossed = c.client.Open(GrpcFields(), true);
  Exchange(c);
  EXPECT_EQ(c.client.goaways, 2) << "the notice, then the last call served";
  EXPECT_EQ(c.client.goaway_last_stream, crossed);
  EXPECT_EQ(c.client.reply(crossed).status(), "0") << "it was on its way";
  EXPECT_FALSE(server_->idle());
  FakeTransport late;
  server_->Accept(late.NewStream(), {});
  EXPECT_TRUE(late.closed());
  c.client.Send(open, "b", true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(open).messages(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c.client.reply(open).status(), "0");
  EXPECT_TRUE(c.transport.write_shut());
  c.transport.DeliverEof();
  c.transport.Notify(kReadable | kPeerClosed);
  EXPECT_TRUE(server_->idle());
}

TEST_F(GrpcFlowTest, DrainWithoutAnAnswerGoesOnByItself) {
  TestConnection& c = Connect();
  server_->Drain(-1);
  Turn();
  Advance(kGrpcDrainNoticeNs + kTickNs);
  EXPECT_TRUE(c.transport.write_shut());
  Advance(kGrpcLingerNs + kTickNs);
  EXPECT_TRUE(c.transport.closed());
  EXPECT_TRUE(server_->idle());
}

TEST_F(GrpcFlowTest, DrainCutsOffAtTheDeadline) {
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "a");
  Exchange(c);
  server_->Drain(3 * kSecondNs);
  Exchange(c);
  Advance(2'900'000'000);
  EXPECT_FALSE(server_->idle());
  Advance(200'000'000);
  EXPECT_TRUE(server_->idle());
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kDrained});
}

TEST_F(GrpcFlowTest, DrainFromWithinAHandler) {
  handler_.on_message = [&](GrpcCall& call, std::string_view message) {
    server_->Drain(0);
    call.Send(message);
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "a");
  Exchange(c);
  Advance(2 * kTickNs);
  EXPECT_TRUE(server_->idle());
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kDrained});
}

TEST_F(GrpcFlowTest, ServerGoesWithCallsInFlight) {
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "a");
  Exchange(c);
  server_.reset();
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kDrained});
  EXPECT_TRUE(c.transport.closed());
  Restart({});
}

TEST_F(GrpcFlowTest, CallsMayEndEachOther) {
  std::vector<GrpcCall*> waiting;
  handler_.on_message = [&](GrpcCall& call, std::string_view message) {
    if (message == "wait") {
      waiting.push_back(&call);
      return;
    }
    for (GrpcCall* one : waiting) {
      one->Send(message);
      one->Finish(Code::kOk);
    }
    call.Finish(Code::kOk);
  };
  TestConnection& a = Connect();
  TestConnection& b = Connect();
  const int32_t one = a.client.Open();
  a.client.Send(one, "wait");
  const int32_t two = b.client.Open();
  b.client.Send(two, "wait");
  Exchange(a);
  Exchange(b);
  const int32_t three = a.client.Open();
  a.client.Send(three, "go");
  Exchange(a);
  Exchange(b);
  EXPECT_EQ(a.client.reply(one).messages(), std::vector<std::string>{"go"});
  EXPECT_EQ(a.client.reply(one).status(), "0");
  EXPECT_EQ(b.client.reply(two).messages(), std::vector<std::string>{"go"});
  EXPECT_EQ(a.client.reply(three).status(), "0");
}

// --- cost ---

TEST_F(GrpcFlowTest, TenThousandHalfOpenCallsStayBounded) {
  constexpr uint32_t kCalls = kGrpcCallsPerConnectionMax;
  constexpr size_t kBytesPerCallMax = 2560;
  TestConnection& c = Connect();
  std::string up;
  for (uint32_t i = 0; i < kCalls; ++i) c.client.Open();
  up = c.client.TakeOutput();
  const size_t before = mallinfo2().uordblks;
  c.transport.Deliver(up);
  c.transport.Notify(kReadable);
  Turn();
  const size_t after = mallinfo2().uordblks;
  EXPECT_EQ(handler_.calls, kCalls);
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u);
  EXPECT_LT(after - std::min(after, before), kCalls * kBytesPerCallMax);
  Advance(server_->options().first_message_ns + kTickNs);
  Turn();
  EXPECT_EQ(server_->counters().calls_in_flight.value(), 0u);
  EXPECT_EQ(Count(GrpcEnd::kTimeout), kCalls);
}

// Answers without allocating, so that what is counted is the server's.
class PlainHandler final : public GrpcHandler {
 public:
  void OnCall(GrpcCall&) override {}
  void OnMessage(GrpcCall& call, std::string_view message) override { call.Send("h", message); }
  void OnHalfClose(GrpcCall& call) override { call.Finish(Code::kOk); }
  void OnEnd(GrpcCall&, GrpcEnd) override {}
};

TEST_F(GrpcFlowTest, SteadyStateAllocatesNothingOfOurs) {
  PlainHandler plain;
  ASSERT_EQ(server_->Register("/weir.test.Echo/Plain", plain), Code::kOk);
  int fds[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd socket(fds[0]);
  server_->Accept(Stream::Plain(UniqueFd(fds[1])), {});
  TestClient client;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10; ++i) {
      const int32_t stream = client.Open(GrpcFields("/weir.test.Echo/Plain"));
      client.Send(stream, std::string(500, 'x'));
      client.Send(stream, "last", true);
    }
    const std::string up = client.TakeOutput();
    ASSERT_EQ(::send(socket.get(), up.data(), up.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(up.size()));
    if (round < 15) {
      Turn();
    } else {
      const testing::AllocationForbidden guard;
      Turn();
    }
    std::string down(1u << 20, '\0');
    const ssize_t received = ::recv(socket.get(), down.data(), down.size(), 0);
    ASSERT_GT(received, 0);
    client.Receive(std::string_view(down).substr(0, static_cast<size_t>(received)));
  }
  EXPECT_EQ(client.reply(1).status(), "0");
  server_.reset();
  Restart({});
}

}  // namespace
}  // namespace weir::io
