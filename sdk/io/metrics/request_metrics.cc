#include "weir/io/metrics/request_metrics.h"

#include <algorithm>
#include <cstring>

namespace weir::io {
namespace {

// Which of kErrorCodes; the last one for unknown texts.
size_t ErrorIndex(std::string_view code) {
  const auto found = std::find(kErrorCodes.begin(), kErrorCodes.end() - 1, code);
  return static_cast<size_t>(found - kErrorCodes.begin());
}

// "namespace/name" and "host:port" as three label values.
struct EndpointLabels {
  EndpointLabels(std::string_view endpoint, std::string_view address) {
    const size_t slash = endpoint.find('/');
    if (slash != std::string_view::npos) {
      space = endpoint.substr(0, slash);
      endpoint.remove_prefix(slash + 1);
    }
    name = endpoint;
    const size_t colon = address.rfind(':');
    if (colon != std::string_view::npos) port = address.substr(colon + 1);
  }
  std::string_view name, space, port;
};

}  // namespace

WorkerMetrics::WorkerMetrics(RequestMetrics& owner) : owner_(owner), attempts_(kAttemptSeriesMax) {
  requests_[kNoRequest].store(new RequestCounters, std::memory_order_release);
}

WorkerMetrics::~WorkerMetrics() {
  for (const auto& counters : requests_) delete counters.load(std::memory_order_relaxed);
}

RequestCounters& WorkerMetrics::At(Series series) {
  RequestCounters* counters =
      series < kRequestSeriesMax ? requests_[series].load(std::memory_order_relaxed) : nullptr;
  return counters != nullptr ? *counters : *requests_[kNoRequest].load(std::memory_order_relaxed);
}

void WorkerMetrics::Key(std::initializer_list<std::string_view> parts) {
  key_.clear();
  for (std::string_view part : parts) {
    // Names beyond the limit of a label share its series.
    part = part.substr(0, kLabelBytesMax);
    const auto size = static_cast<uint32_t>(part.size());
    char bytes[sizeof size];
    std::memcpy(bytes, &size, sizeof size);
    key_.append(bytes, sizeof bytes).append(part);
  }
}

WorkerMetrics::Series WorkerMetrics::SeriesOf(const RequestLabels& labels) {
  char priority[sizeof labels.priority];
  std::memcpy(priority, &labels.priority, sizeof priority);
  Key({labels.model, labels.target_model, labels.fairness_id, {priority, sizeof priority}});
  const uint32_t known = request_cache_.Find(key_);
  if (known != SeriesCache::kNotFound) return known;
  const uint32_t series = owner_.request_names_.NumberOf(
      {owner_.models_.Admit(labels.model), owner_.models_.Admit(labels.target_model),
       owner_.fairness_ids_.Admit(labels.fairness_id), std::to_string(labels.priority)});
  if (requests_[series].load(std::memory_order_relaxed) == nullptr) {
    requests_[series].store(new RequestCounters, std::memory_order_release);
  }
  request_cache_.Put(key_, series);
  return series;
}

void WorkerMetrics::OnStreamEnd(uint32_t grpc_code, int64_t duration_ns) {
  constexpr uint32_t kUnknown = 2;
  streams_.ended[grpc_code < StreamCounters::kGrpcCodes ? grpc_code : kUnknown].Add(1);
  streams_.stream_duration.Add(duration_ns);
}

void WorkerMetrics::OnDecision(bool success, std::string_view target_model,
                               std::string_view endpoint, std::string_view address,
                               int64_t duration_ns) {
  streams_.scheduler_duration.Add(duration_ns);
  Key({success ? "1" : "0", target_model, endpoint, address});
  uint32_t series = attempt_cache_.Find(key_);
  if (series == SeriesCache::kNotFound) {
    const EndpointLabels labels(endpoint, address);
    series = owner_.attempt_names_.NumberOf(
        {success ? "success" : "failure", owner_.models_.Admit(target_model),
         std::string(labels.name), std::string(labels.space), std::string(labels.port)});
    attempt_cache_.Put(key_, series);
  }
  attempts_[series].Add(1);
}

void WorkerMetrics::OnRequestRouted(Series series, uint64_t request_bytes) {
  RequestCounters& counters = At(series);
  counters.requests.Add(1);
  counters.running.Add(1);
  counters.request_bytes.Add(static_cast<int64_t>(request_bytes));
}

void WorkerMetrics::OnRequestEnd(Series series, const ResponseRecord& response) {
  RequestCounters& counters = At(series);
  if (response.routed) counters.running.Subtract(1);
  if (response.prompt_tokens > 0) counters.input_tokens.Add(response.prompt_tokens);
  if (response.cached_tokens >= 0) counters.cached_tokens.Add(response.cached_tokens);
  if (response.output_tokens > 0) counters.output_tokens.Add(response.output_tokens);
  if (response.first_byte_ns >= 0) counters.ttft[response.streaming].Add(response.first_byte_ns);
  if (!response.complete) return;
  counters.duration.Add(response.duration_ns);
  counters.response_bytes.Add(static_cast<int64_t>(response.response_bytes));
  if (response.output_tokens > 0) {
    counters.ntpot.Add(response.duration_ns / response.output_tokens);
  }
  if (response.streaming && response.output_tokens > 1 && response.first_byte_ns >= 0) {
    counters.tpot.Add((response.duration_ns - response.first_byte_ns) /
                      (response.output_tokens - 1));
  }
}

void WorkerMetrics::OnRequestError(Series series, std::string_view code) {
  At(series).errors[ErrorIndex(code)].Add(1);
}

RequestMetrics::RequestMetrics(uint32_t worker_count)
    : request_names_(kRequestSeriesMax, {{"", "", "", "0"}, SeriesNames::Values(4, "other")}),
      attempt_names_(kAttemptSeriesMax, {SeriesNames::Values(5, "other")}) {
  for (uint32_t i = 0; i < worker_count; ++i) workers_.emplace_back(new WorkerMetrics(*this));
}

RequestMetrics::~RequestMetrics() = default;

}  // namespace weir::io
