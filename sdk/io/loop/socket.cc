#include "weir/io/loop/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace weir::io {
namespace {

static_assert(sizeof(sockaddr_in6) == 28);

struct HostPort {
  std::string host;
  std::string port;
};

absl::Status BadAddress(std::string_view text, std::string_view expected) {
  return absl::InvalidArgumentError("address \"" + std::string(text) + "\", expected " +
                                    std::string(expected));
}

absl::StatusOr<HostPort> Split(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return BadAddress(text, "host:port");
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return BadAddress(text, "brackets around an IPv6 address");
  }
  const std::string_view port = text.substr(colon + 1);
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number > 65535) {
    return BadAddress(text, "a port of 0 to 65535");
  }
  return HostPort{std::string(host), std::string(port)};
}

void SetNoDelay(int fd) noexcept {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool OutOfDescriptors(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

absl::Status ListenError(const SocketAddress& address, const char* reason) {
  return absl::UnavailableError("listen on " + address.ToString() + ": " + reason);
}

// A socket that has the address, and does not listen yet.
absl::StatusOr<UniqueFd> Bind(const SocketAddress& address, bool reuse_port) {
  if (!address.valid()) return absl::InvalidArgumentError("listen on none: expected an address");
  UniqueFd fd(::socket(address.raw()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  bool good = static_cast<bool>(fd);
  good = good && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
  if (reuse_port) {
    good = good && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
  }
  good = good && ::bind(fd.get(), address.raw(), address.raw_size()) == 0;
  if (!good) return ListenError(address, std::strerror(errno));
  return fd;
}

}  // namespace

SocketAddress SocketAddress::FromRaw(const sockaddr_storage& raw) noexcept {
  SocketAddress address;
  if (raw.ss_family == AF_INET) address.size_ = sizeof(sockaddr_in);
  if (raw.ss_family == AF_INET6) address.size_ = sizeof(sockaddr_in6);
  std::memcpy(address.bytes_, &raw, address.size_);
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::Parse(std::string_view text) {
  absl::StatusOr<HostPort> parts = Split(text);
  if (!parts.ok()) return parts.status();
  sockaddr_storage raw = {};
  auto* four = reinterpret_cast<sockaddr_in*>(&raw);
  auto* six = reinterpret_cast<sockaddr_in6*>(&raw);
  const std::string host = parts->host.empty() ? "0.0.0.0" : parts->host;
  if (::inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    raw.ss_family = AF_INET;
  } else if (::inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    raw.ss_family = AF_INET6;
  } else {
    return BadAddress(text, "a numeric address");
  }
  SocketAddress address = FromRaw(raw);
  address.set_port(static_cast<uint16_t>(std::stoul(parts->port)));
  return address;
}

std::string SocketAddress::Host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (size_ == sizeof(sockaddr_in)) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(bytes_)->sin_addr, text,
                sizeof text);
  } else if (size_ == sizeof(sockaddr_in6)) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(bytes_)->sin6_addr, text,
                sizeof text);
  }
  return text;
}

std::string SocketAddress::ToString() const {
  if (!valid()) return "none";
  const bool brackets = size_ == sizeof(sockaddr_in6);
  return (brackets ? "[" + Host() + "]:" : Host() + ":") + std::to_string(port());
}

// Port lies at the same place in both families.
static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

uint16_t SocketAddress::port() const noexcept {
  return ntohs(reinterpret_cast<const sockaddr_in*>(bytes_)->sin_port);
}

void SocketAddress::set_port(uint16_t port) noexcept {
  reinterpret_cast<sockaddr_in*>(bytes_)->sin_port = htons(port);
}

bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept {
  return a.size_ == b.size_ && std::memcmp(a.bytes_, b.bytes_, a.size_) == 0;
}

absl::StatusOr<std::vector<SocketAddress>> ResolveAddress(std::string_view text) {
  absl::StatusOr<HostPort> parts = Split(text);
  if (!parts.ok()) return parts.status();
  if (parts->host.empty()) return BadAddress(text, "a name or address before the port");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(parts->host.c_str(), parts->port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError("address \"" + std::string(text) +
                                  "\": " + ::gai_strerror(error));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    sockaddr_storage raw = {};
    std::memcpy(&raw, one->ai_addr, one->ai_addrlen);
    const SocketAddress address = SocketAddress::FromRaw(raw);
    if (address.valid()) addresses.push_back(address);
  }
  ::freeaddrinfo(found);
  return addresses;
}

UniqueFd StartConnect(const SocketAddress& address, int& error) noexcept {
  UniqueFd fd(::socket(address.raw()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    error = errno;
    return fd;
  }
  SetNoDelay(fd.get());
  if (::connect(fd.get(), address.raw(), address.raw_size()) != 0 && errno != EINPROGRESS) {
    error = errno;
    return UniqueFd();
  }
  return fd;
}

uint64_t DescriptorLimit() noexcept {
  rlimit limit;
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

void RaiseDescriptorLimit() noexcept {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

absl::Status Listener::CheckFree(const SocketAddress& address) {
  if (address.valid() && address.port() == 0) return absl::OkStatus();
  return Bind(address, false).status();
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(EventLoop& loop,
                                                         const ListenerOptions& options,
                                                         AcceptHandler& handler) {
  absl::StatusOr<UniqueFd> fd = Bind(options.address, options.reuse_port);
  if (!fd.ok()) return fd.status();
  bool good = ::listen(fd->get(), options.backlog) == 0;
  sockaddr_storage bound = {};
  socklen_t bound_size = sizeof bound;
  good = good && ::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound), &bound_size) == 0;
  if (!good) return ListenError(options.address, std::strerror(errno));
  std::unique_ptr<Listener> listener(
      new Listener(loop, *std::move(fd), SocketAddress::FromRaw(bound), handler));
  if (!listener->watched_) {
    return absl::ResourceExhaustedError("listen on " + options.address.ToString() +
                                        ": too many descriptors");
  }
  return listener;
}

Listener::Listener(EventLoop& loop, UniqueFd fd, const SocketAddress& address,
                   AcceptHandler& handler)
    : loop_(&loop), fd_(std::move(fd)), address_(address), handler_(&handler) {
  Resume();
}

void Listener::Resume() { watched_ = loop_->WatchReadable(fd_.get(), *this) == Code::kOk; }

void Listener::OnReady(Ready) {
  for (uint32_t i = 0; i < kAcceptsPerTurnMax && fd_; ++i) {
    if (!AcceptOne()) return;
  }
}

bool Listener::AcceptOne() {
  sockaddr_storage raw = {};
  socklen_t size = sizeof raw;
  UniqueFd socket(
      ::accept4(fd_.get(), reinterpret_cast<sockaddr*>(&raw), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket) {
    SetNoDelay(socket.get());
    handler_->OnAccept(std::move(socket), SocketAddress::FromRaw(raw));
    return true;
  }
  const int error = errno;
  if (OutOfDescriptors(error) && !closing_) {
    pauses_.Add(1);
    loop_->Unwatch(fd_.get(), *this);
    watched_ = false;
    loop_->Arm(resume_, kAcceptPauseNs);
  }
  // A connection that broke before it was accepted is no reason to stop.
  return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM;
}

void Listener::Close() {
  if (!fd_ || closing_) return;
  closing_ = true;
  while (AcceptOne()) {
  }
  resume_.Cancel();
  if (watched_) loop_->Unwatch(fd_.get(), *this);
  watched_ = false;
  fd_.Reset();
}

}  // namespace weir::io
