// load/distribution.h: distributions of lengths and pauses, as given on the command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "weir/random.h"

namespace weir::load {

// A distribution of whole, non-negative numbers, cut to [min, max].
class Distribution {
 public:
  static constexpr double kValueMax = 1e9;

  // Always `value`. REQUIRES: 0 <= value <= kValueMax.
  static Distribution Fixed(double value);

  // Reads "250", "uniform:MIN:MAX", "normal:MEAN:SD[:MIN:MAX]", "lognormal:MEAN:SD[:MIN:MAX]" or
  // "exponential:MEAN[:MIN:MAX]"; mean and deviation of "lognormal" are those of the value itself.
  // Errors: kInvalidArgument, naming the text and what was expected. [control]
  static absl::StatusOr<Distribution> Parse(std::string_view text);

  // One value; equal states of `random` give equal values.
  uint32_t Sample(Random& random) const noexcept;

  // Mean of the uncut distribution.
  double mean() const noexcept { return mean_; }
  const std::string& text() const noexcept { return text_; }

 private:
  enum class Kind : uint8_t { kFixed, kUniform, kNormal, kLognormal, kExponential };
  Kind kind_ = Kind::kFixed;
  double mean_ = 0, deviation_ = 0, min_ = 0, max_ = kValueMax;
  std::string text_;
};

// A standard normal draw (Box and Muller), two uniform numbers each.
double NextNormal(Random& random) noexcept;
// An exponential draw with the given mean.
double NextExponential(Random& random, double mean) noexcept;

}  // namespace weir::load
