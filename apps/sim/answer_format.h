// How each API writes an answer, whole or as a stream of events.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "content.h"
#include "generate_request.h"
#include "weir/sim/observer.h"

namespace weir::sim {

// What an answer says about itself.
struct AnswerInfo {
  Api api = Api::kChat;
  std::string id;  // with the API's prefix
  std::string model;
  int64_t created_s = 0;  // unix time
  bool include_usage = false;
  bool return_token_ids = false;
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  uint32_t cached_tokens = 0;
};

// One finished or running choice.
struct Answer {
  std::vector<Piece> pieces;  // the whole plan
  uint32_t said = 0;          // how many of them the client knows
  FinishReason reason = FinishReason::kStop;
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;
};

// Appends to `out`. One object per request; stream members come in the order Open, Token and Finish
// of each choice, Close.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  virtual void Open(std::string& out, size_t choices, const Usage& usage) = 0;
  virtual void Token(std::string& out, size_t choice, const Answer& answer) = 0;
  virtual void Finish(std::string& out, size_t choice, const Answer& answer) = 0;
  virtual void Close(std::string& out, const std::vector<Answer>& answers, const Usage& usage) = 0;
  virtual std::string Whole(const std::vector<Answer>& answers, const Usage& usage) = 0;
};

std::unique_ptr<AnswerFormat> CreateAnswerFormat(AnswerInfo info);

// The first `count` pieces joined.
std::string JoinPieces(const std::vector<Piece>& pieces, size_t count);

// Formats of the single APIs; CreateAnswerFormat() chooses.
std::unique_ptr<AnswerFormat> CreateOpenAiFormat(AnswerInfo info);
std::unique_ptr<AnswerFormat> CreateResponsesFormat(AnswerInfo info);
std::unique_ptr<AnswerFormat> CreateMessagesFormat(AnswerInfo info);
std::unique_ptr<AnswerFormat> CreateTokensFormat(AnswerInfo info);
std::unique_ptr<AnswerFormat> CreateSglangFormat(AnswerInfo info);

}  // namespace weir::sim
