#include "weir/io/admin/admin_server.h"

namespace weir::io {

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Open(EventLoop& loop,
                                                               const AdminServerOptions& options,
                                                               const LocalPages& pages) {
  std::unique_ptr<AdminServer> admin(new AdminServer(pages));
  auto server = HttpServer::Open(loop,
                                 {.address = options.address,
                                  .tls_or_null = options.tls_or_null,
                                  .unsent_bytes_max = kAdminPageBytesMax},
                                 *admin);
  if (!server.ok()) return server.status();
  admin->server_ = *std::move(server);
  return admin;
}

void AdminServer::OnRequest(const HttpRequest& request, ResponseWriter response) {
  const Method method = request.head.method_id;
  if (method != Method::kGet && method != Method::kHead && pages_.Has(request.head.path())) {
    const HeaderField allow[] = {{"allow", "GET"}, {"content-type", "text/plain; charset=utf-8"}};
    return response.Send(405, allow, "method not allowed\n");
  }
  Page page;
  if (!ServeRequest(pages_, request.head, &page)) {
    return response.SendError({.status = 404, .message = "no such page"});
  }
  const HeaderField headers[] = {{"content-type", page.content_type}};
  response.Send(page.status, headers, page.body);
}

}  // namespace weir::io
