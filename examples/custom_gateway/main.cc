// An LLM gateway of your own: Boost.Beast moves the bytes, weir decides where they go.
// Usage: custom_gateway PORT PIPELINE SERVER... (port 0 is any; a server is "ip:port", "[ip]:port")
#include <weir/intake.h>
#include <weir/router.h>

#include <charconv>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "relay.h"

using asio::use_awaitable;

constexpr uint32_t kConnectionsMax = 256;  // of clients; each may have one to a server
constexpr auto kConnectTimeout = std::chrono::seconds(5);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

// What all connections share. One thread, so one intake is enough.
struct Gateway {
  explicit Gateway(weir::Router of) : router(std::move(of)), intake(router) {}
  weir::Router router;
  weir::Intake intake;
  uint32_t connection_count = 0;
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

// ---- What it carries out ----

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), port);
  if (error != std::errc() || end != text.end()) return std::nullopt;
  return port;
}

// Of "ip:port" or "[ip]:port".
std::optional<tcp::endpoint> ParseEndpoint(std::string_view address) {
  const size_t colon = address.rfind(':');
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::optional<uint16_t> port = ParsePort(address.substr(colon + 1));
  ErrorCode error;
  const auto ip = asio::ip::make_address(host, error);
  if (error || !port) return std::nullopt;
  return tcp::endpoint(ip, *port);
}

// Connects to the best target that can be reached; false if none can.
asio::awaitable<bool> Connect(const Gateway& gateway, Exchange& exchange,
                              beast::tcp_stream& upstream) {
  const auto targets = exchange.decision.targets();
  for (uint32_t i = 0; i < targets.size(); ++i) {
    ErrorCode error;
    exchange.flight = gateway.router.Begin(exchange.decision, i);
    upstream.expires_after(kConnectTimeout);
    co_await upstream.async_connect(*ParseEndpoint(targets[i].address),
                                    asio::redirect_error(use_awaitable, error));
    if (!error) co_return true;
    upstream.close();
    exchange.flight.Finish({}, weir::End::kFailed);
  }
  co_return false;
}

int64_t Count(const std::optional<uint64_t>& tokens) {
  return tokens ? static_cast<int64_t>(*tokens) : -1;
}

// Whether the client's connection may be used again.
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
  const bool keep_alive = request.keep_alive();
  DropConnectionHeaders(request);
  for (const weir::Header& header : exchange.decision.headers()) {
    request.set(header.name, header.value);  // instead of what a client may have sent
  }
  request.keep_alive(false);  // a connection for each request keeps this example small
  request.prepare_payload();
  const Relayed relayed =
      co_await Relay(upstream, client, request, keep_alive, exchange.flight, exchange.response);
  const weir::ResponseUsage& usage = exchange.response.usage();
  exchange.flight.Finish({.prompt_tokens = Count(usage.prompt_tokens),
                          .cached_tokens = Count(usage.cached_tokens),
                          .output_tokens = Count(usage.completion_tokens)},
                         relayed.end);
  gateway.router.Record(std::move(exchange.decision));
  if (relayed.end == weir::End::kFailed && !relayed.has_answered) {
    co_await AnswerError(client, request, http::status::bad_gateway, "the server did not answer");
  }
  co_return relayed.keep_alive;
}

asio::awaitable<void> Serve(Gateway& gateway, tcp::socket socket) {
  beast::tcp_stream client(std::move(socket));
  beast::flat_buffer buffer;
  for (bool keep_alive = true; keep_alive;) {
    std::optional<Request> request = co_await ReadRequest(client, buffer);
    if (!request) co_return;
    if (request->target() == "/decisions") {
      std::string text;  // why the last requests went where they went
      for (const auto& one : gateway.router.RecentDecisions()) text += one.ToText() + "\n";
      co_await Answer(client, *request, http::status::ok, "text/plain", std::move(text));
      keep_alive = request->keep_alive();
    } else {
      keep_alive = co_await Proxy(gateway, client, *request);
    }
  }
}

asio::awaitable<void> Listen(Gateway& gateway, tcp::acceptor& acceptor) {
  asio::steady_timer pause(acceptor.get_executor());
  for (;;) {
    ErrorCode error;
    tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(use_awaitable, error));
    if (error) {  // out of file descriptors, as a rule
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(use_awaitable);
    } else if (gateway.connection_count < kConnectionsMax) {  // else it is closed
      ++gateway.connection_count;
      asio::co_spawn(acceptor.get_executor(), Serve(gateway, std::move(socket)),
                     [&gateway](const std::exception_ptr&) { --gateway.connection_count; });
    }
  }
}

bool AddServers(weir::EndpointPool& pool, char** first, char** last) {
  for (; first != last; ++first) {
    const auto added = pool.Upsert({.name = *first, .address = *first});
    if (added.ok() && ParseEndpoint(*first)) continue;
    std::cerr << *first << ": "
              << (added.ok() ? "expected an IP address and a port" : added.status().message())
              << "\n";
    return false;
  }
  return true;
}

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cout << "usage: custom_gateway PORT PIPELINE SERVER...\n";
    return argc == 1 ? 0 : 2;
  }
  const std::optional<uint16_t> port = ParsePort(argv[1]);
  if (!port) {
    std::cerr << "PORT: " << argv[1] << ", expected 0..65535\n";
    return 2;
  }
  absl::StatusOr<weir::Router> router = weir::Router::FromFile(argv[2]);
  if (!router.ok()) {
    std::cerr << router.status().message() << "\n";
    return 1;
  }
  if (!AddServers(router->pool(), argv + 3, argv + argc)) return 1;
  Gateway gateway(*std::move(router));
  asio::io_context loop(1);
  asio::signal_set signals(loop, SIGINT, SIGTERM);
  signals.async_wait([&loop](ErrorCode, int) { loop.stop(); });
  tcp::acceptor acceptor(loop, {asio::ip::address_v4::loopback(), *port});
  std::cout << "listening on 127.0.0.1:" << acceptor.local_endpoint().port() << std::endl;
  asio::co_spawn(loop, Listen(gateway, acceptor), asio::detached);
  loop.run();
} catch (const boost::system::system_error& error) {
  std::cerr << "127.0.0.1:" << argv[1] << ": " << error.code().message() << "\n";
  return 1;
}
