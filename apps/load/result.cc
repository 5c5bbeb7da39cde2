#include "load/result.h"

#include <algorithm>

namespace weir::load {
namespace {

void Count(std::map<std::string, uint64_t, std::less<>>& counts, std::string_view name,
           size_t names_max, uint64_t by = 1) {
  auto found = counts.find(name);
  if (found == counts.end()) {
    if (counts.size() + 1 >= names_max) name = "(other)";
    found = counts.try_emplace(std::string(name), 0).first;
  }
  found->second += by;
}

// The smaller of two times of which -1 is none.
int64_t Earlier(int64_t a, int64_t b) { return a < 0 || b < 0 ? std::max(a, b) : std::min(a, b); }

void MergeBucket(SeriesBucket& into, const SeriesBucket& from) {
  into.due += from.due;
  into.completed += from.completed;
  into.errors += from.errors;
  into.output_tokens += from.output_tokens;
  into.ttft_ns.Merge(from.ttft_ns);
}

// Joins neighbours, so that the same memory covers twice the time.
void HalveSeries(Figures& figures) {
  std::vector<SeriesBucket>& series = figures.series;
  for (size_t i = 0; i < series.size(); ++i) {
    if (i % 2 == 1) {
      MergeBucket(series[i / 2], series[i]);
    } else if (i > 0) {
      series[i / 2] = std::move(series[i]);
    }
  }
  series.resize((series.size() + 1) / 2);
  figures.series_step_ns *= 2;
}

}  // namespace

SeriesBucket& Recorder::BucketAt(int64_t time_ns) {
  const int64_t time = std::max<int64_t>(0, time_ns);
  while (time / figures_.series_step_ns >= static_cast<int64_t>(kSeriesBucketsMax))
    HalveSeries(figures_);
  const auto index = static_cast<size_t>(time / figures_.series_step_ns);
  if (index >= figures_.series.size()) figures_.series.resize(index + 1);
  return figures_.series[index];
}

void Recorder::Add(const Sample& sample) {
  if (!sample.measured) {
    ++figures_.warmup_requests;
    return;
  }
  ++figures_.requests;
  if (figures_.first_due_ns < 0 || sample.due_ns < figures_.first_due_ns)
    figures_.first_due_ns = sample.due_ns;
  figures_.last_due_ns = std::max(figures_.last_due_ns, sample.due_ns);
  figures_.last_end_ns = std::max(figures_.last_end_ns, sample.end_ns);
  figures_.lateness.Record(sample.sent_ns - sample.due_ns);
  if (!sample.server.empty()) Count(figures_.requests_by_server, sample.server, kServersMax);
  // BucketAt() may rearrange the series, so no reference is kept across two calls.
  BucketAt(sample.due_ns).due += 1;
  if (!sample.error.empty()) {
    ++figures_.errors;
    Count(figures_.errors_by_kind, sample.error, kErrorKindsMax);
    BucketAt(sample.due_ns).errors += 1;
    return;
  }
  figures_.prompt_tokens += sample.prompt_tokens;
  figures_.cached_tokens += sample.cached_tokens;
  figures_.output_tokens += sample.output_tokens;
  const int64_t first_ns = sample.first_token_ns < 0 ? sample.end_ns : sample.first_token_ns;
  const int64_t ttft_ns = first_ns - sample.due_ns;
  const int64_t e2e_ns = sample.end_ns - sample.due_ns;
  figures_.ttft.Record(ttft_ns);
  figures_.e2e.Record(e2e_ns);
  int64_t tpot_ns = 0;
  if (sample.output_tokens > 1 && sample.first_token_ns >= 0) {
    tpot_ns = (sample.last_token_ns - sample.first_token_ns) /
              static_cast<int64_t>(sample.output_tokens - 1);
    figures_.tpot.Record(tpot_ns);
  }
  const auto keeps = [](int64_t value, int64_t limit) { return limit == 0 || value <= limit; };
  if (keeps(ttft_ns, slo_.ttft_ns) && keeps(tpot_ns, slo_.itl_ns) && keeps(e2e_ns, slo_.e2e_ns)) {
    ++figures_.good;
  }
  BucketAt(sample.due_ns).ttft_ns.Record(ttft_ns);
  SeriesBucket& end = BucketAt(sample.end_ns);
  end.completed += 1;
  end.output_tokens += sample.output_tokens;
}

void Recorder::Merge(const Recorder& other) {
  const Figures& theirs = other.figures_;
  for (auto [into, from] : {std::pair{&figures_.ttft, &theirs.ttft},
                            {&figures_.itl, &theirs.itl},
                            {&figures_.tpot, &theirs.tpot},
                            {&figures_.e2e, &theirs.e2e},
                            {&figures_.lateness, &theirs.lateness}}) {
    into->Merge(*from);
  }
  figures_.requests += theirs.requests;
  figures_.errors += theirs.errors;
  figures_.warmup_requests += theirs.warmup_requests;
  figures_.unfinished += theirs.unfinished;
  figures_.token_events += theirs.token_events;
  figures_.good += theirs.good;
  figures_.prompt_tokens += theirs.prompt_tokens;
  figures_.cached_tokens += theirs.cached_tokens;
  figures_.output_tokens += theirs.output_tokens;
  figures_.last_event_ns = std::max(figures_.last_event_ns, theirs.last_event_ns);
  figures_.first_event_ns = Earlier(figures_.first_event_ns, theirs.first_event_ns);
  figures_.first_due_ns = Earlier(figures_.first_due_ns, theirs.first_due_ns);
  figures_.last_due_ns = std::max(figures_.last_due_ns, theirs.last_due_ns);
  figures_.last_end_ns = std::max(figures_.last_end_ns, theirs.last_end_ns);
  for (const auto& [kind, count] : theirs.errors_by_kind) {
    Count(figures_.errors_by_kind, kind, kErrorKindsMax, count);
  }
  for (const auto& [server, count] : theirs.requests_by_server) {
    Count(figures_.requests_by_server, server, kServersMax, count);
  }
  Figures aligned = theirs;
  while (figures_.series_step_ns < aligned.series_step_ns) HalveSeries(figures_);
  while (aligned.series_step_ns < figures_.series_step_ns) HalveSeries(aligned);
  if (figures_.series.size() < aligned.series.size()) figures_.series.resize(aligned.series.size());
  for (size_t i = 0; i < aligned.series.size(); ++i)
    MergeBucket(figures_.series[i], aligned.series[i]);
}

}  // namespace weir::load
