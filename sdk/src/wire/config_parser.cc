// ParseConfig: yaml-cpp's events become a tree. yaml-cpp reads the text, this file sets the limits.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <map>
#include <optional>
#include <stdexcept>
#include <streambuf>

#include "base/text.h"
#include "weir/limits.h"
#include "wire/config_node.h"
#include "wire/config_problems.h"
#include "wire/config_scalar.h"

namespace weir::internal {
namespace {

// Scalars and keys after aliases are expanded: an alias bomb of long strings ends here.
constexpr uint64_t kExpandedBytesMax = 4ull * kConfigBytesMax;

struct ConfigError : std::runtime_error {
  ConfigError(int line, const std::string& text) : std::runtime_error(text), line(line) {}
  int line;
};

// Reads a view without copying it.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // never written: no put area
    setg(begin, begin, begin + text.size());
  }
};

// What a subtree costs each time an alias repeats it.
struct Cost {
  uint64_t nodes = 1;
  uint64_t bytes = 0;
  uint32_t depth = 1;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(uint32_t documents_max) : documents_max_(documents_max) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    anchors_.clear();
    roots_.emplace_back();
    if (roots_.size() <= documents_max_) return;
    Fail(mark, documents_max_ == 1 ? "a second document, expected one"
                                   : Concat("more than ", documents_max_, " documents"));
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Scalar(mark, anchor, ConfigNode{.line = Line(mark)});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool plain = tag == "?";
    if (!plain && tag != "!" && tag != "tag:yaml.org,2002:str") RefuseTag(mark, tag);
    if (value.find('\0') != std::string::npos) Fail(mark, "a zero byte in a string");
    ConfigNode node = plain ? PlainScalar(value) : ConfigNode{.kind = ConfigNode::Kind::kString};
    node.line = Line(mark);
    node.string = value;
    Scalar(mark, anchor, std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Fail(mark, "an alias inside of what it stands for");
    const Anchor& target = found->second;
    if (levels_.size() + target.cost.depth > kConfigDepthMax) FailDepth(mark);
    if (ExpectsKey()) {
      Key(mark, target.node);
      return;
    }
    Add(mark, ConfigNode(target.node), target.cost);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, ConfigNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, ConfigNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  // After the last event.
  std::vector<ConfigNode> TakeRoots() {
    if (bad_key_.has_value()) throw *bad_key_;
    return std::move(roots_);
  }

 private:
  struct Level {
    ConfigNode node;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    Cost cost;
    bool is_key = false;   // of the map around it, which is an error
    bool has_key = false;  // in a map: its value comes next
    std::string key;
    std::map<std::string, int> key_lines;
  };
  struct Anchor {
    ConfigNode node;
    Cost cost;
  };

  static int Line(const YAML::Mark& mark) { return mark.line + 1; }
  [[noreturn]] static void Fail(const YAML::Mark& mark, const std::string& text) {
    throw ConfigError(Line(mark), text);
  }
  [[noreturn]] static void FailDepth(const YAML::Mark& mark) {
    Fail(mark, Concat("nested deeper than ", kConfigDepthMax, " levels"));
  }
  [[noreturn]] static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    Fail(mark, Concat("the tag ", Quote(tag), " is not supported"));
  }

  bool ExpectsKey() const {
    return !levels_.empty() && levels_.back().node.kind == ConfigNode::Kind::kMap &&
           !levels_.back().has_key;
  }

  // Kept back: text that ends too early also looks like this, and the parser says it better.
  void BadKey(const YAML::Mark& mark, const std::string& text) {
    if (!bad_key_.has_value()) bad_key_.emplace(Line(mark), text);
  }

  void Key(const YAML::Mark& mark, const ConfigNode& key) {
    if (key.kind != ConfigNode::Kind::kString) {
      const bool scalar =
          key.kind != ConfigNode::Kind::kList && key.kind != ConfigNode::Kind::kMap && key.line > 0;
      BadKey(mark, Concat("the key ", Show(key), " is no string",
                          scalar && !key.string.empty() ? "; quote it" : ""));
    }
    if (key.string == "<<") Fail(mark, "merge keys (<<) are not supported");
    Level& level = levels_.back();
    const auto [first, is_new] = level.key_lines.emplace(key.string, Line(mark));
    if (!is_new) {
      Fail(mark, Concat("duplicate key ", Quote(key.string), ", first in line ", first->second));
    }
    Charge(mark, {.nodes = 0, .bytes = key.string.size()});
    level.cost.bytes += key.string.size();
    level.key = key.string;
    level.has_key = true;
  }

  void Scalar(const YAML::Mark& mark, YAML::anchor_t anchor, ConfigNode node) {
    const Cost cost{.bytes = node.string.size()};
    if (anchor != YAML::NullAnchor) anchors_.emplace(anchor, Anchor{node, cost});
    if (ExpectsKey()) {
      Key(mark, node);
    } else {
      if (levels_.size() + 1 > kConfigDepthMax) FailDepth(mark);
      Add(mark, std::move(node), cost);
    }
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            ConfigNode::Kind kind) {
    if (tag != "?" && tag != "!" && !tag.empty()) RefuseTag(mark, tag);
    const bool is_key = ExpectsKey();
    if (is_key) BadKey(mark, Concat("the key is ", KindName(kind), ", expected a string"));
    if (levels_.size() + 1 > kConfigDepthMax) FailDepth(mark);
    Level& level = levels_.emplace_back();
    level.node.kind = kind;
    level.node.line = Line(mark);
    level.anchor = anchor;
    level.mark = mark;
    level.is_key = is_key;
    Charge(mark, {.nodes = 1});
  }

  void Close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    if (level.is_key) {
      levels_.back().has_key = true;
      return;
    }
    if (level.anchor != YAML::NullAnchor) {
      // The stored copy is as costly as any other.
      Charge(level.mark, level.cost);
      anchors_.emplace(level.anchor, Anchor{level.node, level.cost});
    }
    Attach(std::move(level.node), level.cost);
  }

  // Puts a node that was not charged yet.
  void Add(const YAML::Mark& mark, ConfigNode node, const Cost& cost) {
    Charge(mark, cost);
    Attach(std::move(node), cost);
  }

  void Attach(ConfigNode node, const Cost& cost) {
    if (levels_.empty()) {
      roots_.back() = std::move(node);
      return;
    }
    Level& parent = levels_.back();
    parent.cost.nodes += cost.nodes;
    parent.cost.bytes += cost.bytes;
    parent.cost.depth = std::max(parent.cost.depth, cost.depth + 1);
    if (parent.node.kind == ConfigNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else {
      parent.node.members.push_back({std::move(parent.key), std::move(node)});
      parent.has_key = false;
    }
  }

  void Charge(const YAML::Mark& mark, const Cost& cost) {
    nodes_ += cost.nodes;
    bytes_ += cost.bytes;
    if (nodes_ > kConfigNodesMax) {
      Fail(mark, Concat("more than ", kConfigNodesMax, " values, aliases counted each time"));
    }
    if (bytes_ > kExpandedBytesMax) {
      Fail(mark,
           Concat("more than ", kExpandedBytesMax, " bytes of text, aliases counted each time"));
    }
  }

  const uint32_t documents_max_;
  std::vector<ConfigNode> roots_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  std::optional<ConfigError> bad_key_;
  uint64_t nodes_ = 0;
  uint64_t bytes_ = 0;
};

absl::Status ErrorAt(const std::string& name, int line, std::string_view text) {
  ConfigProblems problems(name);
  problems.Error(line, "", text);
  return problems.ToStatus();
}

absl::StatusOr<std::vector<ConfigNode>> Parse(std::string_view text, const std::string& name,
                                              uint32_t documents_max) {
  if (text.size() > kConfigBytesMax) {
    return ErrorAt(name, 0, Concat(text.size(), " bytes, expected at most ", kConfigBytesMax));
  }
  if (const auto bad = FindBadText(text)) return ErrorAt(name, bad->line, bad->what);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder(documents_max);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.TakeRoots();
  } catch (const ConfigError& error) {
    return ErrorAt(name, error.line, error.what());
  } catch (const YAML::Exception& error) {
    return ErrorAt(name, error.mark.is_null() ? 0 : error.mark.line + 1, error.msg);
  } catch (const std::exception& error) {
    return ErrorAt(name, 0, error.what());
  }
}

}  // namespace

absl::StatusOr<ConfigNode> ParseConfig(std::string_view text, const std::string& name) {
  absl::StatusOr<std::vector<ConfigNode>> roots = Parse(text, name, 1);
  if (!roots.ok()) return roots.status();
  return roots->empty() ? ConfigNode() : std::move(roots->front());
}

absl::StatusOr<std::vector<ConfigNode>> ParseConfigDocuments(std::string_view text,
                                                             const std::string& name) {
  return Parse(text, name, kConfigDocumentsMax);
}

}  // namespace weir::internal
