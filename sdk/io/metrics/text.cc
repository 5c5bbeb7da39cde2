#include "weir/io/metrics/text.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace weir::io {
namespace {

std::string_view KindName(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kHistogram:
      break;
  }
  return "histogram";
}

// How many bytes at the start of `text` are one character of UTF-8; 0 if they are none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first < 0xF0) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) >= 0xA0;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first < 0xF5) {
    const bool overlong = first == 0xF0 && byte(1) < 0x90;
    const bool beyond = first == 0xF4 && byte(1) >= 0x90;
    return follows(1) && follows(2) && follows(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

void AppendLabelValue(std::string_view value, std::string* text) {
  while (!value.empty()) {
    const size_t size = CharacterBytes(value);
    if (size == 0) {
      *text += "\xEF\xBF\xBD";
    } else if (value[0] == '\\' || value[0] == '"') {
      *text += '\\';
      *text += value[0];
    } else if (value[0] == '\n') {
      *text += "\\n";
    } else {
      *text += value.substr(0, size);
    }
    value.remove_prefix(size == 0 ? 1 : size);
  }
}

}  // namespace

std::string MetricNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char shortest[32];
  const auto end =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific);
  const std::string_view text(shortest, static_cast<size_t>(end.ptr - shortest));
  int exponent = 0;
  const size_t mark = text.find('e');
  const size_t digits = text[mark + 1] == '+' ? mark + 2 : mark + 1;
  std::from_chars(text.data() + digits, text.data() + text.size(), exponent);
  // The form with an exponent is used where Go uses it; both write it with two digits at least.
  if (exponent < -4 || exponent >= 6) return std::string(text);
  char fixed[64];
  const auto fixed_end =
      std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed);
  return std::string(fixed, fixed_end.ptr);
}

void MetricsText::Family(MetricKind kind, std::string_view name, std::string_view help) {
  kind_ = kind;
  name_ = name;
  help_ = help;
  head_written_ = false;
}

void MetricsText::Head() {
  if (head_written_) return;
  head_written_ = true;
  text_.append("# HELP ").append(name_).append(" ").append(help_);
  text_.append("\n# TYPE ").append(name_).append(" ").append(KindName(kind_)).append("\n");
}

void MetricsText::Sample(std::string_view suffix, Labels labels, std::string_view bound,
                         std::string_view value) {
  text_.append(name_).append(suffix);
  char separator = '{';
  for (const MetricLabel& label : labels) {
    text_ += separator;
    text_.append(label.name).append("=\"");
    AppendLabelValue(label.value, &text_);
    text_ += '"';
    separator = ',';
  }
  if (!bound.empty()) {
    text_ += separator;
    text_.append("le=\"").append(bound).append("\"");
    separator = ',';
  }
  text_.append(separator == ',' ? "} " : " ").append(value).append("\n");
}

void MetricsText::Value(Labels labels, double value) {
  Head();
  Sample("", labels, "", MetricNumber(value));
}

void MetricsText::Histogram(Labels labels, std::span<const double> bounds,
                            std::span<const uint64_t> counts, double sum) {
  Head();
  if (bounds.data() != bounds_.data() || bounds.size() != bounds_.size()) {
    bounds_ = bounds;
    bound_texts_.clear();
    for (const double bound : bounds) bound_texts_.push_back(MetricNumber(bound));
    bound_texts_.push_back(MetricNumber(std::numeric_limits<double>::infinity()));
  }
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += counts[i];
    Sample("_bucket", labels, bound_texts_[i], std::to_string(cumulative));
  }
  Sample("_sum", labels, "", MetricNumber(sum));
  Sample("_count", labels, "", std::to_string(cumulative));
}

}  // namespace weir::io
