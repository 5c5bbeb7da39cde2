// What happens to routers when they are closed, when the process forks, and when Python exits.
#include <atomic>
#include <chrono>
#include <thread>

#include "native.h"
#include "watchdog.h"

namespace weir::python {
namespace {

// How long exit waits for threads that decide; one that a plugin keeps longer may crash the process
// when Python stops it inside the engine.
constexpr std::chrono::seconds kExitWaitMax{5};
constexpr std::chrono::milliseconds kExitPoll{1};

std::atomic<uint32_t> fork_count{0};
std::atomic<uint32_t> inside_count{0};
std::atomic<bool> exiting{false};

// Python ends threads where they ask for the GIL, which must not be inside the engine: from here on
// nobody enters it, and those inside come out first.
void AtExit() {
  exiting.store(true);
  {
    const py::gil_scoped_release release;
    const auto deadline = std::chrono::steady_clock::now() + kExitWaitMax;
    while (inside_count.load() > 0 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kExitPoll);
    }
  }
  StopWatchdog();
}

void AfterForkInChild() {
  fork_count.fetch_add(1);
  inside_count.store(0);  // threads of the parent
}

}  // namespace

uint32_t ForkCount() noexcept { return fork_count.load(std::memory_order_relaxed); }
bool Exiting() noexcept { return exiting.load(std::memory_order_relaxed); }
void RaiseExiting() { Raise("ClosedError", "the interpreter is exiting"); }

Entry::Entry() noexcept : fork_count_(ForkCount()) { inside_count.fetch_add(1); }
Entry::~Entry() {
  if (fork_count_ == ForkCount()) inside_count.fetch_sub(1);
}

void Gate::Refuse() const {
  if (Exiting()) RaiseExiting();
  if (home_ == nullptr) Raise("ClosedError", "the router is closed");
  Raise("ForkedError",
        "this router was made before fork(); make one in the child, its threads and locks are its "
        "parent's");
}

std::shared_ptr<Home> MakeHome(Home home) {
  return std::shared_ptr<Home>(new Home(std::move(home)), [](Home* one) {
    if (!one->forked()) delete one;
  });
}

void AddLifecycle(py::module_& module) {
  module.def("at_exit", &AtExit);
  module.def("after_fork_in_child", &AfterForkInChild);
}

}  // namespace weir::python
