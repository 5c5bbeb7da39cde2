#include "weir/io/ext_proc/ext_proc_service.h"

#include <utility>

#include "weir/io/ext_proc/ext_proc_stream.h"

namespace weir::io {

// A stream and its call. Bodies that the transport has not sent yet live in the stream, so it is
// their owner.
class ExtProcService::Slot final : public ExtProcOutput, public BytesOwner {
 public:
  explicit Slot(ExtProcCore& core) : stream_(core) {}

  void Begin(GrpcCall& call) {
    call_ = &call;
    paused_ = false;
    call.context = this;
    stream_.Begin(*this);
  }
  // The stream may let go of a body only when it is done with the message that it is reading, even
  // if the transport is done with the body at once.
  void OnMessage(std::string_view message) {
    Acquire();
    stream_.OnMessage(message);
    Release();
  }
  void OnHalfClose() { stream_.OnPeerDone(); }
  void OnSendReady() {
    if (std::exchange(paused_, false)) call_->Resume();
  }
  void OnEnd(GrpcEnd why) {
    stream_.OnCancel(why == GrpcEnd::kReset || why == GrpcEnd::kConnectionLost, call_->end_code());
    call_ = nullptr;
  }

  void Send(std::string_view head, std::string_view body, bool body_is_kept) override {
    if (call_->Send(head, body, body_is_kept ? this : nullptr) || paused_) return;
    paused_ = true;
    call_->Pause();
  }
  void Finish(Code code, std::string_view text) override { call_->Finish(code, text); }

 private:
  void OnUnused() noexcept override { stream_.OnSent(); }

  ExtProcStream stream_;
  GrpcCall* call_ = nullptr;
  bool paused_ = false;
};

ExtProcService::ExtProcService(ExtProcCore& core) : core_(core) { free_.reserve(kFreeStreamsMax); }

ExtProcService::~ExtProcService() = default;

void ExtProcService::OnCall(GrpcCall& call) {
  if (free_.empty()) free_.push_back(std::make_unique<Slot>(core_));
  Slot* slot = free_.back().release();
  free_.pop_back();
  slot->Begin(call);
}

void ExtProcService::OnMessage(GrpcCall& call, std::string_view message) {
  static_cast<Slot*>(call.context)->OnMessage(message);
}

void ExtProcService::OnHalfClose(GrpcCall& call) {
  static_cast<Slot*>(call.context)->OnHalfClose();
}

void ExtProcService::OnSendReady(GrpcCall& call) {
  static_cast<Slot*>(call.context)->OnSendReady();
}

void ExtProcService::OnEnd(GrpcCall& call, GrpcEnd why) {
  std::unique_ptr<Slot> slot(static_cast<Slot*>(call.context));
  call.context = nullptr;
  slot->OnEnd(why);
  if (free_.size() < kFreeStreamsMax) free_.push_back(std::move(slot));
}

}  // namespace weir::io
