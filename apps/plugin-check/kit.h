// kit.h: a host for one plugin: parameters, requests and batches made by hand, scripted draws.
// weir-plugin-check and the unit tests of the built-in plugins stand on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "weir/limits.h"
#include "weir/plugin/abi.h"
#include "weir/status.h"

namespace weir::plugin_check {

inline constexpr size_t kKitArenaBytes = 16u << 20;  // scratch memory of one hot call
inline constexpr uint32_t kKitCounters = 8;          // as WEIR_SLOT(count) documents

inline std::string_view View(weir_str text) { return {text.data, text.size}; }
inline weir_str Str(std::string_view text) { return {text.data(), text.size()}; }

struct KitEndpoint {
  std::string name;
  std::string address = "10.0.0.1:8000";
  std::map<std::string, std::string> labels;
  uint32_t waiting_requests = 0;
  uint32_t running_requests = 0;
  float kv_used_ratio = 0;
  uint32_t sample_age_ms = 0;
  uint32_t kv_block_tokens = 0;
  uint32_t kv_block_count = 0;
  std::vector<std::string> active_adapters, waiting_adapters;
  uint32_t adapters_max = 0;
};

// Endpoints as a batch. Slots are the indices. Movable; pointers into it live as long as it does.
class KitPool {
 public:
  explicit KitPool(const std::vector<KitEndpoint>& endpoints);

  const weir_batch& batch() const { return batch_; }
  uint32_t count() const { return batch_.count; }
  // The attribute columns of the plugin under test, one pointer per declared attribute.
  void SetColumns(std::vector<const void*> columns);
  // What the labels and intern slots answer.
  const uint32_t* Labels(std::string_view key) const;
  uint32_t Intern(std::string_view value) const;
  // What the adapters slot answers, into `out`, one element per endpoint.
  void Adapters(std::string_view name, weir_adapter* out) const;

 private:
  std::vector<std::string> names_, addresses_;
  std::vector<weir_str> name_views_, address_views_;
  std::vector<uint32_t> slots_, waiting_, running_, age_, block_tokens_, block_count_;
  std::vector<float> kv_used_;
  std::map<std::string, std::vector<uint32_t>, std::less<>> labels_;
  std::map<std::string, uint32_t, std::less<>> values_;
  std::vector<uint32_t> no_labels_;
  std::vector<std::vector<std::string>> active_, waiting_for_;
  std::vector<uint32_t> adapters_max_;
  std::vector<const void*> columns_;
  weir_batch batch_ = {};
};

struct KitPart {
  uint32_t kind = WEIR_PART_TEXT;
  std::string bytes;
};

// What a request is made of.
struct KitRequest {
  uint32_t api = WEIR_API_COMPLETIONS;
  std::string id = "request-1";
  std::string model = "m";
  std::string cache_salt;
  std::string fairness_id;
  int32_t priority = 0;
  int64_t max_output_tokens = -1;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::vector<KitPart>> prompts;
  std::vector<std::vector<uint32_t>> tokens;  // of prompts that are tokenised already
};

// A KitRequest in ABI form. The first text of a prompt with one part is aligned and zero-padded.
class KitRequestView {
 public:
  explicit KitRequestView(KitRequest request);
  const weir_request& raw() const { return raw_; }
  weir_prompt* prompts() { return prompts_.data(); }

 private:
  KitRequest request_;
  std::vector<weir_header> headers_;
  std::vector<std::vector<uint32_t>> aligned_;
  std::vector<std::vector<weir_part>> parts_;
  std::vector<weir_prompt> prompts_;
  weir_request raw_ = {};
};

// The host's services. One per thread; the plugin's object may be shared by several.
class KitHost {
 public:
  KitHost();
  KitHost(const KitHost&) = delete;
  KitHost& operator=(const KitHost&) = delete;

  // Starts a hot call: empties the arena. Borrowed until the next Begin.
  const weir_call* Begin(const KitPool& pool, KitRequestView& request, int64_t now_ns = 0);
  // The next answers of the uniform slot; when they run out, a generator seeded with `seed` goes
  // on.
  void SetDraws(std::vector<double> draws);
  void SetSeed(uint64_t seed) { random_ = seed; }
  // Memory the allocate slot gives before it says null.
  void SetArenaBytesMax(size_t bytes_max) { arena_bytes_max_ = bytes_max; }

  const weir_host* table() const { return &table_.raw; }
  uint64_t counter(uint32_t index) const { return counters_[index]; }
  uint32_t draws_used() const { return draws_used_; }
  const std::vector<std::string>& log() const { return log_; }

 private:
  friend struct KitSlots;
  struct Table {
    weir_host raw;  // first, so that a slot finds its host
    KitHost* self;
  };
  struct Call {
    weir_call raw;
    KitHost* self;
  };

  Table table_;
  Call call_;
  const KitPool* pool_ = nullptr;
  KitRequestView* request_ = nullptr;
  std::unique_ptr<std::byte[]> arena_;
  size_t arena_bytes_max_ = kKitArenaBytes;
  size_t arena_used_ = 0;
  std::vector<double> draws_;
  uint32_t draws_used_ = 0;
  uint64_t random_ = 1;
  uint64_t counters_[kKitCounters] = {};
  std::vector<std::string> log_;
};

// One configured plugin.
class KitInstance {
 public:
  // Errors: kInvalidArgument with the plugin's own text, or the parameter that has another type or
  // is unknown to a type without a schema. `host` must outlive the instance.
  static absl::StatusOr<KitInstance> Create(const weir_plugin& plugin, const std::string& json,
                                            KitHost& host);
  ~KitInstance();
  KitInstance(KitInstance&& other) noexcept;
  KitInstance& operator=(KitInstance&&) = delete;

  const weir_plugin& plugin() const { return *plugin_; }
  void* self() const { return self_; }
  // The table of an interface, null if the plugin does not offer it.
  template <class Table>
  const Table* table(std::string_view id) const {
    return static_cast<const Table*>(FindTable(*plugin_, id));
  }
  static const void* FindTable(const weir_plugin& plugin, std::string_view id);

 private:
  KitInstance(const weir_plugin& plugin, void* self) : plugin_(&plugin), self_(self) {}
  const weir_plugin* plugin_;
  void* self_;
};

// The type in a module, null if it has none of this name.
const weir_plugin* FindType(const weir_module& module, std::string_view type);

}  // namespace weir::plugin_check
