// weir/response_model.h: puts the model's name that the client asked for back into responses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

// Replaces "model": "<target>" by "model": "<incoming>" in JSON that passes, at any depth and with
// any white space around the colon, also where chunks split it. Text inside JSON strings never
// matches. Holds back at most the bytes of one such member. Serial.
class ResponseModelFilter {
 public:
  // Starts a response. Copies the names. If one is empty or both are equal, nothing is replaced.
  void Start(std::string_view target, std::string_view incoming);
  // False: bytes pass unchanged and Feed need not be called.
  bool active() const noexcept;

  // Appends to *out what may go on now: `bytes` with names replaced, less what is held back. With
  // `last`, nothing is held back. [hot, serial]
  void Feed(std::string_view bytes, bool last, std::string* out);
};

}  // namespace weir
