#include <fstream>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "load/client_flags.h"
#include "load/commands.h"
#include "load/report.h"
#include "load/workload_flags.h"

namespace weir::load {
namespace {

constexpr char kPace[] = "Pace (open loop with --rate or a trace, else closed)";
constexpr char kTraceGroup[] = "Trace instead of conversations";
constexpr uint64_t kExpectedScanMax = 1'000'000;  // conversations counted for the progress line

struct RunFlags {
  ClientFlags client;
  WorkloadFlags workload;
  uint32_t concurrency = 8;
  double rate = 0;
  std::string arrival = "poisson";
  uint32_t active = 0;
  uint64_t requests = 0;
  std::string duration;
  std::string ramp = "0";
  std::string warmup = "0";
  uint64_t warmup_requests = 0;
  uint32_t in_flight_max = 10'000;
  bool repeat = false;
  std::string history = "answer";
  bool ignore_eos = false;
  std::string conversation_header;
  std::string slo;
  std::string trace_file;
  double speed = 1;
  double trace_scale = 1;
  uint32_t trace_block_tokens = kTraceBlockTokens;
  bool validate = false;
};

// Reads "ttft=200ms,itl=50ms,e2e=5s".
absl::StatusOr<Slo> ParseSlo(const std::string& text) {
  Slo slo;
  if (text.empty()) return slo;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    int64_t* limit = pair[0] == "ttft"  ? &slo.ttft_ns
                     : pair[0] == "itl" ? &slo.itl_ns
                     : pair[0] == "e2e" ? &slo.e2e_ns
                                        : nullptr;
    if (limit == nullptr || pair.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("--slo: \"", part, "\", expected ttft=TIME, itl=TIME or e2e=TIME"));
    }
    const auto duration = ParseDurationFlag("--slo", pair[1]);
    if (!duration.ok()) return duration.status();
    *limit = absl::ToInt64Nanoseconds(*duration);
  }
  return slo;
}

absl::Status ReadPace(const RunFlags& flags, DispatchPlan* dispatch) {
  const auto read = [](const char* flag, const std::string& text, int64_t* ns) {
    const auto duration = ParseDurationFlag(flag, text.empty() ? "0" : text);
    if (duration.ok()) *ns = absl::ToInt64Nanoseconds(*duration);
    return duration.status();
  };
  if (auto s = read("--duration", flags.duration, &dispatch->duration_ns); !s.ok()) return s;
  if (auto s = read("--ramp", flags.ramp, &dispatch->ramp_ns); !s.ok()) return s;
  if (auto s = read("--warmup", flags.warmup, &dispatch->warmup_ns); !s.ok()) return s;
  dispatch->requests_max = flags.requests;
  dispatch->warmup_requests = flags.warmup_requests;
  dispatch->in_flight_max = flags.in_flight_max;
  dispatch->concurrency = flags.concurrency;
  dispatch->seed = flags.workload.seed;
  if (flags.rate > 0) {
    if (flags.arrival != "poisson" && flags.arrival != "fixed") {
      return absl::InvalidArgumentError(
          absl::StrCat("--arrival: \"", flags.arrival, "\", expected poisson or fixed"));
    }
    dispatch->arrival = flags.arrival == "poisson" ? Arrival::kPoisson : Arrival::kFixed;
    dispatch->rate_per_s = flags.rate;
  }
  return absl::OkStatus();
}

std::string PaceText(const DispatchPlan& dispatch) {
  switch (dispatch.arrival) {
    case Arrival::kClosed:
      return absl::StrCat("closed loop of ", dispatch.concurrency);
    case Arrival::kRecorded:
      return "at the recorded times";
    case Arrival::kFixed:
    case Arrival::kPoisson:
      break;
  }
  return absl::StrFormat("%g requests/s %s", dispatch.rate_per_s,
                         dispatch.arrival == Arrival::kPoisson ? "Poisson" : "evenly");
}

absl::Status PlanConversations(const CLI::App& command, const RunFlags& flags, RunPlan* plan) {
  auto conversations = MakeConversationPlan(command, flags.workload);
  if (!conversations.ok()) return conversations.status();
  if (flags.history != "answer" && flags.history != "planned") {
    return absl::InvalidArgumentError(
        absl::StrCat("--history: \"", flags.history, "\", expected answer or planned"));
  }
  if (flags.repeat && flags.requests == 0 && plan->dispatch.duration_ns == 0) {
    return absl::InvalidArgumentError("--repeat: never ends; give --requests or --duration too");
  }
  conversations->api = plan->shape.api;
  conversations->repeat = flags.repeat;
  conversations->answer_history = plan->keep_answers = flags.history == "answer";
  const bool closed = plan->dispatch.arrival == Arrival::kClosed;
  conversations->active_max = flags.active > 0 ? flags.active : closed ? flags.concurrency : 0;
  uint64_t requests = 0;
  if (!flags.repeat && conversations->conversations <= kExpectedScanMax) {
    for (uint32_t i = 0; i < conversations->conversations; ++i)
      requests += TurnsOf(*conversations, i);
  }
  plan->requests_expected = flags.requests == 0 ? requests
                            : requests == 0     ? flags.requests
                                                : std::min(requests, flags.requests);
  plan->workload = absl::StrCat(FormatCount(conversations->conversations), " conversations of ",
                                conversations->turns.text(), " turns, ", conversations->groups,
                                " groups, ", PaceText(plan->dispatch));
  plan->make_source = [conversations = *conversations](Shard shard) {
    return CreateConversationSource(conversations, shard);
  };
  return absl::OkStatus();
}

absl::Status PlanTrace(const CLI::App& command, const RunFlags& flags, RunPlan* plan) {
  std::ifstream in(flags.trace_file, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(flags.trace_file, ": cannot read"));
  TraceLimits limits{.block_tokens = flags.trace_block_tokens};
  if (flags.requests > 0) limits.records_max = flags.requests;
  limits.duration_ms_max = static_cast<double>(plan->dispatch.duration_ns) / 1e6 * flags.speed;
  auto read = Trace::Read(in, flags.trace_file, limits);
  if (!read.ok()) return read.status();
  auto trace = std::make_shared<Trace>(*std::move(read));
  // --concurrency or --rate given beside the trace: its requests, but not at its times.
  if (command.get_option("--concurrency")->count() == 0 && flags.rate == 0) {
    plan->dispatch.arrival = Arrival::kRecorded;
    for (const Trace::Entry& entry : trace->entries()) {
      plan->dispatch.due_ns.push_back(static_cast<int64_t>(entry.offset_ms * 1e6 / flags.speed));
    }
    plan->dispatch.duration_ns = 0;  // the trace was cut already
  }
  plan->requests_expected = trace->entries().size();
  plan->workload = absl::StrCat(
      FormatCount(static_cast<double>(trace->entries().size())), " requests of ", flags.trace_file,
      " (", FormatRatio(LeadingBlockHitRatio(*trace)), " of its blocks repeat), ",
      PaceText(plan->dispatch), flags.speed != 1 ? absl::StrFormat(" times %g", flags.speed) : "",
      flags.trace_scale != 1 ? absl::StrFormat(", lengths times %g", flags.trace_scale) : "");
  const TraceReplay replay{plan->shape.api, flags.trace_block_tokens, flags.trace_scale};
  plan->make_source = [trace, replay](Shard shard) {
    return CreateTraceSource(*trace, replay, shard);
  };
  return absl::OkStatus();
}

int RunFlagsGiven(const CLI::App& command, const RunFlags& flags) {
  RunPlan plan;
  absl::Status status = ApplyClientFlags(flags.client, &plan);
  if (status.ok()) status = ReadPace(flags, &plan.dispatch);
  if (status.ok()) {
    const auto slo = ParseSlo(flags.slo);
    status = slo.status();
    if (slo.ok()) plan.slo = *slo;
  }
  plan.shape.ignore_eos = flags.ignore_eos;
  plan.conversation_header = flags.conversation_header;
  if (status.ok()) {
    status = flags.trace_file.empty() ? PlanConversations(command, flags, &plan)
                                      : PlanTrace(command, flags, &plan);
  }
  if (!status.ok()) {
    PrintError(status);
    return kExitUsage;
  }
  if (flags.validate) return 0;
  return RunAndReport(flags.client, plan);
}

void AddPaceFlags(CLI::App& command, RunFlags& flags) {
  command.add_option("--concurrency", flags.concurrency, "Closed loop: requests in flight")
      ->group(kPace)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1'000'000u).description(""));
  command.add_option("--rate", flags.rate, "Open loop: requests a second, whatever the answers do")
      ->group(kPace)
      ->type_name("R")
      ->check(CLI::Range(0.0, 1e6).description(""));
  command.add_option("--arrival", flags.arrival, "Gaps of the open loop: poisson or fixed")
      ->group(kPace)
      ->type_name("KIND")
      ->capture_default_str();
  command.add_option("--requests", flags.requests, "Stop after so many; 0: when the work is done")
      ->group(kPace)
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--duration", flags.duration, "Stop sending after this time; default: never")
      ->group(kPace)
      ->type_name("TIME");
  command.add_option("--ramp", flags.ramp, "Closed loop: reach the concurrency over this time")
      ->group(kPace)
      ->type_name("TIME")
      ->capture_default_str();
  command.add_option("--warmup", flags.warmup, "Do not measure requests due before this time")
      ->group(kPace)
      ->type_name("TIME")
      ->capture_default_str();
  command
      .add_option("--warmup-requests", flags.warmup_requests, "Do not measure the first so many")
      ->group(kPace)
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--in-flight-max", flags.in_flight_max,
                  "Open loop: hold requests back beyond this; they then count as late")
      ->group(kPace)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1'000'000u).description(""));
  command
      .add_option("--slo", flags.slo, "Limits of goodput, for example ttft=200ms,itl=50ms,e2e=5s")
      ->group(kPace)
      ->type_name("LIMITS");
}

}  // namespace

void AddRunCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = app.add_subcommand("run", "Send requests and measure the answers");
  AddClientFlags(*command, flags->client);
  AddPaceFlags(*command, *flags);
  AddWorkloadFlags(*command, flags->workload);
  constexpr char kGroup[] = "Conversations (lengths in tokens)";
  command
      ->add_option("--active", flags->active,
                   "Conversations under way at once; default: --concurrency, or all with --rate")
      ->group(kGroup)
      ->type_name("N")
      ->check(CLI::Range(1u, kActiveConversationsMax).description(""));
  command->add_flag("--validate", flags->validate, "Check flags and files, then leave");
  command->add_flag("--repeat", flags->repeat, "Begin again with the first when all are done")
      ->group(kGroup);
  command
      ->add_option("--history", flags->history,
                   "What later turns quote: the server's answer, or planned words")
      ->group(kGroup)
      ->type_name("WHICH")
      ->capture_default_str();
  command
      ->add_flag("--ignore-eos", flags->ignore_eos,
                 "Ask engines that know it to give max_tokens in full")
      ->group(kGroup);
  command
      ->add_option("--conversation-header", flags->conversation_header,
                   "Header that carries the conversation's number")
      ->group(kGroup)
      ->type_name("NAME");
  command
      ->add_option(
          "--trace", flags->trace_file,
          "Replay this file: one {timestamp, input_length, output_length, hash_ids} a line")
      ->group(kTraceGroup)
      ->type_name("FILE");
  command->add_option("--speed", flags->speed, "Replay so many times faster")
      ->group(kTraceGroup)
      ->type_name("X")
      ->capture_default_str()
      ->check(CLI::Range(1e-3, 1e6).description(""));
  command
      ->add_option("--trace-scale", flags->trace_scale,
                   "Send so many tokens per token of the trace, 0..1")
      ->group(kTraceGroup)
      ->type_name("X")
      ->capture_default_str()
      ->check(CLI::Range(1e-4, 1.0).description(""));
  command->add_option("--trace-block-tokens", flags->trace_block_tokens, "Tokens per hash id")
      ->group(kTraceGroup)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20).description(""));
  command->footer(
      "TIME is 200ms, 1.5s, 2m or plain seconds. DIST is N, uniform:MIN:MAX, "
      "normal:MEAN:SD[:MIN:MAX],\n"
      "lognormal:MEAN:SD[:MIN:MAX] or exponential:MEAN[:MIN:MAX].\n"
      "Latencies count from the time a request was due, so a late or blocked client shows in "
      "them.\n"
      "Examples:\n"
      "  weir-load run --target http://localhost:8080 --preset chat --concurrency 16 --json "
      "chat.json\n"
      "  weir-load run --target http://localhost:8080 --trace trace.jsonl --speed 4 --duration "
      "60s");
  command->callback([command, flags, exit_code] { *exit_code = RunFlagsGiven(*command, *flags); });
}

}  // namespace weir::load
