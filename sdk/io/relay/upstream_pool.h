// weir/io/relay/upstream_pool.h: connections to upstreams, kept for the next request. Internal to
// the relay room. Start at UpstreamPool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/stream.h"
#include "weir/io/relay/relay.h"

namespace weir::io {

class UpstreamPool;

// Who uses a connection at the moment.
class UpstreamUser {
 public:
  virtual void OnUpstreamReady(Ready ready) = 0;

 protected:
  ~UpstreamUser() = default;
};

struct UpstreamHost;

// One connection, in use by one user or idle in the pool. Created and destroyed by the pool.
class UpstreamConnection final : public EventHandler, public Retirable, public ListNode {
 public:
  UpstreamConnection(UpstreamPool& pool, UpstreamHost& host, Stream stream) noexcept
      : stream_(std::move(stream)), pool_(&pool), host_(&host) {}

  Stream& stream() noexcept { return stream_; }
  bool reused() const noexcept { return reused_; }  // has carried a request before
  void OnReady(Ready ready) override;

 private:
  friend class UpstreamPool;
  void OnIdleTimeout();

  Stream stream_;
  UpstreamPool* pool_;
  UpstreamHost* host_;
  UpstreamUser* user_ = nullptr;  // null: idle
  Timer idle_ = Timer::Calling<&UpstreamConnection::OnIdleTimeout>(*this);
  bool reused_ = false;
};

// The connections of one target.
struct UpstreamHost {
  IntrusiveList<UpstreamConnection> idle;
  uint32_t idle_count = 0;
  uint32_t open_count = 0;  // idle or in use
};

// Idle connections by target, last in first out. A connection on which anything arrives while idle
// is closed: the upstream has ended it, or is out of step. Belongs to one thread.
class UpstreamPool {
 public:
  UpstreamPool(EventLoop& loop, UpstreamDialer& dialer, const RelayOptions& options,
               RelayCounters& counters) noexcept
      : loop_(&loop), dialer_(&dialer), options_(&options), counters_(&counters) {}
  ~UpstreamPool();  // REQUIRES: no connection is in use
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // An idle connection to `target`, or null. Events go to `user` from now on. [hot, serial]
  UpstreamConnection* Take(const UpstreamTarget& target, UpstreamUser& user);
  // A new connection, which may still be connecting, or null. [hot, serial]
  UpstreamConnection* Dial(const UpstreamTarget& target, UpstreamUser& user);
  // Takes a connection back that stands between two requests; closes it at a limit. [hot, serial]
  void Release(UpstreamConnection& connection);
  // Ends a connection; the upstream notices, which cancels its work. [hot, serial]
  void Close(UpstreamConnection& connection);
  void CloseIdle();  // [control]

 private:
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>()(text);
    }
  };

  UpstreamHost* FindHost(const UpstreamTarget& target, bool create);
  void ForgetIdleHosts();

  EventLoop* loop_;
  UpstreamDialer* dialer_;
  const RelayOptions* options_;
  RelayCounters* counters_;
  std::unordered_map<std::string, std::unique_ptr<UpstreamHost>, TextHash, std::equal_to<>> hosts_;
};

// Dials TCP sockets, with TLS where the target asks for it.
class SocketDialer final : public UpstreamDialer {
 public:
  Stream Dial(const UpstreamTarget& target) override;
};

}  // namespace weir::io
