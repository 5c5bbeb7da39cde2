#include "weir/io/relay/upstream_pool.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "weir/io/loop/tls.h"

namespace weir::io {

namespace {

// Identifies a target by value: address, TLS context and name.
class TargetKey {
 public:
  explicit TargetKey(const UpstreamTarget& target) noexcept {
    Append(target.address.raw(), target.address.raw_size());
    const TlsContext* tls = target.tls;
    Append(&tls, sizeof(tls));
    const size_t name = std::min(target.server_name.size(), bytes_.size() - size_);
    Append(target.server_name.data(), name);
  }
  std::string_view text() const noexcept { return {bytes_.data(), size_}; }

 private:
  void Append(const void* data, size_t size) noexcept {
    if (size != 0) std::memcpy(bytes_.data() + size_, data, size);
    size_ += size;
  }
  std::array<char, 320> bytes_;  // a host name has at most 255
  size_t size_ = 0;
};

}  // namespace

void UpstreamConnection::OnReady(Ready ready) {
  if (user_ != nullptr) return user_->OnUpstreamReady(stream_.Widen(ready));
  // Late write edges are of no interest; anything else ends an idle connection.
  if ((ready & (kReadable | kPeerClosed | kBroken)) != 0) pool_->Close(*this);
}

void UpstreamConnection::OnIdleTimeout() { pool_->Close(*this); }

UpstreamPool::~UpstreamPool() { CloseIdle(); }

UpstreamHost* UpstreamPool::FindHost(const UpstreamTarget& target, bool create) {
  const TargetKey key(target);
  const auto found = hosts_.find(key.text());
  if (found != hosts_.end()) return found->second.get();
  if (!create) return nullptr;
  if (hosts_.size() >= kRelayPooledTargetsMax) ForgetIdleHosts();
  return hosts_.emplace(std::string(key.text()), std::make_unique<UpstreamHost>())
      .first->second.get();
}

void UpstreamPool::ForgetIdleHosts() {
  std::erase_if(hosts_, [](const auto& entry) { return entry.second->open_count == 0; });
}

UpstreamConnection* UpstreamPool::Take(const UpstreamTarget& target, UpstreamUser& user) {
  UpstreamHost* host = FindHost(target, false);
  if (host == nullptr) return nullptr;
  UpstreamConnection* connection = host->idle.PopFront();
  if (connection == nullptr) return nullptr;
  --host->idle_count;
  counters_->idle_upstreams.Subtract(1);
  counters_->upstream_reuses.Add(1);
  connection->idle_.Cancel();
  connection->user_ = &user;
  connection->reused_ = true;
  return connection;
}

UpstreamConnection* UpstreamPool::Dial(const UpstreamTarget& target, UpstreamUser& user) {
  Stream stream = dialer_->Dial(target);
  if (!stream.open()) return nullptr;
  UpstreamHost* host = FindHost(target, true);
  auto connection = std::make_unique<UpstreamConnection>(*this, *host, std::move(stream));
  if (loop_->Watch(connection->stream_, *connection) != Code::kOk) return nullptr;
  ++host->open_count;
  connection->user_ = &user;
  counters_->upstream_connects.Add(1);
  counters_->upstream_connections.Add(1);
  return connection.release();
}

void UpstreamPool::Release(UpstreamConnection& connection) {
  connection.user_ = nullptr;
  UpstreamHost& host = *connection.host_;
  if (host.idle_count >= options_->idle_upstreams_per_target_max ||
      counters_->idle_upstreams.value() >= options_->idle_upstreams_max) {
    return Close(connection);
  }
  ++host.idle_count;
  counters_->idle_upstreams.Add(1);
  host.idle.PushFront(connection);
  if (options_->pooled_idle_ns > 0) loop_->Arm(connection.idle_, options_->pooled_idle_ns);
}

void UpstreamPool::Close(UpstreamConnection& connection) {
  if (connection.linked()) {
    connection.Unlink();
    --connection.host_->idle_count;
    counters_->idle_upstreams.Subtract(1);
  }
  --connection.host_->open_count;
  counters_->upstream_connections.Subtract(1);
  connection.user_ = nullptr;
  connection.idle_.Cancel();
  loop_->Close(connection.stream_, connection);
  loop_->Retire(std::unique_ptr<Retirable>(&connection));
}

void UpstreamPool::CloseIdle() {
  for (auto& [key, host] : hosts_) {
    while (UpstreamConnection* connection = host->idle.front()) Close(*connection);
  }
}

Stream SocketDialer::Dial(const UpstreamTarget& target) {
  int error = 0;
  UniqueFd socket = StartConnect(target.address, error);
  if (!socket) return {};
  if (target.tls == nullptr) return Stream::Plain(std::move(socket));
  if (!target.server_name.empty()) {
    return target.tls->NewStream(std::move(socket), target.server_name);
  }
  return target.tls->NewStream(std::move(socket), target.address.Host());
}

}  // namespace weir::io
