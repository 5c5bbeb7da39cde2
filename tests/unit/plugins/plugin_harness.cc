#include "plugin_harness.h"

#include <fstream>

namespace weir::testing {

const weir_plugin& Builtin(std::string_view type) {
  for (const weir_plugin_module_fn module : internal::Builtins()) {
    if (const weir_plugin* plugin = plugin_check::FindType(*module(), type)) return *plugin;
  }
  ADD_FAILURE() << "no built-in plugin " << type;
  std::abort();
}

PluginHarness::PluginHarness(std::string_view type, const std::string& parameters) {
  auto instance = KitInstance::Create(Builtin(type), parameters, host_);
  if (!instance.ok()) {
    ADD_FAILURE() << type << parameters << ": " << instance.status();
    std::abort();
  }
  instance_.emplace(std::move(*instance));
}

std::string PluginHarness::CreateError(std::string_view type, const std::string& parameters) {
  KitHost host;
  const auto instance = KitInstance::Create(Builtin(type), parameters, host);
  EXPECT_FALSE(instance.ok()) << type << parameters;
  return std::string(instance.status().message());
}

std::vector<uint32_t> PluginHarness::Apply(const KitPool& pool, KitRequestView& request) {
  const auto& filter = table<weir_filter>(WEIR_INTERFACE_FILTER);
  std::vector<uint64_t> keep((pool.count() + 63) / 64, ~uint64_t{0});
  const weir_call* call = host_.Begin(pool, request);
  weir_code code;
  {
    AllocationForbidden guard;
    code = filter.apply(self(), call, &request.raw(), &pool.batch(), keep.data());
  }
  EXPECT_EQ(code, WEIR_OK);
  std::vector<uint32_t> kept;
  for (uint32_t i = 0; i < pool.count(); ++i) {
    if ((keep[i / 64] >> (i % 64)) & 1) kept.push_back(i);
  }
  return kept;
}

std::vector<double> PluginHarness::Score(const KitPool& pool, KitRequestView& request) {
  const auto& scorer = table<weir_scorer>(WEIR_INTERFACE_SCORER);
  std::vector<double> scores(pool.count(), 0.0);
  const weir_call* call = host_.Begin(pool, request);
  weir_code code;
  {
    AllocationForbidden guard;
    code = scorer.score(self(), call, &request.raw(), &pool.batch(), scores.data());
  }
  EXPECT_EQ(code, WEIR_OK);
  return scores;
}

std::vector<uint32_t> PluginHarness::Pick(const KitPool& pool, const std::vector<double>& scores,
                                          uint32_t index_max) {
  const auto& picker = table<weir_picker>(WEIR_INTERFACE_PICKER);
  std::vector<uint32_t> index(index_max + 1, 0xdeadbeef);
  uint32_t count = 0;
  const weir_call* call = host_.Begin(pool, no_request_);
  weir_code code;
  {
    AllocationForbidden guard;
    code = picker.pick(self(), call, &no_request_.raw(), &pool.batch(), scores.data(), index.data(),
                       index_max, &count);
  }
  EXPECT_EQ(code, WEIR_OK);
  EXPECT_LE(count, index_max);
  EXPECT_EQ(index[index_max], 0xdeadbeef) << "written behind the end";
  index.resize(count);
  return index;
}

weir_code PluginHarness::Produce(const KitPool& pool, KitRequestView& request,
                                 const std::vector<void*>& columns) {
  const auto& producer = table<weir_producer>(WEIR_INTERFACE_PRODUCER);
  const weir_call* call = host_.Begin(pool, request);
  AllocationForbidden guard;
  return producer.produce(self(), call, &request.raw(), &pool.batch(), columns.data(), nullptr);
}

KitPool PoolOf(const nlohmann::json& endpoints) {
  std::vector<KitEndpoint> pool;
  for (const auto& one : endpoints) {
    KitEndpoint& endpoint = pool.emplace_back();
    endpoint.name = "default/e" + std::to_string(pool.size() - 1);
    endpoint.labels = one.value("labels", endpoint.labels);
    endpoint.waiting_requests = one.value("waiting_requests", 0u);
    endpoint.running_requests = one.value("running_requests", 0u);
    endpoint.kv_used_ratio = one.value("kv_used_ratio", 0.0f);
    endpoint.address = one.value("address", endpoint.address);
    endpoint.active_adapters = one.value("active_adapters", endpoint.active_adapters);
    endpoint.waiting_adapters = one.value("waiting_adapters", endpoint.waiting_adapters);
    endpoint.adapters_max = one.value("adapters_max", 0u);
  }
  return KitPool(pool);
}

nlohmann::json Golden(const std::string& name) {
  const std::string path = WEIR_SOURCE_DIR "/tests/golden/plugins/" + name + ".json";
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return nlohmann::json::parse(file);
}

}  // namespace weir::testing
