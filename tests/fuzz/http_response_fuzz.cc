// Response heads followed by chunked bodies: splitting the bytes never changes the answer.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "weir/io/http/chunk.h"
#include "weir/io/http/head.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

struct Body {
  std::string data;
  size_t used = 0;
  bool done = false;
  weir::io::ChunkError error = weir::io::ChunkError::kNone;
};

Body Dechunk(std::string_view text, size_t step) {
  weir::io::ChunkScanner scanner;
  Body body;
  while (!text.empty() && !scanner.done() && scanner.error() == weir::io::ChunkError::kNone) {
    std::string_view piece = text.substr(0, step);
    const size_t before = piece.size();
    for (auto data = scanner.Next(piece); !data.empty(); data = scanner.Next(piece))
      body.data += data;
    body.used += before - piece.size();
    text.remove_prefix(before);
  }
  body.done = scanner.done();
  body.error = scanner.error();
  return body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir::io;
  if (size == 0) return 0;
  const size_t step = data[0] % 7 + 1;
  const Method method = (data[0] & 0x80) != 0 ? Method::kHead : Method::kPost;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  static ResponseHead head;
  HeadCursor cursor;
  std::string_view body_text = text;
  if (ParseResponseHead(text, method, cursor, head) == HeadError::kNone) {
    Require(head.size_bytes <= text.size() && head.status >= 100 && head.status <= 599);
    body_text.remove_prefix(head.size_bytes);
    if (head.framing != BodyFraming::kChunked) return 0;
  }
  const Body whole = Dechunk(body_text, body_text.size() + 1);
  const Body stepped = Dechunk(body_text, step);
  Require(whole.data == stepped.data && whole.used == stepped.used);
  Require(whole.done == stepped.done && whole.error == stepped.error);
  ChunkScanner raw;
  Require(raw.Skip(body_text) == whole.used && raw.done() == whole.done);
  return 0;
}
