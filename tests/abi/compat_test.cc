// A host and a plugin of different minors: each reads only what the other has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "builtins.h"
#include "kit.h"
#include "weir/plugin/scorer.h"

namespace {

using ::testing::ElementsAre;
using weir::plugin_check::KitEndpoint;
using weir::plugin_check::KitHost;
using weir::plugin_check::KitInstance;
using weir::plugin_check::KitPool;
using weir::plugin_check::KitRequest;
using weir::plugin_check::KitRequestView;

// What the next minor could append: a column and a service.
struct NextBatch {
  uint32_t struct_size;
  uint32_t count;
  std::byte members_of_1_0[sizeof(weir_batch) - 8];
  const double* temperature;
};
static_assert(offsetof(NextBatch, temperature) == sizeof(weir_batch));

struct NextHost {
  uint32_t struct_size;
  uint32_t abi_minor;
  std::byte slots_of_1_0[sizeof(weir_host) - 8];
  double (*ceiling)(const weir_call* call);
};
static_assert(offsetof(NextHost, ceiling) == sizeof(weir_host));

double Ceiling(const weir_call*) { return 100; }

// A scorer of the next minor, written as abi.h asks: WEIR_HAS before everything newer than 1.0.
weir_code ScoreNext(void*, const weir_call* call, const weir_request*, const weir_batch* batch,
                    double* score) {
  const auto* next_batch = reinterpret_cast<const NextBatch*>(batch);
  const auto* next_host = reinterpret_cast<const NextHost*>(call->host);
  const bool knows =
      WEIR_HAS(NextBatch, next_batch, temperature) && WEIR_HAS(NextHost, next_host, ceiling);
  for (uint32_t i = 0; i < batch->count; ++i) {
    score[i] = knows ? 1 - next_batch->temperature[i] / next_host->ceiling(call) : 0.5;
  }
  return WEIR_OK;
}

class CompatTest : public ::testing::Test {
 protected:
  // The batch and the call of the next minor, around those of 1.0.
  const weir_batch* NextBatchOf(const weir_batch& batch) {
    std::memcpy(&next_batch_, &batch, sizeof(batch));
    next_batch_.struct_size = sizeof(next_batch_);
    next_batch_.temperature = temperature_;
    return reinterpret_cast<const weir_batch*>(&next_batch_);
  }
  const weir_call* NextCallOf(const weir_call& call) {
    std::memcpy(&next_host_, call.host, sizeof(weir_host));
    next_host_.struct_size = sizeof(next_host_);
    next_host_.abi_minor = WEIR_ABI_MINOR + 1;
    next_host_.ceiling = Ceiling;
    next_call_ = call;
    next_call_.host = reinterpret_cast<const weir_host*>(&next_host_);
    return &next_call_;
  }

  const double temperature_[3] = {10, 50, 100};
  NextBatch next_batch_;
  NextHost next_host_;
  weir_call next_call_;
  KitHost host_;
  KitPool pool_{
      {{.name = "a"}, {.name = "b", .waiting_requests = 5}, {.name = "c", .waiting_requests = 10}}};
  KitRequestView request_{KitRequest{}};
  std::vector<double> score_ = std::vector<double>(3, 0.0);
};

TEST_F(CompatTest, ANewHostRunsAnOldPlugin) {
  const weir_plugin* queue = nullptr;
  for (const weir_plugin_module_fn module : weir::internal::Builtins()) {
    if (queue == nullptr) queue = weir::plugin_check::FindType(*module(), "queue-scorer");
  }
  ASSERT_NE(queue, nullptr);
  const auto instance = KitInstance::Create(*queue, "{}", host_);
  ASSERT_TRUE(instance.ok());
  const auto& table = *instance->table<weir_scorer>(WEIR_INTERFACE_SCORER);
  EXPECT_EQ(table.score(instance->self(), NextCallOf(*host_.Begin(pool_, request_)),
                        &request_.raw(), NextBatchOf(pool_.batch()), score_.data()),
            WEIR_OK);
  EXPECT_THAT(score_, ElementsAre(1.0, 0.5, 0.0));
}

TEST_F(CompatTest, AnOldHostRunsANewPlugin) {
  EXPECT_EQ(ScoreNext(nullptr, host_.Begin(pool_, request_), &request_.raw(), &pool_.batch(),
                      score_.data()),
            WEIR_OK);
  EXPECT_THAT(score_, ElementsAre(0.5, 0.5, 0.5));
}

TEST_F(CompatTest, AHostOf10HasNoAdapters) {
  weir_host host = *host_.table();
  host.struct_size = offsetof(weir_host, adapters);
  weir_call call = *host_.Begin(pool_, request_);
  call.host = &host;
  EXPECT_FALSE(weir::plugin::Batch(&call, &pool_.batch()).adapters("m"));
  host.struct_size = sizeof(host);
  EXPECT_TRUE(WEIR_HAS(weir_host, &host, adapters));
}

TEST_F(CompatTest, ANewHostGivesANewPluginWhatItKnows) {
  EXPECT_EQ(ScoreNext(nullptr, NextCallOf(*host_.Begin(pool_, request_)), &request_.raw(),
                      NextBatchOf(pool_.batch()), score_.data()),
            WEIR_OK);
  EXPECT_THAT(score_, ElementsAre(0.9, 0.5, 0.0));
}

TEST_F(CompatTest, OnlyOneSideNewIsNotEnough) {
  EXPECT_EQ(ScoreNext(nullptr, host_.Begin(pool_, request_), &request_.raw(),
                      NextBatchOf(pool_.batch()), score_.data()),
            WEIR_OK);
  EXPECT_THAT(score_, ElementsAre(0.5, 0.5, 0.5));
}

}  // namespace
