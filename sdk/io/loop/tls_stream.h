// weir/io/loop/tls_stream.h: one TLS connection, behind Stream.
#pragma once

#include <openssl/ssl.h>

#include <span>
#include <string>
#include <string_view>

#include "weir/io/loop/stream.h"

namespace weir::io {

// Owns the library's state of one connection, not the socket. One thread at a time.
class TlsStream {
 public:
  // Owned: `ssl`, already set up to accept or connect.
  explicit TlsStream(SSL* ssl) noexcept : ssl_(ssl) {}
  ~TlsStream() { SSL_free(ssl_); }
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // As in Stream. [hot, serial]
  IoResult Read(std::span<char> out) noexcept;
  IoResult Write(std::string_view first, std::string_view second) noexcept;
  // Sends close_notify if the handshake is done and the socket takes it. [serial]
  void Shutdown() noexcept;
  bool handshaking() const noexcept;
  std::string error_text() const;

 private:
  IoResult WriteRecord(std::string_view first, std::string_view second, size_t begin) noexcept;
  IoResult Outcome(int result, int saved_errno) noexcept;
  IoResult SocketFailed() noexcept;
  IoResult Fail(int error) noexcept;

  SSL* ssl_;
  size_t untold_bytes_ = 0;  // encrypted, at the front of what the caller writes next
  unsigned long error_ = 0;  // of the library, the first one
  int failure_ = 0;          // errno; no further call to the library is allowed
};

// Makes the library use recv and send without SIGPIPE on `fd`. Returns false when memory runs out.
bool AttachSocket(SSL* ssl, int fd) noexcept;

}  // namespace weir::io
