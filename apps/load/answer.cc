#include "load/answer.h"

#include <algorithm>

#include "load/source.h"

namespace weir::load {
namespace {

size_t SkipSpace(std::string_view text, size_t at) noexcept {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
  return at;
}

// Offset after `"key" :` and spaces, of its next occurrence from `at` on; npos if there is none.
// A key within a string has an escaped quote before its colon, so it cannot be taken for one.
size_t FindValue(std::string_view json, std::string_view quoted_key, size_t at) noexcept {
  while ((at = json.find(quoted_key, at)) != std::string_view::npos) {
    at = SkipSpace(json, at + quoted_key.size());
    if (at < json.size() && json[at] == ':') return SkipSpace(json, at + 1);
  }
  return std::string_view::npos;
}

// The inside of the string that opens at json[at], or empty if it does not end.
std::string_view StringAt(std::string_view json, size_t at) noexcept {
  const size_t begin = at + 1;
  for (size_t i = begin; i < json.size(); ++i) {
    if (json[i] == '\\') {
      ++i;
    } else if (json[i] == '"') {
      return json.substr(begin, i - begin);
    }
  }
  return {};
}

}  // namespace

std::string_view FindAnswerText(std::string_view json) noexcept {
  for (const std::string_view key : {"\"content\"", "\"text\"", "\"reasoning_content\""}) {
    for (size_t at = FindValue(json, key, 0); at != std::string_view::npos;
         at = FindValue(json, key, at)) {
      if (at >= json.size() || json[at] != '"') continue;
      const std::string_view found = StringAt(json, at);
      if (!found.empty()) return found;
    }
  }
  return {};
}

void AnswerScanner::Start(bool streaming, bool keep_text) {
  streaming_ = streaming;
  keep_text_ = keep_text;
  done_seen_ = error_seen_ = too_long_ = false;
  partial_.clear();
  text_.clear();
}

bool AnswerScanner::ReadPayload(std::string_view json) {
  const std::string_view found = FindAnswerText(json);
  if (!found.empty()) {
    if (keep_text_ && text_.size() + found.size() <= kAnswerBytesMax) {
      const size_t from = text_.size();
      text_ += found;
      // Raw control bytes are not JSON; they must not reach the next request.
      std::replace_if(
          text_.begin() + static_cast<ptrdiff_t>(from), text_.end(),
          [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    }
    return true;
  }
  if (FindValue(json, "\"tool_calls\"", 0) != std::string_view::npos) return true;
  const size_t error = FindValue(json, "\"error\"", 0);
  if (error < json.size() && (json[error] == '{' || json[error] == '"')) error_seen_ = true;
  return false;
}

uint32_t AnswerScanner::ReadLine(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line.substr(0, 5) != "data:") return 0;
  line.remove_prefix(SkipSpace(line, 5));
  if (line.substr(0, 6) == "[DONE]") {
    done_seen_ = true;
    return 0;
  }
  return ReadPayload(line) ? 1 : 0;
}

uint32_t AnswerScanner::Feed(std::string_view bytes) {
  uint32_t events = 0;
  if (streaming_) {
    for (size_t end; (end = bytes.find('\n')) != std::string_view::npos;) {
      if (partial_.empty()) {
        events += ReadLine(bytes.substr(0, end));
      } else {
        partial_ += bytes.substr(0, end);
        events += ReadLine(partial_);
        partial_.clear();
      }
      bytes.remove_prefix(end + 1);
    }
  }
  const size_t limit = streaming_ ? kEventLineBytesMax : 8 * kEventLineBytesMax;
  if (partial_.size() + bytes.size() > limit) {
    too_long_ = true;
    partial_.clear();
    return events;
  }
  partial_ += bytes;
  return events;
}

void AnswerScanner::End() {
  if (streaming_) {
    if (!partial_.empty()) ReadLine(partial_);
  } else {
    ReadPayload(partial_);
    done_seen_ = !error_seen_ && !too_long_;
  }
  partial_.clear();
}

}  // namespace weir::load
