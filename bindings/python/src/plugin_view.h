// plugin_view.h: what a plugin written in Python sees, and how its answer is read.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "native.h"
#include "weir/plugin/plugin.h"

namespace weir::python {

// The request of one call; afterwards it is closed.
class RequestSight {
 public:
  RequestSight(const weir_call* call, const weir_request* request)
      : call_(call), request_(request) {}
  void Close() { call_ = nullptr, request_ = nullptr; }
  // Raise ClosedError after the call.
  const weir_call& call() const;
  const weir_request& request() const;

 private:
  const weir_call* call_;
  const weir_request* request_;
};

// The candidates of one call as arrays, each a copy that Python owns: NumPy arrays if NumPy is
// installed, else memoryviews, read-only. What was not looked at before the end of the call is
// closed then.
class EndpointsSight {
 public:
  EndpointsSight(const weir_call* call, const weir_batch* batch,
                 const std::vector<std::string>* reads)
      : call_(call), batch_(batch), reads_(reads), count_(batch->count) {}
  void Close() { call_ = nullptr, batch_ = nullptr; }
  uint32_t count() const { return count_; }

  py::object Waiting() { return Cached(kWaiting); }
  py::object Running() { return Cached(kRunning); }
  py::object KvUsed() { return Cached(kKvUsed); }
  py::object SampleAge() { return Cached(kSampleAge); }
  py::object Slots() { return Cached(kSlots); }
  py::object InFlight() { return Cached(kInFlight); }
  py::object InFlightTokens() { return Cached(kInFlightTokens); }
  py::object PrefixMatch() { return Cached(kPrefixMatch); }
  py::object UncachedTokens() { return Cached(kUncachedTokens); }
  py::list Names() const;
  py::list Addresses() const;
  py::object Labels(std::string_view key) const;
  uint32_t Intern(std::string_view value) const;

 private:
  enum Which : uint32_t {
    kWaiting,
    kRunning,
    kKvUsed,
    kSampleAge,
    kSlots,
    kInFlight,
    kInFlightTokens,
    kPrefixMatch,
    kUncachedTokens,
    kWhichCount
  };
  py::object Cached(Which which);
  py::object Make(Which which) const;
  // The column that the type declared by this name; raises AttributeError if it did not.
  template <class T>
  plugin::Column<T> Declared(const char* name, const char* attribute) const;
  const weir_batch& batch() const;

  const weir_call* call_;
  const weir_batch* batch_;
  const std::vector<std::string>* reads_;
  uint32_t count_;
  py::object cache_[kWhichCount];
};

// A read-only array that Python owns.
py::object IntegerArray(std::span<const int64_t> values);
py::object NumberArray(std::span<const double> values);
// From now on arrays are NumPy's, if it can be imported. [control]
void UseNumpyIfThere();

// Reads `count` numbers of a one-dimensional buffer or a sequence; bool counts as 0 and 1. Raises
// TypeError and ValueError.
void ReadNumbers(py::handle result, std::span<double> numbers);
// Reads an index or a sequence of them, at most indices.size(); returns how many.
size_t ReadIndices(py::handle result, std::span<uint32_t> indices);

void AddPluginViews(py::module_& module);

}  // namespace weir::python
