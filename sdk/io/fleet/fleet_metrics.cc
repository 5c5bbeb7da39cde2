#include "weir/io/fleet/fleet_metrics.h"

namespace weir::io {
namespace {

constexpr std::string_view kSourceType = "metrics-data-source";
constexpr std::string_view kExtractorType = "core-metrics-extractor";

double Number(uint64_t value) { return static_cast<double>(value); }

}  // namespace

void WriteFleetMetrics(const Fleet& fleet, MetricsText& text) {
  const Fleet::ScrapeTotals& totals = fleet.scrape_totals();
  text.One(MetricKind::kGauge, "weir_endpoints", "Model servers in the pool.",
           Number(fleet.endpoint_count()));
  text.One(MetricKind::kCounter, "weir_endpoints_rejected_total",
           "Entries of the endpoint list that were skipped.", Number(fleet.endpoints_rejected()));
  text.One(MetricKind::kCounter, "weir_endpoint_lists_unusable_total",
           "States of the endpoint list that could not be used; the endpoints stayed.",
           Number(fleet.lists_unusable()));
  text.One(MetricKind::kCounter, "weir_endpoint_names_unresolved_total",
           "Lookups of endpoints' host names that failed.", Number(fleet.names_unresolved()));
  text.One(MetricKind::kCounter, "weir_resources_rejected_total",
           "Entries of the resources file that were skipped.", Number(fleet.resources_rejected()));
  text.One(MetricKind::kCounter, "weir_resource_files_unusable_total",
           "States of the resources file that could not be used; the resources stayed.",
           Number(fleet.resources_unusable()));
  text.One(MetricKind::kCounter, "weir_scrapes_total", "Metric scrapes begun.",
           Number(totals.scrapes.load()));
  text.Family(MetricKind::kCounter, "weir_scrape_errors_total",
              "Scrapes that brought no sample, by reason.");
  for (uint32_t i = 0; i < kScrapeErrorCount; ++i) {
    text.Value({{"reason", ScrapeErrorName(static_cast<ScrapeError>(i))}},
               Number(totals.errors[i].load()));
  }
  text.One(MetricKind::kCounter, "weir_scrape_missing_total",
           "Wanted metrics that a page did not have.", Number(totals.missing.load()));
  text.One(MetricKind::kCounter, "weir_scrape_bad_values_total",
           "Values of wanted metrics that were refused.", Number(totals.bad_values.load()));
  text.One(MetricKind::kCounter, "weir_scrape_malformed_lines_total",
           "Lines of metric pages that are no metrics.", Number(totals.malformed_lines.load()));
}

void WriteDataLayerMetrics(const Fleet& fleet, MetricsText& text) {
  const Fleet::ScrapeTotals& totals = fleet.scrape_totals();
  uint64_t polls = 0;
  for (const auto& errors : totals.errors) polls += errors.load();
  const uint64_t extracts = totals.missing.load() + totals.bad_values.load();
  text.Family(MetricKind::kCounter, "llm_d_epp_datalayer_poll_errors_total",
              "[ALPHA] Reads of a data source that failed.");
  text.Value({{"source_type", kSourceType}}, Number(polls));
  text.Family(MetricKind::kCounter, "llm_d_inference_scheduler_datalayer_poll_errors_total",
              "[ALPHA] [Deprecated: Use llm_d_epp_datalayer_poll_errors_total] Reads of a data "
              "source that failed.");
  text.Value({{"source_type", kSourceType}}, Number(polls));
  text.Family(MetricKind::kCounter, "llm_d_epp_datalayer_extract_errors_total",
              "[ALPHA] Wanted values that a page did not have, or not as numbers.");
  text.Value({{"source_type", kSourceType}, {"extractor_type", kExtractorType}}, Number(extracts));
  text.Family(MetricKind::kCounter, "llm_d_inference_scheduler_datalayer_extract_errors_total",
              "[ALPHA] [Deprecated: Use llm_d_epp_datalayer_extract_errors_total] Wanted values "
              "that a page did not have, or not as numbers.");
  text.Value({{"source_type", kSourceType}, {"extractor_type", kExtractorType}}, Number(extracts));
}

}  // namespace weir::io
