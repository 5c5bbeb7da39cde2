// wire/config_problems.h: what is wrong with a configuration file, collected so that one reading
// reports all of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/status.h"
#include "wire/config_node.h"

namespace weir::internal {

inline constexpr uint32_t kConfigProblemsMax = 50;  // errors, and warnings, that one reading keeps

// Errors and warnings about one file, each "file:line: field: text". [control]
class ConfigProblems {
 public:
  explicit ConfigProblems(std::string file) : file_(std::move(file)) {}

  // Line 0 and an empty field are left out of the text.
  void Error(int line, std::string_view field, std::string_view text,
             Code code = Code::kInvalidArgument);
  void Warning(int line, std::string_view field, std::string_view text);

  bool failed() const { return !errors_.empty(); }
  uint32_t error_count() const { return static_cast<uint32_t>(errors_.size()) + errors_left_out_; }
  // True when further errors are only counted: texts need not be made.
  bool full() const { return errors_.size() == kConfigProblemsMax; }
  const std::string& file() const { return file_; }

  // Ok, or all errors in the order of their lines, one per line; kUnimplemented if every error is
  // that, else kInvalidArgument.
  absl::Status ToStatus() const;
  std::vector<std::string> warnings() const;
  // Appends what `other` found.
  void Append(const ConfigProblems& other);

 private:
  struct Problem {
    int line;
    Code code;
    std::string text;
  };
  std::string Text(int line, std::string_view field, std::string_view text) const;

  std::string file_;
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
  uint32_t errors_left_out_ = 0;
};

// A name or value for an error text: quoted, control bytes escaped, cut after 80 bytes.
std::string Quote(std::string_view text);
// A node for an error text: a scalar as written (strings quoted), "a list", "a map", "null".
std::string Show(const ConfigNode& node);

}  // namespace weir::internal
