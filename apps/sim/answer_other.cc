// The APIs beside OpenAI's completions: responses, messages, and the two that speak token ids.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "answer_format.h"
#include "json_text.h"

namespace weir::sim {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void AppendNamedEvent(std::string& out, const Json& event) {
  absl::StrAppend(&out, "event: ", event["type"].get<std::string>(), "\ndata: ", Dump(event),
                  "\n\n");
}

void AppendData(std::string& out, const Json& event) {
  absl::StrAppend(&out, "data: ", Dump(event), "\n\n");
}

Json TokenIds(const Answer& answer) {
  Json ids = Json::array();
  for (uint32_t i = 0; i < answer.said; ++i) ids.push_back(answer.pieces[i].token);
  return ids;
}

const char* ReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      break;
  }
  return "abort";
}

// POST /v1/responses; one output message.
class ResponsesFormat final : public AnswerFormat {
 public:
  explicit ResponsesFormat(AnswerInfo info) : info_(std::move(info)) {}

  void Open(std::string& out, size_t, const Usage&) override {
    for (const char* type : {"response.created", "response.in_progress"}) {
      Send(out, {{"type", type}, {"response", Response("in_progress", Json::array())}});
    }
    Send(out, {{"type", "response.output_item.added"},
               {"output_index", 0},
               {"item", Item("in_progress", Json::array())}});
    Send(out, Part("response.content_part.added", {{"part", Content("")}}));
  }
  void Token(std::string& out, size_t, const Answer& answer) override {
    const std::string text(answer.pieces[answer.said - 1].text);
    Send(out, Part("response.output_text.delta", {{"delta", text}}));
  }
  void Finish(std::string& out, size_t, const Answer& answer) override {
    const std::string text = JoinPieces(answer.pieces, answer.said);
    Send(out, Part("response.output_text.done", {{"text", text}}));
    Send(out, Part("response.content_part.done", {{"part", Content(text)}}));
    Send(out, {{"type", "response.output_item.done"},
               {"output_index", 0},
               {"item", Item("completed", Json::array({Content(text)}))}});
  }
  void Close(std::string& out, const std::vector<Answer>& answers, const Usage& usage) override {
    const Json response = Complete(answers, usage);
    const bool whole = response["status"] == "completed";
    Send(out,
         {{"type", whole ? "response.completed" : "response.incomplete"}, {"response", response}});
  }
  std::string Whole(const std::vector<Answer>& answers, const Usage& usage) override {
    return Dump(Complete(answers, usage));
  }

 private:
  void Send(std::string& out, Json event) {
    event["sequence_number"] = sequence_++;
    AppendNamedEvent(out, event);
  }
  static Json Content(const std::string& text) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}};
  }
  Json Part(const char* type, const Json& more) const {
    Json event = {
        {"type", type}, {"item_id", "msg_" + info_.id}, {"output_index", 0}, {"content_index", 0}};
    event.update(more);
    return event;
  }
  Json Item(const char* status, Json content) const {
    return {{"id", "msg_" + info_.id},
            {"type", "message"},
            {"status", status},
            {"role", "assistant"},
            {"content", std::move(content)}};
  }
  Json Response(const char* status, Json output) const {
    return {{"id", info_.id},
            {"object", "response"},
            {"created_at", info_.created_s},
            {"status", status},
            {"error", nullptr},
            {"model", info_.model},
            {"output", std::move(output)}};
  }
  Json Complete(const std::vector<Answer>& answers, const Usage& usage) const {
    const Answer& answer = answers.front();
    const bool cut = answer.reason == FinishReason::kLength;
    const std::string text = JoinPieces(answer.pieces, answer.said);
    Json response = Response(cut ? "incomplete" : "completed",
                             Json::array({Item("completed", Json::array({Content(text)}))}));
    response["incomplete_details"] = cut ? Json{{"reason", "max_output_tokens"}} : Json();
    response["usage"] = {{"input_tokens", usage.prompt_tokens},
                         {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                         {"output_tokens", usage.output_tokens},
                         {"output_tokens_details", {{"reasoning_tokens", 0}}},
                         {"total_tokens", usage.prompt_tokens + usage.output_tokens}};
    return response;
  }

  const AnswerInfo info_;
  uint32_t sequence_ = 0;
};

// POST /v1/messages.
class MessagesFormat final : public AnswerFormat {
 public:
  explicit MessagesFormat(AnswerInfo info) : info_(std::move(info)) {}

  void Open(std::string& out, size_t, const Usage& usage) override {
    AppendNamedEvent(
        out, {{"type", "message_start"}, {"message", Message(Json::array(), nullptr, usage)}});
    AppendNamedEvent(out, {{"type", "content_block_start"},
                           {"index", 0},
                           {"content_block", {{"type", "text"}, {"text", ""}}}});
  }
  void Token(std::string& out, size_t, const Answer& answer) override {
    const std::string text(answer.pieces[answer.said - 1].text);
    AppendNamedEvent(out, {{"type", "content_block_delta"},
                           {"index", 0},
                           {"delta", {{"type", "text_delta"}, {"text", text}}}});
  }
  void Finish(std::string& out, size_t, const Answer& answer) override {
    reason_ = Reason(answer);
    AppendNamedEvent(out, {{"type", "content_block_stop"}, {"index", 0}});
  }
  void Close(std::string& out, const std::vector<Answer>&, const Usage& usage) override {
    AppendNamedEvent(out, {{"type", "message_delta"},
                           {"delta", {{"stop_reason", reason_}, {"stop_sequence", nullptr}}},
                           {"usage", Count(usage)}});
    AppendNamedEvent(out, {{"type", "message_stop"}});
  }
  std::string Whole(const std::vector<Answer>& answers, const Usage& usage) override {
    const Answer& answer = answers.front();
    const Json text = {{"type", "text"}, {"text", JoinPieces(answer.pieces, answer.said)}};
    return Dump(Message(Json::array({text}), Reason(answer), usage));
  }

 private:
  static const char* Reason(const Answer& answer) {
    return answer.reason == FinishReason::kLength ? "max_tokens" : "end_turn";
  }
  static Json Count(const Usage& usage) {
    return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
            {"cache_read_input_tokens", usage.cached_tokens},
            {"output_tokens", usage.output_tokens}};
  }
  Json Message(Json content, Json reason, const Usage& usage) const {
    return {{"id", info_.id},
            {"type", "message"},
            {"role", "assistant"},
            {"model", info_.model},
            {"content", std::move(content)},
            {"stop_reason", std::move(reason)},
            {"stop_sequence", nullptr},
            {"usage", Count(usage)}};
  }

  const AnswerInfo info_;
  const char* reason_ = "end_turn";
};

// POST /inference/v1/generate.
class TokensFormat final : public AnswerFormat {
 public:
  explicit TokensFormat(AnswerInfo info) : info_(std::move(info)) {}

  void Open(std::string&, size_t, const Usage&) override {}
  void Token(std::string& out, size_t choice, const Answer& answer) override {
    const Json ids = Json::array({answer.pieces[answer.said - 1].token});
    AppendData(out, Frame(Json::array({Choice(choice, ids, nullptr)})));
  }
  void Finish(std::string& out, size_t choice, const Answer& answer) override {
    AppendData(out, Frame(Json::array({Choice(choice, Json::array(), ReasonName(answer.reason))})));
  }
  void Close(std::string& out, const std::vector<Answer>&, const Usage& usage) override {
    if (info_.include_usage) {
      Json frame = Frame(Json::array());
      frame["usage"] = Count(usage);
      AppendData(out, frame);
    }
    out += "data: [DONE]\n\n";
  }
  std::string Whole(const std::vector<Answer>& answers, const Usage& usage) override {
    Json choices = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      choices.push_back(Choice(i, TokenIds(answers[i]), ReasonName(answers[i].reason)));
    }
    Json frame = Frame(std::move(choices));
    frame["usage"] = Count(usage);
    return Dump(frame);
  }

 private:
  Json Frame(Json choices) const {
    return {{"request_id", info_.id}, {"choices", std::move(choices)}};
  }
  static Json Choice(size_t index, Json ids, Json reason) {
    return {{"index", index}, {"token_ids", std::move(ids)}, {"finish_reason", std::move(reason)}};
  }
  static Json Count(const Usage& usage) {
    return {{"prompt_tokens", usage.prompt_tokens},
            {"completion_tokens", usage.output_tokens},
            {"total_tokens", usage.prompt_tokens + usage.output_tokens},
            {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
  }

  const AnswerInfo info_;
};

// POST /generate of SGLang: each event carries the whole text so far.
class SglangFormat final : public AnswerFormat {
 public:
  explicit SglangFormat(AnswerInfo info) : info_(std::move(info)) {}

  void Open(std::string&, size_t choices, const Usage&) override { choices_ = choices; }
  void Token(std::string& out, size_t choice, const Answer& answer) override {
    AppendData(out, Output(choice, answer, nullptr));
  }
  void Finish(std::string& out, size_t choice, const Answer& answer) override {
    AppendData(out, Output(choice, answer, Reason(answer)));
  }
  void Close(std::string& out, const std::vector<Answer>&, const Usage&) override {
    out += "data: [DONE]\n\n";
  }
  std::string Whole(const std::vector<Answer>& answers, const Usage&) override {
    choices_ = answers.size();
    Json outputs = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      outputs.push_back(Output(i, answers[i], Reason(answers[i])));
    }
    return Dump(answers.size() == 1 ? outputs.front() : outputs);
  }

 private:
  static Json Reason(const Answer& answer) {
    Json reason = {{"type", ReasonName(answer.reason)}};
    if (answer.reason == FinishReason::kLength) reason["length"] = answer.said;
    return reason;
  }
  Json Output(size_t choice, const Answer& answer, Json reason) const {
    Json output = {{"text", JoinPieces(answer.pieces, answer.said)},
                   {"output_ids", TokenIds(answer)},
                   {"meta_info",
                    {{"id", info_.id},
                     {"finish_reason", std::move(reason)},
                     {"prompt_tokens", answer.prompt_tokens},
                     {"completion_tokens", answer.said},
                     {"cached_tokens", answer.cached_tokens}}}};
    if (choices_ > 1) output["index"] = choice;
    return output;
  }

  const AnswerInfo info_;
  size_t choices_ = 1;
};

}  // namespace

std::unique_ptr<AnswerFormat> CreateResponsesFormat(AnswerInfo info) {
  return std::make_unique<ResponsesFormat>(std::move(info));
}
std::unique_ptr<AnswerFormat> CreateMessagesFormat(AnswerInfo info) {
  return std::make_unique<MessagesFormat>(std::move(info));
}
std::unique_ptr<AnswerFormat> CreateTokensFormat(AnswerInfo info) {
  return std::make_unique<TokensFormat>(std::move(info));
}
std::unique_ptr<AnswerFormat> CreateSglangFormat(AnswerInfo info) {
  return std::make_unique<SglangFormat>(std::move(info));
}

}  // namespace weir::sim
