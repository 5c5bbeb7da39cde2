#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "params_schema.h"
#include "weir/plugin/filter.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::kLabelValuesMax;
using weir::plugin::LabelValues;
using weir::plugin::Mask;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr uint64_t kTermsMax = 64;
constexpr size_t kLabelNameBytesMax = 63;  // Kubernetes: of a name and of a value
constexpr size_t kLabelPrefixBytesMax = 253;

bool IsAlphanumeric(char letter) { return std::isalnum(static_cast<unsigned char>(letter)) != 0; }

// Letters, digits and `inner` characters, starting and ending with a letter or digit.
bool IsWord(std::string_view text, size_t bytes_max, std::string_view inner) {
  if (text.empty() || text.size() > bytes_max) return false;
  if (!IsAlphanumeric(text.front()) || !IsAlphanumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [inner](char letter) {
    return IsAlphanumeric(letter) || inner.find(letter) != std::string_view::npos;
  });
}

void CheckKey(const std::string& where, const std::string& key) {
  const size_t slash = key.find('/');
  const std::string_view name =
      slash == std::string::npos ? key : std::string_view(key).substr(slash + 1);
  const bool prefix_ok = slash == std::string::npos ||
                         IsWord(std::string_view(key).substr(0, slash), kLabelPrefixBytesMax, "-.");
  if (!prefix_ok || !IsWord(name, kLabelNameBytesMax, "-_.")) {
    Params::Fail(where + ": \"" + key + "\" is not a label key");
  }
}

void CheckValue(const std::string& where, const std::string& value) {
  if (!value.empty() && !IsWord(value, kLabelNameBytesMax, "-_.")) {
    Params::Fail(where + ": \"" + value + "\" is not a label value");
  }
}

// A Kubernetes label selector.
class LabelSelectorFilter {
 public:
  explicit LabelSelectorFilter(const Params& params) {
    const uint64_t expression_count = params.count("matchExpressions");
    if (params.count("matchLabels") + expression_count > kTermsMax) {
      Params::Fail("matchExpressions: more than " + std::to_string(kTermsMax) + " terms");
    }
    for (auto& [key, value] : params.string_map("matchLabels")) {
      CheckKey("matchLabels", key);
      CheckValue("matchLabels/" + Params::EscapeKey(key), value);
      terms_.push_back({Operator::kIn, std::move(key), {std::move(value)}});
    }
    for (uint64_t i = 0; i < expression_count; ++i) {
      terms_.push_back(ReadExpression(params, "matchExpressions/" + std::to_string(i)));
    }
  }

  void Apply(const Request&, const Batch& batch, Mask keep) const {
    for (const Term& term : terms_) {
      const auto labels = batch.labels(term.key);
      const LabelValues values(batch, term.values);
      keep.KeepIf([&](uint32_t i) {
        switch (term.op) {
          case Operator::kIn:
            return values.contains(labels[i]);
          case Operator::kNotIn:
            return !values.contains(labels[i]);
          case Operator::kExists:
            return labels[i] != WEIR_LABEL_ABSENT;
          case Operator::kDoesNotExist:
            return labels[i] == WEIR_LABEL_ABSENT;
        }
        return true;
      });
    }
  }

 private:
  enum class Operator { kIn, kNotIn, kExists, kDoesNotExist };
  struct Term {
    Operator op;
    std::string key;
    std::vector<std::string> values;
  };

  static Term ReadExpression(const Params& params, const std::string& path) {
    const std::string op = params.string(path + "/operator");
    Term term{Operator::kIn, params.string(path + "/key"), params.strings(path + "/values")};
    if (op == "NotIn") {
      term.op = Operator::kNotIn;
    } else if (op == "Exists") {
      term.op = Operator::kExists;
    } else if (op == "DoesNotExist") {
      term.op = Operator::kDoesNotExist;
    } else if (op != "In") {
      Params::Fail(path + "/operator: \"" + op + "\", expected In, NotIn, Exists or DoesNotExist");
    }
    CheckKey(path + "/key", term.key);
    const bool needs_values = term.op == Operator::kIn || term.op == Operator::kNotIn;
    if (needs_values == term.values.empty()) {
      Params::Fail(path + "/values: " + op +
                   (needs_values ? " needs at least one value" : " takes no values"));
    }
    if (term.values.size() > kLabelValuesMax) {
      Params::Fail(path + "/values: more than " + std::to_string(kLabelValuesMax) + " values");
    }
    for (const std::string& value : term.values) CheckValue(path + "/values", value);
    return term;
  }

  std::vector<Term> terms_;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddFilter<LabelSelectorFilter>("label-selector-filter")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0);
  module.AddFilter<LabelSelectorFilter>("by-label-selector")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Deprecated("label-selector-filter");
}
