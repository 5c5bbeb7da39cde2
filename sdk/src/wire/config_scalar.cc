#include "wire/config_scalar.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "base/text.h"

namespace weir::internal {
namespace {

bool IsDigits(std::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
  }
  return !text.empty();
}

// The digits at the start of `*text`, taken off it.
std::string_view TakeDigits(std::string_view* text) {
  size_t size = 0;
  while (size < text->size() && absl::ascii_isdigit(static_cast<unsigned char>((*text)[size]))) {
    ++size;
  }
  const std::string_view digits = text->substr(0, size);
  text->remove_prefix(size);
  return digits;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool IsNumber(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const bool has_integer = !TakeDigits(&text).empty();
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    if (TakeDigits(&text).empty() && !has_integer) return false;
  } else if (!has_integer) {
    return false;
  }
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return IsDigits(text);
}

// REQUIRES: IsNumber(text). Beyond the range: infinity or 0.
double ToNumber(std::string_view text) {
  if (text[0] == '+') text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) {
    const size_t exponent = text.find_first_of("eE");
    const bool tiny = exponent != std::string_view::npos && text[exponent + 1] == '-';
    number = tiny ? 0 : std::numeric_limits<double>::infinity();
    if (text[0] == '-') number = -number;
  }
  return number;
}

ConfigNode Number(double number) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kNumber;
  node.number = number;
  return node;
}

// An integer in the given base, as a number if 64 bits do not hold it.
ConfigNode Integer(std::string_view digits, int base) {
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc()) {
    return Number(base == 10 ? ToNumber(digits) : std::numeric_limits<double>::infinity());
  }
  ConfigNode node = Number(static_cast<double>(value));
  node.kind = ConfigNode::Kind::kInteger;
  node.integer = value;
  return node;
}

bool AllOf(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// Bytes of the UTF-8 character at the start of `text`, 0 if it is broken.
size_t CharacterSize(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) {
    return 0;  // overlong, surrogate, beyond the last character
  }
  return size;
}

struct Unit {
  std::string_view suffix;
  long double factor;
};

constexpr Unit kQuantityUnits[] = {
    {"Ki", 0x1p10L}, {"Mi", 0x1p20L}, {"Gi", 0x1p30L}, {"Ti", 0x1p40L}, {"Pi", 0x1p50L},
    {"Ei", 0x1p60L}, {"n", 1e-9L},    {"u", 1e-6L},    {"m", 1e-3L},    {"k", 1e3L},
    {"M", 1e6L},     {"G", 1e9L},     {"T", 1e12L},    {"P", 1e15L},    {"E", 1e18L}};

// Longer suffixes first where one starts with another.
constexpr Unit kDurationUnits[] = {{"ns", 1},    {"us", 1e3L}, {"\u00B5s", 1e3L}, {"\u03BCs", 1e3L},
                                   {"ms", 1e6L}, {"s", 1e9L},  {"m", 60e9L},      {"h", 3600e9L}};

constexpr size_t kScalarTextBytesMax = 64;  // longer quantities and durations are refused

// The decimal at the start of `*text`, taken off it.
std::optional<long double> TakeDecimal(std::string_view* text) {
  long double value = 0;
  const std::string_view whole = TakeDigits(text);
  for (const char c : whole) value = value * 10 + (c - '0');
  std::string_view fraction;
  if (!text->empty() && (*text)[0] == '.') {
    text->remove_prefix(1);
    fraction = TakeDigits(text);
    long double scale = 1;
    for (const char c : fraction) value += (c - '0') * (scale /= 10);
  }
  if (whole.empty() && fraction.empty()) return std::nullopt;
  return value;
}

std::optional<int64_t> ToInteger(long double value) {
  if (!(value > -0x1p63L && value < 0x1p63L)) return std::nullopt;
  return static_cast<int64_t>(value);
}

}  // namespace

ConfigNode PlainScalar(std::string_view text) {
  ConfigNode node;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
    return node;
  if (text == "true" || text == "True" || text == "TRUE" || text == "false" || text == "False" ||
      text == "FALSE") {
    node.kind = ConfigNode::Kind::kBoolean;
    node.boolean = text[0] == 't' || text[0] == 'T';
    return node;
  }
  if (text.starts_with("0x") && AllOf(text.substr(2), "0123456789abcdefABCDEF")) {
    return Integer(text.substr(2), 16);
  }
  if (text.starts_with("0o") && AllOf(text.substr(2), "01234567")) {
    return Integer(text.substr(2), 8);
  }
  const bool is_signed = text[0] == '-' || text[0] == '+';
  const std::string_view magnitude = text.substr(is_signed ? 1 : 0);
  if (IsDigits(magnitude)) return Integer(text[0] == '+' ? magnitude : text, 10);
  if (IsNumber(text)) return Number(ToNumber(text));
  if (magnitude == ".inf" || magnitude == ".Inf" || magnitude == ".INF") {
    const double infinity = std::numeric_limits<double>::infinity();
    return Number(text[0] == '-' ? -infinity : infinity);
  }
  if (text == ".nan" || text == ".NaN" || text == ".NAN") {
    return Number(std::numeric_limits<double>::quiet_NaN());
  }
  node.kind = ConfigNode::Kind::kString;
  return node;
}

std::optional<BadText> FindBadText(std::string_view text) {
  int line = 1;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size == 0) return BadText{line, "invalid UTF-8"};
    const auto first = static_cast<unsigned char>(text[0]);
    if ((first < 0x20 && first != '\t' && first != '\n' && first != '\r') || first == 0x7F) {
      return BadText{line, Concat("control byte 0x", HexByte(first))};
    }
    if (first == '\n') ++line;
    text.remove_prefix(size);
  }
  return std::nullopt;
}

std::optional<int64_t> ParseQuantity(std::string_view text) {
  if (text.empty() || text.size() > kScalarTextBytesMax) return std::nullopt;
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  const std::optional<long double> decimal = TakeDecimal(&text);
  if (!decimal.has_value()) return std::nullopt;
  long double value = negative ? -*decimal : *decimal;
  if (text.size() > 1 && (text[0] == 'e' || text[0] == 'E')) {
    std::string_view exponent_text = text.substr(1);
    const bool negative_exponent = exponent_text[0] == '-';
    if (negative_exponent || exponent_text[0] == '+') exponent_text.remove_prefix(1);
    if (IsDigits(exponent_text)) {
      int exponent = 0;
      const auto [end, error] = std::from_chars(
          exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
      if (error != std::errc()) return std::nullopt;
      return ToInteger(
          std::ceil(value * std::pow(10.0L, negative_exponent ? -exponent : exponent)));
    }
  }
  if (text.empty()) return ToInteger(std::ceil(value));
  for (const Unit& unit : kQuantityUnits) {
    if (text == unit.suffix) return ToInteger(std::ceil(value * unit.factor));
  }
  return std::nullopt;
}

std::optional<int64_t> ParseDurationNs(std::string_view text) {
  if (text.empty() || text.size() > kScalarTextBytesMax) return std::nullopt;
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  if (text == "0") return 0;
  long double value = 0;
  do {
    const std::optional<long double> decimal = TakeDecimal(&text);
    if (!decimal.has_value()) return std::nullopt;
    bool known = false;
    for (const Unit& unit : kDurationUnits) {
      // "m" is also the start of "ms".
      if (!text.starts_with(unit.suffix) || text.starts_with("ms") != (unit.suffix == "ms")) {
        continue;
      }
      value += *decimal * unit.factor;
      text.remove_prefix(unit.suffix.size());
      known = true;
      break;
    }
    if (!known) return std::nullopt;
  } while (!text.empty());
  return ToInteger(std::round(negative ? -value : value));
}

}  // namespace weir::internal
