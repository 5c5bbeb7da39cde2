#include "weir/io/decision_log/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "sample_log.h"
#include "weir/io/decision_log/wire.h"

namespace weir::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

// A log whose second frame holds these bytes, under a right checksum.
std::string LogWith(const std::string& payload) {
  std::string bytes = LogOf({}, 1);
  const uint64_t offset = bytes.size();
  WireOut out(&bytes);
  out.Fixed32(static_cast<uint32_t>(payload.size()));
  out.Fixed64(FrameChecksum(payload, offset));
  return bytes + payload;
}

std::string Record(uint64_t type, const std::string& body) {
  std::string bytes;
  WireOut out(&bytes);
  out.Number(type);
  out.Bytes(body);
  return bytes;
}

TEST(DecisionLogReaderTest, ReadsBackWhatWasWritten) {
  for (const size_t records_per_frame : {1, 2, 3, 100}) {
    const std::vector<LogRecord> records = SampleRecords();
    const std::string bytes = LogOf(records, records_per_frame);
    auto reader =
        DecisionLogReader::FromStream(std::make_unique<std::istringstream>(bytes), "test.log");
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ((*reader)->header(), SampleHeader());
    LoggedPool pool;
    for (size_t i = 0; i < records.size(); ++i) {
      const auto record = (*reader)->Next();
      ASSERT_TRUE(record.ok()) << record.status();
      ASSERT_NE(*record, nullptr);
      EXPECT_EQ(**record, records[i]) << "record " << i;
      if (const auto* delta = std::get_if<PoolDelta>(&records[i])) pool.Apply(*delta);
      EXPECT_EQ((*reader)->pool().endpoints, pool.endpoints);
    }
    const auto end = (*reader)->Next();
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(*end, nullptr);
    EXPECT_TRUE((*reader)->closed());
    EXPECT_EQ((*reader)->pool().endpoints.size(), 3u);
    EXPECT_EQ((*reader)->pool().endpoints[1].labels.at("zone"), "c");
  }
}

TEST(DecisionLogReaderTest, ACutIsFoundAtEveryByte) {
  const std::vector<LogRecord> records = SampleRecords();
  const std::string whole = LogOf(records, 2);
  const size_t header_end = LogOf({}, 1).size();
  size_t clean_ends = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    const ReadResult result = ReadAll(whole.substr(0, size));
    ASSERT_LE(result.records.size(), records.size());
    EXPECT_TRUE(std::equal(result.records.begin(), result.records.end(), records.begin()));
    EXPECT_FALSE(result.closed);
    if (result.status.ok()) {
      ++clean_ends;  // between two frames: as if the writer had been killed there
      EXPECT_GE(size, header_end);
    } else {
      EXPECT_THAT(std::string(result.status.message()), StartsWith("test.log: byte "));
      EXPECT_EQ(result.status.code(), size < kLogMagic.size() ? absl::StatusCode::kInvalidArgument
                                                              : absl::StatusCode::kDataLoss);
    }
  }
  EXPECT_EQ(clean_ends, records.size() / 2) << "one per frame";
}

TEST(DecisionLogReaderTest, AChangeIsFoundAtEveryByte) {
  const std::vector<LogRecord> records = SampleRecords();
  const std::string whole = LogOf(records, 2);
  for (size_t place = 0; place < whole.size(); ++place) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      if (place >= 12 && place < 16) continue;  // the minor version, which a reader takes as it is
      std::string changed = whole;
      changed[place] = static_cast<char>(changed[place] ^ flip);
      const ReadResult result = ReadAll(changed);
      EXPECT_FALSE(result.status.ok()) << "byte " << place;
      EXPECT_TRUE(std::equal(result.records.begin(), result.records.end(), records.begin()));
    }
  }
}

TEST(DecisionLogReaderTest, NamesFileByteAndField) {
  const std::string header = LogOf({}, 1);
  const auto error = [](const std::string& bytes) {
    return std::string(ReadAll(bytes).status.message());
  };
  EXPECT_EQ(error("weirlog"), "test.log: byte 0: not a decision log of weir");
  const std::string place = "test.log: byte " + std::to_string(header.size()) + ": ";
  EXPECT_EQ(error(LogWith(std::string("\x03\x7F", 2))),
            place + "record at +0: longer than its frame");
  EXPECT_EQ(error(LogWith(Record(0, ""))), place + "record at +0: type 0");
  EXPECT_EQ(error(LogWith(Record(4, "\x80"))),
            place + "record at +0 of type 4: begin of a flight: cut short or out of range");
  EXPECT_EQ(error(LogWith(Record(1, ""))).find(place + "record at +0 of type 1"), 0u);
  // A decision that names row 7 of an empty pool.
  LogEncoder encoder;
  encoder.Append(LoggedDecision{.number = 1,
                                .profiles = {{.index = 0, .failed = false, .picks = {{7, 1.0}}}}});
  encoder.CloseFrame();
  const std::string payload = encoder.bytes().substr(kLogHeadBytes + kFrameHeadBytes);
  EXPECT_EQ(error(LogWith(payload)),
            place + "record at +0 of type 3: profiles: cut short or out of range");
  EXPECT_EQ(DecisionLogReader::Open("/nonexistent/log").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(DecisionLogReaderTest, RefusesAnotherVersion) {
  std::string bytes = LogOf(SampleRecords(), 2);
  bytes[kLogMagic.size()] = 2;
  const ReadResult result = ReadAll(bytes);
  EXPECT_EQ(result.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(result.status.message(),
            "test.log: byte 8: format version 2, this weir reads version 1");
}

TEST(DecisionLogReaderTest, SkipsRecordsAndFieldsOfALaterMinorVersion) {
  std::string begin_and_more;
  WireOut out(&begin_and_more);
  out.Signed(0);   // flight
  out.Signed(-4);  // decision
  out.Number(2);
  out.Signed(77);
  begin_and_more += "fields that later versions may append";
  const ReadResult result =
      ReadAll(LogWith(Record(9, "something new") + Record(4, begin_and_more) + Record(1000, "")));
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.skipped, 2u);
  ASSERT_THAT(result.records, SizeIs(1));
  EXPECT_EQ(std::get<LoggedBegin>(result.records[0]),
            (LoggedBegin{.flight = 1, .decision = 4, .target_index = 2, .now_ns = 77}));
}

TEST(DecisionLogReaderTest, RefusesWhatCannotFollow) {
  const auto error = [](const std::string& bytes) {
    return std::string(ReadAll(bytes).status.message());
  };
  std::string two_headers = LogOf({}, 1);
  const std::string header_frame = two_headers.substr(kLogHeadBytes);
  EXPECT_THAT(error(LogWith(header_frame.substr(kFrameHeadBytes))),
              HasSubstr("a second header record"));
  EXPECT_THAT(error(two_headers + header_frame), HasSubstr("checksum"))
      << "a frame is bound to its place";
  EXPECT_THAT(error(std::string(kLogMagic) + std::string("\1\0\0\0\0\0\0\0", 8)),
              HasSubstr("no header record"));
  std::string after_end = LogOf({LogEnd{}}, 1);
  const std::string payload = Record(9, "x");
  const uint64_t offset = after_end.size();
  WireOut out(&after_end);
  out.Fixed32(static_cast<uint32_t>(payload.size()));
  out.Fixed64(FrameChecksum(payload, offset));
  EXPECT_THAT(error(after_end + payload), HasSubstr("bytes after the end of the log"));
  EXPECT_THAT(error(LogWith(Record(8, std::string(3, '\0')) + payload)),
              HasSubstr("bytes after the end of the log"));
}

TEST(DecisionLogReaderTest, KeepsOneErrorAndItsPlace) {
  const std::string whole = LogOf(SampleRecords(), 2);
  auto reader = DecisionLogReader::FromStream(
      std::make_unique<std::istringstream>(whole.substr(0, whole.size() - 1)), "test.log");
  ASSERT_TRUE(reader.ok());
  absl::Status status;
  while (status.ok()) status = (*reader)->Next().status();
  EXPECT_EQ((*reader)->Next().status(), status);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("byte " + std::to_string((*reader)->frame_offset())),
                    HasSubstr("of which the file has")));
}

TEST(DecisionLogReaderTest, WritesPrefixesOnceUpToTheLimitOfNodes) {
  LogEncoder encoder;
  encoder.Append(SampleHeader());
  std::vector<LogRecord> records;
  uint64_t next_hash = 1;
  // Each prompt repeats its predecessor's blocks and adds some; every 16 start anew.
  std::vector<uint64_t> hashes;
  for (uint32_t i = 0; i < 40; ++i) {
    if (i % 16 == 0) hashes.clear();
    for (uint32_t block = 0; block < 1000; ++block) hashes.push_back(next_hash++);
    LoggedDecision decision{.number = i + 1};
    decision.request.prompts = {{.token_count = hashes.size() * 64, .block_hashes = hashes}};
    encoder.Append(decision);
    records.emplace_back(decision);
  }
  encoder.CloseFrame();
  EXPECT_LT(encoder.bytes().size(), 40 * 1000 * 8 + 4096u) << "each block once";
  const size_t before = encoder.bytes().size();
  // Beyond the limit both sides forget and begin anew.
  for (uint32_t i = 0; i < 40; ++i) {
    hashes.clear();
    for (uint32_t b = 0; b < kDecisionLogBlocksMax; ++b) hashes.push_back(next_hash++);
    LoggedDecision decision{.number = 41 + i};
    decision.request.prompts = {{.token_count = hashes.size() * 64, .block_hashes = hashes}};
    encoder.Append(decision);
    records.emplace_back(decision);
  }
  encoder.CloseFrame();
  EXPECT_GT(encoder.bytes().size() - before, 40u * kDecisionLogBlocksMax * 8);
  const ReadResult result = ReadAll(encoder.bytes());
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.records, records);
}

TEST(DecisionLogReaderTest, KeepsTextsUpToTheirLimit) {
  LogEncoder encoder;
  encoder.Append(SampleHeader());
  std::vector<LogRecord> records;
  for (uint32_t i = 0; i < kDecisionLogStringsMax + 100; ++i) {
    LoggedDecision decision{.number = i + 1};
    decision.request.model = "model-" + std::to_string(i % (kDecisionLogStringsMax + 50));
    encoder.Append(decision);
    records.emplace_back(decision);
  }
  encoder.CloseFrame();
  const ReadResult result = ReadAll(encoder.bytes());
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.records, records);
}

TEST(DecisionLogReaderTest, DividesAPoolOfManyLabels) {
  PoolDelta delta{.version = 1, .pool_epoch = 1};
  for (uint32_t i = 0; i < 200; ++i) {
    LoggedEndpoint endpoint{.id = {i, 0}, .name = "n/" + std::to_string(i), .address = "h:1"};
    endpoint.attributes.resize(SampleHeader().attribute_count);
    for (uint32_t label = 0; label < kLabelsPerEndpointMax; ++label) {
      endpoint.labels["key-" + std::to_string(label)] =
          std::to_string(i * 100 + label) + std::string(400, 'v');
    }
    delta.added.push_back(endpoint);
  }
  const std::string bytes = LogOf({delta}, 1);
  EXPECT_GT(bytes.size(), kDecisionLogRecordBytesMax);
  auto reader =
      DecisionLogReader::FromStream(std::make_unique<std::istringstream>(bytes), "test.log");
  ASSERT_TRUE(reader.ok()) << reader.status();
  size_t record_count = 0;
  while (true) {
    const auto record = (*reader)->Next();
    ASSERT_TRUE(record.ok()) << record.status();
    if (*record == nullptr) break;
    ++record_count;
  }
  EXPECT_GT(record_count, 3u);
  EXPECT_EQ((*reader)->pool().endpoints, delta.added);
}

}  // namespace
}  // namespace weir::io
