// A gRPC server for clients of other makes, on GrpcServer: echo methods and the health service.
// Usage: grpc_echo_server [--tls]
// Prints "listening on ADDRESS"; SIGTERM drains and ends it, SIGUSR1 turns the health around.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/grpc_server/health_service.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/signals.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/tls.h"

namespace {

using weir::Code;
using weir::io::GrpcCall;
using weir::io::GrpcEnd;

constexpr int64_t kDrainNs = 10'000'000'000;

// Every message comes back. Metadata "x-fail: CODE TEXT" fails the call at its first message;
// "x-silent" never answers.
class EchoHandler final : public weir::io::GrpcHandler {
 public:
  void OnCall(GrpcCall& call) override {
    auto* state = new State;
    state->fail = std::string(call.FindMetadata("x-fail").value_or(""));
    state->silent = call.FindMetadata("x-silent").has_value();
    call.context = state;
  }
  void OnMessage(GrpcCall& call, std::string_view message) override {
    State& state = *static_cast<State*>(call.context);
    if (!state.fail.empty()) {
      const size_t space = state.fail.find(' ');
      call.Finish(static_cast<Code>(std::stoi(state.fail)), state.fail.substr(space + 1));
      return;
    }
    if (state.silent) return;
    if (!call.Send({}, message)) {
      state.paused = true;
      call.Pause();
    }
  }
  void OnSendReady(GrpcCall& call) override {
    State& state = *static_cast<State*>(call.context);
    if (!state.paused) return;
    state.paused = false;
    call.Resume();
  }
  void OnHalfClose(GrpcCall& call) override {
    if (!static_cast<State*>(call.context)->silent) call.Finish(Code::kOk);
  }
  void OnEnd(GrpcCall& call, GrpcEnd why) override {
    delete static_cast<State*>(call.context);
    const std::string_view name = weir::io::GrpcEndName(why);
    std::printf("end %.*s\n", static_cast<int>(name.size()), name.data());
  }

 private:
  struct State {
    std::string fail;
    bool silent = false;
    bool paused = false;
  };
};

class Health final : public weir::io::HealthSource {
 public:
  weir::io::ServingStatus StatusOf(std::string_view service) override {
    if (service != "" && service != "weir.test.Echo") {
      return weir::io::ServingStatus::kServiceUnknown;
    }
    return serving ? weir::io::ServingStatus::kServing : weir::io::ServingStatus::kNotServing;
  }
  void ListServices(std::vector<std::string>& names) override { names = {"", "weir.test.Echo"}; }
  bool serving = true;
};

int Serve(bool tls) {
  auto loop = weir::io::EventLoop::Create();
  if (!loop.ok()) return 1;
  EchoHandler echo;
  Health source;
  weir::io::HealthService health(source);
  std::unique_ptr<weir::io::TlsContext> context;
  weir::io::GrpcServer server(**loop);
  if (server.Register("/weir.test.Echo/Stream", echo) != Code::kOk) return 1;
  if (server.Register("/weir.test.Echo/Unary", echo) != Code::kOk) return 1;
  if (health.Register(server) != Code::kOk) return 1;
  if (tls) {
    auto made = weir::io::TlsContext::Server({.alpn = {"h2"}});
    if (!made.ok()) return 1;
    context = *std::move(made);
    server.set_tls(context.get());
  }
  weir::io::ListenerOptions options;
  options.address = weir::io::SocketAddress::Parse("127.0.0.1:0").value();
  auto listener = weir::io::Listener::Open(**loop, options, server);
  if (!listener.ok()) return 1;
  bool ending = false;
  auto signals = weir::io::SignalWatcher::Open(**loop, {SIGTERM, SIGUSR1}, [&](int number) {
    if (number == SIGUSR1) {
      source.serving = !source.serving;
      health.Update();
      return;
    }
    ending = true;
    (*listener)->Close();
    health.EndWatches();
    server.Drain(kDrainNs);
  });
  if (!signals.ok()) return 1;
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  std::printf("listening on %s\n", (*listener)->address().ToString().c_str());
  while (!ending || !server.idle()) (*loop)->RunOnce(-1);
  std::printf("drained\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return Serve(argc > 1 && std::strcmp(argv[1], "--tls") == 0); }
