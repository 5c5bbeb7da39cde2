// load/runner.h: carries out a run: threads, connections, progress.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "load/dispatcher.h"
#include "load/process_use.h"
#include "load/request.h"
#include "load/result.h"
#include "load/source.h"
#include "load/summary.h"

namespace weir::load {

inline constexpr uint32_t kThreadsMax = 64;
inline constexpr size_t kHeadersMax = 32;  // of RunPlan::headers

struct RunPlan {
  std::string name = "run";
  std::string workload;  // one line for people
  std::vector<Target> targets;
  RequestShape shape;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string conversation_header;  // sent with the conversation's number; empty: not
  std::string server_header = "x-weir-endpoint";
  bool keep_answers = false;  // the source wants the text of answers
  int64_t connect_timeout_ns = 5'000'000'000;
  int64_t timeout_ns = 300'000'000'000;  // of a whole request; 0: none
  int64_t drain_ns = -1;  // wait for answers after the last request; below 0: as long as it takes
  bool tls_verify = true;
  std::string tls_ca_file;  // PEM; empty: the system's
  uint32_t threads = 1;
  DispatchPlan dispatch;
  std::function<std::unique_ptr<Source>(Shard)> make_source;
  uint64_t requests_expected = 0;  // for the progress; 0: unknown
  Slo slo;
  std::vector<WatchedProcess> watched;
  bool quiet = false;
};

// Sends and measures until the plan is done, or SIGINT or SIGTERM ends it early; a second signal
// does not wait for open answers. Shows progress on stderr.
// Errors: kInvalidArgument and kUnavailable for targets, files and descriptors, before anything is
// sent; failing requests are part of the summary instead. [io]
absl::StatusOr<Summary> Run(const RunPlan& plan);

}  // namespace weir::load
