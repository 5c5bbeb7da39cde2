#include "weir/io/http/head.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace weir::io {
namespace {

struct Parsed {
  HeadError error;
  RequestHead head;
};

// Parses in one go and byte by byte, and expects both to agree. The text must outlive the result.
Parsed ParseRequest(std::string_view text) {
  Parsed whole{};
  HeadCursor cursor;
  whole.error = ParseRequestHead(text, cursor, whole.head);
  RequestHead stepped;
  HeadCursor steps;
  HeadError error = HeadError::kIncomplete;
  for (size_t size = 0; size <= text.size() && error == HeadError::kIncomplete; ++size)
    error = ParseRequestHead(text.substr(0, size), steps, stepped);
  EXPECT_EQ(error, whole.error) << text;
  if (whole.error == HeadError::kNone) {
    EXPECT_EQ(stepped.size_bytes, whole.head.size_bytes);
    EXPECT_EQ(stepped.header_count, whole.head.header_count);
  }
  return whole;
}

HeadError RequestError(std::string_view text) { return ParseRequest(text).error; }

// A 1.1 request with these extra header lines, each ended by the caller.
std::string WithHeaders(std::string_view lines) {
  return "POST /v1/completions HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
}

struct ParsedResponse {
  HeadError error;
  ResponseHead head;
};

ParsedResponse ParseResponse(std::string_view text, Method method = Method::kPost) {
  ParsedResponse result{};
  HeadCursor cursor;
  result.error = ParseResponseHead(text, method, cursor, result.head);
  return result;
}

TEST(RequestHeadTest, ReadsLineHeadersAndLength) {
  const std::string text =
      "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: api:80\r\nContent-Type: application/json\r\n"
      "CONTENT-length: 12\r\nX-Empty:\r\nX-Pad: \t a b \t\r\n\r\n{\"model\":1}x";
  const Parsed parsed = ParseRequest(text);
  ASSERT_EQ(parsed.error, HeadError::kNone);
  const RequestHead& head = parsed.head;
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.method_id, Method::kPost);
  EXPECT_EQ(head.target, "/v1/chat/completions?x=1");
  EXPECT_EQ(head.path(), "/v1/chat/completions");
  EXPECT_EQ(head.version_minor, 1);
  EXPECT_EQ(head.framing, BodyFraming::kLength);
  EXPECT_EQ(head.content_length, 12u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_FALSE(head.expect_continue);
  EXPECT_EQ(text.substr(head.size_bytes), "{\"model\":1}x");
  EXPECT_EQ(head.Find("content-type"), "application/json");
  EXPECT_EQ(head.Find("x-pad"), "a b");
  EXPECT_NE(head.Find("x-empty").data(), nullptr);
  EXPECT_EQ(head.Find("x-absent").data(), nullptr);
}

TEST(RequestHeadTest, SkipsOneEmptyLineAndCountsIt) {
  const Parsed parsed = ParseRequest("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.size_bytes, 29u);
  EXPECT_EQ(RequestError("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::kNotHttp);
}

TEST(RequestHeadTest, KeepAliveFollowsVersionAndConnection) {
  const auto keep_alive = [](std::string_view version, std::string_view connection) {
    const std::string text =
        "GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n" + std::string(connection) + "\r\n";
    const Parsed parsed = ParseRequest(text);
    EXPECT_EQ(parsed.error, HeadError::kNone);
    return parsed.head.keep_alive;
  };
  EXPECT_TRUE(keep_alive("1.1", ""));
  EXPECT_FALSE(keep_alive("1.1", "Connection: close\r\n"));
  EXPECT_FALSE(keep_alive("1.1", "Connection: keep-alive, Close\r\n"));
  EXPECT_FALSE(keep_alive("1.0", ""));
  EXPECT_TRUE(keep_alive("1.0", "Connection: Keep-Alive\r\n"));
}

TEST(RequestHeadTest, RecordsHopByHopNames) {
  const std::string text = WithHeaders("Connection: X-Hop,, close , x-other\r\nX-Hop: 1\r\n");
  const Parsed parsed = ParseRequest(text);
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.hop_name_count, 2);
  EXPECT_TRUE(parsed.head.IsHopName("x-hop"));
  EXPECT_TRUE(parsed.head.IsHopName("X-OTHER"));
  EXPECT_FALSE(parsed.head.IsHopName("close"));
}

TEST(RequestHeadTest, ReadsAbsoluteAndAsteriskForm) {
  Parsed parsed = ParseRequest("GET http://a:1/x?y HTTP/1.1\r\nHost: A:1\r\n\r\n");
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.path_and_query, "/x?y");
  parsed = ParseRequest("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.path_and_query, "/");
  EXPECT_EQ(RequestError("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"), HeadError::kBadHost);
  EXPECT_EQ(RequestError("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::kNone);
  EXPECT_EQ(RequestError("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::kBadTarget);
}

TEST(RequestHeadTest, ReadsChunkedAndExpect) {
  const std::string text = WithHeaders("Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n");
  const Parsed parsed = ParseRequest(text);
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.framing, BodyFraming::kChunked);
  EXPECT_TRUE(parsed.head.expect_continue);
  // An HTTP/1.0 client does not know 100 Continue.
  EXPECT_FALSE(
      ParseRequest("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").head.expect_continue);
}

struct BadCase {
  const char* text;
  HeadError error;
  uint16_t status;
};

TEST(RequestHeadTest, RefusesBadRequests) {
  const BadCase cases[] = {
      {"\x16\x03\x01\x02", HeadError::kNotHttp, 400},
      {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kNotHttp, 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::kHttp2Preface, 505},
      {"GET / HTTP/1.1\nHost: a\n\n", HeadError::kBareLineFeed, 400},
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::kBareLineFeed, 400},
      {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadMethod, 400},
      {"GET\r\nHost: a\r\n\r\n", HeadError::kBadMethod, 400},
      {"GETGETGETGETGETGETGETGETG / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadMethod, 400},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kMethodNotImplemented, 501},
      {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kMethodNotImplemented, 501},
      {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadTarget, 400},
      {"GET /\r\nHost: a\r\n\r\n", HeadError::kBadVersion, 400},
      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::kBadVersion, 400},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::kBadVersion, 400},
      {"GET / http/1.1\r\nHost: a\r\n\r\n", HeadError::kBadVersion, 400},
      {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", HeadError::kBadVersion, 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", HeadError::kVersionNotSupported, 505},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", HeadError::kVersionNotSupported, 505},
      {"GET / HTTP/1.1\r\n\r\n", HeadError::kMissingHost, 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HeadError::kDuplicateHost, 400},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HeadError::kBadHost, 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::kBadHost, 400},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HeadError::kBadHost, 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
       HeadError::kTransferEncodingInHttp10, 400},
  };
  for (const BadCase& bad : cases) {
    EXPECT_EQ(RequestError(bad.text), bad.error) << bad.text;
    EXPECT_EQ(HeadErrorStatus(bad.error), bad.status) << bad.text;
  }
}

TEST(RequestHeadTest, RefusesBadHeaders) {
  const BadCase cases[] = {
      {": x\r\n", HeadError::kEmptyHeaderName, 400},
      {"A B: x\r\n", HeadError::kBadHeaderName, 400},
      {"A\x80: x\r\n", HeadError::kBadHeaderName, 400},
      {"A\rB: x\r\n", HeadError::kBadHeaderName, 400},
      {"Content-Length : 1\r\n", HeadError::kSpaceBeforeColon, 400},
      {"Content-Length\t: 1\r\n", HeadError::kSpaceBeforeColon, 400},
      {"NoColon\r\n", HeadError::kNoColon, 400},
      {"A: x\r\n folded\r\n", HeadError::kFoldedHeader, 400},
      {"A: x\r\n\tfolded\r\n", HeadError::kFoldedHeader, 400},
      {"A: x\ry\r\n", HeadError::kBadHeaderValue, 400},
      {"A: x\r\r\n", HeadError::kBadHeaderValue, 400},
      {"A: 0123456789\x7f\r\n", HeadError::kBadHeaderValue, 400},
      {"A: 0123456\x1f-after\r\n", HeadError::kBadHeaderValue, 400},
      {"Content-Length: -1\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: +1\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: 1, 1\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: 0x1\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length:\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: 1 2\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: 1000000000000000000\r\n", HeadError::kBadContentLength, 400},
      {"Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::kDuplicateContentLength, 400},
      {"Content-Length: 5\r\ncontent-length: 5\r\n", HeadError::kDuplicateContentLength, 400},
      {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::kLengthAndChunked, 400},
      {"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::kLengthAndChunked, 400},
      {"Transfer-Encoding: gzip\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding: gzip, chunked\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding: chunked, identity\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding: xchunked\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding: \"chunked\"\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding:\r\n", HeadError::kTransferEncodingNotImplemented, 501},
      {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
       HeadError::kDuplicateTransferEncoding, 400},
      {"Connection: content-length\r\nContent-Length: 5\r\n", HeadError::kBadConnection, 400},
      {"Connection: Transfer-Encoding\r\n", HeadError::kBadConnection, 400},
      {"Connection: host\r\n", HeadError::kBadConnection, 400},
      {"Connection: a b\r\n", HeadError::kBadConnection, 400},
      {"Connection: a,b,c,d,e,f,g,h,i\r\n", HeadError::kBadConnection, 400},
      {"Expect: 200-ok\r\n", HeadError::kExpectationFailed, 417},
  };
  for (const BadCase& bad : cases) {
    const std::string text = WithHeaders(bad.text);
    EXPECT_EQ(RequestError(text), bad.error) << bad.text;
    EXPECT_EQ(HeadErrorStatus(bad.error), bad.status) << bad.text;
  }
  EXPECT_EQ(RequestError(WithHeaders(std::string_view("A: x\0y\r\n", 8))),
            HeadError::kBadHeaderValue);
  EXPECT_EQ(RequestError(WithHeaders("Connection: a,b,c,d,e,f,g,h,close\r\n")), HeadError::kNone);
  EXPECT_EQ(RequestError(WithHeaders("Content-Length: 999999999999999999\r\n")), HeadError::kNone);
}

TEST(RequestHeadTest, AcceptsTabsAndHighBytesInValues) {
  EXPECT_EQ(RequestError(WithHeaders("A: caf\xc3\xa9\tbar baz qux\r\n")), HeadError::kNone);
}

TEST(RequestHeadTest, HoldsItsLimits) {
  std::string lines;
  for (uint32_t i = 1; i < kHeadersMax; ++i) lines += "A: b\r\n";  // Host is the first one
  EXPECT_EQ(RequestError(WithHeaders(lines)), HeadError::kNone);
  EXPECT_EQ(RequestError(WithHeaders(lines + "A: b\r\n")), HeadError::kTooManyHeaders);

  const auto with_target = [](size_t size) {
    return "GET /" + std::string(size - 1, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  };
  EXPECT_EQ(RequestError(with_target(kTargetBytesMax)), HeadError::kNone);
  EXPECT_EQ(RequestError(with_target(kTargetBytesMax + 1)), HeadError::kTargetTooLong);

  RequestHead head;
  const std::string text = WithHeaders("A: 0123456789\r\n");
  HeadCursor exact, short_by_one;
  const auto size = static_cast<uint32_t>(text.size());
  EXPECT_EQ(ParseRequestHead(text, exact, head, {.head_bytes_max = size}), HeadError::kNone);
  EXPECT_EQ(ParseRequestHead(text, short_by_one, head, {.head_bytes_max = size - 1}),
            HeadError::kHeadTooLarge);
  HeadCursor endless;
  const std::string line_without_end(100, 'a');
  EXPECT_EQ(ParseRequestHead(line_without_end, endless, head, {.head_bytes_max = 100}),
            HeadError::kHeadTooLarge);
}

TEST(RequestHeadTest, EveryErrorHasTextAndStatus) {
  for (uint32_t i = 2; i < kHeadErrorCount; ++i) {
    EXPECT_FALSE(HeadErrorText(static_cast<HeadError>(i)).empty()) << i;
    EXPECT_GE(HeadErrorStatus(static_cast<HeadError>(i)), 400) << i;
  }
  EXPECT_EQ(HeadErrorStatus(static_cast<HeadError>(250)), 400);
}

TEST(ResponseHeadTest, ClassifiesBodies) {
  const auto framing = [](std::string_view rest, Method method = Method::kPost) {
    const std::string text = "HTTP/1.1 " + std::string(rest) + "\r\n";
    const ParsedResponse parsed = ParseResponse(text, method);
    EXPECT_EQ(parsed.error, HeadError::kNone) << rest;
    return parsed.head.framing;
  };
  EXPECT_EQ(framing("200 OK\r\nContent-Length: 5\r\n"), BodyFraming::kLength);
  EXPECT_EQ(framing("200 OK\r\nTransfer-Encoding: chunked\r\n"), BodyFraming::kChunked);
  EXPECT_EQ(framing("200 OK\r\n"), BodyFraming::kUntilClose);
  EXPECT_EQ(framing("200 OK\r\nContent-Length: 5\r\n", Method::kHead), BodyFraming::kNone);
  EXPECT_EQ(framing("204 No Content\r\nContent-Length: 5\r\n"), BodyFraming::kNone);
  EXPECT_EQ(framing("304 Not Modified\r\nTransfer-Encoding: chunked\r\n"), BodyFraming::kNone);
  EXPECT_EQ(framing("103 Early Hints\r\n"), BodyFraming::kNone);
}

TEST(ResponseHeadTest, ReadsStatusAndReason) {
  ParsedResponse parsed = ParseResponse("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  ASSERT_EQ(parsed.error, HeadError::kNone);
  EXPECT_EQ(parsed.head.status, 404);
  EXPECT_EQ(parsed.head.reason, "Not Found");
  EXPECT_TRUE(parsed.head.keep_alive);
  EXPECT_EQ(ParseResponse("HTTP/1.1 200\r\n\r\n").head.reason, "");
  EXPECT_EQ(ParseResponse("HTTP/1.1 200 \r\n\r\n").head.reason, "");
  // Without length or chunks the end of the connection is the end of the body.
  EXPECT_FALSE(ParseResponse("HTTP/1.1 200 OK\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(ParseResponse("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").head.keep_alive);
  EXPECT_TRUE(ParseResponse("HTTP/1.1 100 Continue\r\n\r\n").head.informational());
}

TEST(ResponseHeadTest, RefusesBadResponses) {
  const BadCase cases[] = {
      {"SSH-2.0-OpenSSH\r\n", HeadError::kNotHttp, 0},
      {"HTTP/2 200 OK\r\n\r\n", HeadError::kBadVersion, 0},
      {"HTTP/2.0 200 OK\r\n\r\n", HeadError::kVersionNotSupported, 0},
      {"HTTP/1.1\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 20 OK\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 2000 OK\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 099 OK\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 600 OK\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 200 O\x01K\r\n\r\n", HeadError::kBadStatusLine, 0},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
       HeadError::kDuplicateContentLength, 0},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       HeadError::kLengthAndChunked, 0},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
       HeadError::kTransferEncodingInHttp10, 0},
      {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::kFoldedHeader, 0},
      {"HTTP/1.1 200 OK\r\n\n", HeadError::kBareLineFeed, 0},
      {"HTTP/1.1 200 OK\r\nA: b", HeadError::kIncomplete, 0},
      {"", HeadError::kIncomplete, 0},
  };
  for (const BadCase& bad : cases) EXPECT_EQ(ParseResponse(bad.text).error, bad.error) << bad.text;
}

}  // namespace
}  // namespace weir::io
