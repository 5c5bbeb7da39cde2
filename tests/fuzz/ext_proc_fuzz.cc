// Sequences of ext_proc messages: nothing that a proxy sends leaves a flight or a byte behind.
// Each message is two bytes of length and the message; a length with the top bit set is a call of
// another kind.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "weir/clock.h"
#include "weir/io/ext_proc/ext_proc_stream.h"
#include "weir/router.h"

namespace {

using namespace weir;
using namespace weir::io;

void Check(bool ok) {
  if (!ok) std::abort();
}

// Holds kept bodies to what their owner promised: they must still be there when they are sent.
class Output final : public ExtProcOutput {
 public:
  void Send(std::string_view head, std::string_view body, bool body_is_kept) override {
    Check(!finished && !head.empty());
    if (body_is_kept) kept_.push_back(body);
  }
  void Finish(Code, std::string_view) override {
    Check(!finished);
    finished = true;
  }
  void SendKept() {
    volatile char last = 0;
    for (const std::string_view body : kept_) {
      if (!body.empty()) last = static_cast<char>(body.front() ^ body.back());
    }
    (void)last;
    kept_.clear();
  }
  bool finished = false;

 private:
  std::vector<std::string_view> kept_;
};

class CountingMetrics final : public ExtProcMetrics {
 public:
  void OnStreamBegin() override { ++streams; }
  void OnStreamEnd(uint32_t, int64_t) override { --streams; }
  void OnRequestRouted(Series, uint64_t) override { ++running; }
  void OnRequestEnd(Series, const ResponseRecord& record) override { running -= record.routed; }
  int64_t streams = 0;
  int64_t running = 0;
};

struct Picker {
  Picker() {
    for (const char* address : {"10.0.0.1:8000", "10.0.0.2:8000", "[fd00::1]:8000"}) {
      Check(router.pool().Upsert({.name = address, .address = address}).ok());
    }
  }
  static ExtProcOptions Options(uint8_t bits) {
    ExtProcOptions options;
    options.request_body_bytes_max = 64 * 1024;
    options.emit_scores = (bits & 1) != 0;
    options.echo_headers = (bits & 2) != 0;
    options.buffer_responses = (bits & 4) != 0;
    options.skip_response_bodies = (bits & 8) != 0;
    return options;
  }
  Router router = *Router::Default();
  HeldBytes held{256 * 1024};
  CountingMetrics metrics;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Picker& picker = *new Picker;
  if (size == 0) return 0;
  ExtProcCore core(picker.router, Picker::Options(data[0]), picker.held, picker.metrics,
                   SystemClock(), 1);
  ++data, --size;
  {
    Output output;
    ExtProcStream stream(core);
    stream.Begin(output);
    while (size >= 2) {
      const size_t tag = static_cast<size_t>(data[0]) << 8 | data[1];
      data += 2, size -= 2;
      if ((tag & 0x8000) != 0) {
        if ((tag & 3) == 0) stream.OnPeerDone();
        if ((tag & 3) == 1) stream.OnCancel((tag & 4) != 0);
        output.SendKept();
        stream.OnSent();
        continue;
      }
      const size_t bytes = tag < size ? tag : size;
      // Memory of its own, so that the sanitizer sees each byte read outside of it.
      const std::vector<char> message(data, data + bytes);
      stream.OnMessage({message.data(), message.size()});
      data += bytes, size -= bytes;
    }
    stream.OnCancel(true);
    output.SendKept();
    stream.OnSent();
    Check(stream.ended());
  }
  const RouterStats stats = picker.router.stats();
  Check(stats.flights_begun == stats.flights_ended);
  Check(picker.held.held() == 0 && picker.metrics.streams == 0 && picker.metrics.running == 0);
  Check(core.buffers.in_use_bytes() == 0);
  return 0;
}
