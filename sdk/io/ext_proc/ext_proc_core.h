// weir/io/ext_proc/ext_proc_core.h: what the streams of one thread share: the way to decisions,
// options, scratch memory. Start at ExtProcCore.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/clock.h"
#include "weir/decision.h"
#include "weir/intake.h"
#include "weir/io/ext_proc/ext_proc_metrics.h"
#include "weir/io/ext_proc/messages.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/random.h"
#include "weir/router.h"

namespace weir::io {

// Body bytes of one streamed answer at most: stays below the 64 KiB flow-control window that Envoy
// gives a stream, so that no answer waits for a window update of its own.
inline constexpr uint32_t kAnswerBodyBytesMax = 62'000;
// Room for so many times the bytes that have come is made for a request body at most, whatever its
// content-length promises: memory is held by those who send, not by those who promise.
inline constexpr uint32_t kBodyReserveFactor = 8;
inline constexpr uint64_t kHeldBytesMaxDefault = 2ull << 30;
// Bodies up to this size are copied into the transport's memory: cheaper than to keep theirs.
inline constexpr uint64_t kCopiedBodyBytesMax = 4096;
// Of the headers of one message. HTTP/2 proxies refuse more than 60 KiB by default.
inline constexpr uint32_t kHeaderBytesMax = 256u << 10;

// How many bytes of headers and bodies all streams of the process hold. Any thread.
class HeldBytes {
 public:
  explicit HeldBytes(uint64_t bytes_max = kHeldBytesMaxDefault) noexcept : bytes_max_(bytes_max) {}
  // False, and nothing is counted, above the limit. [hot, concurrent]
  bool Take(uint64_t bytes) noexcept {
    if (held_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= bytes_max_) return true;
    Give(bytes);
    return false;
  }
  void Give(uint64_t bytes) noexcept { held_.fetch_sub(bytes, std::memory_order_relaxed); }
  uint64_t held() const noexcept { return held_.load(std::memory_order_relaxed); }
  uint64_t bytes_max() const noexcept { return bytes_max_; }

 private:
  const uint64_t bytes_max_;
  std::atomic<uint64_t> held_ = 0;
};

// What one holder has of it; gives it back when destroyed. One thread.
class HeldPart {
 public:
  // Borrowed: all.
  explicit HeldPart(HeldBytes& all) noexcept : all_(all) {}
  ~HeldPart() { all_.Give(bytes_); }
  HeldPart(const HeldPart&) = delete;
  HeldPart& operator=(const HeldPart&) = delete;
  // Holds `bytes` in place of what it held. False, and nothing changes, above the limit. [hot]
  bool Set(uint64_t bytes) noexcept {
    if (bytes > bytes_ && !all_.Take(bytes - bytes_)) return false;
    if (bytes < bytes_) all_.Give(bytes_ - bytes);
    bytes_ = bytes;
    return true;
  }

 private:
  HeldBytes& all_;
  uint64_t bytes_ = 0;
};

struct ExtProcOptions {
  uint64_t request_body_bytes_max = kRequestBodyBytesMax;   // 413 above it
  uint64_t response_body_bytes_max = kRequestBodyBytesMax;  // held at once, see buffer_responses
  bool emit_scores = false;    // metadata with the score of each candidate
  bool ignore_subset = false;  // any endpoint may serve, whatever the proxy says
  // Asks the proxy (mode_override) to keep response bodies for itself where nobody reads them: no
  // token counts, no time to first token. Proxies that do not allow it go on sending them.
  bool skip_response_bodies = false;
  // As llm-d's picker, where weir does otherwise.
  bool echo_headers = false;               // answers set all headers again, not only changed ones
  bool mark_responses = false;             // x-went-into-resp-headers: true
  bool buffer_responses = false;           // a response that is no event stream goes on whole
  bool empty_pool_internal_error = false;  // 500 for a request without body, not 503
};

// Belongs to one thread, as do its streams. Borrowed: all that its constructor is given.
class ExtProcCore {
 public:
  // `seed` draws request ids and the targets of weighted model rewrites. [control]
  ExtProcCore(const Router& router_in, const ExtProcOptions& options_in, HeldBytes& held_in,
              ExtProcMetrics& metrics_in, const Clock& clock_in, uint64_t seed)
      : router(router_in),
        options(options_in),
        held(held_in),
        metrics(metrics_in),
        clock(clock_in),
        random(seed),
        intake(router_in, random.NextBits()) {}

  const Router router;
  const ExtProcOptions options;
  HeldBytes& held;
  ExtProcMetrics& metrics;
  const Clock& clock;
  Random random;
  Intake intake;
  BufferPool buffers;
  AnswerWriter writer;
  // Of the message that is being worked on; nothing in here outlives the call.
  Request request;
  IntakeResult intake_result;
  std::vector<Header> headers;
  std::vector<std::string_view> subset;
  std::vector<HeaderChange> set;
  std::vector<std::string_view> remove;
  std::vector<MetadataEntry> metadata;
  std::vector<NamedNumber> scores;
  Explanation explanation;  // whose names are in scores
  std::array<char, 20> length_text;
  std::string text;
};

}  // namespace weir::io
