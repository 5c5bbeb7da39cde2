// The pool of a router: endpoints go in as keyword arguments, come out as rows.
#include "pool.h"

#include <pybind11/stl.h>

namespace weir::python {
namespace {

uint32_t CountOf(const py::handle& value, const char* what) {
  if (!PyLong_Check(value.ptr())) RaiseType(what, value, "int");
  int overflow = 0;
  const int64_t number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0 || number < 0 || number > UINT32_MAX) {
    throw py::value_error(std::string(what) + ": " + std::string(py::str(value)) +
                          ", expected 0..4294967295");
  }
  return static_cast<uint32_t>(number);
}

double RatioOf(const py::handle& value, const char* what) {
  const double ratio = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    RaiseType(what, value, "float");
  }
  if (!(ratio >= 0 && ratio <= 1)) {
    throw py::value_error(std::string(what) + ": " + std::string(py::str(value)) +
                          ", expected 0..1");
  }
  return ratio;
}

std::vector<std::string> NamesOf(const py::handle& value, const char* what) {
  if (!PyList_Check(value.ptr()) && !PyTuple_Check(value.ptr())) {
    RaiseType(what, value, "a list of str");
  }
  std::vector<std::string> names;
  for (const py::handle one : value) names.emplace_back(Utf8(one, what));
  return names;
}

std::map<std::string, std::string> LabelsOf(const py::handle& value) {
  if (!PyDict_Check(value.ptr())) RaiseType("labels", value, "a dict of str");
  std::map<std::string, std::string> labels;
  for (const auto& [key, text] : py::reinterpret_borrow<py::dict>(value)) {
    labels.emplace(Utf8(key, "key of a label"), Utf8(text, "value of a label"));
  }
  return labels;
}

EndpointAdapters& AdaptersOf(EndpointMetrics& metrics) {
  if (!metrics.adapters) metrics.adapters.emplace();
  return *metrics.adapters;
}

bool ReadMetric(std::string_view name, py::handle value, EndpointMetrics& metrics) {
  if (name == "waiting_requests") {
    metrics.waiting_requests = CountOf(value, "waiting_requests");
  } else if (name == "running_requests") {
    metrics.running_requests = CountOf(value, "running_requests");
  } else if (name == "kv_used_ratio") {
    metrics.kv_used_ratio = RatioOf(value, "kv_used_ratio");
  } else if (name == "kv_block_tokens") {
    metrics.kv_block_tokens = CountOf(value, "kv_block_tokens");
  } else if (name == "kv_block_count") {
    metrics.kv_block_count = CountOf(value, "kv_block_count");
  } else if (name == "active_adapters") {
    AdaptersOf(metrics).active = NamesOf(value, "active_adapters");
  } else if (name == "waiting_adapters") {
    AdaptersOf(metrics).waiting = NamesOf(value, "waiting_adapters");
  } else if (name == "adapters_max") {
    AdaptersOf(metrics).adapters_max = CountOf(value, "adapters_max");
  } else {
    return false;
  }
  return true;
}

// Reads the arguments of `function` into an endpoint; None counts as absent.
Endpoint EndpointFrom(const py::dict& fields, const char* function, bool metrics_only = false) {
  Endpoint endpoint;
  for (const auto& [key, value] : fields) {
    const std::string_view name = Utf8(key, "name of an argument");
    if (value.is_none() || ReadMetric(name, value, endpoint.metrics)) continue;
    if (name == "namespace") {
      endpoint.namespace_name = Utf8(value, "namespace");
    } else if (name == "name" && !metrics_only) {
      endpoint.name = Utf8(value, "name");
    } else if (name == "address" && !metrics_only) {
      endpoint.address = Utf8(value, "address");
    } else if (name == "labels" && !metrics_only) {
      endpoint.labels = LabelsOf(value);
    } else {
      throw py::type_error(std::string(function) + "() got an unexpected keyword argument '" +
                           std::string(name) + "'");
    }
  }
  return endpoint;
}

std::optional<uint32_t> Find(const PoolSnapshot& snapshot, std::string_view name,
                             std::string_view space) {
  const std::string full = std::string(space) + "/" + std::string(name);
  for (uint32_t i = 0; i < snapshot.count(); ++i) {
    if (snapshot.name(i) == full) return i;
  }
  return std::nullopt;
}

uint32_t FindOrThrow(const PoolSnapshot& snapshot, std::string_view name, std::string_view space) {
  if (const auto found = Find(snapshot, name, space)) return *found;
  throw StatusError(absl::NotFoundError("endpoint \"" + std::string(space) + "/" +
                                        std::string(name) + "\": not in the pool"));
}

Endpoint EndpointAt(const PoolSnapshot& snapshot, uint32_t i, std::string_view name,
                    std::string_view space) {
  Endpoint endpoint{.name = std::string(name),
                    .namespace_name = std::string(space),
                    .address = std::string(snapshot.address(i)),
                    .labels = snapshot.labels(i)};
  if (snapshot.sample_time_ns()[i] == INT64_MIN) return endpoint;
  endpoint.metrics = {.waiting_requests = snapshot.waiting_requests()[i],
                      .running_requests = snapshot.running_requests()[i],
                      .kv_used_ratio = snapshot.kv_used_ratio()[i],
                      .kv_block_tokens = snapshot.kv_block_tokens()[i],
                      .kv_block_count = snapshot.kv_block_count()[i],
                      .adapters = snapshot.adapters(i)};
  return endpoint;
}

// A name without "namespace/".
std::string_view ShortName(std::string_view full) { return full.substr(full.find('/') + 1); }

py::dict RowAt(const EndpointPool& pool, const PoolSnapshot& snapshot, uint32_t i, int64_t now_ns) {
  const std::string_view full = snapshot.name(i);
  const int64_t sampled_ns = snapshot.sample_time_ns()[i];
  py::dict row;
  row["name"] = Text(ShortName(full));
  row["namespace"] = Text(full.substr(0, full.find('/')));
  row["address"] = Text(snapshot.address(i));
  row["labels"] = snapshot.labels(i);
  row["waiting_requests"] = snapshot.waiting_requests()[i];
  row["running_requests"] = snapshot.running_requests()[i];
  row["kv_used_ratio"] = double(snapshot.kv_used_ratio()[i]);
  row["kv_block_tokens"] = snapshot.kv_block_tokens()[i];
  row["kv_block_count"] = snapshot.kv_block_count()[i];
  row["active_adapters"] = snapshot.adapters(i).active;
  row["in_flight"] = pool.in_flight(snapshot.ids()[i]);
  row["sample_age_s"] = sampled_ns == INT64_MIN ? py::object(py::none())
                                                : py::float_(double(now_ns - sampled_ns) / 1e9);
  return row;
}

}  // namespace

EndpointId PoolView::Upsert(const std::string& name, const py::kwargs& fields) {
  Endpoint endpoint = EndpointFrom(fields, "upsert");
  if (endpoint.name.empty()) endpoint.name = name;
  return ValueOf(Enter()->router.pool().Upsert(endpoint));
}

void PoolView::Update(const std::string& name, const py::kwargs& fields) {
  Endpoint endpoint = EndpointFrom(fields, "update", /*metrics_only=*/true);
  const Visit visit = Enter();
  EndpointPool& pool = visit->router.pool();
  const auto snapshot = pool.snapshot();
  const uint32_t index = FindOrThrow(*snapshot, name, endpoint.namespace_name);
  const MetricsUpdate update{snapshot->ids()[index], std::move(endpoint.metrics)};
  pool.ApplySamples({&update, 1});
}

void PoolView::Remove(const std::string& name, const std::string& space) {
  Check(Enter()->router.pool().Remove(name, space));
}

void PoolView::Replace(const py::iterable& rows) {
  std::vector<Endpoint> endpoints;
  for (const py::handle row : rows) {
    if (!PyDict_Check(row.ptr())) RaiseType("endpoints", row, "dicts of upsert()'s arguments");
    endpoints.push_back(EndpointFrom(py::reinterpret_borrow<py::dict>(row), "replace"));
  }
  Check(Enter()->router.pool().Replace(endpoints));
}

EndpointId PoolView::Invalidate(const std::string& name, const std::string& space) {
  const Visit visit = Enter();
  EndpointPool& pool = visit->router.pool();
  const auto snapshot = pool.snapshot();
  const Endpoint endpoint = EndpointAt(*snapshot, FindOrThrow(*snapshot, name, space), name, space);
  Check(pool.Remove(name, space));
  return ValueOf(pool.Upsert(endpoint));
}

uint32_t PoolView::InFlight(const std::string& name, const std::string& space) const {
  const Visit visit = Enter();
  const EndpointPool& pool = visit->router.pool();
  const auto snapshot = pool.snapshot();
  return pool.in_flight(snapshot->ids()[FindOrThrow(*snapshot, name, space)]);
}

py::list PoolView::Rows() const {
  const Visit visit = Enter();
  const EndpointPool& pool = visit->router.pool();
  const auto snapshot = pool.snapshot();
  const int64_t now_ns = visit->time->now_ns();
  py::list rows;
  for (uint32_t i = 0; i < snapshot->count(); ++i) {
    rows.append(RowAt(pool, *snapshot, i, now_ns));
  }
  return rows;
}

void AddPool(py::module_& module) {
  const auto in_tables = [](const char* function) {
    return [function](const py::object& self) {
      return py::module_::import("weir._tables").attr(function)(self);
    };
  };
  py::class_<PoolView>(module, "Pool", py::module_local(),
                       "The endpoints of one router. Get it as Router.pool.")
      .def("upsert", &PoolView::Upsert, py::arg("name"),
           "Adds an endpoint, or replaces address, labels and the given metrics of that name.")
      .def("update", &PoolView::Update, py::arg("name"),
           "Applies a sample of metrics; those that are not given keep their last value.")
      .def("remove", &PoolView::Remove, py::arg("name"), py::arg("namespace") = "default",
           "Raises NotFoundError.")
      .def("replace", &PoolView::Replace, py::arg("endpoints"),
           "Makes the pool hold exactly these: dicts of upsert()'s arguments, `name` among them.")
      .def("invalidate", &PoolView::Invalidate, py::arg("name"), py::arg("namespace") = "default",
           "Forgets the prefixes cached there: the endpoint gets a new id and keeps the rest.")
      .def("in_flight", &PoolView::InFlight, py::arg("name"), py::arg("namespace") = "default",
           "Requests begun on this endpoint and not ended yet.")
      .def("rows", &PoolView::Rows, "One dict per endpoint, in order of addition.")
      .def("to_pandas", in_tables("pool_to_pandas"), "rows() as a pandas.DataFrame.")
      .def(
          "__arrow_c_stream__",
          [](const py::object& self, const py::object& schema) {
            return py::module_::import("weir._tables").attr("pool_to_arrow")(self, schema);
          },
          py::arg("requested_schema") = py::none(), "rows() as an Arrow stream.")
      .def("_repr_html_", in_tables("pool_to_html"))
      .def("__len__", [](const PoolView& self) { return self.snapshot()->count(); })
      .def("__contains__",
           [](const PoolView& self, const std::string& name) {
             return Find(*self.snapshot(), name, "default").has_value();
           })
      .def("__iter__",
           [](const PoolView& self) {
             const auto snapshot = self.snapshot();
             py::list names;
             for (uint32_t i = 0; i < snapshot->count(); ++i) {
               names.append(Text(ShortName(snapshot->name(i))));
             }
             return py::iter(names);
           })
      .def("__repr__", [](const PoolView& self) {
        return "<weir.Pool of " + std::to_string(self.snapshot()->count()) + " endpoints>";
      });
}

}  // namespace weir::python
