// native.h: what the parts of weir._native share: the router behind the Python objects, its errors,
// and what happens to it across close() and fork().
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/intake.h"
#include "weir/router.h"

namespace weir::python {

namespace py = pybind11;

// Becomes the Python exception of its code.
class StatusError : public std::exception {
 public:
  explicit StatusError(absl::Status status)
      : status_(std::move(status)), text_(status_.message()) {}
  const absl::Status& status() const { return status_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  absl::Status status_;
  std::string text_;
};

// A class of weir.errors by its name. Borrowed, lives forever.
py::handle ErrorClass(const char* name);
// The Python exception of a status, not raised.
py::object ErrorOf(const absl::Status& status);
// Raises a class of weir.errors.
[[noreturn]] void Raise(const char* name, const std::string& text);
// Raises TypeError: "<what>: <type of value>, expected <expected>".
[[noreturn]] void RaiseType(const std::string& what, py::handle value, const char* expected);

template <class T>
T ValueOf(absl::StatusOr<T> result) {
  if (!result.ok()) throw StatusError(result.status());
  return *std::move(result);
}
void Check(const absl::Status& status);

// How often this process is the child of a fork that had the module loaded.
uint32_t ForkCount() noexcept;

// Whether Python is ending: nobody enters the engine any more, and long calls end.
bool Exiting() noexcept;
// Raises ClosedError.
[[noreturn]] void RaiseExiting();

// While it lives, exit waits: this thread is inside the engine.
class Entry {
 public:
  Entry() noexcept;
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  const uint32_t fork_count_;
};

// A router and what it borrows. Its last owner lets go with the GIL held; in the child of a fork it
// is never destroyed, because a thread that is gone may hold its locks.
struct Home {
  std::unique_ptr<const Clock> clock;  // null: the machine's
  py::object clock_owner;              // keeps a clock of Python's alive
  weir::Router router;
  const Clock* time = nullptr;                  // never null
  std::vector<std::unique_ptr<Intake>> idle{};  // guarded by the GIL
  const uint32_t fork_count = ForkCount();
  bool forked() const noexcept { return fork_count != ForkCount(); }
};

// An intake for one decision, given back at its end. REQUIRES: the GIL, at both ends.
class BorrowedIntake {
 public:
  explicit BorrowedIntake(Home& home) : home_(home) {
    if (!home.idle.empty()) {
      intake_ = std::move(home.idle.back());
      home.idle.pop_back();
    }
  }
  ~BorrowedIntake() {
    if (intake_ != nullptr && home_.idle.size() < kIdleMax)
      home_.idle.push_back(std::move(intake_));
  }
  BorrowedIntake(const BorrowedIntake&) = delete;
  BorrowedIntake& operator=(const BorrowedIntake&) = delete;
  Intake& get() {
    if (intake_ == nullptr) intake_ = std::make_unique<Intake>(home_.router);
    return *intake_;
  }

 private:
  static constexpr size_t kIdleMax = 16;  // as many threads read bodies without building tables
  Home& home_;
  std::unique_ptr<Intake> intake_;
};

// A call's stay in the engine, which may run Python (a clock, a plugin) and let other threads run:
// the engine outlives it even if they close the router. REQUIRES: the GIL, at both ends.
class Visit {
 public:
  explicit Visit(std::shared_ptr<Home> home) : home_(std::move(home)) {}
  Home* operator->() const { return home_.get(); }
  const std::shared_ptr<Home>& home() const { return home_; }

 private:
  Entry entry_;  // ends last: the home may die with us
  std::shared_ptr<Home> home_;
};

// The door to a router, shared by Router and Pool: close() shuts it for both.
class Gate {
 public:
  explicit Gate(std::shared_ptr<Home> home) : home_(std::move(home)) {}
  // The only way in. Raises ClosedError and ForkedError.
  Visit Enter() const {
    if (home_ == nullptr || home_->forked() || Exiting()) Refuse();
    return Visit(home_);
  }
  bool open() const noexcept { return home_ != nullptr; }
  void Close() { home_.reset(); }

 private:
  [[noreturn]] void Refuse() const;
  std::shared_ptr<Home> home_;
};

std::shared_ptr<Home> MakeHome(Home home);

inline py::str Text(std::string_view text) { return {text.data(), text.size()}; }
// UTF-8 of a str; raises TypeError that names `what`. The view lives as long as the str.
std::string_view Utf8(py::handle value, const char* what);

// Each adds its classes to the module.
void AddErrors(py::module_& module);
void AddLifecycle(py::module_& module);
void AddClock(py::module_& module);
void AddDecision(py::module_& module);
void AddFlight(py::module_& module);
void AddPool(py::module_& module);
void AddPlugin(py::module_& module);
void AddRouter(py::module_& module);
void AddArrow(py::module_& module);
void AddSim(py::module_& module);

}  // namespace weir::python
