// What weir.sim stands on: workloads, and runs of a fleet in virtual time.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>

#include "native.h"
#include "plugin.h"
#include "router.h"
#include "weir/sim/fleet.h"
#include "weir/sim/tokens.h"

namespace weir::python {
namespace {

constexpr double kNsPerS = 1e9;
constexpr double kNoTime = std::numeric_limits<double>::quiet_NaN();

double Seconds(int64_t ns) { return static_cast<double>(ns) / kNsPerS; }

int64_t Nanoseconds(const char* field, double seconds) {
  if (!(std::fabs(seconds) < 9e9)) {
    throw py::value_error(std::string(field) + ": " + std::to_string(seconds) +
                          ", expected a number of seconds");
  }
  return std::llround(seconds * kNsPerS);
}

// A read-only array that Python reads in place; it keeps alive what it points into.
struct Column {
  std::shared_ptr<const void> owner;
  const void* data = nullptr;
  py::ssize_t item_bytes = 0;
  std::string format;
  std::vector<py::ssize_t> shape;
};

template <class T>
py::memoryview View(std::shared_ptr<const void> owner, std::span<const T> items,
                    std::vector<py::ssize_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<py::ssize_t>(items.size())};
  return py::memoryview(py::cast(Column{.owner = std::move(owner),
                                        .data = items.data(),
                                        .item_bytes = sizeof(T),
                                        .format = py::format_descriptor<T>::format(),
                                        .shape = std::move(shape)}));
}

py::buffer_info BufferOf(Column& column) {
  std::vector<py::ssize_t> strides(column.shape.size(), column.item_bytes);
  for (size_t i = column.shape.size(); i-- > 1;) strides[i - 1] = strides[i] * column.shape[i];
  return {const_cast<void*>(column.data),
          column.item_bytes,
          column.format,
          static_cast<py::ssize_t>(column.shape.size()),
          column.shape,
          strides,
          /*readonly=*/true};
}

// A buffer of token ids, held while native code reads it.
class Tokens {
 public:
  explicit Tokens(const py::buffer& buffer) : info_(buffer.request()) {
    if (info_.ndim != 1 || info_.itemsize != sizeof(uint32_t) ||
        (info_.format != "I" && info_.format != "L") ||
        (info_.size > 1 && info_.strides[0] != sizeof(uint32_t))) {
      throw py::type_error("tokens: expected a contiguous buffer of uint32");
    }
  }
  std::span<const uint32_t> span() const {
    return {static_cast<const uint32_t*>(info_.ptr), static_cast<size_t>(info_.size)};
  }

 private:
  py::buffer_info info_;
};

// Grows until something looks at it.
struct WorkloadView {
  std::shared_ptr<sim::Workload> workload = std::make_shared<sim::Workload>();
  bool seen = false;

  void Add(const sim::RequestRecord& record) {
    if (seen) throw py::value_error("the workload is in use and cannot grow");
    Check(workload->Add(record));
  }
  py::memoryview TokensOf(py::ssize_t index, bool answer) {
    const auto size = static_cast<py::ssize_t>(workload->size());
    if (index < 0) index += size;
    if (index < 0 || index >= size) throw py::index_error("request index out of range");
    seen = true;
    const auto i = static_cast<uint32_t>(index);
    return View(workload, answer ? workload->answer(i) : workload->prompt(i));
  }
};

// The results of a run as columns, made once.
struct RunView {
  explicit RunView(const sim::Workload& workload, sim::FleetRun run);

  sim::FleetRun run;
  std::vector<uint8_t> outcome;
  std::vector<int32_t> server;
  std::vector<double> arrival_s, ttft_s, tpot_s, end_s;
  std::vector<uint32_t> prompt_tokens, cached_tokens, output_tokens, group, turn;
  std::vector<int64_t> session;
  std::vector<double> sample_time_s;
  std::vector<uint32_t> sample_server, waiting_requests, running_requests;
  std::vector<float> kv_used_ratio;
  py::dict decisions;  // by request
};

RunView::RunView(const sim::Workload& workload, sim::FleetRun finished) : run(std::move(finished)) {
  for (size_t i = 0; i < run.records.size(); ++i) {
    const sim::FleetRecord& record = run.records[i];
    const sim::Workload::Entry& entry = workload.entries()[i];
    const bool answered = record.first_token_ns >= 0;
    outcome.push_back(static_cast<uint8_t>(record.outcome));
    server.push_back(record.server == sim::kNone ? -1 : static_cast<int32_t>(record.server));
    arrival_s.push_back(Seconds(record.arrival_ns));
    ttft_s.push_back(answered ? Seconds(record.first_token_ns - record.arrival_ns) : kNoTime);
    tpot_s.push_back(record.output_tokens > 1 ? Seconds(record.end_ns - record.first_token_ns) /
                                                    (record.output_tokens - 1)
                                              : kNoTime);
    end_s.push_back(Seconds(record.end_ns));
    prompt_tokens.push_back(entry.prompt_tokens);
    cached_tokens.push_back(record.cached_tokens);
    output_tokens.push_back(record.output_tokens);
    group.push_back(entry.group);
    turn.push_back(entry.turn);
    session.push_back(entry.session == sim::kNone ? -1 : int64_t{entry.session});
  }
  for (const sim::LoadSample& sample : run.samples) {
    sample_time_s.push_back(Seconds(sample.time_ns));
    sample_server.push_back(sample.server);
    waiting_requests.push_back(sample.waiting_requests);
    running_requests.push_back(sample.running_requests);
    kv_used_ratio.push_back(sample.kv_used_ratio);
  }
}

struct FleetArguments {
  uint32_t servers = 0;
  std::string hardware, shape, engine;
  uint32_t tensor_parallel = 0, kv_blocks = 0, block_tokens = 0, running_requests_max = 0;
  bool jitter = false;
  double scrape_interval_s = 0;
  uint64_t seed = 0;
  std::string model;
};

sim::FleetOptions OptionsOf(const FleetArguments& arguments) {
  sim::FleetOptions options;
  options.model = arguments.model;
  options.cluster.engine_count = arguments.servers;
  options.cluster.scrape_interval_ns =
      Nanoseconds("scrape_interval_s", arguments.scrape_interval_s);
  sim::EngineOptions& engine = options.cluster.engine;
  if (arguments.engine != "vllm" && arguments.engine != "sglang") {
    throw py::value_error("engine: \"" + arguments.engine + "\", expected \"vllm\" or \"sglang\"");
  }
  engine.personality =
      arguments.engine == "vllm" ? sim::Personality::kVllm : sim::Personality::kSglang;
  engine.hardware = ValueOf(sim::FindHardware(arguments.hardware));
  engine.model = ValueOf(sim::FindModel(arguments.shape));
  engine.tensor_parallel = arguments.tensor_parallel;
  engine.block_count = arguments.kv_blocks;
  engine.block_tokens = arguments.block_tokens;
  engine.running_requests_max = arguments.running_requests_max;
  engine.jitter = arguments.jitter ? sim::Jitter::kReal : sim::Jitter::kNone;
  engine.seed = arguments.seed;
  return options;
}

// Two runs of one router would share its clock and pool. REQUIRES: the GIL, at both ends.
class OnlyRun {
 public:
  explicit OnlyRun(const Home& home) : home_(&home) {
    if (!busy.insert(home_).second) {
      throw StatusError(
          absl::FailedPreconditionError("router: another run uses it, expected one at a time"));
    }
  }
  ~OnlyRun() { busy.erase(home_); }
  OnlyRun(const OnlyRun&) = delete;
  OnlyRun& operator=(const OnlyRun&) = delete;

 private:
  static inline std::set<const Home*> busy;
  const Home* home_;
};

// Runs without the GIL; Python scorers and Ctrl-C take it when they need it. Keeps the decisions of
// the requests in `explain`, which is sorted.
std::shared_ptr<RunView> Run(const RouterView& router, WorkloadView& requests,
                             const std::vector<uint32_t>& explain,
                             const FleetArguments& arguments) {
  const Visit visit = router.Enter();
  const std::shared_ptr<Home>& home = visit.home();
  if (!py::isinstance<ManualClock>(home->clock_owner)) {
    throw py::type_error(
        "router: its clock is not a weir.ManualClock; make it with clock=weir.ManualClock()");
  }
  const OnlyRun only(*home);
  auto& clock = *home->clock_owner.cast<ManualClock*>();
  const sim::FleetOptions options = OptionsOf(arguments);
  requests.seen = true;
  const std::shared_ptr<const sim::Workload> workload = requests.workload;
  std::map<uint32_t, weir::Decision> kept;
  const sim::FleetHooks hooks = {.keep_going =
                                     [] {
                                       if (Exiting()) return false;
                                       const py::gil_scoped_acquire gil;
                                       return !Interrupted() && PyErr_CheckSignals() == 0;
                                     },
                                 .on_decision =
                                     [&](uint32_t request, weir::Decision decision) {
                                       if (std::ranges::binary_search(explain, request)) {
                                         kept.emplace(request, std::move(decision));
                                       }
                                     }};
  absl::StatusOr<sim::FleetRun> finished = [&] {
    const py::gil_scoped_release no_gil;
    return sim::RunFleet(options, *workload, home->router, clock, hooks);
  }();
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  RaiseInterrupts();
  auto run = std::make_shared<RunView>(*workload, ValueOf(std::move(finished)));
  for (auto& [request, decision] : kept) {
    run->decisions[py::int_(request)] =
        py::cast(std::make_unique<DecisionView>(home, std::move(decision), std::nullopt));
  }
  return run;
}

void AddWorkload(py::module_& module) {
  py::class_<WorkloadView>(module, "Workload", py::module_local())
      .def(py::init<>())
      .def_static(
          "conversations",
          [](uint32_t conversations, uint32_t turns, uint32_t groups, double group_skew,
             uint32_t system_tokens, uint32_t input_tokens, uint32_t output_tokens, double pause_s,
             double spread, double conversations_per_s, uint64_t seed) {
            WorkloadView made;
            *made.workload =
                ValueOf(sim::Workload::Conversations({.conversations = conversations,
                                                      .turns = turns,
                                                      .groups = groups,
                                                      .group_skew = group_skew,
                                                      .system_tokens = system_tokens,
                                                      .input_tokens = input_tokens,
                                                      .output_tokens = output_tokens,
                                                      .pause_s = pause_s,
                                                      .spread = spread,
                                                      .conversations_per_s = conversations_per_s,
                                                      .seed = seed}));
            return made;
          },
          py::kw_only(), py::arg("conversations"), py::arg("turns"), py::arg("groups"),
          py::arg("group_skew"), py::arg("system_tokens"), py::arg("input_tokens"),
          py::arg("output_tokens"), py::arg("pause_s"), py::arg("spread"),
          py::arg("conversations_per_s"), py::arg("seed"))
      .def(
          "add",
          [](WorkloadView& self, double arrival_s, double pause_s, std::optional<uint32_t> session,
             uint32_t group, const py::buffer& prompt, const py::buffer& answer,
             uint32_t output_tokens) {
            const Tokens prompt_tokens(prompt), answer_tokens(answer);
            self.Add({.arrival_ns = Nanoseconds("arrival_s", arrival_s),
                      .pause_ns = Nanoseconds("pause_s", pause_s),
                      .session = session.value_or(sim::kNone),
                      .group = group,
                      .prompt = prompt_tokens.span(),
                      .answer = answer_tokens.span(),
                      .output_tokens = output_tokens});
          },
          py::kw_only(), py::arg("arrival_s"), py::arg("pause_s"), py::arg("session"),
          py::arg("group"), py::arg("prompt"), py::arg("answer"), py::arg("output_tokens"))
      .def("prompt",
           [](WorkloadView& self, py::ssize_t index) { return self.TokensOf(index, false); })
      .def("answer",
           [](WorkloadView& self, py::ssize_t index) { return self.TokensOf(index, true); })
      .def("__len__", [](const WorkloadView& self) { return self.workload->size(); })
      .def_property_readonly("group_count",
                             [](const WorkloadView& self) { return self.workload->group_count(); });
  module.def(
      "trace_tokens",
      [](const std::vector<uint64_t>& hash_ids, uint32_t token_count) {
        if (hash_ids.empty() || token_count > sim::kRequestTokensMax) {
          throw py::value_error("hash_ids, input_length: expected ids, and at most 1048576 tokens");
        }
        const auto tokens =
            std::make_shared<const std::vector<uint32_t>>(sim::TraceTokens(hash_ids, token_count));
        return View(tokens, std::span(*tokens));
      },
      py::arg("hash_ids"), py::arg("token_count"));
}

void AddRun(py::module_& module) {
  py::class_<RunView, std::shared_ptr<RunView>> run(module, "Run", py::module_local());
  run.def_property_readonly("server_count",
                            [](const RunView& self) { return self.run.server_count; })
      .def_property_readonly("group_count",
                             [](const RunView& self) { return self.run.group_count; })
      .def_property_readonly("first_failure",
                             [](const RunView& self) { return Text(self.run.first_failure); })
      .def_property_readonly("duration_s",
                             [](const RunView& self) { return Seconds(self.run.end_ns); })
      .def_property_readonly("decisions", [](const RunView& self) { return self.decisions; })
      .def_property_readonly("cache_map", [](const std::shared_ptr<RunView>& self) {
        return View(self, std::span<const uint64_t>(self->run.cached_tokens),
                    {self->run.server_count, self->run.group_count});
      });
  const auto column = [&run](const char* name, auto RunView::*member) {
    run.def_property_readonly(name, [member](const std::shared_ptr<RunView>& self) {
      return View(self, std::span(std::as_const((*self).*member)));
    });
  };
  column("outcome", &RunView::outcome);
  column("server", &RunView::server);
  column("arrival_s", &RunView::arrival_s);
  column("ttft_s", &RunView::ttft_s);
  column("tpot_s", &RunView::tpot_s);
  column("end_s", &RunView::end_s);
  column("prompt_tokens", &RunView::prompt_tokens);
  column("cached_tokens", &RunView::cached_tokens);
  column("output_tokens", &RunView::output_tokens);
  column("session", &RunView::session);
  column("group", &RunView::group);
  column("turn", &RunView::turn);
  column("sample_time_s", &RunView::sample_time_s);
  column("sample_server", &RunView::sample_server);
  column("sample_waiting_requests", &RunView::waiting_requests);
  column("sample_running_requests", &RunView::running_requests);
  column("sample_kv_used_ratio", &RunView::kv_used_ratio);
}

py::list Names(auto presets) {
  py::list names;
  for (const auto& preset : presets) names.append(Text(preset.name));
  return names;
}

}  // namespace

void AddSim(py::module_& parent) {
  py::module_ module = parent.def_submodule("sim");
  py::class_<Column>(module, "Column", py::buffer_protocol(), py::module_local())
      .def_buffer(&BufferOf);
  AddWorkload(module);
  AddRun(module);
  module.attr("hardware") = Names(sim::HardwarePresets());
  module.attr("shapes") = Names(sim::ModelPresets());
  module.def(
      "run",
      [](const RouterView& router, WorkloadView& workload, const std::vector<uint32_t>& explain,
         uint32_t servers, std::string hardware, std::string shape, std::string engine,
         uint32_t tensor_parallel, uint32_t kv_blocks, uint32_t block_tokens,
         uint32_t running_requests_max, bool jitter, double scrape_interval_s, uint64_t seed,
         std::string model) {
        return Run(router, workload, explain,
                   {servers, std::move(hardware), std::move(shape), std::move(engine),
                    tensor_parallel, kv_blocks, block_tokens, running_requests_max, jitter,
                    scrape_interval_s, seed, std::move(model)});
      },
      py::arg("router"), py::arg("workload"), py::kw_only(), py::arg("explain"), py::arg("servers"),
      py::arg("hardware"), py::arg("shape"), py::arg("engine"), py::arg("tensor_parallel"),
      py::arg("kv_blocks"), py::arg("block_tokens"), py::arg("running_requests_max"),
      py::arg("jitter"), py::arg("scrape_interval_s"), py::arg("seed"), py::arg("model"));
}

}  // namespace weir::python
