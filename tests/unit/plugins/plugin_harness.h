// plugin_harness.h: one plugin under test, made from JSON parameters through the ABI. Each hot call
// runs under AllocationForbidden.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "builtins.h"
#include "kit.h"
#include "nlohmann/json.hpp"
#include "testing/allocation_guard.h"

namespace weir::testing {

using plugin_check::KitEndpoint;
using plugin_check::KitHost;
using plugin_check::KitInstance;
using plugin_check::KitPart;
using plugin_check::KitPool;
using plugin_check::KitRequest;
using plugin_check::KitRequestView;

// A built-in type; the test fails if there is none of this name.
const weir_plugin& Builtin(std::string_view type);

class PluginHarness {
 public:
  // Fails the test if create refuses the parameters.
  explicit PluginHarness(std::string_view type, const std::string& parameters = "{}");
  // The text with which create refuses the parameters; fails the test if it does not.
  static std::string CreateError(std::string_view type, const std::string& parameters);

  KitHost& host() { return host_; }
  void* self() const { return instance_->self(); }
  template <class Table>
  const Table& table(std::string_view id) const {
    return *instance_->table<Table>(id);
  }

  // Which of the pool's endpoints the filter keeps.
  std::vector<uint32_t> Apply(const KitPool& pool) { return Apply(pool, no_request_); }
  std::vector<uint32_t> Apply(const KitPool& pool, KitRequestView& request);
  std::vector<double> Score(const KitPool& pool) { return Score(pool, no_request_); }
  std::vector<double> Score(const KitPool& pool, KitRequestView& request);
  std::vector<uint32_t> Pick(const KitPool& pool, const std::vector<double>& scores,
                             uint32_t index_max = 16);
  weir_code Produce(const KitPool& pool, KitRequestView& request,
                    const std::vector<void*>& columns);

 private:
  KitHost host_;
  KitRequestView no_request_{KitRequest{}};
  std::optional<KitInstance> instance_;
};

// Endpoints "e0" .. of a golden: an array of objects with the fields of KitEndpoint.
KitPool PoolOf(const nlohmann::json& endpoints);
// The cases of tests/golden/plugins/<name>.json.
nlohmann::json Golden(const std::string& name);

}  // namespace weir::testing
