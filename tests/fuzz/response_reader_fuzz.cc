// Responses of every format: splitting the bytes changes neither what is learnt nor what the filter
// of models' names writes. The first byte picks the format, the second the size of the pieces.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "weir/response_model.h"
#include "weir/response_reader.h"

namespace {

constexpr uint32_t kFormats = 7;

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto format = static_cast<weir::ResponseFormat>(data[0] % kFormats);
  const size_t step = data[1] % 31 + 1;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  weir::ResponseReader whole(format), stepped(format);
  weir::ResponseModelFilter whole_filter, stepped_filter;
  whole_filter.Start("m", "another-model");
  stepped_filter.Start("m", "another-model");
  std::string whole_out, stepped_out;
  whole.Feed(text);
  whole_filter.Feed(text, true, &whole_out);
  for (size_t at = 0; at < text.size(); at += step) {
    const std::string_view piece = text.substr(at, step);
    stepped.Feed(piece);
    stepped_filter.Feed(piece, false, &stepped_out);
    Require(stepped_out.size() + weir::ResponseModelFilter::kHeldBytesMax + 16 >= at);
  }
  stepped_filter.Feed({}, true, &stepped_out);
  Require(whole.usage() == stepped.usage());
  Require(whole.events() == stepped.events());
  Require(whole_out == stepped_out);
  Require(whole_out.size() >= text.size());
  return 0;
}
