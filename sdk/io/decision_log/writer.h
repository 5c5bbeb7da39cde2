// weir/io/decision_log/writer.h: records the decisions of a router into a file. Start at
// DecisionLogWriter::Create() and give the writer to RouterOptions::recorder.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/decision_recorder.h"
#include "weir/io/decision_log/encoder.h"
#include "weir/io/decision_log/events.h"
#include "weir/io/decision_log/record.h"
#include "weir/io/decision_log/ring.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

inline constexpr uint64_t kDecisionLogBytesMaxDefault = 1ull << 30;
inline constexpr uint64_t kDecisionLogBytesMaxMin = 4ull << 20;  // the pipeline's text fits
inline constexpr size_t kDecisionLogRingBytesMin = 1u << 20;     // several of the largest entries
inline constexpr size_t kDecisionLogRingBytesMax = 1u << 30;

struct DecisionLogOptions {
  std::string path;
  uint64_t bytes_max = kDecisionLogBytesMaxDefault;  // of the file; recording stops there
  std::vector<std::string>
      headers;  // lower case names to keep beside x-llm-d-, x-gateway-, x-weir-
  uint32_t prompt_block_tokens = 64;  // tokens per hash of a prompt, 16..4096
  int64_t start_unix_ns = 0;          // for the header; 0: the system's time
  // Affects memory: entries between the threads that decide and the writer's, rounded up to a power
  // of two.
  size_t ring_bytes = 8u << 20;
  // Receives a text when recording ends early. Called on the writer's thread.
  std::function<void(LogLevel, const std::string&)> log;
};

// Totals since the start. Each is exact; together they are not one instant.
struct DecisionLogStats {
  bool recording = false;
  uint64_t bytes = 0;              // of the file
  uint64_t decisions = 0;          // in the file
  uint64_t dropped_ring_full = 0;  // decisions and events that found no room on their way
  uint64_t dropped_stopped = 0;    // decisions after the size limit or a failed write
};

// Hot calls copy into a ring and never wait; a thread of its own encodes and writes every few
// milliseconds. One writer serves one router and outlives it.
class DecisionLogWriter final : public DecisionRecorder {
 public:
  // Errors: kInvalidArgument, naming the option. Opens nothing yet. [control]
  static absl::StatusOr<std::unique_ptr<DecisionLogWriter>> Create(
      const DecisionLogOptions& options);
  // Close().
  ~DecisionLogWriter() override;

  // Opens the file and starts the thread. A regular file that is there becomes PATH.1. Errors also:
  // kFailedPrecondition (a second router), kUnavailable (the file). [control]
  absl::Status Start(const RouterDescription& router) override;
  uint64_t OnDecision(const DecisionObservation& decision) noexcept override;
  uint64_t OnBegin(uint64_t decision, uint32_t target_index, int64_t now_ns) noexcept override;
  void OnFirstToken(uint64_t flight, int64_t now_ns) noexcept override;
  void OnEnd(uint64_t flight, int64_t now_ns, const weir::Usage& usage, End end) noexcept override;

  // Returns when all that was recorded before is in the file. [control, concurrent]
  void Flush();
  // Writes what is left and ends the log. Later calls do nothing. REQUIRES: no call of
  // DecisionRecorder is running. [control]
  void Close();

  DecisionLogStats stats() const noexcept;  // [concurrent]

 private:
  explicit DecisionLogWriter(const DecisionLogOptions& options);

  uint64_t PutOrDrop(const FlightEvent& event, uint64_t result) noexcept;
  void Run();
  void Drain(bool whole);
  void Append(std::span<std::byte> entry);
  void AppendDecision(DecisionEvent& event);
  void AppendGap();
  void CloseFrame();
  void EndLog(LogEnd::Reason reason);
  bool WriteBytes();
  void Stop(std::string_view why);

  const DecisionLogOptions options_;
  EventRing ring_;
  std::atomic<bool> recording_{false};
  std::atomic<uint64_t> next_decision_{1};
  std::atomic<uint64_t> next_flight_{1};
  std::atomic<uint64_t> last_snapshot_{0};  // version that is in the ring, 0: unknown
  std::atomic<uint64_t> dropped_ring_full_{0};
  std::atomic<uint64_t> dropped_stopped_{0};
  std::atomic<uint64_t> file_bytes_{0};
  std::atomic<uint64_t> file_decisions_{0};

  // Of the thread.
  UniqueFd file_;
  LogEncoder encoder_;
  uint32_t attribute_count_ = 0;
  LoggedPool pool_;
  LoggedDecision decision_;
  std::deque<std::shared_ptr<const PoolSnapshot>> snapshots_;  // newest first
  uint64_t frame_decisions_ = 0;                               // in the open frame
  uint64_t gap_reported_ = 0;                                  // of dropped_ring_full_
  int64_t frame_opened_ns_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable flushed_;
  uint64_t flush_wanted_ = 0;  // guarded by mutex_, as the two below
  uint64_t flush_done_ = 0;
  bool closing_ = false;
  bool started_ = false;
  std::thread thread_;
};

// What a program with a --record flag does: makes a writer and gives it to *router. Null, and
// nothing changed, if options.path is empty. Errors: those of Create. [control]
absl::StatusOr<std::unique_ptr<DecisionLogWriter>> RecordDecisions(
    const DecisionLogOptions& options, RouterOptions* router);

}  // namespace weir::io
