// base/closest_name.h: "did you mean" for names that nobody knows.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace weir::internal {

// Longer names get no suggestion: the distance costs their product.
inline constexpr uint32_t kSuggestedNameBytesMax = 128;

// The candidate that `name` most likely is a misspelling of, the first among equals; empty if none
// is near. Case does not count, nor does what a shortened name leaves out. [control]
std::string_view ClosestName(std::string_view name, std::span<const std::string_view> candidates);

// "; did you mean "x"?", or nothing if no candidate is near. [control]
std::string DidYouMean(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace weir::internal
