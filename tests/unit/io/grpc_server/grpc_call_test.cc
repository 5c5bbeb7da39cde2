// Calls that go well: messages, metadata, statuses, and bytes split anywhere.
#include <zlib.h>

#include "grpc_testing.h"
#include "weir/io/grpc_server/grpc_wire.h"

namespace weir::io {
namespace {

using ::testing::Test;

std::string Gzip(std::string_view text) {
  std::string out(text.size() + 128, '\0');
  z_stream z = {};
  EXPECT_EQ(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

using GrpcCallTest = GrpcServerTest;

TEST_F(GrpcCallTest, EchoesMessagesAndEndsWithTrailers) {
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "one");
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).messages(), std::vector<std::string>{"one"});
  EXPECT_FALSE(c.client.reply(stream).ended);
  c.client.Send(stream, "");
  c.client.Send(stream, "three", true);
  Exchange(c);
  const TestClient::Reply& reply = c.client.reply(stream);
  EXPECT_EQ(reply.messages(), (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(reply.headers.at(":status"), "200");
  EXPECT_EQ(reply.headers.at("content-type"), "application/grpc");
  EXPECT_EQ(reply.status(), "0");
  EXPECT_FALSE(reply.trailers.contains("grpc-message"));
  EXPECT_TRUE(reply.closed);
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kFinished});
  EXPECT_EQ(server_->counters().messages_in.value(), 3u);
  EXPECT_EQ(server_->counters().messages_out.value(), 3u);
}

TEST_F(GrpcCallTest, TellsItsSettings) {
  TestConnection& c = Connect();
  EXPECT_EQ(c.client.settings.at(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
            kGrpcCallsPerConnectionMax);
  EXPECT_EQ(c.client.settings.at(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 1u << 20);
  EXPECT_EQ(c.client.settings.at(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE), kGrpcMetadataBytesMax);
  EXPECT_EQ(c.client.settings.at(NGHTTP2_SETTINGS_MAX_FRAME_SIZE), 64u * 1024);
}

TEST_F(GrpcCallTest, AnswersAWholeReadWithOneWrite) {
  TestConnection& c = Connect();
  std::vector<int32_t> streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(c.client.Open());
    c.client.Send(streams.back(), "hello", true);
  }
  const uint32_t writes = c.transport.write_calls();
  c.transport.Deliver(c.client.TakeOutput());
  c.transport.Notify(kReadable);
  EXPECT_EQ(c.transport.write_calls(), writes + 1);
  Exchange(c);
  for (const int32_t stream : streams) EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcCallTest, ConnectionCutIntoSingleBytesWorksAsWell) {
  FakeTransport transport;
  server_->Accept(transport.NewStream(), {});
  TestClient client;
  const int32_t stream = client.Open();
  client.Send(stream, "split");
  client.Send(stream, std::string(300, 'x'), true);
  const std::string up = client.TakeOutput();
  for (const char& byte : up) {
    transport.Deliver({&byte, 1});
    transport.Notify(kReadable);
  }
  Turn();
  client.Receive(transport.written());
  EXPECT_EQ(client.reply(stream).messages(),
            (std::vector<std::string>{"split", std::string(300, 'x')}));
  EXPECT_EQ(client.reply(stream).status(), "0");
  server_.reset();
  Restart({});
}

TEST_F(GrpcCallTest, MessagesSplitAtEveryPlaceOverDataFrames) {
  const std::string both = Framed("hello") + Framed("") + Framed("world");
  for (size_t cut = 1; cut < both.size(); ++cut) {
    TestConnection& c = Connect();
    const int32_t stream = c.client.Open();
    c.client.SendRaw(stream, both.substr(0, cut));
    Exchange(c);
    c.client.SendRaw(stream, both.substr(cut), true);
    Exchange(c);
    EXPECT_EQ(c.client.reply(stream).messages(), (std::vector<std::string>{"hello", "", "world"}))
        << cut;
    EXPECT_EQ(c.client.reply(stream).status(), "0") << cut;
  }
}

TEST_F(GrpcCallTest, ConnectionCutAtEveryByteEndsEveryCall) {
  TestClient original;
  const int32_t stream = original.Open();
  original.Send(stream, "first");
  original.Send(stream, "second", true);
  const std::string up = original.TakeOutput();
  for (size_t cut = 0; cut <= up.size(); ++cut) {
    FakeTransport transport;
    server_->Accept(transport.NewStream(), {});
    transport.Deliver(up.substr(0, cut));
    transport.DeliverEof();
    transport.Notify(kReadable | kPeerClosed);
    Turn();
    EXPECT_TRUE(server_->idle()) << cut;
    EXPECT_EQ(server_->counters().calls_in_flight.value(), 0u) << cut;
    EXPECT_EQ(handler_.calls, handler_.ends.size()) << cut;
  }
  EXPECT_EQ(server_->counters().held_bytes.value(), 0u);
}

TEST_F(GrpcCallTest, LargeMessageOverManyFramesAndWindows) {
  TestConnection& c = Connect();
  const std::string large(3'000'000, 'L');
  const int32_t stream = c.client.Open();
  c.client.Send(stream, large, true);
  Exchange(c);
  ASSERT_EQ(handler_.messages.size(), 1u);
  EXPECT_EQ(handler_.messages[0], large);
  ASSERT_EQ(c.client.reply(stream).messages().size(), 1u);
  EXPECT_EQ(c.client.reply(stream).messages()[0], large);
  EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcCallTest, ShowsMetadataInsideOnCallOnly) {
  std::string seen;
  handler_.on_call = [&](GrpcCall& call) {
    seen = std::string(call.FindMetadata("x-request-id").value_or("none"));
    EXPECT_EQ(call.FindMetadata(":path"), kEchoPath);
    EXPECT_FALSE(call.FindMetadata("x-missing").has_value());
    EXPECT_EQ(call.metadata().size(), 8u);
  };
  TestConnection& c = Connect();
  Fields fields = GrpcFields();
  fields.emplace_back("x-request-id", "abc");
  fields.emplace_back("x-trace-bin", "AAEC");
  const int32_t stream = c.client.Open(fields);
  c.client.Send(stream, "m", true);
  Exchange(c);
  EXPECT_EQ(seen, "abc");
}

TEST_F(GrpcCallTest, FinishBeforeAnythingIsTrailersOnly) {
  handler_.on_call = [](GrpcCall& call) {
    call.Finish(Code::kPermissionDenied, "no: 100% \n\xc3\xa9");
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "ignored");
  Exchange(c);
  const TestClient::Reply& reply = c.client.reply(stream);
  EXPECT_EQ(reply.headers.at("grpc-status"), "7");
  EXPECT_EQ(reply.headers.at("grpc-message"), "no: 100%25 %0A%C3%A9");
  EXPECT_TRUE(reply.trailers.empty());
  EXPECT_TRUE(reply.closed) << "the client still sent: RST_STREAM(NO_ERROR) follows";
  EXPECT_EQ(reply.error, uint32_t{NGHTTP2_NO_ERROR});
  EXPECT_TRUE(handler_.messages.empty());
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kFinished});
}

TEST_F(GrpcCallTest, FinishAfterMessagesWhileTheClientStillSends) {
  handler_.on_message = [](GrpcCall& call, std::string_view message) {
    call.Send("a ", message);
    call.Finish(Code::kAborted, "enough");
    EXPECT_FALSE(call.Send("dropped"));
    call.Finish(Code::kOk);
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "one");
  c.client.Send(stream, "two");
  Exchange(c);
  const TestClient::Reply& reply = c.client.reply(stream);
  EXPECT_EQ(reply.messages(), std::vector<std::string>{"a one"});
  EXPECT_EQ(reply.status(), "10");
  EXPECT_EQ(reply.message(), "enough");
  EXPECT_TRUE(reply.closed);
  EXPECT_EQ(handler_.messages.size(), 1u);
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kFinished});
}

TEST_F(GrpcCallTest, StatusTextIsCut) {
  handler_.on_call = [](GrpcCall& call) {
    call.Finish(Code::kInternal, std::string(kGrpcStatusTextBytesMax + 1, 't'));
  };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).message().size(), kGrpcStatusTextBytesMax);
}

TEST_F(GrpcCallTest, CodesOutsideTheListBecomeUnknown) {
  handler_.on_call = [](GrpcCall& call) { call.Finish(static_cast<Code>(17)); };
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "2");
}

TEST_F(GrpcCallTest, SendsFromOutsideOfEvents) {
  handler_.on_message = [](GrpcCall&, std::string_view) {};
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  c.client.Send(stream, "wait");
  Exchange(c);
  ASSERT_NE(handler_.call, nullptr);
  handler_.call->Send("later");
  handler_.call->Send("and later");
  const uint32_t writes = c.transport.write_calls();
  Turn();
  EXPECT_EQ(c.transport.write_calls(), writes + 1) << "at the end of the turn, with one write";
  handler_.call->Finish(Code::kOk);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).messages(), (std::vector<std::string>{"later", "and later"}));
  EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcCallTest, GzipMessages) {
  TestConnection& c = Connect();
  Fields fields = GrpcFields();
  fields.emplace_back("grpc-encoding", "gzip");
  const int32_t stream = c.client.Open(fields);
  const std::string text(100'000, 'z');
  c.client.SendRaw(stream, Framed(Gzip(text), 1) + Framed("plain") + Framed(Gzip(""), 1), true);
  Exchange(c);
  EXPECT_EQ(handler_.messages, (std::vector<std::string>{text, "plain", ""}));
  EXPECT_EQ(c.client.reply(stream).status(), "0");
}

TEST_F(GrpcCallTest, GzipBombIsRefused) {
  GrpcServerOptions options;
  options.message_bytes_max = 50'000;
  Restart(options);
  TestConnection& c = Connect();
  Fields fields = GrpcFields();
  fields.emplace_back("grpc-encoding", "gzip");
  const int32_t fits = c.client.Open(fields);
  c.client.SendRaw(fits, Framed(Gzip(std::string(50'000, 'z')), 1), true);
  const int32_t bomb = c.client.Open(fields);
  c.client.SendRaw(bomb, Framed(Gzip(std::string(50'001, 'z')), 1), true);
  const int32_t damaged = c.client.Open(fields);
  c.client.SendRaw(damaged, Framed("not gzip", 1), true);
  const int32_t cut = c.client.Open(fields);
  c.client.SendRaw(cut, Framed(Gzip("cut").substr(0, 12), 1), true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(fits).status(), "0");
  EXPECT_EQ(c.client.reply(bomb).status(), "8");
  EXPECT_EQ(c.client.reply(damaged).status(), "13");
  EXPECT_EQ(c.client.reply(cut).status(), "13");
  EXPECT_EQ(Count(GrpcEnd::kRefusedMessage), 3u);
}

TEST(GrpcWire, ReadsTimeouts) {
  EXPECT_EQ(ParseGrpcTimeout("1H"), 3600 * kSecondNs);
  EXPECT_EQ(ParseGrpcTimeout("2M"), 120 * kSecondNs);
  EXPECT_EQ(ParseGrpcTimeout("3S"), 3 * kSecondNs);
  EXPECT_EQ(ParseGrpcTimeout("250m"), 250'000'000);
  EXPECT_EQ(ParseGrpcTimeout("7u"), 7000);
  EXPECT_EQ(ParseGrpcTimeout("99999999n"), 99'999'999);
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), kGrpcTimeoutNsMax);
  for (const char* bad : {"", "S", "1", "123456789S", "-1S", "1.5S", "1s", "1 S", "1SS"}) {
    EXPECT_FALSE(ParseGrpcTimeout(bad).has_value()) << bad;
  }
}

TEST(GrpcWire, KnowsItsContentType) {
  EXPECT_TRUE(IsGrpcContentType("application/grpc"));
  EXPECT_TRUE(IsGrpcContentType("application/grpc+proto"));
  EXPECT_TRUE(IsGrpcContentType("application/grpc;charset=utf-8"));
  EXPECT_FALSE(IsGrpcContentType("application/grpc-web"));
  EXPECT_FALSE(IsGrpcContentType("application/json"));
  EXPECT_FALSE(IsGrpcContentType(""));
}

}  // namespace
}  // namespace weir::io
