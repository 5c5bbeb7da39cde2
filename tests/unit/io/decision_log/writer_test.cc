#include "weir/io/decision_log/writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "testing/allocation_guard.h"
#include "weir/decision_recorder.h"
#include "weir/io/decision_log/reader.h"
#include "weir/io/loop/unique_fd.h"
#include "weir/prefix_hash.h"
#include "weir/router.h"

namespace weir::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

Request FullRequest() {
  Request request;
  request.api = Api::kCompletions;
  request.id = "r1";
  request.model = "m";
  request.incoming_model = "alias";
  request.objective = "critical";
  request.cache_salt = "s";
  request.fairness_id = "f";
  request.priority = -2;
  request.stream = request.include_usage = true;
  request.max_output_tokens = 9;
  request.size_bytes = 400;
  return request;
}

class DecisionLogWriterTest : public ::testing::Test {
 protected:
  DecisionLogWriterTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = ::testing::TempDir() + "/decision_log_" + test->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    options_.path = folder_ + "/log";
    options_.start_unix_ns = 1;
  }
  ~DecisionLogWriterTest() override { std::filesystem::remove_all(folder_); }

  Router Make(RouterOptions options = {}) {
    writer_ = DecisionLogWriter::Create(options_).value();
    options.clock = &clock_;
    options.seed = 1;
    options.recorder = writer_.get();
    auto router = Router::Default(options);
    EXPECT_TRUE(router.ok()) << router.status();
    return *std::move(router);
  }
  static void Add(const Router& router, const std::string& name) {
    ASSERT_TRUE(router.pool()
                    .Upsert({.name = name,
                             .address = "10.0.0.1:8000",
                             .metrics = {.waiting_requests = 1, .kv_used_ratio = 0.5}})
                    .ok());
  }
  std::vector<LogRecord> Read() {
    auto reader = DecisionLogReader::Open(options_.path);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::vector<LogRecord> records;
    while (reader.ok()) {
      const auto record = (*reader)->Next();
      EXPECT_TRUE(record.ok()) << record.status();
      if (!record.ok() || *record == nullptr) break;
      records.push_back(**record);
    }
    closed_ = reader.ok() && (*reader)->closed();
    header_ = (*reader)->header();
    return records;
  }
  template <class T>
  static std::vector<T> Of(const std::vector<LogRecord>& records) {
    std::vector<T> found;
    for (const LogRecord& record : records) {
      if (const T* one = std::get_if<T>(&record)) found.push_back(*one);
    }
    return found;
  }

  std::string folder_;
  DecisionLogOptions options_;
  std::unique_ptr<DecisionLogWriter> writer_;
  ManualClock clock_{1'000'000'000};
  bool closed_ = false;
  LogHeader header_;
};

TEST_F(DecisionLogWriterTest, RecordsWhatADecisionWasMadeOf) {
  options_.headers = {"x-mine"};
  const Router router = Make({.sample_age_ns_max = 77});
  Add(router, "a");
  Add(router, "b");
  const std::vector<uint32_t> tokens(100, 7);
  const Prompt prompts[] = {{{}, tokens}};
  const Header headers[] = {{"authorization", "Bearer secret"},
                            {"x-llm-d-video-fps", "24"},
                            {"x-mine", std::string_view("yes")}};
  Request request = FullRequest();
  request.headers = headers;
  request.prompts = prompts;
  const std::string_view subset[] = {"10.0.0.1", "10.0.0.2:8000,,10.0.0.1:8000"};
  request.subset = subset;
  clock_.Advance(5);
  {
    const Decision decision = router.Decide(request).value();
    clock_.Advance(1);
    Flight flight = router.Begin(decision);
    clock_.Advance(1);
    flight.FirstToken();
    flight.FirstToken();
    flight.Finish({.prompt_tokens = 100, .cached_tokens = 64, .output_tokens = 3});
  }
  (void)router.Decide(request, {router.pool().snapshot(), 99, 42});
  writer_->Close();

  const std::vector<LogRecord> records = Read();
  EXPECT_TRUE(closed_);
  EXPECT_EQ(header_.pipeline_name, "default pipeline");
  EXPECT_THAT(header_.pipeline_text, HasSubstr("prefix-cache-scorer"));
  EXPECT_EQ(header_.sample_age_ns_max, 77);
  EXPECT_FALSE(header_.weir_version.empty());
  ASSERT_THAT(records, SizeIs(7));
  EXPECT_THAT(std::get<PoolDelta>(records[0]).added, SizeIs(2));
  const auto& decision = std::get<LoggedDecision>(records[1]);
  EXPECT_EQ(decision.now_ns, 1'000'000'005);
  EXPECT_EQ(decision.request.id, "r1");
  EXPECT_EQ(decision.request.model, "m");
  EXPECT_EQ(decision.request.incoming_model, "alias");
  EXPECT_EQ(decision.request.objective, "critical");
  EXPECT_EQ(decision.request.cache_salt, "s");
  ASSERT_TRUE(decision.request.subset);
  EXPECT_THAT(*decision.request.subset, ElementsAre("10.0.0.1", "10.0.0.2:8000", "10.0.0.1:8000"));
  EXPECT_EQ(decision.request.fairness_id, "f");
  EXPECT_EQ(decision.request.priority, -2);
  EXPECT_TRUE(decision.request.stream && decision.request.include_usage);
  EXPECT_EQ(decision.request.max_output_tokens, 9);
  EXPECT_EQ(decision.request.size_bytes, 400u);
  EXPECT_FALSE(decision.request.cut);
  EXPECT_THAT(decision.request.headers,
              ElementsAre(Pair("x-llm-d-video-fps", "24"), Pair("x-mine", "yes")));
  ASSERT_THAT(decision.request.prompts, SizeIs(1));
  std::vector<uint64_t> hashes(2);
  HashPrefixBlocks(PrefixSeed({}), tokens, 64, hashes, PartialBlock::kHash);
  EXPECT_EQ(decision.request.prompts[0],
            (LoggedPrompt{.token_count = 100, .estimated = false, .block_hashes = hashes}));
  EXPECT_THAT(decision.sent, SizeIs(0));
  ASSERT_THAT(decision.targets(), SizeIs(1));
  EXPECT_EQ(std::get<LoggedBegin>(records[2]), (LoggedBegin{1, 1, 0, 1'000'000'006}));
  EXPECT_EQ(std::get<LoggedFirstToken>(records[3]), (LoggedFirstToken{1, 1'000'000'007}));
  EXPECT_EQ(std::get<LoggedEnd>(records[4]),
            (LoggedEnd{1, 1'000'000'007, End::kCompleted, {100, 64, 3}}));
  EXPECT_EQ(std::get<LoggedDecision>(records[5]).seed, 42u);
  EXPECT_EQ(std::get<LogEnd>(records[6]), (LogEnd{LogEnd::Reason::kClosed, 2, 0}));
  EXPECT_EQ(writer_->stats().decisions, 2u);
  EXPECT_EQ(writer_->stats().bytes, std::filesystem::file_size(options_.path));
}

TEST_F(DecisionLogWriterTest, HashesTextAsTheTokenProducerWould) {
  const auto hashes_of = [this](const std::vector<PromptPart>& parts) {
    const Router router = Make();
    const Prompt prompts[] = {{parts, {}}};
    Request request;
    request.prompts = prompts;
    // An empty pool: no producer has run.
    EXPECT_EQ(router.Decide(request).status().code(), absl::StatusCode::kUnavailable);
    writer_->Close();
    return Of<LoggedDecision>(Read()).at(0).request.prompts.at(0);
  };
  using Kind = PromptPart::Kind;
  const std::string text(1'001, 't');
  const LoggedPrompt whole = hashes_of({{Kind::kText, text}});
  EXPECT_TRUE(whole.estimated);
  EXPECT_EQ(whole.token_count, 251u);
  std::vector<uint32_t> tokens(251, 0x74747474);
  tokens.back() = 0x74;
  std::vector<uint64_t> expected(4);
  HashPrefixBlocks(PrefixSeed({}), tokens, 64, expected, PartialBlock::kHash);
  EXPECT_EQ(whole.block_hashes, expected);
  EXPECT_EQ(hashes_of({{Kind::kText, text.substr(0, 333)}, {Kind::kText, text.substr(333)}}),
            whole);
  const LoggedPrompt image = hashes_of({{Kind::kText, "abcde"}, {Kind::kImage, "data"}});
  EXPECT_EQ(image.token_count, 3u) << "two of text, one of the image";
  EXPECT_NE(image, hashes_of({{Kind::kText, "abcde"}, {Kind::kImage, "other"}}));
}

TEST_F(DecisionLogWriterTest, CutsWhatIsTooLong) {
  const Router router = Make();
  Add(router, "a");
  const std::string name(2'000, 'n');
  std::vector<Header> headers(kDecisionLogHeadersMax + 5, {"x-llm-d-one", name});
  const std::vector<uint32_t> tokens((kDecisionLogBlocksMax + 10) * 64);
  const Prompt prompts[] = {{{}, tokens}, {{}, tokens}};
  Request request;
  request.id = request.model = name;
  std::string addresses;
  for (uint32_t i = 0; i < kDecisionLogSubsetMax + 9; ++i) addresses += "10.0.0.1,";
  const std::string_view subset[] = {name, addresses};
  request.subset = subset;
  request.headers = headers;
  request.prompts = prompts;
  ASSERT_TRUE(router.Decide(request).ok());
  writer_->Close();
  const auto decisions = Of<LoggedDecision>(Read());
  ASSERT_THAT(decisions, SizeIs(1));
  const LoggedRequest& logged = decisions[0].request;
  EXPECT_TRUE(logged.cut);
  EXPECT_EQ(logged.id.size(), kDecisionLogStringBytesMax);
  EXPECT_EQ(logged.headers.size(), kDecisionLogHeadersMax);
  EXPECT_EQ(logged.headers[0].second.size(), kDecisionLogStringBytesMax);
  EXPECT_EQ(logged.subset->size(), kDecisionLogSubsetMax);
  EXPECT_EQ(logged.prompts[0].token_count, tokens.size());
  EXPECT_EQ(logged.prompts[0].block_hashes.size(), kDecisionLogBlocksMax);
  EXPECT_TRUE(logged.prompts[1].block_hashes.empty());
}

TEST_F(DecisionLogWriterTest, AllocatesNothingWhileItRecords) {
  const Router router = Make();
  Add(router, "a");
  const std::vector<uint32_t> tokens(1'000, 3);
  const Prompt prompts[] = {{{}, tokens}};
  Request request;
  request.prompts = prompts;
  const auto serve = [&] {
    Decision decision = router.Decide(request).value();
    Flight flight = router.Begin(decision);
    flight.FirstToken();
    flight.Finish();
  };
  for (int i = 0; i < 10; ++i) serve();
  {
    testing::AllocationForbidden guard;
    for (int i = 0; i < 100; ++i) serve();
  }
  writer_->Close();
  EXPECT_EQ(writer_->stats().decisions, 110u);
}

TEST_F(DecisionLogWriterTest, StopsAtItsSizeAndSaysSo) {
  options_.bytes_max = kDecisionLogBytesMaxMin;
  std::string said;
  options_.log = [&said](LogLevel, const std::string& text) { said = text; };
  const Router router = Make();
  Add(router, "a");
  std::vector<uint32_t> tokens(64 * 2'000);
  const Prompt prompts[] = {{{}, tokens}};
  Request request;
  request.prompts = prompts;
  uint32_t decided = 0;
  for (; decided < 1'000; ++decided) {
    tokens[0] = decided;  // no block is known
    ASSERT_TRUE(router.Decide(request).ok());
    if (decided % 50 == 0) writer_->Flush();
  }
  writer_->Close();
  const DecisionLogStats stats = writer_->stats();
  EXPECT_FALSE(stats.recording);
  EXPECT_LE(stats.bytes, options_.bytes_max);
  EXPECT_GT(stats.bytes, options_.bytes_max * 9 / 10);
  EXPECT_EQ(stats.decisions + stats.dropped_ring_full + stats.dropped_stopped, decided);
  EXPECT_THAT(said, HasSubstr("its size limit is reached"));
  const std::vector<LogRecord> records = Read();
  EXPECT_TRUE(closed_);
  EXPECT_EQ(Of<LoggedDecision>(records).size(), stats.decisions);
  EXPECT_EQ(Of<LogEnd>(records).at(0).reason, LogEnd::Reason::kBytesMax);
}

TEST_F(DecisionLogWriterTest, DropsAndCountsWhatFindsNoRoom) {
  // Nobody reads this pipe yet, so that the writer waits once it is full.
  ASSERT_EQ(::mkfifo(options_.path.c_str(), 0600), 0);
  const UniqueFd pipe(::open(options_.path.c_str(), O_RDONLY | O_NONBLOCK));
  options_.ring_bytes = kDecisionLogRingBytesMin;
  const Router router = Make();
  Add(router, "a");
  const std::vector<uint32_t> tokens(64 * 8'000);  // 64 KB of hashes
  const Prompt prompts[] = {{{}, tokens}};
  Request request;
  request.prompts = prompts;
  uint32_t decided = 0;
  std::vector<Flight> flights;
  // The ring holds fourteen.
  while (writer_->stats().dropped_ring_full == 0 && decided < 10'000) {
    const Decision decision = router.Decide(request).value();
    flights.push_back(router.Begin(decision));
    ++decided;
  }
  flights.clear();
  ASSERT_EQ(::fcntl(pipe.get(), F_SETFL, 0), 0);
  options_.path = folder_ + "/copy";
  std::thread copy([&] {
    std::ofstream file(options_.path, std::ios::binary);
    char bytes[4096];
    for (ssize_t count; (count = ::read(pipe.get(), bytes, sizeof bytes)) > 0;) {
      file.write(bytes, count);
    }
  });
  writer_->Flush();
  ASSERT_TRUE(router.Decide(request).ok());
  writer_->Close();
  copy.join();
  const DecisionLogStats stats = writer_->stats();
  EXPECT_GE(stats.dropped_ring_full, 1u);
  EXPECT_EQ(stats.decisions + stats.dropped_ring_full, decided + 1);
  const std::vector<LogRecord> records = Read();
  uint64_t missing = 0;
  for (const LoggedGap& gap : Of<LoggedGap>(records)) missing += gap.dropped;
  EXPECT_EQ(missing, stats.dropped_ring_full);
  EXPECT_EQ(Of<LoggedBegin>(records).size(), Of<LoggedEnd>(records).size())
      << "ends of flights have room of their own";
  EXPECT_EQ(Of<LogEnd>(records).at(0).dropped, stats.dropped_ring_full);
}

TEST_F(DecisionLogWriterTest, RecordsManyThreads) {
  constexpr uint32_t kThreads = 3, kRequests = 400;
  const Router router = Make();
  Add(router, "a");
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&router, t] {
      const std::vector<uint32_t> tokens(100, t);
      const Prompt prompts[] = {{{}, tokens}};
      Request request;
      request.prompts = prompts;
      for (uint32_t i = 0; i < kRequests; ++i) {
        const Decision decision = router.Decide(request).value();
        Flight flight = router.Begin(decision);
        flight.Finish();
      }
    });
  }
  for (uint32_t i = 0; i < 50; ++i) Add(router, "b" + std::to_string(i % 5));
  for (std::thread& thread : threads) thread.join();
  writer_->Close();
  const std::vector<LogRecord> records = Read();
  EXPECT_EQ(writer_->stats().dropped_ring_full, 0u);
  std::set<uint64_t> numbers, flights;
  for (const auto& decision : Of<LoggedDecision>(records)) numbers.insert(decision.number);
  for (const auto& begin : Of<LoggedBegin>(records)) flights.insert(begin.flight);
  EXPECT_EQ(numbers.size(), kThreads * kRequests);
  EXPECT_EQ(flights.size(), kThreads * kRequests);
  EXPECT_EQ(Of<LoggedEnd>(records).size(), kThreads * kRequests);
}

TEST_F(DecisionLogWriterTest, KeepsTheFileOfTheRunBefore) {
  (void)Make();
  writer_->Close();
  const auto size = std::filesystem::file_size(options_.path);
  (void)Make();
  writer_->Close();
  EXPECT_EQ(std::filesystem::file_size(options_.path + ".1"), size);
  struct stat about;
  ASSERT_EQ(stat(options_.path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u) << "it names requests and tenants";
}

TEST_F(DecisionLogWriterTest, FailsClearly) {
  const auto refuse = [this](auto change) {
    DecisionLogOptions options = options_;
    change(options);
    return std::string(DecisionLogWriter::Create(options).status().message());
  };
  EXPECT_EQ(refuse([](auto& o) { o.path = ""; }),
            "decision log: path: empty, expected a file name");
  EXPECT_EQ(refuse([](auto& o) { o.bytes_max = 5; }),
            "decision log: bytes_max: 5, expected at least 4194304");
  EXPECT_EQ(refuse([](auto& o) { o.prompt_block_tokens = 8; }),
            "decision log: prompt_block_tokens: 8, expected 16..4096");
  EXPECT_EQ(refuse([](auto& o) { o.ring_bytes = 1; }),
            "decision log: ring_bytes: 1, expected 1048576..1073741824");
  EXPECT_EQ(refuse([](auto& o) { o.headers.resize(33); }),
            "decision log: headers: 33, expected at most 32");

  options_.path = folder_ + "/missing/log";
  writer_ = DecisionLogWriter::Create(options_).value();
  const auto no_file = Router::Default({.recorder = writer_.get()});
  EXPECT_THAT(std::string(no_file.status().message()), HasSubstr("missing/log: cannot be written"));

  options_.path = folder_ + "/log";
  const Router router = Make();
  const auto second = Router::Default({.recorder = writer_.get()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DecisionLogWriterTest, StopsWhenTheFileCannotTakeMore) {
  options_.path = "/dev/full";
  writer_ = DecisionLogWriter::Create(options_).value();
  const auto router = Router::Default({.recorder = writer_.get()});
  EXPECT_THAT(std::string(router.status().message()), HasSubstr("/dev/full: cannot be written"));
}

}  // namespace
}  // namespace weir::io
