#include "weir/io/scrape/scraper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weir/limits.h"

namespace weir::io {
namespace {

using testing::HasSubstr;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kDeadlineNs = 20'000 * kMs;
const char kPage[] =
    "vllm:num_requests_waiting 3\nvllm:num_requests_running 7\nvllm:kv_cache_usage_perc 0.25\n";

std::string Answer(const std::string& body, const std::string& headers = "") {
  return absl::StrCat("HTTP/1.1 200 OK\r\n", headers, "Content-Length: ", body.size(), "\r\n\r\n",
                      body);
}

// What the server does with one request: the pieces to send, one per loop turn, then maybe close.
struct Reply {
  std::vector<std::string> pieces;
  bool close = false;
};

// A model server on the test's own loop.
class PageServer final : public AcceptHandler {
 public:
  using Responder = std::function<Reply(const std::string& request)>;

  PageServer(EventLoop& loop, Responder responder, const TlsContext* tls = nullptr)
      : loop_(loop), responder_(std::move(responder)), tls_(tls) {
    listener_ =
        Listener::Open(loop, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, *this)
            .value();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", listener_->port()); }
  uint16_t port() const { return listener_->port(); }

  std::vector<std::string> requests;
  int connections = 0;

 private:
  class Connection final : public EventHandler {
   public:
    Connection(PageServer& server, Stream stream) : server_(server), stream_(std::move(stream)) {
      EXPECT_EQ(server_.loop_.Watch(stream_, *this), Code::kOk);
    }
    ~Connection() {
      if (stream_.open()) server_.loop_.Close(stream_, *this);
    }
    void OnReady(Ready) override {
      char bytes[4096];
      while (stream_.open()) {
        const IoResult result = stream_.TryRead(bytes);
        if (result.would_block()) break;
        if (!result.ok()) return server_.loop_.Close(stream_, *this);
        request_.append(bytes, result.bytes);
      }
      const size_t end = request_.find("\r\n\r\n");
      if (end == std::string::npos) return;
      server_.requests.push_back(request_.substr(0, end));
      reply_ = server_.responder_(server_.requests.back());
      request_.erase(0, end + 4);
      next_ = 0;
      SendPiece();
    }

   private:
    void SendPiece() {
      if (!stream_.open()) return;
      if (next_ < reply_.pieces.size()) {
        std::string_view rest = reply_.pieces[next_++];
        while (!rest.empty()) {
          const IoResult result = stream_.TryWrite(rest);
          if (!result.ok()) break;  // the scraper has gone, or has seen enough
          rest.remove_prefix(result.bytes);
        }
        server_.loop_.Arm(pause_, kMs);
      } else if (reply_.close) {
        server_.loop_.Close(stream_, *this);
      }
    }

    PageServer& server_;
    Stream stream_;
    std::string request_;
    Reply reply_;
    size_t next_ = 0;
    Timer pause_ = Timer::Calling<&Connection::SendPiece>(*this);
  };

  void OnAccept(UniqueFd socket, const SocketAddress&) override {
    ++connections;
    accepted_.push_back(std::make_unique<Connection>(
        *this, tls_ ? tls_->NewStream(std::move(socket)) : Stream::Plain(std::move(socket))));
  }

  EventLoop& loop_;
  Responder responder_;
  const TlsContext* tls_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Connection>> accepted_;
};

class RecordingSink final : public ScrapeSink {
 public:
  void OnScrapeStarted(EndpointId id, int64_t now_ns) override {
    EXPECT_TRUE(out.insert(id.slot).second) << "two scrapes of one endpoint at a time";
    started_ns[id.slot] = now_ns;
  }
  void OnSample(EndpointId id, const EndpointSample& sample, int64_t began_ns,
                int64_t now_ns) override {
    EXPECT_EQ(out.erase(id.slot), 1u);
    EXPECT_EQ(began_ns, started_ns[id.slot]);
    EXPECT_GE(now_ns, began_ns);
    samples[id.slot].push_back(sample);
    ++unpublished;
    if (on_sample) on_sample(id);
  }
  void OnFailure(EndpointId id, ScrapeError error, int64_t) override {
    EXPECT_EQ(out.erase(id.slot), 1u);
    errors[id.slot].push_back(error);
  }
  void OnBatchEnd(int64_t) override {
    EXPECT_GT(unpublished, 0);
    unpublished = 0;
    ++batches;
  }

  std::function<void(EndpointId)> on_sample;
  std::set<uint32_t> out;
  std::map<uint32_t, int64_t> started_ns;
  std::map<uint32_t, std::vector<EndpointSample>> samples;
  std::map<uint32_t, std::vector<ScrapeError>> errors;
  int unpublished = 0;
  int batches = 0;
};

class ScraperTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = EventLoop::Create().value();
    plans_ = std::make_unique<ScrapePlans>(
        ScrapePlans::Create({}, kSampleWaiting | kSampleRunning | kSampleKvUsed).value());
    options_.source.interval = absl::Milliseconds(10);
  }
  void TearDown() override {
    scraper_.reset();
    servers_.clear();
    loop_->RunOnce(0);
  }

  PageServer& Serve(PageServer::Responder responder, const TlsContext* tls = nullptr) {
    servers_.push_back(std::make_unique<PageServer>(*loop_, std::move(responder), tls));
    return *servers_.back();
  }
  PageServer& ServePieces(std::vector<std::string> pieces, bool close = false) {
    return Serve([=](const std::string&) { return Reply{pieces, close}; });
  }
  void Start() {
    auto scraper = Scraper::Create(*loop_, options_, sink_);
    ASSERT_TRUE(scraper.ok()) << scraper.status();
    scraper_ = *std::move(scraper);
  }
  absl::Status Add(uint32_t slot, const std::string& address) {
    return scraper_->Add(
        {.id = {slot, 1}, .metrics_address = address, .plan = &plans_->ForEngine("")});
  }
  template <typename F>
  bool RunUntil(F done) {
    const int64_t end_ns = SystemClock().now_ns() + kDeadlineNs;
    while (!done() && SystemClock().now_ns() < end_ns) loop_->RunOnce(100 * kMs);
    return done();
  }
  // The first outcome of a server that sends these pieces, which must be an error.
  ScrapeError ErrorFor(std::vector<std::string> pieces, bool close = false) {
    PageServer& server = ServePieces(std::move(pieces), close);
    const uint32_t slot = next_slot_++;
    EXPECT_TRUE(Add(slot, server.address()).ok());
    EXPECT_TRUE(
        RunUntil([&] { return !sink_.errors[slot].empty() || !sink_.samples[slot].empty(); }));
    EXPECT_TRUE(sink_.samples[slot].empty());
    scraper_->Remove({slot, 1});
    sink_.out.erase(slot);
    return sink_.errors[slot].empty() ? ScrapeError::kNothingFound : sink_.errors[slot][0];
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<ScrapePlans> plans_;
  ScraperOptions options_;
  RecordingSink sink_;
  std::vector<std::unique_ptr<PageServer>> servers_;
  std::unique_ptr<Scraper> scraper_;
  uint32_t next_slot_ = 100;
};

TEST_F(ScraperTest, ScrapesAgainAndAgainOverOneConnection) {
  PageServer& server = ServePieces({Answer(kPage)});
  Start();
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[1].size() >= 3; }));
  EXPECT_EQ(sink_.samples[1][0].waiting_requests, 3u);
  EXPECT_EQ(sink_.samples[1][0].running_requests, 7u);
  EXPECT_EQ(sink_.samples[1][0].kv_used_ratio, 0.25f);
  EXPECT_EQ(server.connections, 1);
  EXPECT_TRUE(absl::StartsWith(server.requests[0], "GET /metrics HTTP/1.1\r\n"))
      << server.requests[0];
  EXPECT_THAT(server.requests[0], HasSubstr("Host: " + server.address() + "\r\n"));
  const ScrapeCounters* counters = scraper_->counters_or_null({1, 1});
  ASSERT_NE(counters, nullptr);
  EXPECT_EQ(counters->samples, sink_.samples[1].size());
  EXPECT_GE(counters->scrapes, counters->samples);
  EXPECT_TRUE(sink_.errors[1].empty());
}

TEST_F(ScraperTest, APageMayComeInPiecesChunkedOrUntilClose) {
  const std::string page = kPage;
  Start();
  const std::vector<std::vector<std::string>> forms = {
      {Answer(page).substr(0, 30), Answer(page).substr(30, 60), Answer(page).substr(90)},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + page.substr(0, 20) + "\r\n",
       absl::StrCat(absl::Hex(page.size() - 20), "\r\n", page.substr(20), "\r\n0\r\n\r\n")},
      {"HTTP/1.0 200 OK\r\n\r\n" + page.substr(0, 50), page.substr(50)},
      {"HTTP/1.1 103 Early Hints\r\n\r\n" + Answer(page)}};
  for (uint32_t i = 0; i < forms.size(); ++i) {
    ASSERT_TRUE(Add(i, ServePieces(forms[i], i == 2).address()).ok());
  }
  ASSERT_TRUE(RunUntil([&] {
    for (uint32_t i = 0; i < forms.size(); ++i) {
      if (sink_.samples[i].size() < 2) return false;
    }
    return true;
  }));
  for (uint32_t i = 0; i < forms.size(); ++i) {
    EXPECT_EQ(sink_.samples[i][1].running_requests, 7u) << i;
    EXPECT_EQ(sink_.samples[i][1].kv_used_ratio, 0.25f) << i;
    EXPECT_TRUE(sink_.errors[i].empty()) << i;
  }
}

TEST_F(ScraperTest, EveryFailureHasItsKind) {
  options_.timeout_ns = 200 * kMs;
  options_.page_bytes_max = 100;
  Start();
  EXPECT_EQ(ErrorFor({"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}),
            ScrapeError::kStatus);
  EXPECT_EQ(ErrorFor({"HTTP/1.1 204 No Content\r\n\r\n"}), ScrapeError::kStatus);
  EXPECT_EQ(ErrorFor({}), ScrapeError::kTimeout);
  EXPECT_EQ(ErrorFor({"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nvllm"}), ScrapeError::kTimeout);
  EXPECT_EQ(ErrorFor({"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nvllm"}, true),
            ScrapeError::kClosed);
  EXPECT_EQ(ErrorFor({}, true), ScrapeError::kClosed);
  EXPECT_EQ(ErrorFor({"SSH-2.0-OpenSSH_9.2\r\n\r\n"}, true), ScrapeError::kBadResponse);
  EXPECT_EQ(ErrorFor({Answer(kPage, "Content-Encoding: gzip\r\n")}), ScrapeError::kBadResponse);
  EXPECT_EQ(ErrorFor({Answer("other 1\n")}), ScrapeError::kNothingFound);
  EXPECT_EQ(ErrorFor({Answer(std::string(101, '\n'))}), ScrapeError::kPageTooLarge);
  EXPECT_EQ(ErrorFor({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" +
                      std::string(101, '\n')}),
            ScrapeError::kPageTooLarge);
  EXPECT_EQ(ErrorFor({"HTTP/1.1 200 OK\r\nX: " + std::string(20000, 'x') + "\r\n\r\n"}),
            ScrapeError::kPageTooLarge);
  uint64_t errors = 0;
  for (const uint64_t count : scraper_->totals().errors) errors += count;
  EXPECT_GE(errors, 12u);
}

TEST_F(ScraperTest, APageOfExactlyTheLimitIsRead) {
  options_.page_bytes_max = sizeof(kPage) - 1;
  Start();
  ASSERT_TRUE(Add(1, ServePieces({Answer(kPage)}).address()).ok());
  ASSERT_TRUE(RunUntil([&] { return !sink_.samples[1].empty(); }));
}

TEST_F(ScraperTest, ARefusedConnectionIsAnErrorAndIsTriedAgain) {
  Start();
  std::string address;
  {
    PageServer gone(*loop_, [](const std::string&) { return Reply{}; });
    address = gone.address();
  }
  ASSERT_TRUE(Add(1, address).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.errors[1].size() >= 2; }));
  EXPECT_EQ(sink_.errors[1][0], ScrapeError::kConnect);
  EXPECT_EQ(sink_.batches, 0);
}

TEST_F(ScraperTest, AServerThatClosesAfterEachAnswerIsScrapedAnyway) {
  PageServer& server = ServePieces({Answer(kPage)}, true);
  Start();
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[1].size() >= 4; }));
  EXPECT_TRUE(sink_.errors[1].empty());
  EXPECT_GE(server.connections, 4);
}

TEST_F(ScraperTest, MissingFamiliesKeepTheirValuesAndAreCounted) {
  int turn = 0;
  PageServer& server = Serve([&](const std::string&) {
    return Reply{{Answer(turn++ == 0 ? kPage : "vllm:num_requests_waiting 9\n")}};
  });
  Start();
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[1].size() >= 2; }));
  EXPECT_EQ(sink_.samples[1][1].waiting_requests, 9u);
  EXPECT_EQ(sink_.samples[1][1].running_requests, 7u);
  EXPECT_EQ(sink_.samples[1][1].present, kSampleWaiting);
  EXPECT_GE(scraper_->totals().missing, 2u);
}

TEST_F(ScraperTest, SamplesOfAGroupArePublishedTogether) {
  PageServer& server = ServePieces({Answer(kPage)});
  options_.source.interval = absl::Milliseconds(50);
  Start();
  for (uint32_t i = 0; i < 40; ++i) ASSERT_TRUE(Add(i, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return scraper_->totals().samples >= 400; }));
  ASSERT_TRUE(RunUntil([&] { return sink_.unpublished == 0; }));
  // Ten steps an interval: four endpoints each. Slow machines split some.
  EXPECT_LT(static_cast<uint64_t>(sink_.batches), scraper_->totals().samples);
  EXPECT_GT(sink_.batches, 0);
}

TEST_F(ScraperTest, EndpointsMayGoAndComeInsideTheSink) {
  PageServer& server = ServePieces({Answer(kPage)});
  Start();
  sink_.on_sample = [&](EndpointId id) {
    if (id.slot == 1) {
      scraper_->Remove(id);
      EXPECT_TRUE(Add(2, server.address()).ok());
    }
  };
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[2].size() >= 3; }));
  EXPECT_EQ(sink_.samples[1].size(), 1u);
  EXPECT_EQ(scraper_->endpoint_count(), 1u);
  EXPECT_EQ(scraper_->counters_or_null({1, 1}), nullptr);
}

TEST_F(ScraperTest, NoCallFollowsARemoval) {
  PageServer& server = ServePieces({});  // never answers
  Start();
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.out.count(1) == 1 && server.requests.size() == 1; }));
  scraper_->Remove({1, 1});
  scraper_->Remove({1, 1});
  scraper_->Remove({7, 7});
  PageServer& other = ServePieces({Answer(kPage)});
  ASSERT_TRUE(Add(2, other.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[2].size() >= 3; }));
  EXPECT_TRUE(sink_.samples[1].empty());
  EXPECT_TRUE(sink_.errors[1].empty());
}

TEST_F(ScraperTest, PortAndPathMayBeOverridden) {
  PageServer& server = ServePieces({Answer(kPage)});
  options_.source.port = server.port();
  options_.source.path = "/engine/metrics?x=1";
  Start();
  ASSERT_TRUE(Add(1, "127.0.0.1:9").ok());
  ASSERT_TRUE(scraper_
                  ->Add({.id = {2, 1},
                         .metrics_address = "model.local:9",
                         .socket_address = SocketAddress::Parse("127.0.0.1:9").value(),
                         .plan = &plans_->ForEngine("")})
                  .ok());
  ASSERT_TRUE(RunUntil([&] { return !sink_.samples[1].empty() && !sink_.samples[2].empty(); }));
  EXPECT_THAT(server.requests[0], HasSubstr("GET /engine/metrics?x=1 HTTP/1.1\r\n"));
  bool named = false;
  for (const std::string& request : server.requests) {
    named = named ||
            request.find(absl::StrCat("Host: model.local:", server.port())) != std::string::npos;
  }
  EXPECT_TRUE(named);
}

TEST_F(ScraperTest, TlsIsUncheckedByDefaultAndCheckedOnRequest) {
  const auto tls = TlsContext::Server({});
  ASSERT_TRUE(tls.ok()) << tls.status();
  PageServer& server = Serve([](const std::string&) { return Reply{{Answer(kPage)}}; }, tls->get());
  options_.source.scheme = "https";
  Start();
  ASSERT_TRUE(Add(1, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return sink_.samples[1].size() >= 3; }));
  EXPECT_EQ(server.connections, 1);

  options_.source.insecure_skip_verify = false;
  scraper_.reset();
  sink_.out.clear();
  Start();
  ASSERT_TRUE(Add(2, server.address()).ok());
  ASSERT_TRUE(RunUntil([&] { return !sink_.errors[2].empty(); }));
  EXPECT_EQ(sink_.errors[2][0], ScrapeError::kConnect);

  options_.source.ca_cert_path = "/nowhere/ca.pem";
  EXPECT_THAT(Scraper::Create(*loop_, options_, sink_).status().message(),
              HasSubstr("/nowhere/ca.pem"));
}

TEST_F(ScraperTest, AddRefusesWhatItCannotScrape) {
  Start();
  EXPECT_EQ(Add(1, "no address").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Add(1, "model.local:80").code(), absl::StatusCode::kInvalidArgument);  // not resolved
  ASSERT_TRUE(Add(1, "127.0.0.1:9").ok());
  EXPECT_EQ(Add(1, "127.0.0.1:9").code(), absl::StatusCode::kAlreadyExists);
  for (uint32_t i = 2; i <= kEndpointsMax; ++i) ASSERT_TRUE(Add(i, "127.0.0.1:9").ok());
  EXPECT_EQ(Add(kEndpointsMax + 1, "127.0.0.1:9").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scraper_->endpoint_count(), kEndpointsMax);
}

TEST(ScrapeErrorTest, EveryKindHasItsName) {
  std::set<std::string_view> names;
  for (uint32_t i = 0; i < kScrapeErrorCount; ++i) {
    names.insert(ScrapeErrorName(static_cast<ScrapeError>(i)));
  }
  EXPECT_EQ(names.size(), kScrapeErrorCount);
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace weir::io
