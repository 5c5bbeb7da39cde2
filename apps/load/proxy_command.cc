#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "load/client_flags.h"
#include "load/commands.h"
#include "load/report.h"
#include "load/workload_flags.h"

namespace weir::load {
namespace {

constexpr char kGroup[] = "Load";

struct ProxyFlags {
  ClientFlags client;
  uint32_t concurrency = 64;
  uint64_t body_bytes = 1024;
  uint32_t output_tokens = 8;
  uint64_t requests = 0;
  std::string duration = "10s";
  std::string warmup = "1s";
  std::string ramp = "0";
};

absl::Status MakePlan(const ProxyFlags& flags, RunPlan* plan) {
  if (auto s = ApplyClientFlags(flags.client, plan); !s.ok()) return s;
  DispatchPlan& dispatch = plan->dispatch;
  const std::pair<const char*, std::pair<const std::string*, int64_t*>> times[] = {
      {"--duration", {&flags.duration, &dispatch.duration_ns}},
      {"--warmup", {&flags.warmup, &dispatch.warmup_ns}},
      {"--ramp", {&flags.ramp, &dispatch.ramp_ns}}};
  for (const auto& [flag, where] : times) {
    const auto duration = ParseDurationFlag(flag, *where.first);
    if (!duration.ok()) return duration.status();
    *where.second = absl::ToInt64Nanoseconds(*duration);
  }
  dispatch.arrival = Arrival::kClosed;
  dispatch.concurrency = dispatch.in_flight_max = flags.concurrency;
  dispatch.requests_max = plan->requests_expected = flags.requests;
  // Streams that outlast the run are cut, not waited for.
  if (flags.client.drain.empty() && flags.requests == 0) plan->drain_ns = 0;
  if (flags.client.name.empty()) plan->name = "proxy";
  plan->shape.include_usage = false;
  plan->workload = absl::StrCat(flags.client.no_stream ? "whole answers, " : "streams, ",
                                FormatCount(flags.concurrency), " at once, ",
                                FormatCount(static_cast<double>(flags.body_bytes)),
                                " byte prompts, ", flags.output_tokens, " tokens asked for");
  const Api api = plan->shape.api;
  plan->make_source = [api, flags](Shard) {
    return CreateFixedSource(api, flags.body_bytes, flags.output_tokens);
  };
  return absl::OkStatus();
}

}  // namespace

void AddProxyCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<ProxyFlags>();
  CLI::App* command = app.add_subcommand(
      "proxy", "Measure what a proxy costs: the same request over and over, or many slow streams");
  AddClientFlags(*command, flags->client);
  command->add_option("--concurrency", flags->concurrency, "Requests or streams open at once")
      ->group(kGroup)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1'000'000u).description(""));
  command->add_option("--body-bytes", flags->body_bytes, "Bytes of the prompt")
      ->group(kGroup)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{64} << 20).description(""));
  command->add_option("--output-tokens", flags->output_tokens, "Answer asked for (max_tokens)")
      ->group(kGroup)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 10'000'000u).description(""));
  command->add_option("--requests", flags->requests, "Stop after so many; 0: at --duration")
      ->group(kGroup)
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--duration", flags->duration, "Length of the run, warm-up included")
      ->group(kGroup)
      ->type_name("TIME")
      ->capture_default_str();
  command->add_option("--warmup", flags->warmup, "Do not measure requests sent before this time")
      ->group(kGroup)
      ->type_name("TIME")
      ->capture_default_str();
  command->add_option("--ramp", flags->ramp, "Open the connections over this time")
      ->group(kGroup)
      ->type_name("TIME")
      ->capture_default_str();
  command->footer(
      "CPU figures need --watch; start every proxy with `setsid`, or the scheduler groups it with\n"
      "this client and favours it.\n"
      "Examples:\n"
      "  weir-load proxy --target http://localhost:8080 --no-stream --watch nginx=4711\n"
      "  weir-load proxy --target http://localhost:8080 --concurrency 10000 --output-tokens 100000 "
      "\\\n"
      "    --ramp 5s --warmup 8s --duration 30s --threads 2 --watch gateway=4712");
  command->callback([flags, exit_code] {
    RunPlan plan;
    if (const absl::Status status = MakePlan(*flags, &plan); !status.ok()) {
      PrintError(status);
      *exit_code = kExitUsage;
      return;
    }
    *exit_code = RunAndReport(flags->client, plan);
  });
}

}  // namespace weir::load
