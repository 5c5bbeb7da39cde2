#include "wire/config_node.h"

#include <charconv>
#include <cmath>

#include "base/text.h"

namespace weir::internal {
namespace {

void AppendJsonString(std::string_view text, std::string* out) {
  *out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\t':
        *out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          AppendTo(out, "\\u00", HexByte(static_cast<unsigned char>(c)));
        } else {
          *out += c;
        }
    }
  }
  *out += '"';
}

void AppendNumber(double number, std::string* out) {
  if (!std::isfinite(number)) {
    *out += "null";  // JSON has no word for it
    return;
  }
  if (number == 0) number = 0;  // "-0" would be read again as the integer 0
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), number);
  out->append(text, end);
}

void AppendJson(const ConfigNode& node, std::string* out) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      *out += "null";
      break;
    case ConfigNode::Kind::kBoolean:
      *out += node.boolean ? "true" : "false";
      break;
    case ConfigNode::Kind::kInteger:
      AppendTo(out, node.integer);
      break;
    case ConfigNode::Kind::kNumber:
      AppendNumber(node.number, out);
      break;
    case ConfigNode::Kind::kString:
      AppendJsonString(node.string, out);
      break;
    case ConfigNode::Kind::kList:
      *out += '[';
      for (size_t i = 0; i < node.items.size(); ++i) {
        if (i > 0) *out += ',';
        AppendJson(node.items[i], out);
      }
      *out += ']';
      break;
    case ConfigNode::Kind::kMap:
      *out += '{';
      for (size_t i = 0; i < node.members.size(); ++i) {
        if (i > 0) *out += ',';
        AppendJsonString(node.members[i].name, out);
        *out += ':';
        AppendJson(node.members[i].value, out);
      }
      *out += '}';
      break;
  }
}

// A step of a path as a key: "~1" stands for '/', "~0" for '~'.
std::string Unescape(std::string_view step) {
  std::string key;
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i] == '~' && i + 1 < step.size() && (step[i + 1] == '0' || step[i + 1] == '1')) {
      key += step[++i] == '0' ? '~' : '/';
    } else {
      key += step[i];
    }
  }
  return key;
}

}  // namespace

const ConfigNode* ConfigNode::Find(std::string_view key) const {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

const ConfigNode* ConfigNode::FindPath(std::string_view path) const {
  const ConfigNode* node = this;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view step = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (node->kind == Kind::kList) {
      uint32_t index = 0;
      const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
      if (error != std::errc() || end != step.data() + step.size() || index >= node->items.size()) {
        return nullptr;
      }
      node = &node->items[index];
    } else {
      node = node->Find(Unescape(step));
      if (node == nullptr) return nullptr;
    }
  }
  return node;
}

std::string ConfigNode::ToJson() const {
  std::string json;
  AppendJson(*this, &json);
  return json;
}

std::string_view KindName(ConfigNode::Kind kind) {
  switch (kind) {
    case ConfigNode::Kind::kNull:
      return "null";
    case ConfigNode::Kind::kBoolean:
      return "a boolean";
    case ConfigNode::Kind::kInteger:
      return "an integer";
    case ConfigNode::Kind::kNumber:
      return "a number";
    case ConfigNode::Kind::kString:
      return "a string";
    case ConfigNode::Kind::kList:
      return "a list";
    case ConfigNode::Kind::kMap:
      return "a map";
  }
  return "nothing";
}

}  // namespace weir::internal
