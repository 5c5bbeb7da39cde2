// weir/io/loop/tls.h: TLS for streams, by OpenSSL. Start at TlsContext::Server() and Client().
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weir/io/loop/stream.h"
#include "weir/io/loop/unique_fd.h"

struct ssl_ctx_st;

namespace weir::io {

enum class TlsVersion { k10, k11, k12, k13 };

struct TlsServerOptions {
  std::string cert_file;       // PEM, with its chain; both files empty: a self-signed one is made
  std::string key_file;        // PEM
  std::string client_ca_file;  // PEM; if set, clients must show a certificate signed by it
  std::vector<std::string> alpn = {"http/1.1"};  // in order of preference
  TlsVersion version_min = TlsVersion::k12;
  // OpenSSL's names for versions up to 1.2, joined by ':'; empty: OpenSSL's choice.
  std::string ciphers;
};

struct TlsClientOptions {
  bool verify = true;     // the server's chain and name
  std::string ca_file;    // PEM; empty: the system's
  std::string cert_file;  // PEM; with key_file: shown to servers that ask
  std::string key_file;
  std::vector<std::string> alpn = {"http/1.1"};
};

// Keys and rules for one side of TLS connections. Safe for concurrent use by many
// threads without external locking. Streams keep what they need and may outlive it.
class TlsContext {
 public:
  // Errors: kInvalidArgument, naming the file and what is wrong with it.  [control]
  static absl::StatusOr<std::unique_ptr<TlsContext>> Server(const TlsServerOptions& options);
  static absl::StatusOr<std::unique_ptr<TlsContext>> Client(const TlsClientOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Reads the files again; streams made from then on use them. On error the old keys stay in use.
  // Errors: as for Server() and Client().  [control, concurrent]
  absl::Status Reload();

  // Wraps a connected or connecting socket. `server_name` is for clients: the name or numeric
  // address that the server's certificate must carry and, if a name, that is sent to it.
  // Returns a stream that is not open when memory runs out, and for a client that verifies without
  // a name: any server's certificate would do then. [concurrent]
  Stream NewStream(UniqueFd socket, std::string_view server_name = {}) const;

 private:
  TlsContext() = default;
  absl::StatusOr<ssl_ctx_st*> Build() const;

  bool is_server_ = false;
  TlsServerOptions server_;
  TlsClientOptions client_;
  std::string alpn_wire_;  // length-prefixed names
  mutable std::mutex mutex_;
  ssl_ctx_st* context_ = nullptr;  // guarded by mutex_
};

}  // namespace weir::io
