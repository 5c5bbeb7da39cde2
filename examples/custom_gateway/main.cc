// An LLM gateway of your own: Boost.Beast moves the bytes, weir decides where they go.
// Usage: custom_gateway PORT PIPELINE SERVER... (an address is "ip:port"; port 0 is any)
#include <weir/intake.h>
#include <weir/response_reader.h>
#include <weir/router.h>

#include <array>
#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::use_awaitable;
using asio::ip::tcp;
using Request = http::request<http::string_body>;
using ErrorCode = boost::system::error_code;

constexpr uint64_t kBodyBytesMax = 16u << 20;
constexpr size_t kPieceBytes = 16384;
constexpr auto kConnectTimeout = std::chrono::seconds(5);
constexpr auto kIdleTimeout = std::chrono::seconds(600);

// What all connections share. One thread, so one intake is enough.
struct Gateway {
  explicit Gateway(weir::Router of) : router(std::move(of)), intake(router) {}
  weir::Router router;
  weir::Intake intake;
};

// One request on its way.
struct Exchange {
  weir::Decision decision;
  weir::Flight flight;  // counts it as in flight until destroyed, on every path
  weir::ResponseReader response;
};

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

// ---- What weir is asked ----

absl::Status Decide(Gateway& gateway, Request& request, Exchange& exchange) {
  std::vector<std::string> names;  // weir takes lower case
  std::vector<weir::Header> headers;
  names.reserve(std::distance(request.begin(), request.end()));
  for (const auto& field : request) {
    std::string name(View(field.name_string()));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    headers.push_back({names.emplace_back(std::move(name)), View(field.value())});
  }
  weir::IntakeInput input;
  input.headers = headers;
  input.path = View(request.target());
  input.body = request.body();
  weir::Request parsed;
  weir::IntakeResult result;
  if (request.body().empty()) {
    gateway.intake.ReadHeadersOnly(input, &parsed, &result);
  } else if (absl::Status status = gateway.intake.Read(input, &parsed, &result); !status.ok()) {
    return status;
  }
  absl::StatusOr<weir::Decision> decision = gateway.router.Decide(parsed);
  if (!decision.ok()) return decision.status();
  exchange.decision = *std::move(decision);
  exchange.decision.ReleaseRequest();  // headers and body may change from here on
  exchange.response = weir::ResponseReader(result.response_format);
  if (result.body_changed) {  // a model rewrite: what stands before the model's name, it, the rest
    std::string body;
    for (const std::string_view piece : result.body) body += piece;
    request.body() = std::move(body);
  }
  return absl::OkStatus();
}

http::status StatusOf(const absl::Status& status) {
  static constexpr std::pair<absl::StatusCode, http::status> kStatuses[] = {
      {absl::StatusCode::kInvalidArgument, http::status::bad_request},
      {absl::StatusCode::kOutOfRange, http::status::payload_too_large},
      {absl::StatusCode::kUnavailable, http::status::service_unavailable},
      {absl::StatusCode::kResourceExhausted, http::status::too_many_requests},
      {absl::StatusCode::kFailedPrecondition, http::status::precondition_failed}};
  for (const auto& [code, answer] : kStatuses) {
    if (code == status.code()) return answer;
  }
  return http::status::internal_server_error;
}

// ---- Moving bytes ----

asio::awaitable<void> Answer(beast::tcp_stream& client, const Request& request, http::status status,
                             const char* type, std::string body) {
  http::response<http::string_body> response(status, request.version());
  response.set(http::field::content_type, type);
  response.keep_alive(request.keep_alive());
  response.body() = std::move(body);
  response.prepare_payload();
  co_await http::async_write(client, response, use_awaitable);
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

// Connects to the best target that can be reached; false if none can.
asio::awaitable<bool> Connect(const Gateway& gateway, Exchange& exchange,
                              beast::tcp_stream& upstream) {
  const auto targets = exchange.decision.targets();
  for (uint32_t i = 0; i < targets.size(); ++i) {
    const std::string_view address = targets[i].address;
    const size_t colon = address.rfind(':');
    exchange.flight = gateway.router.Begin(exchange.decision, i);
    ErrorCode error;
    const auto ip = asio::ip::make_address(std::string(address.substr(0, colon)), error);
    const auto port = static_cast<uint16_t>(std::stoi(std::string(address.substr(colon + 1))));
    if (!error) {
      upstream.expires_after(kConnectTimeout);
      co_await upstream.async_connect(tcp::endpoint(ip, port),
                                      asio::redirect_error(use_awaitable, error));
    }
    if (!error) co_return true;
    upstream.close();
    exchange.flight.Finish({}, weir::End::kFailed);
  }
  co_return false;
}

// Sends the answer on as it comes; whether the client's connection may be used again. Throws when a
// side fails.
asio::awaitable<bool> Relay(beast::tcp_stream& upstream, beast::tcp_stream& client, bool keep_alive,
                            bool is_head, Exchange& exchange) {
  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  parser.skip(is_head);
  upstream.expires_after(kIdleTimeout);
  co_await http::async_read_header(upstream, buffer, parser, use_awaitable);
  parser.get().keep_alive(keep_alive);  // the client's connection, not the server's
  keep_alive = !parser.get().need_eof();
  client.expires_after(kIdleTimeout);
  http::response_serializer<http::buffer_body> serializer(parser.get());
  co_await http::async_write_header(client, serializer, use_awaitable);
  std::array<char, kPieceBytes> piece;
  auto& body = parser.get().body();
  while (!serializer.is_done()) {
    ErrorCode error;
    size_t size = 0;
    if (!parser.is_done()) {
      body.data = piece.data();
      body.size = piece.size();
      upstream.expires_after(kIdleTimeout);
      co_await http::async_read_some(upstream, buffer, parser,
                                     asio::redirect_error(use_awaitable, error));
      if (error && error != http::error::need_buffer) throw boost::system::system_error(error);
      size = piece.size() - body.size;
      if (size > 0) exchange.flight.FirstToken();
      exchange.response.Feed({piece.data(), size});
      if (size == 0 && !parser.is_done()) continue;
    }
    body.data = size > 0 ? piece.data() : nullptr;
    body.size = size;
    body.more = !parser.is_done();
    client.expires_after(kIdleTimeout);
    co_await http::async_write(client, serializer, asio::redirect_error(use_awaitable, error));
    if (error && error != http::error::need_buffer) throw boost::system::system_error(error);
  }
  co_return keep_alive;
}

int64_t Count(const std::optional<uint64_t>& tokens) {
  return tokens ? static_cast<int64_t>(*tokens) : -1;
}

asio::awaitable<bool> Proxy(Gateway& gateway, beast::tcp_stream& client, Request& request) {
  Exchange exchange;
  if (const absl::Status status = Decide(gateway, request, exchange); !status.ok()) {
    co_await AnswerError(client, request, StatusOf(status), std::string(status.message()));
    co_return request.keep_alive();
  }
  beast::tcp_stream upstream(client.get_executor());
  if (!co_await Connect(gateway, exchange, upstream)) {
    co_await AnswerError(client, request, http::status::bad_gateway, "no server can be reached");
    co_return request.keep_alive();
  }
  for (const weir::Header& header : exchange.decision.headers()) {
    request.set(header.name, header.value);  // instead of what a client may have sent
  }
  const bool keep_alive = request.keep_alive(), is_head = request.method() == http::verb::head;
  request.keep_alive(false);  // a connection for each request keeps this example small
  request.prepare_payload();
  co_await http::async_write(upstream, request, use_awaitable);
  const bool is_open = co_await Relay(upstream, client, keep_alive, is_head, exchange);
  const weir::ResponseUsage& usage = exchange.response.usage();
  exchange.flight.Finish({.prompt_tokens = Count(usage.prompt_tokens),
                          .cached_tokens = Count(usage.cached_tokens),
                          .output_tokens = Count(usage.completion_tokens)});
  gateway.router.Record(std::move(exchange.decision));
  co_return is_open;
}

asio::awaitable<void> Serve(Gateway& gateway, tcp::socket socket) {
  beast::tcp_stream client(std::move(socket));
  beast::flat_buffer buffer;
  for (bool keep_alive = true; keep_alive;) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kBodyBytesMax);
    client.expires_after(kIdleTimeout);
    co_await http::async_read(client, buffer, parser, use_awaitable);
    Request request = parser.release();
    if (request.target() == "/decisions") {
      std::string text;  // why the last requests went where they went
      for (const auto& one : gateway.router.RecentDecisions()) text += one.ToText() + "\n";
      co_await Answer(client, request, http::status::ok, "text/plain", std::move(text));
      keep_alive = request.keep_alive();
    } else {
      keep_alive = co_await Proxy(gateway, client, request);
    }
  }
}

asio::awaitable<void> Listen(Gateway& gateway, uint16_t port) {
  tcp::acceptor acceptor(co_await asio::this_coro::executor,
                         {asio::ip::address_v4::loopback(), port});
  std::cout << "listening on 127.0.0.1:" << acceptor.local_endpoint().port() << std::endl;
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
    // An exception is the end of one connection: flights in it end as failed.
    asio::co_spawn(acceptor.get_executor(), Serve(gateway, std::move(socket)), asio::detached);
  }
}

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cout << "usage: custom_gateway PORT PIPELINE SERVER...\n";
    return argc == 1 ? 0 : 2;
  }
  absl::StatusOr<weir::Router> router = weir::Router::FromFile(argv[2]);
  if (!router.ok()) {
    std::cerr << router.status().message() << "\n";
    return 1;
  }
  for (int i = 3; i < argc; ++i) {
    const auto added = router->pool().Upsert({.name = argv[i], .address = argv[i]});
    if (!added.ok()) {
      std::cerr << argv[i] << ": " << added.status().message() << "\n";
      return 1;
    }
  }
  Gateway gateway(*std::move(router));
  asio::io_context loop(1);
  asio::signal_set signals(loop, SIGINT, SIGTERM);
  signals.async_wait([&loop](ErrorCode, int) { loop.stop(); });
  asio::co_spawn(loop, Listen(gateway, static_cast<uint16_t>(std::atoi(argv[1]))), asio::detached);
  loop.run();
}
