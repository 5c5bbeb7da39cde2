// The gRPC server: a script of bytes and events from a client and calls from a handler drives it
// over a fake stream. Whatever happens, each call ends once, all memory and owners come back. The
// bytes of a script are also read as gRPC framing, whole and cut, which must give the same
// messages.
//
// Script: an op byte and its arguments, see Step(). An op with its high bit set delivers all that
// is left of the script to the server, in steps of its low bits.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "script.h"
#include "weir/clock.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/grpc_server/health_service.h"
#include "weir/io/grpc_server/message_reader.h"
#include "weir/io/loop/event_loop.h"

namespace weir::io {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr uint32_t kMessageBytesMax = 4096;

void Require(bool condition) {
  if (!condition) std::abort();
}

class Body final : public BytesOwner {
 public:
  std::string text = std::string(20'000, 'b');

 private:
  void OnUnused() noexcept override {}
};

// Echoes, and does what the first byte of a message says.
class Handler final : public GrpcHandler {
 public:
  std::vector<GrpcCall*> calls;
  Body body;
  uint64_t begun = 0;
  uint64_t ended = 0;

  void OnCall(GrpcCall& call) override {
    ++begun;
    calls.push_back(&call);
    Act(call, static_cast<uint8_t>(call.FindMetadata("x").value_or("\1").substr(0, 1)[0]));
  }
  void OnMessage(GrpcCall& call, std::string_view message) override {
    if (message.empty()) return;
    Act(call, static_cast<uint8_t>(message[0]));
    call.Send(message);
  }
  void OnHalfClose(GrpcCall& call) override { call.Finish(Code::kOk, "bye"); }
  void OnSendReady(GrpcCall& call) override { call.Resume(); }
  void OnEnd(GrpcCall& call, GrpcEnd) override {
    ++ended;
    Require(std::erase(calls, &call) == 1);
    if (calls.empty()) Require(body.users() == 0);
  }
  void Act(GrpcCall& call, uint8_t what) {
    switch (what % 8) {
      case 0:
        return call.Pause();
      case 2:
        return call.Resume();
      case 3:
        call.Send("head", body.text, &body);
        return;
      case 4:
        return call.Finish(Code::kAborted, "100% of it");
      case 5:
        return call.SetHeldBytes(uint64_t{what} * 64);
      case 6:
        return call.SetDeadline(what < 128 ? 0 : call.deadline_ns() - 1'000'000);
      case 7:
        call.Send(std::string(what * 100u, 'c'));
        return;
    }
  }
};

class Source final : public HealthSource {
 public:
  uint8_t status = 1;
  ServingStatus StatusOf(std::string_view) override {
    return static_cast<ServingStatus>(status % 4);
  }
  void ListServices(std::vector<std::string>& names) override { names.assign(3, "service"); }
};

GrpcServerOptions SmallLimits() {
  GrpcServerOptions options;
  options.message_bytes_max = kMessageBytesMax;
  options.calls_per_connection_max = 8;
  options.unsent_high_water_bytes = 8'000;
  options.unsent_bytes_max = 40'000;
  options.call_held_bytes_max = 8'000;
  options.connection_held_bytes_max = 12'000;
  return options;
}

std::string Frame(uint8_t type, uint8_t flags, uint8_t stream, std::string_view payload) {
  std::string frame(9, '\0');
  frame[1] = static_cast<char>(payload.size() >> 8);
  frame[2] = static_cast<char>(payload.size());
  frame[3] = static_cast<char>(type);
  frame[4] = static_cast<char>(flags);
  frame[8] = static_cast<char>(stream);
  return frame.append(payload);
}

void AppendLiteral(std::string_view name, std::string_view value, std::string& out) {
  out.push_back('\0');
  out.push_back(static_cast<char>(name.size()));
  out.append(name);
  out.push_back(static_cast<char>(value.size()));
  out.append(value);
}

class Script {
 public:
  explicit Script(std::string_view bytes) : script_(bytes) {
    server_ = std::make_unique<GrpcServer>(*loop_, SmallLimits());
    Require(server_->Register("/f/F", handler_) == Code::kOk);
    Require(health_.Register(*server_) == Code::kOk);
    server_->Accept(client_.NewStream(), {});
  }

  void Run() {
    while (!script_.empty() && !client_.closed()) Step(script_.Byte());
    loop_->RunOnce(0);
    server_.reset();
    loop_->RunOnce(0);
    Require(handler_.begun == handler_.ended);
    Require(handler_.body.users() == 0);
    Require(health_.watch_count() == 0);
    Require(loop_->buffers().in_use_bytes() == 0);
    Require(client_.closed());
  }

 private:
  void Deliver(std::string_view bytes) {
    client_.Deliver(bytes);
    client_.Notify(kReadable);
  }
  void End(bool reset) {
    reset ? client_.DeliverError(ECONNRESET) : client_.DeliverEof();
    client_.Notify(kReadable | kPeerClosed | (reset ? kBroken : 0));
  }
  void Open(uint8_t options) {
    constexpr std::string_view kPaths[] = {"/f/F", "/grpc.health.v1.Health/Check",
                                           "/grpc.health.v1.Health/Watch", "/x/Y"};
    std::string block = "\x83\x86";  // POST, http
    block += '\x04';
    const std::string_view path = kPaths[options & 3];
    block.push_back(static_cast<char>(path.size()));
    block += path;
    AppendLiteral("te", "trailers", block);
    AppendLiteral("content-type", "application/grpc", block);
    if ((options & 4) != 0) AppendLiteral("grpc-encoding", "gzip", block);
    if ((options & 8) != 0) AppendLiteral("grpc-timeout", "50m", block);
    if ((options & 16) != 0) AppendLiteral("x", script_.Bytes(), block);
    Deliver(Frame(1, (options & 32) != 0 ? 5 : 4, stream_, block));
    stream_ += 2;
  }

  void Step(uint8_t op) {
    if ((op & 0x80) != 0) {
      for (const size_t step = (op & 0x7f) + 1u; !script_.empty() && !client_.closed();) {
        Deliver(script_.Take(step));
      }
      return;
    }
    switch (op % 14) {
      case 0:
        return Deliver(script_.Bytes());
      case 1: {
        const uint8_t type = script_.Byte(), flags = script_.Byte(), stream = script_.Byte();
        return Deliver(Frame(type, flags, stream, script_.Bytes()));
      }
      case 2:
        return Open(script_.Byte());
      case 3: {
        const uint8_t stream = script_.Byte(), flags = script_.Byte();
        const std::string_view message = script_.Bytes();
        std::string data(5, '\0');
        data[0] = static_cast<char>(flags >> 7);
        data[4] = static_cast<char>(message.size());
        return Deliver(Frame(0, flags & 1, stream, data.append(message)));
      }
      case 4:
        return End((op & 0x40) != 0);
      case 5:
        return client_.AllowWrite(size_t{script_.Byte()} * 16);
      case 6:
        return client_.Notify(kWritable);
      case 7:
        clock_.Advance(int64_t{script_.Byte()} * 50'000'000);
        loop_->RunOnce(0);
        return;
      case 8: {
        const uint8_t which = script_.Byte(), what = script_.Byte();
        if (!handler_.calls.empty()) {
          handler_.Act(*handler_.calls[which % handler_.calls.size()], what);
        }
        loop_->RunOnce(0);
        return;
      }
      case 9:
        return server_->Drain(int64_t{script_.Byte()} * 10'000'000 - 1);
      case 10:
        return Deliver(std::string(kPreface) + Frame(4, 0, 0, ""));
      case 11:
        return Deliver(Frame(3, 0, script_.Byte(), std::string_view("\0\0\0\10", 4)));
      case 12:
        return Deliver(Frame(8, 0, script_.Byte(), std::string_view("\0\0\xff\xff", 4)));
      case 13:
        source_.status = script_.Byte();
        health_.Update();
        loop_->RunOnce(0);
        return;
    }
  }

  ScriptReader script_;
  // Made once: a loop costs more than a script.
  static inline ManualClock& clock_ = *new ManualClock(1'000'000'000);
  static inline EventLoop* const loop_ = EventLoop::Create(clock_).value().release();
  FakeTransport client_;
  Handler handler_;
  Source source_;
  HealthService health_{source_};
  std::unique_ptr<GrpcServer> server_;
  uint8_t stream_ = 1;
};

// The messages in `bytes`, given in pieces of `step`; then how it went on.
std::vector<std::string> ReadFramed(std::string_view bytes, size_t step, BufferPool& pool) {
  GzipInflater inflater(pool);
  MessageReader reader;
  const MessageReader::Limits limits = {kMessageBytesMax, GrpcEncoding::kGzip};
  std::vector<std::string> messages;
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    while (true) {
      std::string_view message;
      const ReadStep read = reader.Next(piece, limits, pool, inflater, message);
      if (read == ReadStep::kError) {
        messages.emplace_back(reader.error_text());
        reader.Reset();
        inflater.Release();
        return messages;
      }
      if (read == ReadStep::kNeedMore) break;
      Require(message.size() <= kMessageBytesMax);
      messages.emplace_back(message);
    }
    Require(piece.empty());
    Require(reader.kept_bytes() <= kMessageBytesMax);
  }
  reader.Reset();
  return messages;
}

}  // namespace
}  // namespace weir::io

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  weir::io::Script(bytes).Run();
  weir::io::BufferPool pool;
  const auto whole = weir::io::ReadFramed(bytes, size + 1, pool);
  weir::io::Require(whole == weir::io::ReadFramed(bytes, 1, pool));
  weir::io::Require(whole == weir::io::ReadFramed(bytes, 7, pool));
  weir::io::Require(pool.in_use_bytes() == 0);
  return 0;
}
