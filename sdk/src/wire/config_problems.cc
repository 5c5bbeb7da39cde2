#include "wire/config_problems.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "base/text.h"

namespace weir::internal {
namespace {

constexpr size_t kShownBytesMax = 80;
constexpr size_t kFieldBytesMax = 400;  // of a path, which names of the file are part of

// The first bytes of `text` that end at a character, without control bytes.
std::string Shorten(std::string_view text, size_t bytes_max = kShownBytesMax) {
  size_t size = std::min(text.size(), bytes_max);
  while (size < text.size() && size > 0 &&
         (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) {
    --size;
  }
  std::string shown;
  for (const char c : text.substr(0, size)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      AppendTo(&shown, "\\x", HexByte(static_cast<unsigned char>(c)));
    } else {
      shown += c;
    }
  }
  if (size < text.size()) shown += "...";
  return shown;
}

template <class Problems>
Problems SortedByLine(Problems problems) {
  std::stable_sort(problems.begin(), problems.end(),
                   [](const auto& left, const auto& right) { return left.line < right.line; });
  return problems;
}

}  // namespace

std::string Quote(std::string_view text) { return Concat("\"", Shorten(text), "\""); }

std::string Show(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kString:
      return Quote(node.string);
    case ConfigNode::Kind::kBoolean:
    case ConfigNode::Kind::kInteger:
    case ConfigNode::Kind::kNumber:
      return Shorten(node.string);
    default:
      return std::string(KindName(node.kind));
  }
}

std::string ConfigProblems::Text(int line, std::string_view field, std::string_view text) const {
  std::string result = file_;
  if (line > 0) AppendTo(&result, ":", line);
  if (!field.empty()) AppendTo(&result, ": ", Shorten(field, kFieldBytesMax));
  AppendTo(&result, ": ", text);
  return result;
}

void ConfigProblems::Error(int line, std::string_view field, std::string_view text, Code code) {
  if (full()) {
    ++errors_left_out_;
    return;
  }
  errors_.push_back({line, code, Text(line, field, text)});
}

void ConfigProblems::Warning(int line, std::string_view field, std::string_view text) {
  if (warnings_.size() < kConfigProblemsMax) {
    warnings_.push_back({line, Code::kOk, Text(line, field, text)});
  }
}

absl::Status ConfigProblems::ToStatus() const {
  if (errors_.empty()) return absl::OkStatus();
  const auto sorted = SortedByLine(errors_);
  std::string text = absl::StrJoin(
      sorted, "\n", [](std::string* out, const Problem& problem) { out->append(problem.text); });
  if (errors_left_out_ > 0) {
    AppendTo(&text, "\n", file_, ": and ", errors_left_out_, " more");
  }
  const bool unimplemented =
      errors_left_out_ == 0 && std::all_of(errors_.begin(), errors_.end(), [](const Problem& one) {
        return one.code == Code::kUnimplemented;
      });
  return unimplemented ? absl::UnimplementedError(text) : absl::InvalidArgumentError(text);
}

std::vector<std::string> ConfigProblems::warnings() const {
  std::vector<std::string> texts;
  for (const Problem& warning : SortedByLine(warnings_)) texts.push_back(warning.text);
  return texts;
}

void ConfigProblems::Append(const ConfigProblems& other) {
  for (const Problem& error : other.errors_) {
    if (full()) {
      ++errors_left_out_;
    } else {
      errors_.push_back(error);
    }
  }
  errors_left_out_ += other.errors_left_out_;
  for (const Problem& warning : other.warnings_) {
    if (warnings_.size() < kConfigProblemsMax) warnings_.push_back(warning);
  }
}

}  // namespace weir::internal
