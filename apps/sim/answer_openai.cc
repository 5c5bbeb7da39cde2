// Chat completions and completions.
#include <utility>

#include "absl/strings/str_cat.h"
#include "answer_format.h"
#include "json_text.h"

namespace weir::sim {
namespace {

std::string_view ReasonText(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "\"stop\"";
    case FinishReason::kLength:
      return "\"length\"";
    case FinishReason::kAbort:
      return "\"abort\"";
  }
  return "null";
}

class OpenAiFormat final : public AnswerFormat {
 public:
  explicit OpenAiFormat(AnswerInfo info) : info_(std::move(info)), chat_(info_.api == Api::kChat) {
    frame_ = absl::StrCat("data: ", Head(chat_ ? "chat.completion.chunk" : "text_completion"));
  }

  void Open(std::string& out, size_t choices, const Usage&) override {
    if (!chat_) return;
    for (size_t i = 0; i < choices; ++i) {
      OpenChoice(out, i);
      out += R"("delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null)";
      EndFrame(out);
    }
  }

  void Token(std::string& out, size_t choice, const Answer& answer) override {
    const Piece& piece = answer.pieces[answer.said - 1];
    OpenChoice(out, choice);
    out += chat_ ? R"("delta":{"content":")" : R"("text":")";
    AppendJsonEscaped(out, piece.text);
    out += chat_ ? "\"}" : "\"";
    out += R"(,"logprobs":null,"finish_reason":null)";
    if (info_.return_token_ids) absl::StrAppend(&out, ",\"token_ids\":[", piece.token, "]");
    EndFrame(out);
  }

  void Finish(std::string& out, size_t choice, const Answer& answer) override {
    OpenChoice(out, choice);
    out += chat_ ? R"("delta":{})" : R"("text":"")";
    absl::StrAppend(
        &out, ",\"logprobs\":null,\"finish_reason\":", std::string(ReasonText(answer.reason)));
    EndFrame(out);
  }

  void Close(std::string& out, const std::vector<Answer>&, const Usage& usage) override {
    if (info_.include_usage) {
      absl::StrAppend(&out, frame_, ",\"choices\":[],");
      AppendUsage(out, usage);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  std::string Whole(const std::vector<Answer>& answers, const Usage& usage) override {
    std::string out =
        absl::StrCat(Head(chat_ ? "chat.completion" : "text_completion"), ",\"choices\":[");
    for (size_t i = 0; i < answers.size(); ++i) {
      const Answer& answer = answers[i];
      absl::StrAppend(&out, i == 0 ? "" : ",", "{\"index\":", i,
                      chat_ ? R"(,"message":{"role":"assistant","content":)" : ",\"text\":");
      AppendJsonString(out, JoinPieces(answer.pieces, answer.said));
      if (chat_) out += R"(,"refusal":null,"tool_calls":[]})";
      absl::StrAppend(
          &out, ",\"logprobs\":null,\"finish_reason\":", std::string(ReasonText(answer.reason)));
      if (info_.return_token_ids) AppendTokenIds(out, answer);
      out += '}';
    }
    out += "],";
    AppendUsage(out, usage);
    out += '}';
    return out;
  }

 private:
  std::string Head(std::string_view object) const {
    std::string head = "{\"id\":";
    AppendJsonString(head, info_.id);
    absl::StrAppend(&head, ",\"object\":\"", std::string(object),
                    "\",\"created\":", info_.created_s, ",\"model\":");
    AppendJsonString(head, info_.model);
    return head;
  }

  void OpenChoice(std::string& out, size_t choice) const {
    absl::StrAppend(&out, frame_, ",\"choices\":[{\"index\":", choice, ",");
  }
  static void EndFrame(std::string& out) { out += "}]}\n\n"; }

  static void AppendTokenIds(std::string& out, const Answer& answer) {
    out += ",\"token_ids\":[";
    for (uint32_t i = 0; i < answer.said; ++i) {
      absl::StrAppend(&out, i == 0 ? "" : ",", answer.pieces[i].token);
    }
    out += ']';
  }

  static void AppendUsage(std::string& out, const Usage& usage) {
    absl::StrAppend(&out, "\"usage\":{\"prompt_tokens\":", usage.prompt_tokens,
                    ",\"total_tokens\":", usage.prompt_tokens + usage.output_tokens,
                    ",\"completion_tokens\":", usage.output_tokens,
                    ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_tokens, "}}");
  }

  const AnswerInfo info_;
  const bool chat_;
  std::string frame_;  // what every event starts with
};

}  // namespace

std::unique_ptr<AnswerFormat> CreateOpenAiFormat(AnswerInfo info) {
  return std::make_unique<OpenAiFormat>(std::move(info));
}

std::string JoinPieces(const std::vector<Piece>& pieces, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += pieces[i].text;
  return text;
}

std::unique_ptr<AnswerFormat> CreateAnswerFormat(AnswerInfo info) {
  switch (info.api) {
    case Api::kChat:
    case Api::kCompletions:
      return CreateOpenAiFormat(std::move(info));
    case Api::kResponses:
      return CreateResponsesFormat(std::move(info));
    case Api::kMessages:
      return CreateMessagesFormat(std::move(info));
    case Api::kTokens:
      return CreateTokensFormat(std::move(info));
    case Api::kSglang:
      return CreateSglangFormat(std::move(info));
  }
  return nullptr;
}

}  // namespace weir::sim
