#include "weir/io/scrape/exposition.h"

#include <charconv>
#include <cstring>

namespace weir::io {
namespace {

constexpr bool IsBlank(char c) noexcept { return c == ' ' || c == '\t'; }

void SkipBlanks(std::string_view& text) noexcept {
  size_t skip = 0;
  while (skip < text.size() && IsBlank(text[skip])) ++skip;
  text.remove_prefix(skip);
}

std::string_view TakeName(std::string_view& text) noexcept {
  size_t size = 0;
  while (size < text.size() && IsMetricNameByte(text[size])) ++size;
  const std::string_view name = text.substr(0, size);
  text.remove_prefix(size);
  return name;
}

std::string_view TakeToken(std::string_view& text) noexcept {
  size_t size = 0;
  while (size < text.size() && !IsBlank(text[size])) ++size;
  const std::string_view token = text.substr(0, size);
  text.remove_prefix(size);
  return token;
}

// Takes `value"` and leaves what follows the closing quote; false without a closing quote.
bool TakeQuoted(std::string_view& text, std::string_view& value) noexcept {
  size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '"') {
      value = text.substr(0, at);
      text.remove_prefix(at + 1);
      return true;
    }
    at += text[at] == '\\' ? 2 : 1;
  }
  return false;
}

// The position of the brace that closes the label list which `text` starts with. Braces inside
// quoted values do not count.
size_t FindClosingBrace(std::string_view text) noexcept {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quoted) {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == '}' && !quoted) {
      return i;
    }
  }
  return std::string_view::npos;
}

bool ParseValue(std::string_view token, double& value) noexcept {
  if (!token.empty() && token.front() == '+') token.remove_prefix(1);
  if (token.empty() || token.front() == '+') return false;
  const char* end = token.data() + token.size();
  const auto [stop, error] = std::from_chars(token.data(), end, value);
  return stop == end && error == std::errc();
}

bool ParseTimestamp(std::string_view token, int64_t& timestamp_ms) noexcept {
  const char* end = token.data() + token.size();
  const auto [stop, error] = std::from_chars(token.data(), end, timestamp_ms);
  return stop == end && error == std::errc();
}

}  // namespace

std::optional<ExpositionLabel> LabelCursor::Next() noexcept {
  SkipBlanks(rest_);
  if (rest_.empty() || malformed_) return std::nullopt;
  malformed_ = true;
  ExpositionLabel label;
  label.name = TakeName(rest_);
  SkipBlanks(rest_);
  if (label.name.empty() || rest_.empty() || rest_.front() != '=') return std::nullopt;
  rest_.remove_prefix(1);
  SkipBlanks(rest_);
  if (rest_.empty() || rest_.front() != '"') return std::nullopt;
  rest_.remove_prefix(1);
  if (!TakeQuoted(rest_, label.value)) return std::nullopt;
  SkipBlanks(rest_);
  if (!rest_.empty()) {
    if (rest_.front() != ',') return std::nullopt;
    rest_.remove_prefix(1);
  }
  malformed_ = false;
  return label;
}

bool ParseSampleLine(std::string_view line, ExpositionSample& sample) noexcept {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  SkipBlanks(line);
  sample = ExpositionSample();
  sample.name = TakeName(line);
  if (sample.name.empty() || (sample.name.front() >= '0' && sample.name.front() <= '9')) {
    return false;
  }
  const bool blank_after_name = !line.empty() && IsBlank(line.front());
  SkipBlanks(line);
  if (!line.empty() && line.front() == '{') {
    line.remove_prefix(1);
    const size_t close = FindClosingBrace(line);
    if (close == std::string_view::npos) return false;
    sample.labels = line.substr(0, close);
    line.remove_prefix(close + 1);
    LabelCursor cursor(sample.labels);
    while (cursor.Next()) {
    }
    if (cursor.malformed()) return false;
  } else if (!blank_after_name) {
    return false;
  }
  SkipBlanks(line);
  if (!ParseValue(TakeToken(line), sample.value)) return false;
  SkipBlanks(line);
  if (line.empty()) return true;
  if (!ParseTimestamp(TakeToken(line), sample.timestamp_ms)) return false;
  sample.has_timestamp = true;
  SkipBlanks(line);
  return line.empty();
}

bool LabelValueEquals(std::string_view raw, std::string_view value) noexcept {
  if (std::memchr(raw.data(), '\\', raw.size()) == nullptr) return raw == value;
  size_t at = 0;
  for (size_t i = 0; i < raw.size(); ++i, ++at) {
    char c = raw[i];
    if (c == '\\' && i + 1 < raw.size()) {
      const char next = raw[i + 1];
      if (next == '\\' || next == '"' || next == 'n') {
        c = next == 'n' ? '\n' : next;
        ++i;
      }
    }
    if (at >= value.size() || value[at] != c) return false;
  }
  return at == value.size();
}

std::optional<uint32_t> ParseLabelInteger(std::string_view raw) noexcept {
  uint32_t number = 0;
  const char* end = raw.data() + raw.size();
  const auto [stop, error] = std::from_chars(raw.data(), end, number);
  if (raw.empty() || stop != end || error != std::errc()) return std::nullopt;
  return number;
}

}  // namespace weir::io
