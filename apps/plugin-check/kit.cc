#include "kit.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace weir::plugin_check {

using nlohmann::json;

namespace {

template <class T>
std::vector<T> ColumnOf(const std::vector<KitEndpoint>& endpoints, T KitEndpoint::*member) {
  std::vector<T> column;
  for (const KitEndpoint& endpoint : endpoints) column.push_back(endpoint.*member);
  return column;
}

std::vector<weir_str> ViewsOf(const std::vector<std::string>& texts) {
  std::vector<weir_str> views;
  for (const std::string& text : texts) views.push_back(Str(text));
  return views;
}

}  // namespace

KitPool::KitPool(const std::vector<KitEndpoint>& endpoints)
    : names_(ColumnOf(endpoints, &KitEndpoint::name)),
      addresses_(ColumnOf(endpoints, &KitEndpoint::address)),
      name_views_(ViewsOf(names_)),
      address_views_(ViewsOf(addresses_)),
      waiting_(ColumnOf(endpoints, &KitEndpoint::waiting_requests)),
      running_(ColumnOf(endpoints, &KitEndpoint::running_requests)),
      age_(ColumnOf(endpoints, &KitEndpoint::sample_age_ms)),
      block_tokens_(ColumnOf(endpoints, &KitEndpoint::kv_block_tokens)),
      block_count_(ColumnOf(endpoints, &KitEndpoint::kv_block_count)),
      kv_used_(ColumnOf(endpoints, &KitEndpoint::kv_used_ratio)),
      no_labels_(endpoints.size(), WEIR_LABEL_ABSENT),
      active_(ColumnOf(endpoints, &KitEndpoint::active_adapters)),
      waiting_for_(ColumnOf(endpoints, &KitEndpoint::waiting_adapters)),
      adapters_max_(ColumnOf(endpoints, &KitEndpoint::adapters_max)) {
  const auto count = static_cast<uint32_t>(endpoints.size());
  for (uint32_t i = 0; i < count; ++i) {
    slots_.push_back(i);
    for (const auto& [key, value] : endpoints[i].labels) {
      const auto number = static_cast<uint32_t>(values_.size()) + 1;
      auto& column = labels_.try_emplace(key, no_labels_).first->second;
      column[i] = values_.try_emplace(value, number).first->second;
    }
  }
  batch_ = {sizeof(weir_batch),
            count,
            1,
            slots_.data(),
            name_views_.data(),
            address_views_.data(),
            waiting_.data(),
            running_.data(),
            kv_used_.data(),
            age_.data(),
            block_tokens_.data(),
            block_count_.data(),
            nullptr};
}

void KitPool::SetColumns(std::vector<const void*> columns) {
  columns_ = std::move(columns);
  batch_.columns = columns_.data();
}

const uint32_t* KitPool::Labels(std::string_view key) const {
  const auto found = labels_.find(key);
  return found == labels_.end() ? no_labels_.data() : found->second.data();
}

uint32_t KitPool::Intern(std::string_view value) const {
  const auto found = values_.find(value);
  return found == values_.end() ? WEIR_LABEL_UNKNOWN : found->second;
}

void KitPool::Adapters(std::string_view name, weir_adapter* out) const {
  const auto holds = [name](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (size_t i = 0; i < active_.size(); ++i) {
    const uint32_t state = holds(active_[i])        ? WEIR_ADAPTER_ACTIVE
                           : holds(waiting_for_[i]) ? WEIR_ADAPTER_WAITING
                                                    : WEIR_ADAPTER_ABSENT;
    out[i] = {state, static_cast<uint32_t>(active_[i].size() + waiting_for_[i].size()),
              adapters_max_[i], 0};
  }
}

KitRequestView::KitRequestView(KitRequest request) : request_(std::move(request)) {
  for (const auto& [name, value] : request_.headers) headers_.push_back({Str(name), Str(value)});
  for (const std::vector<KitPart>& prompt : request_.prompts) {
    std::vector<weir_part>& parts = parts_.emplace_back();
    for (const KitPart& part : prompt) parts.push_back({part.kind, 0, Str(part.bytes)});
    std::vector<uint32_t>& aligned = aligned_.emplace_back();
    if (prompt.size() == 1 && prompt[0].kind == WEIR_PART_TEXT && !prompt[0].bytes.empty()) {
      aligned.resize((prompt[0].bytes.size() + 3) / 4);
      std::memcpy(aligned.data(), prompt[0].bytes.data(), prompt[0].bytes.size());
      parts[0].bytes.data = reinterpret_cast<const char*>(aligned.data());
    }
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    weir_prompt& prompt = prompts_.emplace_back();
    prompt = {parts_[i].data(), parts_[i].size(), nullptr, 0};
    if (i < request_.tokens.size() && !request_.tokens[i].empty()) {
      prompt.tokens = request_.tokens[i].data();
      prompt.token_count = request_.tokens[i].size();
    }
  }
  raw_.struct_size = sizeof(weir_request);
  raw_.api = request_.api;
  raw_.priority = request_.priority;
  raw_.id = Str(request_.id);
  raw_.model = Str(request_.model);
  raw_.cache_salt = Str(request_.cache_salt);
  raw_.fairness_id = Str(request_.fairness_id);
  raw_.max_output_tokens = request_.max_output_tokens;
  raw_.headers = headers_.data();
  raw_.header_count = headers_.size();
  raw_.prompts = prompts_.data();
  raw_.prompt_count = prompts_.size();
}

namespace {

// What weir_params points into while create runs.
struct KitParams {
  weir_params raw;  // first, so that a slot finds the rest
  json object;
  std::string text;
  std::set<std::string> keys_read;  // of the whole object
  std::string error;
};

KitParams* Of(const weir_params* params) {
  return reinterpret_cast<KitParams*>(const_cast<weir_params*>(params));
}

// The value at a path, null if absent. In a path, '/' of a key is written ~1 and '~' is ~0.
const json* FindPath(const weir_params* params, weir_str path) {
  KitParams* self = Of(params);
  const json* node = &self->object;
  std::string_view rest = View(path);
  for (bool first = true; !rest.empty(); first = false) {
    const size_t slash = rest.find('/');
    std::string key(rest.substr(0, slash));
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    for (size_t at = 0; (at = key.find('~', at)) != std::string::npos; ++at) {
      key.replace(at, 2, key.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    if (first) self->keys_read.insert(key);
    if (node->is_array()) {
      const size_t index = std::strtoull(key.c_str(), nullptr, 10);
      if (index >= node->size()) return nullptr;
      node = &(*node)[index];
    } else {
      const auto member = node->find(key);
      if (!node->is_object() || member == node->end()) return nullptr;
      node = &*member;
    }
  }
  return node->is_null() ? nullptr : node;
}

// A typed read: null if absent, and notes a value of another type.
const json* FindTyped(const weir_params* params, weir_str path, bool (*is)(const json&),
                      const char* expected) {
  const json* node = FindPath(params, path);
  if (node == nullptr || is(*node)) return node;
  Of(params)->error =
      std::string(View(path)) + ": " + node->dump() + ", expected " + std::string(expected);
  return nullptr;
}

}  // namespace

struct KitSlots {
  static KitHost& Of(const weir_call* call) {
    return *reinterpret_cast<const KitHost::Call*>(call)->self;
  }

  static void Log(const weir_host* host, uint32_t, weir_str text) {
    reinterpret_cast<const KitHost::Table*>(host)->self->log_.emplace_back(View(text));
  }
  static int32_t Number(const weir_params* params, weir_str path, double* value) {
    const json* node = FindTyped(
        params, path, [](const json& one) { return one.is_number(); }, "a number");
    if (node != nullptr) *value = node->get<double>();
    return node != nullptr;
  }
  static int32_t Integer(const weir_params* params, weir_str path, int64_t* value) {
    const json* node = FindTyped(
        params, path, [](const json& one) { return one.is_number_integer(); }, "an integer");
    if (node != nullptr) *value = node->get<int64_t>();
    return node != nullptr;
  }
  static int32_t Boolean(const weir_params* params, weir_str path, int32_t* value) {
    const json* node = FindTyped(
        params, path, [](const json& one) { return one.is_boolean(); }, "true or false");
    if (node != nullptr) *value = node->get<bool>() ? 1 : 0;
    return node != nullptr;
  }
  static int32_t String(const weir_params* params, weir_str path, weir_str* value) {
    const json* node = FindTyped(
        params, path, [](const json& one) { return one.is_string(); }, "a string");
    if (node != nullptr) *value = Str(node->get_ref<const std::string&>());
    return node != nullptr;
  }
  static uint64_t Count(const weir_params* params, weir_str path) {
    const json* node = FindPath(params, path);
    return node != nullptr && node->is_structured() ? node->size() : 0;
  }
  static int32_t Key(const weir_params* params, weir_str path, uint64_t index, weir_str* key) {
    const json* node = FindPath(params, path);
    if (node == nullptr || !node->is_object() || index >= node->size()) return 0;
    *key = Str(std::next(node->begin(), static_cast<std::ptrdiff_t>(index)).key());
    return 1;
  }
  static void Fail(const weir_params* params, weir_str text) {
    plugin_check::Of(params)->error = View(text);
  }

  static void* Allocate(const weir_call* call, uint64_t bytes) {
    KitHost& host = Of(call);
    const size_t start = (host.arena_used_ + 15) / 16 * 16;
    if (start > host.arena_bytes_max_ || bytes > host.arena_bytes_max_ - start) return nullptr;
    host.arena_used_ = start + bytes;
    return host.arena_.get() + start;
  }
  static double Uniform(const weir_call* call) {
    KitHost& host = Of(call);
    const uint32_t used = host.draws_used_++;
    if (used < host.draws_.size()) return host.draws_[used];
    host.random_ += 0x9e3779b97f4a7c15ull;  // SplitMix64
    uint64_t bits = host.random_;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
    return static_cast<double>((bits ^ (bits >> 31)) >> 11) * 0x1p-53;
  }
  static const uint32_t* Labels(const weir_call* call, const weir_batch*, weir_str key) {
    return Of(call).pool_->Labels(View(key));
  }
  static uint32_t Intern(const weir_call* call, weir_str value) {
    return Of(call).pool_->Intern(View(value));
  }
  static const weir_adapter* Adapters(const weir_call* call, const weir_batch* batch,
                                      weir_str name) {
    auto* column = static_cast<weir_adapter*>(Allocate(call, batch->count * sizeof(weir_adapter)));
    if (column != nullptr) Of(call).pool_->Adapters(View(name), column);
    return column;
  }
  static weir_code SetTokens(const weir_call* call, uint64_t prompt, const uint32_t* tokens,
                             uint64_t token_count) {
    KitRequestView& request = *Of(call).request_;
    if (prompt >= request.raw().prompt_count) return WEIR_INVALID_ARGUMENT;
    request.prompts()[prompt].tokens = tokens;
    request.prompts()[prompt].token_count = token_count;
    return WEIR_OK;
  }
  static void Add(const weir_call* call, uint32_t counter, uint64_t delta) {
    if (counter < kKitCounters) Of(call).counters_[counter] += delta;
  }

  static weir_host Table() {
    return {sizeof(weir_host),
            WEIR_ABI_MINOR,
            Log,
            Number,
            Integer,
            Boolean,
            String,
            Count,
            Key,
            Fail,
            Allocate,
            Uniform,
            Labels,
            Intern,
            SetTokens,
            Add,
            Adapters};
  }
};

KitHost::KitHost()
    : table_{KitSlots::Table(), this},
      call_{{sizeof(weir_call), 0, &table_.raw, 0}, this},
      arena_(new std::byte[kKitArenaBytes]) {}

const weir_call* KitHost::Begin(const KitPool& pool, KitRequestView& request, int64_t now_ns) {
  pool_ = &pool;
  request_ = &request;
  arena_used_ = 0;
  call_.raw.now_ns = now_ns;
  return &call_.raw;
}

void KitHost::SetDraws(std::vector<double> draws) {
  draws_ = std::move(draws);
  draws_used_ = 0;
}

absl::StatusOr<KitInstance> KitInstance::Create(const weir_plugin& plugin, const std::string& text,
                                                KitHost& host) {
  KitParams params;
  params.object = json::parse(text, nullptr, false);
  if (!params.object.is_object()) {
    return absl::InvalidArgumentError("parameters: expected a JSON object");
  }
  params.text = text;
  params.raw = {sizeof(weir_params), 0, host.table(), Str("under-test"), Str(params.text), &plugin};
  void* self = nullptr;
  const weir_code code = plugin.create(&params.raw, &self);
  if (code == WEIR_OK && params.error.empty() && plugin.params_schema.size == 0) {
    for (const auto& [key, value] : params.object.items()) {
      if (!params.keys_read.contains(key)) params.error = key + ": unknown parameter";
    }
  }
  if (code == WEIR_OK && params.error.empty()) return KitInstance(plugin, self);
  if (code == WEIR_OK) plugin.destroy(self);
  return absl::InvalidArgumentError(params.error);
}

KitInstance::KitInstance(KitInstance&& other) noexcept
    : plugin_(std::exchange(other.plugin_, nullptr)), self_(other.self_) {}

KitInstance::~KitInstance() {
  if (plugin_ != nullptr) plugin_->destroy(self_);
}

const void* KitInstance::FindTable(const weir_plugin& plugin, std::string_view id) {
  for (uint64_t i = 0; i < plugin.interface_count; ++i) {
    if (View(plugin.interfaces[i]->id) == id) return plugin.interfaces[i]->table;
  }
  return nullptr;
}

const weir_plugin* FindType(const weir_module& module, std::string_view type) {
  for (uint64_t i = 0; i < module.plugin_count; ++i) {
    if (View(module.plugins[i]->type) == type) return module.plugins[i];
  }
  return nullptr;
}

}  // namespace weir::plugin_check
