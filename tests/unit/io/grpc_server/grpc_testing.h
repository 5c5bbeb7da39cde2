// A gRPC server on fake streams: a test plays clients (an nghttp2 session each), handler and clock.
#pragma once

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/clock.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/stream.h"

namespace weir::io {

inline constexpr int64_t kSecondNs = 1'000'000'000;
inline constexpr std::string_view kEchoPath = "/weir.test.Echo/Stream";

using Fields = std::vector<std::pair<std::string, std::string>>;

// The five bytes before a message, then the message.
inline std::string Framed(std::string_view message, char flag = 0) {
  std::string bytes(1, flag);
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(message.size() >> shift));
  }
  bytes += message;
  return bytes;
}

inline Fields GrpcFields(std::string_view path = kEchoPath) {
  return {{":method", "POST"},    {":scheme", "http"}, {":path", std::string(path)},
          {":authority", "test"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
}

// The client's side of one connection.
class TestClient {
 public:
  struct Reply {
    std::map<std::string, std::string> headers;
    std::map<std::string, std::string> trailers;
    std::string data;
    bool ended = false;   // END_STREAM has been seen
    bool closed = false;  // and the stream is gone
    uint32_t error = 0;

    std::vector<std::string> messages() const {
      std::vector<std::string> all;
      for (size_t at = 0; at + 5 <= data.size();) {
        uint32_t size = 0;
        for (size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(data[at + i]);
        all.push_back(data.substr(at + 5, size));
        at += 5 + size;
      }
      return all;
    }
    std::string status() const {
      const auto found = trailers.find("grpc-status");
      if (found != trailers.end()) return found->second;
      const auto only = headers.find("grpc-status");
      return only == headers.end() ? "none" : only->second;
    }
    std::string message() const {
      const auto& where = trailers.contains("grpc-status") ? trailers : headers;
      const auto found = where.find("grpc-message");
      return found == where.end() ? "" : found->second;
    }
  };

  explicit TestClient(bool auto_window = true, uint32_t stream_window_bytes = 65'535) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    if (!auto_window) nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                                          stream_window_bytes};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &entry, 1);
  }
  ~TestClient() { nghttp2_session_del(session_); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  int32_t Open(const Fields& fields = GrpcFields(), bool end = false) {
    std::vector<nghttp2_nv> nva;
    for (const auto& [name, value] : fields) {
      nva.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(),
                     value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    auto upload = std::make_unique<Upload>();
    upload->end = end;
    nghttp2_data_provider provider = {};
    provider.source.ptr = upload.get();
    provider.read_callback = OnRead;
    const int32_t stream =
        nghttp2_submit_request(session_, nullptr, nva.data(), nva.size(), &provider, nullptr);
    uploads_[stream] = std::move(upload);
    replies_[stream];
    return stream;
  }
  void SendRaw(int32_t stream, std::string_view bytes, bool end = false) {
    Upload& upload = *uploads_.at(stream);
    upload.bytes += bytes;
    upload.end = upload.end || end;
    nghttp2_session_resume_data(session_, stream);
  }
  void Send(int32_t stream, std::string_view message, bool end = false) {
    SendRaw(stream, Framed(message), end);
  }
  void End(int32_t stream) { SendRaw(stream, "", true); }
  size_t unsent(int32_t stream) { return uploads_.at(stream)->bytes.size(); }

  std::string TakeOutput() {
    std::string all;
    const uint8_t* data = nullptr;
    for (ssize_t bytes = 1; bytes > 0;) {
      bytes = nghttp2_session_mem_send(session_, &data);
      if (bytes > 0) all.append(reinterpret_cast<const char*>(data), static_cast<size_t>(bytes));
    }
    return all;
  }
  void Receive(std::string_view bytes) {
    const ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    EXPECT_EQ(taken, static_cast<ssize_t>(bytes.size()));
  }

  nghttp2_session* session() { return session_; }
  Reply& reply(int32_t stream) { return replies_[stream]; }
  int goaways = 0;
  uint32_t goaway_error = 0;
  int32_t goaway_last_stream = 0;
  int pings = 0;
  std::map<int32_t, uint32_t> settings;  // the server's

 private:
  struct Upload {
    std::string bytes;
    bool end = false;
  };
  static TestClient& Self(void* user_data) { return *static_cast<TestClient*>(user_data); }

  static ssize_t OnRead(nghttp2_session*, int32_t, uint8_t* buffer, size_t length, uint32_t* flags,
                        nghttp2_data_source* source, void*) {
    auto& upload = *static_cast<Upload*>(source->ptr);
    const size_t bytes = std::min(length, upload.bytes.size());
    if (bytes == 0 && !upload.end) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(buffer, upload.bytes.data(), bytes);
    upload.bytes.erase(0, bytes);
    if (upload.bytes.empty() && upload.end) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(bytes);
  }
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_bytes, const uint8_t* value, size_t value_bytes, uint8_t,
                      void* user_data) {
    Reply& reply = Self(user_data).replies_[frame->hd.stream_id];
    auto& where = frame->headers.cat == NGHTTP2_HCAT_RESPONSE ? reply.headers : reply.trailers;
    where[std::string(reinterpret_cast<const char*>(name), name_bytes)] =
        std::string(reinterpret_cast<const char*>(value), value_bytes);
    return 0;
  }
  static int OnData(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* data, size_t bytes,
                    void* user_data) {
    Self(user_data).replies_[stream].data.append(reinterpret_cast<const char*>(data), bytes);
    return 0;
  }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    TestClient& self = Self(user_data);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      ++self.goaways;
      self.goaway_error = frame->goaway.error_code;
      self.goaway_last_stream = frame->goaway.last_stream_id;
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) ++self.pings;
    if (frame->hd.type == NGHTTP2_SETTINGS) {
      for (size_t i = 0; i < frame->settings.niv; ++i) {
        self.settings[frame->settings.iv[i].settings_id] = frame->settings.iv[i].value;
      }
    }
    const bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      self.replies_[frame->hd.stream_id].ended = true;
    }
    return 0;
  }
  static int OnClose(nghttp2_session*, int32_t stream, uint32_t error, void* user_data) {
    Reply& reply = Self(user_data).replies_[stream];
    reply.closed = true;
    reply.error = error;
    return 0;
  }

  nghttp2_session* session_ = nullptr;
  std::map<int32_t, std::unique_ptr<Upload>> uploads_;
  std::map<int32_t, Reply> replies_;
};

// Echoes and ends with OK, unless the test says otherwise; remembers what it was told.
class EchoHandler final : public GrpcHandler {
 public:
  std::function<void(GrpcCall&)> on_call = [](GrpcCall&) {};
  std::function<void(GrpcCall&, std::string_view)> on_message =
      [](GrpcCall& call, std::string_view message) { call.Send(message); };
  std::function<void(GrpcCall&)> on_half_close = [](GrpcCall& call) { call.Finish(Code::kOk); };
  std::function<void(GrpcCall&)> on_send_ready = [](GrpcCall&) {};
  std::function<void(GrpcCall&)> on_end = [](GrpcCall&) {};
  GrpcCall* call = nullptr;  // the latest that has not ended
  std::vector<std::string> messages;
  std::vector<GrpcEnd> ends;
  std::vector<Code> end_codes;
  uint32_t calls = 0;
  uint32_t half_closes = 0;
  uint32_t send_readies = 0;

  void OnCall(GrpcCall& c) override {
    EXPECT_EQ(c.context, nullptr);
    c.context = this;
    call = &c;
    ++calls;
    on_call(c);
  }
  void OnMessage(GrpcCall& c, std::string_view message) override {
    EXPECT_EQ(c.context, this);
    EXPECT_TRUE(c.metadata().empty());
    messages.emplace_back(message);
    on_message(c, message);
  }
  void OnHalfClose(GrpcCall& c) override {
    EXPECT_EQ(c.context, this);
    ++half_closes;
    on_half_close(c);
  }
  void OnSendReady(GrpcCall& c) override {
    ++send_readies;
    on_send_ready(c);
  }
  void OnEnd(GrpcCall& c, GrpcEnd why) override {
    EXPECT_EQ(c.context, this);
    if (call == &c) call = nullptr;
    ends.push_back(why);
    end_codes.push_back(c.end_code());
    on_end(c);
  }
};

// A client and its fake socket.
struct TestConnection {
  explicit TestConnection(bool auto_window = true, uint32_t window_bytes = 65'535)
      : client(auto_window, window_bytes) {}
  FakeTransport transport;
  TestClient client;
};

class GrpcServerTest : public ::testing::Test {
 protected:
  GrpcServerTest() { Restart({}); }
  ~GrpcServerTest() override {
    const uint64_t in_flight = server_->counters().calls_in_flight.value();
    EXPECT_EQ(handler_.calls, handler_.ends.size() + in_flight);
    server_.reset();
    Turn();
    EXPECT_EQ(handler_.calls, handler_.ends.size()) << "OnEnd once for each OnCall";
    EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u) << "all buffers are back";
  }

  void Restart(const GrpcServerOptions& options) {
    server_.reset();
    if (loop_ == nullptr) loop_ = EventLoop::Create(clock_).value();
    server_ = std::make_unique<GrpcServer>(*loop_, options);
    EXPECT_EQ(server_->Register(kEchoPath, handler_), Code::kOk);
  }
  TestConnection& Connect(bool auto_window = true, uint32_t window_bytes = 65'535) {
    TestConnection& made =
        *connections_.emplace_back(std::make_unique<TestConnection>(auto_window, window_bytes));
    server_->Accept(made.transport.NewStream(), {});
    Exchange(made);
    return made;
  }
  void Turn() { loop_->RunOnce(0); }
  void Advance(int64_t ns) {
    clock_.Advance(ns);
    Turn();
    Turn();
  }
  // Carries bytes both ways until nobody has anything to say.
  void Exchange(TestConnection& connection) {
    for (bool moved = true; moved;) {
      const std::string up = connection.client.TakeOutput();
      if (!connection.transport.closed() && !up.empty()) {
        connection.transport.Deliver(up);
        connection.transport.Notify(kReadable);
      }
      Turn();
      Turn();
      std::string down;
      down.swap(connection.transport.written());
      if (!down.empty()) connection.client.Receive(down);
      moved = !up.empty() || !down.empty();
    }
  }
  uint64_t Count(GrpcEnd end) const {
    return server_->counters().calls[static_cast<size_t>(end)].value();
  }
  uint64_t Count(GrpcRefusal refusal) const {
    return server_->counters().refused[static_cast<size_t>(refusal)].value();
  }

  ManualClock clock_{kSecondNs};
  std::unique_ptr<EventLoop> loop_;
  EchoHandler handler_;
  std::vector<std::unique_ptr<TestConnection>> connections_;
  std::unique_ptr<GrpcServer> server_;
};

}  // namespace weir::io
