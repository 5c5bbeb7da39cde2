#include "load/distribution.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weir::load {
namespace {

absl::Status Bad(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", absl::string_view(text.data(), text.size()),
      "\", expected N, uniform:MIN:MAX, normal:MEAN:SD[:MIN:MAX], lognormal:MEAN:SD[:MIN:MAX] or "
      "exponential:MEAN[:MIN:MAX] with numbers 0..1e9 and MIN <= MAX"));
}

}  // namespace

double NextNormal(Random& random) noexcept {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - random.NextUniform()));
  return radius * std::cos(2.0 * std::numbers::pi * random.NextUniform());
}

double NextExponential(Random& random, double mean) noexcept {
  return -mean * std::log(1.0 - random.NextUniform());
}

Distribution Distribution::Fixed(double value) {
  Distribution made;
  made.mean_ = value;
  made.text_ = absl::StrCat(value);
  return made;
}

absl::StatusOr<Distribution> Distribution::Parse(std::string_view text) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(text.data(), text.size()), ':');
  std::vector<double> numbers;
  const bool named = !parts[0].empty() && (parts[0][0] >= 'a' && parts[0][0] <= 'z');
  for (size_t i = named ? 1 : 0; i < parts.size(); ++i) {
    double number = 0;
    if (!absl::SimpleAtod(parts[i], &number) || !(number >= 0 && number <= kValueMax)) {
      return Bad(text);
    }
    numbers.push_back(number);
  }
  Distribution made;
  made.text_ = std::string(text);
  const auto take = [&](Kind kind, size_t shape_count) {
    if (numbers.size() != shape_count && numbers.size() != shape_count + 2) return false;
    made.kind_ = kind;
    made.mean_ = numbers[0];
    if (shape_count == 2) made.deviation_ = numbers[1];
    if (numbers.size() == shape_count + 2) {
      made.min_ = numbers[shape_count];
      made.max_ = numbers[shape_count + 1];
    }
    return made.min_ <= made.max_;
  };
  bool good = false;
  if (!named) {
    good = numbers.size() == 1 && take(Kind::kFixed, 1);
  } else if (parts[0] == "uniform") {
    if (numbers.size() == 2) {
      made.kind_ = Kind::kUniform;
      made.min_ = numbers[0];
      made.max_ = numbers[1];
      made.mean_ = (made.min_ + made.max_) / 2;
      good = made.min_ <= made.max_;
    }
  } else if (parts[0] == "normal") {
    good = take(Kind::kNormal, 2);
  } else if (parts[0] == "lognormal") {
    good = take(Kind::kLognormal, 2) && made.mean_ > 0;
  } else if (parts[0] == "exponential") {
    good = take(Kind::kExponential, 1);
  }
  if (!good) return Bad(text);
  return made;
}

uint32_t Distribution::Sample(Random& random) const noexcept {
  double value = mean_;
  switch (kind_) {
    case Kind::kFixed:
      break;
    case Kind::kUniform:
      value = min_ + std::floor(random.NextUniform() * (max_ - min_ + 1));
      break;
    case Kind::kNormal:
      value = mean_ + deviation_ * NextNormal(random);
      break;
    case Kind::kLognormal: {
      const double variance = std::log1p(deviation_ * deviation_ / (mean_ * mean_));
      value = std::exp(std::log(mean_) - variance / 2 + std::sqrt(variance) * NextNormal(random));
      break;
    }
    case Kind::kExponential:
      value = NextExponential(random, mean_);
      break;
  }
  return static_cast<uint32_t>(std::lround(std::clamp(value, min_, max_)));
}

}  // namespace weir::load
