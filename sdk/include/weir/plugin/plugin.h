// weir/plugin/plugin.h: C++17 over weir/plugin/abi.h. What every plugin needs: the request, the
// batch of endpoints, the parameters and the registration. Include scorer.h, filter.h, picker.h,
// profile_handler.h or producer.h, which include this.
//
// Header-only: a plugin needs no weir library to link. Exceptions never leave a plugin; the wrapper
// turns them into WEIR_INTERNAL.
#pragma once

#include <cmath>
#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/plugin/abi.h"

namespace weir::plugin {

inline std::string_view View(weir_str text) noexcept { return {text.data, text.size}; }
inline weir_str Str(std::string_view text) noexcept { return {text.data(), text.size()}; }

// A borrowed array with one element per endpoint (or per item, for prompts and headers).
template <class T>
class Column {
 public:
  constexpr Column() = default;
  constexpr Column(const T* data, uint64_t size) : data_(data), size_(size) {}
  constexpr const T* data() const { return data_; }
  constexpr uint64_t size() const { return size_; }
  constexpr const T* begin() const { return data_; }
  constexpr const T* end() const { return data_ + size_; }
  // REQUIRES: index < size()
  constexpr const T& operator[](uint64_t index) const { return data_[index]; }
  // False if nobody produces this column.
  constexpr explicit operator bool() const { return data_ != nullptr; }

 private:
  const T* data_ = nullptr;
  uint64_t size_ = 0;
};

// Thrown by Params; the text becomes the error of the configuration.
class ParamError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The parameters of one instance, in the constructor. A path is keys and array indices joined with
// '/'. A getter returns the default where the path is absent or null; a value of the wrong type
// fails the configuration with a text that names it. [control]
class Params {
 public:
  explicit Params(const weir_params* params) noexcept : params_(params) {}

  double number(std::string_view path, double or_else) const {
    params_->host->param_number(params_, Str(path), &or_else);
    return or_else;
  }
  int64_t integer(std::string_view path, int64_t or_else) const {
    params_->host->param_integer(params_, Str(path), &or_else);
    return or_else;
  }
  bool boolean(std::string_view path, bool or_else) const {
    int32_t value = or_else ? 1 : 0;
    params_->host->param_boolean(params_, Str(path), &value);
    return value != 0;
  }
  std::string string(std::string_view path, std::string_view or_else = {}) const {
    weir_str value = Str(or_else);
    params_->host->param_string(params_, Str(path), &value);
    return std::string(View(value));
  }
  // Elements of an array or members of an object, 0 if absent; "" is the whole object.
  uint64_t count(std::string_view path) const {
    return params_->host->param_count(params_, Str(path));
  }
  // True if the object that the path leads into has this member, also if it is null.
  bool has(std::string_view path) const {
    const size_t slash = path.rfind('/');
    const bool nested = slash != std::string_view::npos;
    const std::string_view parent = nested ? path.substr(0, slash) : std::string_view();
    const std::string_view name = nested ? path.substr(slash + 1) : path;
    const uint64_t size = count(parent);
    for (uint64_t i = 0; i < size; ++i) {
      if (EscapeKey(key(parent, i)) == name) return true;
    }
    return false;
  }
  // Name of a member of the object at path. REQUIRES: index < count(path)
  std::string key(std::string_view path, uint64_t index) const {
    weir_str key = {nullptr, 0};
    params_->host->param_key(params_, Str(path), index, &key);
    return std::string(View(key));
  }
  std::vector<std::string> strings(std::string_view path) const {
    std::vector<std::string> values;
    const uint64_t size = count(path);
    for (uint64_t i = 0; i < size; ++i) {
      values.push_back(string(std::string(path) + "/" + std::to_string(i)));
    }
    return values;
  }
  // The object at path as key and text of each member, in order.
  std::vector<std::pair<std::string, std::string>> string_map(std::string_view path) const {
    std::vector<std::pair<std::string, std::string>> members;
    const uint64_t size = count(path);
    for (uint64_t i = 0; i < size; ++i) {
      std::string name = key(path, i);
      std::string value = string(std::string(path) + "/" + EscapeKey(name));
      members.emplace_back(std::move(name), std::move(value));
    }
    return members;
  }
  // A key as it stands in a path: '~' as ~0, '/' as ~1.
  static std::string EscapeKey(std::string_view key) {
    std::string escaped;
    for (const char letter : key) {
      if (letter == '~') {
        escaped += "~0";
      } else if (letter == '/') {
        escaped += "~1";
      } else {
        escaped += letter;
      }
    }
    return escaped;
  }
  std::string_view instance_name() const { return View(params_->instance_name); }
  void Log(uint32_t level, std::string_view text) const {
    params_->host->log(params_->host, level, Str(text));
  }
  // Fails the configuration, e.g. Fail("threshold: -1, expected >= 0").
  [[noreturn]] static void Fail(const std::string& text) { throw ParamError(text); }

 private:
  const weir_params* params_;
};

// The decision in progress. [hot]
class Call {
 public:
  explicit Call(const weir_call* call) noexcept : call_(call) {}
  // Injected monotonic time of this decision.
  int64_t now_ns() const noexcept { return call_->now_ns; }
  // The next uniform number in [0, 1) of this decision's seed.
  double uniform() const noexcept { return call_->host->uniform(call_); }
  // Uninitialised memory for `count` elements until the decision is gone; null at the limit.
  template <class T>
  T* allocate(uint64_t count) const noexcept {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 16);
    return static_cast<T*>(call_->host->allocate(call_, count * sizeof(T)));
  }
  // Adds to one of this instance's counters, 0 <= counter < 8.
  void Count(uint32_t counter, uint64_t delta = 1) const noexcept {
    call_->host->count(call_, counter, delta);
  }
  const weir_call* raw() const noexcept { return call_; }

 private:
  const weir_call* call_;
};

// The request. Views are valid until the call returns. [hot]
class Request {
 public:
  explicit Request(const weir_request* request) noexcept : request_(request) {}
  std::string_view id() const noexcept { return View(request_->id); }
  std::string_view model() const noexcept { return View(request_->model); }
  std::string_view cache_salt() const noexcept { return View(request_->cache_salt); }
  std::string_view fairness_id() const noexcept { return View(request_->fairness_id); }
  uint32_t api() const noexcept { return request_->api; }
  bool stream() const noexcept { return (request_->flags & WEIR_REQUEST_STREAM) != 0; }
  int32_t priority() const noexcept { return request_->priority; }
  int64_t max_output_tokens() const noexcept { return request_->max_output_tokens; }
  uint64_t size_bytes() const noexcept { return request_->size_bytes; }
  Column<weir_header> headers() const noexcept {
    return {request_->headers, request_->header_count};
  }
  Column<weir_prompt> prompts() const noexcept {
    return {request_->prompts, request_->prompt_count};
  }
  // The value of a header, empty if absent. The name is lower case.
  std::string_view header(std::string_view name) const noexcept {
    for (const weir_header& header : headers()) {
      if (View(header.name) == name) return View(header.value);
    }
    return {};
  }
  // Tokens of all prompts; 0 until a token producer has run.
  uint64_t token_count() const noexcept {
    uint64_t count = 0;
    for (const weir_prompt& prompt : prompts()) count += prompt.token_count;
    return count;
  }
  const weir_request* raw() const noexcept { return request_; }

 private:
  const weir_request* request_;
};

// The endpoints, as columns of count() elements. [hot]
class Batch {
 public:
  Batch(const weir_call* call, const weir_batch* batch) noexcept : call_(call), batch_(batch) {}
  uint32_t count() const noexcept { return batch_->count; }
  uint64_t pool_epoch() const noexcept { return batch_->pool_epoch; }
  Column<uint32_t> slots() const noexcept { return {batch_->slots, count()}; }
  Column<weir_str> names() const noexcept { return {batch_->names, count()}; }
  Column<weir_str> addresses() const noexcept { return {batch_->addresses, count()}; }
  Column<uint32_t> waiting_requests() const noexcept { return {batch_->waiting_requests, count()}; }
  Column<uint32_t> running_requests() const noexcept { return {batch_->running_requests, count()}; }
  Column<float> kv_used_ratio() const noexcept { return {batch_->kv_used_ratio, count()}; }
  Column<uint32_t> sample_age_ms() const noexcept { return {batch_->sample_age_ms, count()}; }
  Column<uint32_t> kv_block_tokens() const noexcept { return {batch_->kv_block_tokens, count()}; }
  Column<uint32_t> kv_block_count() const noexcept { return {batch_->kv_block_count, count()}; }
  // The column of the attribute declared as number `index`; false if nobody produces it.
  // REQUIRES: T has the declared size.
  template <class T>
  Column<T> column(uint32_t index) const noexcept {
    return {static_cast<const T*>(batch_->columns[index]), count()};
  }
  // Interned label values; WEIR_LABEL_ABSENT where the endpoint has no such label.
  Column<uint32_t> labels(std::string_view key) const noexcept {
    return {call_.raw()->host->labels(call_.raw(), batch_, Str(key)), count()};
  }
  // Interned number of a value, WEIR_LABEL_UNKNOWN if no endpoint has it.
  uint32_t intern(std::string_view value) const noexcept {
    return call_.raw()->host->intern(call_.raw(), Str(value));
  }
  // What each endpoint says about a LoRA adapter; false if the host is of ABI 1.0 or out of memory.
  Column<weir_adapter> adapters(std::string_view name) const noexcept {
    const weir_host* host = call_.raw()->host;
    if (!WEIR_HAS(weir_host, host, adapters)) return {};
    return {host->adapters(call_.raw(), batch_, Str(name)), count()};
  }
  const Call& call() const noexcept { return call_; }

 private:
  Call call_;
  const weir_batch* batch_;
};

// An attribute and how a plugin uses it.
struct Attribute {
  std::string_view name;
  std::string_view type;
  uint32_t element_bytes;
  std::string_view default_producer;
};

inline constexpr Attribute kPrefixMatch{"PrefixCacheMatchInfoDataKey", "weir.prefix_match/1",
                                        sizeof(weir_prefix_match), "approx-prefix-cache-producer"};
inline constexpr Attribute kInFlightLoad{"InFlightLoadDataKey", "weir.in_flight_load/1",
                                         sizeof(weir_in_flight_load), "inflight-load-producer"};
inline constexpr Attribute kUncachedTokens{"UncachedRequestTokensDataKey", "i64", sizeof(int64_t),
                                           "inflight-load-producer"};
// Scraped from clusters, so that there is no producer to add.
inline constexpr Attribute kClusterQueueSize{"llm-d.ai/multicluster-queue-size", "f64",
                                             sizeof(double), ""};
inline constexpr Attribute kClusterKvUsedRatio{"llm-d.ai/multicluster-kv-cache-utilization", "f64",
                                               sizeof(double), ""};
inline constexpr Attribute kTokenizedPrompt{"TokenizedPrompt", "weir.tokens/1", 0,
                                            "token-producer"};

template <class T>
struct FilterTable;
template <class T>
struct ScorerTable;
template <class T>
struct PickerTable;
template <class T>
struct ProfileHandlerTable;
template <class T>
struct ProducerTable;
template <class T>
struct ObserverTable;

// One plugin type under construction. Lives as long as the library.
class Type {
 public:
  // JSON Schema of the parameters. Without one, any parameter that the constructor did not read is
  // refused. The text must live forever.
  Type& Schema(std::string_view schema) {
    plugin_.params_schema = Str(schema);
    return *this;
  }
  // Declares the next column. `producer_parameter` is the name of a string parameter in which the
  // user may name the producer instance.
  Type& Reads(const Attribute& attribute, std::string_view producer_parameter = {}) {
    return Declare(attribute, WEIR_ATTRIBUTE_READ, producer_parameter);
  }
  Type& MayRead(const Attribute& attribute, std::string_view producer_parameter = {}) {
    return Declare(attribute, WEIR_ATTRIBUTE_READ | WEIR_ATTRIBUTE_OPTIONAL, producer_parameter);
  }
  Type& Writes(const Attribute& attribute) { return Declare(attribute, WEIR_ATTRIBUTE_WRITE, {}); }
  Type& Alpha() { return Stability(WEIR_STABILITY_ALPHA); }
  Type& Beta() { return Stability(WEIR_STABILITY_BETA); }
  Type& Deprecated(std::string_view replaced_by) {
    plugin_.replaced_by = Str(replaced_by);
    return *this;
  }
  // Says which load columns this type reads (WEIR_LOAD_..., 0 for none), so that others need not be
  // scraped for it. Without this call all are.
  Type& ReadsLoad(uint64_t load_columns) {
    plugin_.load_columns = load_columns | WEIR_LOAD_DECLARED;
    return *this;
  }
  // Offers one more interface; `table` must live forever.
  Type& Implements(std::string_view id, const void* table) {
    interfaces_.push_back({sizeof(weir_interface), 0, Str(id), table});
    interface_pointers_.clear();
    for (const weir_interface& interface : interfaces_) interface_pointers_.push_back(&interface);
    plugin_.interfaces = interface_pointers_.data();
    plugin_.interface_count = interface_pointers_.size();
    return *this;
  }

 private:
  friend class Module;

  Type& Stability(uint32_t stability) {
    plugin_.stability = stability;
    return *this;
  }
  Type& Declare(const Attribute& attribute, uint32_t flags, std::string_view producer_parameter) {
    if (attribute.element_bytes == 0) flags |= WEIR_ATTRIBUTE_REQUEST;
    attributes_.push_back({sizeof(weir_attribute), flags, Str(attribute.name), Str(attribute.type),
                           attribute.element_bytes, 0, Str(attribute.default_producer),
                           Str(producer_parameter)});
    attribute_pointers_.clear();
    for (const weir_attribute& one : attributes_) attribute_pointers_.push_back(&one);
    plugin_.attributes = attribute_pointers_.data();
    plugin_.attribute_count = attribute_pointers_.size();
    return *this;
  }

  weir_plugin plugin_ = {};
  std::deque<weir_interface> interfaces_;
  std::vector<const weir_interface*> interface_pointers_;
  std::deque<weir_attribute> attributes_;
  std::vector<const weir_attribute*> attribute_pointers_;
};

// Instances of T from parameters: T(const Params&) or T().
template <class T>
struct Lifecycle {
  static weir_code Create(const weir_params* params, void** self) noexcept {
    try {
      if constexpr (std::is_constructible_v<T, const Params&>) {
        *self = new T(Params(params));
      } else {
        *self = new T();
      }
      return WEIR_OK;
    } catch (const std::exception& error) {
      params->host->param_fail(params, Str(error.what()));
    } catch (...) {
      params->host->param_fail(params, Str("the constructor threw something that is no exception"));
    }
    return WEIR_INVALID_ARGUMENT;
  }
  static void Destroy(void* self) noexcept { delete static_cast<T*>(self); }
};

// The plugin types of one library; the argument of WEIR_PLUGIN.
class Module {
 public:
  Module() {
    module_.struct_size = sizeof(weir_module);
    module_.abi_major = WEIR_ABI_MAJOR;
    module_.abi_minor = WEIR_ABI_MINOR;
  }
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // Name and version for messages; the texts must live forever.
  void Describe(std::string_view name, std::string_view version) {
    module_.name = Str(name);
    module_.version = Str(version);
  }
  // T has: void Score(const Request&, const Batch&, double* score) const.
  template <class T>
  Type& AddScorer(std::string_view type) {
    return Add<T>(type).Implements(WEIR_INTERFACE_SCORER, &ScorerTable<T>::kTable);
  }
  // T has: void Apply(const Request&, const Batch&, Mask keep) const.
  template <class T>
  Type& AddFilter(std::string_view type) {
    return Add<T>(type).Implements(WEIR_INTERFACE_FILTER, &FilterTable<T>::kTable);
  }
  // T has: uint32_t Pick(const Request&, const Batch&, const double* score, uint32_t* index,
  // uint32_t index_max) const, which returns how many it wrote.
  template <class T>
  Type& AddPicker(std::string_view type) {
    return Add<T>(type).Implements(WEIR_INTERFACE_PICKER, &PickerTable<T>::kTable);
  }
  // T has Next and Finish, see profile_handler.h.
  template <class T>
  Type& AddProfileHandler(std::string_view type) {
    return Add<T>(type).Implements(WEIR_INTERFACE_PROFILE_HANDLER, &ProfileHandlerTable<T>::kTable);
  }
  // T has Produce, and Begin, FirstToken, End, EndpointRemoved if it observes, see producer.h.
  template <class T>
  Type& AddProducer(std::string_view type) {
    Type& added = Add<T>(type).Implements(WEIR_INTERFACE_PRODUCER, &ProducerTable<T>::kTable);
    if constexpr (ObserverTable<T>::kObserves) {
      added.Implements(WEIR_INTERFACE_OBSERVER, &ObserverTable<T>::kTable);
    }
    return added;
  }
  // A type without interfaces; Type::Implements adds them.
  template <class T>
  Type& Add(std::string_view type) {
    Type& added = types_.emplace_back();
    added.plugin_.struct_size = sizeof(weir_plugin);
    added.plugin_.stability = WEIR_STABILITY_STABLE;
    added.plugin_.type = Str(type);
    added.plugin_.create = Lifecycle<T>::Create;
    added.plugin_.destroy = Lifecycle<T>::Destroy;
    plugins_.push_back(&added.plugin_);
    module_.plugins = plugins_.data();
    module_.plugin_count = plugins_.size();
    return added;
  }
  const weir_module* raw() const noexcept { return &module_; }

 private:
  weir_module module_ = {};
  std::deque<Type> types_;
  std::vector<const weir_plugin*> plugins_;
};

}  // namespace weir::plugin

// WEIR_PLUGIN(module) { module.AddScorer<MyScorer>("my-scorer"); }
// defines the exported function of a plugin library. weir's own build gives each built-in plugin
// another symbol, so that the same source can be linked in.
#ifndef WEIR_PLUGIN_SYMBOL
#define WEIR_PLUGIN_SYMBOL weir_plugin_module
#endif
#define WEIR_PLUGIN(module)                                                                   \
  static void WeirDescribePlugins(::weir::plugin::Module& module);                            \
  extern "C" __attribute__((visibility("default"))) const weir_module* WEIR_PLUGIN_SYMBOL() { \
    static const ::weir::plugin::Module* const described = [] {                               \
      auto* fresh = new ::weir::plugin::Module;                                               \
      WeirDescribePlugins(*fresh);                                                            \
      return fresh;                                                                           \
    }();                                                                                      \
    return described->raw();                                                                  \
  }                                                                                           \
  static void WeirDescribePlugins([[maybe_unused]] ::weir::plugin::Module& module)
