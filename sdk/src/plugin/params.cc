#include "plugin/params.h"

#include <cmath>

#include "base/text.h"
#include "plugin/instance.h"

namespace weir::internal {
namespace {

constexpr size_t kFailureBytesMax = 1024;

std::string_view View(weir_str text) { return {text.data, text.size}; }
weir_str Str(std::string_view text) { return {text.data(), text.size()}; }

// "a/0/key" as errors write it: "a[0].key".
std::string Dotted(std::string_view path) {
  std::string dotted;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view step = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    const bool index =
        !step.empty() && step.find_first_not_of("0123456789") == std::string_view::npos;
    if (index) {
      AppendTo(&dotted, "[", step, "]");
    } else {
      AppendTo(&dotted, dotted.empty() ? "" : ".", step);
    }
  }
  return dotted;
}

// The path that a plugin's error text starts with, as the param_ slots take it: "a[0].key: ..."
// gives "a/0/key". Empty if the text starts otherwise.
std::string PathOf(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ':') return path;
    if (c == '.' || c == '[') {
      path += '/';
    } else if (c == ' ' || c == '"') {
      return {};
    } else if (c != ']') {
      path += c;
    }
  }
  return {};
}

void LogNothing(const weir_host*, uint32_t, weir_str) {}

int32_t ParamNumber(const weir_params* params, weir_str path, double* value) {
  ParamReader& reader = ParamReader::From(params);
  const ConfigNode* node = reader.Read(path);
  if (node == nullptr) return 0;
  const bool is_number =
      node->kind == ConfigNode::Kind::kInteger || node->kind == ConfigNode::Kind::kNumber;
  if (!is_number || !std::isfinite(node->number)) {
    reader.WrongType(path, *node, "a number");
    return 0;
  }
  *value = node->number;
  return 1;
}

int32_t ParamInteger(const weir_params* params, weir_str path, int64_t* value) {
  ParamReader& reader = ParamReader::From(params);
  const ConfigNode* node = reader.Read(path);
  if (node == nullptr) return 0;
  if (node->kind != ConfigNode::Kind::kInteger) {
    reader.WrongType(path, *node, "an integer");
    return 0;
  }
  *value = node->integer;
  return 1;
}

int32_t ParamBoolean(const weir_params* params, weir_str path, int32_t* value) {
  ParamReader& reader = ParamReader::From(params);
  const ConfigNode* node = reader.Read(path);
  if (node == nullptr) return 0;
  if (node->kind != ConfigNode::Kind::kBoolean) {
    reader.WrongType(path, *node, "true or false");
    return 0;
  }
  *value = node->boolean ? 1 : 0;
  return 1;
}

int32_t ParamString(const weir_params* params, weir_str path, weir_str* value) {
  ParamReader& reader = ParamReader::From(params);
  const ConfigNode* node = reader.Read(path);
  if (node == nullptr) return 0;
  if (node->kind != ConfigNode::Kind::kString) {
    reader.WrongType(path, *node, "a string");
    return 0;
  }
  *value = Str(node->string);
  return 1;
}

uint64_t ParamCount(const weir_params* params, weir_str path) {
  const ConfigNode* node = ParamReader::From(params).Read(path);
  if (node == nullptr) return 0;
  return node->kind == ConfigNode::Kind::kList ? node->items.size() : node->members.size();
}

int32_t ParamKey(const weir_params* params, weir_str path, uint64_t index, weir_str* key) {
  const ConfigNode* node = ParamReader::From(params).Read(path);
  if (node == nullptr || index >= node->members.size()) return 0;
  *key = Str(node->members[index].name);
  return 1;
}

void ParamFail(const weir_params* params, weir_str text) { ParamReader::From(params).Fail(text); }

}  // namespace

weir_host ParamHost() {
  weir_host host = {};
  host.struct_size = sizeof(weir_host);
  host.abi_minor = WEIR_ABI_MINOR;
  host.log = LogNothing;
  host.param_number = ParamNumber;
  host.param_integer = ParamInteger;
  host.param_boolean = ParamBoolean;
  host.param_string = ParamString;
  host.param_count = ParamCount;
  host.param_key = ParamKey;
  host.param_fail = ParamFail;
  return host;
}

ParamReader::ParamReader(const ConfigNode& parameters, const std::string& json,
                         const std::string& name, const weir_host& host, const weir_plugin& plugin)
    : weir_params{sizeof(weir_params), 0, &host, Str(name), Str(json), &plugin},
      parameters_(parameters) {}

const ConfigNode* ParamReader::Read(weir_str path) {
  const ConfigNode* node = parameters_.FindPath(View(path));
  if (node == nullptr) return nullptr;
  read_.insert(node);
  return node->kind == ConfigNode::Kind::kNull ? nullptr : node;
}

void ParamReader::WrongType(weir_str path, const ConfigNode& node, std::string_view expected) {
  if (wrong_node_ != nullptr) return;
  wrong_node_ = &node;
  wrong_path_ = Dotted(View(path));
  wrong_text_ = Concat(Show(node), ", expected ", expected);
}

void ParamReader::Fail(weir_str text) { failure_ = View(text).substr(0, kFailureBytesMax); }

void ParamReader::Report(weir_code code, bool strict, std::string_view field,
                         ConfigProblems* problems) const {
  if (wrong_node_ != nullptr) {
    problems->Error(wrong_node_->line, Concat(field, ".", wrong_path_), wrong_text_);
  } else if (code != WEIR_OK) {
    ReportFailure(code, field, problems);
  } else if (strict) {
    for (const auto& [name, value] : parameters_.members) {
      ReportUnread(value, Concat(field, ".", name), problems);
    }
  }
}

void ParamReader::ReportFailure(weir_code code, std::string_view field,
                                ConfigProblems* problems) const {
  const std::string path = PathOf(failure_);
  const ConfigNode* node = path.empty() ? nullptr : parameters_.FindPath(path);
  const int line = node == nullptr ? parameters_.line : node->line;
  if (failure_.empty()) {
    problems->Error(line, field, Concat("the plugin refused to start, code ", code));
  } else if (path.empty()) {
    problems->Error(line, field, failure_);
  } else {
    const size_t colon = failure_.find(':');
    std::string_view text = std::string_view(failure_).substr(colon + 1);
    if (text.starts_with(' ')) text.remove_prefix(1);
    problems->Error(line, Concat(field, ".", std::string_view(failure_).substr(0, colon)), text);
  }
}

bool ParamReader::AnyRead(const ConfigNode& node) const {
  if (read_.contains(&node)) return true;
  for (const ConfigNode& item : node.items) {
    if (AnyRead(item)) return true;
  }
  for (const auto& [name, value] : node.members) {
    if (AnyRead(value)) return true;
  }
  return false;
}

void ParamReader::ReportUnread(const ConfigNode& node, const std::string& field,
                               ConfigProblems* problems) const {
  if (!AnyRead(node)) {
    problems->Error(node.line, field, "unknown parameter");
    return;
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    ReportUnread(node.items[i], Concat(field, "[", i, "]"), problems);
  }
  for (const auto& [name, value] : node.members) {
    ReportUnread(value, Concat(field, ".", name), problems);
  }
}

}  // namespace weir::internal
