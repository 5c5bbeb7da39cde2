#include "weir/io/ext_proc/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "ext_proc_testing.h"
#include "weir/io/ext_proc/header_rules.h"
#include "weir/limits.h"

namespace weir::io {
namespace {

using testing::BytesField;
using testing::DecodeAnswer;
using ::testing::ElementsAre;
using testing::EncodeRequest;
using testing::Json;
using testing::NumberField;
using testing::RealField;

ProcessingRequestView Read(std::string_view message) {
  ProcessingRequestView view;
  EXPECT_EQ(ReadProcessingRequest(message, &view), Code::kOk);
  return view;
}

Code CodeOf(std::string_view message) {
  ProcessingRequestView view;
  return ReadProcessingRequest(message, &view);
}

MATCHER_P2(IsHeader, name, value, "") { return arg.name == name && arg.value == value; }

TEST(WireReader, ReadsAllTypes) {
  const std::string message = NumberField(1, 0) + NumberField(2, UINT64_MAX) + RealField(3, -0.5) +
                              BytesField((1u << 29) - 1, "x") + std::string("\x25\x01\0\0\0", 5);
  WireReader reader(message);
  ASSERT_TRUE(reader.Next());
  EXPECT_TRUE(reader.Is(1, WireType::kVarint));
  EXPECT_EQ(reader.number(), 0u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.number(), UINT64_MAX);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.real(), -0.5);
  ASSERT_TRUE(reader.Next());
  EXPECT_TRUE(reader.Is((1u << 29) - 1, WireType::kBytes));
  EXPECT_EQ(reader.bytes(), "x");
  ASSERT_TRUE(reader.Next());
  EXPECT_TRUE(reader.Is(4, WireType::kFixed32));
  EXPECT_EQ(reader.number(), 1u);
  EXPECT_FALSE(reader.Next());
  EXPECT_TRUE(reader.ok());
}

TEST(WireReader, RefusesMalformedBytes) {
  const std::string malformed[] = {
      std::string("\x00\x00", 2),                          // field 0
      "\x08",                                              // no value
      "\x08\x80",                                          // value cut
      "\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",      // above 64 bits
      "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  // 11 bytes
      "\x0A\x05"
      "abc",                                           // longer than the message
      "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",  // length near 2^64
      "\x0B\x0C",                                      // a group
      "\x0E",
      "\x0F",  // types that do not exist
      "\x09"
      "1234567",  // 64 bits cut
      "\x0D"
      "123",                   // 32 bits cut
      "\x80\x80\x80\x80\x10",  // field 2^29
  };
  for (const std::string& message : malformed) {
    WireReader reader(message);
    while (reader.Next()) {
    }
    EXPECT_FALSE(reader.ok()) << ::testing::PrintToString(message);
  }
}

TEST(WireWriter, StopsAtItsLimit) {
  WireWriter writer;
  const std::string part(kWireWriterBytesMax / 2, 'x');
  writer.PrependBytes(1, part);
  EXPECT_FALSE(writer.full());
  writer.PrependBytes(1, part);
  EXPECT_TRUE(writer.full());
  writer.Clear();
  writer.PrependNumber(1, 300);
  EXPECT_FALSE(writer.full());
  EXPECT_EQ(writer.message(), NumberField(1, 300));
}

TEST(WireWriter, WritesTheShortestForm) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{127}, uint64_t{128}, UINT64_MAX}) {
    WireWriter writer;
    writer.PrependNumber(4, number);
    EXPECT_EQ(writer.message(), NumberField(4, number));
  }
  WireWriter writer;
  writer.PrependReal(2, 1.5);
  EXPECT_EQ(writer.message(), RealField(2, 1.5));
}

TEST(ReadProcessingRequest, ReadsEachPhase) {
  const std::pair<const char*, ExtProcPhase> phases[] = {
      {"request_headers", ExtProcPhase::kRequestHeaders},
      {"response_headers", ExtProcPhase::kResponseHeaders},
      {"request_body", ExtProcPhase::kRequestBody},
      {"response_body", ExtProcPhase::kResponseBody},
      {"request_trailers", ExtProcPhase::kRequestTrailers},
      {"response_trailers", ExtProcPhase::kResponseTrailers}};
  for (const auto& [name, phase] : phases) {
    const bool is_body =
        phase == ExtProcPhase::kRequestBody || phase == ExtProcPhase::kResponseBody;
    Json part = Json::parse(is_body ? R"({"body": "b"})" : R"({"headers": [["k", "v"]]})");
    part["end_of_stream"] = true;
    const std::string message = EncodeRequest({{name, part}});
    const ProcessingRequestView view = Read(message);
    EXPECT_EQ(view.phase, phase);
    EXPECT_EQ(view.body, is_body ? "b" : "");
    EXPECT_EQ(view.headers.empty(), is_body);
    EXPECT_EQ(view.end_of_stream, !std::string_view(name).ends_with("trailers"));
    EXPECT_FALSE(view.has_protocol_config);
  }
}

TEST(ReadProcessingRequest, ReadsWhatSurroundsThePhase) {
  const std::string message =
      EncodeRequest({{"request_headers", Json::object()},
                     {"metadata", {{"n", {{"k", "v"}}}}},
                     {"observability_mode", true},
                     {"protocol_config", {{"request_body_mode", 2}, {"response_body_mode", 99}}}});
  const ProcessingRequestView view = Read(message);
  EXPECT_TRUE(view.observability_mode);
  EXPECT_TRUE(view.has_protocol_config);
  EXPECT_EQ(view.request_body_mode, BodyMode::kBuffered);
  EXPECT_EQ(view.response_body_mode, BodyMode::kGrpc) << "what is newer than we know";
  EXPECT_EQ(FindMetadata(view.metadata, "n", "k").bytes, "v");
  EXPECT_TRUE(HasMetadata(view.metadata, "n"));
  EXPECT_FALSE(HasMetadata(view.metadata, "k"));
  EXPECT_FALSE(HasMetadata("", "n"));
}

TEST(ReadProcessingRequest, SkipsUnknownFields) {
  const std::string message = NumberField(99, 7) + BytesField(9, "attributes") + RealField(98, 1) +
                              BytesField(4, NumberField(50, 1) + BytesField(1, "b") +
                                                "\x3D"
                                                "1234") +
                              BytesField(97, "\xFF\xFF");
  EXPECT_EQ(Read(message).body, "b");
  EXPECT_EQ(Read("").phase, ExtProcPhase::kNone);
}

TEST(ReadProcessingRequest, TakesTheLastOfTwo) {
  const std::string message =
      BytesField(4, BytesField(1, "first") + NumberField(2, 1)) + BytesField(5, BytesField(1, "b"));
  const ProcessingRequestView view = Read(message);
  EXPECT_EQ(view.phase, ExtProcPhase::kResponseBody);
  EXPECT_EQ(view.body, "b");
  EXPECT_FALSE(view.end_of_stream);
}

TEST(ReadProcessingRequest, IgnoresFieldsOfAnotherType) {
  const ProcessingRequestView view =
      Read(NumberField(4, 1) + BytesField(10, "x") + NumberField(8, 2));
  EXPECT_EQ(view.phase, ExtProcPhase::kNone);
  EXPECT_FALSE(view.observability_mode);
}

TEST(ReadProcessingRequest, RefusesEachCutMessage) {
  const std::string message = EncodeRequest(Json::parse(R"({
      "request_headers": {"headers": [["name", "value"]], "end_of_stream": true},
      "metadata": {"n": {"k": [1, "a", null]}}})"));
  EXPECT_EQ(CodeOf(message), Code::kOk);
  const size_t first_field = 2 + static_cast<uint8_t>(message[1]);
  for (size_t size = 1; size < message.size(); ++size) {
    if (size == first_field) continue;  // a whole message of its own
    EXPECT_EQ(CodeOf(message.substr(0, size)), Code::kInvalidArgument) << size;
  }
}

TEST(ReadHeaders, PrefersTheRawValue) {
  const std::string message =
      EncodeRequest({{"request_headers",
                      {{"headers",
                        {{{"key", "A"}, {"value", "v"}, {"raw_value", "raw"}},
                         {{"key", "b"}, {"value", "v"}, {"raw_value", ""}},
                         {{"key", "c"}}}}}}});
  std::vector<Header> headers;
  ASSERT_EQ(ReadHeaders(Read(message).headers, &headers), Code::kOk);
  EXPECT_THAT(headers, ElementsAre(IsHeader("A", "raw"), IsHeader("b", "v"), IsHeader("c", "")));
}

TEST(ReadHeaders, KeepsItsLimit) {
  std::string map;
  for (uint32_t i = 0; i < kHeadersMax; ++i) map += BytesField(1, BytesField(1, "k"));
  std::vector<Header> headers;
  EXPECT_EQ(ReadHeaders(map, &headers), Code::kOk);
  headers.clear();
  EXPECT_EQ(ReadHeaders(map + BytesField(1, ""), &headers), Code::kResourceExhausted);
  EXPECT_EQ(headers.size(), kHeadersMax);
  headers.clear();
  EXPECT_EQ(ReadHeaders(BytesField(1, "\x0A"), &headers), Code::kInvalidArgument);
}

TEST(FindMetadata, ReadsEachKind) {
  using Kind = MetadataValue::Kind;
  const std::string message = EncodeRequest({{"request_body", Json::object()},
                                             {"metadata",
                                              {{"other", {{"s", "wrong"}}},
                                               {"n",
                                                {{"s", "text"},
                                                 {"d", 1.25},
                                                 {"b", true},
                                                 {"z", nullptr},
                                                 {"o", {{"x", 1}}},
                                                 {"l", {"a", 2, "b"}}}}}}});
  const std::string_view metadata = Read(message).metadata;
  EXPECT_EQ(FindMetadata(metadata, "n", "s").bytes, "text");
  EXPECT_EQ(FindMetadata(metadata, "n", "d").number, 1.25);
  EXPECT_EQ(FindMetadata(metadata, "n", "b").kind, Kind::kBool);
  EXPECT_EQ(FindMetadata(metadata, "n", "z").kind, Kind::kNull);
  EXPECT_EQ(FindMetadata(metadata, "n", "o").kind, Kind::kStruct);
  EXPECT_EQ(FindMetadata(metadata, "n", "absent").kind, Kind::kAbsent);
  EXPECT_EQ(FindMetadata(metadata, "absent", "s").kind, Kind::kAbsent);
  const MetadataValue list = FindMetadata(metadata, "n", "l");
  ASSERT_EQ(list.kind, Kind::kList);
  std::vector<Kind> kinds;
  EXPECT_TRUE(
      ForEachInList(list.bytes, [&](const MetadataValue& one) { kinds.push_back(one.kind); }));
  EXPECT_THAT(kinds, ElementsAre(Kind::kString, Kind::kNumber, Kind::kString));
}

TEST(FindMetadata, TreatsMalformedAsAbsent) {
  using Kind = MetadataValue::Kind;
  for (const std::string& metadata :
       {std::string("\x0A\xFF"), BytesField(1, BytesField(1, "n") + BytesField(2, "\x0A\x7F")),
        BytesField(
            1, BytesField(1, "n") +
                   BytesField(2, BytesField(1, BytesField(1, "k") + BytesField(2, "\x1A\x7F"))))}) {
    EXPECT_EQ(FindMetadata(metadata, "n", "k").kind, Kind::kAbsent);
  }
  EXPECT_FALSE(ForEachInList("\x0A\x7F", [](const MetadataValue&) {}));
}

TEST(AnswerWriter, WritesHeadersAnswers) {
  AnswerWriter writer;
  const HeaderChange set[] = {{"a", "1"}, {"b", std::string_view("\0\xFF", 2)}};
  const std::string_view remove[] = {"x", "y"};
  const NamedNumber numbers[] = {{"10.0.0.1:80", 1.5}, {"[::1]:80", 0}};
  const MetadataEntry metadata[] = {
      {.name_space = "n", .key = "k", .text = "v"},
      {.name_space = "n", .key = "m", .kind = MetadataEntry::Kind::kNumbers, .numbers = numbers},
      {.name_space = "o", .key = "k", .kind = MetadataEntry::Kind::kNumber, .number = 7}};
  Json expected = Json::parse(R"({
      "request_headers": {"set": [["a", "1"], ["b"]], "remove": ["x", "y"],
                          "clear_route_cache": true},
      "dynamic_metadata": {"n": {"k": "v", "m": {"10.0.0.1:80": 1.5, "[::1]:80": 0.0}},
                           "o": {"k": 7.0}}})");
  expected["request_headers"]["set"][1].push_back(std::string(set[1].value));
  EXPECT_EQ(DecodeAnswer(writer.Headers(ExtProcPhase::kRequestHeaders,
                                        {.set = set, .remove = remove, .clear_route_cache = true},
                                        metadata)),
            expected);
  EXPECT_EQ(DecodeAnswer(writer.Headers(ExtProcPhase::kResponseHeaders, {})),
            Json({{"response_headers", Json::object()}}));
  const ModeOverride mode{.response_headers = HeaderMode::kSend,
                          .request_body = BodyMode::kFullDuplexStreamed,
                          .request_trailers = HeaderMode::kSend,
                          .response_trailers = HeaderMode::kSkip};
  EXPECT_EQ(DecodeAnswer(writer.Headers(ExtProcPhase::kRequestHeaders, {}, {}, &mode)),
            Json({{"request_headers", Json::object()},
                  {"mode_override", {{"2", 1}, {"3", 4}, {"5", 1}, {"6", 2}}}}));
}

TEST(AnswerWriter, WritesBodyAnswers) {
  AnswerWriter writer;
  const auto whole = [&](ExtProcPhase phase, BodyAnswerFields fields, const std::string& body) {
    fields.body_bytes = body.size();
    return DecodeAnswer(std::string(writer.BodyHead(phase, fields)) + body);
  };
  for (const size_t size : {1, 100, 127, 128, 16383, 16384, 62000}) {
    const std::string body(size, 'x');
    EXPECT_EQ(whole(ExtProcPhase::kRequestBody, {.end_of_stream = true}, body),
              Json({{"request_body", {{"streamed", body}, {"end_of_stream", true}}}}));
    EXPECT_EQ(whole(ExtProcPhase::kResponseBody, {.kind = BodyAnswer::kReplace}, body),
              Json({{"response_body", {{"replace", body}}}}));
  }
  EXPECT_EQ(whole(ExtProcPhase::kResponseBody, {}, ""),
            Json({{"response_body", {{"streamed", ""}}}}));
  EXPECT_EQ(whole(ExtProcPhase::kResponseBody, {.kind = BodyAnswer::kUnchanged}, ""),
            Json({{"response_body", Json::object()}}));
  EXPECT_EQ(whole(ExtProcPhase::kResponseBody, {.kind = BodyAnswer::kClear}, ""),
            Json({{"response_body", {{"clear", true}}}}));
  const HeaderChange set[] = {{"a", "1"}};
  const MetadataEntry metadata[] = {{.name_space = "n", .key = "k", .text = "v"}};
  EXPECT_EQ(
      whole(ExtProcPhase::kRequestBody,
            {.kind = BodyAnswer::kReplace, .changes = {.set = set}, .metadata = metadata}, "b"),
      Json::parse(R"({"request_body": {"set": [["a", "1"]], "replace": "b"},
                      "dynamic_metadata": {"n": {"k": "v"}}})"));
}

TEST(AnswerWriter, WritesTrailersAndImmediateAnswers) {
  AnswerWriter writer;
  EXPECT_EQ(DecodeAnswer(writer.Trailers(ExtProcPhase::kRequestTrailers)),
            Json({{"request_trailers", Json::object()}}));
  const HeaderChange set[] = {{"r", "s"}};
  EXPECT_EQ(
      DecodeAnswer(writer.Immediate(429, set, "no")),
      Json::parse(R"({"immediate_response": {"status": 429, "set": [["r", "s"]], "body": "no"}})"));
  EXPECT_EQ(DecodeAnswer(writer.Immediate(400, {}, "")),
            Json({{"immediate_response", {{"status", 400}}}}));
}

// The bytes of another implementation. What DecodeAnswer() makes of its answers vouches for the
// tests above; field order differs, as protobuf allows.
class ProtobufTest : public ::testing::Test {
 protected:
  ProtobufTest() {
    std::ifstream file(WEIR_SOURCE_DIR "/tests/golden/ext_proc_messages/messages.json");
    golden_ = Json::parse(file);
  }
  static std::string BytesOf(const Json& one) {
    const std::string hex = one["hex"];
    std::string out;
    for (size_t i = 0; i < hex.size(); i += 2) {
      out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return out;
  }
  Json golden_;
};

TEST_F(ProtobufTest, ReadsItsRequests) {
  ASSERT_FALSE(golden_["requests"].empty());
  for (const Json& one : golden_["requests"]) {
    SCOPED_TRACE(one["message"].dump());
    const std::string bytes = BytesOf(one);
    const std::string own = EncodeRequest(one["message"]);
    const ProcessingRequestView view = Read(bytes);
    const ProcessingRequestView expected = Read(own);
    EXPECT_EQ(view.phase, expected.phase);
    EXPECT_EQ(view.end_of_stream, expected.end_of_stream);
    EXPECT_EQ(view.observability_mode, expected.observability_mode);
    EXPECT_EQ(view.has_protocol_config, expected.has_protocol_config);
    EXPECT_EQ(view.request_body_mode, expected.request_body_mode);
    EXPECT_EQ(view.response_body_mode, expected.response_body_mode);
    EXPECT_EQ(view.body, expected.body);
    std::vector<Header> headers, expected_headers;
    EXPECT_EQ(ReadHeaders(view.headers, &headers), Code::kOk);
    EXPECT_EQ(ReadHeaders(expected.headers, &expected_headers), Code::kOk);
    ASSERT_EQ(headers.size(), expected_headers.size());
    for (size_t i = 0; i < headers.size(); ++i) {
      EXPECT_THAT(headers[i], IsHeader(expected_headers[i].name, expected_headers[i].value));
    }
    const Json metadata = one["message"].value("metadata", Json::object());
    for (const auto& [name_space, fields] : metadata.items()) {
      for (const auto& [key, value] : fields.items()) {
        const MetadataValue found = FindMetadata(view.metadata, name_space, key);
        EXPECT_NE(found.kind, MetadataValue::Kind::kAbsent) << key;
        EXPECT_EQ(found.kind, FindMetadata(expected.metadata, name_space, key).kind) << key;
        if (value.is_string()) {
          EXPECT_EQ(found.bytes, value.get<std::string>());
        } else if (value.is_number()) {
          EXPECT_EQ(found.number, value.get<double>());
        }
      }
    }
  }
}

TEST_F(ProtobufTest, UnderstandsItsAnswers) {
  ASSERT_FALSE(golden_["answers"].empty());
  for (const Json& one : golden_["answers"]) {
    EXPECT_EQ(DecodeAnswer(BytesOf(one)), one["message"]);
  }
}

TEST(HeaderRules, KnowWhoMaySetWhat) {
  EXPECT_EQ(RuleOf("x-prefiller-host-port"), HeaderRule::kRouting);
  EXPECT_EQ(RuleOf("x-gateway-destination-endpoint"), HeaderRule::kOutput);
  EXPECT_EQ(RuleOf("x-gateway-destination-endpoint-subset"), HeaderRule::kControl);
  EXPECT_EQ(RuleOf("x-llm-d-slo-ttft-ms"), HeaderRule::kControl);
  EXPECT_EQ(RuleOf("content-length"), HeaderRule::kOutput);
  EXPECT_EQ(RuleOf("x-gateway-destination"), HeaderRule::kFree);
  EXPECT_EQ(RuleOf("content-type"), HeaderRule::kFree);
  EXPECT_EQ(RuleOf(""), HeaderRule::kFree);
  char name[] = "X-Ab[`";
  LowerCase(name, 6);
  EXPECT_STREQ(name, "x-ab[`");
}

}  // namespace
}  // namespace weir::io
