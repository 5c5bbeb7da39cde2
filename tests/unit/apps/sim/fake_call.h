// Instances in virtual time, called without sockets.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "instance.h"
#include "options.h"
#include "web_call.h"

namespace weir::sim {

// One call and what became of it.
class FakeCall final : public WebCall {
 public:
  FakeCall(std::string method, std::string path, std::string body = "",
           std::map<std::string, std::string> headers = {})
      : method_(std::move(method)),
        path_(std::move(path)),
        body_(std::move(body)),
        headers_(std::move(headers)) {}

  std::string_view method() const override { return method_; }
  std::string_view path() const override { return path_; }
  std::string_view body() const override { return body_; }
  std::string_view header(std::string_view name) const override {
    const auto found = headers_.find(std::string(name));
    return found == headers_.end() ? std::string_view() : found->second;
  }
  void AddHeader(std::string_view name, std::string_view value) override {
    sent_headers[std::string(name)] = std::string(value);
  }
  void Answer(int answer_status, std::string_view type, std::string_view bytes) override {
    EXPECT_FALSE(started || ended || aborted);
    status = answer_status;
    content_type = std::string(type);
    answer = std::string(bytes);
    ended = true;
  }
  void Start(int answer_status, std::string_view type) override {
    EXPECT_FALSE(started || ended || aborted);
    status = answer_status;
    content_type = std::string(type);
    started = true;
  }
  void Write(std::string_view bytes) override {
    EXPECT_TRUE(started && !ended && !aborted);
    answer += bytes;
  }
  void End() override {
    EXPECT_TRUE(started && !ended && !aborted);
    ended = true;
  }
  void Abort() override {
    EXPECT_FALSE(ended || aborted);
    aborted = true;
  }

  nlohmann::json json() const { return nlohmann::json::parse(answer, nullptr, false); }
  // The data of each event, as JSON; "[DONE]" as a string.
  std::vector<nlohmann::json> events() const {
    std::vector<nlohmann::json> events;
    for (size_t at = 0; (at = answer.find("data: ", at)) != std::string::npos;) {
      const size_t end = answer.find("\n\n", at);
      EXPECT_NE(end, std::string::npos) << "an event without end";
      if (end == std::string::npos) break;
      const std::string data = answer.substr(at + 6, end - at - 6);
      events.push_back(data == "[DONE]" ? nlohmann::json(data)
                                        : nlohmann::json::parse(data, nullptr, false));
      EXPECT_FALSE(events.back().is_discarded()) << data;
      at = end;
    }
    return events;
  }

  int status = 0;
  std::string content_type;
  std::string answer;
  std::map<std::string, std::string> sent_headers;
  bool started = false;
  bool ended = false;
  bool aborted = false;

 private:
  std::string method_, path_, body_;
  std::map<std::string, std::string> headers_;
};

inline SimOptions TestOptions() {
  SimOptions options;
  options.model = "m";
  options.jitter = Jitter::kNone;
  options.cpu_costs = false;
  return options;
}

inline std::unique_ptr<Instance> MakeInstance(SimOptions options) {
  const absl::Status resolved = Resolve(options);
  EXPECT_TRUE(resolved.ok()) << resolved;
  auto instance = Instance::Create(options, {.index = 0, .port = 8000, .unix_s = 1000});
  EXPECT_TRUE(instance.ok()) << instance.status();
  return *std::move(instance);
}

inline void RunToEnd(Instance& instance) {
  while (instance.NextEventTime() != Engine::kNever) instance.AdvanceTo(instance.NextEventTime());
}

// Calls and lets everything happen that follows.
inline FakeCall Ask(Instance& instance, FakeCall call) {
  instance.Handle(call, 0);
  RunToEnd(instance);
  return call;
}

inline FakeCall Post(Instance& instance, const std::string& path, const std::string& body,
                     std::map<std::string, std::string> headers = {}) {
  return Ask(instance, FakeCall("POST", path, body, std::move(headers)));
}

inline FakeCall Get(Instance& instance, const std::string& path) {
  return Ask(instance, FakeCall("GET", path));
}

}  // namespace weir::sim
