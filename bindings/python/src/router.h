// router.h: a weir::Router as Python holds it.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "decision.h"
#include "flight.h"
#include "native.h"
#include "pool.h"

namespace weir::python {

// The keyword arguments of the constructors.
struct Settings {
  uint64_t seed = 0;
  std::vector<std::string> plugins;
  bool allow_experimental_plugins = false;
  uint32_t decisions_kept = 64;
  py::object clock;
  std::string unscraped = "worst";
  bool count_unscraped_requests = true;
  double sample_age_s_max = 0;
  bool release_gil = false;
};

class RouterView {
 public:
  // Without text: the default pipeline. Raises ConfigError, or NotFoundError for a plugin's file.
  RouterView(std::optional<std::string_view> text, const std::string& name,
             const Settings& settings);

  py::object Decide(const py::dict& fields);
  py::list DecideBatch(const py::list& requests);
  FlightView Begin(const DecisionView& decision, uint32_t target) const;
  py::list RecentDecisions() const;
  py::dict Stats() const;
  std::string Metrics() const;
  std::string Describe() const { return gate_->Enter()->router.Describe(); }
  PoolView pool() const;
  // Raises ClosedError and ForkedError.
  Visit Enter() const { return gate_->Enter(); }
  bool closed() const { return !gate_->open(); }
  void Close();

 private:
  void Keep(const py::object& decision);

  std::shared_ptr<Gate> gate_;
  size_t kept_max_;
  bool release_gil_;
  std::deque<py::object> kept_;  // newest last
};

}  // namespace weir::python
