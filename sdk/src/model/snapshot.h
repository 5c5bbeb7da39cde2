// model/snapshot.h: the columns behind weir::PoolSnapshot.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "weir/endpoint.h"
#include "weir/plugin/abi.h"

namespace weir::internal {

// What changes only when endpoints come, go or are relabelled; shared by the snapshots between.
struct Membership {
  struct Row {
    EndpointId id;
    std::string full_name;  // "namespace/name"
    std::string address;
    std::map<std::string, std::string> labels;
  };
  uint64_t epoch = 0;
  std::vector<Row> rows;
  // Columns of the plugin ABI, one element per row.
  std::vector<EndpointId> ids;
  std::vector<uint32_t> slots;
  std::vector<weir_str> names;
  std::vector<weir_str> addresses;
  std::unordered_map<std::string_view, uint32_t> label_values;  // interned, from 1
  std::unordered_map<std::string_view, std::vector<uint32_t>> label_columns;
  std::vector<uint32_t> no_label;  // all WEIR_LABEL_ABSENT

  // Fills everything below `rows` from rows. The views point into rows.
  void Index();
};

// LoRA adapters of all endpoints; shared by the snapshots between two changes.
struct AdapterTable {
  struct Holder {
    uint32_t row;
    uint32_t state;  // WEIR_ADAPTER_...
  };
  std::vector<EndpointAdapters> rows;
  std::vector<weir_adapter> none;  // per row, as for an adapter that nobody has
  // Who has an adapter, in order of rows; active comes after waiting. The views point into rows.
  std::unordered_map<std::string_view, std::vector<Holder>> holders;

  // Fills everything below `rows` from rows.
  void Index();
};

class Snapshot final : public PoolSnapshot {
 public:
  uint32_t count() const noexcept override { return static_cast<uint32_t>(members->rows.size()); }
  uint64_t version() const noexcept override { return version_number; }
  uint64_t pool_epoch() const noexcept override { return members->epoch; }
  std::span<const EndpointId> ids() const noexcept override { return members->ids; }
  std::string_view name(uint32_t index) const noexcept override {
    return members->rows[index].full_name;
  }
  std::string_view address(uint32_t index) const noexcept override {
    return members->rows[index].address;
  }
  std::optional<std::string_view> label(uint32_t index, std::string_view key) const override;
  const std::map<std::string, std::string>& labels(uint32_t index) const noexcept override {
    return members->rows[index].labels;
  }
  std::span<const uint32_t> waiting_requests() const noexcept override { return waiting; }
  std::span<const uint32_t> running_requests() const noexcept override { return running; }
  std::span<const float> kv_used_ratio() const noexcept override { return kv_used; }
  std::span<const uint32_t> kv_block_tokens() const noexcept override { return block_tokens; }
  std::span<const uint32_t> kv_block_count() const noexcept override { return block_count; }
  const EndpointAdapters& adapters(uint32_t index) const noexcept override {
    return adapter_table->rows[index];
  }
  std::span<const double> attribute(uint32_t attribute) const noexcept override {
    return attributes[attribute];
  }
  std::span<const int64_t> sample_time_ns() const noexcept override { return sample_time; }

  // [hot] A column of interned values for a label key.
  const uint32_t* LabelColumn(std::string_view key) const noexcept;
  uint32_t LabelValue(std::string_view value) const noexcept;
  // What `count` endpoints say about an adapter: those that `rows` lists in rising order, or the
  // first if it is null.
  void AdapterColumn(std::string_view name, const uint32_t* rows, uint32_t count,
                     weir_adapter* out) const noexcept;

  std::shared_ptr<const Membership> members;
  uint64_t version_number = 0;
  std::vector<uint32_t> waiting;
  std::vector<uint32_t> running;
  std::vector<float> kv_used;
  std::vector<uint32_t> block_tokens;
  std::vector<uint32_t> block_count;
  std::vector<float> kv_ratio_per_token;  // 1 / tokens of the KV cache; 0 if they are not known
  std::vector<int64_t> sample_time;
  std::shared_ptr<const AdapterTable> adapter_table;
  std::vector<std::vector<double>> attributes;  // one column each
};

}  // namespace weir::internal
