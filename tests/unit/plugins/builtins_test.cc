#include <gtest/gtest.h>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

TEST(Builtins, DescribeThemselvesFully) {
  for (const weir_plugin_module_fn module : internal::Builtins()) {
    for (uint64_t i = 0; i < module()->plugin_count; ++i) {
      const weir_plugin& plugin = *module()->plugins[i];
      SCOPED_TRACE(std::string(plugin_check::View(plugin.type)));
      EXPECT_GT(plugin.params_schema.size, 0u);
      EXPECT_NE(plugin.load_columns & WEIR_LOAD_DECLARED, 0u) << "else every column is scraped";
    }
  }
}

}  // namespace
}  // namespace weir::testing
