#include "weir/io/decision_log/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weir/clock.h"
#include "weir/io/decision_log/wire.h"

namespace weir::io {
namespace {

constexpr std::chrono::milliseconds kPollInterval(20);
constexpr int64_t kFrameAgeNsMax = 200'000'000;  // so much is lost with a process that is killed
constexpr uint64_t kLogEndBytesMax = 64;         // room for the last frame
constexpr uint32_t kBlockTokensMin = 16;
constexpr uint32_t kBlockTokensMax = 4096;
// Decisions of several threads may show their snapshots in another order than they were made in.
constexpr size_t kSnapshotsKept = 8;

absl::Status FileError(const std::string& path, const char* what) {
  return absl::UnavailableError(absl::StrCat(path, ": ", what, ": ", std::strerror(errno)));
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path) {
  struct stat about;
  if (stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0 &&
      std::rename(path.c_str(), absl::StrCat(path, ".1").c_str()) != 0) {
    return FileError(path, "cannot be kept as PATH.1");
  }
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return FileError(path, "cannot be written");
  return file;
}

int64_t UnixNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

DecisionLogWriter::DecisionLogWriter(const DecisionLogOptions& options)
    : options_(options), ring_(options.ring_bytes) {}

absl::StatusOr<std::unique_ptr<DecisionLogWriter>> DecisionLogWriter::Create(
    const DecisionLogOptions& options) {
  const auto error = [](const auto&... texts) {
    return absl::InvalidArgumentError(absl::StrCat("decision log: ", texts...));
  };
  if (options.path.empty()) return error("path: empty, expected a file name");
  if (options.bytes_max < kDecisionLogBytesMaxMin) {
    return error("bytes_max: ", options.bytes_max, ", expected at least ", kDecisionLogBytesMaxMin);
  }
  if (options.prompt_block_tokens < kBlockTokensMin ||
      options.prompt_block_tokens > kBlockTokensMax) {
    return error("prompt_block_tokens: ", options.prompt_block_tokens, ", expected ",
                 kBlockTokensMin, "..", kBlockTokensMax);
  }
  if (options.ring_bytes < kDecisionLogRingBytesMin ||
      options.ring_bytes > kDecisionLogRingBytesMax) {
    return error("ring_bytes: ", options.ring_bytes, ", expected ", kDecisionLogRingBytesMin, "..",
                 kDecisionLogRingBytesMax);
  }
  if (options.headers.size() > kDecisionLogHeadersMax) {
    return error("headers: ", options.headers.size(), ", expected at most ",
                 kDecisionLogHeadersMax);
  }
  return std::unique_ptr<DecisionLogWriter>(new DecisionLogWriter(options));
}

DecisionLogWriter::~DecisionLogWriter() { Close(); }

absl::Status DecisionLogWriter::Start(const RouterDescription& router) {
  if (std::exchange(started_, true)) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path, ": this decision log already has a router"));
  }
  auto file = OpenFile(options_.path);
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  const RouterOptions& from = router.options;
  LogHeader header{
      .weir_version = WEIR_VERSION,
      .pipeline_name = std::string(router.pipeline_name),
      .pipeline_text = std::string(router.pipeline_text),
      .pipeline_hash = TextHash(router.pipeline_text),
      .count_unscraped_requests = from.count_unscraped_requests,
      .unscraped = from.unscraped,
      .sample_age_ns_max = from.sample_age_ns_max,
      .allow_experimental_plugins = from.allow_experimental_plugins,
      .plugin_files = from.plugin_files,
      .attribute_count = router.attribute_count,
      .prompt_block_tokens = options_.prompt_block_tokens,
      .start_unix_ns = options_.start_unix_ns == 0 ? UnixNs() : options_.start_unix_ns};
  attribute_count_ = router.attribute_count;
  encoder_.Append(header);
  encoder_.CloseFrame();
  if (!WriteBytes()) {
    absl::Status status = FileError(options_.path, "cannot be written");
    file_.Reset();
    return status;
  }
  recording_.store(true);
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

uint64_t DecisionLogWriter::OnDecision(const DecisionObservation& decision) noexcept {
  if (!recording_.load(std::memory_order_relaxed)) {
    dropped_stopped_.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  const uint64_t version = decision.snapshot_given ? 0 : decision.snapshot.version();
  // What this reads was stored after the snapshot's event was committed, so that stands before.
  const bool with_snapshot =
      decision.snapshot_given || last_snapshot_.load(std::memory_order_acquire) != version;
  const uint64_t number = next_decision_.fetch_add(1, std::memory_order_relaxed);
  // Some room is left to the ends of flights, which a log should not miss.
  if (!PutDecision(decision, {options_.prompt_block_tokens, options_.headers}, number,
                   with_snapshot, ring_.capacity_bytes() / 8, ring_)) {
    dropped_ring_full_.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  if (with_snapshot) last_snapshot_.store(version, std::memory_order_release);
  return number;
}

uint64_t DecisionLogWriter::PutOrDrop(const FlightEvent& event, uint64_t result) noexcept {
  if (!recording_.load(std::memory_order_relaxed)) return 0;
  if (PutFlight(event, ring_)) return result;
  dropped_ring_full_.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

uint64_t DecisionLogWriter::OnBegin(uint64_t decision, uint32_t target_index,
                                    int64_t now_ns) noexcept {
  const uint64_t flight = next_flight_.fetch_add(1, std::memory_order_relaxed);
  return PutOrDrop({.kind = EventKind::kBegin,
                    .flight = flight,
                    .decision = decision,
                    .now_ns = now_ns,
                    .target_index = target_index,
                    .end = 0,
                    .usage = {}},
                   flight);
}

void DecisionLogWriter::OnFirstToken(uint64_t flight, int64_t now_ns) noexcept {
  PutOrDrop({.kind = EventKind::kFirstToken,
             .flight = flight,
             .decision = 0,
             .now_ns = now_ns,
             .target_index = 0,
             .end = 0,
             .usage = {}},
            flight);
}

void DecisionLogWriter::OnEnd(uint64_t flight, int64_t now_ns, const weir::Usage& usage,
                              End end) noexcept {
  PutOrDrop({.kind = EventKind::kEnd,
             .flight = flight,
             .decision = 0,
             .now_ns = now_ns,
             .target_index = 0,
             .end = static_cast<uint32_t>(end),
             .usage = usage},
            flight);
}

void DecisionLogWriter::Flush() {
  std::unique_lock lock(mutex_);
  if (!thread_.joinable()) return;
  const uint64_t wanted = ++flush_wanted_;
  wake_.notify_one();
  flushed_.wait(lock, [&] { return flush_done_ >= wanted; });
}

void DecisionLogWriter::Close() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    wake_.notify_one();
  }
  thread_.join();
  file_.Reset();
}

DecisionLogStats DecisionLogWriter::stats() const noexcept {
  return {.recording = recording_.load(std::memory_order_relaxed),
          .bytes = file_bytes_.load(std::memory_order_relaxed),
          .decisions = file_decisions_.load(std::memory_order_relaxed),
          .dropped_ring_full = dropped_ring_full_.load(std::memory_order_relaxed),
          .dropped_stopped = dropped_stopped_.load(std::memory_order_relaxed)};
}

void DecisionLogWriter::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_for(lock, kPollInterval, [this] { return closing_ || flush_wanted_ > flush_done_; });
    const bool closing = closing_;
    const uint64_t flush = flush_wanted_;
    const bool whole = closing || flush > flush_done_;
    lock.unlock();
    Drain(whole);
    const bool aged = SystemClock().now_ns() - frame_opened_ns_ > kFrameAgeNsMax;
    if (closing) {
      EndLog(LogEnd::Reason::kClosed);
    } else if (encoder_.unwritten_bytes() > 0 && (whole || aged)) {
      CloseFrame();
    }
    lock.lock();
    flush_done_ = flush;
    flushed_.notify_all();
    if (closing) return;
  }
}

// Takes what is in the ring now; if `whole`, also waits for entries that are being filled.
void DecisionLogWriter::Drain(bool whole) {
  const uint64_t end = ring_.reserved();
  while (ring_.popped() < end) {
    const std::span<std::byte> entry = ring_.Front();
    if (!entry.empty()) {
      Append(entry);
      ring_.Pop();
    } else if (!whole) {
      return;
    } else {
      std::this_thread::yield();
    }
  }
}

void DecisionLogWriter::Append(std::span<std::byte> entry) {
  const bool is_decision =
      *reinterpret_cast<const EventKind*>(entry.data()) == EventKind::kDecision;
  if (!recording_.load(std::memory_order_relaxed)) {
    if (!is_decision) return;
    TakeSnapshot(*reinterpret_cast<DecisionEvent*>(entry.data()));
    dropped_stopped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (encoder_.unwritten_bytes() == 0) frame_opened_ns_ = SystemClock().now_ns();
  AppendGap();
  if (is_decision) {
    AppendDecision(*reinterpret_cast<DecisionEvent*>(entry.data()));
  } else {
    const auto& event = *reinterpret_cast<const FlightEvent*>(entry.data());
    if (event.kind == EventKind::kBegin) {
      encoder_.Append(LoggedBegin{event.flight, event.decision, event.target_index, event.now_ns});
    } else if (event.kind == EventKind::kFirstToken) {
      encoder_.Append(LoggedFirstToken{event.flight, event.now_ns});
    } else {
      encoder_.Append(
          LoggedEnd{event.flight, event.now_ns, static_cast<End>(event.end), event.usage});
    }
  }
  if (encoder_.frame_full()) CloseFrame();
}

void DecisionLogWriter::AppendDecision(DecisionEvent& event) {
  if (auto snapshot = TakeSnapshot(event)) {
    snapshots_.push_front(std::move(snapshot));
    if (snapshots_.size() > kSnapshotsKept) snapshots_.pop_back();
  }
  const auto snapshot =
      std::find_if(snapshots_.begin(), snapshots_.end(),
                   [&event](const auto& one) { return one->version() == event.snapshot_version; });
  if (snapshot == snapshots_.end()) {
    dropped_ring_full_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const PoolSnapshot& pool = **snapshot;
  if (pool_.version != pool.version() || pool_.pool_epoch != pool.pool_epoch()) {
    const PoolDelta delta = pool_.Diff(pool, attribute_count_);
    encoder_.Append(delta);
    pool_.Apply(delta);
  }
  TakeDecision(event, &decision_);
  encoder_.Append(decision_);
  ++frame_decisions_;
}

void DecisionLogWriter::AppendGap() {
  const uint64_t dropped = dropped_ring_full_.load(std::memory_order_relaxed);
  if (dropped == gap_reported_) return;
  encoder_.Append(LoggedGap{dropped - gap_reported_});
  gap_reported_ = dropped;
}

void DecisionLogWriter::CloseFrame() {
  if (!recording_.load(std::memory_order_relaxed)) return;
  if (file_bytes_.load() + encoder_.unwritten_bytes() + kLogEndBytesMax > options_.bytes_max) {
    encoder_.DropUnwritten();
    dropped_stopped_.fetch_add(frame_decisions_);
    EndLog(LogEnd::Reason::kBytesMax);
    Stop("its size limit is reached");
    return;
  }
  encoder_.CloseFrame();
  if (!WriteBytes()) return Stop(std::strerror(errno));
  file_decisions_.fetch_add(frame_decisions_);
  frame_decisions_ = 0;
}

void DecisionLogWriter::EndLog(LogEnd::Reason reason) {
  if (!recording_.load(std::memory_order_relaxed)) return;
  if (reason == LogEnd::Reason::kClosed) {
    AppendGap();
    if (encoder_.unwritten_bytes() > 0) CloseFrame();
    if (!recording_.exchange(false)) return;
  }
  encoder_.Append(
      LogEnd{reason, file_decisions_.load(), dropped_ring_full_.load() + dropped_stopped_.load()});
  encoder_.CloseFrame();
  (void)WriteBytes();
}

bool DecisionLogWriter::WriteBytes() {
  std::string_view rest = encoder_.bytes();
  while (!rest.empty()) {
    const ssize_t count = write(file_.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    rest.remove_prefix(static_cast<size_t>(count));
    file_bytes_.fetch_add(static_cast<uint64_t>(count));
  }
  encoder_.ClearBytes();
  return true;
}

void DecisionLogWriter::Stop(std::string_view why) {
  recording_.store(false);
  frame_decisions_ = 0;
  snapshots_.clear();
  if (options_.log) {
    options_.log(LogLevel::kWarning,
                 absl::StrCat(options_.path, ": recording of decisions ended after ",
                              file_bytes_.load(), " bytes: ", std::string(why)));
  }
}

absl::StatusOr<std::unique_ptr<DecisionLogWriter>> RecordDecisions(
    const DecisionLogOptions& options, RouterOptions* router) {
  if (options.path.empty()) return nullptr;
  auto writer = DecisionLogWriter::Create(options);
  if (writer.ok()) router->recorder = writer->get();
  return writer;
}

}  // namespace weir::io
