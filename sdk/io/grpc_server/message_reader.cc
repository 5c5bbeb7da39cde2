#include "weir/io/grpc_server/message_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace weir::io {
namespace {

constexpr int kGzipOnlyWindowBits = 15 + 16;
constexpr size_t kInflatedBytesMin = 4096;
constexpr std::string_view kTooLarge = "the message is larger than the server's limit";

}  // namespace

GzipInflater::GzipInflater(BufferPool& pool) noexcept : pool_(&pool) {}

GzipInflater::~GzipInflater() {
  if (state_ != nullptr) inflateEnd(state_.get());
}

Code GzipInflater::Inflate(std::string_view bytes, size_t bytes_max, std::string_view& out) {
  if (state_ == nullptr) {
    auto made = std::make_unique<z_stream_s>();
    if (inflateInit2(made.get(), kGzipOnlyWindowBits) != Z_OK) return Code::kResourceExhausted;
    state_ = std::move(made);
  }
  inflateReset(state_.get());
  state_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  state_->avail_in = static_cast<uInt>(bytes.size());
  if (!out_) out_ = pool_->Acquire(std::max(bytes.size() * 4, kInflatedBytesMin));
  size_t used = 0;
  while (true) {
    if (used > bytes_max) return Code::kResourceExhausted;
    if (used == out_.capacity_bytes()) out_.Grow(used + 1, used);
    const size_t room = std::min(out_.capacity_bytes(), bytes_max + 1) - used;
    state_->next_out = reinterpret_cast<Bytef*>(out_.data() + used);
    state_->avail_out = static_cast<uInt>(room);
    const int result = inflate(state_.get(), Z_NO_FLUSH);
    used += room - state_->avail_out;
    if (result == Z_STREAM_END) {
      if (state_->avail_in == 0) break;
      inflateReset(state_.get());  // another member follows
    } else if (result != Z_OK) {
      return result == Z_MEM_ERROR ? Code::kResourceExhausted : Code::kInvalidArgument;
    } else if (state_->avail_in == 0 && state_->avail_out != 0) {
      return Code::kInvalidArgument;
    }
  }
  if (used > bytes_max) return Code::kResourceExhausted;
  out = std::string_view(out_.data(), used);
  return Code::kOk;
}

ReadStep MessageReader::Fail(Code code, std::string_view text) noexcept {
  error_ = code;
  error_text_ = text;
  return ReadStep::kError;
}

bool MessageReader::TakePrefix(std::string_view& bytes, const Limits& limits) {
  const size_t taken = std::min<size_t>(kGrpcPrefixBytes - prefix_bytes_, bytes.size());
  std::memcpy(prefix_.data() + prefix_bytes_, bytes.data(), taken);
  prefix_bytes_ += static_cast<uint8_t>(taken);
  bytes.remove_prefix(taken);
  if (prefix_bytes_ < kGrpcPrefixBytes) return true;
  length_ = uint32_t{prefix_[1]} << 24 | uint32_t{prefix_[2]} << 16 | uint32_t{prefix_[3]} << 8 |
            uint32_t{prefix_[4]};
  if (prefix_[0] > 1) {
    Fail(Code::kInternal, "the message's flag is neither 0 nor 1");
    return false;
  }
  if (prefix_[0] == 1 && limits.encoding == GrpcEncoding::kIdentity) {
    Fail(Code::kInternal, "the message is compressed, but no grpc-encoding was announced");
    return false;
  }
  if (length_ > limits.message_bytes_max) {
    Fail(Code::kResourceExhausted, kTooLarge);
    return false;
  }
  return true;
}

bool MessageReader::Keep(std::string_view& bytes, BufferPool& pool) {
  const size_t taken = std::min<size_t>(bytes.size(), length_ - kept_bytes_);
  const size_t needed = kept_bytes_ + taken;
  if (!kept_ && needed != 0) {
    kept_ = pool.Acquire(needed);
  } else if (needed > kept_.capacity_bytes()) {
    kept_.Grow(needed, kept_bytes_);
  }
  if (taken != 0) std::memcpy(kept_.data() + kept_bytes_, bytes.data(), taken);
  kept_bytes_ = needed;
  bytes.remove_prefix(taken);
  return kept_bytes_ == length_;
}

ReadStep MessageReader::Next(std::string_view& bytes, const Limits& limits, BufferPool& pool,
                             GzipInflater& inflater, std::string_view& message) {
  if (complete_) Reset();
  inflater.Release();
  if (prefix_bytes_ < kGrpcPrefixBytes) {
    if (!TakePrefix(bytes, limits)) return ReadStep::kError;
    if (prefix_bytes_ < kGrpcPrefixBytes) return ReadStep::kNeedMore;
  }
  if (kept_bytes_ == 0 && bytes.size() >= length_) {
    message = bytes.substr(0, length_);
    bytes.remove_prefix(length_);
  } else {
    if (!Keep(bytes, pool)) return ReadStep::kNeedMore;
    message = std::string_view(kept_.data(), kept_bytes_);
  }
  complete_ = true;
  if (prefix_[0] == 0) return ReadStep::kMessage;
  const Code code = inflater.Inflate(message, limits.message_bytes_max, message);
  if (code == Code::kOk) return ReadStep::kMessage;
  return code == Code::kResourceExhausted ? Fail(code, kTooLarge)
                                          : Fail(Code::kInternal, "the message is not valid gzip");
}

void MessageReader::Reset() noexcept {
  prefix_bytes_ = 0;
  complete_ = false;
  length_ = 0;
  kept_bytes_ = 0;
  kept_.Release();
}

}  // namespace weir::io
