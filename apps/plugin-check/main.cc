// weir-plugin-check: says whether a plugin library keeps the rules of weir/plugin/abi.h.
#include <regex.h>

#include <CLI/CLI.hpp>

#include <iostream>

#include "checks.h"
#include "nlohmann/json.hpp"
#include "runner.h"

namespace {

using weir::plugin_check::Check;
using weir::plugin_check::CheckContext;
using weir::plugin_check::CheckFailure;
using weir::plugin_check::CheckResult;
using weir::plugin_check::Outcome;
using weir::plugin_check::Progress;
using weir::plugin_check::RunCheck;

struct Flags {
  std::string file;
  std::string only;
  uint64_t seed = 1;
  bool json = false;
  bool in_process = false;
};

// A POSIX extended regular expression, found anywhere in a name.
class Pattern {
 public:
  explicit Pattern(const std::string& text)
      : valid_(regcomp(&compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB) == 0) {}
  ~Pattern() {
    if (valid_) regfree(&compiled_);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  bool valid() const { return valid_; }
  bool Matches(const std::string& name) const {
    return regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t compiled_;
  bool valid_;
};

// Prints one line per check, or collects them for one JSON document.
class Report {
 public:
  explicit Report(const Flags& flags) : flags_(flags) {}

  void Add(const std::string& name, const CheckResult& result) {
    const std::string outcome = OutcomeName(result.outcome);
    const bool bad = result.outcome != Outcome::kOk && result.outcome != Outcome::kSkipped;
    failed_ += bad ? 1 : 0;
    ++count_;
    if (flags_.json) {
      lines_.push_back({{"name", name}, {"outcome", outcome}, {"detail", result.detail}});
      return;
    }
    constexpr size_t kOutcomeWidth = 10;
    std::cout << outcome << std::string(kOutcomeWidth - outcome.size(), ' ') << name;
    if (!result.detail.empty()) std::cout << ": " << result.detail;
    std::cout << std::endl;
  }
  // The exit status.
  int Finish() {
    if (flags_.json) {
      std::cout << nlohmann::json{{"file", flags_.file},
                                  {"seed", flags_.seed},
                                  {"failed", failed_},
                                  {"checks", lines_}}
                       .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                << "\n";
    } else if (count_ == 0) {
      std::cout << "no check matches --only " << flags_.only << "\n";
    } else {
      std::cout << flags_.file << ": " << count_ - failed_ << " of " << count_
                << " checks passed\n";
    }
    return failed_ == 0 && count_ != 0 ? 0 : 1;
  }

 private:
  const Flags& flags_;
  nlohmann::json lines_ = nlohmann::json::array();
  uint32_t failed_ = 0;
  uint32_t count_ = 0;
};

// The names of the types, one per line. Also in a child: loading runs the library's code.
CheckResult ListTypes(const Flags& flags) {
  return RunCheck(
      [&](const Progress& progress) {
        progress("loading");
        const weir_module* module = weir::plugin_check::LoadModule(flags.file);
        std::string types;
        for (uint64_t i = 0; i < module->plugin_count; ++i) {
          types += std::string(weir::plugin_check::View(module->plugins[i]->type)) + "\n";
        }
        return types;
      },
      flags.in_process);
}

void RunAll(const std::vector<Check>& checks, const Flags& flags, bool loads, Report* report) {
  const Pattern only(flags.only);
  for (const Check& check : checks) {
    if (!only.Matches(check.name)) continue;
    report->Add(check.name, RunCheck(
                                [&](const Progress& progress) {
                                  CheckContext context{flags.file, nullptr, flags.seed, progress};
                                  if (loads) {
                                    context.module = weir::plugin_check::LoadModule(flags.file);
                                  }
                                  return check.run(context);
                                },
                                flags.in_process));
  }
}

int Run(const Flags& flags) {
  Report report(flags);
  std::vector<Check> of_file = weir::plugin_check::ModuleChecks();
  const std::vector<Check> of_description(of_file.begin() + 2, of_file.end());
  of_file.resize(2);
  RunAll(of_file, flags, false, &report);
  RunAll(of_description, flags, true, &report);
  const CheckResult types = ListTypes(flags);
  std::istringstream lines(types.outcome == Outcome::kOk ? types.detail : "");
  for (std::string type; std::getline(lines, type);) {
    RunAll(weir::plugin_check::TypeChecks(type), flags, true, &report);
  }
  return report.Finish();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Checks a weir plugin library. Each check runs in a process of its own.");
  app.add_option("FILE", flags.file, "The shared object")->required()->check(CLI::ExistingFile);
  app.add_option("--only", flags.only,
                 "Run only checks whose name contains this regular expression");
  app.add_option("--seed", flags.seed, "Start of the random input")->capture_default_str();
  app.add_flag("--json", flags.json, "Print one JSON document");
  app.add_flag("--in-process", flags.in_process, "No child processes, for a debugger");
  app.footer(
      "Exit status: 0 all checks passed, 1 some did not, 2 wrong usage.\n\n"
      "  weir-plugin-check ./libzone.so\n"
      "  weir-plugin-check ./libzone.so --only /fuzz --seed 4711 --in-process");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!Pattern(flags.only).valid()) {
    std::cerr << "--only: \"" << flags.only << "\" is no regular expression\n";
    return 2;
  }
  return Run(flags);
}
