// weir/io/grpc_server/grpc_connection.h: one connection of GrpcServer: an nghttp2 session over a
// stream. Only .cc files of this room see nghttp2 itself.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/flood_guard.h"
#include "weir/io/grpc_server/grpc_counters.h"
#include "weir/io/grpc_server/server_call.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/stream.h"

struct nghttp2_session;

namespace weir::io {

class GrpcServerCore;
struct ConnectionCallbacks;

inline constexpr size_t kGrpcGatherBytesMax = 256 * 1024;  // of one write, more or less a frame
inline constexpr int64_t kGrpcLingerNs = 1'000'000'000;    // for the client to read the last bytes

// In its server's list from Start() to Die(), then retired.
class GrpcConnection final : public Retirable, public ListNode, private EventHandler {
 public:
  GrpcConnection(GrpcServerCore& core, Stream stream, const SocketAddress& peer) noexcept;
  ~GrpcConnection() override;

  // Begins to serve, or dies when memory or descriptors ran out.
  void Start();
  // Ends the connection at once; its calls end with `why`.
  void Die(GrpcEnd why);
  // First step of a drain: says that no further calls are wanted.
  void SendDrainNotice();
  // Second: names the last call that is served, and closes when it has ended.
  void SendGoaway();

  // From calls.
  void SubmitResponse(ServerCall& call);
  void SubmitTrailersOnly(ServerCall& call);
  void SubmitTrailers(ServerCall& call);
  void ResumeData(ServerCall& call) noexcept;
  void ResetStream(ServerCall& call, uint32_t http2_error) noexcept;
  void Consume(int32_t stream_id, uint64_t bytes) noexcept;
  // Bytes held for calls changed from `before` to `after`.
  void Charge(uint64_t before, uint64_t after) noexcept;
  bool over_held_limit() const noexcept;
  IntrusiveList<AttentionNode>& attention() noexcept { return attention_; }
  // Asks for a Flush() at the end of the turn, unless one comes anyway.
  void Touch() noexcept;

  GrpcServerCore& core() noexcept { return *core_; }
  const SocketAddress& peer() const noexcept { return peer_; }
  bool is_tls() const noexcept { return stream_.is_tls(); }

 private:
  friend struct ConnectionCallbacks;

  // A header line of the request that is arriving, in block_.
  struct HeaderSlice {
    uint32_t begin;
    uint32_t name_bytes;
    uint32_t value_bytes;
  };
  enum class State : uint8_t { kOpen, kLinger, kDead };

  void OnReady(Ready ready) override;
  void OnTurnEnd();
  void OnTimer();
  void OnSendTimer();
  void OnHeldTimer();
  void Pump();
  bool ReadOnce();
  void Flush();
  void ServeAttention();
  bool Gather();
  bool WriteGathered();
  bool WriteRest();
  void CloseIfDone();
  void Linger();
  void DropInput();
  bool SubmitSettings();
  void ConsumeConnection(uint64_t bytes) noexcept;
  void EndFlood() noexcept;
  void OnClientSettings();
  void OnPingAnswer(std::string_view payload);

  // Requests.
  bool RoomForCall() const noexcept;
  void BeginHeaders() noexcept;
  void AddHeader(std::string_view name, std::string_view value);
  void StartCall(int32_t stream_id);
  void RefuseCall(int32_t stream_id, GrpcRefusal refusal, Code code, std::string_view text);
  void RefuseHttp(int32_t stream_id, std::string_view status);
  void WasteCall() noexcept;

  GrpcServerCore* core_;
  EventLoop* loop_;
  Stream stream_;
  SocketAddress peer_;
  nghttp2_session* session_ = nullptr;
  IntrusiveList<ServerCall> calls_;  // owned
  IntrusiveList<AttentionNode> attention_;
  FloodGuard flood_;
  TurnEndTask turn_end_ = TurnEndTask::Calling<&GrpcConnection::OnTurnEnd>(*this);
  Timer timer_ = Timer::Calling<&GrpcConnection::OnTimer>(*this);  // handshake, keepalive, linger
  Timer send_timer_ = Timer::Calling<&GrpcConnection::OnSendTimer>(*this);
  Timer held_timer_ = Timer::Calling<&GrpcConnection::OnHeldTimer>(*this);

  Buffer block_;  // header lines of a request whose headers are incomplete
  size_t block_bytes_ = 0;
  uint32_t metadata_bytes_ = 0;
  std::vector<HeaderSlice> headers_;
  bool metadata_over_ = false;

  Buffer rest_;  // what the socket did not take
  size_t rest_begin_ = 0;
  size_t rest_end_ = 0;

  uint64_t held_bytes_ = 0;
  uint64_t unconsumed_bytes_ = 0;
  int64_t last_read_ns_ = 0;
  bool ping_sent_ = false;  // and nothing has been read since
  uint32_t call_count_ = 0;
  State state_ = State::kOpen;
  bool can_read_ = true;
  bool peer_closed_ = false;
  bool busy_ = false;        // a Flush() follows anyway
  bool handshaken_ = false;  // the client's SETTINGS have arrived
  bool flooded_ = false;
  bool goaway_sent_ = false;
  bool drain_noticed_ = false;
};

}  // namespace weir::io
