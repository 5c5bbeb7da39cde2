// Request heads: any bytes, in one piece and split, give one answer and stay in bounds; what is
// accepted can be written again and read back to the same meaning.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "weir/io/http/head.h"
#include "weir/io/http/head_writer.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir::io;
  if (size == 0) return 0;
  const size_t split = data[0] % size;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  static RequestHead whole, stepped;
  HeadCursor cursor, steps;
  const HeadError error = ParseRequestHead(text, cursor, whole);
  HeadError split_error = ParseRequestHead(text.substr(0, split), steps, stepped);
  if (split_error == HeadError::kIncomplete) split_error = ParseRequestHead(text, steps, stepped);
  Require(error == HeadError::kIncomplete || error == split_error);
  Require(!HeadErrorText(error).empty());
  if (error != HeadError::kNone) return 0;
  Require(whole.size_bytes <= text.size() && whole.header_count <= kHeadersMax);

  std::string out(whole.size_bytes + 64, '\0');
  HeadWriter writer(out.data(), out.size());
  writer.RequestLine(whole.method, whole.path_and_query);
  writer.CopyHeaders(whole, {.framing = true});
  writer.End();
  Require(!writer.overflow());
  out.resize(writer.size_bytes());
  HeadCursor again;
  const HeadError copy_error = ParseRequestHead(out, again, stepped);
  // A 1.0 request without Host becomes a 1.1 head without one: the relay adds it.
  if (copy_error == HeadError::kMissingHost) return 0;
  Require(copy_error == HeadError::kNone);
  Require(stepped.framing == whole.framing && stepped.content_length == whole.content_length);
  Require(stepped.hop_name_count == 0 && !stepped.expect_continue);
  return 0;
}
