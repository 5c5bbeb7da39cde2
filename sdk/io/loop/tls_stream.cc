#include "weir/io/loop/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace weir::io {
namespace {

// One record's payload. Two small pieces are joined so that head and body share a record.
constexpr size_t kRecordBytesMax = 16 * 1024;

int FdOf(BIO* bio) noexcept {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int BioRead(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t bytes = ::recv(FdOf(bio), out, static_cast<size_t>(size), 0);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(bytes);
}

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t bytes = ::send(FdOf(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(bytes);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int BioCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* SocketMethod() noexcept {
  static const BIO_METHOD* method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir socket");
    if (made != nullptr) {
      BIO_meth_set_read(made, BioRead);
      BIO_meth_set_write(made, BioWrite);
      BIO_meth_set_ctrl(made, BioControl);
      BIO_meth_set_create(made, BioCreate);
    }
    return made;
  }();
  return method;
}

}  // namespace

bool AttachSocket(SSL* ssl, int fd) noexcept {
  const BIO_METHOD* method = SocketMethod();
  BIO* bio = method == nullptr ? nullptr : BIO_new(method);
  if (bio == nullptr) return false;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  SSL_set_bio(ssl, bio, bio);
  return true;
}

IoResult TlsStream::Outcome(int result, int saved_errno) noexcept {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return {.status = IoStatus::kWouldBlock};
    case SSL_ERROR_ZERO_RETURN:
      return {.status = IoStatus::kEof};
    case SSL_ERROR_SYSCALL:
      failed_ = true;
      return {.status = IoStatus::kError, .error = saved_errno != 0 ? saved_errno : ECONNRESET};
    default:
      failed_ = true;
      error_ = ERR_peek_error();
      ERR_clear_error();
      // An end without close_notify may be a cut: never an orderly one.
      const bool cut = ERR_GET_REASON(error_) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
      return {.status = IoStatus::kError, .error = cut ? ECONNRESET : EPROTO};
  }
}

IoResult TlsStream::Read(std::span<char> out) noexcept {
  if (failed_) return {.status = IoStatus::kError, .error = EPROTO};
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_read_ex(ssl_, out.data(), out.size(), &bytes);
  if (result > 0) return {.bytes = bytes};
  return Outcome(result, errno);
}

IoResult TlsStream::Write(std::string_view first, std::string_view second) noexcept {
  if (failed_) return {.status = IoStatus::kError, .error = EPROTO};
  char joined[kRecordBytesMax];
  std::string_view record = first.empty() ? second : first;
  if (!first.empty() && !second.empty() && first.size() < kRecordBytesMax) {
    const size_t tail = std::min(second.size(), kRecordBytesMax - first.size());
    std::memcpy(joined, first.data(), first.size());
    std::memcpy(joined + first.size(), second.data(), tail);
    record = {joined, first.size() + tail};
  }
  if (record.empty()) return {};
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_write_ex(ssl_, record.data(), record.size(), &bytes);
  if (result > 0) return {.bytes = bytes};
  return Outcome(result, errno);
}

void TlsStream::Shutdown() noexcept {
  if (failed_ || !SSL_is_init_finished(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string TlsStream::error_text() const {
  const char* reason = error_ == 0 ? nullptr : ERR_reason_error_string(error_);
  return reason == nullptr ? "TLS failure" : std::string("TLS: ") + reason;
}

}  // namespace weir::io
