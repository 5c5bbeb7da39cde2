#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <string>

#include "nlohmann/json.hpp"

namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct Outcome {
  std::string outcome;
  std::string detail;
};
using Outcomes = std::map<std::string, Outcome>;

// Standard output of a command, and its exit status.
std::string Output(const std::string& command, int* status) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) {
    text.append(buffer.data(), got);
  }
  *status = WEXITSTATUS(pclose(pipe));
  return text;
}

std::string Command(const std::string& library, const std::string& flags) {
  return WEIR_BIN_DIR "/weir-plugin-check " WEIR_BAD_PLUGIN_DIR "/" + library + " " + flags;
}

Outcomes Check(const std::string& library, const std::string& flags, int expected_status) {
  int status = 0;
  const json report =
      json::parse(Output(Command(library, "--json " + flags + " 2>/dev/null"), &status));
  EXPECT_EQ(status, expected_status);
  Outcomes outcomes;
  for (const json& check : report["checks"]) {
    outcomes[check["name"]] = {check["outcome"], check["detail"]};
  }
  return outcomes;
}

// The one check of a type in libbad.so that must object, and how.
struct Rule {
  const char* check;
  const char* outcome;
  const char* detail;
};

class PluginCheckRule : public ::testing::TestWithParam<Rule> {};

TEST_P(PluginCheckRule, IsFound) {
  const Rule& rule = GetParam();
  const Outcomes outcomes = Check("libbad.so", "--only '^" + std::string(rule.check) + "$'",
                                  rule.outcome[0] >= 'a' ? 0 : 1);
  ASSERT_EQ(outcomes.size(), 1u);
  const Outcome& found = outcomes.at(rule.check);
  EXPECT_EQ(found.outcome, rule.outcome) << found.detail;
  EXPECT_THAT(found.detail, HasSubstr(rule.detail));
}

INSTANTIATE_TEST_SUITE_P(
    All, PluginCheckRule,
    ::testing::Values(Rule{"good/sizes", "ok", "4096 endpoints"},
                      Rule{"good/fuzz", "ok", "rounds from seed 1"},
                      Rule{"writes-behind/sizes", "CRASHED", "in scorer.score, 1 endpoints"},
                      Rule{"writes-before/sizes", "FAILED", "wrote before the start of a buffer"},
                      Rule{"reads-behind/sizes", "CRASHED", "scorer.score"},
                      Rule{"reads-newer-host/oldest-host", "CRASHED", "scorer.score"},
                      Rule{"gives-nan/sizes", "FAILED", "score[0] is nan"},
                      Rule{"throws/sizes", "FAILED", "returned code 13"},
                      Rule{"exits/sizes", "CRASHED", "the process exited in scorer.score"},
                      Rule{"remembers/sizes", "FAILED", "the same input gave another answer"},
                      Rule{"remembers/threads", "FAILED", "differ"},
                      Rule{"crashes-on-nan/sizes", "ok", ""},
                      Rule{"crashes-on-nan/columns", "CRASHED", "scorer.score"},
                      Rule{"crashes-on-nan/fuzz", "CRASHED", "(replay: --seed "},
                      Rule{"brings-back/sizes", "FAILED", "brought back"},
                      Rule{"picks-twice/sizes", "FAILED", "an index twice"},
                      Rule{"picks-outside/sizes", "FAILED", "outside the batch"},
                      Rule{"never-done/sizes", "FAILED", "a profile that does not exist"},
                      Rule{"needs-parameters/create", "skipped", "name: empty, expected a name"},
                      Rule{"has-example/create", "ok", R"({"name":"x"})"},
                      Rule{"crashes-on-parameters/create", "ok", ""},
                      Rule{"crashes-on-parameters/bad-parameters", "CRASHED", R"({"depth":-1})"},
                      Rule{"broken-schema/schema", "FAILED", "no JSON object"}));

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
INSTANTIATE_TEST_SUITE_P(Unsanitized, PluginCheckRule,
                         ::testing::Values(Rule{"allocates/allocations", "FAILED",
                                                "1 heap allocations in hot calls"}));
#endif

struct BadModule {
  const char* library;
  const char* check;
  const char* outcome;
  const char* detail;
};

class PluginCheckModule : public ::testing::TestWithParam<BadModule> {};

TEST_P(PluginCheckModule, IsRefused) {
  const BadModule& bad = GetParam();
  const Outcomes outcomes = Check(bad.library, "", 1);
  ASSERT_TRUE(outcomes.contains(bad.check));
  EXPECT_EQ(outcomes.at(bad.check).outcome, bad.outcome);
  EXPECT_THAT(outcomes.at(bad.check).detail, HasSubstr(bad.detail));
}

INSTANTIATE_TEST_SUITE_P(
    All, PluginCheckModule,
    ::testing::Values(
        BadModule{"libbad_major.so", "descriptor", "FAILED",
                  "built for plugin ABI 2.3, this weir speaks 1."},
        BadModule{"libbad_struct_size.so", "descriptor", "FAILED", "struct_size is 8"},
        BadModule{"libbad_null_module.so", "loads", "FAILED", "returned null"},
        BadModule{"libbad_null_table.so", "types", "FAILED", "weir.scorer/1 has no table"},
        BadModule{"libbad_null_slot.so", "types", "FAILED", "has a null function"},
        BadModule{"libbad_interface.so", "types", "FAILED", "unknown interface \"weir.juggler/1\""},
        BadModule{"libbad_type.so", "types", "FAILED", "\"Bad Type\""},
        BadModule{"libbad_export.so", "exports", "FAILED", "also second_export"},
        BadModule{"libbad_no_symbol.so", "exports", "FAILED", "does not export weir_plugin_module"},
        BadModule{"libbad_no_symbol.so", "loads", "FAILED", "does not export weir_plugin_module"},
        BadModule{"libbad_undefined.so", "loads", "FAILED", "no_such_function_anywhere"},
        BadModule{"libbad_crash.so", "loads", "CRASHED", ""}));

TEST(PluginCheck, RefusesWhatIsNoLibrary) {
  int status = 0;
  const std::string text =
      Output(WEIR_BIN_DIR "/weir-plugin-check " WEIR_SOURCE_DIR "/LICENSE 2>&1", &status);
  EXPECT_EQ(status, 1);
  EXPECT_THAT(text, HasSubstr("FAILED    exports: not an ELF file"));
}

TEST(PluginCheck, SaysHowItIsUsed) {
  int status = 0;
  EXPECT_THAT(Output(WEIR_BIN_DIR "/weir-plugin-check --help", &status),
              HasSubstr("weir-plugin-check ./libzone.so"));
  EXPECT_EQ(status, 0);
  Output(WEIR_BIN_DIR "/weir-plugin-check /no/such/file 2>&1", &status);
  EXPECT_EQ(status, 2);
  EXPECT_THAT(Output(Command("libbad.so", "--only '(' 2>&1"), &status),
              HasSubstr("is no regular expression"));
  EXPECT_EQ(status, 2);
  EXPECT_THAT(Output(Command("libbad.so", "--only nothing"), &status),
              HasSubstr("no check matches"));
  EXPECT_EQ(status, 1);
}

TEST(PluginCheck, RunsInProcessAndRepeatsASeed) {
  int status = 0;
  const std::string flags = "--in-process --only '^good/fuzz' --seed 4711";
  EXPECT_THAT(Output(Command("libbad.so", flags), &status),
              HasSubstr("ok        good/fuzz: 300 rounds from seed 4711\n"));
  EXPECT_EQ(status, 0);
}

}  // namespace
