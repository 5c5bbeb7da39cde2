// wire/json_string.h: text as a JSON string.
#pragma once

#include <string>
#include <string_view>

namespace weir::internal {

// Appends `text` in quotes; quotes, backslashes and control characters are escaped, all else,
// UTF-8 too, stands as it is.
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace weir::internal
