// Request bodies: any bytes give a request whose views hold, or an error for the client, and the
// same with and without readable bytes behind the body. The first byte picks the path; with its
// highest bit, a byte 1 of the rest stands for a long run of letters.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <vector>

#include "weir/request.h"

namespace {

using weir::Prompt;
using weir::PromptPart;
using weir::Request;

constexpr size_t kPaddingBytes = 64;
constexpr size_t kRunBytes = 8192;
constexpr size_t kBodyBytesMax = 1 << 20;
constexpr std::string_view kPaths[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                       "/v1/responses", "/v1/messages"};

void Require(bool condition) {
  if (!condition) std::abort();
}

// Reads each byte that a view names, so that a sanitizer sees a view that left its storage.
uint64_t Touch(std::string_view bytes) {
  uint64_t sum = bytes.size();
  for (const char c : bytes) sum = sum * 31 + static_cast<unsigned char>(c);
  return sum;
}

void CheckViews(const Request& request) {
  uint64_t sum = Touch(request.model) + Touch(request.cache_salt);
  uint64_t part_count = 0, token_count = 0;
  for (const Prompt& prompt : request.prompts) {
    part_count += prompt.parts.size();
    token_count += prompt.tokens.size();
    for (const PromptPart& part : prompt.parts) sum += Touch(part.bytes);
    for (const uint32_t token : prompt.tokens) sum += token;
  }
  volatile const uint64_t used = sum;
  (void)used;
  Require(request.prompts.size() <= weir::kPromptsMax);
  Require(part_count <= request.size_bytes + 1 && token_count <= request.size_bytes);
  Require(!request.max_output_tokens || *request.max_output_tokens >= 0);
}

bool SameMeaning(const Request& a, const Request& b) {
  if (a.api != b.api || a.model != b.model || a.cache_salt != b.cache_salt ||
      a.stream != b.stream || a.include_usage != b.include_usage ||
      a.max_output_tokens != b.max_output_tokens || a.size_bytes != b.size_bytes ||
      a.prompts.size() != b.prompts.size()) {
    return false;
  }
  for (size_t i = 0; i < a.prompts.size(); ++i) {
    const Prompt& left = a.prompts[i];
    const Prompt& right = b.prompts[i];
    if (left.parts.size() != right.parts.size() || left.tokens.size() != right.tokens.size() ||
        !std::equal(left.tokens.begin(), left.tokens.end(), right.tokens.begin())) {
      return false;
    }
    for (size_t part = 0; part < left.parts.size(); ++part) {
      if (left.parts[part].kind != right.parts[part].kind ||
          left.parts[part].bytes != right.parts[part].bytes) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view path = kPaths[data[0] % std::size(kPaths)];
  std::vector<char> body;
  for (size_t i = 1; i < size && body.size() < kBodyBytesMax; ++i) {
    const bool is_run = data[i] == 1 && (data[0] & 0x80) != 0;
    body.insert(body.end(), is_run ? kRunBytes : 1, is_run ? 'k' : static_cast<char>(data[i]));
  }
  body.shrink_to_fit();  // reads behind the body are errors
  const std::string_view text(body.data(), body.size());

  // Reused from input to input, as a worker reuses its own.
  static auto* const parser = new weir::RequestParser;
  static auto* const padded_parser = new weir::RequestParser;
  Request request;
  const absl::Status status = parser->Parse(path, text, &request);
  if (status.ok()) CheckViews(request);

  // What lies behind a body in a connection's buffer is the next request, never zeros.
  std::vector<char> padded(text.size() + kPaddingBytes, '"');
  std::copy(text.begin(), text.end(), padded.begin());
  Request again;
  const absl::Status padded_status =
      padded_parser->Parse(path, {padded.data(), text.size()}, &again, kPaddingBytes);
  Require(status.code() == padded_status.code());
  if (!status.ok()) {
    Require(!status.message().empty());
    return 0;
  }
  CheckViews(again);
  Require(SameMeaning(request, again));
  return 0;
}
