// weir-sim: simulated model servers behind HTTP.
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "flags.h"
#include "server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/signals.h"

namespace weir::sim {
namespace {

constexpr int64_t kDrainNs = 30'000'000'000;  // answers under way get this long
constexpr int64_t kDrainPollNs = 10'000'000;
constexpr int64_t kExitPollNs = 100'000'000;  // until a fault's exit takes effect
constexpr int kExitOfFault = 137;             // what a killed process shows

std::string PortLines(const SimServer& server, const SimOptions& options) {
  std::string lines;
  for (size_t i = 0; i < server.instance_count(); ++i) {
    absl::StrAppend(&lines, "{\"instance\":", i, ",\"host\":\"", options.host,
                    "\",\"port\":", server.port(i), "}\n");
  }
  return lines;
}

// Written beside and renamed, so that a reader sees all lines or no file.
absl::Status WritePorts(const std::string& path, const std::string& lines) {
  const std::string draft = path + ".draft";
  std::ofstream file(draft, std::ios::trunc);
  file << lines;
  file.close();
  if (!file || std::rename(draft.c_str(), path.c_str()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("--ports-file: cannot write ", path));
  }
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  std::cerr << "weir-sim: " << std::string(status.message()) << "\n";
  return 1;
}

int Serve(const SimOptions& options) {
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return Fail(loop.status());
  bool stopping = false;
  auto signals = io::SignalWatcher::Open(**loop, {SIGTERM, SIGINT}, [&](int) {
    stopping = true;
    (*loop)->Stop();
  });
  if (!signals.ok()) return Fail(signals.status());
  auto server = SimServer::Start(**loop, options, std::time(nullptr));
  if (!server.ok()) return Fail(server.status());
  const std::string lines = PortLines(**server, options);
  std::cout << lines << std::flush;
  if (!options.ports_file.empty()) {
    if (absl::Status status = WritePorts(options.ports_file, lines); !status.ok()) {
      return Fail(status);
    }
  }
  while (!stopping) {
    (*loop)->RunOnce(kExitPollNs);
    if ((*server)->exit_requested()) return kExitOfFault;
  }
  (*server)->Drain();
  const int64_t until_ns = (*loop)->now_ns() + kDrainNs;
  while (!(*server)->drained() && (*loop)->now_ns() < until_ns) (*loop)->RunOnce(kDrainPollNs);
  return 0;
}

}  // namespace
}  // namespace weir::sim

int main(int argc, char** argv) {
  weir::sim::CommandLine line;
  if (const int status = weir::sim::ReadCommandLine(argc, argv, line); status >= 0) return status;
  for (const std::string& note : line.notes) std::cerr << "weir-sim: " << note << "\n";
  if (line.validate) {
    std::cout << "weir-sim: valid\n";
    return 0;
  }
  return weir::sim::Serve(line.options);
}
