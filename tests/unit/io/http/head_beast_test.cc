// Compares our head parser with Boost.Beast's: what we accept, Beast must read the same way. Beast
// accepts more than we do (folding, HTTP/1.0 chunks), so the other direction is not required. One
// exception is ours: a status line may end after the code without the space.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/beast/http.hpp>
#include <string>
#include <utility>
#include <vector>

#include "weir/io/http/head.h"
#include "weir/random.h"

namespace weir::io {
namespace {

namespace http = boost::beast::http;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

const char* const kMethods[] = {"GET", "POST", "HEAD", "G(", "DELETE", "get", "", "OPTIONS"};
const char* const kTargets[] = {"/", "/v1/models?a=b", "*",   "http://a/x", "/a b",
                                "",  "/\x01",          "/%41"};
const char* const kVersions[] = {"HTTP/1.1",  "HTTP/1.0", "HTTP/2.0",
                                 "HTTP/1.1 ", "http/1.1", "HTTP/1.11"};
const char* const kLines[] = {
    "Host: a",
    "Host: b",
    "Content-Length: 5",
    "Content-Length: 6",
    "content-length:7",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Connection: close",
    "Connection: keep-alive, x",
    "Connection: upgrade",
    "X: y\t z ",
    "X:",
    ": y",
    "X y",
    " folded",
    "\tfolded",
    "X: \x01",
    "X: caf\xc3\xa9",
    "Expect: 100-continue",
    "X\x80: 1",
    "X: a\rb",
    "Content-Length: 18446744073709551616",
    "Content-Length: +5",
    "Upgrade: h2c",
};
const char* const kEnds[] = {"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"};

template <size_t kSize>
const char* Pick(const char* const (&list)[kSize], Random& random) {
  return list[random.NextBelow(kSize)];
}

// Mostly well-formed heads: the first choices are right, and a share of the picks is random.
std::string MakeRequest(Random& random) {
  const auto odd = [&random] { return random.NextBelow(6) == 0; };
  std::string text = odd() ? Pick(kMethods, random) : "POST";
  text += " ";
  text += odd() ? Pick(kTargets, random) : "/v1/completions";
  text += " ";
  text += odd() ? Pick(kVersions, random) : "HTTP/1.1";
  text += "\r\n";
  if (!odd()) text += "Host: a\r\n";
  const uint32_t lines = random.NextBelow(4);
  for (uint32_t i = 0; i < lines; ++i) {
    text += Pick(kLines, random);
    text += Pick(kEnds, random);
  }
  text += "\r\n";
  if (random.NextBelow(4) == 0)
    text[random.NextBelow(static_cast<uint32_t>(text.size()))] =
        static_cast<char>(random.NextBelow(256));
  return text;
}

std::string MakeResponse(Random& random) {
  static const char* const kStatus[] = {
      "HTTP/1.1 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.0 200 OK", "HTTP/1.1 500 ",
      "HTTP/1.1 200 ",   "HTTP/1.1 99 x",           "HTTP/1.1 304 N"};
  std::string text = Pick(kStatus, random);
  text += "\r\n";
  const uint32_t lines = random.NextBelow(4);
  for (uint32_t i = 0; i < lines; ++i) {
    text += Pick(kLines, random);
    text += Pick(kEnds, random);
  }
  text += "\r\n";
  if (random.NextBelow(4) == 0)
    text[random.NextBelow(static_cast<uint32_t>(text.size()))] =
        static_cast<char>(random.NextBelow(256));
  return text;
}

// Beast lists equal names side by side, so both lists are sorted.
template <typename Parser>
void ExpectSameHeaders(const Head& ours, const Parser& beast, const std::string& text) {
  std::vector<std::pair<std::string_view, std::string_view>> own, other;
  for (const HeaderView& line : ours.headers()) own.emplace_back(line.name, line.value);
  for (const auto& field : beast.get()) {
    other.emplace_back(View(field.name_string()), View(field.value()));
  }
  std::sort(own.begin(), own.end());
  std::sort(other.begin(), other.end());
  EXPECT_EQ(own, other) << text;
  EXPECT_EQ(ours.version_minor, beast.get().version() - 10) << text;
}

TEST(HeadBeastTest, RequestsWeAcceptReadTheSame) {
  Random random(20261121);
  uint32_t accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    const std::string text = MakeRequest(random);
    RequestHead ours;
    HeadCursor cursor;
    if (ParseRequestHead(text, cursor, ours) != HeadError::kNone) continue;
    ++accepted;
    http::request_parser<http::empty_body> beast;
    beast.body_limit(boost::none);
    boost::beast::error_code error;
    const size_t used = beast.put(boost::asio::buffer(text), error);
    ASSERT_TRUE(beast.is_header_done()) << error.message() << "\n" << text;
    EXPECT_EQ(used, ours.size_bytes) << text;
    EXPECT_EQ(ours.method, View(beast.get().method_string())) << text;
    EXPECT_EQ(ours.target, View(beast.get().target())) << text;
    EXPECT_EQ(ours.framing == BodyFraming::kChunked, beast.chunked()) << text;
    if (ours.framing == BodyFraming::kLength) {
      EXPECT_EQ(ours.content_length, beast.content_length().value_or(~0ull)) << text;
    }
    // Beast looks at the first Connection header only.
    if (beast.get().count(http::field::connection) < 2) {
      EXPECT_EQ(ours.keep_alive, beast.get().keep_alive()) << text;
    }
    ExpectSameHeaders(ours, beast, text);
  }
  EXPECT_GT(accepted, 10000u);
}

TEST(HeadBeastTest, ResponsesWeAcceptReadTheSame) {
  Random random(7);
  uint32_t accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    const std::string text = MakeResponse(random);
    ResponseHead ours;
    HeadCursor cursor;
    if (ParseResponseHead(text, Method::kPost, cursor, ours) != HeadError::kNone) continue;
    ++accepted;
    http::response_parser<http::empty_body> beast;
    beast.body_limit(boost::none);
    boost::beast::error_code error;
    beast.put(boost::asio::buffer(text), error);
    ASSERT_TRUE(beast.is_header_done()) << error.message() << "\n" << text;
    EXPECT_EQ(ours.status, beast.get().result_int()) << text;
    // Beast puts the standard reason where none was sent.
    if (!ours.reason.empty()) {
      EXPECT_EQ(ours.reason, View(beast.get().reason())) << text;
    }
    const bool has_body = ours.framing != BodyFraming::kNone;
    if (has_body) {
      EXPECT_EQ(ours.framing == BodyFraming::kChunked, beast.chunked()) << text;
    }
    if (ours.framing == BodyFraming::kLength) {
      EXPECT_EQ(ours.content_length, beast.content_length().value_or(~0ull)) << text;
    }
    if (has_body) {
      EXPECT_EQ(ours.framing == BodyFraming::kUntilClose, beast.need_eof()) << text;
    }
    ExpectSameHeaders(ours, beast, text);
  }
  EXPECT_GT(accepted, 10000u);
}

}  // namespace
}  // namespace weir::io
