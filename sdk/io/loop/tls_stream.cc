#include "weir/io/loop/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace weir::io {
namespace {

// One record's payload. Two small pieces are joined so that head and body share a record.
constexpr size_t kRecordBytesMax = 16 * 1024;
constexpr size_t kRecordOverheadBytesMax = 512;
constexpr size_t kRecordsPerSendMax = 8;

// Where the library's bytes go, behind its BIO.
struct Socket {
  int fd;
  bool gathers = false;  // records are put into Gathered() instead of being sent
  std::string held;      // records that the socket did not take yet
};

Socket& SocketOf(BIO* bio) noexcept { return *static_cast<Socket*>(BIO_get_data(bio)); }

// The records of the current write. Each thread writes one stream at a time.
std::string& Gathered() noexcept {
  thread_local std::string records = [] {
    std::string made;
    made.reserve(kRecordsPerSendMax * (kRecordBytesMax + kRecordOverheadBytesMax));
    return made;
  }();
  return records;
}

// Sends what was held back. False if some of it still is, or the socket is broken; see errno.
bool SendHeld(Socket& socket) noexcept {
  if (socket.held.empty()) return true;
  const ssize_t bytes = ::send(socket.fd, socket.held.data(), socket.held.size(), MSG_NOSIGNAL);
  if (bytes < 0) return false;
  if (static_cast<size_t>(bytes) == socket.held.size()) {
    std::string().swap(socket.held);
    return true;
  }
  socket.held.erase(0, static_cast<size_t>(bytes));
  errno = EAGAIN;
  return false;
}

bool WouldBlock() noexcept { return errno == EAGAIN || errno == EINTR; }

int BioRead(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t bytes = ::recv(SocketOf(bio).fd, out, static_cast<size_t>(size), 0);
  if (bytes < 0 && WouldBlock()) BIO_set_retry_read(bio);
  return static_cast<int>(bytes);
}

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  Socket& socket = SocketOf(bio);
  if (socket.gathers) {
    Gathered().append(data, static_cast<size_t>(size));
    return size;
  }
  // Handshakes, key updates, alerts: behind what is held back.
  ssize_t bytes = -1;
  if (SendHeld(socket)) bytes = ::send(socket.fd, data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (bytes < 0 && WouldBlock()) BIO_set_retry_write(bio);
  return static_cast<int>(bytes);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int BioCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

int BioDestroy(BIO* bio) {
  delete static_cast<Socket*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
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
      BIO_meth_set_destroy(made, BioDestroy);
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
  BIO_set_data(bio, new (std::nothrow) Socket{.fd = fd});
  if (BIO_get_data(bio) == nullptr) {
    BIO_free(bio);
    return false;
  }
  SSL_set_bio(ssl, bio, bio);
  return true;
}

IoResult TlsStream::Fail(int error) noexcept {
  failure_ = error;
  return {.status = IoStatus::kError, .error = error};
}

IoResult TlsStream::Outcome(int result, int saved_errno) noexcept {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return {.status = IoStatus::kWouldBlock};
    case SSL_ERROR_ZERO_RETURN:
      return {.status = IoStatus::kEof};
    case SSL_ERROR_SYSCALL:
      return Fail(saved_errno != 0 ? saved_errno : ECONNRESET);
    default:
      error_ = ERR_peek_error();
      ERR_clear_error();
      // An end without close_notify may be a cut: never an orderly one.
      const bool cut = ERR_GET_REASON(error_) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
      return Fail(cut ? ECONNRESET : EPROTO);
  }
}

// One record after the other, as long as the library has read ahead: the caller then answers all of
// them at once.
IoResult TlsStream::Read(std::span<char> out) noexcept {
  if (failure_ != 0) return Fail(failure_);
  IoResult all;
  do {
    ERR_clear_error();
    errno = 0;
    size_t bytes = 0;
    const int result = SSL_read_ex(ssl_, out.data() + all.bytes, out.size() - all.bytes, &bytes);
    if (result <= 0) {
      const IoResult outcome = Outcome(result, errno);
      if (all.bytes == 0) return outcome;
      all.drained = outcome.would_block();  // the next call tells of anything else
      return all;
    }
    all.bytes += bytes;
  } while (all.bytes < out.size() && SSL_has_pending(ssl_) == 1);
  return all;
}

IoResult TlsStream::Write(std::string_view first, std::string_view second) noexcept {
  if (failure_ != 0) return Fail(failure_);
  if (first.empty() && second.empty()) return {};
  Socket& socket = SocketOf(SSL_get_wbio(ssl_));
  if (!SendHeld(socket)) return SocketFailed();
  // What was encrypted by an earlier call, but not told.
  size_t bytes = std::exchange(untold_bytes_, 0);
  const size_t all_bytes = first.size() + second.size();
  size_t last_bytes = 0;
  IoResult outcome;
  std::string& records = Gathered();
  records.clear();
  // Records are sent together; handshakes go their own way.
  socket.gathers = SSL_is_init_finished(ssl_) == 1;
  for (size_t i = 0; bytes < all_bytes && i < kRecordsPerSendMax; ++i) {
    outcome = WriteRecord(first, second, bytes);
    if (!outcome.ok()) break;
    last_bytes = outcome.bytes;
    bytes += last_bytes;
    if (!socket.gathers) break;
  }
  socket.gathers = false;
  if (records.empty()) return bytes > 0 ? IoResult{.bytes = bytes} : outcome;
  const ssize_t sent = ::send(socket.fd, records.data(), records.size(), MSG_NOSIGNAL);
  if (sent < 0 && !WouldBlock()) return SocketFailed();
  const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
  if (taken == records.size()) return {.bytes = bytes};
  // The caller must come again for what is held back, so the last record is not told yet.
  socket.held.assign(records, taken);
  untold_bytes_ = last_bytes;
  bytes -= last_bytes;
  return bytes > 0 ? IoResult{.bytes = bytes} : IoResult{.status = IoStatus::kWouldBlock};
}

// Encrypts one record from `begin` on of the two pieces in a row.
IoResult TlsStream::WriteRecord(std::string_view first, std::string_view second,
                                size_t begin) noexcept {
  char joined[kRecordBytesMax];
  std::string_view record;
  if (begin >= first.size()) {
    record = second.substr(begin - first.size());
  } else {
    record = first.substr(begin);
    if (!second.empty() && record.size() < kRecordBytesMax) {
      const size_t tail = std::min(second.size(), kRecordBytesMax - record.size());
      std::memcpy(joined, record.data(), record.size());
      std::memcpy(joined + record.size(), second.data(), tail);
      record = {joined, record.size() + tail};
    }
  }
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_write_ex(ssl_, record.data(), record.size(), &bytes);
  if (result > 0) return {.bytes = bytes};
  return Outcome(result, errno);
}

IoResult TlsStream::SocketFailed() noexcept {
  if (WouldBlock()) return {.status = IoStatus::kWouldBlock};
  return Fail(errno);
}

bool TlsStream::handshaking() const noexcept { return SSL_is_init_finished(ssl_) != 1; }

void TlsStream::Shutdown() noexcept {
  if (failure_ != 0 || !SSL_is_init_finished(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string TlsStream::error_text() const {
  const char* reason = error_ == 0 ? nullptr : ERR_reason_error_string(error_);
  return reason == nullptr ? "TLS failure" : std::string("TLS: ") + reason;
}

}  // namespace weir::io
