// sched/subset.h: which endpoints a subset hint leaves.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.h"
#include "weir/plugin/abi.h"

namespace weir::internal {

// Sets in `keep`, which has a bit for each of `count` addresses, those that a hint as
// Request::subset names, and clears the rest. Elements after kSubsetEntriesMax do not count. False
// when the arena has no memory left. O((n + count) log n). [hot]
bool KeepSubset(std::span<const std::string_view> subset, const weir_str* addresses, uint32_t count,
                Arena& arena, uint64_t* keep) noexcept;

}  // namespace weir::internal
