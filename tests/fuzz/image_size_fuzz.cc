// The image header reader of token-producer: reads nothing outside its input, always ends.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "image_size.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const std::string& url : {std::string(bytes), "data:image/x;base64," + std::string(bytes)}) {
    const auto image = weir_token_producer::ImageSizeOfDataUrl(url);
    if (image.has_value() && (image->width == 0 || image->height == 0)) std::abort();
  }
  return 0;
}
