// capi_testing.h: a router with endpoints through the C API, and texts as C++ strings.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "weir/c/weir.h"

namespace weir::testing {

inline weir_str Str(std::string_view text) { return {text.data(), text.size()}; }
inline std::string Text(weir_str text) { return std::string(text.data, text.size); }

// A weir_buffer with memory.
class Buffer {
 public:
  Buffer() : buffer_{text_, sizeof(text_), 0} {}
  Buffer(const Buffer&) = delete;
  weir_buffer* get() { return &buffer_; }
  std::string text() const { return std::string(text_, buffer_.size); }

 private:
  char text_[1 << 16] = {};
  weir_buffer buffer_;
};

class CapiTest : public ::testing::Test {
 protected:
  static constexpr char kQueueOnly[] =
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
      "- {type: queue-scorer}\n- {type: prefix-cache-scorer}\n- {type: token-producer}\n"
      "- {type: inflight-load-producer}\n- {type: max-score-picker}\n";

  ~CapiTest() override { weir_router_destroy(&router_); }

  void Make(std::string_view config = kQueueOnly) {
    weir_router_options options = weir_router_options_init();
    options.config_text = Str(config);
    options.config_name = Str("test.yaml");
    options.seed = 7;
    options.now_ns = [](void* now) -> int64_t { return *static_cast<int64_t*>(now); };
    options.now_context = &now_ns_;
    ASSERT_EQ(weir_router_create(&options, &router_, error_.get()), WEIR_OK) << error_.text();
  }
  // "default/<name>" at 10.0.0.<number>:8000 with so many requests waiting.
  weir_endpoint_id Add(std::string_view name, int number, uint32_t waiting_requests = 0) {
    const std::string address = "10.0.0." + std::to_string(number) + ":8000";
    weir_metrics metrics = weir_metrics_init();
    metrics.present = WEIR_METRIC_WAITING_REQUESTS;
    metrics.waiting_requests = waiting_requests;
    weir_endpoint endpoint = weir_endpoint_init();
    endpoint.name = Str(name);
    endpoint.address = Str(address);
    endpoint.metrics = &metrics;
    weir_endpoint_id id = {UINT32_MAX, 0};
    EXPECT_EQ(weir_pool_upsert(router_, &endpoint, &id, error_.get()), WEIR_OK) << error_.text();
    return id;
  }
  static std::string Primary(const weir_decision& decision) {
    weir_target target = {};
    uint64_t count = 0;
    EXPECT_EQ(weir_decision_targets(&decision, &target, 1, &count), WEIR_OK);
    return count == 0 ? "none" : Text(target.name);
  }
  weir_stats Stats() {
    weir_stats stats = weir_stats_init();
    EXPECT_EQ(weir_router_stats(router_, &stats), WEIR_OK);
    return stats;
  }

  int64_t now_ns_ = 1'000'000'000;
  Buffer error_;
  weir_router* router_ = nullptr;
};

}  // namespace weir::testing
