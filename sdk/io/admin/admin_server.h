// weir/io/admin/admin_server.h: an HTTP port for the pages of a program. Start at
// AdminServer::Open().
#pragma once

#include <memory>

#include "weir/io/admin/pages.h"
#include "weir/io/http/server.h"

namespace weir::io {

// Of one page that a client has not taken yet: above what a full table of metrics grows to.
inline constexpr uint64_t kAdminPageBytesMax = 256ull << 20;

struct AdminServerOptions {
  SocketAddress address;                    // port 0: the kernel chooses
  const TlsContext* tls_or_null = nullptr;  // borrowed
};

// Answers GET and HEAD with pages, 405 for other methods on them, 404 for all else. Belongs to the
// loop's thread.
class AdminServer final : private HttpHandler {
 public:
  // Borrowed: `loop`, `pages` and the TLS context, until the server goes.
  // Errors: those of Listener::Open(). [control]
  static absl::StatusOr<std::unique_ptr<AdminServer>> Open(EventLoop& loop,
                                                           const AdminServerOptions& options,
                                                           const LocalPages& pages);
  const SocketAddress& address() const noexcept { return server_->address(); }

 private:
  explicit AdminServer(const LocalPages& pages) : pages_(pages) {}
  void OnRequest(const HttpRequest& request, ResponseWriter response) override;

  const LocalPages& pages_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace weir::io
