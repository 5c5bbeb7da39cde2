// Conversations of the protocol, as data: what a proxy sends and what it must get.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "stream_testing.h"

namespace weir::io {
namespace {

using testing::EncodeRequest;
using testing::Json;
using testing::Picker;
using testing::RecordingOutput;

// Numbers to four places, lists of headers in order of their names.
Json Normal(Json value) {
  if (value.is_number_float()) return std::round(value.get<double>() * 1e4) / 1e4;
  if (value.is_array()) {
    for (Json& one : value) one = Normal(one);
  }
  if (!value.is_object()) return value;
  for (auto& [name, one] : value.items()) {
    one = Normal(one);
    if (name == "set" || name == "remove") std::sort(one.begin(), one.end());
  }
  return value;
}

// Version 4, in lower case.
bool IsRandomUuid(std::string_view text) {
  constexpr std::string_view kShape = "xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
  constexpr std::string_view kDigits = "0123456789abcdef", kVariants = "89ab";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char want = kShape[i];
    if (want == 'x'   ? kDigits.find(text[i]) == kDigits.npos
        : want == 'v' ? kVariants.find(text[i]) == kVariants.npos
                      : text[i] != want) {
      return false;
    }
  }
  return true;
}

// Puts what `expected` leaves open into the form in which it says so.
void Align(const Json& expected, Json* actual) {
  for (auto& [name, part] : actual->items()) {
    if (!expected.contains(name) || !part.is_object()) continue;
    const Json& wanted = expected[name];
    if (wanted.contains("streamed_bytes") && part.contains("streamed")) {
      part["streamed_bytes"] = part["streamed"].get<std::string>().size();
      part.erase("streamed");
    }
    const std::string body = wanted.value("body", "");
    if (body.starts_with("<prefix>")) {
      part["body"] = "<prefix>" + part.value("body", "").substr(0, body.size() - 8);
    }
    if (!part.contains("set")) continue;
    for (Json& header : part["set"]) {
      if (header[0] == "x-request-id" && IsRandomUuid(header[1].get<std::string>())) {
        header[1] = "<uuid>";
      }
    }
  }
}

// Every member of `expected` is in `actual`.
void ExpectEvents(const Json& expected, const Json& actual) {
  ASSERT_EQ(actual.size(), expected.size()) << actual;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].is_object()) {
      EXPECT_EQ(actual[i], expected[i]);
      continue;
    }
    for (const auto& [name, value] : expected[i].items()) {
      EXPECT_EQ(actual[i].value(name, Json()), value) << name << " of " << actual[i];
    }
  }
}

class Conversation {
 public:
  explicit Conversation(const Json& test)
      : picker_(testing::PipelineOf(test.value("pipeline", "scorers")), test["endpoints"],
                testing::OptionsOf(test.value("options", Json::object()))),
        stream_(picker_.core) {}

  void Run(const Json& test) {
    stream_.Begin(output_);
    for (const Json& step : test["steps"]) {
      Step(step);
      if (::testing::Test::HasFailure()) break;
    }
    EXPECT_TRUE(Pending().empty()) << "left over: " << Json(pending_);
    stream_.OnCancel(true);
    stream_.OnSent();
    EXPECT_EQ(picker_.InFlight(), 0u);
    EXPECT_EQ(picker_.held.held(), 0u);
    EXPECT_EQ(picker_.metrics.running, 0);
    EXPECT_EQ(picker_.metrics.streams, 0);
    const Json events = test.value("events", Json::object());
    if (events.contains("routed")) ExpectEvents(events["routed"], picker_.metrics.routed);
    if (events.contains("ended")) ExpectEvents(events["ended"], picker_.metrics.ended);
    if (events.contains("errors")) ExpectEvents(events["errors"], picker_.metrics.errors);
  }

 private:
  void Step(const Json& step) {
    SCOPED_TRACE(step.dump());
    if (step.contains("expect")) {
      ASSERT_FALSE(Pending().empty()) << "no answer; ended with " << output_.text;
      Json answer = pending_.front();
      pending_.erase(pending_.begin());
      Align(step["expect"], &answer);
      EXPECT_EQ(Normal(answer), Normal(step["expect"]));
      return;
    }
    if (step.contains("in_flight")) {
      for (const auto& [address, count] : step["in_flight"].items()) {
        EXPECT_EQ(picker_.InFlight(address), count) << address;
      }
      return;
    }
    EXPECT_TRUE(Pending().empty()) << "not expected: " << Json(pending_);
    if (step.contains("end")) {
      EXPECT_TRUE(output_.finished);
      EXPECT_EQ(CodeName(output_.code), step["end"]["code"]);
      EXPECT_EQ(output_.text, step["end"].value("text", ""));
      return;
    }
    EXPECT_EQ(output_.finished, stream_.ended());
    picker_.clock.Advance(1'000'000);
    if (step.contains("send")) {
      // A buffer of its own size, so that a sanitizer sees what is read outside of it.
      const std::string message = EncodeRequest(step["send"]);
      const std::vector<char> bytes(message.begin(), message.end());
      stream_.OnMessage({bytes.data(), bytes.size()});
    }
    if (step.contains("half_close")) stream_.OnPeerDone();
    if (step.contains("cancel")) {
      stream_.OnCancel(true);
      output_.finished = true;
    }
  }

  const std::vector<Json>& Pending() {
    for (Json& answer : output_.TakeAnswers()) pending_.push_back(std::move(answer));
    return pending_;
  }

  Picker picker_;
  RecordingOutput output_;
  ExtProcStream stream_;
  std::vector<Json> pending_;
};

struct GoldenCase {
  std::string file;
  Json test;
};

void PrintTo(const GoldenCase& golden, std::ostream* out) {
  *out << golden.file << ": " << golden.test["name"].get<std::string>();
}

std::vector<GoldenCase> AllCases() {
  std::vector<GoldenCase> out;
  for (const auto& entry :
       std::filesystem::directory_iterator(WEIR_SOURCE_DIR "/tests/golden/ext_proc")) {
    std::ifstream file(entry.path());
    const Json golden = Json::parse(file);
    for (const Json& test : golden["cases"]) {
      out.push_back({entry.path().stem().string(), test});
    }
  }
  return out;
}

class ExtProcGoldenTest : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(ExtProcGoldenTest, Answers) {
  SCOPED_TRACE(GetParam().test["name"].get<std::string>());
  Conversation(GetParam().test).Run(GetParam().test);
}

INSTANTIATE_TEST_SUITE_P(All, ExtProcGoldenTest, ::testing::ValuesIn(AllCases()),
                         [](const ::testing::TestParamInfo<GoldenCase>& info) {
                           std::string name =
                               info.param.file + "_" + info.param.test["name"].get<std::string>();
                           for (char& c : name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           }
                           return name + "_" + std::to_string(info.index);
                         });

}  // namespace
}  // namespace weir::io
