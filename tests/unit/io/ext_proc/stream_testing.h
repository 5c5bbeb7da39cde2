// stream_testing.h: streams of the protocol over a router of their own, in virtual time.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ext_proc_testing.h"
#include "weir/clock.h"
#include "weir/io/ext_proc/ext_proc_stream.h"
#include "weir/router.h"

namespace weir::io::testing {

// Collects events as JSON; each series is its labels.
class RecordingMetrics final : public ExtProcMetrics {
 public:
  Series SeriesOf(const RequestLabels& labels) override;
  void OnStreamBegin() override { ++streams; }
  void OnStreamEnd(uint32_t grpc_code, int64_t) override;
  void OnDecision(bool success, std::string_view, std::string_view, std::string_view,
                  int64_t) override {
    ++(success ? decisions : decisions_failed);
  }
  void OnRequestRouted(Series series, uint64_t request_bytes) override;
  void OnRequestEnd(Series series, const ResponseRecord& record) override;
  void OnRequestError(Series series, std::string_view code) override;
  void OnRequestProcessed(int64_t) override { ++processed; }
  void OnResponseGap(Series, int64_t) override { ++gaps; }

  Json labels = Json::array({Json::object()});
  Json routed = Json::array();
  Json ended = Json::array();
  Json errors = Json::array();
  std::vector<uint32_t> stream_codes;
  int64_t streams = 0;
  int64_t running = 0;
  int64_t decisions = 0;
  int64_t decisions_failed = 0;
  int64_t processed = 0;
  int64_t gaps = 0;
};

// Pipelines of the golden cases, by name.
std::string PipelineOf(const std::string& name);

// One thread's worth of the picker.
class Picker {
 public:
  // `endpoints`: [{"address": "...", "waiting": 0, "kv": 0, "adapters": [...]}].
  Picker(const std::string& pipeline, const Json& endpoints, const ExtProcOptions& options = {},
         uint64_t held_bytes_max = kHeldBytesMaxDefault);

  // Requests that count as in flight on the endpoint of this address.
  uint32_t InFlight(std::string_view address) const;
  uint64_t InFlight() const;

  ManualClock clock{1'000'000'000};
  Router router;
  HeldBytes held;
  RecordingMetrics metrics;
  ExtProcCore core;
};

ExtProcOptions OptionsOf(const Json& options);

}  // namespace weir::io::testing
