#include "scenario.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "checks.h"

namespace weir::plugin_check {

using nlohmann::json;

uint64_t SeededRandom::Next() {
  state_ += 0x9e3779b97f4a7c15ull;
  uint64_t bits = state_;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
  return bits ^ (bits >> 31);
}

namespace {

constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();

KitEndpoint RandomEndpoint(uint32_t index, Columns columns, SeededRandom& random) {
  KitEndpoint endpoint;
  endpoint.name = "default/e" + std::to_string(index);
  endpoint.address = "10.0." + std::to_string(index / 256) + "." + std::to_string(index % 256);
  endpoint.address += ":8000";
  if (columns == Columns::kEqual) {
    endpoint.waiting_requests = endpoint.running_requests = 3;
    endpoint.kv_used_ratio = 0.5f;
    return endpoint;
  }
  static constexpr const char* kRoles[] = {"prefill", "decode", "both", "encode"};
  if (random.Chance(2)) endpoint.labels["llm-d.ai/role"] = kRoles[random.Below(4)];
  if (random.Chance(2)) endpoint.labels["zone"] = random.Chance(2) ? "a" : "b";
  if (columns == Columns::kOrdinary) {
    endpoint.waiting_requests = static_cast<uint32_t>(random.Below(200));
    endpoint.running_requests = static_cast<uint32_t>(random.Below(300));
    endpoint.kv_used_ratio = static_cast<float>(random.Below(1001)) / 1000.0f;
    endpoint.sample_age_ms = static_cast<uint32_t>(random.Below(2000));
    endpoint.kv_block_tokens = 16;
    endpoint.kv_block_count = 10000;
    if (random.Chance(2)) endpoint.active_adapters = {"m"};
    if (random.Chance(4)) endpoint.waiting_adapters = {"m", "other"};
    endpoint.adapters_max = static_cast<uint32_t>(random.Below(4));
    return endpoint;
  }
  const auto extreme = [&] { return random.Chance(2) ? kMost : 0u; };
  endpoint.waiting_requests = extreme();
  endpoint.running_requests = extreme();
  endpoint.sample_age_ms = extreme();
  endpoint.kv_block_tokens = extreme();
  endpoint.kv_block_count = extreme();
  endpoint.kv_used_ratio = random.Chance(2) ? 1.0f : 0.0f;
  if (columns == Columns::kNan) {
    static constexpr float kOdd[] = {std::numeric_limits<float>::quiet_NaN(),
                                     std::numeric_limits<float>::infinity(), -1.0f, 1e30f};
    endpoint.kv_used_ratio = kOdd[random.Below(4)];
  }
  return endpoint;
}

// One element of an attribute column, by its type; bytes of unknown types are small numbers.
void FillElement(std::string_view type, Columns columns, SeededRandom& random, std::byte* element,
                 size_t size_bytes) {
  const bool extreme = columns == Columns::kExtreme || columns == Columns::kNan;
  const uint64_t some = columns == Columns::kEqual ? 7 : random.Below(100);
  const auto store = [&](const auto& value) {
    std::memcpy(element, &value, std::min(size_bytes, sizeof(value)));
  };
  if (type == "weir.prefix_match/1") {
    const auto blocks = static_cast<uint32_t>(extreme ? kMost : 100);
    store(weir_prefix_match{static_cast<uint32_t>(extreme ? blocks : some), blocks, 16, 0});
  } else if (type == "weir.in_flight_load/1") {
    const auto most = std::numeric_limits<int64_t>::max();
    const auto value = static_cast<int64_t>(some);
    store(weir_in_flight_load{extreme ? most : value, extreme ? most : value * 1000});
  } else if (type == "f64") {
    const double odd = columns == Columns::kNan ? std::nan("") : 1e308;
    store(extreme ? odd : static_cast<double>(some) / 100);
  } else if (type == "f32") {
    const float odd = columns == Columns::kNan ? std::nanf("") : 1e38f;
    store(extreme ? odd : static_cast<float>(some) / 100);
  } else {
    store(extreme ? std::numeric_limits<int64_t>::max() : static_cast<int64_t>(some));
  }
}

}  // namespace

Scenario::Scenario(const weir_plugin& plugin, uint32_t count, Columns columns,
                   SeededRandom& random) {
  std::vector<KitEndpoint> endpoints;
  for (uint32_t i = 0; i < count; ++i) {
    endpoints.push_back(RandomEndpoint(i, columns, random));
  }
  pool_ = std::make_unique<KitPool>(endpoints);
  attributes_.resize(plugin.attribute_count);
  std::vector<const void*> pointers(plugin.attribute_count, nullptr);
  for (uint64_t i = 0; i < plugin.attribute_count; ++i) {
    const weir_attribute& attribute = *plugin.attributes[i];
    const bool reads = (attribute.flags & WEIR_ATTRIBUTE_READ) != 0;
    const bool optional = (attribute.flags & WEIR_ATTRIBUTE_OPTIONAL) != 0;
    if (!reads || attribute.element_bytes == 0 || (optional && random.Chance(3))) continue;
    const size_t size_bytes = size_t{count} * attribute.element_bytes;
    attributes_[i].resize((size_bytes + 7) / 8);
    auto* bytes = reinterpret_cast<std::byte*>(attributes_[i].data());
    for (uint32_t j = 0; j < count; ++j) {
      FillElement(View(attribute.type), columns, random,
                  bytes + size_t{j} * attribute.element_bytes, attribute.element_bytes);
    }
    pointers[i] = bytes;
  }
  pool_->SetColumns(std::move(pointers));
}

KitRequest RandomRequest(SeededRandom& random) {
  KitRequest request;
  request.api = static_cast<uint32_t>(random.Below(6));
  request.priority = static_cast<int32_t>(random.Next());
  request.max_output_tokens = random.Chance(2) ? -1 : static_cast<int64_t>(random.Below(4096));
  if (random.Chance(4)) request.id.clear();
  if (random.Chance(2)) request.headers.push_back({"x-zone", random.Chance(2) ? "a" : ""});
  for (uint64_t i = random.Below(4); i > 0; --i) {
    request.headers.push_back(
        {"x-" + std::to_string(random.Below(9)), std::string(random.Below(40), 'v')});
  }
  for (uint64_t i = random.Below(4); i > 0; --i) {
    std::vector<KitPart>& prompt = request.prompts.emplace_back();
    for (uint64_t j = random.Below(4); j > 0; --j) {
      const auto kind = static_cast<uint32_t>(random.Chance(2) ? 0 : random.Below(4));
      std::string bytes(random.Below(300), '\0');
      for (char& letter : bytes) letter = static_cast<char>(random.Next());
      prompt.push_back({kind, std::move(bytes)});
    }
    const bool tokenised = random.Chance(3);
    request.tokens.emplace_back(tokenised ? random.Below(500) : 0, 42u);
  }
  return request;
}

std::string RandomParameters(const weir_plugin& plugin, SeededRandom& random) {
  const json schema = json::parse(View(plugin.params_schema), nullptr, false);
  json parameters = json::object();
  if (!schema.is_object() || !schema.contains("properties")) return "{}";
  static const json kValues[] = {json(0),        json(-1),           json(1.5),
                                 json(1e300),    json(true),         json(""),
                                 json("a"),      json(nullptr),      json::array(),
                                 json::object(), json::array({"a"}), json(int64_t{1} << 62)};
  for (const auto& [key, property] : schema["properties"].items()) {
    if (random.Chance(2)) continue;
    const bool keep_default = property.contains("default") && random.Chance(2);
    parameters[key] =
        keep_default ? property["default"] : kValues[random.Below(std::size(kValues))];
  }
  return parameters.dump();
}

std::string WorkingParameters(const weir_plugin& plugin) {
  KitHost host;
  const auto defaults = KitInstance::Create(plugin, "{}", host);
  if (defaults.ok()) return "{}";
  const json schema = json::parse(View(plugin.params_schema), nullptr, false);
  if (schema.is_object() && schema.contains("examples") && schema["examples"].is_array() &&
      !schema["examples"].empty()) {
    std::string example = schema["examples"][0].dump();
    const auto instance = KitInstance::Create(plugin, example, host);
    if (instance.ok()) return example;
    throw CheckFailure("the schema's first example is refused: " +
                       std::string(instance.status().message()));
  }
  throw CheckSkipped("needs parameters; give the schema \"examples\" (create said: " +
                     std::string(defaults.status().message()) + ")");
}

}  // namespace weir::plugin_check
