#include "weir/io/metrics/engine_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace weir::io {
namespace {

double Number(uint64_t value) { return static_cast<double>(value); }

// Mean and deviation of one column over the endpoints with fresh samples.
struct Spread {
  double sum = 0, squares = 0;
  uint32_t count = 0;

  void Add(double value) {
    sum += value;
    squares += value * value;
    ++count;
  }
  double mean() const { return count == 0 ? 0 : sum / count; }
  // Of a sample, so n - 1; 0 for fewer than two.
  double deviation() const {
    if (count < 2) return 0;
    return std::sqrt(std::max(0.0, (squares - sum * sum / count) / (count - 1)));
  }
};

double TwoDecimals(double value) { return std::round(value * 100) / 100; }

void WriteGauge(const std::string& name, const std::string& twin, const std::string& help,
                std::string_view pool, double value, MetricsText& text) {
  const std::string full_help = "[ALPHA] " + help;
  text.Family(MetricKind::kGauge, name, full_help);
  text.Value({{"name", pool}}, value);
  if (twin.empty()) return;
  const std::string twin_help = "[ALPHA] [Deprecated: Use " + name + "] " + help;
  text.Family(MetricKind::kGauge, twin, twin_help);
  text.Value({{"name", pool}}, value);
}

}  // namespace

void WriteEngineMetrics(const RouterStats& stats, MetricsText& text) {
  text.One(MetricKind::kCounter, "weir_decisions_total", "Decisions asked for.",
           Number(stats.decisions));
  text.One(MetricKind::kGauge, "weir_flights", "Requests counted as in flight at endpoints.",
           Number(stats.flights_begun - std::min(stats.flights_begun, stats.flights_ended)));
  text.One(MetricKind::kCounter, "weir_flights_refused_total",
           "Requests that were served but not counted, above the limit of flights.",
           Number(stats.flights_refused));
  text.One(MetricKind::kGauge, "weir_memory_bytes",
           "Memory held for decisions and requests in flight.", Number(stats.memory_bytes));
  text.Family(MetricKind::kCounter, "weir_plugin_failures_total", "Calls of a plugin that failed.");
  for (const RouterStats::Plugin& plugin : stats.plugins) {
    text.Value({{"plugin_name", plugin.name}, {"plugin_type", plugin.type}},
               Number(plugin.failures));
  }
  text.Family(MetricKind::kCounter, "weir_plugin_invalid_results_total",
              "NaN scores, set mask bits and bad indices that a plugin returned.");
  for (const RouterStats::Plugin& plugin : stats.plugins) {
    text.Value({{"plugin_name", plugin.name}, {"plugin_type", plugin.type}},
               Number(plugin.invalid_results));
  }
}

void WritePoolMetrics(const PoolSnapshot& pool, int64_t now_ns, const PoolMetricsOptions& options,
                      MetricsText& text) {
  Spread waiting, running, kv_used;
  std::vector<uint32_t> fresh;
  for (uint32_t i = 0; i < pool.count(); ++i) {
    const int64_t sampled_ns = pool.sample_time_ns()[i];
    if (sampled_ns == std::numeric_limits<int64_t>::min()) continue;
    if (now_ns - sampled_ns > options.stale_ns) continue;
    fresh.push_back(i);
    waiting.Add(pool.waiting_requests()[i]);
    running.Add(pool.running_requests()[i]);
    kv_used.Add(pool.kv_used_ratio()[i]);
  }
  const struct {
    const char* name;
    const char* twin;  // empty: none
    const char* help;
    double value;
  } kGauges[] = {
      {"llm_d_epp_average_kv_cache_utilization", "inference_pool_average_kv_cache_utilization",
       "Average of the used share of the KV caches of a pool.", TwoDecimals(kv_used.mean())},
      {"llm_d_epp_average_queue_size", "inference_pool_average_queue_size",
       "Average of the requests queued in the servers of a pool.", TwoDecimals(waiting.mean())},
      {"llm_d_epp_average_running_requests", "inference_pool_average_running_requests",
       "Average of the requests running on the servers of a pool.", TwoDecimals(running.mean())},
      {"llm_d_epp_std_dev_kv_cache_utilization", "",
       "Standard deviation of the used share of the KV caches of a pool.", kv_used.deviation()},
      {"llm_d_epp_std_dev_queue_size", "",
       "Standard deviation of the requests queued in the servers of a pool.", waiting.deviation()},
      {"llm_d_epp_std_dev_running_requests", "",
       "Standard deviation of the requests running on the servers of a pool.", running.deviation()},
      {"llm_d_epp_ready_endpoints", "inference_pool_ready_pods",
       "Servers of a pool with fresh metrics.", static_cast<double>(fresh.size())}};
  for (const auto& gauge : kGauges) {
    WriteGauge(gauge.name, gauge.twin, gauge.help, options.pool_name, gauge.value, text);
  }
  text.Family(MetricKind::kGauge, "llm_d_epp_per_endpoint_queue_size",
              "[ALPHA] Requests queued in a server.");
  const auto write_queues = [&](std::string_view label) {
    for (const uint32_t i : fresh) {
      const std::string_view full = pool.name(i);
      text.Value({{"name", options.pool_name}, {label, full.substr(full.find('/') + 1)}},
                 pool.waiting_requests()[i]);
    }
  };
  write_queues("model_server_endpoint");
  text.Family(MetricKind::kGauge, "inference_pool_per_pod_queue_size",
              "[ALPHA] [Deprecated: Use llm_d_epp_per_endpoint_queue_size] Requests queued in a "
              "server.");
  write_queues("model_server_pod");
}

void WriteRewriteMetrics(std::span<const RewriteCount> counts, MetricsText& text) {
  const auto write = [&](std::string_view name, std::string_view help) {
    text.Family(MetricKind::kCounter, name, help);
    for (const RewriteCount& count : counts) {
      if (count.decisions == 0) continue;
      text.Value({{"model_rewrite_name", count.rewrite_name},
                  {"model_name", count.model},
                  {"target_model", count.target_model}},
                 Number(count.decisions));
    }
  };
  write("llm_d_epp_model_rewrite_decisions_total",
        "[ALPHA] Requests whose model a rewrite rule chose.");
  write("inference_extension_model_rewrite_decisions_total",
        "[ALPHA] [Deprecated: Use llm_d_epp_model_rewrite_decisions_total] Requests whose model a "
        "rewrite rule chose.");
}

}  // namespace weir::io
