#include "weir/io/scrape/params.h"

#include <cstddef>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "weir/io/scrape/endpoint_sample.h"

namespace weir::io {
namespace {

using Json = nlohmann::json;

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 128) text = text.substr(0, 125) + "...";
  return text;
}

// Reads members of one JSON object and remembers the first error.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string path, std::initializer_list<std::string_view> known)
      : object_(object), path_(std::move(path)) {
    if (!object.is_object()) {
      Fail(path_.empty() ? "parameters" : path_, object, "an object");
      return;
    }
    for (const auto& [key, value] : object.items()) {
      bool found = false;
      for (const std::string_view name : known) found = found || key == name;
      if (found || !status_.ok()) continue;
      std::string names;
      for (const std::string_view name : known)
        absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(name));
      status_ = absl::InvalidArgumentError(
          absl::StrCat(FieldName(key), ": unknown parameter, expected one of ", names));
    }
  }

  std::string FieldName(std::string_view name) const {
    return path_.empty() ? std::string(name) : absl::StrCat(path_, ".", std::string(name));
  }
  const absl::Status& status() const { return status_; }
  void Note(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }
  void Fail(std::string_view field, const Json& value, std::string_view expected) {
    Note(absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", Shown(value),
                                                 ", expected ", std::string(expected))));
  }

  // The member, or null if it is absent, null, or an error was met before.
  const Json* Find(const char* name) const {
    if (!status_.ok()) return nullptr;
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  void Read(const char* name, std::string& out) {
    const Json* value = Find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return Fail(FieldName(name), *value, "a string");
    out = value->get<std::string>();
  }
  void Read(const char* name, bool& out) {
    const Json* value = Find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return Fail(FieldName(name), *value, "true or false");
    out = value->get<bool>();
  }
  void Read(const char* name, Aggregate& out) {
    const Json* value = Find(name);
    if (value == nullptr) return;
    if (*value == "sum") {
      out = Aggregate::kSum;
    } else if (*value == "max") {
      out = Aggregate::kMax;
    } else if (*value == "first") {
      out = Aggregate::kFirst;
    } else {
      Fail(FieldName(name), *value, "sum, max or first");
    }
  }
  // Calls read(element, path) for each element of the list member `name`.
  template <typename F>
  void ReadList(const char* name, size_t count_max, F read) {
    const Json* value = Find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return Fail(FieldName(name), *value, "a list");
    if (value->size() > count_max) {
      return Note(absl::InvalidArgumentError(absl::StrCat(
          FieldName(name), ": ", value->size(), " entries, expected at most ", count_max)));
    }
    for (size_t i = 0; i < value->size() && status_.ok(); ++i) {
      Note(read((*value)[i], absl::StrCat(FieldName(name), "[", i, "]")));
    }
  }

 private:
  const Json& object_;
  std::string path_;
  absl::Status status_;
};

absl::StatusOr<Json> ParseObject(std::string_view text) {
  if (text.empty()) return Json::object();
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError("parameters: not JSON, expected a JSON object");
  }
  return json;
}

absl::Status ReadCustomMetric(const Json& json, const std::string& path, CustomMetric& metric) {
  ObjectReader reader(json, path, {"attributeKey", "metricSpec", "aggregate"});
  reader.Read("attributeKey", metric.attribute_key);
  reader.Read("metricSpec", metric.metric_spec);
  reader.Read("aggregate", metric.aggregate);
  return reader.status();
}

absl::Status ReadEngine(const Json& json, const std::string& path, EngineConfig& engine) {
  ObjectReader reader(
      json, path,
      {"name", "queuedRequestsSpec", "runningRequestsSpec", "kvUsageSpec", "loraSpec",
       "cacheInfoSpec", "cacheBlockSizeLabelName", "cacheNumBlocksLabelName", "cacheBlockSizeSpec",
       "cacheNumBlocksSpec", "customMetrics", "aggregate"});
  reader.Read("name", engine.name);
  reader.Read("queuedRequestsSpec", engine.waiting_spec);
  reader.Read("runningRequestsSpec", engine.running_spec);
  reader.Read("kvUsageSpec", engine.kv_used_spec);
  reader.Read("loraSpec", engine.lora_spec);
  reader.Read("cacheInfoSpec", engine.cache_info_spec);
  reader.Read("cacheBlockSizeLabelName", engine.block_tokens_label);
  reader.Read("cacheNumBlocksLabelName", engine.block_count_label);
  reader.Read("cacheBlockSizeSpec", engine.block_tokens_spec);
  reader.Read("cacheNumBlocksSpec", engine.block_count_spec);
  reader.Read("aggregate", engine.aggregate);
  reader.ReadList("customMetrics", kCustomMetricsMax, [&](const Json& item, const std::string& at) {
    return ReadCustomMetric(item, at, engine.custom_metrics.emplace_back());
  });
  return reader.status();
}

}  // namespace

absl::StatusOr<CoreMetricsOptions> ParseCoreMetricsOptions(std::string_view text) {
  const absl::StatusOr<Json> json = ParseObject(text);
  if (!json.ok()) return json.status();
  CoreMetricsOptions options;
  ObjectReader reader(*json, "", {"engineLabelKey", "defaultEngine", "engineConfigs"});
  reader.Read("engineLabelKey", options.engine_label_key);
  reader.Read("defaultEngine", options.default_engine);
  reader.ReadList("engineConfigs", kEngineConfigsMax, [&](const Json& item, const std::string& at) {
    return ReadEngine(item, at, options.engine_configs.emplace_back());
  });
  if (!reader.status().ok()) return reader.status();
  return options;
}

namespace {

absl::StatusOr<MetricsSourceOptions> ParseSource(std::string_view text,
                                                 MetricsSourceOptions options) {
  const absl::StatusOr<Json> json = ParseObject(text);
  if (!json.ok()) return json.status();
  ObjectReader reader(*json, "",
                      {"scheme", "path", "port", "interval", "insecureSkipVerify", "caCertPath",
                       "clientCertPath", "clientKeyPath"});
  reader.Read("scheme", options.scheme);
  reader.Read("path", options.path);
  reader.Read("insecureSkipVerify", options.insecure_skip_verify);
  reader.Read("caCertPath", options.ca_cert_path);
  reader.Read("clientCertPath", options.client_cert_path);
  reader.Read("clientKeyPath", options.client_key_path);
  if (const Json* port = reader.Find("port")) {
    if (port->is_number_unsigned() && *port >= 1u && *port <= 65535u) {
      options.port = port->get<uint16_t>();
    } else {
      reader.Fail("port", *port, "1..65535");
    }
  }
  std::string interval;
  reader.Read("interval", interval);
  if (!interval.empty() &&
      (!absl::ParseDuration(interval, &options.interval) ||
       options.interval < absl::Milliseconds(10) || options.interval > absl::Hours(1))) {
    reader.Fail("interval", interval, "a duration of 10ms..1h, for example 50ms");
  }
  const bool has_scheme = reader.Find("scheme") != nullptr;
  if (has_scheme && options.scheme != "http" && options.scheme != "https") {
    reader.Fail("scheme", options.scheme, "http or https");
  }
  if (!options.path.starts_with('/') ||
      options.path.find_first_of("\r\n \t") != std::string::npos) {
    reader.Fail("path", options.path, "a path that starts with / and holds no blanks");
  }
  if (options.client_cert_path.empty() != options.client_key_path.empty()) {
    const bool no_key = options.client_key_path.empty();
    reader.Fail(no_key ? "clientKeyPath" : "clientCertPath", "",
                no_key ? "the key of clientCertPath" : "the certificate of clientKeyPath");
  }
  if (!reader.status().ok()) return reader.status();
  return options;
}

}  // namespace

absl::StatusOr<MetricsSourceOptions> ParseMetricsSourceOptions(std::string_view json) {
  return ParseSource(json, {});
}

absl::StatusOr<MetricsSourceOptions> ParseClusterSourceOptions(std::string_view json) {
  auto options = ParseSource(json, {.scheme = "https", .insecure_skip_verify = false});
  if (options.ok()) options->port = 0;
  return options;
}

absl::StatusOr<EngineConfig> ParseClusterMetricsOptions(std::string_view text) {
  const absl::StatusOr<Json> json = ParseObject(text);
  if (!json.ok()) return json.status();
  std::string kv_used = "llm_d_epp_average_kv_cache_utilization";
  std::string queue_size = "llm_d_epp_average_queue_size";
  ObjectReader reader(*json, "", {"kvCacheUtilizationMetric", "queueSizeMetric"});
  reader.Read("kvCacheUtilizationMetric", kv_used);
  reader.Read("queueSizeMetric", queue_size);
  if (!reader.status().ok()) return reader.status();
  EngineConfig engine;
  engine.name = "cluster";
  engine.custom_metrics = {{std::string(kClusterKvUsedAttribute), std::move(kv_used)},
                           {std::string(kClusterQueueSizeAttribute), std::move(queue_size)}};
  return engine;
}

}  // namespace weir::io
