// ext_proc_load/exchange.h: one HTTP request as Envoy shows it to the picker, and what comes back.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "ext_proc_load/connection.h"
#include "ext_proc_load/message.h"
#include "ext_proc_load/script.h"
#include "weir/clock.h"

namespace weir::bench {

class Exchange;

// Told about the steps of exchanges.
class ExchangeObserver {
 public:
  // The picker has decided, `latency_ns` after the body's last byte was given to the socket. [hot]
  virtual void OnDecision(int64_t latency_ns) = 0;
  // The exchange wants to send, or gives its stream up: Connection::Resume() or Cancel().
  virtual void OnSendable(Exchange& exchange) = 0;
  virtual void OnGivenUp(Exchange& exchange) = 0;
  // `error` is empty for success, else the kind of the first thing that went wrong. May Begin() the
  // exchange anew.
  virtual void OnDone(Exchange& exchange, std::string_view error) = 0;

 protected:
  ~ExchangeObserver() = default;
};

struct ExchangeOptions {
  bool obeys_mode_override = false;  // as Envoy with allow_mode_override
  bool compares_bytes = false;       // the echoed body must be the one that was sent
};

// Sends request headers and body, waits for the decision and the echo of the body, sends response
// headers, then each event once the one before has come back, and ends the call.
class Exchange final : public ClientStream {
 public:
  // Borrowed: all, for the exchange's life.
  Exchange(const Script& script, const ExchangeOptions& options, const Clock& clock,
           ExchangeObserver& observer);

  // Prepares the next request; `unique` makes it differ from all others.
  // REQUIRES: not running.
  void Begin(uint64_t unique);
  // Ends it as an error of this kind; the first one counts.
  void GiveUp(std::string_view kind);

  bool running() const noexcept { return running_; }
  int64_t started_ns() const noexcept { return started_ns_; }
  // For the owner: where the exchange runs.
  Connection* connection = nullptr;

  size_t sendable_bytes() const override;
  void Take(size_t size, char* out) override;
  bool sends_no_more() const override { return step_ == Step::kEnd; }
  void OnMessage(std::string_view message) override;
  void OnClosed(const StreamEnd& end) override;

 private:
  enum class Step : uint8_t { kDecision, kEcho, kResponseHeaders, kEvent, kEnd };

  void Send(const Wire& wire);
  void OnRequestBody(const Answer& answer);
  void OnResponseBody(const Answer& answer);
  void ResponseBegins();
  void End();
  bool Expect(const Answer& answer, Answer::Kind kind);

  const Script& script_;
  const ExchangeOptions& options_;
  const Clock& clock_;
  ExchangeObserver& observer_;
  const Conversation* conversation_ = nullptr;
  uint64_t unique_ = 0;
  int64_t started_ns_ = 0;
  int64_t body_sent_ns_ = 0;
  std::array<const Wire*, 2> pending_ = {};  // what is to be sent, in order
  size_t pending_offset_ = 0;                // in the first of them
  size_t echoed_bytes_ = 0;                  // of the body or the current event
  uint32_t event_ = 0;
  Step step_ = Step::kDecision;
  bool running_ = false;
  bool skips_response_headers_ = false;
  bool skips_response_body_ = false;
  std::string error_;
  std::string expected_;  // scratch, to compare bytes
};

}  // namespace weir::bench
