#include "load/workload_flags.h"

#include <array>
#include <iostream>
#include <span>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weir::load {
namespace {

constexpr char kGroup[] = "Conversations (lengths in tokens)";

struct PresetFlag {
  const char* flag;
  const char* value;
};
struct Preset {
  const char* name;
  const char* meaning;
  std::span<const PresetFlag> flags;
};

// Shapes that public benchmarks of model servers use.
constexpr PresetFlag kChat[] = {{"--groups", "8"},
                                {"--system-tokens", "1000"},
                                {"--turns", "4"},
                                {"--input-tokens", "lognormal:60:40:5:500"},
                                {"--output-tokens", "150"}};
constexpr PresetFlag kSharedPrefix[] = {{"--conversations", "750"},  {"--groups", "150"},
                                        {"--system-tokens", "6000"}, {"--turns", "1"},
                                        {"--input-tokens", "1200"},  {"--output-tokens", "1000"}};
constexpr PresetFlag kAgent[] = {{"--groups", "1"},
                                 {"--system-tokens", "3000"},
                                 {"--context-tokens", "normal:55000:25000:15000:100000"},
                                 {"--turns", "normal:6:4:2:20"},
                                 {"--input-tokens", "normal:1500:1200:50:6000"},
                                 {"--output-tokens", "normal:800:600:50:4000"}};
constexpr PresetFlag kUnique[] = {{"--groups", "0"},
                                  {"--turns", "1"},
                                  {"--input-tokens", "normal:4096:2048:100:16000"},
                                  {"--output-tokens", "normal:512:256:10:2000"}};
constexpr Preset kPresets[] = {
    {"chat", "short questions, 4 turns, 8 system prompts of 1000", kChat},
    {"shared-prefix", "750 prompts of 7200 over 150 prefixes of 6000", kSharedPrefix},
    {"agent", "long private contexts, few to 20 turns", kAgent},
    {"unique", "independent prompts, nothing shared", kUnique},
};

std::string PresetHelp() {
  std::string help = "Start from: ";
  for (const Preset& preset : kPresets) {
    absl::StrAppend(&help, preset.name, " (", preset.meaning, "); ");
  }
  return help + "flags given beside it win";
}

absl::Status ApplyPreset(const CLI::App& command, WorkloadFlags& flags) {
  if (flags.preset.empty()) return absl::OkStatus();
  for (const Preset& preset : kPresets) {
    if (flags.preset != preset.name) continue;
    for (const auto& [flag, value] : preset.flags) {
      if (command.get_option(flag)->count() > 0) continue;
      const std::string name(flag);
      uint32_t number = 0;
      if (name == "--conversations" && absl::SimpleAtoi(value, &number))
        flags.conversations = number;
      if (name == "--groups" && absl::SimpleAtoi(value, &number)) flags.groups = number;
      if (name == "--system-tokens") flags.system_tokens = value;
      if (name == "--context-tokens") flags.context_tokens = value;
      if (name == "--turns") flags.turns = value;
      if (name == "--input-tokens") flags.input_tokens = value;
      if (name == "--output-tokens") flags.output_tokens = value;
    }
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--preset: \"", flags.preset, "\", expected chat, shared-prefix, agent or unique"));
}

}  // namespace

void AddWorkloadFlags(CLI::App& command, WorkloadFlags& flags) {
  command.add_option("--preset", flags.preset, PresetHelp())->group(kGroup)->type_name("NAME");
  command.add_option("--seed", flags.seed, "Equal seeds give equal requests")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--conversations", flags.conversations, "How many different ones")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(1u, kConversationsMax).description(""));
  command.add_option("--groups", flags.groups, "Groups that share a system prompt; 0: none")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(0u, 1'000'000u).description(""));
  const auto distribution = [&](const char* flag, std::string& value, const char* help) {
    command.add_option(flag, value, help)->group(kGroup)->capture_default_str()->type_name("DIST");
  };
  distribution("--shared-tokens", flags.shared_tokens, "Start of every system prompt");
  distribution("--system-tokens", flags.system_tokens, "System prompt of a group");
  distribution("--context-tokens", flags.context_tokens, "Private context of a conversation");
  distribution("--turns", flags.turns, "Requests of a conversation");
  distribution("--input-tokens", flags.input_tokens, "New user text of a turn");
  distribution("--output-tokens", flags.output_tokens, "Answer asked for (max_tokens)");
  distribution("--think-ms", flags.think_ms, "Pause before the next turn, milliseconds");
}

absl::StatusOr<ConversationPlan> MakeConversationPlan(const CLI::App& command,
                                                      WorkloadFlags flags) {
  if (auto status = ApplyPreset(command, flags); !status.ok()) return status;
  ConversationPlan plan;
  plan.seed = flags.seed;
  plan.conversations = flags.conversations;
  plan.groups = flags.groups;
  const std::array<std::tuple<const char*, std::string*, Distribution*>, 7> lengths = {{
      {"--shared-tokens", &flags.shared_tokens, &plan.shared_tokens},
      {"--system-tokens", &flags.system_tokens, &plan.system_tokens},
      {"--context-tokens", &flags.context_tokens, &plan.context_tokens},
      {"--turns", &flags.turns, &plan.turns},
      {"--input-tokens", &flags.input_tokens, &plan.input_tokens},
      {"--output-tokens", &flags.output_tokens, &plan.output_tokens},
      {"--think-ms", &flags.think_ms, &plan.think_ms},
  }};
  for (const auto& [flag, text, out] : lengths) {
    auto read = Distribution::Parse(*text);
    if (!read.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": ", read.status().message()));
    }
    *out = *std::move(read);
  }
  return plan;
}

absl::StatusOr<absl::Duration> ParseDurationFlag(std::string_view flag, const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    duration = absl::InfiniteDuration();
  }
  if (!(duration >= absl::ZeroDuration() && duration <= absl::Hours(24 * 30))) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(flag.data(), flag.size()), ": \"", text,
                     "\", expected a time such as 200ms, 1.5s or 2m, at most 720h"));
  }
  return duration;
}

void PrintError(const absl::Status& status) {
  std::cerr << "weir-load: " << status.message() << "\n";
}

}  // namespace weir::load
