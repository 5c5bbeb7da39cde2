// What is left of a fuzzer's input, read as a script of bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weir {

class ScriptReader {
 public:
  explicit ScriptReader(std::string_view bytes) : left_(bytes) {}

  bool empty() const { return left_.empty(); }
  // 0 at the end.
  uint8_t Byte() { return left_.empty() ? 0 : static_cast<uint8_t>(Take(1).front()); }
  // A length byte and that many bytes, or what there is.
  std::string_view Bytes() { return Take(Byte()); }
  std::string_view Take(size_t size) {
    const std::string_view taken = left_.substr(0, size);
    left_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view left_;
};

}  // namespace weir
