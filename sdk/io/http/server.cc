#include "weir/io/http/server.h"

#include <utility>

#include "weir/io/http/server_connection.h"
#include "weir/io/loop/stream.h"
#include "weir/io/loop/tls.h"

namespace weir::io {

void ResponseWriter::Observe(ResponseObserver* observer_or_null) noexcept {
  if (connection_ != nullptr) connection_->Observe(observer_or_null);
}

void ResponseWriter::Send(uint16_t status, std::span<const HeaderField> headers,
                          std::string_view body) {
  if (*this) std::exchange(connection_, nullptr)->Send(status, headers, body);
}

void ResponseWriter::SendError(const ErrorReply& reply, std::span<const HeaderField> headers) {
  if (*this) std::exchange(connection_, nullptr)->SendError(reply, headers);
}

void ResponseWriter::Begin(uint16_t status, std::span<const HeaderField> headers,
                           std::string_view first) {
  if (*this) connection_->Begin(status, headers, first);
}

bool ResponseWriter::Write(std::string_view bytes) {
  return connection_ == nullptr || connection_->Write(bytes);
}

void ResponseWriter::End() {
  if (*this) std::exchange(connection_, nullptr)->End();
}

void ResponseWriter::Reset() {
  if (*this) std::exchange(connection_, nullptr)->Reset();
}

void ResponseWriter::CutAfter(uint64_t bytes) noexcept {
  if (*this) connection_->CutAfter(bytes);
}

void ResponseWriter::CloseWhenDone() noexcept {
  if (*this) connection_->CloseWhenDone();
}

bool ResponseWriter::client_gone() const noexcept {
  return connection_ != nullptr && connection_->gone();
}

uint64_t ResponseWriter::unsent_bytes() const noexcept {
  return connection_ == nullptr ? 0 : connection_->unsent_bytes();
}

void ResponseWriter::Abandon() noexcept {
  if (*this) std::exchange(connection_, nullptr)->Abandon();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Open(EventLoop& loop,
                                                             const HttpServerOptions& options,
                                                             HttpHandler& handler) {
  std::unique_ptr<HttpServer> server(new HttpServer(loop, options, handler));
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Open(loop, {.address = options.address, .reuse_port = options.reuse_port}, *server);
  if (!listener.ok()) return listener.status();
  server->listener_ = *std::move(listener);
  return server;
}

HttpServer::HttpServer(EventLoop& loop, const HttpServerOptions& options, HttpHandler& handler)
    : loop_(&loop), options_(options), handler_(&handler) {}

HttpServer::~HttpServer() {
  options_.connections_max = 0;  // what still waits in the backlog is closed
  if (listener_ != nullptr) listener_->Close();
  while (ServerConnection* connection = connections_.PopFront()) connection->Orphan();
}

void HttpServer::OnAccept(UniqueFd socket, const SocketAddress& peer) {
  const TlsContext* tls = options_.tls_or_null;
  Adopt(tls == nullptr ? Stream::Plain(std::move(socket)) : tls->NewStream(std::move(socket)),
        peer);
}

void HttpServer::Adopt(Stream stream, const SocketAddress& peer) {
  if (connection_count_ >= options_.connections_max) {
    ++stats_.connections_refused;
    return;
  }
  auto connection = std::make_unique<ServerConnection>(*this, std::move(stream), peer);
  if (!connection->Start()) {
    ++stats_.connections_refused;
    return;
  }
  ++stats_.connections_accepted;
  ++connection_count_;
  connections_.PushBack(*connection.release());
}

void HttpServer::Drain() {
  listener_->Close();
  draining_ = true;
  for (ServerConnection* connection = connections_.front(); connection != nullptr;) {
    ServerConnection* next = connections_.Next(*connection);
    connection->CloseIfIdle();
    connection = next;
  }
}

}  // namespace weir::io
