#include "media_tokens.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "image_size.h"

namespace weir_token_producer {

using weir::plugin::Params;
using weir::plugin::Request;

namespace {

constexpr double kFramesMax = 1e9;  // keeps products inside 64 bits
constexpr uint32_t kPixelsPerSideMax = 1u << 20;

// A positive integer parameter; 0 and absent mean the default.
uint64_t Positive(const Params& params, const std::string& path, uint64_t or_else) {
  const int64_t value = params.integer(path, 0);
  if (value < 0) Params::Fail(path + ": " + std::to_string(value) + ", expected >= 0");
  return value == 0 ? or_else : static_cast<uint64_t>(std::min<int64_t>(value, UINT32_MAX));
}

double PositiveNumber(const Params& params, const std::string& path, double or_else) {
  const double value = params.number(path, 0);
  if (!(value >= 0 && value <= kFramesMax)) {
    Params::Fail(path + ": " + std::to_string(value) + ", expected 0 to 1e9");
  }
  return value == 0 ? or_else : value;
}

// True for `second`, false for `first` and for absent.
bool IsMode(const Params& params, const std::string& path, const std::string& first,
            const std::string& second) {
  const std::string mode = params.string(path, first);
  if (mode != first && mode != second) {
    Params::Fail(path + ": \"" + mode + "\", expected " + first + " or " + second);
  }
  return mode == second;
}

double ReadNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && value > 0 && value <= kFramesMax ? value : 0;
}

uint32_t ReadSide(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && value <= kPixelsPerSideMax ? value : 0;
}

uint64_t Bounded(uint64_t tokens) { return std::clamp<uint64_t>(tokens, 1, kMediaTokensMax); }

}  // namespace

VideoHints ReadVideoHints(const Request& request) noexcept {
  VideoHints hints;
  hints.duration_s = ReadNumber(request.header("x-llm-d-video-duration-seconds"));
  hints.source_fps = ReadNumber(request.header("x-llm-d-video-fps"));
  const std::string_view resolution = request.header("x-llm-d-video-resolution");
  const size_t cross = resolution.find_first_of("xX");
  if (cross != std::string_view::npos) {
    hints.width = ReadSide(resolution.substr(0, cross));
    hints.height = ReadSide(resolution.substr(cross + 1));
  }
  return hints;
}

MediaTokens::MediaTokens(const Params& params)
    : image_static_(IsMode(params, "estimate/image/mode", "dynamic", "static")),
      image_static_tokens_(Positive(params, "estimate/image/static/staticToken", 1)),
      image_factor_(Positive(params, "estimate/image/dynamic/factor", 1024)),
      image_width_(Positive(params, "estimate/image/defaultResolution/width", 640)),
      image_height_(Positive(params, "estimate/image/defaultResolution/height", 360)),
      frame_static_(IsMode(params, "estimate/video/tokensPerFrame/mode", "dynamic", "static")),
      frame_static_tokens_(
          Positive(params, "estimate/video/tokensPerFrame/static/numTokensPerFrame", 1)),
      frame_factor_(Positive(params, "estimate/video/tokensPerFrame/dynamic/factor", 1024)),
      strided_(IsMode(params, "estimate/video/frames/mode", "sampled", "strided")),
      frames_min_(Positive(params, "estimate/video/frames/minFrames", 0)),
      frames_max_(Positive(params, "estimate/video/frames/maxFrames", UINT32_MAX)),
      sample_fps_(PositiveNumber(params, "estimate/video/frames/sampled/sampleFPS", 2)),
      temporal_patch_size_(Positive(params, "estimate/video/frames/sampled/temporalPatchSize", 1)),
      source_fps_(PositiveNumber(params, "estimate/video/frames/strided/defaultSourceFPS", 24)),
      frame_stride_(Positive(params, "estimate/video/frames/strided/frameStride", 1)),
      video_width_(Positive(params, "estimate/video/defaultResolution/width", 640)),
      video_height_(Positive(params, "estimate/video/defaultResolution/height", 360)),
      duration_s_(PositiveNumber(params, "estimate/video/defaultDuration", 10)),
      video_tokens_max_(Positive(params, "estimate/video/maxVideoTokens", kMediaTokensMax)) {}

uint64_t MediaTokens::Image(std::string_view url) const noexcept {
  if (image_static_) return Bounded(image_static_tokens_);
  uint64_t width = image_width_;
  uint64_t height = image_height_;
  if (const auto size = ImageSizeOfDataUrl(url)) {
    width = size->width;
    height = size->height;
  }
  return Bounded(width * height / image_factor_);
}

uint64_t MediaTokens::Frames(const VideoHints& hints) const noexcept {
  const double duration_s = hints.duration_s > 0 ? hints.duration_s : duration_s_;
  const double source_fps = hints.source_fps > 0 ? hints.source_fps : source_fps_;
  const double fps = strided_ ? source_fps : sample_fps_;
  auto frames = static_cast<uint64_t>(std::min(duration_s * fps, kFramesMax));
  if (strided_) frames /= frame_stride_;
  frames = std::min(std::max(frames, frames_min_), frames_max_);
  return strided_ ? frames : frames / temporal_patch_size_;
}

uint64_t MediaTokens::TokensPerFrame(const VideoHints& hints) const noexcept {
  if (frame_static_) return Bounded(frame_static_tokens_);
  const bool hinted = hints.width > 0 && hints.height > 0;
  const uint64_t width = hinted ? hints.width : video_width_;
  const uint64_t height = hinted ? hints.height : video_height_;
  return Bounded(width * height / frame_factor_);
}

uint64_t MediaTokens::Video(const VideoHints& hints) const noexcept {
  return Bounded(std::min(Frames(hints) * TokensPerFrame(hints), video_tokens_max_));
}

uint64_t MediaTokens::Audio(std::string_view data) const noexcept {
  return Bounded((data.size() + 3) / 4);
}

}  // namespace weir_token_producer
