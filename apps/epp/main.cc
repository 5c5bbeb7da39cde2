#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "epp.h"
#include "flags.h"
#include "weir/io/loop/signals.h"
#include "weir/io/loop/socket.h"

namespace weir::epp {
namespace {

void SetUpLog(const Flags& flags) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  spdlog::set_default_logger(spdlog::stderr_logger_mt("weir-epp"));
  spdlog::set_level(kLevels[static_cast<uint32_t>(flags.log_level)]);
  spdlog::set_pattern(flags.log_json ? R"({"level":"%l","ts":"%Y-%m-%dT%H:%M:%S.%e%z","msg":%v})"
                                     : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
}

// A line of the log; what a JSON line quotes is quoted.
void Write(bool json, LogLevel level, std::string_view text) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  const auto spd_level = kLevels[static_cast<uint32_t>(level)];
  if (!json) return spdlog::log(spd_level, "{}", text);
  spdlog::log(spd_level, "{}",
              nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

int Serve(const Flags& flags, const Epp::Log& log) {
  io::RaiseDescriptorLimit();
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return Fail(loop.status());
  std::unique_ptr<Epp> epp;
  // The first signal drains, the second ends at once.
  uint32_t signal_count = 0;
  auto signals = io::SignalWatcher::Open(**loop, {SIGTERM, SIGINT}, [&](int) {
    ++signal_count;
    if (epp != nullptr) epp->Drain();
  });
  if (!signals.ok()) return Fail(signals.status());
  for (const std::string& notice : flags.notices) log(LogLevel::kWarning, notice);
  auto started = Epp::Start(**loop, flags.options, log);
  if (!started.ok()) return Fail(started.status());
  epp = *std::move(started);
  std::printf("ext_proc on %s%s\nhealth on %s\nmetrics on http%s://%s\n",
              epp->grpc_address().ToString().c_str(), flags.options.secure_serving ? ", TLS" : "",
              epp->health_address().ToString().c_str(),
              flags.options.metrics_cert_dir.empty() ? "" : "s",
              epp->metrics_address().ToString().c_str());
  std::printf("request bodies at most %.0f MiB each, %.0f MiB together\n",
              static_cast<double>(flags.options.ext_proc.request_body_bytes_max >> 20),
              static_cast<double>(io::kHeldBytesMaxDefault >> 20));
  std::printf("metrics of requests at most %.0f MiB per thread\n",
              static_cast<double>(io::kRequestSeriesMax * sizeof(io::RequestCounters) >> 20));
  std::fflush(stdout);
  while (!epp->drained() && signal_count < 2) (*loop)->RunOnce(100'000'000);
  return 0;
}

}  // namespace
}  // namespace weir::epp

int main(int argc, char** argv) {
  using namespace weir::epp;
  auto flags = ParseFlags(std::vector<std::string>(argv + 1, argv + argc));
  if (!flags.ok()) return Fail(flags.status());
  if (!flags->help.empty()) {
    std::fputs(flags->help.c_str(), stdout);
    return 0;
  }
  SetUpLog(*flags);
  const Epp::Log log = [json = flags->log_json](weir::LogLevel level, std::string_view text) {
    Write(json, level, text);
  };
  flags->options.router.log = [log](weir::LogLevel level, std::string_view text) {
    log(level, std::string(text));
  };
  if (flags->validate) {
    const auto router = LoadRouter(flags->options);
    if (!router.ok()) return Fail(router.status());
    std::fputs(router->Describe().c_str(), stdout);
    return 0;
  }
  return Serve(*flags, log);
}
