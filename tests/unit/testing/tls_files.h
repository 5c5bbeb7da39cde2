// testing/tls_files.h: a certificate and its key in files, for tests that speak TLS.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace weir {

// A certificate, signed by itself, and its key, made by the openssl program. The files go with it.
class TlsFiles {
 public:
  // `names`: what the certificate is for, as OpenSSL's subjectAltName spells it.
  explicit TlsFiles(const std::string& names = "DNS:localhost,IP:127.0.0.1") {
    folder_ = ::testing::TempDir() + "weir_tls_XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
        "/CN=localhost -addext subjectAltName=" +
        names + " -keyout " + key() + " -out " + cert() + " 2>/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  ~TlsFiles() {
    std::remove(key().c_str());
    std::remove(cert().c_str());
    ::rmdir(folder_.c_str());
  }
  TlsFiles(const TlsFiles&) = delete;
  TlsFiles& operator=(const TlsFiles&) = delete;

  std::string cert() const { return folder_ + "/cert.pem"; }
  std::string key() const { return folder_ + "/key.pem"; }

 private:
  std::string folder_;
};

}  // namespace weir
