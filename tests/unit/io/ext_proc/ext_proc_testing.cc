#include "ext_proc_testing.h"

#include <bit>
#include <cstring>
#include <utility>

namespace weir::io::testing {
namespace {

constexpr std::pair<const char*, uint32_t> kRequestFields[] = {
    {"request_headers", 2}, {"response_headers", 3}, {"request_body", 4},
    {"response_body", 5},   {"request_trailers", 6}, {"response_trailers", 7}};
constexpr std::pair<const char*, uint32_t> kAnswerFields[] = {
    {"request_headers", 1}, {"response_headers", 2}, {"request_body", 3},
    {"response_body", 4},   {"request_trailers", 5}, {"response_trailers", 6}};

std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(0x80 | (value & 0x7F)));
  out.push_back(static_cast<char>(value));
  return out;
}

std::string Value(const Json& value);

std::string Struct(const Json& object) {
  std::string out;
  for (const auto& [key, value] : object.items()) {
    out += BytesField(1, BytesField(1, key) + BytesField(2, Value(value)));
  }
  return out;
}

std::string Value(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return NumberField(1, 0);
    case Json::value_t::string:
      return BytesField(3, value.get<std::string>());
    case Json::value_t::boolean:
      return NumberField(4, value.get<bool>() ? 1 : 0);
    case Json::value_t::object:
      return BytesField(5, Struct(value));
    case Json::value_t::array: {
      std::string list;
      for (const Json& element : value) list += BytesField(1, Value(element));
      return BytesField(6, list);
    }
    default:
      return RealField(2, value.get<double>());
  }
}

std::string HeaderMap(const Json& headers) {
  std::string out;
  for (const Json& header : headers) {
    std::string one;
    if (header.is_array()) {
      one =
          BytesField(1, header[0].get<std::string>()) + BytesField(3, header[1].get<std::string>());
    } else {
      one = BytesField(1, header.at("key").get<std::string>());
      if (header.contains("value")) one += BytesField(2, header["value"].get<std::string>());
      if (header.contains("raw_value"))
        one += BytesField(3, header["raw_value"].get<std::string>());
    }
    out += BytesField(1, one);
  }
  return out;
}

std::string Body(const Json& body) {
  if (body.is_string()) return body.get<std::string>();
  std::string out;
  for (uint64_t i = 0; i < body[0].get<uint64_t>(); ++i) out += body[1].get<std::string>();
  return out;
}

// A message as its fields; numbers as their eight bytes.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

struct Malformed {};

uint64_t TakeVarint(std::string_view* rest) {
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < 70; shift += 7) {
    if (rest->empty()) throw Malformed();
    const auto byte = static_cast<uint8_t>(rest->front());
    rest->remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  throw Malformed();
}

std::vector<Field> Fields(std::string_view message) {
  std::vector<Field> out;
  while (!message.empty()) {
    const uint64_t tag = TakeVarint(&message);
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    size_t size = 8;
    if ((tag & 7) == 0) {
      field.value = TakeVarint(&message);
      size = 0;
    } else if ((tag & 7) == 2) {
      size = TakeVarint(&message);
    } else if ((tag & 7) != 1) {
      throw Malformed();
    }
    if (size > message.size()) throw Malformed();
    field.bytes = message.substr(0, size);
    message.remove_prefix(size);
    out.push_back(field);
  }
  return out;
}

Json DecodeValue(std::string_view message);

Json DecodeStruct(std::string_view message) {
  Json out = Json::object();
  for (const Field& entry : Fields(message)) {
    std::string key;
    Json value;
    for (const Field& part : Fields(entry.bytes)) {
      if (part.number == 1) key = part.bytes;
      if (part.number == 2) value = DecodeValue(part.bytes);
    }
    out[key] = value;
  }
  return out;
}

Json DecodeValue(std::string_view message) {
  for (const Field& field : Fields(message)) {
    if (field.number == 3) return std::string(field.bytes);
    if (field.number == 5) return DecodeStruct(field.bytes);
    if (field.number == 2 && field.bytes.size() == 8) {
      double value = 0;
      std::memcpy(&value, field.bytes.data(), 8);
      return value;
    }
    throw Malformed();
  }
  return nullptr;
}

void DecodeMutation(std::string_view message, Json* out) {
  for (const Field& field : Fields(message)) {
    if (field.number == 2) (*out)["remove"].push_back(std::string(field.bytes));
    if (field.number != 1) continue;
    std::string name, value;
    uint64_t action = 0;
    for (const Field& option : Fields(field.bytes)) {
      if (option.number == 3) action = option.value;
      if (option.number != 1) continue;
      for (const Field& part : Fields(option.bytes)) {
        if (part.number == 1) name = part.bytes;
        if (part.number == 3) value = part.bytes;
        if (part.number == 2) throw Malformed();  // raw_value is what proxies take
      }
    }
    if (action != 2) throw Malformed();  // OVERWRITE_IF_EXISTS_OR_ADD
    (*out)["set"].push_back({name, value});
  }
}

Json DecodeCommon(std::string_view message) {
  Json out = Json::object();
  for (const Field& outer : Fields(message)) {
    for (const Field& field : Fields(outer.bytes)) {
      if (field.number == 2) DecodeMutation(field.bytes, &out);
      if (field.number == 5) out["clear_route_cache"] = field.value != 0;
      if (field.number != 3) continue;
      for (const Field& mutation : Fields(field.bytes)) {
        if (mutation.number == 1) out["replace"] = std::string(mutation.bytes);
        if (mutation.number == 2) out["clear"] = true;
        if (mutation.number != 3) continue;
        out["streamed"] = "";
        for (const Field& part : Fields(mutation.bytes)) {
          if (part.number == 1) out["streamed"] = std::string(part.bytes);
          if (part.number == 2) out["end_of_stream"] = part.value != 0;
        }
      }
    }
  }
  return out;
}

Json DecodeImmediate(std::string_view message) {
  Json out = Json::object();
  for (const Field& field : Fields(message)) {
    if (field.number == 1) out["status"] = Fields(field.bytes).at(0).value;
    if (field.number == 2) DecodeMutation(field.bytes, &out);
    if (field.number == 3) out["body"] = std::string(field.bytes);
  }
  return out;
}

}  // namespace

std::string NumberField(uint32_t field, uint64_t value) {
  return Varint(uint64_t{field} << 3) + Varint(value);
}

std::string BytesField(uint32_t field, std::string_view bytes) {
  return Varint(uint64_t{field} << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

std::string RealField(uint32_t field, double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  std::string out = Varint(uint64_t{field} << 3 | 1);
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(bits >> shift));
  return out;
}

std::string EncodeRequest(const Json& message) {
  std::string out;
  for (const auto& [name, field] : kRequestFields) {
    if (!message.contains(name)) continue;
    const Json& part = message[name];
    std::string inner;
    if (part.contains("headers")) inner += BytesField(1, HeaderMap(part["headers"]));
    if (part.contains("body")) inner += BytesField(1, Body(part["body"]));
    const bool is_headers = field == 2 || field == 3;
    if (part.value("end_of_stream", false)) inner += NumberField(is_headers ? 3 : 2, 1);
    out += BytesField(field, inner);
  }
  if (message.contains("metadata")) {
    std::string metadata;
    for (const auto& [name, fields] : message["metadata"].items()) {
      metadata += BytesField(1, BytesField(1, name) + BytesField(2, Struct(fields)));
    }
    out += BytesField(8, metadata);
  }
  if (message.value("observability_mode", false)) out += NumberField(10, 1);
  if (message.contains("protocol_config")) {
    const Json& config = message["protocol_config"];
    out += BytesField(11, NumberField(1, config.value("request_body_mode", 0)) +
                              NumberField(2, config.value("response_body_mode", 0)));
  }
  return out;
}

Json DecodeAnswer(std::string_view message) {
  try {
    Json out = Json::object();
    for (const Field& field : Fields(message)) {
      for (const auto& [name, number] : kAnswerFields) {
        if (number == field.number) out[name] = DecodeCommon(field.bytes);
      }
      if (field.number == 7) out["immediate_response"] = DecodeImmediate(field.bytes);
      if (field.number == 8) out["dynamic_metadata"] = DecodeStruct(field.bytes);
      if (field.number == 9) {
        for (const Field& mode : Fields(field.bytes)) {
          out["mode_override"][std::to_string(mode.number)] = mode.value;
        }
      }
    }
    return out;
  } catch (const Malformed&) {
    return {{"malformed", true}};
  }
}

void RecordingOutput::Send(std::string_view head, std::string_view body, bool body_is_kept) {
  raw_.push_back(std::string(head) + std::string(body));
  kept_a_body = kept_a_body || body_is_kept;
  ++messages;
}

void RecordingOutput::Finish(Code how, std::string_view why) {
  finished = true;
  code = how;
  text = why;
}

std::vector<Json> RecordingOutput::TakeAnswers() {
  std::vector<Json> out;
  for (const std::string& message : std::exchange(raw_, {})) out.push_back(DecodeAnswer(message));
  return out;
}

}  // namespace weir::io::testing
