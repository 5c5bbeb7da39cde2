// A request for generation that is under way. Private to the instance's sources.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "instance.h"

namespace weir::sim {

struct Instance::Exchange {
  uint64_t number = 0;      // request ids are number * kChoicesMax + choice
  WebCall* call = nullptr;  // null once the client has left or got its answer
  std::unique_ptr<AnswerFormat> format;
  std::vector<Answer> answers;
  std::vector<int64_t> last_token_ns;  // per answer; the arrival before the first token
  std::vector<std::string> echoes;     // what the pieces of echo mode view
  uint32_t choices_per_prompt = 1;
  uint32_t tokens_max = 0;
  std::string lora;
  std::string request_id;  // the client's
  std::string id;
  size_t open = 0;  // answers that the backend still works on
  bool stream = false;
  bool started = false;
  Fault fault;
  uint64_t said_tokens = 0;
  uint64_t body_bytes = 0;

  RequestId id_of(size_t choice) const { return number * kChoicesMax + choice; }
};

}  // namespace weir::sim
