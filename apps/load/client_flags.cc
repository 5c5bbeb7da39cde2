#include "load/client_flags.h"

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "load/commands.h"
#include "load/files.h"
#include "load/report.h"
#include "load/workload_flags.h"

namespace weir::load {
namespace {

constexpr char kServers[] = "Servers";
constexpr char kRequests[] = "Requests";
constexpr char kOutput[] = "Output";

absl::Status ReadDuration(const char* flag, const std::string& text, int64_t* ns) {
  const auto duration = ParseDurationFlag(flag, text);
  if (!duration.ok()) return duration.status();
  *ns = absl::ToInt64Nanoseconds(*duration);
  return absl::OkStatus();
}

absl::Status ReadHeaders(const ClientFlags& flags, RunPlan* plan) {
  plan->headers = {{"content-type", "application/json"}, {"user-agent", "weir-load"}};
  if (!flags.no_stream) plan->headers.emplace_back("accept", "text/event-stream");
  std::string key = flags.api_key;
  if (key.empty()) {
    const char* inherited = std::getenv("OPENAI_API_KEY");
    if (inherited != nullptr) key = inherited;
  }
  if (!key.empty()) plan->headers.emplace_back("authorization", absl::StrCat("Bearer ", key));
  for (const std::string& header : flags.headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0 ||
        header.find_first_of(std::string("\r\n\0", 3)) != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("--header: \"", header, "\", expected NAME: VALUE on one line"));
    }
    plan->headers.emplace_back(
        header.substr(0, colon),
        std::string(absl::StripAsciiWhitespace(absl::string_view(header).substr(colon + 1))));
  }
  if (plan->headers.size() > kHeadersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--header: ", flags.headers.size(), " of them, expected at most ",
                     kHeadersMax - (plan->headers.size() - flags.headers.size())));
  }
  return absl::OkStatus();
}

absl::Status ReadTargets(const ClientFlags& flags, Api api, RunPlan* plan) {
  if (flags.targets.size() > kTargetsMax) {
    return absl::InvalidArgumentError(absl::StrCat("--target: ", flags.targets.size(),
                                                   " of them, expected at most ", kTargetsMax));
  }
  for (const std::string& url : flags.targets) {
    auto target = ParseTarget(url, api);
    if (!target.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--target: ", target.status().message()));
    }
    plan->targets.push_back(*std::move(target));
  }
  return absl::OkStatus();
}

void AddServerFlags(CLI::App& command, ClientFlags& flags) {
  command
      .add_option("--target", flags.targets,
                  "Base URL; several: one after another in turn, the baseline without a gateway")
      ->group(kServers)
      ->required()
      ->type_name("URL")
      ->allow_extra_args(false);
  command
      .add_option("--server-header", flags.server_header,
                  "Response header that names the server; without it the target counts")
      ->group(kServers)
      ->type_name("NAME")
      ->capture_default_str();
  command
      .add_option("--ca-file", flags.ca_file, "Trusted certificates, PEM; default: the system's")
      ->group(kServers)
      ->type_name("FILE");
  command.add_flag("--insecure", flags.insecure, "Do not verify certificates")->group(kServers);
  command.add_option("--connect-timeout", flags.connect_timeout, "Until connected")
      ->group(kServers)
      ->type_name("TIME")
      ->capture_default_str();
  command.add_option("--timeout", flags.timeout, "Of a whole request; 0: none")
      ->group(kServers)
      ->type_name("TIME")
      ->capture_default_str();
  command.add_option("--threads", flags.threads, "Sending threads")
      ->group(kServers)
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, kThreadsMax).description(""));
}

void AddRequestFlags(CLI::App& command, ClientFlags& flags) {
  command.add_option("--api", flags.api, "chat or completions")
      ->group(kRequests)
      ->type_name("API")
      ->capture_default_str();
  command.add_option("--model", flags.model, "Model to ask for")
      ->group(kRequests)
      ->type_name("NAME")
      ->capture_default_str();
  command.add_flag("--no-stream", flags.no_stream, "Ask for whole answers")->group(kRequests);
  command.add_option("--header", flags.headers, "Header to send; may be repeated")
      ->group(kRequests)
      ->type_name("NAME:VALUE")
      ->allow_extra_args(false);
  command.add_option("--api-key", flags.api_key, "Bearer token; default: $OPENAI_API_KEY")
      ->group(kRequests)
      ->type_name("KEY");
  command.add_option("--extra-body", flags.extra_body, "Members to add to every request")
      ->group(kRequests)
      ->type_name("JSON");
}

void AddOutputFlags(CLI::App& command, ClientFlags& flags) {
  command.add_option("--name", flags.name, "What to call this run in reports")
      ->group(kOutput)
      ->type_name("TEXT");
  command.add_option("--json", flags.json_file, "Write all results, for `compare` and machines")
      ->group(kOutput)
      ->type_name("FILE");
  command
      .add_option("--watch", flags.watch,
                  "Also report CPU and memory of this process and its children; may be repeated")
      ->group(kOutput)
      ->type_name("NAME=PID")
      ->allow_extra_args(false);
  command
      .add_option("--drain", flags.drain,
                  "Wait so long for open answers at the end; default: until they are there")
      ->group(kOutput)
      ->type_name("TIME");
  command
      .add_option("--errors-max", flags.errors_max,
                  "Exit with 1 if a larger share of the requests failed")
      ->group(kOutput)
      ->type_name("SHARE")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0).description(""));
  command.add_flag("--quiet", flags.quiet, "No progress, no table")->group(kOutput);
}

}  // namespace

void AddClientFlags(CLI::App& command, ClientFlags& flags) {
  AddServerFlags(command, flags);
  AddRequestFlags(command, flags);
  AddOutputFlags(command, flags);
}

absl::Status ApplyClientFlags(const ClientFlags& flags, RunPlan* plan) {
  if (flags.api != "chat" && flags.api != "completions") {
    return absl::InvalidArgumentError(
        absl::StrCat("--api: \"", flags.api, "\", expected chat or completions"));
  }
  plan->shape.api = flags.api == "chat" ? Api::kChat : Api::kCompletions;
  plan->shape.model = flags.model;
  plan->shape.streaming = !flags.no_stream;
  plan->server_header = flags.server_header;
  plan->tls_verify = !flags.insecure;
  plan->tls_ca_file = flags.ca_file;
  plan->threads = flags.threads;
  plan->quiet = flags.quiet;
  if (!flags.name.empty()) plan->name = flags.name;
  if (auto s = ReadTargets(flags, plan->shape.api, plan); !s.ok()) return s;
  if (auto s = ReadHeaders(flags, plan); !s.ok()) return s;
  if (auto s = ReadDuration("--timeout", flags.timeout, &plan->timeout_ns); !s.ok()) return s;
  if (auto s = ReadDuration("--connect-timeout", flags.connect_timeout, &plan->connect_timeout_ns);
      !s.ok()) {
    return s;
  }
  if (!flags.drain.empty()) {
    if (auto s = ReadDuration("--drain", flags.drain, &plan->drain_ns); !s.ok()) return s;
  }
  if (!flags.extra_body.empty()) {
    auto members = MembersOf(flags.extra_body);
    if (!members.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--extra-body: ", members.status().message()));
    }
    plan->shape.extra_members = *std::move(members);
  }
  if (flags.watch.size() > kWatchedProcessesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--watch: ", flags.watch.size(), " of them, expected at most ", kWatchedProcessesMax));
  }
  for (const std::string& text : flags.watch) {
    auto watched = ParseWatched(text);
    if (!watched.ok()) return watched.status();
    plan->watched.push_back(*std::move(watched));
  }
  return absl::OkStatus();
}

int RunAndReport(const ClientFlags& flags, const RunPlan& plan) {
  const auto summary = Run(plan);
  if (!summary.ok()) {
    PrintError(summary.status());
    return kExitUsage;
  }
  if (!flags.quiet) std::cout << RenderRun(*summary) << std::flush;
  if (!flags.json_file.empty()) {
    const std::string text =
        ToJson(*summary).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (const absl::Status status = WriteFile(flags.json_file, text); !status.ok()) {
      PrintError(status);
      return kExitUsage;
    }
  }
  if (summary->requests == 0 && summary->unfinished == 0) {
    std::cerr << "weir-load: no request was measured; is the warm-up longer than the run?\n";
    return kExitErrors;
  }
  const double error_ratio = summary->requests == 0 ? 0.0
                                                    : static_cast<double>(summary->errors) /
                                                          static_cast<double>(summary->requests);
  if (error_ratio <= flags.errors_max) return kExitOk;
  std::cerr << "weir-load: " << FormatRatio(error_ratio)
            << " of the requests failed, expected at most " << FormatRatio(flags.errors_max)
            << " (--errors-max)\n";
  return kExitErrors;
}

}  // namespace weir::load
