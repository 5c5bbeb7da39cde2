#include "weir/response_model.h"

#include <algorithm>
#include <cstring>

#include "wire/json_string.h"

namespace weir {
namespace {

constexpr std::string_view kKey = "\"model\"";

bool IsJsonSpace(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

void ResponseModelFilter::Start(std::string_view target, std::string_view incoming) {
  value_.clear();
  replacement_.clear();
  held_.clear();
  if (target.empty() || incoming.empty() || target == incoming) return;
  internal::AppendJsonString(target, &value_);
  internal::AppendJsonString(incoming, &replacement_);
}

void ResponseModelFilter::Feed(std::string_view bytes, bool last, std::string* out) {
  if (!active()) {
    out->append(bytes);
    return;
  }
  // What is held back is short: it grows by what a member can have at most, and what is settled of
  // that tells where in `bytes` to go on.
  if (!held_.empty()) {
    const size_t held = held_.size();
    const size_t taken = std::min(bytes.size(), kKey.size() + kHeldBytesMax + value_.size());
    held_.append(bytes.substr(0, taken));
    const bool all = taken == bytes.size();
    const size_t settled = Settle(held_, last && all, out);
    if (all) {
      held_.erase(0, settled);
      return;
    }
    // With this many bytes behind them, those that were held back are settled.
    bytes.remove_prefix(std::max(settled, held) - held);
    if (settled < held) out->append(held_, settled, held - settled);
    held_.clear();
  }
  const size_t settled = Settle(bytes, last, out);
  held_.assign(bytes.substr(settled));
}

size_t ResponseModelFilter::Settle(std::string_view text, bool last, std::string* out) const {
  size_t settled = 0;
  while (!text.empty()) {
    const char* const begin = text.data() + settled;
    const size_t size = text.size() - settled;
    const auto* key = static_cast<const char*>(memmem(begin, size, kKey.data(), kKey.size()));
    if (key == nullptr) {
      // The key may begin at the very end.
      size_t tail = last ? 0 : std::min(size, kKey.size() - 1);
      while (tail > 0 && text.substr(text.size() - tail) != kKey.substr(0, tail)) --tail;
      out->append(begin, size - tail);
      return text.size() - tail;
    }
    const size_t start = static_cast<size_t>(key - text.data());
    size_t at = start + kKey.size();
    const size_t spaces_end = std::min(text.size(), at + kHeldBytesMax);
    bool colon = false;
    while (at < spaces_end && (IsJsonSpace(text[at]) || (text[at] == ':' && !colon))) {
      colon |= text[at] == ':';
      ++at;
    }
    const bool close = at - start - kKey.size() < kHeldBytesMax;
    const std::string_view value = text.substr(at, value_.size());
    const bool may_be =
        close && (at == text.size() || (colon && value == value_.substr(0, value.size())));
    if (may_be && value.size() < value_.size() && !last) {
      out->append(begin, start - settled);
      return start;
    }
    out->append(begin, at - settled);
    settled = at;
    if (close && colon && value == value_) {
      out->append(replacement_);
      settled += value_.size();
    }
  }
  return 0;
}

}  // namespace weir
