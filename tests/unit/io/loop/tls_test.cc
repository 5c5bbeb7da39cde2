#include "weir/io/loop/tls.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "loop_testing.h"
#include "testing/tls_files.h"

namespace weir::io {
namespace {

struct Ends {
  Stream client;
  Stream server;
};

Ends Connect(const TlsContext& client, const TlsContext& server, std::string_view name,
             int buffer_bytes = 0) {
  FdPair pair = MakePair(buffer_bytes);
  return {client.NewStream(std::move(pair.first), name), server.NewStream(std::move(pair.second))};
}

// Moves `text` one way by alternating tries, and counts how often each side had to wait.
struct Pump {
  std::string received;
  int write_waits = 0;
  int read_waits = 0;
  IoResult failure;

  bool Move(Stream& from, Stream& to, std::string_view text) {
    std::vector<char> out(5000);
    size_t sent = 0;
    for (int turn = 0; turn < 100'000 && received.size() < text.size(); ++turn) {
      if (sent < text.size()) {
        const std::string_view rest = text.substr(sent);
        const size_t half = rest.size() / 2;
        const IoResult result = from.TryWrite(rest.substr(0, half), rest.substr(half));
        if (result.status == IoStatus::kError) return Fail(result);
        write_waits += result.would_block();
        sent += result.bytes;
      }
      const IoResult result = to.TryRead(out);
      if (result.status == IoStatus::kError) return Fail(result);
      read_waits += result.would_block();
      received.append(out.data(), result.bytes);
      const IoResult reverse = from.TryRead(out);  // drives a handshake that waits for input
      if (reverse.status == IoStatus::kError) return Fail(reverse);
    }
    return received == text;
  }
  bool Fail(const IoResult& result) {
    failure = result;
    return false;
  }
};

std::string Pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 131 % 251);
  return text;
}

std::unique_ptr<TlsContext> SelfSigned() { return TlsContext::Server({}).value(); }
std::unique_ptr<TlsContext> Trusting() { return TlsContext::Client({.verify = false}).value(); }

TEST(Tls, MovesBytesBothWaysWithWaitsInBothDirections) {
  const auto server = SelfSigned();
  const auto client = Trusting();
  Ends ends = Connect(*client, *server, "localhost", 4096);
  ASSERT_TRUE(ends.client.open() && ends.server.open());
  EXPECT_TRUE(ends.client.is_tls());
  const std::string text = Pattern(300'000);
  Pump up, down;
  EXPECT_TRUE(up.Move(ends.client, ends.server, text));
  EXPECT_GT(up.write_waits, 0);
  EXPECT_GT(up.read_waits, 0);
  EXPECT_TRUE(down.Move(ends.server, ends.client, text));
  EXPECT_GT(down.write_waits, 0);
}

TEST(Tls, TwoPiecesArriveInOrderThroughANarrowSocket) {
  const auto server = SelfSigned();
  const auto client = Trusting();
  for (const size_t head : {1, 38, 16'383, 16'384, 40'000, 150'000}) {
    Ends ends = Connect(*client, *server, "localhost", 4096);
    const std::string text = Pattern(400'000);
    std::string received;
    std::vector<char> out(30'000);
    size_t written = 0;
    for (int turns = 0; received.size() < text.size() && turns < 100'000; ++turns) {
      const std::string_view rest = std::string_view(text).substr(written);
      if (!rest.empty()) {
        const size_t first = std::min<size_t>(head, rest.size());
        const IoResult write = ends.client.TryWrite(rest.substr(0, first), rest.substr(first));
        ASSERT_NE(write.status, IoStatus::kError);
        ASSERT_LE(write.bytes, rest.size());
        written += write.bytes;
      }
      const IoResult read = ends.server.TryRead(out);
      ASSERT_NE(read.status, IoStatus::kError);
      received.append(out.data(), read.bytes);
    }
    EXPECT_TRUE(received == text) << head;
  }
}

TEST(Tls, EventsAreWidenedToBothDirections) {
  const auto server = SelfSigned();
  const auto client = Trusting();
  Ends ends = Connect(*client, *server, "");
  EXPECT_EQ(ends.client.Widen(kReadable), kReadable | kWritable);
  EXPECT_EQ(ends.client.Widen(kPeerClosed), kPeerClosed);
  EXPECT_EQ(Stream().Widen(kReadable), kReadable);
}

TEST(Tls, CloseIsAnOrderlyEndAndACutIsNot) {
  const auto server = SelfSigned();
  const auto client = Trusting();
  for (const bool orderly : {true, false}) {
    Ends ends = Connect(*client, *server, "");
    Pump pump;
    ASSERT_TRUE(pump.Move(ends.client, ends.server, "hi"));
    const int fd = ends.client.fd();
    if (!orderly) ::shutdown(fd, SHUT_RDWR);
    ends.client.Close();
    std::vector<char> out(100);
    const IoResult result = ends.server.TryRead(out);
    EXPECT_EQ(result.status, orderly ? IoStatus::kEof : IoStatus::kError);
    EXPECT_EQ(ends.server.TryRead(out).status, result.status);
  }
}

TEST(Tls, VerifiesChainAndName) {
  const TlsFiles files;
  const auto server =
      TlsContext::Server({.cert_file = files.cert(), .key_file = files.key()}).value();
  const auto client = TlsContext::Client({.ca_file = files.cert()}).value();
  for (const char* good : {"localhost", "127.0.0.1"}) {
    Ends ends = Connect(*client, *server, good);
    Pump pump;
    EXPECT_TRUE(pump.Move(ends.client, ends.server, "hello")) << good;
  }
  for (const char* bad : {"example.com", "127.0.0.2"}) {
    Ends ends = Connect(*client, *server, bad);
    Pump pump;
    EXPECT_FALSE(pump.Move(ends.client, ends.server, "hello")) << bad;
    EXPECT_EQ(pump.failure.error, EPROTO);
  }
  const auto system_roots = TlsContext::Client({}).value();
  Ends ends = Connect(*system_roots, *server, "localhost");
  Pump pump;
  EXPECT_FALSE(pump.Move(ends.client, ends.server, "hello"));
  EXPECT_NE(ends.client.error_text(pump.failure).find("certificate verify failed"),
            std::string::npos);
}

TEST(Tls, VerifiesNothingWithoutANameToLookFor) {
  const TlsFiles files;
  const auto client = TlsContext::Client({.ca_file = files.cert()}).value();
  EXPECT_FALSE(client->NewStream(std::move(MakePair().first)).open());
  EXPECT_TRUE(Trusting()->NewStream(std::move(MakePair().first)).open());
}

TEST(Tls, AsksClientsForACertificate) {
  const TlsFiles files;
  const auto server = TlsContext::Server({.client_ca_file = files.cert()}).value();
  const auto known =
      TlsContext::Client({.verify = false, .cert_file = files.cert(), .key_file = files.key()})
          .value();
  Ends good = Connect(*known, *server, "localhost");
  Pump pump;
  EXPECT_TRUE(pump.Move(good.client, good.server, "hello"));
  const auto unknown = Trusting();
  Ends bad = Connect(*unknown, *server, "localhost");
  Pump refused;
  EXPECT_FALSE(refused.Move(bad.client, bad.server, "hello"));
}

TEST(Tls, RefusesAnotherProtocol) {
  const auto server = SelfSigned();
  const auto client = TlsContext::Client({.verify = false, .alpn = {"h9"}}).value();
  Ends ends = Connect(*client, *server, "");
  Pump pump;
  EXPECT_FALSE(pump.Move(ends.client, ends.server, "hello"));
}

TEST(Tls, PlainTextIsAnError) {
  const auto server = SelfSigned();
  FdPair pair = MakePair();
  Stream plain = Stream::Plain(std::move(pair.first));
  Stream stream = server->NewStream(std::move(pair.second));
  ASSERT_TRUE(plain.TryWrite("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok());
  std::vector<char> out(100);
  const IoResult result = stream.TryRead(out);
  EXPECT_EQ(result.status, IoStatus::kError);
  EXPECT_EQ(stream.error_text(result), "TLS: http request");
  EXPECT_EQ(stream.TryWrite("x").status, IoStatus::kError);
}

TEST(Tls, ErrorsNameTheFile) {
  const auto missing = TlsContext::Server({.cert_file = "/no/cert.pem", .key_file = "/no/key.pem"});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(missing.status().message().find("/no/cert.pem"), std::string_view::npos);
  EXPECT_FALSE(TlsContext::Server({.cert_file = "/no/cert.pem"}).ok());
  EXPECT_FALSE(TlsContext::Client({.ca_file = "/no/ca.pem"}).ok());
  EXPECT_FALSE(TlsContext::Client({.alpn = {""}}).ok());
}

TEST(Tls, VersionsAndCiphersAreTheServersToChoose) {
  const auto client = Trusting();
  for (const TlsVersion version :
       {TlsVersion::k10, TlsVersion::k11, TlsVersion::k12, TlsVersion::k13}) {
    const auto server =
        TlsContext::Server({.version_min = version, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"});
    ASSERT_TRUE(server.ok()) << server.status();
    Ends ends = Connect(*client, **server, "localhost");
    Pump pump;
    EXPECT_TRUE(pump.Move(ends.client, ends.server, "hello"));
  }
  const auto unknown = TlsContext::Server({.ciphers = "NO-SUCH-CIPHER"});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.status().message().find("NO-SUCH-CIPHER"), std::string_view::npos);
}

TEST(Tls, ReloadTakesNewFilesAndKeepsTheOldOnesOnError) {
  const TlsFiles old_files;
  const TlsFiles new_files;
  const auto server =
      TlsContext::Server({.cert_file = old_files.cert(), .key_file = old_files.key()}).value();
  const auto client = TlsContext::Client({.ca_file = new_files.cert()}).value();
  const auto works = [&] {
    Ends ends = Connect(*client, *server, "localhost");
    Pump pump;
    return pump.Move(ends.client, ends.server, "hello");
  };
  EXPECT_FALSE(works());
  const auto copy = [](const std::string& from, const std::string& to) {
    std::ofstream(to, std::ios::binary) << std::ifstream(from, std::ios::binary).rdbuf();
  };
  copy(new_files.cert(), old_files.cert());
  copy(new_files.key(), old_files.key());
  EXPECT_TRUE(server->Reload().ok());
  EXPECT_TRUE(works());
  std::ofstream(old_files.cert()) << "nonsense";
  EXPECT_FALSE(server->Reload().ok());
  EXPECT_TRUE(works());
}

}  // namespace
}  // namespace weir::io
