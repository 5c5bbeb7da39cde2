#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "load/commands.h"
#include "load/files.h"
#include "load/report.h"
#include "load/workload_flags.h"

namespace weir::load {
namespace {

struct CompareFlags {
  std::vector<std::string> files;
  std::vector<std::string> servers;
  std::string title = "weir-load comparison";
  std::string html_file;
  std::string json_file;
};

// Replaces the requests per server of the run named in "NAME=475,475".
absl::Status SetServers(const std::string& text, std::vector<Summary>& runs) {
  const size_t equals = std::min(text.find('='), text.size());
  const auto run = std::find_if(runs.begin(), runs.end(), [&](const Summary& each) {
    return each.name == text.substr(0, equals);
  });
  const absl::string_view counts =
      absl::string_view(text).substr(std::min(equals + 1, text.size()));
  std::vector<std::pair<std::string, uint64_t>> servers;
  for (const absl::string_view part : absl::StrSplit(counts, ',')) {
    uint64_t count = 0;
    if (run == runs.end() || !absl::SimpleAtoi(part, &count) || servers.size() >= kServersMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("--servers: \"", text, "\", expected NAME=N,N,... with the name of a run"));
    }
    servers.emplace_back(absl::StrCat("server ", servers.size() + 1), count);
  }
  run->servers = std::move(servers);
  return absl::OkStatus();
}

absl::Status Compare(const CompareFlags& flags) {
  std::vector<Summary> runs;
  for (const std::string& file : flags.files) {
    auto text = ReadFile(file, kSummaryBytesMax);
    if (!text.ok()) return text.status();
    auto summary = ParseSummary(*text);
    if (!summary.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": ", summary.status().message()));
    }
    if (summary->name.empty()) summary->name = file;
    runs.push_back(*std::move(summary));
  }
  for (const std::string& text : flags.servers) {
    if (auto status = SetServers(text, runs); !status.ok()) return status;
  }
  std::cout << RenderComparison(runs);
  if (!flags.html_file.empty()) {
    if (auto s = WriteFile(flags.html_file, RenderReportHtml(runs, flags.title)); !s.ok()) return s;
    std::cout << "  report: " << flags.html_file << "\n";
  }
  if (!flags.json_file.empty()) return WriteFile(flags.json_file, RenderReportJson(runs));
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* command = app.add_subcommand("compare", "Set results of several runs side by side");
  command->add_option("FILE", flags->files, "Results that `run --json` wrote, in order")
      ->required()
      ->expected(1, static_cast<int>(kPoliciesMax));
  command->add_option("--html", flags->html_file, "Write the report as one self-contained page")
      ->type_name("FILE");
  command->add_option("--json", flags->json_file, "Write the figures of the table for machines")
      ->type_name("FILE");
  command
      ->add_option("--servers", flags->servers,
                   "Requests per server of one run, where its answers did not say; repeatable")
      ->type_name("NAME=N,N,...")
      ->allow_extra_args(false);
  command->add_option("--title", flags->title, "Heading of the page")
      ->type_name("TEXT")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  weir-load compare round-robin.json prefix.json\n"
      "  weir-load compare *.json --html report.html --json report.json");
  command->callback([flags, exit_code] {
    if (const absl::Status status = Compare(*flags); !status.ok()) {
      PrintError(status);
      *exit_code = kExitUsage;
    }
  });
}

}  // namespace weir::load
