// weir/io/loop/socket.h: addresses, listening and connecting. Start at SocketAddress::Parse(),
// Listener::Open() and StartConnect().
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weir/io/loop/counter.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

inline constexpr uint32_t kAcceptsPerTurnMax = 256;  // others are accepted in the next turn
inline constexpr int64_t kAcceptPauseNs =
    100 * kTickNs;  // after the process ran out of descriptors
inline constexpr int kListenBacklog = 4096;

// An IPv4 or IPv6 address with its port.
class SocketAddress {
 public:
  SocketAddress() noexcept = default;
  // Reads "10.0.0.1:8000", "[::1]:8000", or ":8000" for all IPv4 addresses.
  // Errors: kInvalidArgument, with the text that was given.  [control]
  static absl::StatusOr<SocketAddress> Parse(std::string_view text);
  static SocketAddress FromRaw(const sockaddr_storage& raw) noexcept;

  std::string ToString() const;  // as Parse() reads it
  std::string Host() const;      // the numeric address alone, without brackets; "" if none
  uint16_t port() const noexcept;
  void set_port(uint16_t port) noexcept;
  bool valid() const noexcept { return size_ != 0; }
  const sockaddr* raw() const noexcept { return reinterpret_cast<const sockaddr*>(bytes_); }
  socklen_t raw_size() const noexcept { return size_; }

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept;

 private:
  alignas(8) unsigned char bytes_[28] = {};  // a sockaddr_in or sockaddr_in6
  uint8_t size_ = 0;
};

// Looks up "name:port", where a numeric address is taken as it is. Blocks for as long as the name
// service does: call it at configuration time or on a thread of its own.
// Errors: kInvalidArgument, kUnavailable when the name cannot be resolved.  [io, concurrent]
absl::StatusOr<std::vector<SocketAddress>> ResolveAddress(std::string_view text);

// Begins to connect, without blocking: the socket becomes writable (ask TakeConnectError()) when
// that has come to an end. TCP_NODELAY is set.
// Errors: the result is empty and `error` an errno.  [hot, concurrent]
UniqueFd StartConnect(const SocketAddress& address, int& error) noexcept;

// How many descriptors this process may have open. [concurrent]
uint64_t DescriptorLimit() noexcept;
// Lets it have as many as the system allows: the soft limit becomes the hard one. For programs, at
// their start. [control]
void RaiseDescriptorLimit() noexcept;

// Receives the connections of a listener.
class AcceptHandler {
 public:
  // `socket` is non-blocking, with TCP_NODELAY. [hot, serial]
  virtual void OnAccept(UniqueFd socket, const SocketAddress& peer) = 0;

 protected:
  ~AcceptHandler() = default;
};

struct ListenerOptions {
  SocketAddress address;    // port 0: the kernel chooses
  bool reuse_port = false;  // several listeners, for example one per loop, share the address
  int backlog = kListenBacklog;
};

// Accepts connections on one address. Belongs to the loop's thread. When descriptors run out it
// pauses for kAcceptPauseNs instead of spinning; connections then wait in the backlog.
class Listener final : private EventHandler {
 public:
  // Borrowed: `loop` and `handler`, until the listener goes.
  // Errors: kInvalidArgument, kUnavailable with address and reason (in use, no permission).
  // [control]
  static absl::StatusOr<std::unique_ptr<Listener>> Open(EventLoop& loop,
                                                        const ListenerOptions& options,
                                                        AcceptHandler& handler);
  // Whether nobody listens on `address`, which listeners that share it with reuse_port cannot tell;
  // port 0 is always free. Errors: as for Open(). [control]
  static absl::Status CheckFree(const SocketAddress& address);
  ~Listener() { Close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Accepts what has already connected, then stops listening. Idempotent. [control]
  void Close();

  const SocketAddress& address() const noexcept { return address_; }  // with the real port
  uint16_t port() const noexcept { return address_.port(); }
  const Counter& pauses() const noexcept { return pauses_; }  // times that descriptors ran out

 private:
  Listener(EventLoop& loop, UniqueFd fd, const SocketAddress& address, AcceptHandler& handler);
  void OnReady(Ready ready) override;
  void Resume();
  // Returns false when nothing is left to accept or accepting must pause.
  bool AcceptOne();

  EventLoop* loop_;
  UniqueFd fd_;
  SocketAddress address_;
  AcceptHandler* handler_;
  Timer resume_ = Timer::Calling<&Listener::Resume>(*this);
  Counter pauses_;
  bool watched_ = false;
  bool closing_ = false;
};

}  // namespace weir::io
