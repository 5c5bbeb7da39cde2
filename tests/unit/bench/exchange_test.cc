#include "ext_proc_load/exchange.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "weir/clock.h"

namespace weir::bench {
namespace {

class FixedClock final : public Clock {
 public:
  int64_t now_ns() const noexcept override { return now; }
  int64_t now = 1000;
};

// Answers an exchange message by message, as a picker would.
class ExchangeTest : public testing::Test, protected ExchangeObserver {
 protected:
  void OnDecision(int64_t latency_ns) override { decisions.push_back(latency_ns); }
  void OnSendable(Exchange&) override { ++sendable_calls; }
  void OnGivenUp(Exchange&) override { given_up = true; }
  void OnDone(Exchange&, std::string_view error) override {
    done = true;
    done_error = error;
  }

  std::string TakeAll() {
    std::string bytes(exchange.sendable_bytes(), '\0');
    exchange.Take(bytes.size(), bytes.data());
    return bytes;
  }
  void Decide(bool skips_response_body = false) {
    std::string answer;
    AppendHeadersAnswer(Phase::kRequest, "10.0.0.1:80", skips_response_body, answer);
    exchange.OnMessage(answer);
  }
  // Echoes the body messages among `framed`.
  void Echo(std::string_view framed) {
    while (!framed.empty()) {
      size_t size = 0;
      for (size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<uint8_t>(framed[i]);
      Question question;
      ASSERT_TRUE(ParseQuestion(framed.substr(kFrameHeadBytes, size), &question));
      framed.remove_prefix(kFrameHeadBytes + size);
      if (question.field != 4 && question.field != 5) continue;
      std::string answer;
      AppendEchoHead(question.field == 4 ? Phase::kRequest : Phase::kResponse,
                     question.inner.size(), answer);
      exchange.OnMessage(answer.append(question.inner));
    }
  }
  void AnswerResponseHeaders() {
    std::string answer;
    AppendHeadersAnswer(Phase::kResponse, {}, false, answer);
    exchange.OnMessage(answer);
  }

  const Script script = *Script::Make({.body_bytes = 70'000, .conversations = 2, .events = 3});
  ExchangeOptions options = {.obeys_mode_override = true, .compares_bytes = true};
  FixedClock clock;
  std::vector<int64_t> decisions;
  int sendable_calls = 0;
  bool given_up = false, done = false;
  std::string done_error;
  Exchange exchange{script, options, clock, *this};
};

TEST_F(ExchangeTest, RunsToItsEnd) {
  exchange.Begin(7);
  const std::string sent = TakeAll();
  clock.now += 250;
  Decide();
  EXPECT_EQ(decisions, std::vector<int64_t>{250});
  Echo(sent);
  EXPECT_FALSE(TakeAll().empty());  // response headers
  AnswerResponseHeaders();
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(exchange.sends_no_more());
    Echo(TakeAll());  // one event at a time
  }
  EXPECT_TRUE(exchange.sends_no_more());
  exchange.OnClosed({.grpc_status = 0});
  EXPECT_TRUE(done);
  EXPECT_EQ(done_error, "");
}

TEST_F(ExchangeTest, KeepsBackTheResponseBodyWhenTold) {
  exchange.Begin(7);
  const std::string sent = TakeAll();
  Decide(/*skips_response_body=*/true);
  Echo(sent);
  TakeAll();
  AnswerResponseHeaders();
  EXPECT_EQ(exchange.sendable_bytes(), 0u);
  EXPECT_TRUE(exchange.sends_no_more());
  exchange.OnClosed({.grpc_status = 0});
  EXPECT_EQ(done_error, "");
}

TEST_F(ExchangeTest, NoticesWhatIsWrong) {
  const auto error_of = [this](auto&& act) {
    given_up = done = false;
    exchange.Begin(7);
    act();
    exchange.OnClosed({.grpc_status = 0});
    return done_error;
  };
  EXPECT_EQ(error_of([] {}), "ended early");
  EXPECT_EQ(error_of([this] { Decide(); }), "decision before the end of the body");
  EXPECT_EQ(error_of([this] { exchange.OnMessage("\xff"); }), "not a ProcessingResponse");
  EXPECT_EQ(error_of([this] {
              TakeAll();
              std::string answer;
              AppendHeadersAnswer(Phase::kResponse, {}, false, answer);
              exchange.OnMessage(answer);
            }),
            "answer 2 instead of 1");
  EXPECT_EQ(error_of([this] {
              TakeAll();
              exchange.OnMessage(std::string_view("\x0a\0", 2));  // request_headers {}
            }),
            "no destination");
  EXPECT_EQ(error_of([this] { exchange.OnMessage("\x3a\x05\x0a\x03\x08\xad\x03"); }),
            "immediate response 429");
  EXPECT_TRUE(given_up);
}

TEST_F(ExchangeTest, ComparesTheEcho) {
  exchange.Begin(7);
  std::string sent = TakeAll();
  Decide();
  sent[sent.size() - 100] ^= 1;
  Echo(sent);
  exchange.OnClosed({.grpc_status = 0});
  EXPECT_EQ(done_error, "echo of another text");
}

TEST_F(ExchangeTest, NoticesAnEchoOfAnotherSize) {
  exchange.Begin(7);
  const std::string sent = TakeAll();
  Decide();
  std::string cut;
  AppendBody(Phase::kRequest, "{", true, cut);
  options.compares_bytes = false;
  Echo(cut);
  exchange.OnClosed({.grpc_status = 0});
  EXPECT_EQ(done_error, "echo of another size");
}

TEST_F(ExchangeTest, TellsHowTheStreamEnded) {
  const auto error_of = [this](const StreamEnd& end) {
    exchange.Begin(7);
    exchange.OnClosed(end);
    return done_error;
  };
  EXPECT_EQ(error_of({.grpc_status = 8}), "grpc-status 8");
  EXPECT_EQ(error_of({.http2_error = 7}), "stream reset 7");
  EXPECT_EQ(error_of({.connection_lost = true}), "connection lost");
}

}  // namespace
}  // namespace weir::bench
