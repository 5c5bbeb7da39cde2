#include "router.h"

#include <pybind11/stl.h>

#include <chrono>

#include "clock.h"
#include "plugin.h"
#include "request.h"
#include "weir/io/metrics/engine_metrics.h"

namespace weir::python {
namespace {

// How often a batch looks for Ctrl-C.
constexpr std::chrono::milliseconds kSignalCheckPeriod{50};

UnscrapedPolicy PolicyOf(const std::string& name) {
  if (name == "worst") return UnscrapedPolicy::kWorst;
  if (name == "idle") return UnscrapedPolicy::kIdle;
  throw py::value_error("unscraped: '" + name + "', expected 'worst' or 'idle'");
}

// Gives the line to logging.getLogger("weir"), from whichever thread. Never raises.
void LogLine(LogLevel level, std::string_view line) {
  static constexpr int kLevels[] = {10, 20, 30, 40};
  const PyGILState_STATE gil = PyGILState_Ensure();
  {
    const py::error_scope outer;
    try {
      py::module_::import("logging").attr("getLogger")("weir").attr("log")(
          kLevels[static_cast<uint32_t>(level)], "%s", Text(line));
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("weir: logging");
    }
  }
  PyGILState_Release(gil);
}

RouterOptions OptionsOf(const Settings& settings, const Clock* clock) {
  if (!(settings.sample_age_s_max >= 0 && settings.sample_age_s_max < 9e9)) {
    throw py::value_error("sample_age_s_max: " + std::to_string(settings.sample_age_s_max) +
                          ", expected >= 0");
  }
  if (settings.decisions_kept > kDecisionsKeptMax) {
    throw py::value_error("decisions_kept: " + std::to_string(settings.decisions_kept) +
                          ", expected 0.." + std::to_string(kDecisionsKeptMax));
  }
  RouterOptions options;
  options.count_unscraped_requests = settings.count_unscraped_requests;
  options.unscraped = PolicyOf(settings.unscraped);
  options.sample_age_ns_max = static_cast<int64_t>(settings.sample_age_s_max * 1e9);
  options.allow_experimental_plugins = settings.allow_experimental_plugins;
  options.plugin_files = settings.plugins;
  options.plugin_modules = RegisteredModules();
  options.seed = settings.seed;
  options.clock = clock;
  options.log = LogLine;
  options.decisions_kept = 0;  // kept as Python objects, see RouterView::kept_
  return options;
}

// What is wrong with a configuration is a ConfigError, whatever its code, with what a plugin's
// constructor raised as its cause.
[[noreturn]] void RaiseConfig(const absl::Status& status) {
  const py::object cause = TakeCreationError();
  if (status.code() == absl::StatusCode::kNotFound) throw StatusError(status);
  const py::object error = ErrorClass("ConfigError")(std::string(status.message()));
  if (cause) error.attr("__cause__") = cause;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

py::object ToPython(const std::shared_ptr<Home>& home, weir::Decision decision,
                    std::optional<std::string> forwarded) {
  return py::cast(std::make_unique<DecisionView>(home, std::move(decision), std::move(forwarded)));
}

constexpr char kDecideDoc[] =
    R"(Chooses an endpoint for a request. Never waits; takes microseconds and keeps the GIL, unless the
router was made with release_gil.

All arguments are keywords; None counts as absent.

model: the name that the endpoint is asked for.
adapter: a LoRA adapter, which engines know as a model of its name; goes before model.

At most one prompt:
tokens: token ids, a one-dimensional buffer of 4- or 8-byte integers (NumPy array, array.array,
    CPU tensor; uint32 and int32 are not copied) or a list of int.
prompt: text.
messages: chat messages, as in a body of OpenAI's.
body: bytes of a request's body, read once; objectives and model rewrites apply, and
    Decision.body tells what to send if it is another.

Other arguments go before what a body and its headers say; the body stays as it is.

path: of the body's API, "/v1/chat/completions" if absent.
headers: dict of str, at most 128.
request_id, fairness_id, cache_salt: str, for plugins and explanations.
priority, max_output_tokens: int.
stream: bool.
subset: addresses that may serve the request, "host:port" or "host".
if_available: refuse unless the endpoint holds a part of the prompt.

Raises UnavailableError (no endpoint), ExhaustedError (filters left none), InvalidArgumentError
(a body that cannot be read), FailedPreconditionError (if_available), TypeError and ValueError
that name the argument, ClosedError, ForkedError.)";

// What one request of a batch came to.
struct Outcome {
  absl::StatusOr<weir::Decision> decision = absl::CancelledError("interrupted");
  std::optional<std::string> forwarded;
};

// Decides without the GIL, except to look for signals. Throws what they raise.
void DecideAll(const weir::Router& router, std::deque<RequestFields>& requests,
               BorrowedIntake& intake, std::vector<Outcome>& outcomes) {
  using SteadyClock = std::chrono::steady_clock;
  const py::gil_scoped_release release;
  SteadyClock::time_point last_check = SteadyClock::now();
  for (size_t i = 0; i < requests.size(); ++i) {
    outcomes[i].decision = requests[i].Decide(router, intake, &outcomes[i].forwarded);
    RaiseInterrupts();
    if (const auto now = SteadyClock::now(); now - last_check >= kSignalCheckPeriod) {
      last_check = now;
      const py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (Exiting()) RaiseExiting();
    }
  }
}

}  // namespace

RouterView::RouterView(std::optional<std::string_view> text, const std::string& name,
                       const Settings& settings)
    : kept_max_(settings.decisions_kept), release_gil_(settings.release_gil) {
  ChosenClock clock = ChooseClock(settings.clock);
  const RouterOptions options = OptionsOf(settings, clock.time);
  auto router =
      text ? weir::Router::FromText(*text, name, options) : weir::Router::Default(options);
  if (!router.ok()) RaiseConfig(router.status());
  gate_ = std::make_shared<Gate>(MakeHome({.clock = std::move(clock.owned),
                                           .clock_owner = std::move(clock.keep),
                                           .router = *std::move(router),
                                           .time = clock.time}));
}

void RouterView::Keep(const py::object& decision) {
  if (kept_max_ == 0) return;
  kept_.push_back(decision);
  if (kept_.size() > kept_max_) {
    const py::object oldest = std::move(kept_.front());  // may die here and run Python code
    kept_.pop_front();
  }
}

py::object RouterView::Decide(const py::dict& fields) {
  const Visit visit = gate_->Enter();
  RequestFields request;
  request.Read(fields.ptr());
  BorrowedIntake intake(*visit.home());
  std::optional<std::string> forwarded;
  absl::StatusOr<weir::Decision> decision = absl::CancelledError();
  {
    std::optional<py::gil_scoped_release> release;
    if (release_gil_) release.emplace();
    decision = request.Decide(visit->router, intake, &forwarded);
  }
  RaiseInterrupts();
  if (!decision.ok()) throw StatusError(decision.status());
  py::object result = ToPython(visit.home(), *std::move(decision), std::move(forwarded));
  Keep(result);
  return result;
}

py::list RouterView::DecideBatch(const py::list& requests) {
  const Visit visit = gate_->Enter();
  std::deque<RequestFields> fields;
  for (size_t i = 0; i < requests.size(); ++i) {
    const py::object one = requests[i];
    if (!PyDict_Check(one.ptr())) {
      RaiseType("requests[" + std::to_string(i) + "]", one, "a dict of decide()'s arguments");
    }
    // Values that others drop from the dict meanwhile stay alive in the fields.
    fields.emplace_back().Read(one.attr("copy")().ptr());
  }
  std::vector<Outcome> outcomes(fields.size());
  BorrowedIntake intake(*visit.home());
  DecideAll(visit->router, fields, intake, outcomes);
  py::list results;
  for (Outcome& outcome : outcomes) {
    if (!outcome.decision.ok()) {
      results.append(ErrorOf(outcome.decision.status()));
      continue;
    }
    results.append(
        ToPython(visit.home(), *std::move(outcome.decision), std::move(outcome.forwarded)));
    Keep(results[results.size() - 1]);
  }
  return results;
}

FlightView RouterView::Begin(const DecisionView& decision, uint32_t target) const {
  const Visit visit = gate_->Enter();
  if (decision.home() != visit.home()) {
    throw StatusError(absl::InvalidArgumentError(
        "decision: of another router, or read from a pickle; begin() needs one of this router"));
  }
  if (target >= decision.target_count()) {
    throw py::index_error("target: " + std::to_string(target) + ", the decision has " +
                          std::to_string(decision.target_count()));
  }
  weir::Flight flight = visit->router.Begin(decision.decision(), target);
  if (!flight) {
    throw StatusError(absl::ResourceExhaustedError("more than " + std::to_string(kFlightsMax) +
                                                   " requests in flight"));
  }
  return {visit.home(), std::move(flight)};
}

py::list RouterView::RecentDecisions() const {
  gate_->Enter();
  py::list decisions;
  for (auto one = kept_.rbegin(); one != kept_.rend(); ++one) decisions.append(*one);
  return decisions;
}

py::dict RouterView::Stats() const {
  const RouterStats stats = gate_->Enter()->router.stats();
  py::list plugins;
  for (const RouterStats::Plugin& plugin : stats.plugins) {
    py::dict one;
    one["name"] = plugin.name;
    one["type"] = plugin.type;
    one["failures"] = plugin.failures;
    one["invalid_results"] = plugin.invalid_results;
    one["counters"] = plugin.counters;
    plugins.append(one);
  }
  py::dict fields;
  fields["decisions"] = stats.decisions;
  fields["decisions_no_endpoint"] = stats.decisions_no_endpoint;
  fields["decisions_all_dropped"] = stats.decisions_all_dropped;
  fields["flights_begun"] = stats.flights_begun;
  fields["flights_ended"] = stats.flights_ended;
  fields["flights_refused"] = stats.flights_refused;
  fields["memory_bytes"] = stats.memory_bytes;
  fields["plugins"] = plugins;
  return fields;
}

std::string RouterView::Metrics() const {
  const Visit visit = gate_->Enter();
  io::MetricsText text;
  io::WriteEngineMetrics(visit->router.stats(), text);
  io::WritePoolMetrics(*visit->router.pool().snapshot(), visit->time->now_ns(), {}, text);
  io::WriteRewriteMetrics(visit->router.resources().table()->RewriteCounts(), text);
  return text.Take();
}

PoolView RouterView::pool() const {
  gate_->Enter();
  return PoolView(gate_);
}

void RouterView::Close() {
  std::deque<py::object> kept;
  kept.swap(kept_);
  gate_->Close();
}

void AddRouter(py::module_& module) {
  py::class_<RouterView>(module, "Router", py::module_local(), py::dynamic_attr())
      .def(py::init([](std::optional<std::string_view> text, const std::string& name, uint64_t seed,
                       std::vector<std::string> plugins, bool experimental, uint32_t kept,
                       py::object clock, std::string unscraped, bool count_unscraped,
                       double sample_age_s_max, bool release_gil) {
             return std::make_unique<RouterView>(
                 text, name,
                 Settings{seed, std::move(plugins), experimental, kept, std::move(clock),
                          std::move(unscraped), count_unscraped, sample_age_s_max, release_gil});
           }),
           py::arg("text"), py::arg("name") = "config", py::kw_only(), py::arg("seed") = 0,
           py::arg("plugins") = py::tuple(), py::arg("allow_experimental_plugins") = false,
           py::arg("decisions_kept") = 64, py::arg("clock") = py::none(),
           py::arg("unscraped") = "worst", py::arg("count_unscraped_requests") = true,
           py::arg("sample_age_s_max") = 0.0, py::arg("release_gil") = false)
      .def(
          "decide", [](RouterView& self, const py::kwargs& fields) { return self.Decide(fields); },
          kDecideDoc)
      .def("decide_batch", &RouterView::DecideBatch, py::arg("requests"),
           "Decides a list of dicts of decide()'s arguments, without the GIL.\n\n"
           "Returns as many items: a Decision, or the weir.Error that decide() would have raised.\n"
           "Ctrl-C interrupts it.")
      .def("begin", &RouterView::Begin, py::arg("decision"), py::arg("target") = 0,
           "The request goes to decision.targets[target] now; returns its Flight.\n\n"
           "Raises ExhaustedError when 1,048,576 requests are in flight.")
      .def("recent_decisions", &RouterView::RecentDecisions,
           "The last `decisions_kept` decisions, newest first.")
      .def("stats", &RouterView::Stats,
           "Counters since creation, among them those of each plugin. For a plugin written in\n"
           "Python `counters` begins with calls that failed, over budget, and left out.")
      .def("metrics", &RouterView::Metrics, "The same and the pool's load, as Prometheus text.")
      .def("describe", &RouterView::Describe, "The pipeline as it runs, as text.")
      .def_property_readonly("pool", &RouterView::pool, "The endpoints.")
      .def_property_readonly("closed", &RouterView::closed, "Whether close() was called.")
      .def(
          "close", &RouterView::Close,
          "Ends the router: what follows raises ClosedError. Its decisions stay readable, and its\n"
          "flights may end. May be called again.");
  module.attr("request_fields") = RequestFields::Names();
}

}  // namespace weir::python
