#include "decision.h"

#include <pybind11/stl.h>

namespace weir::python {
namespace {

constexpr int kStateVersion = 1;

// "namespace/name" in two.
std::pair<std::string_view, std::string_view> SplitName(std::string_view full) {
  const size_t slash = full.find('/');
  return {full.substr(0, slash), full.substr(slash + 1)};
}

py::dict RowOf(const Explanation::EndpointRow& row, const Explanation::Profile& profile) {
  const auto [space, name] = SplitName(row.name);
  py::dict scores;
  for (size_t i = 0; i < profile.scorers.size() && i < row.raw.size(); ++i) {
    scores[Text(profile.scorers[i].name)] = py::make_tuple(row.raw[i], row.weighted[i]);
  }
  py::dict fields;
  fields["endpoint"] = Text(name);
  fields["namespace"] = Text(space);
  fields["address"] = row.address;
  fields["rank"] = row.rank < 0 ? py::object(py::none()) : py::int_(row.rank);
  fields["total"] = row.total;
  fields["dropped_by"] = row.dropped_by.empty() ? py::object(py::none()) : py::str(row.dropped_by);
  fields["waiting_requests"] = row.waiting_requests;
  fields["running_requests"] = row.running_requests;
  fields["kv_used_ratio"] = row.kv_used_ratio;
  fields["sent_since_sample"] = row.sent_since_sample;
  fields["sample_age_s"] =
      row.sample_age_ms < 0 ? py::object(py::none()) : py::float_(double(row.sample_age_ms) / 1e3);
  fields["scores"] = scores;
  return fields;
}

py::dict ProfileOf(const Explanation::Profile& profile) {
  py::list scorers;
  for (const Explanation::Scorer& scorer : profile.scorers) {
    py::dict fields;
    fields["name"] = scorer.name;
    fields["weight"] = scorer.weight;
    fields["nan_scores"] = scorer.nan_scores;
    fields["failed"] = scorer.failed;
    scorers.append(fields);
  }
  py::list endpoints;
  for (const Explanation::EndpointRow& row : profile.endpoints) {
    endpoints.append(RowOf(row, profile));
  }
  py::dict fields;
  fields["name"] = profile.name;
  fields["primary"] = profile.primary;
  fields["failed"] = profile.failed;
  fields["picker"] = profile.picker;
  fields["filters"] = profile.filters;
  fields["scorers"] = scorers;
  fields["endpoints"] = endpoints;
  return fields;
}

py::dict DictOf(const Explanation& explanation) {
  py::list profiles;
  for (const Explanation::Profile& profile : explanation.profiles) {
    profiles.append(ProfileOf(profile));
  }
  py::dict fields;
  fields["request_id"] = Text(explanation.request_id);
  fields["model"] = Text(explanation.model);
  fields["time_s"] = double(explanation.time_ns) / 1e9;
  fields["seed"] = explanation.seed;
  fields["draws"] = explanation.draws;
  fields["first_draw"] =
      explanation.draws == 0 ? py::object(py::none()) : py::float_(explanation.first_draw);
  fields["pool_version"] = explanation.pool_version;
  fields["prompt_tokens"] = explanation.prompt_tokens;
  fields["profiles"] = profiles;
  return fields;
}

py::list TargetsOf(const DecisionView& decision) {
  py::list targets;
  for (size_t i = 0; i < decision.target_count(); ++i) targets.append(decision.target(i));
  return targets;
}

std::string ReprOf(const DecisionView& decision) {
  const TargetView target = decision.target(0);
  return "<weir.Decision " + target.name + " (" + target.address + "), " +
         std::to_string(decision.target_count()) + " targets>";
}

// A method whose body is the function of this name in weir._tables.
auto InPython(const char* function) {
  return [function](const py::object& self) {
    return py::module_::import("weir._tables").attr(function)(self);
  };
}

void AddTarget(py::module_& module) {
  py::class_<EndpointId>(module, "EndpointId", py::module_local(),
                         "Names one incarnation of an endpoint: removing and adding it again gives "
                         "another.")
      .def(py::init([](uint32_t slot, uint32_t generation) {
             return EndpointId{slot, generation};
           }),
           py::arg("slot"), py::arg("generation"))
      .def_readonly("slot", &EndpointId::slot)
      .def_readonly("generation", &EndpointId::generation)
      .def("__eq__",
           [](const EndpointId& a, const py::object& b) -> py::object {
             if (!py::isinstance<EndpointId>(b)) {
               return py::reinterpret_borrow<py::object>(Py_NotImplemented);
             }
             return py::bool_(a == b.cast<EndpointId>());
           })
      .def("__hash__",
           [](const EndpointId& id) { return py::hash(py::make_tuple(id.slot, id.generation)); })
      .def("__repr__",
           [](const EndpointId& id) {
             return "EndpointId(slot=" + std::to_string(id.slot) +
                    ", generation=" + std::to_string(id.generation) + ")";
           })
      .def("__reduce__", [](const py::object& self) {
        return py::make_tuple(py::type::of(self),
                              py::make_tuple(self.attr("slot"), self.attr("generation")));
      });
  py::class_<TargetView>(module, "Target", py::module_local(),
                         "One endpoint that a decision chose.")
      .def_readonly("name", &TargetView::name)
      .def_readonly("namespace", &TargetView::namespace_name)
      .def_readonly("address", &TargetView::address, "host:port, as it was given to the pool.")
      .def_readonly("id", &TargetView::id)
      .def("__repr__", [](const TargetView& target) {
        return "<weir.Target " + target.name + " (" + target.address + ")>";
      });
}

}  // namespace

DecisionView::DecisionView(const py::tuple& state) : state_(state) {
  if (state.size() != 7 || !py::isinstance<py::int_>(state[0]) ||
      state[0].cast<int>() != kStateVersion) {
    throw py::value_error("state of a Decision: of another version of weir");
  }
  if (!state[3].is_none()) forwarded_ = state[3].cast<std::string>();
  if (py::len(state[1]) == 0) throw py::value_error("state of a Decision: no targets");
}

size_t DecisionView::target_count() const {
  return live() ? decision_.targets().size() : py::len(state_[py::int_(1)]);
}

TargetView DecisionView::target(size_t index) const {
  if (live()) {
    const Target& target = decision_.targets()[index];
    const auto [space, name] = SplitName(target.name);
    return {std::string(name), std::string(space), std::string(target.address), target.id};
  }
  const py::tuple fields = py::list(state_[py::int_(1)])[index];
  return {fields[0].cast<std::string>(), fields[1].cast<std::string>(),
          fields[2].cast<std::string>(),
          EndpointId{fields[3].cast<uint32_t>(), fields[4].cast<uint32_t>()}};
}

py::dict DecisionView::headers() const {
  if (!live()) return py::dict(state_[py::int_(2)]).attr("copy")();
  py::dict headers;
  for (const Header& header : decision_.headers()) {
    headers[python::Text(header.name)] = python::Text(header.value);
  }
  return headers;
}

py::object DecisionView::explanation() const {
  return live() ? py::object(DictOf(decision_.explanation())) : py::object(state_[py::int_(4)]);
}
std::string DecisionView::Text() const {
  return live() ? decision_.Explain() : state_[py::int_(5)].cast<std::string>();
}
std::string DecisionView::Json() const {
  return live() ? decision_.ToJson() : state_[py::int_(6)].cast<std::string>();
}

py::tuple DecisionView::State() const {
  if (!live()) return state_;
  py::list targets;
  for (size_t i = 0; i < target_count(); ++i) {
    const TargetView one = target(i);
    targets.append(
        py::make_tuple(one.name, one.namespace_name, one.address, one.id.slot, one.id.generation));
  }
  const py::object body = forwarded_ ? py::object(py::bytes(*forwarded_)) : py::none();
  return py::make_tuple(kStateVersion, targets, headers(), body, explanation(), Text(), Json());
}

void AddDecision(py::module_& module) {
  AddTarget(module);
  py::class_<DecisionView>(module, "Decision", py::module_local(),
                           "Where a request goes, and why. Made by Router.decide().")
      .def_property_readonly(
          "endpoint", [](const DecisionView& self) { return self.target(0).name; },
          "Name of the endpoint that serves the request.")
      .def_property_readonly(
          "address", [](const DecisionView& self) { return self.target(0).address; },
          "Its address, as it was given to the pool.")
      .def_property_readonly("targets", TargetsOf, "The endpoint and its fallbacks, best first.")
      .def_property_readonly("headers", &DecisionView::headers,
                             "Headers for the request to the endpoint.")
      .def_property_readonly(
          "body",
          [](const DecisionView& self) {
            return self.forwarded() ? py::object(py::bytes(*self.forwarded())) : py::none();
          },
          "The body to send if a model rewrite changed it, else None: send the one you have.")
      .def_property_readonly("explanation", &DecisionView::explanation,
                             "All that is known about the decision, as dicts and lists.")
      .def("explain", InPython("explain"),
           "One dict per profile and endpoint: who was dropped, what each scorer gave, the rank.")
      .def("text", &DecisionView::Text, "The same as a table of text.")
      .def("to_json", &DecisionView::Json, "The explanation as JSON.")
      .def("to_pandas", InPython("decision_to_pandas"), "explain() as a pandas.DataFrame.")
      .def(
          "__arrow_c_stream__",
          [](const py::object& self, const py::object& schema) {
            return py::module_::import("weir._tables").attr("decision_to_arrow")(self, schema);
          },
          py::arg("requested_schema") = py::none(), "explain() as an Arrow stream.")
      .def("_repr_html_", InPython("decision_to_html"))
      .def("__repr__", ReprOf)
      .def(
          py::pickle([](const DecisionView& self) { return self.State(); },
                     [](const py::tuple& state) { return std::make_unique<DecisionView>(state); }));
}

}  // namespace weir::python
