// base/text.h: texts of errors and warnings, put together from parts. Abseil's StrCat does not know
// std::string_view here.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::internal {

inline void AppendPart(std::string* out, std::string_view part) { out->append(part); }

template <class T>
requires(std::integral<T> || std::floating_point<T>) void AppendPart(std::string* out, T number) {
  static_assert(!std::same_as<T, bool> && !std::same_as<T, char>);
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), number);
  out->append(digits, end);
}

// Appends texts and numbers; a number takes its shortest exact form. [control]
template <class... Parts>
void AppendTo(std::string* out, const Parts&... parts) {
  (AppendPart(out, parts), ...);
}

// Texts and numbers in one string. [control]
template <class... Parts>
std::string Concat(const Parts&... parts) {
  std::string text;
  AppendTo(&text, parts...);
  return text;
}

// Two hexadecimal digits.
inline std::string HexByte(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  return {kDigits[byte >> 4], kDigits[byte & 15]};
}

}  // namespace weir::internal
