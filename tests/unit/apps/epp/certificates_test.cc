#include "certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "metrics_page.h"
#include "testing/temp_directory.h"

namespace weir::epp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kTurnNs = 5'000'000;
constexpr int kTurnsMax = 4000;

class CertificatesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) {
      std::filesystem::create_directories(folder_ + "/" + name);
      const std::string command =
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
          "/CN=localhost -addext subjectAltName=DNS:localhost -keyout " +
          folder_ + "/" + name + "/tls.key -out " + folder_ + "/" + name + "/tls.crt 2>/dev/null";
      ASSERT_EQ(std::system(command.c_str()), 0);
    }
  }
  void Open(bool reload) {
    auto opened = Certificates::Open(
        *loop_, {.directory = folder_ + "/a", .reload = reload, .settle_ns = kTurnNs},
        [this](LogLevel, const std::string& text) { log_ += text + "\n"; });
    ASSERT_TRUE(opened.ok()) << opened.status();
    certificates_ = *std::move(opened);
  }
  void Copy(const std::string& name) {
    std::filesystem::copy_file(folder_ + "/b/" + name, folder_ + "/a/" + name,
                               std::filesystem::copy_options::overwrite_existing);
  }
  std::string Metrics() const {
    io::MetricsText text;
    WriteCertificateMetrics({certificates_.get(), nullptr}, text);
    return text.Take();
  }
  template <class Done>
  void RunUntil(const Done& done) {
    for (int turn = 0; turn < kTurnsMax && !done(); ++turn) loop_->RunOnce(kTurnNs);
    EXPECT_TRUE(done());
  }
  // Whether a client that trusts folder `name` only gets through.
  bool Shows(const std::string& name) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    const auto context =
        io::TlsContext::Client({.ca_file = folder_ + "/" + name + "/tls.crt"}).value();
    io::Stream client = context->NewStream(io::UniqueFd(pair[0]), "localhost");
    io::Stream server = certificates_->tls().NewStream(io::UniqueFd(pair[1]));
    std::vector<char> bytes(100);
    for (int turn = 0; turn < 20; ++turn) {
      const io::IoResult sent = client.TryWrite("x");
      if (sent.status == io::IoStatus::kError) return false;
      if (server.TryRead(bytes).ok()) return true;
    }
    return false;
  }

  const TempDirectory temporary_;
  const std::string folder_ = temporary_.path().string();
  const std::unique_ptr<io::EventLoop> loop_ = io::EventLoop::Create().value();
  std::string log_;
  std::unique_ptr<Certificates> certificates_;
};

TEST_F(CertificatesTest, FollowsItsFiles) {
  Open(true);
  EXPECT_TRUE(Shows("a"));
  EXPECT_FALSE(Shows("b"));
  std::filesystem::copy_file(folder_ + "/a/tls.crt", folder_ + "/old.crt");
  // A certificate without its key: the pair of before stays.
  Copy("tls.crt");
  RunUntil([&] { return !log_.empty(); });
  EXPECT_THAT(log_, HasSubstr("the certificate of before stays in use"));
  EXPECT_THAT(Metrics(), HasSubstr("_reloads_total{result=\"ok\"} 0\n"));
  EXPECT_THAT(Metrics(), HasSubstr("_reloads_total{result=\"refused\"} 1\n"));
  EXPECT_FALSE(Shows("b"));
  log_.clear();
  Copy("tls.key");
  RunUntil([&] { return !log_.empty(); });
  EXPECT_THAT(log_, HasSubstr("tls.crt: read again"));
  EXPECT_THAT(Metrics(), HasSubstr("_reloads_total{result=\"ok\"} 1\n"));
  EXPECT_TRUE(Shows("b"));
}

TEST_F(CertificatesTest, ErrorsNameTheFile) {
  std::ofstream(folder_ + "/a/tls.crt") << "nonsense";
  const auto opened = Certificates::Open(*loop_, {.directory = folder_ + "/a"}, nullptr);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(folder_ + "/a/tls.crt"));
  const auto missing =
      Certificates::Open(*loop_, {.directory = "/no/such", .reload = true}, nullptr);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/no/such/tls.crt"));
}

TEST_F(CertificatesTest, WithoutADirectoryItIsSelfSigned) {
  EXPECT_TRUE(Certificates::Open(*loop_, {}, nullptr).ok());
}

}  // namespace
}  // namespace weir::epp
