#include <fstream>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "load/commands.h"
#include "load/generate.h"
#include "load/workload_flags.h"

namespace weir::load {
namespace {

struct GenerateFlags {
  WorkloadFlags workload;
  double rate = 1;
  double answer_token_ms = 20;
  uint32_t block_tokens = kTraceBlockTokens;
  uint64_t requests = 100'000;
  std::string out = "-";
};

absl::Status Generate(const CLI::App& command, const GenerateFlags& flags) {
  auto conversations = MakeConversationPlan(command, flags.workload);
  if (!conversations.ok()) return conversations.status();
  GeneratePlan plan;
  plan.conversations = *conversations;
  plan.conversations_per_s = flags.rate;
  plan.answer_token_ms = flags.answer_token_ms;
  plan.block_tokens = flags.block_tokens;
  plan.records_max = flags.requests;
  std::ofstream file;
  if (flags.out != "-") {
    file.open(flags.out, std::ios::binary | std::ios::trunc);
    if (!file) return absl::UnavailableError(absl::StrCat(flags.out, ": cannot write"));
  }
  std::ostream& out = flags.out == "-" ? std::cout : file;
  std::string line;
  const absl::Status status = GenerateTrace(plan, [&](const TraceRecord& record) {
    line.clear();
    AppendTraceLine(record, line);
    out << line;
  });
  out.flush();
  if (status.ok() && !out) return absl::UnavailableError(absl::StrCat(flags.out, ": cannot write"));
  return status;
}

}  // namespace

void AddGenerateCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand(
      "generate", "Write a trace of conversations, for `run --trace` and for simulations");
  command->add_option("--out", flags->out, "File to write; -: standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--rate", flags->rate, "Conversations that begin a second, Poisson")
      ->type_name("R")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1e6).description(""));
  command
      ->add_option("--answer-token-ms", flags->answer_token_ms,
                   "Assumed time per answer token before the next turn, milliseconds")
      ->type_name("MS")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6).description(""));
  command->add_option("--block-tokens", flags->block_tokens, "Tokens per hash id")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20).description(""));
  command->add_option("--requests", flags->requests, "Stop after so many")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{kTraceRecordsMax}).description(""));
  AddWorkloadFlags(*command, flags->workload);
  command->footer(
      "DIST is N, uniform:MIN:MAX, normal:MEAN:SD[:MIN:MAX], lognormal:MEAN:SD[:MIN:MAX] or\n"
      "exponential:MEAN[:MIN:MAX].\n"
      "Examples:\n"
      "  weir-load generate --preset chat --conversations 500 --rate 5 --out chat.jsonl\n"
      "  weir-load generate --groups 3 --turns uniform:2:8 --think-ms exponential:5000");
  command->callback([command, flags, exit_code] {
    if (const absl::Status status = Generate(*command, *flags); !status.ok()) {
      PrintError(status);
      *exit_code = kExitUsage;
    }
  });
}

}  // namespace weir::load
