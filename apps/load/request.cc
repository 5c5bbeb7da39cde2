#include "load/request.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "load/text.h"

namespace weir::load {

void AppendBody(const RequestShape& shape, const Source& source, const Item& item,
                std::string& out) {
  out += "{\"model\":\"";
  AppendJsonEscaped(shape.model, out);
  out += "\",";
  source.Render(item, out);
  absl::StrAppend(&out, ",\"max_tokens\":", item.output_tokens);
  out += shape.streaming ? ",\"stream\":true" : ",\"stream\":false";
  if (shape.streaming && shape.include_usage) {
    out += ",\"stream_options\":{\"include_usage\":true}";
  }
  if (shape.ignore_eos) out += ",\"ignore_eos\":true";
  if (!shape.extra_members.empty()) {
    out += ',';
    out += shape.extra_members;
  }
  out += '}';
}

absl::StatusOr<std::string> MembersOf(std::string_view object) {
  const nlohmann::json parsed = nlohmann::json::parse(object, nullptr, false);
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::string_view(object.data(), object.size()),
                     "\", expected a JSON object such as {\"temperature\": 0}"));
  }
  const std::string text = parsed.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.substr(1, text.size() - 2);
}

absl::StatusOr<Target> ParseTarget(std::string_view url, Api api) {
  const absl::string_view given(url.data(), url.size());
  const auto bad = [&given] {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", given, "\", expected http://host[:port][/path] or https://host[:port][/path]"));
  };
  Target target;
  std::string_view rest = url;
  if (absl::StartsWith(given, "http://")) {
    rest.remove_prefix(7);
  } else if (absl::StartsWith(given, "https://")) {
    target.tls = true;
    rest.remove_prefix(8);
  } else {
    return bad();
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string path(rest.substr(slash));
  std::string_view authority = rest.substr(0, slash);
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7F' || c == '@' || c == '#') return bad();
  }
  std::string_view port;
  if (!authority.empty() && authority[0] == '[') {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad();
    target.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    if (!port.empty() && port[0] != ':') return bad();
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    target.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  uint32_t number = target.tls ? 443 : 80;
  if (!port.empty() &&
      (!absl::SimpleAtoi(absl::string_view(port.data() + 1, port.size() - 1), &number) ||
       number < 1 || number > 65535)) {
    return bad();
  }
  if (target.host.empty()) return bad();
  target.port = static_cast<uint16_t>(number);
  const bool v6 = target.host.find(':') != std::string::npos;
  target.authority = absl::StrCat(v6 ? "[" : "", target.host, v6 ? "]" : "", ":", number);
  while (!path.empty() && path.back() == '/') path.pop_back();
  const char* end = api == Api::kChat ? "/chat/completions" : "/completions";
  if (absl::EndsWith(path, "/completions")) {
    target.path = path;
  } else if (absl::EndsWith(path, "/v1")) {
    target.path = path + end;
  } else {
    target.path = path + "/v1" + end;
  }
  return target;
}

}  // namespace weir::load
