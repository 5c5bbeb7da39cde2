#include "weir/io/relay/relay.h"

#include <array>
#include <string_view>
#include <utility>

#include "weir/io/loop/tls.h"
#include "weir/io/relay/relay_client.h"
#include "weir/io/relay/relay_core.h"

namespace weir::io {

std::string_view RelayOutcomeName(RelayOutcome outcome) noexcept {
  static constexpr std::array<std::string_view, kRelayOutcomeCount> kNames = {
      "complete",
      "local",
      "client_gone",
      "client_timeout",
      "upstream_connect_failed",
      "upstream_reset",
      "upstream_timeout",
      "upstream_protocol",
      "upstream_truncated",
      "total_timeout",
      "drained",
      "internal",
      "buffers_full"};
  const auto index = static_cast<size_t>(outcome);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string_view RelayRejectName(RelayReject reject) noexcept {
  static constexpr std::array<std::string_view, kRelayRejectCount> kNames = {
      "body_too_large", "bad_chunk",    "head_timeout",
      "body_timeout",   "buffers_full", "connections_full"};
  const auto index = static_cast<size_t>(reject);
  return index < kNames.size() ? kNames[index] : "unknown";
}

void RelayCore::OnDrainDeadline() {
  while (RelayClient* client = clients.front()) client->Abort(RelayOutcome::kDrained);
}

Relay::Relay(EventLoop& loop, RelayHandler& handler, const RelayOptions& options,
             UpstreamDialer* dialer_or_null)
    : core_(std::make_unique<RelayCore>(loop, handler, options, dialer_or_null)) {}

Relay::~Relay() {
  core_->drain_deadline.Cancel();
  core_->OnDrainDeadline();
  core_->pool.CloseIdle();
}

void Relay::set_tls(const TlsContext* tls_or_null) noexcept { core_->tls = tls_or_null; }

void Relay::OnAccept(UniqueFd socket, const SocketAddress& peer) {
  Stream stream = core_->tls != nullptr ? core_->tls->NewStream(std::move(socket))
                                        : Stream::Plain(std::move(socket));
  if (stream.open()) Accept(std::move(stream), peer);
}

void Relay::Accept(Stream client, const SocketAddress& peer) {
  if (core_->counters.client_connections.value() >= core_->options.connections_max) {
    core_->counters.refused[static_cast<size_t>(RelayReject::kConnectionsFull)].Add(1);
    std::array<char, kErrorReplyBytesMax> reply;
    const size_t size = WriteErrorResponse(
        reply, {.status = 503, .message = "the gateway has too many connections"}, true);
    // One try: a client of a full relay is not worth more.
    [[maybe_unused]] const IoResult result = client.TryWrite({reply.data(), size});
    return;
  }
  auto connection = std::make_unique<RelayClient>(*core_, std::move(client), peer);
  connection.release()->Start();
}

void Relay::Drain(int64_t deadline_ns) {
  core_->draining = true;
  for (RelayClient* client = core_->clients.front(); client != nullptr;) {
    RelayClient* next = core_->clients.Next(*client);
    client->Drain();
    client = next;
  }
  if (deadline_ns == 0) return core_->OnDrainDeadline();
  if (deadline_ns > 0) core_->loop->Arm(core_->drain_deadline, deadline_ns);
}

bool Relay::idle() const noexcept { return core_->clients.empty(); }

const RelayCounters& Relay::counters() const noexcept { return core_->counters; }

}  // namespace weir::io
