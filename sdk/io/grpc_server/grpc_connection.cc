#include "weir/io/grpc_server/grpc_connection.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "weir/io/grpc_server/grpc_server_core.h"
#include "weir/io/grpc_server/grpc_wire.h"

namespace weir::io {
namespace {

constexpr std::string_view kDrainPing = "weirdrai";  // eight bytes of PING payload
constexpr size_t kKeptHeadersMax = 256;

constexpr std::array<std::string_view, 17> kStatusTexts = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"};

std::string_view StatusText(Code code) noexcept {
  const auto value = static_cast<uint32_t>(code);
  return kStatusTexts[value < kStatusTexts.size() ? value : static_cast<uint32_t>(Code::kUnknown)];
}

nghttp2_nv Field(std::string_view name, std::string_view value, uint8_t flags) noexcept {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          flags};
}

// Both texts live forever.
nghttp2_nv StaticField(std::string_view name, std::string_view value) noexcept {
  return Field(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

nghttp2_nv CopiedField(std::string_view name, std::string_view value) noexcept {
  return Field(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

// The next DATA frame of a call: how much of its queue goes in, and whether trailers follow.
ssize_t ReadCallData(nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                     nghttp2_data_source* source, void* user_data) {
  auto* call = static_cast<ServerCall*>(source->ptr);
  const size_t queued = call->queued_bytes();
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (queued == 0 && !call->finishing()) {
    call->set_deferred();
    return NGHTTP2_ERR_DEFERRED;
  }
  if (queued <= length && call->finishing()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (call->TakeTrailers()) static_cast<GrpcConnection*>(user_data)->SubmitTrailers(*call);
  }
  return static_cast<ssize_t>(std::min(queued, length));
}

}  // namespace

GrpcConnection::GrpcConnection(GrpcServerCore& core, Stream stream,
                               const SocketAddress& peer) noexcept
    : core_(&core),
      loop_(&core.loop),
      stream_(std::move(stream)),
      peer_(peer),
      flood_(core.loop.now_ns()),
      last_read_ns_(core.loop.now_ns()) {}

GrpcConnection::~GrpcConnection() = default;

void GrpcConnection::Start() {
  const bool made =
      nghttp2_session_server_new2(&session_, core_->callbacks, this, core_->session_option) == 0 &&
      SubmitSettings() && loop_->Watch(stream_, *this) == Code::kOk;
  if (!made) {
    Die(GrpcEnd::kConnectionLost);
    return;
  }
  if (core_->options.handshake_ns != 0) loop_->Arm(timer_, core_->options.handshake_ns);
  // With SETTINGS first a client need not wait a round trip to learn its windows.
  Touch();
}

bool GrpcConnection::SubmitSettings() {
  const GrpcServerOptions& options = core_->options;
  const std::array<nghttp2_settings_entry, 5> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.calls_per_connection_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options.metadata_bytes_max},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  return nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
             0 &&
         nghttp2_session_set_local_window_size(
             session_, NGHTTP2_FLAG_NONE, 0,
             static_cast<int32_t>(options.connection_window_bytes)) == 0;
}

void GrpcConnection::Die(GrpcEnd why) {
  if (state_ == State::kDead) return;
  state_ = State::kDead;
  turn_end_.Cancel();
  timer_.Cancel();
  send_timer_.Cancel();
  held_timer_.Cancel();
  while (ServerCall* call = calls_.PopFront()) {
    call->OnStreamClosed(false);
    call->Detach(why);
    core_->Recycle(std::unique_ptr<ServerCall>(call));
  }
  nghttp2_session_del(session_);
  session_ = nullptr;
  rest_.Release();
  block_.Release();
  loop_->Close(stream_, *this);
  core_->Forget(*this);
  loop_->Retire(std::unique_ptr<Retirable>(this));
}

// --- reading ---

void GrpcConnection::OnReady(Ready ready) {
  ready = stream_.Widen(ready);
  if ((ready & (kReadable | kPeerClosed | kBroken)) != 0) can_read_ = true;
  if ((ready & (kPeerClosed | kBroken)) != 0) peer_closed_ = true;
  if (state_ == State::kLinger) {
    DropInput();
  } else {
    Pump();
  }
}

void GrpcConnection::OnTurnEnd() {
  if (state_ == State::kOpen) Pump();
}

void GrpcConnection::Pump() {
  busy_ = true;
  uint32_t reads = 0;
  do {
    Flush();
    if (state_ != State::kOpen || rest_end_ != 0 || !can_read_) break;
    if (++reads > kGrpcReadsPerTurnMax) break;
  } while (ReadOnce());
  busy_ = false;
  if (state_ != State::kOpen) return;
  const bool more = (can_read_ && rest_end_ == 0) || !attention_.empty();
  if (more) loop_->AtTurnEnd(turn_end_);
}

bool GrpcConnection::ReadOnce() {
  Buffer in = loop_->buffers().Acquire(kGrpcReadBytesMax);
  const IoResult result = stream_.TryRead({in.data(), in.capacity_bytes()});
  if (result.would_block()) {
    can_read_ = false;
    return false;
  }
  if (!result.ok()) {
    if (!handshaken_) core_->Count(GrpcRefusal::kHandshake);
    Die(GrpcEnd::kConnectionLost);
    return false;
  }
  if (result.drained && !peer_closed_) can_read_ = false;
  last_read_ns_ = loop_->now_ns();
  ping_sent_ = false;
  core_->counters.bytes_in.Add(result.bytes);
  const ssize_t taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(in.data()), result.bytes);
  if (taken < 0) {
    core_->Count(taken == NGHTTP2_ERR_FLOODED ? GrpcRefusal::kFlood : GrpcRefusal::kProtocol);
    Die(GrpcEnd::kConnectionLost);
    return false;
  }
  return true;
}

void GrpcConnection::ConsumeConnection(uint64_t bytes) noexcept {
  unconsumed_bytes_ += bytes;
  if (over_held_limit() || session_ == nullptr || unconsumed_bytes_ == 0) return;
  nghttp2_session_consume_connection(session_, std::exchange(unconsumed_bytes_, 0));
}

bool GrpcConnection::over_held_limit() const noexcept {
  return held_bytes_ > core_->options.connection_held_bytes_max;
}

void GrpcConnection::Consume(int32_t stream_id, uint64_t bytes) noexcept {
  if (session_ == nullptr) return;
  nghttp2_session_consume_stream(session_, stream_id, bytes);
  Touch();
}

void GrpcConnection::Charge(uint64_t before, uint64_t after) noexcept {
  const bool was_over = over_held_limit();
  held_bytes_ += after - before;
  core_->counters.held_bytes.Add(after - before);
  if (over_held_limit()) {
    if (!was_over && core_->options.held_ns != 0) loop_->Arm(held_timer_, core_->options.held_ns);
  } else if (was_over) {
    held_timer_.Cancel();
    if (state_ != State::kOpen) return;
    ConsumeConnection(0);
    Touch();
  }
}

void GrpcConnection::OnHeldTimer() {
  // Calls wait for each other's window: only ending one lets the others go on.
  ServerCall* largest = nullptr;
  for (ServerCall* call = calls_.front(); call != nullptr; call = calls_.Next(*call)) {
    if (largest == nullptr || call->charged_bytes() > largest->charged_bytes()) largest = call;
  }
  if (largest != nullptr) {
    largest->EndByServer(GrpcEnd::kOverLimit, Code::kResourceExhausted,
                         "the connection's calls hold too many bytes");
  }
  if (over_held_limit()) loop_->Arm(held_timer_, core_->options.held_ns);
}

void GrpcConnection::EndFlood() noexcept {
  if (flooded_) return;
  flooded_ = true;
  nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
}

void GrpcConnection::OnClientSettings() {
  if (handshaken_) return;
  handshaken_ = true;
  timer_.Cancel();
  if (core_->options.keepalive_ns != 0) loop_->Arm(timer_, core_->options.keepalive_ns);
}

void GrpcConnection::OnPingAnswer(std::string_view payload) {
  if (payload == kDrainPing && drain_noticed_) SendGoaway();
}

void GrpcConnection::OnTimer() {
  const GrpcServerOptions& options = core_->options;
  if (state_ == State::kLinger || !handshaken_) {
    if (state_ == State::kOpen) core_->Count(GrpcRefusal::kHandshake);
    Die(GrpcEnd::kConnectionLost);
    return;
  }
  if (ping_sent_) {
    core_->Count(GrpcRefusal::kKeepalive);
    Die(GrpcEnd::kConnectionLost);
    return;
  }
  const int64_t silence_ns = loop_->now_ns() - last_read_ns_;
  if (silence_ns < options.keepalive_ns) {
    loop_->Arm(timer_, options.keepalive_ns - silence_ns);
    return;
  }
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  ping_sent_ = true;
  loop_->Arm(timer_, options.keepalive_timeout_ns);
  Touch();
}

// --- requests ---

bool GrpcConnection::RoomForCall() const noexcept {
  return call_count_ < core_->options.calls_per_connection_max &&
         core_->call_count < core_->options.calls_max;
}

void GrpcConnection::BeginHeaders() noexcept {
  block_bytes_ = 0;
  metadata_bytes_ = 0;
  metadata_over_ = false;
  headers_.clear();
}

void GrpcConnection::AddHeader(std::string_view name, std::string_view value) {
  constexpr uint32_t kOverheadBytes = 32;  // of each header, as HTTP/2 counts
  const size_t bytes = name.size() + value.size();
  metadata_bytes_ += static_cast<uint32_t>(bytes) + kOverheadBytes;
  if (metadata_over_ || metadata_bytes_ > core_->options.metadata_bytes_max ||
      headers_.size() >= kGrpcMetadataMax) {
    metadata_over_ = true;
    return;
  }
  const size_t needed = block_bytes_ + bytes;
  if (!block_) block_ = loop_->buffers().Acquire(needed);
  if (needed > block_.capacity_bytes()) block_.Grow(needed, block_bytes_);
  std::memcpy(block_.data() + block_bytes_, name.data(), name.size());
  std::memcpy(block_.data() + block_bytes_ + name.size(), value.data(), value.size());
  headers_.push_back({static_cast<uint32_t>(block_bytes_), static_cast<uint32_t>(name.size()),
                      static_cast<uint32_t>(value.size())});
  block_bytes_ = needed;
}

namespace {

// What the transport itself needs to know of a request's headers.
struct RequestFacts {
  std::string_view method;
  std::string_view path;
  std::string_view content_type;
  std::string_view te;
  std::string_view encoding;
  std::optional<std::string_view> timeout;
};

RequestFacts FactsOf(const std::vector<GrpcMetadata>& metadata) noexcept {
  RequestFacts facts;
  for (const GrpcMetadata& one : metadata) {
    if (one.name == ":path") {
      facts.path = one.value;
    } else if (one.name == ":method") {
      facts.method = one.value;
    } else if (one.name == "content-type") {
      facts.content_type = one.value;
    } else if (one.name == "te") {
      facts.te = one.value;
    } else if (one.name == "grpc-encoding") {
      facts.encoding = one.value;
    } else if (one.name == "grpc-timeout") {
      facts.timeout = one.value;
    }
  }
  return facts;
}

}  // namespace

void GrpcConnection::StartCall(int32_t stream_id) {
  std::vector<GrpcMetadata>& metadata = core_->metadata;
  metadata.clear();
  for (const HeaderSlice& one : headers_) {
    const char* name = block_.data() + one.begin;
    metadata.push_back({{name, one.name_bytes}, {name + one.name_bytes, one.value_bytes}});
  }
  const RequestFacts facts = FactsOf(metadata);
  GrpcHandler* handler = core_->FindHandler(facts.path);
  const std::optional<int64_t> timeout_ns = ParseGrpcTimeout(facts.timeout.value_or("1H"));
  const bool gzip = facts.encoding == "gzip";
  if (metadata_over_) {
    RefuseCall(stream_id, GrpcRefusal::kMetadata, Code::kResourceExhausted,
               "the request's metadata is larger than the server's limit");
  } else if (facts.method != "POST") {
    RefuseHttp(stream_id, "405");
  } else if (!IsGrpcContentType(facts.content_type)) {
    RefuseHttp(stream_id, "415");
  } else if (facts.te != "trailers") {
    RefuseCall(stream_id, GrpcRefusal::kNotGrpc, Code::kInternal,
               "header te is missing, expected \"trailers\"");
  } else if (handler == nullptr) {
    RefuseCall(stream_id, GrpcRefusal::kUnknownMethod, Code::kUnimplemented,
               "unknown method " + std::string(facts.path));
  } else if (!gzip && !facts.encoding.empty() && facts.encoding != "identity") {
    RefuseCall(stream_id, GrpcRefusal::kEncoding, Code::kUnimplemented,
               "grpc-encoding " + std::string(facts.encoding) + ", expected identity or gzip");
  } else if (!timeout_ns.has_value()) {
    RefuseCall(stream_id, GrpcRefusal::kNotGrpc, Code::kInternal,
               "header grpc-timeout is malformed");
  } else {
    ServerCall* call = core_->NewCall().release();
    calls_.PushBack(*call);
    ++call_count_;
    flood_.EarnAnswers();
    nghttp2_session_set_stream_user_data(session_, stream_id, call);
    const int64_t deadline_ns = facts.timeout.has_value() ? loop_->now_ns() + *timeout_ns
                                                          : std::numeric_limits<int64_t>::max();
    call->Begin({this, handler, stream_id, gzip ? GrpcEncoding::kGzip : GrpcEncoding::kIdentity,
                 deadline_ns, metadata});
  }
  block_.Release();
  if (headers_.capacity() > kKeptHeadersMax) std::vector<HeaderSlice>().swap(headers_);
}

void GrpcConnection::RefuseCall(int32_t stream_id, GrpcRefusal refusal, Code code,
                                std::string_view text) {
  core_->Count(refusal);
  WasteCall();
  std::string message;
  AppendGrpcMessage(text, kGrpcStatusTextBytesMax, message);
  const std::array<nghttp2_nv, 5> fields = {
      StaticField(":status", "200"), StaticField("content-type", "application/grpc"),
      StaticField("grpc-status", StatusText(code)), CopiedField("grpc-message", message),
      StaticField("grpc-accept-encoding", "identity,gzip")};
  nghttp2_submit_response(session_, stream_id, fields.data(), fields.size(), nullptr);
}

void GrpcConnection::RefuseHttp(int32_t stream_id, std::string_view status) {
  core_->Count(GrpcRefusal::kNotGrpc);
  WasteCall();
  const nghttp2_nv field = CopiedField(":status", status);
  nghttp2_submit_response(session_, stream_id, &field, 1, nullptr);
}

void GrpcConnection::WasteCall() noexcept {
  if (!flood_.OnWastedCall(loop_->now_ns())) EndFlood();
}

void GrpcConnection::SubmitResponse(ServerCall& call) {
  const std::array<nghttp2_nv, 2> fields = {StaticField(":status", "200"),
                                            StaticField("content-type", "application/grpc")};
  nghttp2_data_provider provider = {};
  provider.source.ptr = &call;
  provider.read_callback = ReadCallData;
  nghttp2_submit_response(session_, call.stream_id(), fields.data(), fields.size(), &provider);
}

void GrpcConnection::SubmitTrailersOnly(ServerCall& call) {
  const std::array<nghttp2_nv, 4> fields = {StaticField(":status", "200"),
                                            StaticField("content-type", "application/grpc"),
                                            StaticField("grpc-status", StatusText(call.status())),
                                            CopiedField("grpc-message", call.status_text())};
  const size_t count = call.status_text().empty() ? fields.size() - 1 : fields.size();
  nghttp2_submit_response(session_, call.stream_id(), fields.data(), count, nullptr);
}

void GrpcConnection::SubmitTrailers(ServerCall& call) {
  const std::array<nghttp2_nv, 2> fields = {StaticField("grpc-status", StatusText(call.status())),
                                            CopiedField("grpc-message", call.status_text())};
  const size_t count = call.status_text().empty() ? 1 : 2;
  nghttp2_submit_trailer(session_, call.stream_id(), fields.data(), count);
}

void GrpcConnection::ResumeData(ServerCall& call) noexcept {
  nghttp2_session_resume_data(session_, call.stream_id());
}

void GrpcConnection::ResetStream(ServerCall& call, uint32_t http2_error) noexcept {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call.stream_id(), http2_error);
  Touch();
}

// --- writing ---

void GrpcConnection::Touch() noexcept {
  if (!busy_ && state_ == State::kOpen) loop_->AtTurnEnd(turn_end_);
}

void GrpcConnection::ServeAttention() {
  IntrusiveList<AttentionNode> due;
  due.TakeAll(attention_);
  while (AttentionNode* node = due.PopFront()) {
    ServerCall* call = node->call;
    if (call->Attend()) continue;
    call->Unlink();
    --call_count_;
    core_->Recycle(std::unique_ptr<ServerCall>(call));
  }
}

void GrpcConnection::Flush() {
  while (true) {
    ServeAttention();
    if (!WriteRest()) return;
    if (!Gather()) {
      Die(GrpcEnd::kConnectionLost);
      return;
    }
    if (core_->gather.empty()) break;
    if (!WriteGathered()) return;
  }
  CloseIfDone();
}

bool GrpcConnection::Gather() {
  GatherBuffer& gather = core_->gather;
  while (gather.bytes() < kGrpcGatherBytesMax) {
    const uint8_t* data = nullptr;
    const ssize_t bytes = nghttp2_session_mem_send(session_, &data);
    if (bytes == 0) break;
    if (bytes < 0) {
      gather.Clear();
      return false;
    }
    gather.AppendCopy({reinterpret_cast<const char*>(data), static_cast<size_t>(bytes)});
  }
  return true;
}

bool GrpcConnection::WriteGathered() {
  GatherBuffer& gather = core_->gather;
  const IoResult result = gather.WriteTo(stream_);
  const size_t left = gather.bytes() - result.bytes;
  core_->counters.bytes_out.Add(result.bytes);
  if (result.status == IoStatus::kError) {
    gather.Clear();
    Die(GrpcEnd::kConnectionLost);
    return false;
  }
  if (left != 0) {
    rest_ = loop_->buffers().Acquire(left);
    gather.CopyRest(result.bytes, rest_.data());
    rest_begin_ = 0;
    rest_end_ = left;
    if (core_->options.send_ns != 0) loop_->Arm(send_timer_, core_->options.send_ns);
  }
  gather.Clear();
  return true;
}

bool GrpcConnection::WriteRest() {
  while (rest_end_ != 0) {
    const IoResult result =
        stream_.TryWrite(std::string_view(rest_.data() + rest_begin_, rest_end_ - rest_begin_));
    if (result.would_block()) return false;
    if (!result.ok()) {
      Die(GrpcEnd::kConnectionLost);
      return false;
    }
    core_->counters.bytes_out.Add(result.bytes);
    rest_begin_ += result.bytes;
    if (rest_begin_ != rest_end_) {
      if (core_->options.send_ns != 0) loop_->Arm(send_timer_, core_->options.send_ns);
      continue;
    }
    rest_.Release();
    rest_begin_ = rest_end_ = 0;
    send_timer_.Cancel();
  }
  return true;
}

void GrpcConnection::OnSendTimer() { Die(GrpcEnd::kTimeout); }

void GrpcConnection::SendDrainNotice() {
  if (state_ != State::kOpen || drain_noticed_) return;
  if (!handshaken_) {
    Die(GrpcEnd::kDrained);
    return;
  }
  drain_noticed_ = true;
  nghttp2_submit_shutdown_notice(session_);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE,
                      reinterpret_cast<const uint8_t*>(kDrainPing.data()));
  Touch();
}

void GrpcConnection::SendGoaway() {
  if (state_ != State::kOpen || goaway_sent_) return;
  goaway_sent_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  Touch();
}

void GrpcConnection::CloseIfDone() {
  if (state_ != State::kOpen || nghttp2_session_want_read(session_) != 0 ||
      nghttp2_session_want_write(session_) != 0) {
    return;
  }
  Linger();
}

void GrpcConnection::Linger() {
  state_ = State::kLinger;
  while (ServerCall* call = calls_.PopFront()) {
    call->OnStreamClosed(false);
    call->Detach(GrpcEnd::kConnectionLost);
    --call_count_;
    core_->Recycle(std::unique_ptr<ServerCall>(call));
  }
  held_timer_.Cancel();
  stream_.ShutdownWrite();
  loop_->Arm(timer_, kGrpcLingerNs);
  DropInput();
}

void GrpcConnection::DropInput() {
  Buffer in = loop_->buffers().Acquire(kPooledBufferBytesMin);
  while (can_read_) {
    const IoResult result = stream_.TryRead({in.data(), in.capacity_bytes()});
    if (result.would_block()) can_read_ = false;
    if (result.ok() || result.would_block()) continue;
    in.Release();
    Die(GrpcEnd::kConnectionLost);
    return;
  }
}

}  // namespace weir::io
