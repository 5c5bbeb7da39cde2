// driver.h: calls every interface of one plugin over one batch and one request, with all memory
// that the plugin may read or write against inaccessible pages.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "guarded_memory.h"
#include "kit.h"

namespace weir::plugin_check {

// A check failed; the text says how.
class CheckFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a plugin answered. Comparable, so that two runs can be held against each other.
struct Results {
  std::vector<weir_code> codes;
  std::vector<uint64_t> keep;
  std::vector<double> scores;
  std::vector<uint32_t> picks;
  std::vector<std::byte> columns;
  std::vector<uint32_t> tokens;
  bool operator==(const Results&) const = default;
};

// Where a child process is, for the report of a crash.
using Progress = std::function<void(const std::string&)>;

struct DriverOptions {
  uint32_t struct_bytes_extra =
      0;                        // a newer host: structs that are longer, with other bytes behind
  bool scores_in_range = true;  // demand 0..1 and finite, as for ordinary batches
};

class Driver {
 public:
  Driver(const KitInstance& instance, Progress progress, DriverOptions options = {});

  // Runs all interfaces once. Throws CheckFailure for a wrong result or a write outside the
  // buffers.
  Results Run(const KitPool& pool, KitRequestView& request, uint64_t seed);
  // Heap allocations inside the plugin's calls of the last Run.
  uint64_t allocations() const { return allocations_; }
  // Time inside the plugin's calls of the last Run.
  int64_t elapsed_ns() const { return elapsed_ns_; }

 private:
  struct Inputs {
    const weir_call* call;
    const weir_request* request;
    const weir_batch* batch;
  };

  const void* Guard(const void* data, size_t size_bytes);
  template <class Struct>
  const Struct* GuardStruct(const Struct& value);
  Inputs GuardInputs(const weir_call* call, const KitPool& pool, const KitRequestView& request);
  template <class Function>
  weir_code Call(const char* what, const Function& function);
  std::byte* Output(size_t size_bytes);
  void CheckMargins(const char* what) const;

  void RunFilter(const Inputs& inputs, Results* results);
  void RunScorer(const Inputs& inputs, Results* results);
  void RunPicker(const Inputs& inputs, Results* results);
  void RunHandler(const Inputs& inputs, Results* results);
  void RunProducer(const Inputs& inputs, KitRequestView& request, Results* results);
  void RunObserver(const Inputs& inputs, const void* request_state);

  const KitInstance& instance_;
  Progress progress_;
  DriverOptions options_;
  KitHost host_;
  std::deque<GuardedMemory> memory_;
  size_t memory_used_ = 0;
  uint64_t allocations_ = 0;
  int64_t elapsed_ns_ = 0;
};

}  // namespace weir::plugin_check
