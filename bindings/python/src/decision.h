// decision.h: a decision as Python holds it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "native.h"

namespace weir::python {

// One of a decision's targets; owns its texts.
struct TargetView {
  std::string name;
  std::string namespace_name;
  std::string address;
  EndpointId id;
};

// Made by a router, or read from a pickle: then it has no router and cannot begin a flight.
class DecisionView {
 public:
  DecisionView(std::shared_ptr<Home> home, weir::Decision decision,
               std::optional<std::string> forwarded)
      : home_(std::move(home)), decision_(std::move(decision)), forwarded_(std::move(forwarded)) {}
  // From State(). Raises ValueError for anything else.
  explicit DecisionView(const py::tuple& state);

  const std::shared_ptr<Home>& home() const { return home_; }
  const weir::Decision& decision() const { return decision_; }
  const std::optional<std::string>& forwarded() const { return forwarded_; }

  size_t target_count() const;
  // REQUIRES: index < target_count()
  TargetView target(size_t index) const;
  py::dict headers() const;
  // weir::Explanation as dicts and lists.
  py::object explanation() const;
  std::string Text() const;
  std::string Json() const;
  py::tuple State() const;

 private:
  bool live() const { return home_ != nullptr; }

  std::shared_ptr<Home> home_;  // before the decision, which dies first
  weir::Decision decision_;
  std::optional<std::string> forwarded_;
  py::object state_;  // of one that was read from a pickle
};

}  // namespace weir::python
