// weir/io/ext_proc/ext_proc_metrics.h: what the endpoint picker counts, as events. The program that
// owns the metrics page implements ExtProcMetrics; this room knows no metric names.
#pragma once

#include <cstdint>
#include <string_view>

namespace weir::io {

// The labels that most series of a request carry. Views are valid during the call that gets them.
struct RequestLabels {
  std::string_view model;         // as the client named it; may be empty
  std::string_view target_model;  // as the model server knows it; may be empty
  std::string_view fairness_id;
  int32_t priority = 0;
};

// What is known of a response at its end. -1 where nothing was reported or seen.
struct ResponseRecord {
  bool routed = false;  // OnRequestRouted came before; false: a stream without a request
  bool streaming = false;
  bool complete = false;        // the whole response passed; false: client gone or proxy failed
  int64_t duration_ns = -1;     // from the request's headers to the end
  int64_t first_byte_ns = -1;   // from the request's headers to the first byte of the body
  uint64_t response_bytes = 0;  // of the body, as the server sent it
  int64_t prompt_tokens = -1;
  int64_t cached_tokens = -1;
  int64_t output_tokens = -1;
};

// The events of one thread's streams. One instance per thread: calls come from that thread only,
// while others may read what the instance collected. Every call is [hot, serial] and must not
// block; all but SeriesOf must not allocate. The default of each event is to ignore it.
class ExtProcMetrics {
 public:
  // Names the label set of one request among those that the implementation keeps.
  using Series = uint32_t;
  // The series of streams that never had a request: all labels empty, priority 0.
  static constexpr Series kNoRequest = 0;

  virtual ~ExtProcMetrics() = default;

  // The series of these labels, made if it is new. The implementation bounds how many there are.
  // Called once for each request that was read.
  virtual Series SeriesOf(const RequestLabels&) { return kNoRequest; }

  // A gRPC stream began or ended, with its gRPC status code (0 is OK).
  virtual void OnStreamBegin() {}
  virtual void OnStreamEnd(uint32_t /*grpc_code*/, int64_t /*duration_ns*/) {}

  // Router::Decide returned. `endpoint` is "namespace/name" and `address` "host:port" of the pick,
  // empty on failure.
  virtual void OnDecision(bool /*success*/, std::string_view /*target_model*/,
                          std::string_view /*endpoint*/, std::string_view /*address*/,
                          int64_t /*duration_ns*/) {}
  // A request was routed: the request phase's answers were handed to the transport. It counts as
  // running until OnRequestEnd of the same series.
  virtual void OnRequestRouted(Series, uint64_t /*request_bytes*/) {}
  // The request phase is over, routed or not. `duration_ns` spans its last message to the answer.
  virtual void OnRequestProcessed(int64_t /*duration_ns*/) {}
  // A response message was answered.
  virtual void OnResponseProcessed(int64_t /*duration_ns*/) {}
  // A non-empty piece of a streamed response came `gap_ns` after the one before it.
  virtual void OnResponseGap(Series, int64_t /*gap_ns*/) {}
  // A response ended: once per OnRequestRouted, and once for a stream that began with a response.
  virtual void OnRequestEnd(Series, const ResponseRecord&) {}
  // A stream ended in error, at most once per stream. `code` lives forever: "BadRequest",
  // "ResourceExhausted", "ModelServerError", ...
  virtual void OnRequestError(Series, std::string_view /*code*/) {}
};

}  // namespace weir::io
