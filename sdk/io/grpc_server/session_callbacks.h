// weir/io/grpc_server/session_callbacks.h: how nghttp2 reaches a GrpcConnection. For .cc files of
// this room.
#pragma once

struct nghttp2_session_callbacks;
struct nghttp2_option;

namespace weir::io {

// The functions that every session calls; user data is the GrpcConnection. The caller deletes it.
nghttp2_session_callbacks* NewSessionCallbacks();
// How every session behaves. The caller deletes it.
nghttp2_option* NewSessionOption();

}  // namespace weir::io
