// weir/io/scrape/endpoint_sample.h: what one scraped page said about one endpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::io {

// Adapter names kept per list of vllm:lora_requests_info; the rest is dropped and counted.
inline constexpr uint32_t kLoraAdaptersMax = 256;
// Named metrics of one engine configuration (customMetrics).
inline constexpr uint32_t kCustomMetricsMax = 32;

// Which members of an EndpointSample a page filled, and which a plan wants; bits of one mask.
enum SampleField : uint32_t {
  kSampleWaiting = 1u << 0,
  kSampleRunning = 1u << 1,
  kSampleKvUsed = 1u << 2,
  kSampleBlockTokens = 1u << 3,
  kSampleBlockCount = 1u << 4,
  kSampleLora = 1u << 5,
};
inline constexpr uint32_t kSampleAllFields = (1u << 6) - 1;

// The last known values of one endpoint. A page without a family leaves its old value here, and
// the bit in `present` says whether the last page had it. Plain data; one thread at a time.
struct EndpointSample {
  uint32_t present = 0;         // SampleField bits that the last page filled
  uint32_t custom_present = 0;  // bit i: custom_values[i] was filled by the last page

  uint32_t waiting_requests = 0;
  uint32_t running_requests = 0;
  float kv_used_ratio = 0;    // 0..1 as engines mean it; what the page says, not clamped
  uint32_t block_tokens = 0;  // tokens per KV block
  uint32_t block_count = 0;   // KV blocks of the engine

  std::vector<std::string> lora_active;   // adapters that run now
  std::vector<std::string> lora_waiting;  // adapters that requests wait for
  uint32_t lora_adapters_max = 0;         // how many adapters fit at once

  std::vector<double> custom_values;  // in the order of ScrapePlan::custom_keys()

  bool has(SampleField field) const noexcept { return (present & field) != 0; }
};

// How reading one page went.
struct ExtractStats {
  uint32_t missing = 0;     // wanted metrics without a usable series; an absent LoRA family is none
  uint32_t bad_values = 0;  // NaN, infinite, negative or unparsable values of wanted metrics
  uint32_t malformed_lines = 0;   // lines of wanted families that cannot be read, or are cut off
  uint32_t adapters_dropped = 0;  // names beyond kLoraAdaptersMax
  bool updated = false;           // at least one value was taken from the page
};

}  // namespace weir::io
