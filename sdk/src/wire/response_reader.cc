// ResponseReader: JSON and event streams. The gRPC formats are in response_frames.cc.
#include "weir/response_reader.h"

#include <algorithm>
#include <cstring>

namespace weir {
namespace {

constexpr uint64_t kTokensMax = 1ull << 53;  // what a JSON number carries exactly
constexpr uint8_t kDepthMax = 16;            // of objects in a usage object
constexpr size_t kKeyBytesMax = 11;          // "meta_info" with its quotes
constexpr std::string_view kDataName = "data:";
constexpr std::string_view kDone = "[DONE]";

bool IsJsonSpace(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

ResponseReader::ResponseReader(ResponseFormat format) noexcept : format_(format) {}

std::string_view ResponseReader::usage_key() const noexcept {
  return format_ == ResponseFormat::kSglang ? "\"meta_info\"" : "\"usage\"";
}

void ResponseReader::Feed(std::string_view bytes) noexcept {
  switch (format_) {
    case ResponseFormat::kNone:
      return;
    case ResponseFormat::kOpenAi:
    case ResponseFormat::kAnthropic:
    case ResponseFormat::kSglang:
      CountLines(bytes);
      FeedJson(bytes);
      return;
    case ResponseFormat::kVllmGenerate:
    case ResponseFormat::kVllmEmbed:
    case ResponseFormat::kVertex:
      FeedFrames(bytes);
      return;
  }
}

// A report that is complete becomes part of what is known.
void ResponseReader::Merge() noexcept {
  const auto take = [](const std::optional<uint64_t>& from, std::optional<uint64_t>* to) {
    if (from.value_or(0) != 0 || (from && !*to)) *to = from;
  };
  take(draft_.prompt_tokens, &usage_.prompt_tokens);
  take(draft_.completion_tokens, &usage_.completion_tokens);
  if (draft_.cached_tokens) usage_.cached_tokens = draft_.cached_tokens;
  if (draft_.prompt_tokens.value_or(0) != 0 && draft_.completion_tokens.value_or(0) != 0 &&
      draft_.total_tokens.value_or(0) != 0) {
    usage_.total_tokens = draft_.total_tokens;
  } else if (usage_.prompt_tokens || usage_.completion_tokens) {
    usage_.total_tokens = usage_.prompt_tokens.value_or(0) + usage_.completion_tokens.value_or(0);
  }
  draft_ = {};
}

void ResponseReader::CountLines(std::string_view bytes) noexcept {
  using State = LineScan::State;
  const auto rest = [&] { line_ = {.state = State::kRest}; };
  while (!bytes.empty()) {
    if (line_.state == State::kRest) {
      const size_t feed = bytes.find('\n');
      if (feed == std::string_view::npos) return;
      bytes.remove_prefix(feed + 1);
      line_ = {};
      continue;
    }
    const char c = bytes.front();
    bytes.remove_prefix(1);
    if (c == '\n') {  // the line ends before it is clear that it is "[DONE]": then it is not
      if (line_.state != State::kName) ++events_;
      line_ = {};
      continue;
    }
    switch (line_.state) {
      case State::kName:
        if (c != kDataName[line_.matched]) {
          rest();
        } else if (++line_.matched == kDataName.size()) {
          line_ = {.state = State::kSpace};
        }
        break;
      case State::kSpace:
        line_.state = State::kData;
        if (c == ' ') break;
        [[fallthrough]];
      case State::kData:
        if (c != kDone[line_.matched]) {
          ++events_;
          rest();
        } else if (++line_.matched == kDone.size()) {
          rest();
        }
        break;
      case State::kRest:
        break;
    }
  }
}

void ResponseReader::FeedJson(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    if (json_.state == JsonScan::State::kSearch) {
      bytes.remove_prefix(SearchKey(bytes));
    } else {
      StepJson(bytes.front());
      bytes.remove_prefix(1);
    }
  }
}

// Returns how many bytes were used: all of them, or up to and including the key.
size_t ResponseReader::SearchKey(std::string_view bytes) noexcept {
  const std::string_view key = usage_key();
  // The key may have begun in earlier bytes: text keeps the last ones, shorter than the key.
  if (json_.text_size > 0) {
    char seam[2 * kKeyBytesMax];
    std::memcpy(seam, json_.text, json_.text_size);
    const size_t head = std::min(bytes.size(), key.size() - 1);
    std::memcpy(seam + json_.text_size, bytes.data(), head);
    const std::string_view joined(seam, json_.text_size + head);
    const size_t at = joined.find(key);
    if (at != std::string_view::npos) {
      const size_t used = at + key.size() - json_.text_size;
      json_.text_size = 0;
      json_.state = JsonScan::State::kColon;
      return used;
    }
    if (bytes.size() < key.size() - 1) {
      const std::string_view tail =
          joined.substr(joined.size() - std::min(joined.size(), key.size() - 1));
      std::memmove(json_.text, tail.data(), tail.size());
      json_.text_size = static_cast<uint8_t>(tail.size());
      return bytes.size();
    }
  }
  const void* at = memmem(bytes.data(), bytes.size(), key.data(), key.size());
  if (at != nullptr) {
    json_.text_size = 0;
    json_.state = JsonScan::State::kColon;
    return static_cast<size_t>(static_cast<const char*>(at) - bytes.data()) + key.size();
  }
  const std::string_view tail = bytes.substr(bytes.size() - std::min(bytes.size(), key.size() - 1));
  std::memcpy(json_.text, tail.data(), tail.size());
  json_.text_size = static_cast<uint8_t>(tail.size());
  return bytes.size();
}

void ResponseReader::EndNumber(bool valid) noexcept {
  using Key = JsonScan::Key;
  if (valid && json_.is_value && json_.depth == 1) {
    if (json_.key == Key::kPrompt) draft_.prompt_tokens = json_.number;
    if (json_.key == Key::kCompletion) draft_.completion_tokens = json_.number;
    if (json_.key == Key::kTotal) draft_.total_tokens = json_.number;
    if (json_.key == Key::kCacheRead) draft_.cached_tokens = json_.number;
  }
  // SGLang has no details object.
  const uint8_t cached_depth = format_ == ResponseFormat::kSglang ? 1 : 2;
  if (valid && json_.is_value && json_.key == Key::kCached && json_.depth == cached_depth &&
      (cached_depth == 1 || json_.details_depth == 2)) {
    draft_.cached_tokens = json_.number;
  }
  json_.is_value = false;
}

void ResponseReader::EndString() noexcept {
  using Key = JsonScan::Key;
  json_.state = JsonScan::State::kObject;
  const std::string_view text(json_.text,
                              std::min<size_t>(json_.text_size, JsonScan::kTextBytesMax));
  if (json_.is_value) {  // some servers send counts as numeric strings
    json_.number = 0;
    bool digits = json_.text_size > 0 && json_.text_size <= 15;
    for (const char c : text) {
      if (c < '0' || c > '9') digits = false;
      json_.number = json_.number * 10 + static_cast<uint64_t>(c - '0');
    }
    return EndNumber(digits);
  }
  json_.key = Key::kOther;
  if (json_.text_size > JsonScan::kTextBytesMax) return;
  if (text == "prompt_tokens" || text == "input_tokens") json_.key = Key::kPrompt;
  if (text == "completion_tokens" || text == "output_tokens") json_.key = Key::kCompletion;
  if (text == "total_tokens") json_.key = Key::kTotal;
  if (text == "cached_tokens") json_.key = Key::kCached;
  if (text == "prompt_tokens_details" || text == "input_tokens_details") json_.key = Key::kDetails;
  if (text == "cache_read_input_tokens" && format_ == ResponseFormat::kAnthropic) {
    json_.key = Key::kCacheRead;
  }
}

void ResponseReader::CloseObject() noexcept {
  if (json_.details_depth == json_.depth) json_.details_depth = 0;
  json_.is_value = false;
  if (--json_.depth > 0) return;
  Merge();
  json_.text_size = 0;
  json_.state = JsonScan::State::kSearch;
}

void ResponseReader::StepObject(char c) noexcept {
  switch (c) {
    case '"':
      json_.text_size = 0;
      json_.state = JsonScan::State::kString;
      return;
    case ':':
      json_.is_value = true;
      return;
    case ',':
      json_.is_value = false;
      return;
    case '{':
    case '[':
      if (++json_.depth > kDepthMax) {
        json_.text_size = 0;
        json_.state = JsonScan::State::kSearch;
        return;
      }
      if (c == '{' && json_.depth == 2 && json_.is_value && json_.key == JsonScan::Key::kDetails) {
        json_.details_depth = 2;
      }
      json_.is_value = false;
      return;
    case '}':
    case ']':
      return CloseObject();
    default:
      if (json_.is_value && c >= '0' && c <= '9') {
        json_.number = static_cast<uint64_t>(c - '0');
        json_.state = JsonScan::State::kNumber;
      } else if (!IsJsonSpace(c)) {
        json_.is_value = false;  // true, false, null, a negative number: not a count
      }
      return;
  }
}

void ResponseReader::StepJson(char c) noexcept {
  using State = JsonScan::State;
  switch (json_.state) {
    case State::kColon:
      if (c == ':') {
        json_.state = State::kOpen;
      } else if (!IsJsonSpace(c)) {
        json_.state = State::kSearch;
      }
      return;
    case State::kOpen:
      if (c == '{') {
        draft_ = {};
        json_ = {.depth = 1, .state = State::kObject};
      } else if (!IsJsonSpace(c)) {
        json_.state = State::kSearch;
      }
      return;
    case State::kObject:
      return StepObject(c);
    case State::kString:
      if (c == '"') return EndString();
      if (c == '\\') json_.state = State::kEscape;
      if (json_.text_size < JsonScan::kTextBytesMax) json_.text[json_.text_size] = c;
      if (json_.text_size <= JsonScan::kTextBytesMax) ++json_.text_size;
      return;
    case State::kEscape:
      json_.state = State::kString;
      return;
    case State::kNumber:
      if (c >= '0' && c <= '9') {
        json_.number = std::min(json_.number * 10 + static_cast<uint64_t>(c - '0'), kTokensMax);
        return;
      }
      json_.state = State::kObject;
      EndNumber(c == ',' || c == '}' || IsJsonSpace(c));
      return StepObject(c);
    case State::kSearch:
      return;
  }
}

}  // namespace weir
