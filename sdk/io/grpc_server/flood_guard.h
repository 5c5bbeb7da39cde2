// weir/io/grpc_server/flood_guard.h: how much work for nothing a client may cause on one
// connection. Start at FloodGuard.
#pragma once

#include <cstdint>

namespace weir::io {

// Each bucket starts full, a burst, and is refilled with time. An honest client stays far below.
inline constexpr uint32_t kFloodControlBurst = 2000;  // PING, SETTINGS, PRIORITY, CONTINUATION, ...
inline constexpr uint32_t kFloodControlPerSecond = 500;
// Calls reset before a byte of an answer had left, or refused. A proxy whose clients give up makes
// such resets too, so it is the rate of calls made for nothing that is bounded, not that of resets.
inline constexpr uint32_t kFloodResetBurst = 2000;
inline constexpr uint32_t kFloodResetPerSecond = 1000;
// WINDOW_UPDATE and RST_STREAM answer what we send: each call and each DATA frame earns some.
inline constexpr uint32_t kFloodAnswerBurst = 20'000;
inline constexpr uint32_t kFloodAnswerPerSecond = 2000;
inline constexpr uint32_t kFloodAnswersEarned = 4;

// A counter that fills with time up to a limit. One thread.
class TokenBucket {
 public:
  TokenBucket(uint32_t burst, uint32_t per_second, int64_t now_ns) noexcept
      : tokens_(burst), burst_(burst), per_second_(per_second), filled_ns_(now_ns) {}

  // Takes one token; false if there is none. [hot, serial]
  bool Take(int64_t now_ns) noexcept {
    if (tokens_ <= burst_ / 2) Refill(now_ns);
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }
  // Puts tokens back, up to the burst. [hot, serial]
  void Give(uint32_t tokens) noexcept {
    tokens_ = burst_ - tokens_ < tokens ? burst_ : tokens_ + tokens;
  }

 private:
  void Refill(int64_t now_ns) noexcept {
    const int64_t elapsed_ns = now_ns - filled_ns_;
    if (elapsed_ns <= 0) return;
    constexpr int64_t kSecondNs = 1'000'000'000;
    if (elapsed_ns >= kSecondNs * burst_ / per_second_) {
      tokens_ = burst_;
      filled_ns_ = now_ns;
      return;
    }
    const int64_t added = elapsed_ns * per_second_ / kSecondNs;
    Give(static_cast<uint32_t>(added));
    filled_ns_ += added * kSecondNs / per_second_;
  }

  uint32_t tokens_;
  uint32_t burst_;
  uint32_t per_second_;
  int64_t filled_ns_;
};

// Counts on one connection what costs us more than its sender. When a function returns false the
// client is a flood: end the connection. One thread.
class FloodGuard {
 public:
  explicit FloodGuard(int64_t now_ns) noexcept
      : control_(kFloodControlBurst, kFloodControlPerSecond, now_ns),
        resets_(kFloodResetBurst, kFloodResetPerSecond, now_ns),
        answers_(kFloodAnswerBurst, kFloodAnswerPerSecond, now_ns) {}

  // Received: a frame that carries nothing for a call. [hot, serial]
  [[nodiscard]] bool OnControlFrame(int64_t now_ns) noexcept { return control_.Take(now_ns); }
  // Received: WINDOW_UPDATE or RST_STREAM. [hot, serial]
  [[nodiscard]] bool OnAnswer(int64_t now_ns) noexcept { return answers_.Take(now_ns); }
  // A call was reset before a byte of an answer had left, or refused. [hot, serial]
  [[nodiscard]] bool OnWastedCall(int64_t now_ns) noexcept { return resets_.Take(now_ns); }

  // A DATA frame was sent, or a call begun. [hot, serial]
  void EarnAnswers() noexcept { answers_.Give(kFloodAnswersEarned); }
  // A call was served to its end. [hot, serial]
  void OnServedCall() noexcept { resets_.Give(1); }

 private:
  TokenBucket control_;
  TokenBucket resets_;
  TokenBucket answers_;
};

}  // namespace weir::io
