// Writing JSON as text.
#pragma once

#include <string>
#include <string_view>

namespace weir::sim {

// Appends `text` as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so
// that the result always is valid JSON.
void AppendJsonString(std::string& out, std::string_view text);

// The same without the quotes.
void AppendJsonEscaped(std::string& out, std::string_view text);

}  // namespace weir::sim
