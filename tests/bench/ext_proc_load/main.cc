// ext_proc_load: plays Envoy against an ext_proc server and measures what a request costs there.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "ext_proc_load/load.h"
#include "weir/io/loop/tls.h"

namespace weir::bench {
namespace {

constexpr int kExitErrors = 1;  // the run failed, or requests did
constexpr int kExitUsage = 2;
constexpr double kMiB = 1 << 20;

struct Flags {
  LoadPlan plan;
  std::string target, name = "server", json_file;
  double warmup_s = 1, duration_s = 5, timeout_s = 30;
  bool tls = false, idle = false;
};

void AddFlags(CLI::App& app, Flags& flags) {
  LoadPlan& plan = flags.plan;
  app.add_option("--target", flags.target, "Address of the ext_proc server")
      ->type_name("HOST:PORT");
  app.add_flag("--tls", flags.tls, "Speak TLS; the certificate is not verified");
  app.add_option("--connections", plan.connections, "Connections")->capture_default_str();
  app.add_option("--concurrency", plan.concurrency, "Requests at a time, one after another")
      ->capture_default_str();
  app.add_option("--rate", plan.rate, "Requests a second instead, evenly spaced")
      ->capture_default_str();
  app.add_option("--in-flight", plan.in_flight_max, "At --rate: most requests at a time")
      ->capture_default_str();
  app.add_option("--body-bytes", plan.script.body_bytes, "Bytes of a request body")
      ->capture_default_str();
  app.add_option("--conversations", plan.script.conversations,
                 "Prompts that differ behind a common system prompt")
      ->capture_default_str();
  app.add_flag("--distinct", plan.script.distinct, "No two prompts have a beginning in common");
  app.add_option("--events", plan.script.events, "Events of a response")->capture_default_str();
  app.add_option("--model", plan.script.model, "Model asked for")->capture_default_str();
  app.add_option("--seed", plan.seed, "Other seeds, other prompts")->capture_default_str();
  app.add_flag("--obey-mode-override", plan.exchange.obeys_mode_override,
               "Keep back what the picker does not want, as Envoy with allow_mode_override");
  app.add_flag("--compare", plan.exchange.compares_bytes,
               "Compare the bytes of echoed bodies, not only their number");
  app.add_option("--warmup", flags.warmup_s, "Seconds before measuring")->capture_default_str();
  app.add_option("--duration", flags.duration_s, "Seconds of measuring; 0: until --requests")
      ->capture_default_str();
  app.add_option("--requests", plan.requests_max, "Stop after so many; 0: no limit")
      ->capture_default_str();
  app.add_option("--timeout", flags.timeout_s, "Seconds for connecting, and for each request")
      ->capture_default_str();
  app.add_option("--server-pid", plan.server_pid, "Process whose CPU and memory are measured");
  app.add_flag("--idle", flags.idle, "Send nothing: measure --server-pid for --duration");
  app.add_option("--name", flags.name, "Name of the run in the output")->capture_default_str();
  app.add_option("--json", flags.json_file, "Append the figures to this file, one line per run");
  app.footer(
      "Start the server with `setsid`, or the scheduler groups it with this client.\n"
      "Example:\n"
      "  ext_proc_load --target 127.0.0.1:9002 --body-bytes 225280 --server-pid 4711\n");
}

double Per(double seconds, uint64_t count) {
  return count == 0 ? 0 : seconds * 1e3 / static_cast<double>(count);
}

nlohmann::json ToJson(const Flags& flags, const LoadResult& result) {
  const auto quantile_ms = [](const weir::load::Histogram& histogram, double quantile) {
    return static_cast<double>(histogram.Quantile(quantile)) / 1e6;
  };
  nlohmann::json json = {
      {"name", flags.name},
      {"seconds", result.seconds},
      {"requests", result.requests},
      {"requests_per_s", static_cast<double>(result.requests) / result.seconds},
      {"errors", result.errors},
      {"unsent", result.unsent},
      {"errors_by_kind", result.errors_by_kind},
      {"server_cpu_ms_per_request", Per(result.server_cpu_s, result.requests)},
      {"server_cores", result.server_cpu_s / result.seconds},
      {"client_cpu_ms_per_request", Per(result.client_cpu_s, result.requests)},
      {"decision_ms",
       {{"p50", quantile_ms(result.decision_ns, 0.5)},
        {"p99", quantile_ms(result.decision_ns, 0.99)}}},
      {"exchange_ms",
       {{"p50", quantile_ms(result.exchange_ns, 0.5)},
        {"p99", quantile_ms(result.exchange_ns, 0.99)}}},
      {"body_bytes", flags.plan.script.body_bytes},
      {"events", flags.plan.script.events},
  };
  uint64_t most = 0;
  for (const MemorySample& sample : result.memory) {
    most = std::max(most, sample.resident_bytes);
    json["memory"].push_back({sample.requests, static_cast<double>(sample.resident_bytes) / kMiB});
  }
  json["server_rss_mib_max"] = static_cast<double>(most) / kMiB;
  return json;
}

void PrintTable(const nlohmann::json& json, bool idle) {
  const auto line = [](const char* what, const std::string& value) {
    std::printf("  %-24s %s\n", what, value.c_str());
  };
  const auto number = [&json](const char* key) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", json[key].get<double>());
    return std::string(text);
  };
  const auto pair = [&json](const char* key) {
    char text[64];
    std::snprintf(text, sizeof text, "%.3f / %.3f", json[key]["p50"].get<double>(),
                  json[key]["p99"].get<double>());
    return std::string(text);
  };
  std::printf("%s\n", json["name"].get<std::string>().c_str());
  if (!idle) {
    line("requests",
         absl::StrCat(json["requests"].get<uint64_t>(), ", errors ", json["errors"].get<uint64_t>(),
                      ", unsent ", json["unsent"].get<uint64_t>()));
    for (const auto& [kind, count] : json["errors_by_kind"].items()) {
      line("", absl::StrCat(kind, ": ", count.get<uint64_t>()));
    }
    line("requests/s", number("requests_per_s"));
    line("decision ms p50 / p99", pair("decision_ms"));
    line("exchange ms p50 / p99", pair("exchange_ms"));
    line("server CPU ms/request", number("server_cpu_ms_per_request"));
    line("client CPU ms/request", number("client_cpu_ms_per_request"));
  }
  line("server cores", number("server_cores"));
  line("server RSS MiB", number("server_rss_mib_max"));
  std::fflush(stdout);
}

absl::StatusOr<LoadResult> Measure(Flags& flags) {
  LoadPlan& plan = flags.plan;
  const auto ns = [](double seconds) { return static_cast<int64_t>(seconds * 1e9); };
  plan.warmup_ns = ns(flags.warmup_s);
  plan.duration_ns = ns(flags.duration_s);
  plan.timeout_ns = ns(flags.timeout_s);
  if (flags.idle) {
    if (plan.server_pid == 0) return absl::InvalidArgumentError("--idle: expected --server-pid");
    return MeasureIdle(plan.server_pid, plan.duration_ns);
  }
  auto target = weir::io::SocketAddress::Parse(flags.target);
  if (!target.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--target: ", target.status().message()));
  }
  plan.target = *target;
  if (!flags.tls) return RunLoad(plan);
  auto tls = weir::io::TlsContext::Client({.verify = false, .alpn = {"h2"}});
  if (!tls.ok()) return tls.status();
  plan.tls_or_null = tls->get();
  return RunLoad(plan);
}

int Main(int argc, char** argv) {
  CLI::App app("ext_proc_load: plays Envoy against an ext_proc server and measures what it costs");
  Flags flags;
  AddFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::StatusOr<LoadResult> result = Measure(flags);
  if (!result.ok()) {
    std::fprintf(stderr, "ext_proc_load: %s\n", std::string(result.status().message()).c_str());
    return absl::IsInvalidArgument(result.status()) ? kExitUsage : kExitErrors;
  }
  const nlohmann::json json = ToJson(flags, *result);
  PrintTable(json, flags.idle);
  if (!flags.json_file.empty()) {
    std::ofstream file(flags.json_file, std::ios::app);
    file << json.dump() << '\n';
    if (!file.flush()) {
      std::fprintf(stderr, "ext_proc_load: --json: cannot write %s\n", flags.json_file.c_str());
      return kExitErrors;
    }
  }
  return result->errors == 0 ? 0 : kExitErrors;
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) { return weir::bench::Main(argc, argv); }
