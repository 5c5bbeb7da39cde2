#include "plugin.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>

#include "plugin_view.h"
#include "watchdog.h"
#include "weir/plugin/filter.h"

namespace weir::python {
namespace {

// Counters of an instance, in RouterStats::Plugin::counters.
constexpr uint32_t kCounterFailed = 0;   // raised, hung, or returned what cannot be used
constexpr uint32_t kCounterOverrun = 1;  // took longer than its budget
constexpr uint32_t kCounterSkipped = 2;  // not called: disabled, interrupted, or at exit

// Types by name: guarded by the GIL, leaked. A name that changes kind or columns gets another type;
// the old one stays for the routers that have it.
std::map<std::string, PluginType*, std::less<>>& Types() {
  static auto& types = *new std::map<std::string, PluginType*, std::less<>>;
  return types;
}
std::vector<PluginType*>& Retired() {
  static auto& types = *new std::vector<PluginType*>;
  return types;
}

thread_local PyObject* creation_error = nullptr;
thread_local PyObject* interrupt = nullptr;

constexpr plugin::Attribute kColumns[] = {plugin::kInFlightLoad, plugin::kPrefixMatch,
                                          plugin::kUncachedTokens};
constexpr const char* kColumnNames[] = {"in_flight", "prefix_match", "uncached_tokens"};

weir_attribute AttributeOf(const std::string& column) {
  for (size_t i = 0; i < std::size(kColumns); ++i) {
    if (column != kColumnNames[i]) continue;
    return {sizeof(weir_attribute),
            WEIR_ATTRIBUTE_READ,
            plugin::Str(kColumns[i].name),
            plugin::Str(kColumns[i].type),
            kColumns[i].element_bytes,
            0,
            plugin::Str(kColumns[i].default_producer),
            {}};
  }
  throw py::value_error("reads: '" + column +
                        "', expected 'in_flight', 'prefix_match' or 'uncached_tokens'");
}

PluginKind KindOf(const std::string& kind) {
  if (kind == "scorer") return PluginKind::kScorer;
  if (kind == "filter") return PluginKind::kFilter;
  if (kind == "picker") return PluginKind::kPicker;
  throw py::value_error("kind: '" + kind + "', expected 'scorer', 'filter' or 'picker'");
}

constexpr weir_scorer kScorerTable{
    sizeof(weir_scorer), 0,
    [](void* self, const weir_call* call, const weir_request* request, const weir_batch* batch,
       double* score) { return static_cast<Plugin*>(self)->Score(call, request, batch, score); }};
constexpr weir_filter kFilterTable{
    sizeof(weir_filter), 0,
    [](void* self, const weir_call* call, const weir_request* request, const weir_batch* batch,
       uint64_t* keep) { return static_cast<Plugin*>(self)->Filter(call, request, batch, keep); }};
constexpr weir_picker kPickerTable{
    sizeof(weir_picker), 0,
    [](void* self, const weir_call* call, const weir_request* request, const weir_batch* batch,
       const double* score, uint32_t* index, uint32_t index_max, uint32_t* index_count) {
      return static_cast<Plugin*>(self)->Pick(call, request, batch, score, index, index_max,
                                              index_count);
    }};

weir_interface InterfaceOf(PluginKind kind) {
  switch (kind) {
    case PluginKind::kScorer:
      return {sizeof(weir_interface), 0, plugin::Str(WEIR_INTERFACE_SCORER), &kScorerTable};
    case PluginKind::kFilter:
      return {sizeof(weir_interface), 0, plugin::Str(WEIR_INTERFACE_FILTER), &kFilterTable};
    default:
      return {sizeof(weir_interface), 0, plugin::Str(WEIR_INTERFACE_PICKER), &kPickerTable};
  }
}

// "KeyError: 'x'", with what __str__ raises left out.
std::string TextOf(const py::error_already_set& error) {
  std::string text = py::str(error.type().attr("__name__"));
  try {
    text += ": " + std::string(py::str(error.value()));
  } catch (py::error_already_set&) {
  }
  return text;
}

weir_code Create(const weir_params* params, void** self) {
  const auto& type = *static_cast<const PluginType*>(params->plugin);
  try {
    UseNumpyIfThere();
    StartWatchdog();
    std::string name(plugin::View(params->instance_name));
    py::object callable = type.factory(Text(plugin::View(params->json)), name);
    *self = new Plugin(type, std::move(name), std::move(callable));
    return WEIR_OK;
  } catch (py::error_already_set& error) {
    params->host->param_fail(params, plugin::Str(TextOf(error)));
    Py_XDECREF(std::exchange(creation_error, error.value().inc_ref().ptr()));
  } catch (const std::exception& error) {
    params->host->param_fail(params, plugin::Str(error.what()));
  }
  return WEIR_INVALID_ARGUMENT;
}

void Destroy(void* self) { delete static_cast<Plugin*>(self); }

// Highest score first; ties are drawn, as by max-score-picker.
uint32_t PickMaxScore(const weir_call* call, const weir_batch* batch, const double* score) {
  const double best = *std::max_element(score, score + batch->count);
  const auto ties = static_cast<uint32_t>(std::count(score, score + batch->count, best));
  auto ahead = ties == 1 ? 0u : static_cast<uint32_t>(call->host->uniform(call) * ties);
  for (uint32_t i = 0; i < batch->count; ++i) {
    if (score[i] == best && ahead-- == 0) return i;
  }
  return 0;
}

py::object Report() { return py::module_::import("weir.plugins").attr("report"); }

void Register(const std::string& name, const std::string& kind_name, py::object factory,
              const std::vector<std::string>& reads, double time_budget_s, double hang_s,
              uint32_t overruns_max) {
  if (!(time_budget_s > 0 && time_budget_s < 1e6)) {
    throw py::value_error("time_budget_s: " + std::to_string(time_budget_s) + ", expected > 0");
  }
  if (!(hang_s > 0 && hang_s < 1e6)) {
    throw py::value_error("hang_s: " + std::to_string(hang_s) + ", expected > 0");
  }
  const PluginLimits limits{static_cast<int64_t>(time_budget_s * 1e9),
                            static_cast<int64_t>(hang_s * 1e9), overruns_max};
  const PluginKind kind = KindOf(kind_name);
  const auto fits = [&](const PluginType* one) {
    return one->name == name && one->kind == kind && one->reads == reads;
  };
  PluginType* type = nullptr;
  if (const auto found = std::find_if(Retired().begin(), Retired().end(), fits);
      found != Retired().end()) {
    type = *found;
  } else {
    auto fresh = std::make_unique<PluginType>(name, kind, reads);
    // Finds out what is wrong with the name while its author is there, built-in types among it.
    Check(weir::Router::Default({.plugin_modules = {&fresh->module}}).status());
    type = fresh.release();
    Retired().push_back(type);
  }
  type->factory = std::move(factory);
  type->limits = limits;
  Types()[name] = type;
}

}  // namespace

PluginType::PluginType(std::string type_name, PluginKind plugin_kind,
                       const std::vector<std::string>& columns)
    : weir_plugin{}, name(std::move(type_name)), kind(plugin_kind), reads(columns) {
  interface_ = InterfaceOf(kind);
  for (const std::string& column : reads) attributes_.push_back(AttributeOf(column));
  for (const weir_attribute& attribute : attributes_) attribute_list_.push_back(&attribute);
  struct_size = sizeof(weir_plugin);
  stability = WEIR_STABILITY_STABLE;
  type = plugin::Str(name);
  params_schema = plugin::Str(R"({"type": "object"})");  // the constructor knows its parameters
  interfaces = interface_list_;
  interface_count = 1;
  attributes = attribute_list_.data();
  attribute_count = attribute_list_.size();
  create = Create;
  destroy = Destroy;
  module.struct_size = sizeof(weir_module);
  module.abi_major = WEIR_ABI_MAJOR;
  module.abi_minor = module.abi_minor_min = WEIR_ABI_MINOR;
  module.plugins = plugin_list_;
  module.plugin_count = 1;
}

std::vector<const weir_module*> RegisteredModules() {
  std::vector<const weir_module*> modules;
  for (const auto& [name, type] : Types()) modules.push_back(&type->module);
  return modules;
}

py::object TakeCreationError() {
  return py::reinterpret_steal<py::object>(std::exchange(creation_error, nullptr));
}

bool Interrupted() noexcept { return interrupt != nullptr; }

void RaiseInterrupts() {
  if (!Interrupted()) return;
  const py::gil_scoped_acquire gil;
  const auto error = py::reinterpret_steal<py::object>(std::exchange(interrupt, nullptr));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

void Plugin::Failed(py::error_already_set& error) {
  if (!PyErr_GivenExceptionMatches(error.type().ptr(), PyExc_Exception)) {
    // Ctrl-C, exit(): not the plugin's failure; raised when the decision is made.
    Py_XDECREF(std::exchange(interrupt, error.value().inc_ref().ptr()));
    return;
  }
  if (std::exchange(failure_reported_, true)) return;
  if (error.trace()) PyException_SetTraceback(error.value().ptr(), error.trace().ptr());
  Report()(name_, TextOf(error) + "; later failures are only counted", error.value());
}

void Plugin::Disable(const std::string& why) {
  disabled_.store(true, std::memory_order_relaxed);
  Report()(name_, why + "; it is not called any more", py::none());
}

void Plugin::TimeTaken(const weir_call* call, int64_t taken_ns, bool hung) {
  const auto ms = [](int64_t ns) { return std::to_string(ns / 1'000'000) + " ms"; };
  if (hung) Disable("interrupted after " + ms(taken_ns));
  if (taken_ns <= limits_.time_budget_ns) {
    overruns_in_a_row_ = 0;
    return;
  }
  call->host->count(call, kCounterOverrun, 1);
  if (!std::exchange(overrun_reported_, true)) {
    Report()(name_,
             "took " + std::to_string(taken_ns / 1000) + " us, expected at most " +
                 std::to_string(limits_.time_budget_ns / 1000) +
                 " us; later overruns are only counted",
             py::none());
  }
  if (++overruns_in_a_row_ >= limits_.overruns_max && !hung && !disabled_) {
    Disable("over its time budget " + std::to_string(overruns_in_a_row_) + " times in a row");
  }
}

// Runs `call`; false, and reported, if it raises.
template <class Call>
bool Plugin::Ask(const Call& call) {
  try {
    call();
    return true;
  } catch (py::builtin_exception& error) {  // of ours, about the answer
    error.set_error();
    py::error_already_set raised;
    Failed(raised);
  } catch (py::error_already_set& error) {
    Failed(error);
  }
  return false;
}

// Calls Python and gives the answer to `use`. False: it failed or was not called.
template <class Use>
bool Plugin::Run(const weir_call* call, const weir_request* request, const weir_batch* batch,
                 const double* score, const Use& use) noexcept {
  if (disabled_.load(std::memory_order_relaxed) || Exiting() || Interrupted()) {
    call->host->count(call, kCounterSkipped, 1);
    return false;
  }
  const PyGILState_STATE gil = PyGILState_Ensure();
  bool ok = false;
  try {
    const int64_t start_ns = SteadyNs();
    const py::object request_view = py::cast(RequestSight(call, request));
    const py::object endpoints = py::cast(EndpointsSight(call, batch, &type_.reads));
    bool hung = false;
    {
      const Watch watch(limits_.hang_ns);
      ok = Ask([&] {
        use(score == nullptr
                ? callable_(request_view, endpoints)
                : callable_(request_view, endpoints, NumberArray({score, batch->count})));
      });
      hung = watch.fired();
    }
    request_view.cast<RequestSight&>().Close();
    endpoints.cast<EndpointsSight&>().Close();
    if (!ok) call->host->count(call, kCounterFailed, 1);
    TimeTaken(call, SteadyNs() - start_ns, hung);
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("weir: a plugin's report");
  } catch (const std::exception&) {  // no memory
    ok = false;
  }
  PyGILState_Release(gil);
  return ok;
}

weir_code Plugin::Score(const weir_call* call, const weir_request* request, const weir_batch* batch,
                        double* score) noexcept {
  const bool ok = Run(call, request, batch, nullptr, [&](const py::object& result) {
    ReadNumbers(result, {score, batch->count});
  });
  return ok ? WEIR_OK : WEIR_INTERNAL;
}

weir_code Plugin::Filter(const weir_call* call, const weir_request* request,
                         const weir_batch* batch, uint64_t* keep) noexcept {
  const bool ok = Run(call, request, batch, nullptr, [&](const py::object& result) {
    std::vector<double> kept(batch->count);
    ReadNumbers(result, kept);
    plugin::Mask(keep, batch->count).KeepIf([&](uint32_t i) { return kept[i] != 0; });
  });
  return ok ? WEIR_OK : WEIR_INTERNAL;
}

weir_code Plugin::Pick(const weir_call* call, const weir_request* request, const weir_batch* batch,
                       const double* score, uint32_t* index, uint32_t index_max,
                       uint32_t* index_count) noexcept {
  const bool ok = Run(call, request, batch, score, [&](const py::object& result) {
    *index_count = static_cast<uint32_t>(ReadIndices(result, {index, index_max}));
    if (std::any_of(index, index + *index_count, [&](uint32_t i) { return i >= batch->count; })) {
      throw py::index_error("returned an index above " + std::to_string(batch->count - 1));
    }
  });
  if (!ok) {
    index[0] = PickMaxScore(call, batch, score);
    *index_count = 1;
  }
  return WEIR_OK;
}

void AddPlugin(py::module_& module) {
  AddPluginViews(module);
  module.def("register_plugin", &Register, py::arg("name"), py::arg("kind"), py::arg("factory"),
             py::arg("reads"), py::arg("time_budget_s"), py::arg("hang_s"),
             py::arg("overruns_max"));
}

}  // namespace weir::python
