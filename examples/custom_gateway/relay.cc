#include "relay.h"

#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <utility>
#include <vector>

using asio::use_awaitable;

namespace {

constexpr size_t kPieceBytes = 16384;

// Erases the headers that speak of one connection, and those that Connection names.
void DropHopByHop(http::fields& fields) {
  std::vector<std::string> names{"Connection", "Keep-Alive", "Proxy-Connection"};
  const auto [begin, end] = fields.equal_range(http::field::connection);
  for (auto field = begin; field != end; ++field) {
    for (const beast::string_view name : http::token_list(field->value())) names.emplace_back(name);
  }
  for (const std::string& name : names) fields.erase(name);
}

// Completes when the client leaves. The next request, sent ahead, is no reason to; whether its
// client is still there shows when it is answered.
asio::awaitable<void> Left(tcp::socket& client) {
  ErrorCode error;
  co_await client.async_wait(tcp::socket::wait_read, asio::redirect_error(use_awaitable, error));
  if (client.available(error) == 0) co_return;
  asio::steady_timer never(client.get_executor(), asio::steady_timer::time_point::max());
  co_await never.async_wait(use_awaitable);
}

// Relay, as long as the client is there.
asio::awaitable<void> Carry(beast::tcp_stream& upstream, beast::tcp_stream& client,
                            const Request& request, bool keep_alive, weir::Flight& flight,
                            weir::ResponseReader& reader, Relayed& relayed) {
  ErrorCode error;
  auto on_error = asio::redirect_error(use_awaitable, error);
  upstream.expires_after(kIdleTimeout);
  co_await http::async_write(upstream, request, on_error);
  if (error) co_return;

  beast::flat_buffer buffer;
  std::optional<http::response_parser<http::buffer_body>> parser;
  do {  // "100 Continue" and the like come before the answer
    parser.emplace();
    parser->body_limit(boost::none);
    parser->skip(request.method() == http::verb::head);
    co_await http::async_read_header(upstream, buffer, *parser, on_error);
    if (error) co_return;
  } while (parser->get().result_int() < 200);

  auto& answer = parser->get();
  const bool is_ok = answer.result_int() < 500;
  DropHopByHop(answer);
  answer.keep_alive(keep_alive);
  http::response_serializer<http::buffer_body> serializer(answer);
  relayed.has_answered = true;
  client.expires_after(kIdleTimeout);
  co_await http::async_write_header(client, serializer, on_error);
  std::array<char, kPieceBytes> piece;
  while (!error && request.method() != http::verb::head && !serializer.is_done()) {
    size_t size = 0;
    if (!parser->is_done()) {
      answer.body().data = piece.data();
      answer.body().size = piece.size();
      upstream.expires_after(kIdleTimeout);
      co_await http::async_read_some(upstream, buffer, *parser, on_error);
      if (error == http::error::need_buffer) error = {};  // the piece is full
      if (error) co_return;
      size = piece.size() - answer.body().size;
      if (size > 0 && is_ok) flight.FirstToken();
      reader.Feed({piece.data(), size});
      if (size == 0 && !parser->is_done()) continue;
    }
    answer.body().data = size > 0 ? piece.data() : nullptr;
    answer.body().size = size;
    answer.body().more = !parser->is_done();
    client.expires_after(kIdleTimeout);
    co_await http::async_write(client, serializer, on_error);
    if (error == http::error::need_buffer) error = {};  // the piece was written
  }
  relayed.keep_alive = !error && !answer.need_eof();
  relayed.end = error ? weir::End::kClientGone : is_ok ? weir::End::kCompleted : weir::End::kFailed;
}

}  // namespace

asio::awaitable<std::optional<Request>> ReadRequest(beast::tcp_stream& client,
                                                    beast::flat_buffer& buffer) {
  http::request_parser<http::string_body> parser;
  parser.body_limit(kBodyBytesMax);
  client.expires_after(kIdleTimeout);
  co_await http::async_read_header(client, buffer, parser, use_awaitable);
  Request& request = parser.get();
  const auto codings = request.count(http::field::transfer_encoding);
  if (codings > 1 ||
      (codings == 1 && !beast::iequals(request[http::field::transfer_encoding], "chunked"))) {
    request.keep_alive(false);  // nobody knows where its body ends
    co_await AnswerError(client, request, http::status::bad_request,
                         "transfer-encoding: expected chunked, or none");
    co_return std::nullopt;
  }
  if (request.version() >= 11 && !parser.is_done() &&
      beast::iequals(request[http::field::expect], "100-continue")) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(client, asio::buffer(kContinue), use_awaitable);
  }
  co_await http::async_read(client, buffer, parser, use_awaitable);
  co_return parser.release();
}

asio::awaitable<void> Answer(beast::tcp_stream& client, const Request& request, http::status status,
                             const char* type, std::string body) {
  http::response<http::string_body> response(status, request.version());
  response.set(http::field::content_type, type);
  response.keep_alive(request.keep_alive());
  response.body() = std::move(body);
  response.prepare_payload();
  http::response_serializer<http::string_body> serializer(response);
  client.expires_after(kIdleTimeout);
  if (request.method() == http::verb::head) {
    co_await http::async_write_header(client, serializer, use_awaitable);
  } else {
    co_await http::async_write(client, serializer, use_awaitable);
  }
}

asio::awaitable<void> AnswerError(beast::tcp_stream& client, const Request& request,
                                  http::status status, std::string_view message) {
  std::string text;
  for (const char c : message) {
    if (c == '"' || c == '\\') text += '\\';
    text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  co_await Answer(client, request, status, "application/json",
                  R"({"error": {"message": ")" + text + "\"}}\n");
}

void DropConnectionHeaders(Request& request) {
  DropHopByHop(request);
  for (const http::field field : {http::field::expect, http::field::te, http::field::trailer,
                                  http::field::transfer_encoding, http::field::upgrade}) {
    request.erase(field);
  }
}

asio::awaitable<Relayed> Relay(beast::tcp_stream& upstream, beast::tcp_stream& client,
                               const Request& request, bool keep_alive, weir::Flight& flight,
                               weir::ResponseReader& response) {
  using namespace asio::experimental::awaitable_operators;
  Relayed relayed;
  const auto first =
      co_await (Carry(upstream, client, request, keep_alive, flight, response, relayed) ||
                Left(client.socket()));
  if (first.index() == 1) relayed.end = weir::End::kClientGone;
  co_return relayed;
}
