// certificates.h: the certificate of a port, followed while its files change.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "weir/io/files/path_watch.h"
#include "weir/io/loop/counter.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/tls.h"
#include "weir/options.h"

namespace weir::epp {

struct CertificatesOptions {
  std::string directory;            // with tls.crt and tls.key; empty: a self-signed certificate
  bool reload = false;              // when the files change
  int64_t settle_ns = 250'000'000;  // of the directory, before they are read again
  io::TlsServerOptions tls;         // all but its certificate and key
};

// Belongs to the thread of its loop, except tls().
class Certificates {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;

  // Borrowed: loop. Errors: kInvalidArgument naming the file; those of PathWatch. [control]
  static absl::StatusOr<std::unique_ptr<Certificates>> Open(io::EventLoop& loop,
                                                            const CertificatesOptions& options,
                                                            Log log);
  // Streams made from it use the newest certificate that could be read. [concurrent]
  const io::TlsContext& tls() const noexcept { return *tls_; }
  // Changes of the files that were taken, and that were refused. [concurrent]
  uint64_t reloads() const noexcept { return reloads_.value(); }
  uint64_t reload_failures() const noexcept { return reload_failures_.value(); }

 private:
  Certificates(const CertificatesOptions& options, Log log)
      : options_(options), log_(std::move(log)) {}
  void Reload();

  const CertificatesOptions options_;
  const Log log_;
  io::Counter reloads_, reload_failures_;
  std::string bytes_;  // of both files, as they are in use or were refused
  std::unique_ptr<io::TlsContext> tls_;
  std::unique_ptr<io::PathWatch> watch_;
};

}  // namespace weir::epp
