// metrics_page.h: the metrics of weir-epp that are its own: of its gRPC servers, and what it is.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>

#include "certificates.h"
#include "weir/io/ext_proc/ext_proc_core.h"
#include "weir/io/metrics/text.h"
#include "worker.h"

namespace weir::epp {

// Sums the workers' transport. [concurrent]
void WriteTransportMetrics(std::span<const std::unique_ptr<Worker>> workers,
                           const io::HeldBytes& held, io::MetricsText& text);

// Sums the certificates of all ports; null for a port without TLS. [concurrent]
void WriteCertificateMetrics(std::initializer_list<const Certificates*> certificates,
                             io::MetricsText& text);

// Which program this is. [concurrent]
void WriteInfo(io::MetricsText& text);

}  // namespace weir::epp
