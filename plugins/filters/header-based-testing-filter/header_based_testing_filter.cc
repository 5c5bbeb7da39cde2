#include <algorithm>
#include <string_view>

#include "params_schema.h"
#include "weir/plugin/filter.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Mask;
using weir::plugin::Request;
using weir::plugin::View;

constexpr std::string_view kHeader = "test-epp-endpoint-selection";
constexpr uint32_t kEntriesMax = 256;  // of one header; each costs a walk over the endpoints

struct HostPort {
  std::string_view host;  // without brackets
  std::string_view port;  // empty if there is none
};

// "10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]" or "[fd00::1]:80".
HostPort Split(std::string_view text) {
  if (text.substr(0, 1) == "[") {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return {text, {}};
    const std::string_view rest = text.substr(end + 1);
    return {text.substr(1, end - 1), rest.substr(0, 1) == ":" ? rest.substr(1) : rest};
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos) {
    return {text, {}};
  }
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

class HeaderBasedTestingFilter {
 public:
  void Apply(const Request& request, const Batch& batch, Mask keep) const {
    auto* chosen = batch.call().allocate<bool>(batch.count());
    if (chosen == nullptr) return keep.KeepIf([](uint32_t) { return false; });
    std::fill_n(chosen, batch.count(), false);
    std::string_view rest = request.header(kHeader);
    for (uint32_t entries = 0; !rest.empty() && entries < kEntriesMax; ++entries) {
      const size_t comma = rest.find(',');
      const std::string_view entry = Trim(rest.substr(0, comma));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
      if (!entry.empty()) Choose(Split(entry), batch, chosen);
    }
    keep.KeepIf([chosen](uint32_t i) { return chosen[i]; });
  }

 private:
  static void Choose(const HostPort& wanted, const Batch& batch, bool* chosen) {
    uint32_t found = batch.count();
    for (uint32_t i = 0; i < batch.count(); ++i) {
      const HostPort endpoint = Split(View(batch.addresses()[i]));
      if (endpoint.host != wanted.host) continue;
      if (chosen[i]) return;
      if (wanted.port.empty() || wanted.port == endpoint.port) found = i;
    }
    if (found < batch.count()) chosen[found] = true;
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddFilter<HeaderBasedTestingFilter>("header-based-testing-filter")
      .Schema(kParamsSchema)
      .ReadsLoad(0)
      .Beta();
}
