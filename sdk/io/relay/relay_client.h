// weir/io/relay/relay_client.h: one client connection and the request it carries. Internal to the
// relay room. The states and who moves between them are in README.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/io/http/chunk.h"
#include "weir/io/http/head.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/stream.h"
#include "weir/io/relay/relay.h"
#include "weir/io/relay/upstream_pool.h"

namespace weir::io {

class RelayCore;

// Reads requests, asks the handler, drives an upstream and writes the answer. Everything happens in
// Drive(): events and the handler's calls only set flags and state, then drive. Owns itself from
// Start() until it retires. One thread.
class RelayClient final : public RelayRequest,
                          public EventHandler,
                          public UpstreamUser,
                          public Retirable,
                          public ListNode {
 public:
  RelayClient(RelayCore& core, Stream client, const SocketAddress& address) noexcept;
  ~RelayClient() override = default;

  void Start();
  // Closes soon if no request is on its way, else after its answer. A client that was never served
  // has client_head_ns to send one. [serial]
  void Drain();
  // Ends the request in flight, if any, and the connection. [serial]
  void Abort(RelayOutcome outcome);

  void OnReady(Ready ready) override;
  void OnUpstreamReady(Ready ready) override;

  const RequestHead& head() noexcept override;
  std::string_view body() const noexcept override;
  bool is_tls() const noexcept override { return client_.is_tls(); }
  const SocketAddress& client_address() const noexcept override { return address_; }
  void Proxy(const ProxyPlan& plan) override;
  void Respond(const LocalResponse& response) override;
  void RespondError(const ErrorReply& reply, std::span<const HeaderField> headers) override;

 private:
  enum class State : uint8_t {
    kIdle,        // between requests, nothing of the next one has arrived
    kHead,        // a part of the head has arrived
    kBody,        // the head is complete, the body is not
    kDeciding,    // the handler has the request
    kForwarding,  // an upstream has it, its response head is not complete
    kStreaming,   // the response passes
    kFlushing,    // the response is complete, the client has not taken all of it
    kLingering,   // refused: what the client still sends is discarded, so that it reads the answer
    kClosed,
  };

  // relay_client.cc: the client's side.
  void Drive();
  bool Step();
  bool SpendBudget();
  bool ReadHead();
  bool ReadFromClient(std::span<char> out, size_t& bytes);
  bool ParseHead();
  bool BeginBody();
  bool ReadBody();
  bool ReadSizedBody();
  bool ReadChunkedBody();
  bool Dechunk();
  bool HasRoom(const Buffer& buffer, size_t bytes, uint64_t leaving_bytes = 0) const noexcept;
  bool Keep(size_t bytes);
  bool Dispatch();
  bool Discard();
  void Refuse(uint16_t status, std::string_view message);
  void RefuseFor(RelayReject reject, uint16_t status, std::string_view message);
  void SendToClient(std::string_view first, std::string_view second);
  void FlushPending();
  bool FinishAnswer();
  void EndRequest(RelayOutcome outcome);
  bool MustLinger();
  void PrepareNext();
  void CloseClient();
  void LoseClient();
  bool ClosesAfterAnswer() const noexcept;
  bool JoinsChunks() const noexcept { return http10_ || filtering_; }
  bool in_flight() const noexcept {
    return state_ >= State::kDeciding && state_ <= State::kFlushing;
  }
  void ArmPhase(int64_t delay_ns);
  void OnPhaseTimeout();
  void OnTotalTimeout();
  void OnContinue();

  // relay_exchange.cc: the upstream's side.
  void StartAttempt();
  bool BuildUpstreamHead();
  void SendRequest();
  void OnRequestSent();
  bool Pump();
  void TakeResponse(char* data, size_t size);
  bool TakeResponseHead(std::string_view& bytes, std::string_view& client_head);
  bool WriteResponseHead(std::string_view& client_head);
  std::string_view TakeResponseBody(char* data, size_t size);
  std::string_view TakeChunks(char* data, size_t size);
  std::string_view Filter(std::string_view data, bool last);
  void OnUpstreamEnd(bool orderly);
  void FailAttempt(RelayOutcome outcome);
  void FailRequest(RelayOutcome outcome, uint16_t status, std::string_view code,
                   std::string_view message);
  void CutAnswer(RelayOutcome outcome);
  void CompleteResponse();
  bool UpstreamQuiet();
  void DropUpstream();
  uint64_t request_body_bytes() const noexcept;

  RelayCore* core_;
  Stream client_;
  UpstreamConnection* upstream_ = nullptr;
  Timer phase_ = Timer::Calling<&RelayClient::OnPhaseTimeout>(*this);
  Timer total_ = Timer::Calling<&RelayClient::OnTotalTimeout>(*this);
  Timer continue_ = Timer::Calling<&RelayClient::OnContinue>(*this);
  SocketAddress address_;

  // Bytes of the client: [begin_, body_begin_) is the head, [body_begin_, body_end_) the body, and
  // [next_, received_) what follows the request. Empty while nothing is needed of it.
  Buffer in_;
  size_t begin_ = 0;
  size_t body_begin_ = 0;
  size_t body_end_ = 0;
  size_t next_ = 0;
  size_t received_ = 0;

  // Bytes for the client that it did not take yet: [pending_begin_, pending_end_).
  Buffer pending_;
  size_t pending_begin_ = 0;
  size_t pending_end_ = 0;

  Buffer upstream_head_;  // the request head as the upstream gets it
  size_t upstream_head_size_ = 0;
  size_t request_sent_ = 0;  // of upstream head and body
  Buffer response_part_;     // of a response head that is not complete
  size_t response_part_size_ = 0;
  uint64_t response_left_ = 0;  // of a body with a length
  ChunkScanner chunks_;         // of the request, later of the response
  HeadCursor cursor_;

  ProxyPlan plan_;
  RelayEnd end_;
  State state_ = State::kIdle;
  Method method_ = Method::kOther;
  BodyFraming framing_ = BodyFraming::kNone;  // of the request, later of the response
  uint8_t budget_ = 0;                        // steps left in this turn
  uint8_t informational_count_ = 0;
  uint8_t stale_attempts_ = 0;    // on pooled connections that were closed already
  bool client_readable_ = false;  // a read may give something
  bool client_closing_ = false;   // the client has shut down its side, or is broken
  bool client_lost_ = false;      // a write has failed
  bool unkept_ = false;           // because there was no room for what the client did not take
  bool keep_alive_ = true;        // of the client
  bool http10_ = false;           // the client's version
  bool close_after_ = false;      // the answer in progress is the last one
  bool served_ = false;           // an answer has been sent on this connection
  bool refused_ = false;          // bytes of the refused request may still come
  bool handler_has_it_ = false;   // OnRequest was called, OnEnd was not
  bool upstream_readable_ = false;
  bool upstream_closing_ = false;
  bool upstream_connected_ = false;  // has taken a byte of the request
  bool upstream_dead_ = false;       // a write has failed: only an early answer can still come
  bool upstream_keep_alive_ = false;
  bool upstream_heard_ = false;  // has sent a byte of its response
  bool fresh_only_ = false;      // a pooled connection was stale
  bool filtering_ = false;       // the response goes through the handler's filter
  bool response_done_ = false;
  bool response_broken_ = false;  // chunk framing
};

}  // namespace weir::io
