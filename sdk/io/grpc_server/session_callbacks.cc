#include "weir/io/grpc_server/session_callbacks.h"

#include <nghttp2/nghttp2.h>

#include <string_view>

#include "weir/io/grpc_server/grpc_connection.h"
#include "weir/io/grpc_server/grpc_server_core.h"

namespace weir::io {

constexpr uint64_t kResetsUnlimited = 1ull << 30;  // FloodGuard counts those that matter

// The functions are members so that the connection can befriend them all.
struct ConnectionCallbacks {
  static GrpcConnection& Connection(void* user_data) noexcept {
    return *static_cast<GrpcConnection*>(user_data);
  }
  static ServerCall* Call(nghttp2_session* session, int32_t stream_id) noexcept {
    return static_cast<ServerCall*>(nghttp2_session_get_stream_user_data(session, stream_id));
  }
  static std::string_view View(const uint8_t* data, size_t bytes) noexcept {
    return {reinterpret_cast<const char*>(data), bytes};
  }

  static int OnBeginFrame(nghttp2_session*, const nghttp2_frame_hd* head, void* user_data) {
    GrpcConnection& self = Connection(user_data);
    const int64_t now_ns = self.loop_->now_ns();
    bool fine = true;
    switch (head->type) {
      case NGHTTP2_HEADERS:
        break;
      case NGHTTP2_DATA:
        if (head->length == 0 && (head->flags & NGHTTP2_FLAG_END_STREAM) == 0) {
          fine = self.flood_.OnControlFrame(now_ns);
        }
        break;
      case NGHTTP2_WINDOW_UPDATE:
      case NGHTTP2_RST_STREAM:
        fine = self.flood_.OnAnswer(now_ns);
        break;
      default:
        fine = self.flood_.OnControlFrame(now_ns);
    }
    if (!fine) self.EndFlood();
    return 0;
  }

  static int OnBeginHeaders(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    GrpcConnection& self = Connection(user_data);
    if (!self.RoomForCall()) {
      self.core_->Count(GrpcRefusal::kCallsFull);
      self.WasteCall();
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                NGHTTP2_REFUSED_STREAM);
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    self.BeginHeaders();
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_bytes, const uint8_t* value, size_t value_bytes, uint8_t,
                      void* user_data) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Connection(user_data).AddHeader(View(name, name_bytes), View(value, value_bytes));
    return 0;
  }

  static int OnDataChunk(nghttp2_session* session, uint8_t, int32_t stream_id, const uint8_t* data,
                         size_t bytes, void* user_data) {
    GrpcConnection& self = Connection(user_data);
    if (ServerCall* call = Call(session, stream_id)) {
      call->OnData(View(data, bytes));
    } else {
      nghttp2_session_consume_stream(session, stream_id, bytes);
    }
    self.ConsumeConnection(bytes);
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    GrpcConnection& self = Connection(user_data);
    const int32_t stream_id = frame->hd.stream_id;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self.StartCall(stream_id);
        break;
      case NGHTTP2_RST_STREAM: {
        const ServerCall* call = Call(session, stream_id);
        if (call != nullptr && !call->finishing() && !call->answered()) self.WasteCall();
        return 0;
      }
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) self.OnClientSettings();
        return 0;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
          self.OnPingAnswer(View(frame->ping.opaque_data, sizeof frame->ping.opaque_data));
        }
        return 0;
      case NGHTTP2_DATA:
        break;
      default:
        return 0;
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      if (ServerCall* call = Call(session, stream_id)) call->OnClientDone();
    }
    return 0;
  }

  static int OnFrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    GrpcConnection& self = Connection(user_data);
    const int32_t stream_id = frame->hd.stream_id;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      self.core_->Count(self.flooded_ ? GrpcRefusal::kFlood : GrpcRefusal::kProtocol);
    }
    if (frame->hd.type == NGHTTP2_DATA) self.flood_.EarnAnswers();
    // The answer is complete: a client that still sends is told to stop.
    const bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
                       (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA);
    if (ended && nghttp2_session_get_stream_remote_close(session, stream_id) == 0) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session* session, int32_t stream_id, uint32_t error,
                           void* user_data) {
    GrpcConnection& self = Connection(user_data);
    ServerCall* call = Call(session, stream_id);
    if (call == nullptr) return 0;
    if (error == NGHTTP2_NO_ERROR) self.flood_.OnServedCall();
    call->OnStreamClosed(error == NGHTTP2_NO_ERROR);
    return 0;
  }

  static int OnSendData(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t bytes,
                        nghttp2_data_source* source, void* user_data) {
    constexpr size_t kFrameHeadBytes = 9;
    GrpcConnection& self = Connection(user_data);
    GatherBuffer& gather = self.core_->gather;
    gather.AppendCopy(View(head, kFrameHeadBytes));
    static_cast<ServerCall*>(source->ptr)->MoveTo(gather, bytes, !self.stream_.is_tls());
    return gather.bytes() >= kGrpcGatherBytesMax ? NGHTTP2_ERR_PAUSE : 0;
  }
};

nghttp2_session_callbacks* NewSessionCallbacks() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) return nullptr;
  using C = ConnectionCallbacks;
  nghttp2_session_callbacks_set_on_begin_frame_callback(made, C::OnBeginFrame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(made, C::OnBeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(made, C::OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, C::OnDataChunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(made, C::OnFrame);
  nghttp2_session_callbacks_set_on_frame_send_callback(made, C::OnFrameSent);
  nghttp2_session_callbacks_set_on_stream_close_callback(made, C::OnStreamClose);
  nghttp2_session_callbacks_set_send_data_callback(made, C::OnSendData);
  return made;
}

nghttp2_option* NewSessionOption() {
  nghttp2_option* made = nullptr;
  if (nghttp2_option_new(&made) != 0) return nullptr;
  nghttp2_option_set_no_auto_window_update(made, 1);
  nghttp2_option_set_stream_reset_rate_limit(made, kResetsUnlimited, kResetsUnlimited);
  return made;
}

}  // namespace weir::io
