// The host's services, as plugins see them in a decision and in an observer's begin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "weir/plugin/filter.h"
#include "weir/plugin/observer.h"
#include "weir/plugin/producer.h"
#include "weir/plugin/scorer.h"
#include "weir/router.h"

namespace weir {
namespace {

using plugin::Attribute;
using plugin::Batch;
using plugin::Choice;
using plugin::Output;

constexpr Attribute kSlots{"Slots", "weir.slot/1", sizeof(uint32_t), ""};

void UseUp(const plugin::Call& call) {
  for (const uint64_t bytes : {1u << 20, 1u}) {
    while (call.allocate<char>(bytes) != nullptr) {
    }
  }
}

// What the observers below saw, of all instances.
struct Seen {
  std::atomic<uint64_t> begins{0};
  std::atomic<uint64_t> ends{0};
  std::atomic<uint64_t> memory{0};        // begins that were given some
  std::atomic<uint64_t> wrong{0};         // columns or states of another
  std::atomic<double> first_uniform{-1};  // of a begin
};
Seen seen;

// Writes a column and reads it again when the request begins.
class Watcher {
 public:
  using RequestState = uint32_t;
  using FlightState = uint32_t;

  void Produce(const plugin::Request&, const Batch& batch, const Output& output,
               uint32_t* request_state) const {
    uint32_t* slots = output.column<uint32_t>(0);
    for (uint32_t i = 0; i < batch.count(); ++i) slots[i] = batch.slots()[i] + 7;
    *request_state = batch.count();
  }
  void Begin(const plugin::Request&, const Batch& batch, const Choice& choice,
             const uint32_t* request_state, uint32_t* flight_state) {
    ++seen.begins;
    *flight_state = choice.slot(0);
    const auto slots = batch.column<uint32_t>(0);
    if (slots[choice.batch_index(0)] != choice.slot(0) + 7) ++seen.wrong;
    if (request_state == nullptr || *request_state != batch.count()) ++seen.wrong;
    if (batch.call().allocate<char>(1) != nullptr || batch.adapters("x")) ++seen.memory;
    UseUp(batch.call());
    seen.first_uniform = batch.call().uniform();
  }
  void End(uint32_t*, const weir_usage&) { ++seen.ends; }
};

struct DropFirst {
  void Apply(const plugin::Request&, const Batch&, plugin::Mask keep) const { keep.Drop(0); }
};

// Asks for labels when no memory is left.
struct ThirstyScorer {
  static inline std::vector<uint32_t> labels;
  void Score(const plugin::Request&, const Batch& batch, double*) const {
    const auto before = batch.labels("zone");
    labels.assign(before.begin(), before.end());
    UseUp(batch.call());
    if (const auto zone = batch.labels("zone"))
      labels.insert(labels.end(), zone.begin(), zone.end());
  }
};

const weir_module* Types() {
  static const plugin::Module* const module = [] {
    auto* fresh = new plugin::Module;
    fresh->AddProducer<Watcher>("watcher").Writes(kSlots);
    fresh->AddFilter<DropFirst>("drop-first");
    fresh->AddScorer<ThirstyScorer>("thirsty-scorer");
    return fresh;
  }();
  return module->raw();
}

Router Make(const std::string& plugins, const std::string& refs) {
  const std::string text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [" +
                           plugins + "]\nschedulingProfiles: [{name: default, plugins: [" + refs +
                           "]}]\n";
  auto router = Router::FromText(text, "test.yaml", {.plugin_modules = {Types()}, .seed = 1});
  EXPECT_TRUE(router.ok()) << router.status();
  for (const char* name : {"a", "b", "c"}) {
    const Endpoint endpoint{.name = name, .address = "h:1", .labels = {{"zone", name}}};
    EXPECT_TRUE(router->pool().Upsert(endpoint).ok());
  }
  return *std::move(router);
}

class BeginTest : public ::testing::Test {
 protected:
  BeginTest() {
    seen.begins = seen.ends = seen.memory = seen.wrong = 0;
    seen.first_uniform = -1;
  }
  // Two instances, so that what one takes another could lack.
  const Router router_ =
      Make("{type: watcher, name: w1}, {type: watcher, name: w2}, {type: max-score-picker}",
           "{pluginRef: max-score-picker}");
};

TEST_F(BeginTest, LeavesTheDecisionAsItWas) {
  const Decision decision = router_.Decide(Request{}).value();
  const std::string before = decision.ToJson();
  for (int i = 0; i < 3; ++i) router_.Begin(decision).Finish({});
  EXPECT_EQ(decision.ToJson(), before);
  EXPECT_EQ(seen.begins, 6u);
  EXPECT_EQ(seen.ends, 6u);
  EXPECT_EQ(seen.memory, 0u);
  EXPECT_EQ(seen.wrong, 0u);
  EXPECT_GE(seen.first_uniform, 0);
  EXPECT_LT(seen.first_uniform, 1);
}

TEST_F(BeginTest, RunsInSeveralThreadsForOneDecision) {
  const Decision decision = router_.Decide(Request{}).value();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) router_.Begin(decision).Finish({});
    });
  }
  for (int i = 0; i < 50; ++i) EXPECT_NE(decision.ToJson(), "");
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.begins, 4000u);
  EXPECT_EQ(seen.ends, 4000u);
  EXPECT_EQ(seen.wrong, 0u);
}

TEST(LabelsTest, AreAbsentWhenNoMemoryIsLeft) {
  const Router router =
      Make("{type: drop-first}, {type: thirsty-scorer}, {type: max-score-picker}",
           "{pluginRef: drop-first}, {pluginRef: thirsty-scorer}, {pluginRef: max-score-picker}");
  EXPECT_EQ(router.Decide(Request{}).status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_EQ(ThirstyScorer::labels.size(), 4u) << "null";
  EXPECT_NE(ThirstyScorer::labels[0], WEIR_LABEL_ABSENT);
  EXPECT_NE(ThirstyScorer::labels[0], ThirstyScorer::labels[1]);
  EXPECT_EQ(ThirstyScorer::labels[2], WEIR_LABEL_ABSENT);
  EXPECT_EQ(ThirstyScorer::labels[3], WEIR_LABEL_ABSENT);
}

}  // namespace
}  // namespace weir
