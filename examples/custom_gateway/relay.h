// HTTP between one client and one server, whichever that is; weir is told what became of it.
#pragma once

#include <weir/flight.h>
#include <weir/response_reader.h>

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;
using Request = http::request<http::string_body>;

inline constexpr uint64_t kBodyBytesMax = 16u << 20;
inline constexpr auto kIdleTimeout = std::chrono::seconds(600);

// Reads a request. Empty if it was refused with an answer and the connection must end; throws when
// the client leaves, and for what is no HTTP.
asio::awaitable<std::optional<Request>> ReadRequest(beast::tcp_stream& client,
                                                    beast::flat_buffer& buffer);

// An answer of the gateway's own. Throws when the client leaves.
asio::awaitable<void> Answer(beast::tcp_stream& client, const Request& request, http::status status,
                             const char* type, std::string body);
asio::awaitable<void> AnswerError(beast::tcp_stream& client, const Request& request,
                                  http::status status, std::string_view message);

// Takes out what belongs to the client's connection: the gateway's to the server is another one.
void DropConnectionHeaders(Request& request);

// What became of a request that was sent to a server.
struct Relayed {
  weir::End end = weir::End::kFailed;
  bool has_answered = false;  // at least a part of the answer went to the client
  bool keep_alive = false;    // the client's connection may be used again
};

// Sends the request to the server, and its answer, as it comes, to the client, whose connection is
// to stay if `keep_alive`. Ends at once when the client leaves.
asio::awaitable<Relayed> Relay(beast::tcp_stream& upstream, beast::tcp_stream& client,
                               const Request& request, bool keep_alive, weir::Flight& flight,
                               weir::ResponseReader& response);
