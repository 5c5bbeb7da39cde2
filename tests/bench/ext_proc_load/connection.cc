#include "ext_proc_load/connection.h"

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ext_proc_load/message.h"
#include "weir/io/loop/tls.h"

namespace weir::bench {

namespace io = weir::io;

namespace {

constexpr uint32_t kStreamWindowBytes = 65'536;
constexpr int32_t kConnectionWindowBytes = 1 << 20;
constexpr size_t kReadBytes = 256u << 10;
constexpr size_t kOutBytesMax = 512u << 10;  // framed ahead of the socket
constexpr size_t kHttp2FrameHeadBytes = 9;

nghttp2_nv Field(std::string_view name, std::string_view value) {
  // The library copies unless told otherwise; it does not write through these pointers.
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

}  // namespace

struct Connection::Callbacks {
  static ClientStream* StreamOf(nghttp2_session* session, int32_t id) {
    return static_cast<ClientStream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static ssize_t Send(nghttp2_session*, const uint8_t* data, size_t size, int, void* user) {
    auto& self = *static_cast<Connection*>(user);
    if (self.out_.size() >= kOutBytesMax) return NGHTTP2_ERR_WOULDBLOCK;
    self.out_.append(reinterpret_cast<const char*>(data), size);
    return static_cast<ssize_t>(size);
  }

  static ssize_t ReadSource(nghttp2_session*, int32_t, uint8_t*, size_t size, uint32_t* flags,
                            nghttp2_data_source* source, void*) {
    auto& stream = *static_cast<ClientStream*>(source->ptr);
    const size_t sendable = stream.sendable_bytes();
    if (sendable > 0) {
      *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
      return static_cast<ssize_t>(std::min(size, sendable));
    }
    if (stream.sends_no_more()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      return 0;
    }
    stream.waiting_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }

  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t size,
                      nghttp2_data_source* source, void* user) {
    auto& self = *static_cast<Connection*>(user);
    if (self.out_.size() >= kOutBytesMax) return NGHTTP2_ERR_WOULDBLOCK;
    const size_t at = self.out_.size();
    self.out_.resize(at + kHttp2FrameHeadBytes + size);
    std::memcpy(self.out_.data() + at, head, kHttp2FrameHeadBytes);
    static_cast<ClientStream*>(source->ptr)
        ->Take(size, self.out_.data() + at + kHttp2FrameHeadBytes);
    return 0;
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t, void*) {
    const std::string_view header(reinterpret_cast<const char*>(name), name_size);
    if (header != "grpc-status") return 0;
    ClientStream* stream = StreamOf(session, frame->hd.stream_id);
    const absl::string_view text(reinterpret_cast<const char*>(value), value_size);
    if (stream != nullptr && !absl::SimpleAtoi(text, &stream->end_.grpc_status)) {
      stream->end_.grpc_status = -1;
    }
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void* user) {
    ClientStream* stream = StreamOf(session, id);
    if (stream != nullptr) {
      static_cast<Connection*>(user)->Receive(*stream, {reinterpret_cast<const char*>(data), size});
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& self = *static_cast<Connection*>(user);
    if (frame->hd.type == NGHTTP2_SETTINGS && !self.open_) {
      self.open_ = true;
      self.observer_->OnOpen();
      return 0;
    }
    const bool ends = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    ClientStream* stream = ends ? StreamOf(session, frame->hd.stream_id) : nullptr;
    // The server has ended the call; what the client has not sent is of no more use.
    if (stream != nullptr && !(stream->sends_no_more() && stream->sendable_bytes() == 0)) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session* session, int32_t id, uint32_t error, void*) {
    ClientStream* stream = StreamOf(session, id);
    if (stream == nullptr) return 0;
    nghttp2_session_set_stream_user_data(session, id, nullptr);
    stream->id_ = -1;
    stream->end_.http2_error = error;
    stream->OnClosed(stream->end_);
    return 0;
  }

  static nghttp2_session* NewSession(Connection* self) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session* session = nullptr;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
    nghttp2_session_callbacks_set_send_callback(callbacks, Send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, SendData);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnStreamClose);
    nghttp2_session_client_new(&session, callbacks, self);
    nghttp2_session_callbacks_del(callbacks);
    return session;
  }
};

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(io::EventLoop& loop,
                                                             const io::SocketAddress& address,
                                                             const io::TlsContext* tls_or_null,
                                                             ConnectionObserver& observer) {
  int error = 0;
  io::UniqueFd socket = io::StartConnect(address, error);
  if (!socket) {
    return absl::UnavailableError(
        absl::StrCat("cannot connect to ", address.ToString(), ": ", std::strerror(error)));
  }
  io::Stream stream = tls_or_null == nullptr ? io::Stream::Plain(std::move(socket))
                                             : tls_or_null->NewStream(std::move(socket));
  std::unique_ptr<Connection> connection(new Connection(loop, std::move(stream), observer));
  connection->authority_ = address.ToString();
  connection->session_ = Callbacks::NewSession(connection.get());
  if (connection->session_ == nullptr || !connection->stream_.open() ||
      loop.Watch(connection->stream_, *connection) != Code::kOk) {
    return absl::ResourceExhaustedError("no memory or descriptors for a connection");
  }
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindowBytes}};
  nghttp2_submit_settings(connection->session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(connection->session_, NGHTTP2_FLAG_NONE, 0,
                                        kConnectionWindowBytes);
  return connection;
}

Connection::Connection(io::EventLoop& loop, io::Stream stream, ConnectionObserver& observer)
    : loop_(&loop), stream_(std::move(stream)), observer_(&observer) {}

Connection::~Connection() {
  if (stream_.open()) loop_->Close(stream_, *this);
  nghttp2_session_del(session_);
}

bool Connection::Start(ClientStream& stream) {
  if (lost_) return false;
  stream.end_ = {};
  stream.waiting_ = false;
  stream.partial_.clear();
  const std::array fields = {
      Field(":method", "POST"),
      Field(":scheme", stream_.is_tls() ? "https" : "http"),
      Field(":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"),
      Field(":authority", authority_),
      Field("te", "trailers"),
      Field("content-type", "application/grpc"),
      Field("x-envoy-internal", "true"),
      Field("x-forwarded-for", "10.128.0.9"),
  };
  nghttp2_data_provider provider = {.source = {.ptr = &stream},
                                    .read_callback = Callbacks::ReadSource};
  const int32_t id =
      nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &provider, &stream);
  if (id < 0) return false;
  stream.id_ = id;
  return true;
}

void Connection::Resume(ClientStream& stream) {
  if (!std::exchange(stream.waiting_, false) || stream.id_ < 0) return;
  nghttp2_session_resume_data(session_, stream.id_);
}

void Connection::Cancel(ClientStream& stream) {
  if (stream.id_ < 0) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id_, NGHTTP2_CANCEL);
}

void Connection::Receive(ClientStream& stream, std::string_view bytes) {
  std::string& partial = stream.partial_;
  if (!partial.empty()) {
    partial += bytes;
    bytes = partial;
  }
  const bool joined = !partial.empty();
  while (bytes.size() >= kFrameHeadBytes && stream.id_ >= 0) {
    size_t size = 0;
    for (size_t i = 1; i < kFrameHeadBytes; ++i) size = size << 8 | static_cast<uint8_t>(bytes[i]);
    if (bytes[0] != 0 || size > kAnswerBytesMax) return Cancel(stream);
    if (bytes.size() - kFrameHeadBytes < size) break;
    stream.OnMessage(bytes.substr(kFrameHeadBytes, size));
    bytes.remove_prefix(kFrameHeadBytes + size);
  }
  if (joined) {
    partial.erase(0, partial.size() - bytes.size());
  } else {
    partial.assign(bytes);
  }
}

void Connection::Flush() {
  while (!lost_) {
    if (const int error = nghttp2_session_send(session_); error != 0) {
      return Lose(nghttp2_strerror(error));
    }
    if (out_sent_ == out_.size()) return;
    const io::IoResult result = stream_.TryWrite(std::string_view(out_).substr(out_sent_));
    if (result.would_block()) return;
    if (!result.ok()) return Lose(stream_.error_text(result));
    out_sent_ += result.bytes;
    if (out_sent_ < out_.size()) continue;
    out_.clear();
    out_sent_ = 0;
  }
}

void Connection::ReadAll(bool to_end) {
  io::Buffer buffer = loop_->buffers().Acquire(kReadBytes);
  while (!lost_) {
    const io::IoResult result = stream_.TryRead({buffer.data(), kReadBytes});
    if (result.would_block()) return;
    if (result.status == io::IoStatus::kEof) return Lose("closed by the server");
    if (!result.ok()) return Lose(stream_.error_text(result));
    const ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(buffer.data()), result.bytes);
    if (taken < 0) return Lose(nghttp2_strerror(static_cast<int>(taken)));
    Flush();
    if (result.drained && !to_end) return;
  }
}

void Connection::OnReady(io::Ready ready) {
  ready = stream_.Widen(ready);
  if ((ready & (io::kWritable | io::kBroken)) != 0) Flush();
  const bool ends = (ready & (io::kPeerClosed | io::kBroken)) != 0;
  if (ends || (ready & io::kReadable) != 0) ReadAll(ends);
}

void Connection::Lose(std::string_view why) {
  if (std::exchange(lost_, true)) return;
  std::vector<ClientStream*> streams;
  for (int32_t id = 1, next = nghttp2_session_get_next_stream_id(session_); id < next; id += 2) {
    ClientStream* stream = Callbacks::StreamOf(session_, id);
    if (stream != nullptr) streams.push_back(stream);
  }
  for (ClientStream* stream : streams) {
    nghttp2_session_set_stream_user_data(session_, stream->id_, nullptr);
    stream->id_ = -1;
    stream->end_.connection_lost = true;
    stream->OnClosed(stream->end_);
  }
  loop_->Close(stream_, *this);
  observer_->OnLost(why);
}

}  // namespace weir::bench
