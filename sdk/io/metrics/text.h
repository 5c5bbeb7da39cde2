// weir/io/metrics/text.h: a metrics page in Prometheus' text form, numbers written as Go writes
// them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::io {

enum class MetricKind { kCounter, kGauge, kHistogram };

struct MetricLabel {
  std::string_view name;   // as written in the source
  std::string_view value;  // anything; bytes that are no UTF-8 become U+FFFD
};

// "0.005", "262144", "1.048576e+06", "+Inf": the shortest text that reads as the same number, in
// the form that Prometheus' own libraries give it, so that a bucket is the same series.
// [concurrent]
std::string MetricNumber(double value);

// Writes families one after another. A family without samples leaves no trace. One thread.
class MetricsText {
 public:
  using Labels = std::span<const MetricLabel>;

  // The samples that follow are of this family. `name` and `help` live until the next call.
  void Family(MetricKind kind, std::string_view name, std::string_view help);
  void Value(Labels labels, double value);
  void Value(std::initializer_list<MetricLabel> labels, double value) {
    Value(Labels(labels.begin(), labels.size()), value);
  }
  // `counts` has one element more than `bounds`: each bucket's own, not cumulative. `bounds` stays
  // as it is while this object lives.
  void Histogram(Labels labels, std::span<const double> bounds, std::span<const uint64_t> counts,
                 double sum);
  // A family of one sample without labels.
  void One(MetricKind kind, std::string_view name, std::string_view help, double value) {
    Family(kind, name, help);
    Value(Labels(), value);
  }

  const std::string& text() const noexcept { return text_; }
  std::string Take() { return std::move(text_); }

 private:
  void Head();
  void Sample(std::string_view suffix, Labels labels, std::string_view bound,
              std::string_view value);

  std::string text_;
  MetricKind kind_ = MetricKind::kCounter;
  std::string_view name_;
  std::string_view help_;
  bool head_written_ = false;
  std::span<const double> bounds_;        // of the last histogram,
  std::vector<std::string> bound_texts_;  // which most likely has the same
};

}  // namespace weir::io
