// Responses that go through the handler's filter.
#include <gtest/gtest.h>

#include <cctype>

#include "relay_testing.h"
#include "weir/io/http/chunk.h"

namespace weir::io {
namespace {

constexpr std::string_view kGet = "GET /x HTTP/1.1\r\nHost: gw\r\n\r\n";
constexpr std::string_view kHttp10 = "GET /x HTTP/1.0\r\nHost: gw\r\n\r\n";

class RelayFilterTest : public RelayTest {
 protected:
  // Upper case, one byte late: what is held back comes with the last piece.
  void SetUp() override {
    handler_.on_request = [this](RelayRequest& request) {
      held_.clear();
      request.Proxy({.targets = targets_, .filter_response = true});
    };
    handler_.filter = [this](std::string_view data, bool last, std::string* out) {
      held_ += data;
      const size_t ready = last ? held_.size() : held_.size() - std::min<size_t>(1, held_.size());
      for (const char c : held_.substr(0, ready))
        out->push_back(static_cast<char>(std::toupper(c)));
      held_.erase(0, ready);
      lasts_ += last ? 1 : 0;
    };
  }
  FakeTransport& Ask(std::string_view request) {
    upstream_ = &AddUpstream();
    FakeTransport& client = Connect();
    Send(client, request);
    Accepts(*upstream_);
    return client;
  }
  // The data of a chunked body.
  static std::string Unchunked(std::string_view body) {
    std::string data;
    ChunkScanner scanner;
    for (std::string_view piece = scanner.Next(body); !piece.empty(); piece = scanner.Next(body)) {
      data += piece;
    }
    EXPECT_TRUE(scanner.done());
    EXPECT_EQ(body, "");
    return data;
  }
  // The body that the client got, whose head must be of a chunked response.
  static std::string Body(FakeTransport& client) {
    const std::string answer = Taken(client);
    const size_t end = answer.find("\r\n\r\n");
    EXPECT_NE(answer.substr(0, end).find("\r\ntransfer-encoding: chunked"), std::string::npos);
    EXPECT_EQ(answer.substr(0, end).find("Content-Length"), std::string::npos);
    return Unchunked(std::string_view(answer).substr(end + 4));
  }

  FakeTransport* upstream_ = nullptr;
  std::string held_;
  int lasts_ = 0;
};

TEST_F(RelayFilterTest, ABodyWithALengthBecomesChunks) {
  FakeTransport& client = Ask(kGet);
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX: y\r\n\r\nab");
  Send(*upstream_, "cd");
  Send(*upstream_, "ef");
  EXPECT_EQ(Body(client), "ABCDEF");
  EXPECT_EQ(lasts_, 1);
  EXPECT_EQ(handler_.response_data, "abcdef") << "the handler sees what the server sent";
  EXPECT_FALSE(client.closed());
}

TEST_F(RelayFilterTest, AnEmptyBodyToo) {
  FakeTransport& client = Ask(kGet);
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(Body(client), "");
  EXPECT_EQ(lasts_, 1);
}

TEST_F(RelayFilterTest, ChunksAreMadeAnew) {
  FakeTransport& client = Ask(kGet);
  SendByteWise(*upstream_,
               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n");
  EXPECT_EQ(Body(client), "ABCDE");
  EXPECT_EQ(lasts_, 1);
}

TEST_F(RelayFilterTest, ABodyUntilTheEndOfItsConnectionEndsWithAChunk) {
  FakeTransport& client = Ask(kGet);
  Send(*upstream_, "HTTP/1.1 200 OK\r\n\r\nabc");
  Leave(*upstream_);
  EXPECT_EQ(Body(client), "ABC");
  EXPECT_FALSE(client.closed());
}

TEST_F(RelayFilterTest, OldClientsGetTheBytesAlone) {
  FakeTransport& client = Ask(kHttp10);
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  const std::string answer = Taken(client);
  EXPECT_TRUE(answer.ends_with("connection: close\r\n\r\nABC")) << answer;
  EXPECT_EQ(answer.find("ontent-"), std::string::npos);
}

TEST_F(RelayFilterTest, ResponsesWithoutABodyPassUnchanged) {
  FakeTransport& client = Ask(kGet);
  Send(*upstream_, "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(Taken(client), "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(lasts_, 0);
}

TEST_F(RelayFilterTest, ACutBodyHasNoEnd) {
  FakeTransport& client = Ask(kGet);
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
  Leave(*upstream_);
  const std::string answer = Taken(client);
  EXPECT_FALSE(answer.ends_with("0\r\n\r\n")) << answer;
  EXPECT_TRUE(client.write_shut() || client.closed());
  EXPECT_EQ(lasts_, 0);
}

}  // namespace
}  // namespace weir::io
