#include "weir/io/http/sse.h"

#include <algorithm>
#include <cstring>

namespace weir::io {
namespace {

constexpr std::string_view kUsageKey = "\"usage\"";
constexpr uint64_t kTokensMax = 1ull << 53;  // what a JSON number carries exactly

bool IsJsonSpace(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

void SseScanner::EndLine() noexcept {
  const std::string_view prefix(prefix_, prefix_size_);
  if (prefix.empty()) {
    if (has_data_) ++data_events_;
    has_data_ = false;
  } else if (prefix.substr(0, 4) == "data" && (prefix.size() == 4 || prefix[4] == ':')) {
    std::string_view value = prefix.substr(std::min<size_t>(prefix.size(), 5));
    if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (value.substr(0, 6) == "[DONE]") {
      done_seen_ = true;
    } else {
      has_data_ = true;
    }
  }
  prefix_size_ = 0;
}

uint32_t SseScanner::Feed(std::string_view bytes) noexcept {
  const uint64_t before = data_events_;
  while (!bytes.empty()) {
    if (after_return_ && bytes.front() == '\n') bytes.remove_prefix(1);
    after_return_ = false;
    if (bytes.empty()) break;
    const size_t feed = bytes.find('\n');
    const size_t end = std::min(bytes.substr(0, feed).find('\r'), feed);
    const std::string_view line = bytes.substr(0, end);
    const size_t take = std::min<size_t>(line.size(), kPrefixBytes - prefix_size_);
    std::memcpy(prefix_ + prefix_size_, line.data(), take);
    prefix_size_ = static_cast<uint8_t>(prefix_size_ + take);
    if (end == std::string_view::npos) break;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    EndLine();
  }
  return static_cast<uint32_t>(data_events_ - before);
}

// Returns how many bytes were used: all of them, or up to and including the key.
size_t UsageScanner::Search(std::string_view bytes) noexcept {
  // The key may have begun in earlier bytes: text_ keeps the last ones, shorter than the key.
  if (text_size_ > 0) {
    char seam[2 * kUsageKey.size()];
    std::memcpy(seam, text_, text_size_);
    const size_t head = std::min(bytes.size(), kUsageKey.size() - 1);
    std::memcpy(seam + text_size_, bytes.data(), head);
    const std::string_view joined(seam, text_size_ + head);
    const size_t at = joined.find(kUsageKey);
    if (at != std::string_view::npos) {
      const size_t used = at + kUsageKey.size() - text_size_;
      text_size_ = 0;
      state_ = State::kColon;
      return used;
    }
    if (bytes.size() < kUsageKey.size() - 1) {
      const std::string_view tail =
          joined.substr(joined.size() - std::min(joined.size(), kUsageKey.size() - 1));
      std::memmove(text_, tail.data(), tail.size());
      text_size_ = static_cast<uint8_t>(tail.size());
      return bytes.size();
    }
  }
  const void* at = memmem(bytes.data(), bytes.size(), kUsageKey.data(), kUsageKey.size());
  if (at != nullptr) {
    text_size_ = 0;
    state_ = State::kColon;
    return static_cast<size_t>(static_cast<const char*>(at) - bytes.data()) + kUsageKey.size();
  }
  const std::string_view tail =
      bytes.substr(bytes.size() - std::min(bytes.size(), kUsageKey.size() - 1));
  std::memcpy(text_, tail.data(), tail.size());
  text_size_ = static_cast<uint8_t>(tail.size());
  return bytes.size();
}

void UsageScanner::EndNumber(bool valid) noexcept {
  if (valid && is_value_) {
    const bool top = depth_ == 1;
    if (key_ == Key::kPrompt && top) draft_.prompt_tokens = number_;
    if (key_ == Key::kCompletion && top) draft_.completion_tokens = number_;
    if (key_ == Key::kCached && depth_ == 2 && details_depth_ == 2) draft_.cached_tokens = number_;
  }
  is_value_ = false;
}

void UsageScanner::EndString() noexcept {
  state_ = State::kObject;
  const std::string_view text(text_, std::min<size_t>(text_size_, kTextBytesMax));
  if (is_value_) {  // some servers send counts as numeric strings
    number_ = 0;
    bool digits = text_size_ > 0 && text_size_ <= 15;
    for (const char c : text) {
      if (c < '0' || c > '9') digits = false;
      number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
    }
    return EndNumber(digits);
  }
  key_ = Key::kOther;
  if (text_size_ > kTextBytesMax) return;
  if (text == "prompt_tokens" || text == "input_tokens") key_ = Key::kPrompt;
  if (text == "completion_tokens" || text == "output_tokens") key_ = Key::kCompletion;
  if (text == "cached_tokens") key_ = Key::kCached;
  if (text == "prompt_tokens_details" || text == "input_tokens_details") key_ = Key::kDetails;
}

void UsageScanner::CloseObject() noexcept {
  if (details_depth_ == depth_) details_depth_ = 0;
  is_value_ = false;
  if (--depth_ > 0) return;
  usage_ = draft_;
  found_ = true;
  text_size_ = 0;
  state_ = State::kSearch;
}

void UsageScanner::StepObject(char c) noexcept {
  switch (c) {
    case '"':
      text_size_ = 0;
      state_ = State::kString;
      return;
    case ':':
      is_value_ = true;
      return;
    case ',':
      is_value_ = false;
      return;
    case '{':
    case '[':
      if (++depth_ > kDepthMax) {
        text_size_ = 0;
        state_ = State::kSearch;
        return;
      }
      if (c == '{' && depth_ == 2 && is_value_ && key_ == Key::kDetails) details_depth_ = 2;
      is_value_ = false;
      return;
    case '}':
    case ']':
      return CloseObject();
    default:
      if (is_value_ && c >= '0' && c <= '9') {
        number_ = static_cast<uint64_t>(c - '0');
        state_ = State::kNumber;
      } else if (!IsJsonSpace(c)) {
        is_value_ = false;  // true, false, null, a negative number: not a count
      }
      return;
  }
}

void UsageScanner::Step(char c) noexcept {
  switch (state_) {
    case State::kColon:
      if (c == ':') {
        state_ = State::kOpen;
      } else if (!IsJsonSpace(c)) {
        state_ = State::kSearch;
      }
      return;
    case State::kOpen:
      if (c == '{') {
        draft_ = {};
        depth_ = 1;
        details_depth_ = 0;
        key_ = Key::kOther;
        is_value_ = false;
        state_ = State::kObject;
      } else if (!IsJsonSpace(c)) {
        state_ = State::kSearch;
      }
      return;
    case State::kObject:
      return StepObject(c);
    case State::kString:
      if (c == '"') return EndString();
      if (c == '\\') state_ = State::kEscape;
      if (text_size_ < kTextBytesMax) text_[text_size_] = c;
      if (text_size_ <= kTextBytesMax) ++text_size_;
      return;
    case State::kEscape:
      state_ = State::kString;
      return;
    case State::kNumber:
      if (c >= '0' && c <= '9') {
        number_ = std::min(number_ * 10 + static_cast<uint64_t>(c - '0'), kTokensMax);
        return;
      }
      state_ = State::kObject;
      EndNumber(c == ',' || c == '}' || IsJsonSpace(c));
      return StepObject(c);
    case State::kSearch:
      return;
  }
}

void UsageScanner::Feed(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    if (state_ == State::kSearch) {
      bytes.remove_prefix(Search(bytes));
    } else {
      Step(bytes.front());
      bytes.remove_prefix(1);
    }
  }
}

}  // namespace weir::io
