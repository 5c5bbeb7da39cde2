// pool.h: the pool of a router as Python sees it.
#pragma once

#include <memory>
#include <string>

#include "native.h"

namespace weir::python {

class PoolView {
 public:
  explicit PoolView(std::shared_ptr<const Gate> gate) : gate_(std::move(gate)) {}

  // Raise ClosedError and ForkedError, as everything here does.
  std::shared_ptr<const PoolSnapshot> snapshot() const { return Enter()->router.pool().snapshot(); }
  EndpointId Upsert(const std::string& name, const py::kwargs& fields);
  void Update(const std::string& name, const py::kwargs& fields);
  void Remove(const std::string& name, const std::string& space);
  void Replace(const py::iterable& rows);
  EndpointId Invalidate(const std::string& name, const std::string& space);
  uint32_t InFlight(const std::string& name, const std::string& space) const;
  py::list Rows() const;

 private:
  Visit Enter() const { return gate_->Enter(); }

  std::shared_ptr<const Gate> gate_;
};

}  // namespace weir::python
