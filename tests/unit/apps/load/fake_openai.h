// An OpenAI server for tests, on a thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "weir/io/http/server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/tls.h"

namespace weir::load {

enum class FakeAnswer {
  kGood,  // a role event, max_tokens words, usage, [DONE]; or one object if not streamed
  kStatus503,
  kNoDone,   // a stream that ends without [DONE]
  kCut,      // the connection ends within the stream
  kError,    // an error event in the stream
  kSilence,  // never an answer
  kEndless,  // two events, then nothing more
};

class FakeOpenAi final : private weir::io::HttpHandler {
 public:
  explicit FakeOpenAi(FakeAnswer answer, std::string server_name = "", bool tls = false)
      : answer_(answer), server_name_(std::move(server_name)) {
    if (tls) tls_ = *weir::io::TlsContext::Server({});
    loop_ = *weir::io::EventLoop::Create();
    server_ = *weir::io::HttpServer::Open(
        *loop_,
        {.address = *weir::io::SocketAddress::Parse("127.0.0.1:0"), .tls_or_null = tls_.get()},
        *this);
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~FakeOpenAi() {
    loop_->Stop();
    thread_.join();
    open_.clear();
    server_.reset();
  }

  std::string url() const {
    return (tls_ ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(server_->port());
  }

  // Bodies and chosen headers of all requests so far.
  std::vector<nlohmann::json> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }
  std::vector<std::string> conversation_headers() {
    const std::lock_guard lock(mutex_);
    return conversation_headers_;
  }

 private:
  static std::string Event(const nlohmann::json& delta) {
    return "data: " +
           nlohmann::json{{"choices", nlohmann::json::array({{{"delta", delta}}})}}.dump() + "\n\n";
  }

  void OnRequest(const weir::io::HttpRequest& request, weir::io::ResponseWriter response) override {
    const auto body = nlohmann::json::parse(request.body, nullptr, false);
    {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(body);
      conversation_headers_.emplace_back(request.head.Find("x-conversation"));
    }
    std::vector<weir::io::HeaderField> headers = {{"content-type", "text/event-stream"}};
    if (!server_name_.empty()) headers.push_back({"x-weir-endpoint", server_name_});
    const int tokens = body.value("max_tokens", 1);
    switch (answer_) {
      case FakeAnswer::kStatus503:
        response.Send(503, headers, "{\"error\":{\"message\":\"full\"}}");
        return;
      case FakeAnswer::kSilence:
        open_.push_back(std::move(response));
        return;
      case FakeAnswer::kError:
        response.Send(200, headers, "data: {\"error\":{\"message\":\"lost\"}}\n\ndata: [DONE]\n\n");
        return;
      case FakeAnswer::kGood:
        if (!body.value("stream", false)) {
          response.Send(
              200, headers,
              R"({"choices":[{"message":{"role":"assistant","content":"whole \"answer\""}}],)"
              R"("usage":{"prompt_tokens":100,"completion_tokens":2,)"
              R"("prompt_tokens_details":{"cached_tokens":75}}})");
          return;
        }
        break;
      case FakeAnswer::kNoDone:
      case FakeAnswer::kCut:
      case FakeAnswer::kEndless:
        break;
    }
    response.Begin(200, headers, Event({{"role", "assistant"}, {"content", ""}}));
    if (answer_ == FakeAnswer::kEndless) {
      response.Write(Event({{"content", "first"}}));
      response.Write(Event({{"content", " second"}}));
      open_.push_back(std::move(response));
      return;
    }
    for (int i = 0; i < tokens; ++i) response.Write(Event({{"content", " w" + std::to_string(i)}}));
    if (answer_ == FakeAnswer::kCut) {
      response.CutAfter(0);
      response.Write("data: ");
      return;
    }
    response.Write("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":" +
                   std::to_string(tokens) +
                   ",\"prompt_tokens_details\":{\"cached_tokens\":40}}}\n\n");
    if (answer_ == FakeAnswer::kGood) response.Write("data: [DONE]\n\n");
    response.End();
  }

  const FakeAnswer answer_;
  const std::string server_name_;
  std::unique_ptr<weir::io::TlsContext> tls_;
  std::unique_ptr<weir::io::EventLoop> loop_;
  std::unique_ptr<weir::io::HttpServer> server_;
  std::vector<weir::io::ResponseWriter> open_;
  std::mutex mutex_;
  std::vector<nlohmann::json> bodies_;
  std::vector<std::string> conversation_headers_;
  std::thread thread_;
};

}  // namespace weir::load
