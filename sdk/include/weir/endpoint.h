// weir/endpoint.h: the model servers. An EndpointPool is written by discovery and scraping and
// published as immutable snapshots of columns, which decisions read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/limits.h"
#include "weir/status.h"

namespace weir {

// LoRA adapters of a model server. Of each list the first kAdaptersPerEndpointMax count, without
// names that are empty or longer than kNameBytesMax.
struct EndpointAdapters {
  std::vector<std::string> active;   // loaded, requests use them now
  std::vector<std::string> waiting;  // that requests wait for
  uint32_t adapters_max = 0;         // how many fit at once
  friend bool operator==(const EndpointAdapters&, const EndpointAdapters&) = default;
};

// A scraped value that is none of the load columns.
struct AttributeValue {
  uint32_t attribute = 0;  // index into RouterNeeds::attributes; others are ignored
  double value = 0;
};

// What a model server reports about its load. A field that is absent keeps its last value.
struct EndpointMetrics {
  std::optional<uint32_t> waiting_requests;  // queued in the engine
  std::optional<uint32_t> running_requests;  // in the engine's batch
  std::optional<double> kv_used_ratio;       // of the KV cache; kept within 0..1
  std::optional<uint32_t> kv_block_tokens;   // tokens per KV block
  std::optional<uint32_t> kv_block_count;    // blocks of the KV cache
  std::optional<EndpointAdapters> adapters = {};
  std::vector<AttributeValue> attributes = {};
};

// A model server, as discovery knows it.
struct Endpoint {
  std::string name;                        // unique with namespace_name
  std::string namespace_name = "default";  // without a slash
  std::string address;                     // "10.0.0.1:8000", "[fd00::1]:8000" or "host:8000"
  std::map<std::string, std::string> labels = {};
  EndpointMetrics metrics = {};  // may stay empty: never scraped
};

// Names one incarnation of an endpoint in its pool: removing and adding again gives another id.
struct EndpointId {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;
  friend bool operator==(const EndpointId&, const EndpointId&) = default;
};

struct MetricsUpdate {
  EndpointId id;
  EndpointMetrics metrics;
};

// An immutable view of the pool: element i of each column belongs to endpoint i, in order of
// addition. Safe for concurrent use by many threads without external locking.
class PoolSnapshot : public std::enable_shared_from_this<PoolSnapshot> {
 public:
  virtual ~PoolSnapshot() = default;
  virtual uint32_t count() const noexcept = 0;
  // Counts publications; pool_epoch only those that changed endpoints, addresses or labels.
  virtual uint64_t version() const noexcept = 0;
  virtual uint64_t pool_epoch() const noexcept = 0;
  virtual std::span<const EndpointId> ids() const noexcept = 0;
  virtual std::string_view name(uint32_t index) const noexcept = 0;  // "namespace/name"
  virtual std::string_view address(uint32_t index) const noexcept = 0;
  // The value of a label, nothing if the endpoint does not carry it.
  virtual std::optional<std::string_view> label(uint32_t index, std::string_view key) const = 0;
  virtual const std::map<std::string, std::string>& labels(uint32_t index) const noexcept = 0;
  // As sampled, without what was sent since; 0 where the server never reported.
  virtual std::span<const uint32_t> waiting_requests() const noexcept = 0;
  virtual std::span<const uint32_t> running_requests() const noexcept = 0;
  virtual std::span<const float> kv_used_ratio() const noexcept = 0;
  virtual std::span<const uint32_t> kv_block_tokens() const noexcept = 0;
  virtual std::span<const uint32_t> kv_block_count() const noexcept = 0;
  virtual const EndpointAdapters& adapters(uint32_t index) const noexcept = 0;
  // A column of RouterNeeds::attributes, NaN where the server never reported.
  virtual std::span<const double> attribute(uint32_t attribute) const noexcept = 0;
  // Injected time of the last sample, INT64_MIN if there was none.
  virtual std::span<const int64_t> sample_time_ns() const noexcept = 0;
};

// The endpoints of one router. All methods are safe for concurrent use; writers serialise and
// publish one new snapshot per call, O(endpoints). [control, concurrent]
class EndpointPool {
 public:
  virtual ~EndpointPool() = default;

  // Adds the endpoint, or replaces address, labels and given metrics of the one with this name.
  // Errors: kInvalidArgument (field named in the text), kResourceExhausted at kEndpointsMax.
  virtual absl::StatusOr<EndpointId> Upsert(const Endpoint& endpoint) = 0;
  // Errors: kNotFound.
  virtual absl::Status Remove(std::string_view name,
                              std::string_view namespace_name = "default") = 0;
  // Makes the pool hold exactly these. Invalid ones are skipped; the error lists each, the others
  // are in use.
  virtual absl::Status Replace(std::span<const Endpoint> endpoints) = 0;

  // Says that a sample of this endpoint is being taken now: requests begun before are known to it.
  // Optional; without it a sample counts as taken when it is applied.
  virtual void SampleStarted(EndpointId id) = 0;
  // Applies samples of many endpoints and publishes once. Unknown ids are ignored.
  virtual void ApplySamples(std::span<const MetricsUpdate> samples) = 0;

  // The newest snapshot. Copies a shared_ptr under a lock; decisions use a cheaper way.
  virtual std::shared_ptr<const PoolSnapshot> snapshot() const = 0;

  // Requests begun on this endpoint and not ended yet; 0 for an unknown id. [hot, concurrent]
  virtual uint32_t in_flight(EndpointId id) const noexcept = 0;

  // PoolSnapshot::pool_epoch() of the newest snapshot. [hot, concurrent]
  virtual uint64_t pool_epoch() const noexcept = 0;
};

}  // namespace weir
