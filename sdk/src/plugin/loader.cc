// The only file that knows Boost.DLL.
#define BOOST_DLL_USE_STD_FS
#include "plugin/loader.h"

#include <boost/dll/shared_library.hpp>
#include <filesystem>
#include <mutex>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/text.h"

namespace weir::internal {

absl::StatusOr<const weir_module*> LoadPluginLibrary(const std::string& path) try {
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        Concat("\"", absl::CHexEscape(path), "\": no file has a zero byte in its name"));
  }
  // An absolute path, so that the linker's search path has no say.
  const std::filesystem::path file = std::filesystem::absolute(path);
  if (!std::filesystem::is_regular_file(file)) {
    return absl::NotFoundError(Concat(path, ": no such file"));
  }
  namespace dll = boost::dll;
  dll::shared_library library(file, dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  if (!library.has(WEIR_PLUGIN_SYMBOL_NAME)) {
    return absl::InvalidArgumentError(
        Concat(path, ": no weir plugin: it does not export " WEIR_PLUGIN_SYMBOL_NAME));
  }
  const weir_module* module = library.get<const weir_module*()>(WEIR_PLUGIN_SYMBOL_NAME)();
  // Never unloaded: objects, threads and texts of a plugin may outlive every router.
  static std::mutex mutex;
  static auto& pinned = *new std::vector<dll::shared_library>;
  const std::lock_guard lock(mutex);
  pinned.push_back(std::move(library));
  return module;
} catch (const std::exception& error) {  // the text carries what the dynamic linker said
  return absl::NotFoundError(Concat(path, ": cannot be loaded: ", std::string_view(error.what())));
}

}  // namespace weir::internal
