// JSON as text: what is written, and what is safe to read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::sim {

// Appends `text` as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so
// that the result always is valid JSON.
void AppendJsonString(std::string& out, std::string_view text);

// The same without the quotes.
void AppendJsonEscaped(std::string& out, std::string_view text);

// Values may be nested so deep in what clients send: who prints them again recurses.
inline constexpr uint32_t kJsonDepthMax = 512;

// Whether brackets outside of strings are nested deeper than kJsonDepthMax. Text that is no JSON
// gets some answer.
bool JsonIsTooDeep(std::string_view text);

}  // namespace weir::sim
