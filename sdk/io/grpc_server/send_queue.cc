#include "weir/io/grpc_server/send_queue.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace weir::io {
namespace {

constexpr size_t kKeptPiecesMax = 256;  // room that an empty queue keeps

}  // namespace

void GatherBuffer::AppendCopy(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t end = copied_bytes_ + bytes.size();
  if (!copies_) {
    copies_ = pool_->Acquire(end);
  } else if (end > copies_.capacity_bytes()) {
    copies_.Grow(end, copied_bytes_);
  }
  std::memcpy(copies_.data() + copied_bytes_, bytes.data(), bytes.size());
  if (!pieces_.empty() && pieces_.back().data == nullptr) {
    pieces_.back().bytes += bytes.size();
  } else {
    pieces_.push_back({nullptr, copied_bytes_, bytes.size(), nullptr});
  }
  copied_bytes_ = end;
  bytes_ += bytes.size();
}

void GatherBuffer::AppendBorrowed(std::string_view bytes, BytesOwner& owner) {
  owner.Acquire();
  pieces_.push_back({bytes.data(), 0, bytes.size(), &owner});
  bytes_ += bytes.size();
}

IoResult GatherBuffer::WriteTo(Stream& stream) noexcept {
  if (pieces_.size() == 1) {
    IoResult all;
    while (all.bytes < bytes_ && !all.drained) {
      const IoResult one =
          stream.TryWrite(std::string_view(At(pieces_[0]) + all.bytes, bytes_ - all.bytes));
      if (!one.ok()) return all.bytes == 0 || one.status == IoStatus::kError ? one : all;
      all.bytes += one.bytes;
      all.drained = one.drained;
    }
    return all;
  }
  std::array<iovec, kWritePiecesMax> vectors;
  size_t count = 0;
  for (const Piece& piece : pieces_) {
    if (count == vectors.size()) break;
    vectors[count++] = {const_cast<char*>(At(piece)), piece.bytes};
  }
  return stream.TryWrite(std::span<const iovec>(vectors.data(), count));
}

void GatherBuffer::CopyRest(size_t skip_bytes, char* out) const noexcept {
  for (const Piece& piece : pieces_) {
    const size_t skipped = std::min(skip_bytes, piece.bytes);
    skip_bytes -= skipped;
    std::memcpy(out, At(piece) + skipped, piece.bytes - skipped);
    out += piece.bytes - skipped;
  }
}

void GatherBuffer::Clear() noexcept {
  for (const Piece& piece : pieces_) {
    if (piece.owner_or_null != nullptr) piece.owner_or_null->Release();
  }
  pieces_.clear();
  copies_.Release();
  copied_bytes_ = 0;
  bytes_ = 0;
}

void SendQueue::PushCopy(std::string_view bytes, BufferPool& pool) {
  if (bytes.empty()) return;
  bytes_ += bytes.size();
  copied_bytes_ += bytes.size();
  if (first_ < pieces_.size() && pieces_.back().copy) {
    Piece& last = pieces_.back();
    const size_t moved = std::min(bytes.size(), last.copy.capacity_bytes() - last.end);
    std::memcpy(last.copy.data() + last.end, bytes.data(), moved);
    last.end += moved;
    bytes.remove_prefix(moved);
    if (bytes.empty()) return;
  }
  Piece piece;
  piece.copy = pool.Acquire(bytes.size());
  std::memcpy(piece.copy.data(), bytes.data(), bytes.size());
  piece.end = bytes.size();
  pieces_.push_back(std::move(piece));
}

void SendQueue::PushBorrowed(std::string_view bytes, BytesOwner& owner) {
  if (bytes.empty()) return;
  owner.Acquire();
  bytes_ += bytes.size();
  Piece piece;
  piece.data = bytes.data();
  piece.owner_or_null = &owner;
  piece.end = bytes.size();
  pieces_.push_back(std::move(piece));
}

void SendQueue::MoveTo(GatherBuffer& out, size_t bytes, bool gather) {
  bytes_ -= bytes;
  while (bytes > 0) {
    Piece& piece = pieces_[first_];
    const size_t moved = std::min(bytes, piece.end - piece.begin);
    const char* data = piece.data != nullptr ? piece.data : piece.copy.data();
    const std::string_view part(data + piece.begin, moved);
    if (piece.data == nullptr) copied_bytes_ -= moved;
    if (gather && piece.data != nullptr && moved >= kGatherPieceBytesMin && !out.full()) {
      out.AppendBorrowed(part, *piece.owner_or_null);
    } else {
      out.AppendCopy(part);
    }
    piece.begin += moved;
    bytes -= moved;
    if (piece.begin == piece.end) DropFirst();
  }
}

void SendQueue::DropFirst() noexcept {
  Piece& piece = pieces_[first_];
  piece.copy.Release();
  if (piece.owner_or_null != nullptr) piece.owner_or_null->Release();
  piece.owner_or_null = nullptr;
  ++first_;
  if (first_ == pieces_.size()) {
    pieces_.clear();
    first_ = 0;
  } else if (first_ >= 64 && first_ * 2 >= pieces_.size()) {
    // Keeps the used part at the front, at constant cost per piece.
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
}

void SendQueue::Clear() noexcept {
  while (first_ < pieces_.size()) DropFirst();
  bytes_ = 0;
  copied_bytes_ = 0;
  if (pieces_.capacity() > kKeptPiecesMax) std::vector<Piece>().swap(pieces_);
}

}  // namespace weir::io
