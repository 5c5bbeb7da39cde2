// weir/response_model.h: puts the model's name that the client asked for back into responses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir {

// Replaces "model": "<target>" by "model": "<incoming>" in JSON that passes, at any depth and with
// white space around the colon, also where chunks split it. Text inside JSON strings never matches.
// Holds back at most kHeldBytesMax and the length of the target's name. Serial.
class ResponseModelFilter {
 public:
  // A member with more white space than this around its colon is left alone.
  static constexpr size_t kHeldBytesMax = 64;

  // Starts a response. Copies the names. If one is empty or both are equal, nothing is replaced.
  void Start(std::string_view target, std::string_view incoming);
  // False: bytes pass unchanged and Feed need not be called.
  bool active() const noexcept { return !value_.empty(); }

  // Appends to *out what may go on now: `bytes` with names replaced, less what is held back. With
  // `last`, nothing is held back. Allocates in *out only. [hot, serial]
  void Feed(std::string_view bytes, bool last, std::string* out);

 private:
  // Returns how many bytes of `text` are settled and appended to *out; the rest may be the start of
  // a member.
  size_t Settle(std::string_view text, bool last, std::string* out) const;

  std::string value_;        // the target as a JSON string
  std::string replacement_;  // the incoming name as one
  std::string held_;         // the start of what may be a member
};

}  // namespace weir
