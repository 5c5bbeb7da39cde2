#include "ext_proc_load/script.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "ext_proc_load/message.h"
#include "load/text.h"

namespace weir::bench {
namespace {

constexpr size_t kTurnBytes = 4096;     // of a long conversation
constexpr size_t kWordBytes = 4;        // at least, with its space
constexpr uint32_t kWordsPerLine = 12;  // then an escaped line break, as prompts have them
constexpr size_t kLastTurnBytesMax = 512;
constexpr char kDigits[] = "0123456789abcdef";

std::array<char, kUniqueBytes> Digits(uint64_t value) {
  std::array<char, kUniqueBytes> digits;
  for (size_t i = 0; i < kUniqueBytes; ++i) digits[i] = kDigits[value >> (60 - 4 * i) & 15];
  return digits;
}

// Exactly `bytes` of text that can stand in a JSON string.
std::string Text(uint64_t seed, size_t bytes) {
  std::string text;
  for (uint64_t line = 0; text.size() < bytes; ++line) {
    weir::load::AppendWords(weir::load::MixSeed(seed, line), kWordsPerLine, text);
    text += "\\n";
  }
  text.resize(bytes);
  if (bytes > 0 && text.back() == '\\') text.back() = '.';
  return text;
}

// A body of exactly options.body_bytes, or a longer one if that is too little.
Wire MakeBody(const ScriptOptions& options, uint64_t number) {
  const std::string unique(kUniqueBytes, '0');
  std::string head =
      absl::StrCat("{\"model\":\"", options.model,
                   "\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                   "\"max_tokens\":256,\"messages\":[{\"role\":\"system\",\"content\":\"");
  size_t unique_offset = head.size();
  if (options.distinct) head += unique;
  const std::string first_turn = "\"},{\"role\":\"user\",\"content\":\"";
  const std::string answer = "\"},{\"role\":\"assistant\",\"content\":\"";
  const std::string tail = "\"}]}";
  const size_t fixed = head.size() + first_turn.size() + kUniqueBytes + tail.size();
  const size_t text_bytes = options.body_bytes > fixed ? options.body_bytes - fixed : 0;
  const size_t system_bytes = text_bytes / 4;
  const size_t last_bytes = std::min(text_bytes / 4, kLastTurnBytesMax);

  std::string body = head + Text(1, system_bytes) + first_turn;
  // Turns of user and assistant in alternation; the last one, longer by what is left, is the
  // user's.
  size_t rest = text_bytes - system_bytes - last_bytes;
  bool is_user = true;
  for (uint64_t turn = 0; rest > 2 * kTurnBytes; ++turn) {
    body += Text(weir::load::MixSeed(2 + number, turn), kTurnBytes);
    is_user = !is_user;
    const std::string& mark = is_user ? first_turn : answer;
    body += mark;
    rest -= kTurnBytes + mark.size();
  }
  if (!is_user) {
    body += Text(weir::load::MixSeed(2 + number, 1u << 30), rest / 2) + first_turn;
    rest -= rest / 2 + first_turn.size();
  }
  body += Text(weir::load::MixSeed(2 + number, 1u << 31), rest);
  if (!options.distinct) {
    unique_offset = body.size();
    body += unique;
  } else {
    body.append(kUniqueBytes, '.');
  }
  body += Text(3, last_bytes) + tail;
  return {std::move(body), unique_offset};
}

// The body cut into messages, of which one holds all digits.
Wire MakeBodyWire(const Wire& whole) {
  const std::string_view body = whole.bytes;
  const size_t unique = whole.unique_offset;
  Wire wire;
  size_t at = 0;
  do {
    size_t size = std::min(kBodyChunkBytes, body.size() - at);
    if (unique < at + size && unique + kUniqueBytes > at + size) size = unique - at;
    const bool last = at + size == body.size();
    AppendBody(Phase::kRequest, body.substr(at, size), last, wire.bytes);
    if (unique >= at && unique < at + size) {
      const size_t after = size - (unique - at) + (last ? 2 : 0);  // end_of_stream follows the body
      wire.unique_offset = wire.bytes.size() - after;
    }
    at += size;
  } while (at < body.size());
  return wire;
}

Wire MakeRequestHeaders(size_t body_bytes) {
  const std::string content_length = absl::StrCat(body_bytes);
  const std::string id_end = "-4b1d-9f00d5a7e6c1";
  const std::string id = absl::StrCat(std::string(kUniqueBytes, '0'), id_end);
  const Header headers[] = {
      {":authority", "llm.example.com"},
      {":path", "/v1/chat/completions"},
      {":method", "POST"},
      {":scheme", "https"},
      {"accept", "application/json"},
      {"accept-encoding", "gzip, deflate, zstd"},
      {"authorization", "Bearer sk-proj-1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f"},
      {"content-type", "application/json"},
      {"user-agent", "OpenAI/Python 1.99.1"},
      {"x-stainless-arch", "x64"},
      {"x-stainless-async", "async:asyncio"},
      {"x-stainless-lang", "python"},
      {"x-stainless-os", "Linux"},
      {"x-stainless-package-version", "1.99.1"},
      {"x-stainless-read-timeout", "600"},
      {"x-stainless-retry-count", "0"},
      {"x-stainless-runtime", "CPython"},
      {"x-stainless-runtime-version", "3.12.3"},
      {"content-length", content_length},
      {"x-forwarded-for", "10.128.0.17"},
      {"x-forwarded-proto", "https"},
      {"x-envoy-internal", "true"},
      {"x-request-id", id},
  };
  Wire wire;
  AppendHeaders(Phase::kRequest, headers, false, wire.bytes);
  wire.unique_offset = wire.bytes.find(id);
  return wire;
}

Wire MakeResponseHeaders() {
  const Header headers[] = {
      {":status", "200"},
      {"date", "Sat, 21 Nov 2026 12:00:00 GMT"},
      {"server", "uvicorn"},
      {"content-type", "text/event-stream; charset=utf-8"},
      {"x-envoy-upstream-service-time", "42"},
  };
  Wire wire;
  AppendHeaders(Phase::kResponse, headers, false, wire.bytes);
  return wire;
}

std::string EventText(const ScriptOptions& options, uint32_t index) {
  const std::string head = absl::StrCat(
      "data: {\"id\":\"chatcmpl-6f1c2d3e4b5a69788796a5b4c3d2e1f0\",\"object\":"
      "\"chat.completion.chunk\",\"created\":1795262400,\"model\":\"",
      options.model, "\",\"choices\":[");
  if (index + 1 < options.events) {
    return head +
           "{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,"
           "\"finish_reason\":null}]}\n\n";
  }
  const size_t prompt_tokens = options.body_bytes / kWordBytes;
  return absl::StrCat(head, "],\"usage\":{\"prompt_tokens\":", prompt_tokens,
                      ",\"total_tokens\":", prompt_tokens + options.events,
                      ",\"completion_tokens\":", options.events,
                      ",\"prompt_tokens_details\":{\"cached_tokens\":", prompt_tokens / 2,
                      "}}}\n\ndata: [DONE]\n\n");
}

}  // namespace

void Wire::Copy(size_t from, size_t size, uint64_t unique, char* out) const noexcept {
  std::memcpy(out, bytes.data() + from, size);
  if (unique_offset == kNone) return;
  const std::array<char, kUniqueBytes> digits = Digits(unique);
  const size_t begin = std::max(from, unique_offset);
  const size_t end = std::min(from + size, unique_offset + kUniqueBytes);
  if (begin < end) {
    std::memcpy(out + (begin - from), digits.data() + (begin - unique_offset), end - begin);
  }
}

absl::StatusOr<Script> Script::Make(const ScriptOptions& options) {
  Script script;
  if (options.body_bytes > kPromptBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--body-bytes: ", options.body_bytes, ", expected at most ", kPromptBytesMax));
  }
  if (options.events < 1 || options.events > kEventsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--events: ", options.events, ", expected 1..", kEventsMax));
  }
  const size_t held = std::max<size_t>(1, kPromptsHeldBytesMax / (2 * options.body_bytes + 1));
  const size_t count = std::clamp<size_t>(options.conversations, 1, held);
  for (size_t i = 0; i < count; ++i) {
    Wire body = MakeBody(options, i);
    if (body.bytes.size() != options.body_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("--body-bytes: ", options.body_bytes,
                                                     ", expected at least ", body.bytes.size(),
                                                     " for a request"));
    }
    Wire wire = MakeBodyWire(body);
    script.conversations.push_back({std::move(body), std::move(wire)});
  }
  script.body_bytes = options.body_bytes;
  script.request_headers = MakeRequestHeaders(options.body_bytes);
  script.response_headers = MakeResponseHeaders();
  for (uint32_t i = 0; i < options.events; ++i) {
    const std::string text = EventText(options, i);
    script.events.emplace_back();
    AppendBody(Phase::kResponse, text, i + 1 == options.events, script.events.back().bytes);
    script.event_bytes.push_back(text.size());
  }
  return script;
}

}  // namespace weir::bench
