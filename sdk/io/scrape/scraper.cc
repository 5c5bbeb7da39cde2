#include "weir/io/scrape/scraper.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weir/io/http/head.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/limits.h"

namespace weir::io {
namespace {

constexpr HeaderField kHeaders[] = {{"Accept", "text/plain;version=0.0.4"}, {"User-Agent", "weir"}};
constexpr uint32_t kPageHeadBytesMax = 16 * 1024;
constexpr uint32_t kDueBatchMax = 256;
// Pages that come in pieces are put together in buffers of this size first.
constexpr size_t kPageBufferBytes = 16 * 1024;

constexpr uint64_t Key(EndpointId id) { return uint64_t{id.generation} << 32 | id.slot; }

ScrapeError ErrorOf(HttpEnd end) {
  switch (end) {
    case HttpEnd::kConnectFailed:
      return ScrapeError::kConnect;
    case HttpEnd::kTimedOut:
      return ScrapeError::kTimeout;
    case HttpEnd::kTooLarge:
      return ScrapeError::kPageTooLarge;
    case HttpEnd::kBadResponse:
    case HttpEnd::kBadRequest:
      return ScrapeError::kBadResponse;
    case HttpEnd::kClosed:
    case HttpEnd::kComplete:
      break;
  }
  return ScrapeError::kClosed;
}

// "[::1]:80" -> "::1"
std::string_view HostOf(std::string_view address) {
  std::string_view host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

}  // namespace

std::string_view ScrapeErrorName(ScrapeError error) noexcept {
  switch (error) {
    case ScrapeError::kConnect:
      return "connect";
    case ScrapeError::kTimeout:
      return "timeout";
    case ScrapeError::kClosed:
      return "closed";
    case ScrapeError::kBadResponse:
      return "bad_response";
    case ScrapeError::kStatus:
      return "status";
    case ScrapeError::kPageTooLarge:
      return "page_too_large";
    case ScrapeError::kNothingFound:
      return "nothing_found";
  }
  return "unknown";
}

// One endpoint: its connection, its call, and what its pages said so far.
class Scraper::Subject final : public Retirable, private HttpCallHandler {
 public:
  Subject(Scraper& scraper, uint32_t slot, EndpointId id, const ScrapePlan& plan,
          HttpClientOptions options)
      : id(id),
        slot(slot),
        scraper_(scraper),
        plan_(plan),
        client_(scraper.loop_, std::move(options)) {}
  ~Subject() override { Stop(); }

  // Ends what is under way; afterwards the object may be retired.
  void Stop() {
    call_.Cancel();
    client_.CloseIdle();
    page_.Release();
  }

  void Begin(int64_t now_ns) {
    started_ns = now_ns;
    page_bytes_ = 0;
    stats_.reset();
    client_.Start(call_,
                  {.target = scraper_.options_.source.path,
                   .headers = kHeaders,
                   .first_byte_timeout_ns = 0,
                   .total_timeout_ns = scraper_.options_.timeout_ns,
                   .response_bytes_max = scraper_.options_.page_bytes_max},
                  *this);
  }

  const EndpointId id;
  const uint32_t slot;
  EndpointSample sample;
  ScrapeCounters counters;
  int64_t started_ns = 0;

 private:
  void OnHead(const ResponseHead& head) override {
    const std::string_view encoding = head.Find("content-encoding");
    const bool readable = encoding.empty() || EqualsIgnoreCase(encoding, "identity");
    length_bytes_ = head.framing == BodyFraming::kLength ? head.content_length : 0;
    if (head.status != 200 || !readable) {
      call_.Cancel();
      scraper_.Failed(*this, head.status != 200 ? ScrapeError::kStatus : ScrapeError::kBadResponse);
    }
  }

  void OnBody(std::string_view bytes) override {
    // The common case: the page arrived at once and is read where it lies.
    if (page_bytes_ == 0 && bytes.size() == length_bytes_) {
      stats_ = Extract(plan_, bytes, sample);
      return;
    }
    if (!page_) page_ = scraper_.loop_.buffers().Acquire(std::max(kPageBufferBytes, bytes.size()));
    if (page_.capacity_bytes() - page_bytes_ < bytes.size()) {
      page_.Grow(page_bytes_ + bytes.size(), page_bytes_);
    }
    std::memcpy(page_.data() + page_bytes_, bytes.data(), bytes.size());
    page_bytes_ += bytes.size();
  }

  void OnEnd(HttpEnd end) override {
    if (end == HttpEnd::kComplete && !stats_) {
      stats_ = Extract(plan_, {page_.data(), page_bytes_}, sample);
    }
    page_.Release();
    if (end != HttpEnd::kComplete) return scraper_.Failed(*this, ErrorOf(end));
    scraper_.Succeeded(*this, *stats_);
  }

  Scraper& scraper_;
  const ScrapePlan& plan_;
  HttpClient client_;
  HttpCall call_;
  Buffer page_;  // empty unless a page comes in pieces
  size_t page_bytes_ = 0;
  uint64_t length_bytes_ = 0;
  std::optional<ExtractStats> stats_;
};

absl::StatusOr<std::unique_ptr<Scraper>> Scraper::Create(EventLoop& loop,
                                                         const ScraperOptions& options,
                                                         ScrapeSink& sink) {
  std::unique_ptr<TlsContext> tls;
  if (options.source.scheme == "https") {
    auto context = TlsContext::Client({.verify = !options.source.insecure_skip_verify,
                                       .ca_file = options.source.ca_cert_path,
                                       .cert_file = options.source.client_cert_path,
                                       .key_file = options.source.client_key_path});
    if (!context.ok()) return context.status();
    tls = *std::move(context);
  }
  return std::unique_ptr<Scraper>(new Scraper(loop, options, sink, std::move(tls)));
}

Scraper::Scraper(EventLoop& loop, const ScraperOptions& options, ScrapeSink& sink,
                 std::unique_ptr<TlsContext> tls)
    : loop_(loop),
      options_(options),
      sink_(sink),
      tls_(std::move(tls)),
      schedule_(options.source.interval == absl::ZeroDuration()
                    ? kScrapeIntervalNsDefault
                    : absl::ToInt64Nanoseconds(options.source.interval),
                options.seed) {}

Scraper::~Scraper() = default;

absl::Status Scraper::Add(const ScrapeTarget& target) {
  if (by_id_.size() >= kEndpointsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("scraper: ", kEndpointsMax, " endpoints already, expected at most that"));
  }
  if (by_id_.count(Key(target.id)) != 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("scraper: ", target.metrics_address, ": the endpoint is scraped already"));
  }
  const bool follows = options_.source.scheme.empty() && options_.source.port == 0;
  HttpClientOptions client{.address = target.socket_address,
                           .tls_or_null = follows ? target.tls_or_null : tls_.get(),
                           .host = target.metrics_address,
                           .connect_timeout_ns = options_.timeout_ns,
                           .idle_connections_max = 1,
                           .head_bytes_max = kPageHeadBytesMax};
  if (!client.address.valid()) {
    auto parsed = SocketAddress::Parse(target.metrics_address);
    if (!parsed.ok()) return parsed.status();
    client.address = *parsed;
  }
  const std::string host(HostOf(target.metrics_address));
  client.server_name = target.server_name.empty() ? host : target.server_name;
  if (options_.source.port != 0) {
    client.address.set_port(options_.source.port);
    const bool brackets = host.find(':') != std::string::npos;
    client.host =
        absl::StrCat(brackets ? "[" : "", host, brackets ? "]:" : ":", options_.source.port);
  }
  const uint32_t slot = schedule_.Add(loop_.now_ns());
  if (slot == subjects_.size()) subjects_.emplace_back();
  subjects_[slot] =
      std::make_unique<Subject>(*this, slot, target.id, *target.plan, std::move(client));
  by_id_[Key(target.id)] = slot;
  ArmFor(schedule_.due_ns(slot));
  return absl::OkStatus();
}

void Scraper::Remove(EndpointId id) {
  const auto at = by_id_.find(Key(id));
  if (at == by_id_.end()) return;
  const uint32_t slot = at->second;
  by_id_.erase(at);
  if (schedule_.is_out(slot)) --out_count_;
  schedule_.Remove(slot);
  subjects_[slot]->Stop();
  loop_.Retire(std::move(subjects_[slot]));  // one of its functions may be running
}

const ScrapeCounters* Scraper::counters_or_null(EndpointId id) const {
  const auto at = by_id_.find(Key(id));
  return at == by_id_.end() ? nullptr : &subjects_[at->second]->counters;
}

void Scraper::ArmFor(int64_t due_ns) {
  if (due_ns >= armed_for_ns_) return;
  armed_for_ns_ = due_ns;
  loop_.Arm(due_, std::max<int64_t>(0, due_ns - loop_.now_ns()));
}

void Scraper::OnDue() {
  armed_for_ns_ = ScrapeSchedule::kNever;
  std::array<uint32_t, kDueBatchMax> due;
  uint32_t count = kDueBatchMax;
  while (count == due.size()) {
    count = schedule_.TakeDue(loop_.now_ns(), due);
    out_count_ += count;
    for (uint32_t i = 0; i < count; ++i) {
      // The sink may have removed it, and even given its slot to another, within this loop.
      if (schedule_.is_out(due[i])) Begin(*subjects_[due[i]]);
    }
  }
  ArmFor(schedule_.NextDueNs());
}

void Scraper::Begin(Subject& subject) {
  ++subject.counters.scrapes;
  ++totals_.scrapes;
  const EndpointId id = subject.id;
  const int64_t now_ns = loop_.now_ns();
  subject.Begin(now_ns);
  sink_.OnScrapeStarted(id, now_ns);
}

void Scraper::Succeeded(Subject& subject, const ExtractStats& stats) {
  for (ScrapeCounters* counters : {&subject.counters, &totals_}) {
    counters->missing += stats.missing;
    counters->bad_values += stats.bad_values;
    counters->malformed_lines += stats.malformed_lines;
    counters->adapters_dropped += stats.adapters_dropped;
    counters->samples += stats.updated ? 1 : 0;
  }
  if (!stats.updated) return Failed(subject, ScrapeError::kNothingFound);
  EndScrape(subject.slot, true);
  batch_open_ = true;
  sink_.OnSample(subject.id, subject.sample, subject.started_ns, loop_.now_ns());
  EndBatchIfQuiet();
}

void Scraper::Failed(Subject& subject, ScrapeError error) {
  ++subject.counters.errors[static_cast<uint32_t>(error)];
  ++totals_.errors[static_cast<uint32_t>(error)];
  EndScrape(subject.slot, false);
  sink_.OnFailure(subject.id, error, loop_.now_ns());
  EndBatchIfQuiet();
}

void Scraper::EndScrape(uint32_t slot, bool ok) {
  --out_count_;
  schedule_.Done(slot, ok, loop_.now_ns());
  ArmFor(schedule_.due_ns(slot));
}

void Scraper::EndBatchIfQuiet() {
  if (!batch_open_) return;
  if (out_count_ == 0) {
    EndBatch();
  } else if (!batch_.armed()) {
    loop_.Arm(batch_, options_.batch_ns);
  }
}

void Scraper::EndBatch() {
  batch_.Cancel();
  batch_open_ = false;
  sink_.OnBatchEnd(loop_.now_ns());
}

}  // namespace weir::io
