// image_size.h: the pixels of an image in a data URL, from its first bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir_token_producer {

struct ImageSize {
  uint32_t width;
  uint32_t height;
};

// How far into a JPEG its frame header is looked for: beyond the largest EXIF block, with room for
// a colour profile.
inline constexpr uint64_t kImageHeaderBytesMax = 1u << 20;

// Width and height of a PNG, GIF or JPEG in a URL "data:image/...;base64,...", nothing for any
// other text, a broken header or an empty picture. Decodes only the bytes it looks at; reads
// nothing outside `url`. No allocation. [hot, concurrent]
std::optional<ImageSize> ImageSizeOfDataUrl(std::string_view url) noexcept;

}  // namespace weir_token_producer
