// load/report_page.h: the page that RenderReportHtml() fills. Generated from report_page.html.
#pragma once

#include <string_view>

namespace weir::load {

// Holds the mark @WEIR_REPORT_DATA@ once, where the data goes.
extern const std::string_view kReportPage;

}  // namespace weir::load
