#include "weir/io/ext_proc/ext_proc_service.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "stream_testing.h"

namespace weir::io {
namespace {

using testing::EncodeRequest;
using testing::Json;
using testing::Picker;
using testing::PipelineOf;

std::string Message(const char* json) { return EncodeRequest(Json::parse(json)); }

// A call whose transport sends when the test says so, or at once.
class FakeCall final : public GrpcCall {
 public:
  ~FakeCall() { ReleaseAll(); }

  std::span<const GrpcMetadata> metadata() const noexcept override { return {}; }
  const SocketAddress& peer() const noexcept override { return peer_; }
  bool is_tls() const noexcept override { return false; }
  int64_t deadline_ns() const noexcept override { return INT64_MAX; }
  bool Send(std::string_view head, std::string_view body, BytesOwner* owner_or_null) override {
    ++sent;
    bytes += head.size() + body.size();
    if (owner_or_null != nullptr) {
      owner_or_null->Acquire();
      owners_.push_back(owner_or_null);
      if (sends_at_once) ReleaseAll();
    }
    return has_room;
  }
  void Finish(Code how, std::string_view) override {
    finished = true;
    code = how;
  }
  void Pause() noexcept override { ++pauses; }
  void Resume() noexcept override { ++resumes; }
  void SetHeldBytes(uint64_t) noexcept override {}
  void SetDeadline(int64_t) noexcept override {}
  uint64_t unsent_bytes() const noexcept override { return 0; }
  Code end_code() const noexcept override { return code; }

  void ReleaseAll() {
    for (BytesOwner* owner : std::exchange(owners_, {})) owner->Release();
  }

  bool sends_at_once = false;
  bool has_room = true;
  bool finished = false;
  Code code = Code::kOk;
  int sent = 0;
  int pauses = 0;
  int resumes = 0;
  uint64_t bytes = 0;

 private:
  SocketAddress peer_;
  std::vector<BytesOwner*> owners_;
};

class ExtProcServiceTest : public ::testing::Test {
 protected:
  void SendRequest(GrpcCall& call) {
    service_.OnMessage(call, Message(R"({"request_headers": {}})"));
    service_.OnMessage(
        call, Message(R"({"request_body": {"body": [200000, "x"], "end_of_stream": true}})"));
  }

  Picker picker_{PipelineOf("passthrough"), Json::parse(R"([{"address": "10.0.0.1:8000"}])")};
  ExtProcService service_{picker_.core};
};

TEST_F(ExtProcServiceTest, KeepsABodyUntilItIsSent) {
  FakeCall call;
  service_.OnCall(call);
  SendRequest(call);
  EXPECT_EQ(call.sent, 5);
  EXPECT_GE(picker_.held.held(), 200'000u);
  call.ReleaseAll();
  EXPECT_EQ(picker_.held.held(), 0u);
  EXPECT_EQ(picker_.InFlight(), 1u);
  service_.OnEnd(call, GrpcEnd::kReset);
  EXPECT_EQ(picker_.InFlight(), 0u);
}

TEST_F(ExtProcServiceTest, OutlivesATransportThatSendsAtOnce) {
  FakeCall call;
  call.sends_at_once = true;
  service_.OnCall(call);
  SendRequest(call);
  EXPECT_EQ(call.sent, 5);
  EXPECT_GE(call.bytes, 200'000u);
  EXPECT_EQ(picker_.held.held(), 0u);
  service_.OnEnd(call, GrpcEnd::kConnectionLost);
}

TEST_F(ExtProcServiceTest, PausesOnceWhileNobodyTakesAnswers) {
  FakeCall call;
  call.has_room = false;
  service_.OnCall(call);
  SendRequest(call);
  EXPECT_EQ(call.pauses, 1);
  service_.OnSendReady(call);
  service_.OnSendReady(call);
  EXPECT_EQ(call.resumes, 1);
  call.ReleaseAll();
  service_.OnEnd(call, GrpcEnd::kTimeout);
  EXPECT_EQ(picker_.InFlight(), 0u);
}

TEST_F(ExtProcServiceTest, CountsTheStatusThatTheTransportSent) {
  const struct {
    GrpcEnd why;
    Code code;
    Json errors;
  } kEnds[] = {{GrpcEnd::kReset, Code::kCancelled, {}},
               {GrpcEnd::kConnectionLost, Code::kCancelled, {}},
               {GrpcEnd::kDeadline, Code::kDeadlineExceeded, {"Unknown"}},
               {GrpcEnd::kTimeout, Code::kDeadlineExceeded, {"Unknown"}},
               {GrpcEnd::kRefusedMessage, Code::kResourceExhausted, {"ResourceExhausted"}},
               {GrpcEnd::kOverLimit, Code::kResourceExhausted, {"ResourceExhausted"}},
               {GrpcEnd::kDrained, Code::kCancelled, {"Unknown"}}};
  for (const auto& end : kEnds) {
    SCOPED_TRACE(GrpcEndName(end.why));
    picker_.metrics.stream_codes.clear();
    picker_.metrics.errors = Json::array();
    FakeCall call;
    service_.OnCall(call);
    SendRequest(call);
    call.ReleaseAll();
    call.code = end.code;
    service_.OnEnd(call, end.why);
    EXPECT_EQ(picker_.metrics.stream_codes, std::vector{static_cast<uint32_t>(end.code)});
    EXPECT_EQ(picker_.metrics.errors, end.errors.is_null() ? Json::array() : end.errors);
  }
}

TEST_F(ExtProcServiceTest, FinishesWhenTheProxyDoes) {
  FakeCall call;
  service_.OnCall(call);
  service_.OnHalfClose(call);
  EXPECT_TRUE(call.finished);
  EXPECT_EQ(call.code, Code::kOk);
  service_.OnEnd(call, GrpcEnd::kFinished);
  EXPECT_EQ(picker_.metrics.streams, 0);
}

TEST_F(ExtProcServiceTest, ReusesStreamsAndKeepsThemApart) {
  for (int round = 0; round < 3; ++round) {
    FakeCall first, second;
    service_.OnCall(first);
    service_.OnCall(second);
    EXPECT_NE(first.context, second.context);
    SendRequest(first);
    service_.OnMessage(second, "\xFF");
    EXPECT_EQ(second.code, Code::kInvalidArgument);
    EXPECT_FALSE(first.finished);
    first.ReleaseAll();
    service_.OnEnd(first, GrpcEnd::kReset);
    service_.OnEnd(second, GrpcEnd::kFinished);
    EXPECT_EQ(first.context, nullptr);
  }
  EXPECT_EQ(picker_.held.held(), 0u);
  EXPECT_EQ(picker_.core.buffers.in_use_bytes(), 0u);
}

TEST_F(ExtProcServiceTest, TenThousandHalfOpenStreamsLeaveNothing) {
  constexpr int kStreams = 10'000;
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < kStreams; ++i) {
    calls.push_back(std::make_unique<FakeCall>());
    service_.OnCall(*calls.back());
    service_.OnMessage(
        *calls.back(),
        Message(R"({"request_headers": {"headers": [["content-length", "1048576"]]}})"));
    service_.OnMessage(*calls.back(), Message(R"({"request_body": {"body": "x"}})"));
  }
  EXPECT_EQ(picker_.metrics.streams, kStreams);
  EXPECT_EQ(picker_.held.held(), 2 * kStreams * kPooledBufferBytesMin);
  FakeCall honest;
  service_.OnCall(honest);
  SendRequest(honest);
  EXPECT_EQ(picker_.InFlight(), 1u) << "those who wait leave room for others";
  honest.ReleaseAll();
  service_.OnEnd(honest, GrpcEnd::kReset);
  for (const auto& call : calls) service_.OnEnd(*call, GrpcEnd::kTimeout);
  EXPECT_EQ(picker_.metrics.streams, 0);
  EXPECT_EQ(picker_.held.held(), 0u);
  EXPECT_EQ(picker_.core.buffers.in_use_bytes(), 0u);
}

}  // namespace
}  // namespace weir::io
