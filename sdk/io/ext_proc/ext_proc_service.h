// weir/io/ext_proc/ext_proc_service.h: the streams of one gRPC server. Start at ExtProcService.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "weir/io/ext_proc/ext_proc_core.h"
#include "weir/io/grpc_server/grpc_call.h"

namespace weir::io {

// What to Register() an ExtProcService for.
inline constexpr std::string_view kExtProcMethod =
    "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
// Of that service, for health checks.
inline constexpr std::string_view kExtProcServiceName =
    "envoy.service.ext_proc.v3.ExternalProcessor";
// Streams kept for reuse by one service.
inline constexpr size_t kFreeStreamsMax = 4096;

// Answers the calls of one server, each by an ExtProcStream from a pool. Belongs to the thread of
// the server's loop. A stream whose proxy does not take its answers is not read meanwhile.
class ExtProcService final : public GrpcHandler {
 public:
  // Borrowed: core, which no other service may use. [control]
  explicit ExtProcService(ExtProcCore& core);
  ~ExtProcService() override;  // REQUIRES: the server is gone

  void OnCall(GrpcCall& call) override;
  void OnMessage(GrpcCall& call, std::string_view message) override;
  void OnHalfClose(GrpcCall& call) override;
  void OnSendReady(GrpcCall& call) override;
  void OnEnd(GrpcCall& call, GrpcEnd why) override;

 private:
  class Slot;

  ExtProcCore& core_;
  std::vector<std::unique_ptr<Slot>> free_;
};

}  // namespace weir::io
