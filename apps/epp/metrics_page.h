// metrics_page.h: the metrics of weir-epp that are its own: of its gRPC servers, and what it is.
#pragma once

#include <memory>
#include <span>

#include "weir/io/ext_proc/ext_proc_core.h"
#include "weir/io/metrics/text.h"
#include "worker.h"

namespace weir::epp {

// Sums the workers' transport. [concurrent]
void WriteTransportMetrics(std::span<const std::unique_ptr<Worker>> workers,
                           const io::HeldBytes& held, io::MetricsText& text);

// Which program this is. [concurrent]
void WriteInfo(io::MetricsText& text);

}  // namespace weir::epp
