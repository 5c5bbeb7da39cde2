#include "weir/io/http/head_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace weir::io {
namespace {

std::string_view Written(const std::array<char, 4096>& buffer, const HeadWriter& writer) {
  return {buffer.data(), writer.size_bytes()};
}

TEST(HeadWriterTest, CopiesOnlyWhatMayTravel) {
  const std::string text =
      "POST /v1 HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
      "Upgrade: h2c\r\nProxy-Connection: x\r\nExpect: 100-continue\r\nX-Hop: 1\r\nX-Gone: 2\r\n"
      "X-Stays: 3\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n";
  RequestHead head;
  HeadCursor cursor;
  ASSERT_EQ(ParseRequestHead(text, cursor, head), HeadError::kNone);
  std::array<char, 4096> buffer;
  HeadWriter writer(buffer.data(), buffer.size());
  const std::string_view strip[] = {"x-gone"};
  writer.RequestLine(head.method, head.path_and_query);
  writer.CopyHeaders(head, {.strip = strip});
  writer.Header("content-length", uint64_t{18446744073709551615u});
  writer.End();
  EXPECT_FALSE(writer.overflow());
  EXPECT_EQ(
      Written(buffer, writer),
      "POST /v1 HTTP/1.1\r\nHost: a\r\nX-Stays: 3\r\ncontent-length: 18446744073709551615\r\n\r\n");

  HeadWriter framed(buffer.data(), buffer.size());
  framed.CopyHeaders(head, {.strip = strip, .framing = true, .host = false});
  EXPECT_EQ(Written(buffer, framed), "X-Stays: 3\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n");
}

TEST(HeadWriterTest, StopsAtTheEndOfItsBuffer) {
  std::array<char, 17> buffer;
  buffer.fill('#');
  HeadWriter writer(buffer.data(), 16);
  writer.Header("a", "0123456789");  // 15 bytes
  EXPECT_FALSE(writer.overflow());
  writer.Header("b", "");
  EXPECT_TRUE(writer.overflow());
  writer.Raw("x");  // nothing more is written once it has overflowed
  EXPECT_EQ(writer.size_bytes(), 15u);
  EXPECT_EQ(buffer[15], '#');
  EXPECT_EQ(buffer[16], '#');
}

TEST(HeadWriterTest, RefusesLineBreaksInAddedHeaders) {
  const std::string_view bad_texts[] = {"a\r\nb: c", "a\nb", "a\rb", {"a\0b", 3}};
  for (const std::string_view bad : bad_texts) {
    std::array<char, 64> buffer;
    HeadWriter value(buffer.data(), buffer.size());
    value.Header("x", bad);
    EXPECT_TRUE(value.overflow());
    HeadWriter name(buffer.data(), buffer.size());
    name.Header(bad, "x");
    EXPECT_TRUE(name.overflow());
  }
}

TEST(HeadWriterTest, WritesStatusLines) {
  std::array<char, 4096> buffer;
  HeadWriter writer(buffer.data(), buffer.size());
  writer.StatusLine(502);
  writer.StatusLine(299, "Own");
  EXPECT_EQ(Written(buffer, writer), "HTTP/1.1 502 Bad Gateway\r\nHTTP/1.1 299 Own\r\n");
  EXPECT_EQ(ReasonPhrase(599), "Unknown");
}

TEST(ErrorReplyTest, WritesOpenAiShape) {
  std::array<char, kErrorReplyBytesMax> buffer;
  const HeaderField extra[] = {{"retry-after", "1"}};
  const ErrorReply reply{.status = 429, .message = "full", .code = "queue_full", .param = "model"};
  const size_t size = WriteErrorResponse(buffer, reply, true, false, extra);
  const std::string body =
      R"({"error":{"message":"full","type":"invalid_request_error","param":"model","code":"queue_full"}})";
  EXPECT_EQ(std::string_view(buffer.data(), size),
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
            "connection: close\r\ncontent-length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
}

TEST(ErrorReplyTest, HeadOnlyKeepsTheLength) {
  std::array<char, kErrorReplyBytesMax> buffer;
  const size_t size = WriteErrorResponse(buffer, {.status = 503, .message = "x"}, false, true);
  const std::string_view text(buffer.data(), size);
  EXPECT_TRUE(text.ends_with("\r\n\r\n"));
  EXPECT_NE(text.find("content-length: 72\r\n"), std::string_view::npos) << text;
  EXPECT_EQ(text.find("connection"), std::string_view::npos);
}

TEST(ErrorReplyTest, EscapesAndCuts) {
  std::array<char, kErrorReplyBytesMax> buffer;
  const auto body = [&buffer](std::string_view message) {
    return std::string(buffer.data(), WriteErrorBody(buffer, {.status = 500, .message = message}));
  };
  EXPECT_EQ(body("a\"b\\c\nd\x7f\xc3\xa9\xff\xed\xa0\x80"
                 "e"),
            "{\"error\":{\"message\":\"a\\\"b\\\\c?d?\xc3\xa9????e\",\"type\":\"server_error\","
            "\"param\":null,\"code\":null}}");
  const std::string cut = body(std::string(10000, '"'));
  EXPECT_LE(cut.size(), buffer.size());
  EXPECT_TRUE(cut.ends_with("\\\"\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"));
}

TEST(ErrorReplyTest, RefusesABufferThatIsTooSmall) {
  std::array<char, 400> buffer;
  EXPECT_EQ(WriteErrorResponse(buffer, {.status = 500, .message = "x"}, false), 0u);
}

}  // namespace
}  // namespace weir::io
