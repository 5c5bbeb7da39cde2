// media_tokens.h: how many tokens an image, a video or an audio clip is worth.
#pragma once

#include <cstdint>
#include <string_view>

#include "weir/plugin/plugin.h"

namespace weir_token_producer {

// No media part counts for more, whatever its header or the request claims: a 67 megapixel image.
inline constexpr uint64_t kMediaTokensMax = 1u << 16;
// All media parts of a prompt together; what comes behind them counts for one token each.
inline constexpr uint64_t kPromptMediaTokensMax = 1u << 18;

// What request headers say about each video of the request; 0 where they say nothing.
struct VideoHints {
  double duration_s = 0;
  double source_fps = 0;
  uint32_t width = 0;
  uint32_t height = 0;
};

// Reads x-llm-d-video-duration-seconds, x-llm-d-video-resolution (WIDTHxHEIGHT) and
// x-llm-d-video-fps. A value that is no positive number counts as absent. [hot, concurrent]
VideoHints ReadVideoHints(const weir::plugin::Request& request) noexcept;

// The parameters under "estimate". Each count is 1 .. kMediaTokensMax. [hot, concurrent]
class MediaTokens {
 public:
  explicit MediaTokens(const weir::plugin::Params& params);
  uint64_t Image(std::string_view url) const noexcept;
  uint64_t Video(const VideoHints& hints) const noexcept;
  // Four bytes of the URL or data are one token.
  uint64_t Audio(std::string_view data) const noexcept;

 private:
  uint64_t Frames(const VideoHints& hints) const noexcept;
  uint64_t TokensPerFrame(const VideoHints& hints) const noexcept;

  bool image_static_;
  uint64_t image_static_tokens_;
  uint64_t image_factor_;
  uint64_t image_width_, image_height_;

  bool frame_static_;
  uint64_t frame_static_tokens_;
  uint64_t frame_factor_;
  bool strided_;
  uint64_t frames_min_, frames_max_;
  double sample_fps_;
  uint64_t temporal_patch_size_;
  double source_fps_;
  uint64_t frame_stride_;
  uint64_t video_width_, video_height_;
  double duration_s_;
  uint64_t video_tokens_max_;
};

}  // namespace weir_token_producer
