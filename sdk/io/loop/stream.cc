#include "weir/io/loop/stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "weir/io/loop/tls_stream.h"

namespace weir::io {

Stream Stream::Plain(UniqueFd socket) noexcept {
  return Stream(Kind::kPlain, std::move(socket), nullptr);
}

Stream::Stream(Stream&& other) noexcept
    : fd_(std::move(other.fd_)),
      kind_(std::exchange(other.kind_, Kind::kNone)),
      other_(std::exchange(other.other_, nullptr)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this == &other) return *this;
  Close();
  fd_ = std::move(other.fd_);
  kind_ = std::exchange(other.kind_, Kind::kNone);
  other_ = std::exchange(other.other_, nullptr);
  return *this;
}

IoResult Stream::TryWrite(std::string_view first, std::string_view second) noexcept {
  if (second.empty()) return TryWrite(first);
  if (first.empty()) return TryWrite(second);
  if (kind_ != Kind::kPlain) return TryWriteOther(first, second);
  iovec pieces[2] = {{const_cast<char*>(first.data()), first.size()},
                     {const_cast<char*>(second.data()), second.size()}};
  msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  const ssize_t moved = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  if (moved < 0) return Failed();
  const size_t bytes = static_cast<size_t>(moved);
  return {.bytes = bytes, .drained = bytes < first.size() + second.size()};
}

IoResult Stream::TryWrite(std::span<const iovec> pieces) noexcept {
  if (kind_ != Kind::kPlain) {
    IoResult all;
    for (const iovec& piece : pieces) {
      const std::string_view bytes(static_cast<const char*>(piece.iov_base), piece.iov_len);
      const IoResult one = TryWriteOther(bytes, {});
      if (!one.ok()) return all.bytes == 0 ? one : all;
      all.bytes += one.bytes;
      if (one.bytes < bytes.size()) return all;
    }
    return all;
  }
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  const ssize_t moved = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  if (moved < 0) return Failed();
  size_t asked = 0;
  for (const iovec& piece : pieces) asked += piece.iov_len;
  return {.bytes = static_cast<size_t>(moved), .drained = static_cast<size_t>(moved) < asked};
}

IoResult Stream::TryReadOther(std::span<char> out) noexcept {
  if (kind_ == Kind::kTls) return tls()->Read(out);
  if (FakeTransport* fake = fake_or_null()) return fake->Read(out);
  return {.status = IoStatus::kError, .error = EBADF};
}

IoResult Stream::TryWriteOther(std::string_view first, std::string_view second) noexcept {
  if (kind_ == Kind::kTls) return tls()->Write(first, second);
  if (FakeTransport* fake = fake_or_null()) return fake->Write(first, second);
  return {.status = IoStatus::kError, .error = EBADF};
}

int Stream::TakeConnectError() noexcept {
  if (!fd_) return 0;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

bool Stream::handshaking() const noexcept { return is_tls() && tls()->handshaking(); }

void Stream::ShutdownWrite() noexcept {
  if (kind_ == Kind::kTls) tls()->Shutdown();
  if (FakeTransport* fake = fake_or_null()) fake->write_shut_ = true;
  if (fd_) ::shutdown(fd_.get(), SHUT_WR);
}

void Stream::Close() noexcept {
  if (kind_ == Kind::kTls) {
    tls()->Shutdown();
    delete tls();
  }
  if (FakeTransport* fake = fake_or_null()) {
    fake->closed_ = true;
    fake->handler_ = nullptr;
  }
  kind_ = Kind::kNone;
  other_ = nullptr;
  fd_.Reset();
}

void Stream::Abort() noexcept {
  if (FakeTransport* fake = fake_or_null()) fake->aborted_ = true;
  if (kind_ == Kind::kTls) delete tls();
  if (fd_) {
    const linger immediately = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &immediately, sizeof immediately);
  }
  if (kind_ == Kind::kTls) {
    kind_ = Kind::kPlain;
    other_ = nullptr;
  }
  Close();
}

std::string Stream::error_text(const IoResult& result) const {
  if (kind_ == Kind::kTls && result.error == EPROTO) return tls()->error_text();
  return std::strerror(result.error);
}

Stream FakeTransport::NewStream() noexcept {
  closed_ = aborted_ = write_shut_ = false;
  return Stream(Stream::Kind::kFake, UniqueFd(), this);
}

void FakeTransport::Deliver(std::string_view bytes) {
  if (!bytes.empty()) pending_.emplace_back(bytes);
}

void FakeTransport::DeliverError(int error) {
  end_ = IoStatus::kError;
  read_error_ = error;
}

void FakeTransport::Notify(Ready ready) {
  if (handler_ != nullptr) handler_->OnReady(ready);
}

IoResult FakeTransport::Read(std::span<char> out) noexcept {
  if (pending_.empty()) return {.status = end_, .error = read_error_};
  std::string& next = pending_.front();
  const size_t bytes = std::min(out.size(), next.size());
  std::memcpy(out.data(), next.data(), bytes);
  next.erase(0, bytes);
  if (next.empty()) pending_.pop_front();
  return {.bytes = bytes};
}

IoResult FakeTransport::Write(std::string_view first, std::string_view second) noexcept {
  ++write_calls_;
  if (write_error_ != 0) return {.status = IoStatus::kError, .error = write_error_};
  const size_t asked = first.size() + second.size();
  const size_t bytes = std::min({asked, write_allowance_bytes_, write_max_bytes_});
  if (bytes == 0 && asked != 0) return {.status = IoStatus::kWouldBlock};
  if (write_allowance_bytes_ != kUnlimited) write_allowance_bytes_ -= bytes;
  written_.append(first.substr(0, bytes));
  if (bytes > first.size()) written_.append(second.substr(0, bytes - first.size()));
  return {.bytes = bytes};
}

}  // namespace weir::io
