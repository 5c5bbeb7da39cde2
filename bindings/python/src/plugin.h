// plugin.h: scorers, filters and pickers written in Python, behind the plugin ABI.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "native.h"
#include "weir/plugin/abi.h"

namespace weir::python {

enum class PluginKind { kScorer, kFilter, kPicker };

// What one type may take, per call.
struct PluginLimits {
  int64_t time_budget_ns = 0;  // more is counted as an overrun
  int64_t hang_ns = 0;         // more is interrupted, and the plugin disabled
  uint32_t overruns_max = 0;   // so many in a row disable it
};

// A type that Python registered, as the engine knows it. Made with the GIL, lives forever.
struct PluginType : weir_plugin {
  PluginType(std::string type_name, PluginKind plugin_kind,
             const std::vector<std::string>& columns);
  PluginType(const PluginType&) = delete;
  PluginType& operator=(const PluginType&) = delete;

  const std::string name;
  const PluginKind kind;
  const std::vector<std::string> reads;  // columns, in the order of `attributes`
  // Of the last registration: what instances are made with from then on.
  py::object factory;  // (parameters as JSON, name of the instance) -> callable
  PluginLimits limits;
  weir_module module = {};

 private:
  weir_interface interface_ = {};
  const weir_interface* interface_list_[1] = {&interface_};
  std::vector<weir_attribute> attributes_;
  std::vector<const weir_attribute*> attribute_list_;
  const weir_plugin* plugin_list_[1] = {this};
};

// The tables of all types that are registered now. REQUIRES: the GIL
std::vector<const weir_module*> RegisteredModules();

// What a constructor raised on this thread while a router was made; empty if nothing. Once.
py::object TakeCreationError();

// Whether this thread has something for RaiseInterrupts().
bool Interrupted() noexcept;

// Raises what a plugin left to be raised when its decision is made: KeyboardInterrupt and the like.
// Cheap if there is nothing, and then needs no GIL. To be called after each Router::Decide.
void RaiseInterrupts();

// One instance in a pipeline. Calls come from any thread.
class Plugin {
 public:
  Plugin(const PluginType& type, std::string name, py::object callable)
      : type_(type), limits_(type.limits), name_(std::move(name)), callable_(std::move(callable)) {}

  // The slots of the ABI. Each takes the GIL, calls Python once, and never throws. [concurrent]
  weir_code Score(const weir_call* call, const weir_request* request, const weir_batch* batch,
                  double* score) noexcept;
  weir_code Filter(const weir_call* call, const weir_request* request, const weir_batch* batch,
                   uint64_t* keep) noexcept;
  weir_code Pick(const weir_call* call, const weir_request* request, const weir_batch* batch,
                 const double* score, uint32_t* index, uint32_t index_max,
                 uint32_t* index_count) noexcept;

 private:
  template <class Use>
  bool Run(const weir_call* call, const weir_request* request, const weir_batch* batch,
           const double* score, const Use& use) noexcept;
  template <class Call>
  bool Ask(const Call& call);
  void Failed(py::error_already_set& error);
  void TimeTaken(const weir_call* call, int64_t taken_ns, bool hung);
  void Disable(const std::string& why);

  const PluginType& type_;
  const PluginLimits limits_;  // the type's when it was made
  const std::string name_;
  const py::object callable_;
  std::atomic<bool> disabled_{false};
  // Guarded by the GIL.
  bool failure_reported_ = false;
  bool overrun_reported_ = false;
  uint32_t overruns_in_a_row_ = 0;
};

}  // namespace weir::python
