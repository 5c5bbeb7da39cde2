// weir/io/loop/stream.h: a byte stream that never blocks: a TCP socket, TLS over one, or a script
// for tests. Start at Stream::Plain(), TlsContext::NewStream() and FakeTransport::NewStream().
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>

#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

inline constexpr uint32_t kWritePiecesMax = 256;  // of one gathered write

enum class IoStatus : uint8_t {
  kOk = 0,
  kWouldBlock,  // nothing was moved; an event will tell when to try again
  kEof,         // reads only: the peer has sent everything
  kError,       // the stream is of no more use
};

struct IoResult {
  size_t bytes = 0;  // moved; > 0 exactly if status is kOk, unless nothing was asked for
  IoStatus status = IoStatus::kOk;
  // After kOk: the next try would block, so wait for the next event instead. A reader that knows of
  // a kPeerClosed event ignores it and reads on to kEof.
  bool drained = false;
  int error = 0;  // after kError: an errno; EPROTO for TLS failures, see Stream::error_text()

  bool ok() const noexcept { return status == IoStatus::kOk; }
  bool would_block() const noexcept { return status == IoStatus::kWouldBlock; }
};

class FakeTransport;
class TlsStream;

// Movable owner of one connection. One thread at a time.
// With TLS the handshake happens inside reads and writes, and either may wait for the other
// direction: pass each event through Widen(), and retry what is pending for what it returns. What a
// write did not take must come first in the next one, at any address.
class Stream {
 public:
  Stream() noexcept = default;
  // A connected, or still connecting, non-blocking socket.
  static Stream Plain(UniqueFd socket) noexcept;
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream() { Close(); }

  // Moves up to out.size() bytes from the stream. [hot, serial]
  IoResult TryRead(std::span<char> out) noexcept {
    if (kind_ != Kind::kPlain) return TryReadOther(out);
    const ssize_t bytes = ::recv(fd_.get(), out.data(), out.size(), 0);
    if (bytes > 0) {
      const size_t moved = static_cast<size_t>(bytes);
      return {.bytes = moved, .drained = moved < out.size()};
    }
    if (bytes == 0) return {.status = out.empty() ? IoStatus::kOk : IoStatus::kEof};
    return Failed();
  }
  // Moves the front of `bytes` into the stream; fewer than asked is no error. [hot, serial]
  IoResult TryWrite(std::string_view bytes) noexcept {
    if (kind_ != Kind::kPlain) return TryWriteOther(bytes, {});
    const ssize_t moved = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (moved < 0) return Failed();
    return {.bytes = static_cast<size_t>(moved),
            .drained = static_cast<size_t>(moved) < bytes.size()};
  }
  // The same for two pieces in a row, with one call to the kernel. [hot, serial]
  IoResult TryWrite(std::string_view first, std::string_view second) noexcept;

  // The same for many pieces, at most kWritePiecesMax of them; TLS takes one piece at a time.
  // [hot, serial]
  IoResult TryWrite(std::span<const iovec> pieces) noexcept;

  // Events for which pending reads and writes must be tried, given what the socket reports.
  // [hot, serial]
  Ready Widen(Ready ready) const noexcept {
    if (kind_ != Kind::kTls) return ready;
    return (ready & (kReadable | kWritable)) != 0 ? ready | kReadable | kWritable : ready;
  }

  // The outcome of a connection attempt once the socket is writable or broken: 0 or an errno.
  // [hot, serial]
  int TakeConnectError() noexcept;
  // Tells the peer that no more bytes follow; reading goes on. [serial]
  void ShutdownWrite() noexcept;
  // Ends the stream: with TLS after a best-effort close_notify. Idempotent. [serial]
  void Close() noexcept;
  // Ends the stream so that the peer sees a reset instead of an orderly end. [serial]
  void Abort() noexcept;

  bool open() const noexcept { return kind_ != Kind::kNone; }
  bool is_tls() const noexcept { return kind_ == Kind::kTls; }
  // TLS has not been agreed on, or could not be. [serial]
  bool handshaking() const noexcept;
  int fd() const noexcept { return fd_.get(); }  // -1 for a fake
  FakeTransport* fake_or_null() const noexcept {
    return kind_ == Kind::kFake ? static_cast<FakeTransport*>(other_) : nullptr;
  }
  // What went wrong, for logs: the errno's text, or the TLS library's. [control]
  std::string error_text(const IoResult& result) const;

 private:
  friend class FakeTransport;
  friend class TlsContext;
  enum class Kind : uint8_t { kNone, kPlain, kTls, kFake };

  Stream(Kind kind, UniqueFd fd, void* other) noexcept
      : fd_(std::move(fd)), kind_(kind), other_(other) {}
  IoResult TryReadOther(std::span<char> out) noexcept;
  IoResult TryWriteOther(std::string_view first, std::string_view second) noexcept;
  TlsStream* tls() const noexcept { return static_cast<TlsStream*>(other_); }
  static IoResult Failed() noexcept {
    if (errno == EAGAIN || errno == EINTR) return {.status = IoStatus::kWouldBlock};
    return {.status = IoStatus::kError, .error = errno};
  }

  UniqueFd fd_;
  Kind kind_ = Kind::kNone;
  void* other_ = nullptr;  // owned TlsStream, borrowed FakeTransport, or null
};

// The other end of a fake stream, scripted by a test. Reads return one delivery at a time, so a
// script decides where bytes are split. Must outlive its stream. One thread.
class FakeTransport {
 public:
  FakeTransport() = default;
  FakeTransport(const FakeTransport&) = delete;
  FakeTransport& operator=(const FakeTransport&) = delete;

  // The stream whose peer this is. At most one at a time.
  Stream NewStream() noexcept;

  // Queues what reads will see: bytes that one read returns (or several, if it asks for fewer), an
  // orderly end, an error. Reads find would-block when nothing is queued.
  void Deliver(std::string_view bytes);
  void DeliverEof() { end_ = IoStatus::kEof; }
  void DeliverError(int error);
  // Lets the next writes take `bytes` in all, then would-block. Without limit at first.
  void AllowWrite(size_t bytes) noexcept { write_allowance_bytes_ = bytes; }
  // Lets one write take at most `bytes`: short writes. Without limit at first.
  void LimitWrite(size_t bytes) noexcept { write_max_bytes_ = bytes; }
  void FailWrites(int error) noexcept { write_error_ = error; }
  // Calls the handler that watches the stream, as the loop would.
  void Notify(Ready ready);

  // Everything written so far; the test may clear it.
  std::string& written() noexcept { return written_; }
  uint32_t write_calls() const noexcept { return write_calls_; }
  bool closed() const noexcept { return closed_; }
  bool aborted() const noexcept { return aborted_; }
  bool write_shut() const noexcept { return write_shut_; }
  bool all_read() const noexcept { return pending_.empty(); }

 private:
  friend class EventLoop;
  friend class Stream;
  static constexpr size_t kUnlimited = ~size_t{0};

  void SetHandler(EventHandler* handler) noexcept { handler_ = handler; }
  IoResult Read(std::span<char> out) noexcept;
  IoResult Write(std::string_view first, std::string_view second) noexcept;

  EventHandler* handler_ = nullptr;
  std::deque<std::string> pending_;  // deliveries not yet read
  std::string written_;
  IoStatus end_ = IoStatus::kWouldBlock;
  int read_error_ = 0;
  int write_error_ = 0;
  size_t write_allowance_bytes_ = kUnlimited;
  size_t write_max_bytes_ = kUnlimited;
  uint32_t write_calls_ = 0;
  bool closed_ = false;
  bool aborted_ = false;
  bool write_shut_ = false;
};

}  // namespace weir::io
