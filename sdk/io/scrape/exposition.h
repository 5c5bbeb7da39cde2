// weir/io/scrape/exposition.h: reads single lines of a Prometheus text page (format 0.0.4) in
// place. Everything here works on views into the page, allocates nothing and accepts any bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::io {

// One label of a series. `value` is as it stands on the page, escapes included.
struct ExpositionLabel {
  std::string_view name;
  std::string_view value;
};

// Walks the text between the braces of a series: `a="x",b="y"`, blanks and a final comma allowed.
class LabelCursor {
 public:
  // Borrowed: `labels`, for the cursor's life.
  explicit LabelCursor(std::string_view labels) noexcept : rest_(labels) {}

  // The next label; nullopt at the end and at the first malformed byte. [hot]
  std::optional<ExpositionLabel> Next() noexcept;
  // True once a malformed label was met. [hot]
  bool malformed() const noexcept { return malformed_; }

 private:
  std::string_view rest_;
  bool malformed_ = false;
};

// One sample line. The views point into the page.
struct ExpositionSample {
  std::string_view name;
  std::string_view labels;   // between the braces; empty without braces
  double value = 0;          // may be NaN or infinite
  int64_t timestamp_ms = 0;  // valid if has_timestamp
  bool has_timestamp = false;
};

// Splits one line without its line feed. False for anything that is not a sample line with
// well-formed labels (comments and blank lines too); `sample` is then unspecified. [hot]
bool ParseSampleLine(std::string_view line, ExpositionSample& sample) noexcept;

// Whether the escaped text `raw` of a label value stands for `value`: `\\`, `\"` and `\n` are the
// escapes; any other backslash stands for itself. [hot]
bool LabelValueEquals(std::string_view raw, std::string_view value) noexcept;

// Reads a whole label value as an unsigned integer of at most 32 bits; nullopt otherwise. [hot]
std::optional<uint32_t> ParseLabelInteger(std::string_view raw) noexcept;

// True for the bytes a metric name may consist of: letters, digits, '_' and ':'. [hot]
constexpr bool IsMetricNameByte(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == ':';
}

}  // namespace weir::io
