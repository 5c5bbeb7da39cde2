// weir/io/ext_proc/ext_proc_stream.h: one stream of the protocol, that is one HTTP request, without
// a transport: messages in, messages out. Start at ExtProcStream.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/decision.h"
#include "weir/flight.h"
#include "weir/io/ext_proc/ext_proc_core.h"
#include "weir/io/ext_proc/ext_proc_metrics.h"
#include "weir/io/ext_proc/messages.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/response_model.h"
#include "weir/response_reader.h"
#include "weir/status.h"

namespace weir::io {

// Where a stream's answers go. Neither call may call the stream back before it returns.
class ExtProcOutput {
 public:
  // Sends one message, the concatenation of `head` and `body`. Takes head before it returns, and
  // body too unless body_is_kept: then body stays valid until ExtProcStream::OnSent(). [hot,
  // serial]
  virtual void Send(std::string_view head, std::string_view body, bool body_is_kept) = 0;
  // Ends the stream behind what was sent. Called at most once, the last call. [serial]
  virtual void Finish(Code code, std::string_view text) = 0;

 protected:
  ~ExtProcOutput() = default;
};

// The state machine of one stream. Reusable: Begin() starts the next one. Its flight ends and its
// metrics are written exactly once, on whatever path the stream ends. Serial.
//
// Requests whose body the proxy sends (FULL_DUPLEX_STREAMED, BUFFERED) are decided when the body is
// whole; all others when their headers come, without knowledge of the body.
class ExtProcStream {
 public:
  // Borrowed: core.
  explicit ExtProcStream(ExtProcCore& core) : core_(core) { Reset(); }
  ~ExtProcStream() {
    End(Cause::kError, Code::kCancelled);
    ReleaseBody();
  }
  ExtProcStream(const ExtProcStream&) = delete;
  ExtProcStream& operator=(const ExtProcStream&) = delete;

  // Borrowed: output, until End. REQUIRES: ended(), nothing sent is still kept. [hot]
  void Begin(ExtProcOutput& output);
  // One message of the proxy; borrowed until return. Ignored after the end. [hot]
  void OnMessage(std::string_view message);
  // The proxy closed its side: the stream ends with OK. [hot]
  void OnPeerDone();
  // The stream is gone without OnPeerDone(), nothing can be sent any more: `client_gone` if the
  // proxy reset it or lost its connection, false if the transport ended it, with `code`. [hot]
  void OnCancel(bool client_gone, Code code = Code::kCancelled);
  // All that was sent so far is out of the stream's memory. [hot]
  void OnSent();
  // True before Begin() and after Finish() or OnCancel().
  bool ended() const noexcept { return output_ == nullptr; }

 private:
  enum class Step : uint8_t { kNone, kHeaders, kDone };  // how far a direction has come
  enum class Cause : uint8_t { kNatural, kClientGone, kError };

  // ext_proc_stream.cc
  void Reset();
  void Fail(std::string_view text, Code code = Code::kInvalidArgument);
  void FinishWith(Cause cause, Code code, std::string_view text);
  void End(Cause cause, Code code);
  void CloseRequest(Cause cause);
  Cause CauseOfEnd(Cause otherwise) const;
  void OnRequestMessage(const ProcessingRequestView& view);
  void OnResponseMessage(const ProcessingRequestView& view);
  void OnRequestHeaders(const ProcessingRequestView& view);
  void OnRequestBody(const ProcessingRequestView& view);
  void OnRequestTrailers();
  bool KeepHeaders(std::string_view header_map);
  void KeepSubset(std::string_view metadata);
  bool AppendBody(std::string_view bytes);
  uint64_t CapacityFor(uint64_t body_bytes) const;
  bool Hold(uint64_t header_capacity, uint64_t body_capacity);
  bool HoldBody(uint64_t capacity) { return Hold(header_bytes_.capacity_bytes(), capacity); }
  void GrowBody(uint64_t capacity);
  void ReleaseRequest();
  void ReleaseBody();
  void ReleaseHeldResponse();
  void RefuseBody();
  void RefuseForMemory();
  void SendSmall(std::string_view message) { output_->Send(message, {}, /*body_is_kept=*/false); }
  bool streamed_request() const { return request_mode_ == BodyMode::kFullDuplexStreamed; }

  // ext_proc_request.cc
  void Decide(bool headers_only);
  absl::Status ReadRequest(bool headers_only);
  void NameRequest();
  void Refuse(const absl::Status& status, bool headers_only);
  void RefuseWith(uint32_t http_code, std::string_view code_name, std::string_view message,
                  std::string_view drop_reason = {});
  void OnRouted();
  void ListHeaderChanges(bool sets_length);
  void ListRemovals();
  void ListEchoes();
  void ListMetadata();
  void SendRequestHeadersAnswer(bool sets_length);
  void SendRequestBodyAnswers(bool end_of_stream);
  void SendWholeBodyAnswer(bool body_changed);
  bool IsSet(std::string_view name) const;
  void SpliceBody();

  // ext_proc_response.cc
  void OnResponseHeaders(const ProcessingRequestView& view);
  void OnResponseBody(const ProcessingRequestView& view);
  void OnResponseTrailers(const ProcessingRequestView& view);
  bool ReadResponseHeaders(const ProcessingRequestView& view);
  void NoteGrpcStatus(std::string_view status);
  void FollowServedEndpoint(std::string_view metadata);
  // `metadata` is that of the response headers.
  void SendResponseHeadersAnswer(std::string_view metadata);
  void OnResponseComplete();
  void NoteResponseBytes(std::string_view bytes);
  void SendResponseBodyAnswers(std::string_view received, bool end_of_stream, bool last);
  bool HoldResponse(std::string_view bytes, bool last);
  void SendHeldResponse(bool end_of_stream);
  ModeOverride ResponseOverride() const;
  void SendStreamedResponse(std::string_view bytes, bool end_of_stream, bool is_kept);
  bool holds_response() const {
    return core_.options.buffer_responses && !stream_ &&
           response_mode_ == BodyMode::kFullDuplexStreamed;
  }
  // Nothing more is expected from the proxy but the end of the stream.
  bool expects_no_body() const {
    return response_step_ == Step::kHeaders && response_bytes_ == 0 &&
           (response_mode_ == BodyMode::kNone || overrides_mode_);
  }

  ExtProcCore& core_;
  ExtProcOutput* output_ = nullptr;

  // Until the request is decided.
  Buffer header_bytes_;          // the HeaderMap, names in lower case
  std::vector<Header> headers_;  // into header_bytes_
  Buffer body_;                  // body and padding; until all of it is sent
  uint64_t body_bytes_ = 0;
  HeldPart held_request_{core_.held};  // for header_bytes_, body_ and the subset hint
  uint64_t content_length_ = 0;        // as the headers promise
  std::string subset_text_;            // elements of the subset hint, one after the other
  std::vector<uint32_t> subset_ends_;
  bool has_subset_ = false;
  char request_id_[36];  // where the client gave none

  // Until the end.
  // Until it is recorded: at once, or with fallbacks at the response's headers or the end.
  Decision decision_;
  Flight flight_;
  ResponseReader reader_;
  ResponseModelFilter model_filter_;
  std::string held_response_;  // the response with the model's name put back; sent at its end
  HeldPart held_answer_{core_.held};  // for held_response_
  ExtProcMetrics::Series series_ = ExtProcMetrics::kNoRequest;
  std::string_view error_code_;  // static; of the first error
  int64_t began_ns_ = 0;         // of the stream
  int64_t headers_ns_ = 0;       // when the request's headers came
  int64_t first_byte_ns_ = 0;    // of the response's body, 0: none yet
  int64_t last_byte_ns_ = 0;
  uint64_t response_bytes_ = 0;
  BodyMode request_mode_ = BodyMode::kFullDuplexStreamed;
  BodyMode response_mode_ = BodyMode::kFullDuplexStreamed;
  Step request_step_ = Step::kNone;
  Step response_step_ = Step::kNone;
  bool request_ended_ = false;   // its last message has come
  bool with_trailers_ = false;   // and that was trailers
  bool body_came_ = false;       // a body message of the request, be it empty
  bool body_kept_ = false;       // the transport reads body_
  bool response_kept_ = false;   // the transport reads held_response_
  bool stream_ = false;          // the response is an event stream
  bool server_failed_ = false;   // by the response's status: the request was not served
  bool routed_ = false;          // OnRequestRouted was called
  bool skip_response_ = false;   // nothing of the response needs to be seen
  bool overrides_mode_ = false;  // the proxy was asked to keep response bodies
  bool closed_ = false;          // the request's account is written
};

}  // namespace weir::io
