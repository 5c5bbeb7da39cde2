#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "weir/io/admin/pages.h"

namespace weir::io {
namespace {

constexpr std::string_view kFileDiscoveryType = "file-discovery";
constexpr size_t kEndpointsShownMax = 100;
constexpr const char* kNoState = "plugin does not support state collection";

// "2026-01-02T03:04:05.000000006Z", zeros at the end of the fraction cut as Go cuts them.
std::string Rfc3339(int64_t unix_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t fraction_ns = unix_ns % kSecond;
  time_t seconds = static_cast<time_t>(unix_ns / kSecond);
  if (fraction_ns < 0) {
    fraction_ns += kSecond;
    --seconds;
  }
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string digits = std::to_string(kSecond + fraction_ns).substr(1);
  digits.erase(digits.find_last_not_of('0') + 1);
  return std::string(text) + (digits.empty() ? "" : ".") + digits + "Z";
}

nlohmann::json EndpointsState(const Router& router) {
  const auto pool = router.pool().snapshot();
  std::vector<std::string> names;
  for (uint32_t i = 0; i < pool->count(); ++i) names.emplace_back(pool->name(i));
  std::sort(names.begin(), names.end());
  names.resize(std::min(names.size(), kEndpointsShownMax));
  return {{"endpoints", names},
          {"totalEndpoints", pool->count()},
          {"maxEndpoints", kEndpointsShownMax}};
}

}  // namespace

std::string PluginStatePage(const Router& router, int64_t unix_ns) {
  nlohmann::json plugins = nlohmann::json::object();
  for (const RouterStats::Plugin& plugin : router.stats().plugins) {
    plugins[plugin.name] = {
        {"name", plugin.name},
        {"type", plugin.type},
        {"state", {{"failures", plugin.failures}, {"invalidResults", plugin.invalid_results}}}};
  }
  for (const RouterNeeds::ConfiguredPlugin& plugin : router.needs().data_layer) {
    nlohmann::json entry = {{"name", plugin.name}, {"type", plugin.type}};
    if (plugin.type == kFileDiscoveryType && plugin.name == router.needs().discovery_plugin) {
      entry["state"] = EndpointsState(router);
    } else {
      entry["message"] = kNoState;
    }
    plugins[plugin.name] = std::move(entry);
  }
  const nlohmann::json page = {{"timestamp", Rfc3339(unix_ns)}, {"plugins", std::move(plugins)}};
  return page.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace weir::io
