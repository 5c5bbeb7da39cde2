#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "allocation_watch.h"
#include "checks.h"
#include "scenario.h"

namespace weir::plugin_check {
namespace {

using nlohmann::json;

constexpr uint32_t kSizes[] = {1, 63, 64, 65, kEndpointsMax};
constexpr uint32_t kThreads = 4;
constexpr uint32_t kCallsPerThread = 200;
constexpr uint32_t kFuzzRounds = 300;
constexpr uint32_t kTimedCalls = 2000;
constexpr uint32_t kTimedEndpoints = 1000;
constexpr uint32_t kStructBytesExtra = 24;

[[noreturn]] void Fail(const std::string& text) { throw CheckFailure(text); }

const weir_plugin& Find(const CheckContext& context, const std::string& type) {
  const weir_plugin* plugin = FindType(*context.module, type);
  if (plugin == nullptr) Fail("not described");
  return *plugin;
}

KitInstance Make(const weir_plugin& plugin, KitHost& host) {
  auto instance = KitInstance::Create(plugin, WorkingParameters(plugin), host);
  if (!instance.ok()) Fail("create: " + std::string(instance.status().message()));
  return std::move(*instance);
}

KitRequest PlainRequest() {
  return {.headers = {{"x-zone", "a"}}, .prompts = {{{WEIR_PART_TEXT, "Hello, world!"}}}};
}

// Stateful plugins may answer differently the second time.
bool IsStateless(const weir_plugin& plugin) {
  return KitInstance::FindTable(plugin, WEIR_INTERFACE_OBSERVER) == nullptr &&
         KitInstance::FindTable(plugin, WEIR_INTERFACE_PRODUCER) == nullptr;
}

std::string CheckSchema(const CheckContext&, const weir_plugin& plugin) {
  if (plugin.params_schema.size == 0) return "none; parameters are those that create reads";
  const json schema = json::parse(View(plugin.params_schema), nullptr, false);
  if (!schema.is_object()) Fail("no JSON object");
  if (schema.value("type", json()) != "object") Fail("\"type\" is not \"object\"");
  const json properties = schema.value("properties", json::object());
  if (!properties.is_object()) Fail("\"properties\" is no object");
  for (const auto& [key, property] : properties.items()) {
    if (!property.is_object()) Fail("\"" + key + "\" is no object");
    if (!property.contains("description")) Fail("\"" + key + "\" has no description");
  }
  return std::to_string(properties.size()) + " parameters";
}

std::string CheckDefaults(const CheckContext&, const weir_plugin& plugin) {
  return "parameters " + WorkingParameters(plugin);
}

// Tries one set of parameters: it may be taken or refused, but a refusal must say why.
void TryParameters(const weir_plugin& plugin, const std::string& parameters,
                   const Progress& progress) {
  progress("create with " + parameters);
  KitHost host;
  const auto instance = KitInstance::Create(plugin, parameters, host);
  if (!instance.ok() && instance.status().message().empty()) {
    Fail("create refused " + parameters + " without a text (param_fail)");
  }
}

std::string CheckBadParameters(const CheckContext& context, const weir_plugin& plugin) {
  const json schema = json::parse(View(plugin.params_schema), nullptr, false);
  uint32_t tried = 0;
  if (schema.is_object() && schema.contains("properties")) {
    for (const auto& [key, property] : schema["properties"].items()) {
      for (const json& value : {json(nullptr), json(-1), json(1e300), json("x"), json(true),
                                json::array({1}), json{{"a", 1}}}) {
        TryParameters(plugin, json{{key, value}}.dump(), context.progress);
        ++tried;
      }
    }
  }
  TryParameters(plugin, R"({"no-such-parameter": 1})", context.progress);
  return std::to_string(tried + 1) + " tried";
}

// Runs one scenario twice and holds the answers against each other.
void RunTwice(const CheckContext& context, const weir_plugin& plugin, uint32_t count,
              Columns columns, DriverOptions options) {
  KitHost host;
  const KitInstance instance = Make(plugin, host);
  const std::string where = std::to_string(count) + " endpoints";
  Driver driver(
      instance, [&](const std::string& what) { context.progress(what + ", " + where); }, options);
  SeededRandom random(context.seed);
  const Scenario scenario(plugin, count, columns, random);
  KitRequestView request(PlainRequest());
  const Results first = driver.Run(scenario.pool(), request, context.seed);
  KitRequestView again(PlainRequest());
  if (driver.Run(scenario.pool(), again, context.seed) != first && IsStateless(plugin)) {
    Fail(where + ": the same input gave another answer");
  }
  for (const weir_code code : first.codes) {
    if (code != WEIR_OK && columns == Columns::kOrdinary) {
      Fail(where + ": returned code " + std::to_string(code));
    }
  }
}

std::string CheckSizes(const CheckContext& context, const weir_plugin& plugin) {
  for (const uint32_t count : kSizes) RunTwice(context, plugin, count, Columns::kOrdinary, {});
  return "1, 63, 64, 65 and " + std::to_string(kEndpointsMax) + " endpoints";
}

std::string CheckColumns(const CheckContext& context, const weir_plugin& plugin) {
  for (const Columns columns : {Columns::kEqual, Columns::kExtreme, Columns::kNan}) {
    for (const uint32_t count : {1u, 65u}) {
      RunTwice(context, plugin, count, columns, {.scores_in_range = false});
    }
  }
  return "equal, extreme and NaN";
}

std::string CheckNewerHost(const CheckContext& context, const weir_plugin& plugin) {
  RunTwice(context, plugin, 65, Columns::kOrdinary, {.struct_bytes_extra = kStructBytesExtra});
  return "structs " + std::to_string(kStructBytesExtra) + " bytes longer";
}

std::string CheckOldestHost(const CheckContext& context, const weir_plugin& plugin) {
  // 1.0 is the oldest minor and the present one: its structs end where the guard pages start.
  RunTwice(context, plugin, 65, Columns::kOrdinary, {});
  return "structs of ABI " + std::to_string(WEIR_ABI_MAJOR) + ".0";
}

std::string CheckDeterminism(const CheckContext& context, const weir_plugin& plugin) {
  std::array<Results, 2> answers;
  for (Results& answer : answers) {
    KitHost host;
    const KitInstance instance = Make(plugin, host);
    Driver driver(instance, context.progress);
    SeededRandom random(context.seed);
    const Scenario scenario(plugin, 65, Columns::kOrdinary, random);
    KitRequestView request(PlainRequest());
    answer = driver.Run(scenario.pool(), request, context.seed);
  }
  if (answers[0] != answers[1]) Fail("two instances gave different answers to the same input");
  return "";
}

std::string CheckThreads(const CheckContext& context, const weir_plugin& plugin) {
  KitHost host;
  const KitInstance instance = Make(plugin, host);
  SeededRandom random(context.seed);
  const Scenario scenario(plugin, 65, Columns::kOrdinary, random);
  const auto run = [&](Driver& driver) {
    KitRequestView request(PlainRequest());
    return driver.Run(scenario.pool(), request, context.seed);
  };
  Driver serial(instance, context.progress);
  const Results expected = run(serial);
  context.progress("calls in " + std::to_string(kThreads) + " threads");
  std::atomic<bool> differs = false;
  std::array<std::string, kThreads> failures;
  std::vector<std::thread> threads;
  for (std::string& failure : failures) {
    threads.emplace_back([&] {
      try {
        Driver driver(instance, [](const std::string&) {});
        for (uint32_t i = 0; i < kCallsPerThread; ++i) {
          if (run(driver) != expected) differs = true;
        }
      } catch (const CheckFailure& error) {
        failure = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) {
    if (!failure.empty()) Fail(failure);
  }
  if (differs && IsStateless(plugin)) Fail("answers differ from those of one thread");
  return std::to_string(kThreads) + " threads";
}

std::string CheckAllocations(const CheckContext& context, const weir_plugin& plugin) {
  if (!CanCountAllocations()) throw CheckSkipped("a sanitizer owns malloc");
  KitHost host;
  const KitInstance instance = Make(plugin, host);
  Driver driver(instance, context.progress);
  SeededRandom random(context.seed);
  const Scenario scenario(plugin, 65, Columns::kOrdinary, random);
  // The first call may bind symbols lazily.
  for (int round = 0; round < 2; ++round) {
    KitRequestView request(PlainRequest());
    driver.Run(scenario.pool(), request, context.seed);
  }
  if (driver.allocations() != 0) {
    Fail(std::to_string(driver.allocations()) + " heap allocations in hot calls, expected none");
  }
  return "";
}

std::string CheckTime(const CheckContext& context, const weir_plugin& plugin) {
  KitHost host;
  const KitInstance instance = Make(plugin, host);
  Driver driver(instance, context.progress);
  SeededRandom random(context.seed);
  const Scenario scenario(plugin, kTimedEndpoints, Columns::kOrdinary, random);
  std::vector<int64_t> times_ns;
  for (uint32_t i = 0; i < kTimedCalls; ++i) {
    KitRequestView request(PlainRequest());
    driver.Run(scenario.pool(), request, context.seed);
    times_ns.push_back(driver.elapsed_ns());
  }
  std::sort(times_ns.begin(), times_ns.end());
  const auto microseconds = [&](size_t rank) {
    std::string text = std::to_string(static_cast<double>(times_ns[rank]) / 1000.0);
    return text.substr(0, text.find('.') + 3);
  };
  return "p50 " + microseconds(kTimedCalls / 2) + " us, p99 " +
         microseconds(kTimedCalls * 99 / 100) + " us with " + std::to_string(kTimedEndpoints) +
         " endpoints (not judged)";
}

std::string CheckFuzz(const CheckContext& context, const weir_plugin& plugin) {
  const std::string working = WorkingParameters(plugin);
  for (uint32_t round = 0; round < kFuzzRounds; ++round) {
    const uint64_t seed = context.seed + round;
    const std::string replay = " (replay: --seed " + std::to_string(seed) + ")";
    SeededRandom random(seed);
    KitHost host;
    auto instance = KitInstance::Create(
        plugin, random.Chance(2) ? working : RandomParameters(plugin, random), host);
    if (!instance.ok()) continue;
    Driver driver(*instance, [&](const std::string& what) { context.progress(what + replay); },
                  {.scores_in_range = false});
    const auto columns = static_cast<Columns>(random.Below(4));
    const auto count = static_cast<uint32_t>(1 + random.Below(200));
    const Scenario scenario(plugin, count, columns, random);
    KitRequestView request(RandomRequest(random));
    try {
      driver.Run(scenario.pool(), request, seed);
    } catch (const CheckFailure& error) {
      Fail(error.what() + replay);
    }
  }
  return std::to_string(kFuzzRounds) + " rounds from seed " + std::to_string(context.seed);
}

}  // namespace

std::vector<Check> TypeChecks(const std::string& type) {
  using Function = std::string (*)(const CheckContext&, const weir_plugin&);
  static constexpr std::pair<const char*, Function> kChecks[] = {
      {"schema", CheckSchema},
      {"create", CheckDefaults},
      {"bad-parameters", CheckBadParameters},
      {"sizes", CheckSizes},
      {"columns", CheckColumns},
      {"determinism", CheckDeterminism},
      {"threads", CheckThreads},
      {"allocations", CheckAllocations},
      {"oldest-host", CheckOldestHost},
      {"newer-host", CheckNewerHost},
      {"time", CheckTime},
      {"fuzz", CheckFuzz}};
  std::vector<Check> checks;
  for (const auto& [name, function] : kChecks) {
    checks.push_back({type + "/" + name, [type, function = function](const CheckContext& context) {
                        return function(context, Find(context, type));
                      }});
  }
  return checks;
}

}  // namespace weir::plugin_check
