#include "certificates.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace weir::epp {
namespace {

std::string CertFile(const std::string& directory) { return directory + "/tls.crt"; }
std::string KeyFile(const std::string& directory) { return directory + "/tls.key"; }

// The bytes of both files, to tell changes from noise; empty parts for what cannot be read.
std::string BytesOf(const std::string& directory) {
  std::ostringstream bytes;
  bytes << std::ifstream(CertFile(directory), std::ios::binary).rdbuf() << '\0';
  bytes << std::ifstream(KeyFile(directory), std::ios::binary).rdbuf();
  return bytes.str();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Open(io::EventLoop& loop,
                                                                 const CertificatesOptions& options,
                                                                 Log log) {
  std::unique_ptr<Certificates> made(new Certificates(options, std::move(log)));
  io::TlsServerOptions tls = options.tls;
  if (!options.directory.empty()) {
    tls.cert_file = CertFile(options.directory);
    tls.key_file = KeyFile(options.directory);
  }
  // The watch comes first: a change between the first read and the watch would be missed.
  if (options.reload && !options.directory.empty()) {
    auto watch =
        io::PathWatch::Create(loop, {.path = tls.cert_file, .settle_ns = options.settle_ns},
                              [raw = made.get()] { raw->Reload(); });
    if (!watch.ok()) return watch.status();
    made->watch_ = *std::move(watch);
    made->bytes_ = BytesOf(options.directory);
  }
  auto context = io::TlsContext::Server(tls);
  if (!context.ok()) return context.status();
  made->tls_ = *std::move(context);
  return made;
}

void Certificates::Reload() {
  std::string bytes = BytesOf(options_.directory);
  if (bytes == bytes_) return;
  bytes_ = std::move(bytes);
  if (const absl::Status status = tls_->Reload(); !status.ok()) {
    reload_failures_.Add(1);
    log_(LogLevel::kError,
         absl::StrCat(std::string(status.message()), "; the certificate of before stays in use"));
    return;
  }
  reloads_.Add(1);
  log_(LogLevel::kInfo, absl::StrCat(CertFile(options_.directory), ": read again"));
}

}  // namespace weir::epp
