// Requests and connections that are refused: each limit at its edge, bad input, floods.
#include "grpc_testing.h"
#include "weir/io/grpc_server/flood_guard.h"

namespace weir::io {
namespace {

using GrpcRefusalTest = GrpcServerTest;

Fields With(std::string_view name, std::string_view value) {
  Fields fields = GrpcFields();
  for (auto& [field, old] : fields) {
    if (field != name) continue;
    old = value;
    return fields;
  }
  fields.emplace_back(name, value);
  return fields;
}

Fields Without(std::string_view name) {
  Fields fields = GrpcFields();
  std::erase_if(fields, [&](const auto& field) { return field.first == name; });
  return fields;
}

TEST_F(GrpcRefusalTest, RequestsThatAreNotOurs) {
  TestConnection& c = Connect();
  const int32_t method = c.client.Open(GrpcFields("/weir.test.Echo/Other"));
  const int32_t prefix = c.client.Open(GrpcFields("/weir.test.Echo/Stream/"));
  const int32_t get = c.client.Open(With(":method", "GET"));
  const int32_t json = c.client.Open(With("content-type", "application/json"));
  const int32_t untyped = c.client.Open(Without("content-type"));
  const int32_t te = c.client.Open(Without("te"));
  const int32_t encoding = c.client.Open(With("grpc-encoding", "snappy"));
  const int32_t timeout = c.client.Open(With("grpc-timeout", "soon"));
  const int32_t identity = c.client.Open(With("grpc-encoding", "identity"), true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(method).status(), "12");
  EXPECT_EQ(c.client.reply(method).message(), "unknown method /weir.test.Echo/Other");
  EXPECT_EQ(c.client.reply(prefix).status(), "12");
  EXPECT_EQ(c.client.reply(get).headers.at(":status"), "405");
  EXPECT_EQ(c.client.reply(json).headers.at(":status"), "415");
  EXPECT_EQ(c.client.reply(untyped).headers.at(":status"), "415");
  EXPECT_EQ(c.client.reply(te).status(), "13");
  EXPECT_EQ(c.client.reply(encoding).status(), "12");
  EXPECT_EQ(c.client.reply(encoding).headers.at("grpc-accept-encoding"), "identity,gzip");
  EXPECT_EQ(c.client.reply(timeout).status(), "13");
  EXPECT_EQ(c.client.reply(identity).status(), "0");
  for (const int32_t stream : {method, prefix, get, json, untyped, te, encoding, timeout}) {
    EXPECT_TRUE(c.client.reply(stream).closed) << stream;
  }
  EXPECT_EQ(handler_.calls, 1u);
  EXPECT_EQ(Count(GrpcRefusal::kUnknownMethod), 2u);
  EXPECT_EQ(Count(GrpcRefusal::kEncoding), 1u);
  EXPECT_EQ(Count(GrpcRefusal::kNotGrpc), 5u);
}

TEST_F(GrpcRefusalTest, MessageAtTheLimitAndBeyond) {
  GrpcServerOptions options;
  options.message_bytes_max = 1000;
  Restart(options);
  TestConnection& c = Connect();
  const int32_t fits = c.client.Open();
  c.client.Send(fits, std::string(1000, 'm'), true);
  const int32_t large = c.client.Open();
  c.client.Send(large, "before");
  c.client.Send(large, std::string(1001, 'm'), true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(fits).status(), "0");
  EXPECT_EQ(c.client.reply(large).status(), "8");
  EXPECT_EQ(handler_.messages.size(), 2u);
  EXPECT_EQ(handler_.ends.size(), 2u);
  EXPECT_EQ(Count(GrpcEnd::kRefusedMessage), 1u);
}

TEST_F(GrpcRefusalTest, DefaultMessageLimitIsFourMebibytes) {
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  std::string prefix = Framed("").substr(0, 1) + std::string("\x00\x40\x00\x01", 4);
  c.client.SendRaw(stream, prefix);
  Exchange(c);
  EXPECT_EQ(c.client.reply(stream).status(), "8") << "refused by its announced size alone";
  EXPECT_EQ(handler_.end_codes, std::vector<Code>{Code::kResourceExhausted});
}

TEST_F(GrpcRefusalTest, BadFraming) {
  TestConnection& c = Connect();
  const int32_t flag = c.client.Open();
  c.client.SendRaw(flag, Framed("x", 2));
  const int32_t compressed = c.client.Open();
  c.client.SendRaw(compressed, Framed("x", 1));
  const int32_t cut = c.client.Open();
  c.client.SendRaw(cut, Framed("whole").substr(0, 7), true);
  const int32_t cut_prefix = c.client.Open();
  c.client.SendRaw(cut_prefix, std::string(3, '\0'), true);
  Exchange(c);
  for (const int32_t stream : {flag, compressed, cut, cut_prefix}) {
    EXPECT_EQ(c.client.reply(stream).status(), "13") << stream;
    EXPECT_TRUE(c.client.reply(stream).closed) << stream;
  }
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>(4, GrpcEnd::kRefusedMessage));
  EXPECT_EQ(handler_.end_codes, std::vector<Code>(4, Code::kInternal));
  EXPECT_TRUE(handler_.messages.empty());
  EXPECT_EQ(handler_.half_closes, 0u);
}

TEST_F(GrpcRefusalTest, MetadataAtTheLimitAndBeyond) {
  GrpcServerOptions options;
  options.metadata_bytes_max = 1000;
  Restart(options);
  TestConnection& c = Connect();
  size_t used = 0;
  for (const auto& [name, value] : GrpcFields()) used += name.size() + value.size() + 32;
  const size_t left = 1000 - used - 32 - 3;
  const int32_t fits = c.client.Open(With("x-a", std::string(left, 'a')), true);
  const int32_t large = c.client.Open(With("x-a", std::string(left + 1, 'a')), true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(fits).status(), "0");
  EXPECT_EQ(c.client.reply(large).status(), "8");
  EXPECT_EQ(Count(GrpcRefusal::kMetadata), 1u);
}

TEST_F(GrpcRefusalTest, HeadersAtTheirNumberAndBeyond) {
  TestConnection& c = Connect();
  Fields fields = GrpcFields();
  while (fields.size() < kGrpcMetadataMax) fields.emplace_back("x", "y");
  const int32_t fits = c.client.Open(fields, true);
  fields.emplace_back("x", "y");
  const int32_t many = c.client.Open(fields, true);
  Exchange(c);
  EXPECT_EQ(c.client.reply(fits).status(), "0");
  EXPECT_EQ(c.client.reply(many).status(), "8");
}

TEST_F(GrpcRefusalTest, CallsPerConnection) {
  GrpcServerOptions options;
  options.calls_per_connection_max = 2;
  Restart(options);
  TestConnection& c = Connect();
  // A client that does not wait for SETTINGS.
  const int32_t one = c.client.Open();
  const int32_t two = c.client.Open();
  Exchange(c);
  const int32_t three = c.client.Open();
  Exchange(c);
  EXPECT_EQ(handler_.calls, 2u);
  c.client.End(one);
  Exchange(c);
  EXPECT_EQ(c.client.reply(one).status(), "0");
  c.client.End(three);
  Exchange(c);
  EXPECT_EQ(c.client.reply(three).status(), "0") << "the client waited for room";
  EXPECT_FALSE(c.client.reply(two).closed);
}

TEST_F(GrpcRefusalTest, CallsOfAllConnections) {
  GrpcServerOptions options;
  options.calls_max = 2;
  Restart(options);
  TestConnection& a = Connect();
  TestConnection& b = Connect();
  const int32_t one = a.client.Open();
  const int32_t two = b.client.Open();
  Exchange(a);
  Exchange(b);
  const int32_t three = b.client.Open();
  Exchange(b);
  EXPECT_TRUE(b.client.reply(three).closed);
  EXPECT_EQ(b.client.reply(three).error, uint32_t{NGHTTP2_REFUSED_STREAM});
  EXPECT_EQ(Count(GrpcRefusal::kCallsFull), 1u);
  a.client.End(one);
  Exchange(a);
  const int32_t four = b.client.Open(GrpcFields(), true);
  Exchange(b);
  EXPECT_EQ(b.client.reply(four).status(), "0");
  EXPECT_FALSE(b.client.reply(two).closed);
}

TEST_F(GrpcRefusalTest, ConnectionsAtTheirNumberAndBeyond) {
  GrpcServerOptions options;
  options.connections_max = 2;
  Restart(options);
  Connect();
  Connect();
  FakeTransport third;
  server_->Accept(third.NewStream(), {});
  EXPECT_TRUE(third.closed());
  EXPECT_EQ(Count(GrpcRefusal::kConnectionsFull), 1u);
  EXPECT_EQ(server_->counters().connections.value(), 2u);
}

TEST_F(GrpcRefusalTest, OtherProtocols) {
  for (const char* text : {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
                           "\x16\x03\x01\x02", "nonsense"}) {
    FakeTransport transport;
    server_->Accept(transport.NewStream(), {});
    transport.Deliver(text);
    transport.DeliverEof();
    transport.Notify(kReadable | kPeerClosed);
    Turn();
    EXPECT_TRUE(transport.closed()) << text;
  }
  EXPECT_TRUE(server_->idle());
  EXPECT_GE(Count(GrpcRefusal::kProtocol), 2u);
}

TEST_F(GrpcRefusalTest, BrokenFramesEndTheConnectionAndItsCalls) {
  TestConnection& c = Connect();
  const int32_t stream = c.client.Open();
  Exchange(c);
  // A DATA frame of stream 0.
  c.transport.Deliver(std::string_view("\x00\x00\x01\x00\x00\x00\x00\x00\x00x", 10));
  c.transport.Notify(kReadable);
  Exchange(c);
  EXPECT_EQ(c.client.goaway_error, uint32_t{NGHTTP2_PROTOCOL_ERROR});
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kConnectionLost});
  EXPECT_EQ(Count(GrpcRefusal::kProtocol), 1u);
  EXPECT_FALSE(c.client.reply(stream).ended);
}

std::string Frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) {
  std::string frame(9, '\0');
  frame[1] = static_cast<char>(payload.size() >> 8);
  frame[2] = static_cast<char>(payload.size());
  frame[3] = static_cast<char>(type);
  frame[4] = static_cast<char>(flags);
  for (int i = 0; i < 4; ++i) frame[5 + i] = static_cast<char>(stream >> (24 - 8 * i));
  return frame + std::string(payload);
}

class GrpcFloodTest : public GrpcServerTest {
 protected:
  // Sends `frame` so many times, in small portions whose answers are read.
  void Repeat(TestConnection& c, std::string_view frame, uint32_t times) {
    std::string portion;
    for (uint32_t i = 0; i < times && !c.transport.write_shut() && c.client.goaways == 0; ++i) {
      portion += frame;
      if (portion.size() < 1000 && i + 1 < times) continue;
      c.transport.Deliver(portion);
      c.transport.Notify(kReadable);
      Exchange(c);
      portion.clear();
    }
  }
};

TEST_F(GrpcFloodTest, PingsWithinTheBurstAreAnsweredMoreEndTheConnection) {
  const std::string ping = Frame(NGHTTP2_PING, 0, 0, "12345678");
  TestConnection& fine = Connect();
  // The client's SETTINGS and its answer to ours have taken two.
  Repeat(fine, ping, kFloodControlBurst - 2);
  EXPECT_EQ(fine.client.goaways, 0);
  clock_.Advance(kSecondNs);
  Repeat(fine, ping, kFloodControlPerSecond);
  EXPECT_EQ(fine.client.goaways, 0);
  TestConnection& flood = Connect();
  Repeat(flood, ping, kFloodControlBurst + 100);
  EXPECT_EQ(flood.client.goaways, 1);
  EXPECT_EQ(flood.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(Count(GrpcRefusal::kFlood), 1u);
}

TEST_F(GrpcFloodTest, EmptyDataAndSettings) {
  TestConnection& data = Connect();
  const int32_t stream = data.client.Open();
  Exchange(data);
  Repeat(data, Frame(NGHTTP2_DATA, 0, stream, ""), kFloodControlBurst + 100);
  EXPECT_EQ(data.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(handler_.ends, std::vector<GrpcEnd>{GrpcEnd::kConnectionLost});
  TestConnection& settings = Connect();
  // An honest session would choke on the answers: they are thrown away.
  for (uint32_t i = 0; i < kFloodControlBurst + 100 && !settings.transport.write_shut(); ++i) {
    settings.transport.Deliver(Frame(NGHTTP2_SETTINGS, 0, 0, ""));
    settings.transport.Notify(kReadable);
    settings.transport.written().clear();
  }
  EXPECT_TRUE(settings.transport.write_shut());
  EXPECT_EQ(Count(GrpcRefusal::kFlood), 2u);
}

TEST_F(GrpcFloodTest, WindowUpdates) {
  TestConnection& c = Connect();
  Repeat(c, Frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string_view("\0\0\0\1", 4)),
         kFloodAnswerBurst + 100);
  EXPECT_EQ(c.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
}

TEST_F(GrpcFloodTest, RapidResets) {
  TestConnection& c = Connect();
  uint32_t opened = 0;
  while (c.client.goaways == 0 && opened < kFloodResetBurst + 100) {
    for (int i = 0; i < 50; ++i, ++opened) {
      const int32_t stream = c.client.Open();
      const std::string head = c.client.TakeOutput();
      nghttp2_submit_rst_stream(c.client.session(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
      c.transport.Deliver(head);
    }
    Exchange(c);
  }
  EXPECT_GT(opened, kFloodResetBurst - 50);
  EXPECT_EQ(c.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(server_->counters().calls_in_flight.value(), 0u);
}

TEST_F(GrpcFloodTest, ServedCallsPayForResets) {
  TestConnection& c = Connect();
  for (uint32_t i = 0; i < kFloodResetBurst + 500; i += 50) {
    std::vector<int32_t> served;
    for (int k = 0; k < 50; ++k) served.push_back(c.client.Open(GrpcFields(), true));
    Exchange(c);
    for (int k = 0; k < 50; ++k) {
      const int32_t stream = c.client.Open();
      c.transport.Deliver(c.client.TakeOutput());
      nghttp2_submit_rst_stream(c.client.session(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    }
    Exchange(c);
    ASSERT_EQ(c.client.reply(served.back()).status(), "0");
  }
  EXPECT_EQ(c.client.goaways, 0);
}

TEST_F(GrpcFloodTest, CallsThatWereAnsweredAreNotWasted) {
  TestConnection& c = Connect();
  for (uint32_t i = 0; i < kFloodResetBurst + 1000 && c.client.goaways == 0; i += 50) {
    std::vector<int32_t> streams;
    for (int k = 0; k < 50; ++k) {
      streams.push_back(c.client.Open());
      c.client.Send(streams.back(), "x");
    }
    Exchange(c);
    for (const int32_t stream : streams) {
      nghttp2_submit_rst_stream(c.client.session(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    }
    Exchange(c);
  }
  EXPECT_EQ(c.client.goaways, 0) << "its clients left amid their answers";
  EXPECT_EQ(handler_.ends.size(), kFloodResetBurst + 1000u);
}

TEST_F(GrpcFloodTest, AnswersThatNeverLeftAreWasted) {
  TestConnection& c = Connect();
  uint32_t opened = 0;
  while (c.client.goaways == 0 && opened < kFloodResetBurst + 100) {
    for (int i = 0; i < 50; ++i, ++opened) {
      const int32_t stream = c.client.Open();
      c.client.Send(stream, "x");
      const std::string request = c.client.TakeOutput();
      nghttp2_submit_rst_stream(c.client.session(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
      c.transport.Deliver(request + c.client.TakeOutput());
    }
    c.transport.Notify(kReadable);
    Exchange(c);
  }
  EXPECT_GT(handler_.messages.size(), 0u);
  EXPECT_EQ(c.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
}

TEST_F(GrpcFloodTest, RefusedRequests) {
  TestConnection& c = Connect();
  for (uint32_t i = 0; i < kFloodResetBurst + 100 && c.client.goaways == 0; i += 50) {
    for (int k = 0; k < 50; ++k) c.client.Open(GrpcFields("/no/Method"), true);
    Exchange(c);
  }
  EXPECT_EQ(c.client.goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
}

TEST_F(GrpcFloodTest, HeadersThatNeverEnd) {
  FakeTransport transport;
  server_->Accept(transport.NewStream(), {});
  TestClient client;
  transport.Deliver(client.TakeOutput());
  transport.Notify(kReadable);
  transport.Deliver(Frame(NGHTTP2_HEADERS, 0, 1, ""));
  for (int i = 0; i < 10'000 && !transport.closed(); ++i) {
    transport.Deliver(Frame(NGHTTP2_CONTINUATION, 0, 1, ""));
    transport.Notify(kReadable);
    Turn();
  }
  clock_.Advance(2 * kSecondNs);
  Turn();
  EXPECT_TRUE(transport.closed());
  EXPECT_EQ(handler_.calls, 0u);
  server_.reset();
  Restart({});
}

TEST(TokenBucket, RefillsWithTimeUpToTheBurst) {
  TokenBucket bucket(4, 2, 0);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(bucket.Take(0));
  EXPECT_FALSE(bucket.Take(0));
  EXPECT_FALSE(bucket.Take(499'999'999));
  EXPECT_TRUE(bucket.Take(500'000'000));
  EXPECT_FALSE(bucket.Take(500'000'000));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(bucket.Take(100 * kSecondNs)) << i;
  EXPECT_FALSE(bucket.Take(100 * kSecondNs));
  bucket.Give(100);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(bucket.Take(100 * kSecondNs));
  EXPECT_FALSE(bucket.Take(100 * kSecondNs));
}

}  // namespace
}  // namespace weir::io
