// plugin/params.h: the parameters of one plugin while its create runs.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "weir/plugin/abi.h"
#include "wire/config_node.h"
#include "wire/config_problems.h"

namespace weir::internal {

// The host side of weir_params: what the param_ slots of ParamHost() find behind the pointer that a
// plugin gives them. Lives during create. [control, serial]
class ParamReader : private weir_params {
 public:
  // All borrowed for the life of this object. `parameters` is a map or null.
  ParamReader(const ConfigNode& parameters, const std::string& json, const std::string& name,
              const weir_host& host, const weir_plugin& plugin);
  ParamReader(const ParamReader&) = delete;
  ParamReader& operator=(const ParamReader&) = delete;

  const weir_params* raw() const { return this; }
  static ParamReader& From(const weir_params* params) {
    return *static_cast<ParamReader*>(const_cast<weir_params*>(params));
  }

  // The node at a path, counted as read; null if absent or null.
  const ConfigNode* Read(weir_str path);
  // Remembers that a value has another type than the plugin asked for.
  void WrongType(weir_str path, const ConfigNode& node, std::string_view expected);
  void Fail(weir_str text);

  // Reports what went wrong: values of the wrong type, the text of a create that failed with
  // `code`, and, if `strict`, parameters that nobody read.
  void Report(weir_code code, bool strict, std::string_view field, ConfigProblems* problems) const;

 private:
  bool AnyRead(const ConfigNode& node) const;
  void ReportUnread(const ConfigNode& node, const std::string& field,
                    ConfigProblems* problems) const;
  void ReportFailure(weir_code code, std::string_view field, ConfigProblems* problems) const;

  const ConfigNode& parameters_;
  std::set<const ConfigNode*> read_;
  const ConfigNode* wrong_node_ = nullptr;
  std::string wrong_path_;
  std::string wrong_text_;
  std::string failure_;
};

}  // namespace weir::internal
