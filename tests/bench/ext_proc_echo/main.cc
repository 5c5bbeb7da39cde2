// ext_proc_echo: the least that an endpoint picker on weir's transport can do: it holds the headers
// until the body's end, names a fixed destination, and echoes bodies and events. No JSON, no
// picking. What weir-epp costs beyond it is its own.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ext_proc_load/message.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/signals.h"
#include "weir/io/loop/tls.h"

namespace weir::bench {

namespace io = weir::io;

namespace {

struct Flags {
  std::string listen = "127.0.0.1:0";
  std::string destination = "10.0.0.1:8000";
  bool tls = false;
  bool mode_override = false;
};

// The body of one call, until its echo has left.
class HeldBody final : public io::BytesOwner {
 public:
  explicit HeldBody(std::vector<HeldBody*>& free) : free_(free) {}

  std::string bytes;                              // of HttpBody messages, in a row
  std::vector<std::pair<size_t, size_t>> pieces;  // offset and size of each

 private:
  void OnUnused() noexcept override {
    bytes.clear();
    pieces.clear();
    free_.push_back(this);
  }

  std::vector<HeldBody*>& free_;
};

class EchoHandler final : public io::GrpcHandler {
 public:
  explicit EchoHandler(const Flags& flags) {
    AppendHeadersAnswer(Phase::kRequest, flags.destination, flags.mode_override, request_answer_);
    AppendHeadersAnswer(Phase::kResponse, {}, false, response_answer_);
  }

  void OnCall(io::GrpcCall& call) override {
    if (free_.empty()) {
      bodies_.push_back(std::make_unique<HeldBody>(free_));
      free_.push_back(bodies_.back().get());
    }
    HeldBody* body = free_.back();
    free_.pop_back();
    body->Acquire();
    call.context = body;
  }

  void OnMessage(io::GrpcCall& call, std::string_view message) override {
    Question question;
    if (!ParseQuestion(message, &question)) return call.Finish(Code::kInvalidArgument);
    switch (question.field) {
      case 3:
        call.Send(response_answer_);
        break;
      case 4:
        OnRequestBody(call, question);
        break;
      case 5:
        head_.clear();
        AppendEchoHead(Phase::kResponse, question.inner.size(), head_);
        call.Send(head_, question.inner);
        break;
      default:
        break;
    }
  }

  void OnHalfClose(io::GrpcCall& call) override { call.Finish(Code::kOk); }

  void OnEnd(io::GrpcCall& call, io::GrpcEnd) override {
    static_cast<HeldBody*>(call.context)->Release();
  }

 private:
  void OnRequestBody(io::GrpcCall& call, const Question& question) {
    HeldBody& body = *static_cast<HeldBody*>(call.context);
    body.pieces.emplace_back(body.bytes.size(), question.inner.size());
    body.bytes += question.inner;
    if (!question.end_of_stream) return call.SetHeldBytes(body.bytes.size());
    call.Send(request_answer_);
    for (const auto& [offset, size] : body.pieces) {
      head_.clear();
      AppendEchoHead(Phase::kRequest, size, head_);
      call.Send(head_, std::string_view(body.bytes).substr(offset, size), &body);
    }
    call.SetHeldBytes(0);
  }

  std::string request_answer_, response_answer_, head_;
  std::vector<std::unique_ptr<HeldBody>> bodies_;
  std::vector<HeldBody*> free_;
};

absl::Status Serve(const Flags& flags) {
  auto address = io::SocketAddress::Parse(flags.listen);
  if (!address.ok()) return address.status();
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  auto signals = io::SignalWatcher::Open(**loop, {SIGTERM, SIGINT}, [&](int) { (*loop)->Stop(); });
  if (!signals.ok()) return signals.status();
  EchoHandler handler(flags);
  io::GrpcServer server(**loop);
  std::unique_ptr<io::TlsContext> tls;
  if (flags.tls) {
    auto context = io::TlsContext::Server({.alpn = {"h2"}});
    if (!context.ok()) return context.status();
    tls = *std::move(context);
    server.set_tls(tls.get());
  }
  if (server.Register("/envoy.service.ext_proc.v3.ExternalProcessor/Process", handler) !=
      Code::kOk) {
    return absl::InternalError("the method cannot be registered");
  }
  auto listener = io::Listener::Open(**loop, {.address = *address}, server);
  if (!listener.ok()) return listener.status();
  std::printf("listening on %s\n", (*listener)->address().ToString().c_str());
  std::fflush(stdout);
  (*loop)->Run();
  (*listener)->Close();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("ext_proc_echo: names a fixed destination and echoes bodies, to measure beside");
  Flags flags;
  app.add_option("--listen", flags.listen, "Address; port 0: a free one")->capture_default_str();
  app.add_option("--destination", flags.destination, "Where every request goes")
      ->capture_default_str();
  app.add_flag("--tls", flags.tls, "Speak TLS with a self-signed certificate");
  app.add_flag("--mode-override", flags.mode_override, "Tell Envoy to keep response bodies");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const absl::Status status = Serve(flags); !status.ok()) {
    std::fprintf(stderr, "ext_proc_echo: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) { return weir::bench::Main(argc, argv); }
