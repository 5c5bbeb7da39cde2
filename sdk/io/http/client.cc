#include "weir/io/http/client.h"

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "weir/io/http/client_connection.h"
#include "weir/io/loop/stream.h"
#include "weir/io/loop/tls.h"

namespace weir::io {
namespace {

Method MethodOf(std::string_view method) noexcept {
  // Only HEAD changes how a response is read.
  return method == "HEAD" ? Method::kHead : Method::kOther;
}

// Methods whose requests carry a length even when it is 0.
bool ExpectsBody(std::string_view method) noexcept {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

}  // namespace

std::string_view HttpEndName(HttpEnd end) noexcept {
  switch (end) {
    case HttpEnd::kComplete:
      return "complete";
    case HttpEnd::kConnectFailed:
      return "connect_failed";
    case HttpEnd::kClosed:
      return "closed";
    case HttpEnd::kTimedOut:
      return "timed_out";
    case HttpEnd::kBadResponse:
      return "bad_response";
    case HttpEnd::kTooLarge:
      return "too_large";
    case HttpEnd::kBadRequest:
      return "bad_request";
  }
  return "unknown";
}

void HttpCall::Cancel() noexcept {
  if (!active()) return;
  if (connection_ != nullptr) connection_->Close();
  connection_ = nullptr;
  client_ = nullptr;
  deadline_.Cancel();
  head_.Release();
}

void HttpCall::Finish(HttpEnd end) {
  end_ = end;
  times_.end_ns = client_->loop_->now_ns();
  connection_ = nullptr;
  client_ = nullptr;
  deadline_.Cancel();
  head_.Release();
  handler_->OnEnd(end);
}

std::string HttpCall::error_text() const {
  if (end_ == HttpEnd::kComplete) return "";
  if (!detail_.empty()) return detail_;
  if (head_error_ != HeadError::kNone) return std::string(HeadErrorText(head_error_));
  if (chunk_error_ != ChunkError::kNone) return std::string(ChunkErrorText(chunk_error_));
  if (error_ != 0) return std::strerror(error_);
  switch (end_) {
    case HttpEnd::kClosed:
      return "the server closed the connection";
    case HttpEnd::kTimedOut:
      return times_.first_byte_ns == 0 ? "no answer in time" : "the answer took too long";
    case HttpEnd::kTooLarge:
      return "the response body is too large";
    case HttpEnd::kBadRequest:
      return "the request head is too large or has line breaks in it";
    default:
      return std::string(HttpEndName(end_));
  }
}

void HttpCall::ArmDeadline() noexcept {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  int64_t deadline_ns = kNone;
  const auto consider = [&](int64_t from_ns, int64_t timeout_ns) {
    if (timeout_ns > 0) deadline_ns = std::min(deadline_ns, from_ns + timeout_ns);
  };
  if (connecting()) consider(times_.connect_start_ns, client_->options_.connect_timeout_ns);
  if (times_.first_byte_ns == 0) consider(times_.start_ns, first_byte_timeout_ns_);
  consider(times_.start_ns, total_timeout_ns_);
  if (deadline_ns == kNone) return deadline_.Cancel();
  client_->loop_->Arm(deadline_, deadline_ns - client_->loop_->now_ns());
}

bool HttpCall::connecting() const noexcept {
  return !kept_ && (times_.connected_ns == 0 ||
                    (client_->options_.tls_or_null != nullptr && times_.written_ns == 0));
}

void HttpCall::OnDeadline() {
  if (connection_ == nullptr) return Finish(end_);
  const int64_t timeout_ns = client_->options_.connect_timeout_ns;
  const int64_t now_ns = client_->loop_->now_ns();
  if (connecting() && timeout_ns > 0 && now_ns >= times_.connect_start_ns + timeout_ns) {
    return connection_->Fail(HttpEnd::kConnectFailed, ETIMEDOUT);
  }
  connection_->Fail(HttpEnd::kTimedOut, 0);
}

HttpClient::HttpClient(EventLoop& loop, HttpClientOptions options)
    : loop_(&loop), options_(std::move(options)) {
  if (options_.host.empty()) options_.host = options_.address.ToString();
  if (options_.server_name.empty()) options_.server_name = options_.address.Host();
}

HttpClient::~HttpClient() { CloseIdle(); }

void HttpClient::CloseIdle() {
  while (ClientConnection* connection = idle_.PopFront()) connection->Close();
  idle_count_ = 0;
}

void HttpClient::Start(HttpCall& call, const HttpClientRequest& request, HttpCallHandler& handler) {
  call.client_ = this;
  call.handler_ = &handler;
  call.method_ = MethodOf(request.method);
  call.body_ = request.body;
  call.first_byte_timeout_ns_ = request.first_byte_timeout_ns;
  call.total_timeout_ns_ = request.total_timeout_ns;
  call.response_bytes_left_ = request.response_bytes_max;
  call.times_ = {.start_ns = loop_->now_ns()};
  call.kept_ = call.retried_ = false;
  call.end_ = HttpEnd::kComplete;
  call.head_error_ = HeadError::kNone;
  call.chunk_error_ = ChunkError::kNone;
  call.error_ = 0;
  call.detail_.clear();

  Buffer head = loop_->buffers().Acquire(kRequestHeadBytesMax);
  HeadWriter writer(head.data(), kRequestHeadBytesMax);
  writer.RequestLine(request.method, request.target);
  writer.Header("Host", options_.host);
  for (const HeaderField& header : request.headers) writer.Header(header.name, header.value);
  if (!request.body.empty() || ExpectsBody(request.method)) {
    writer.Header("Content-Length", uint64_t{request.body.size()});
  }
  writer.End();
  if (writer.overflow()) return FailLater(call, HttpEnd::kBadRequest, 0);
  // Kept until the response's head, so in no larger a buffer than it needs.
  call.head_bytes_ = static_cast<uint32_t>(writer.size_bytes());
  call.head_ = loop_->buffers().Acquire(call.head_bytes_);
  std::memcpy(call.head_.data(), head.data(), call.head_bytes_);

  ClientConnection* kept = idle_.PopFront();
  if (kept == nullptr) return Connect(call);
  --idle_count_;
  kept->Take(call, true);
}

void HttpClient::Connect(HttpCall& call) {
  int error = 0;
  UniqueFd socket = StartConnect(options_.address, error);
  if (!socket) return FailLater(call, HttpEnd::kConnectFailed, error);
  Stream stream = options_.tls_or_null == nullptr
                      ? Stream::Plain(std::move(socket))
                      : options_.tls_or_null->NewStream(std::move(socket), options_.server_name);
  auto connection = std::make_unique<ClientConnection>(*this, std::move(stream));
  if (!connection->Watch()) return FailLater(call, HttpEnd::kConnectFailed, ENOMEM);
  ++connections_opened_;
  connection.release()->Take(call, false);
}

void HttpClient::FailLater(HttpCall& call, HttpEnd end, int error) noexcept {
  call.end_ = end;
  call.error_ = error;
  loop_->Arm(call.deadline_, 0);
}

}  // namespace weir::io
