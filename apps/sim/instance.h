// One simulated model server without its socket: HTTP requests in, answers in virtual time out.
// Start at Instance::Create().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "answer_format.h"
#include "backend.h"
#include "fault.h"
#include "metrics.h"
#include "options.h"
#include "web_call.h"
#include "weir/random.h"
#include "weir/sim/observer.h"
#include "weir/status.h"

namespace weir::sim {

// Where an instance stands in the world.
struct InstancePlace {
  uint32_t index = 0;  // among the instances of the process
  uint16_t port = 0;
  int64_t unix_s = 0;  // at virtual time 0
};

// One thread. Time is virtual and given by the caller; it must not decrease.
class Instance final : private EngineObserver {
 public:
  // Errors: those of Engine::Create().  [control]
  // REQUIRES: Resolve(options) succeeded
  static absl::StatusOr<std::unique_ptr<Instance>> Create(const SimOptions& options,
                                                          const InstancePlace& place);
  ~Instance() override;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  // Takes a request. It is answered inside the call, by AdvanceTo(), or never (a fault). Borrowed:
  // `call`, until it is answered or ClientGone().
  void Handle(WebCall& call, int64_t now_ns);
  // The client has left: what it asked for is aborted at the next step boundary.
  void ClientGone(WebCall& call);

  int64_t NextEventTime() const { return backend_->NextEventTime(); }
  void AdvanceTo(int64_t now_ns);

  // Refuses requests for generation from now on, with 503.
  void Drain() { draining_ = true; }
  // Requests that are not answered, those that hang included.
  size_t open_requests() const { return exchanges_.size() + hanging_.size(); }
  // A fault asked for the end of the process.
  bool exit_requested() const { return exit_requested_; }
  EngineStats stats() const { return backend_->stats(); }
  const SimOptions& options() const { return options_; }

 private:
  struct Exchange;
  struct Route {
    std::string_view method;
    std::string_view path;
    void (Instance::*handle)(WebCall& call);
    bool vllm = true;
    bool sglang = true;
  };

  Instance(const SimOptions& options, const InstancePlace& place);

  // instance.cc: routing and generation
  static const std::vector<Route>& Routes();
  void AddIdentity(WebCall& call) const;
  void Generate(WebCall& call, Api api);
  void Chat(WebCall& call) { Generate(call, Api::kChat); }
  void Completions(WebCall& call) { Generate(call, Api::kCompletions); }
  void Responses(WebCall& call) { Generate(call, Api::kResponses); }
  void Messages(WebCall& call) { Generate(call, Api::kMessages); }
  void TokensInOut(WebCall& call) { Generate(call, Api::kTokens); }
  void SglangGenerate(WebCall& call) { Generate(call, Api::kSglang); }
  absl::StatusOr<Fault> FaultOf(const WebCall& call);
  bool KnowsModel(const std::string& model, uint32_t& lora) const;
  absl::Status CheckContext(const GenerateRequest& request) const;
  std::unique_ptr<Exchange> MakeExchange(WebCall& call, GenerateRequest& request, uint32_t lora);
  std::vector<Piece> PlanAnswer(Exchange& exchange, const GenerateRequest& request,
                                const Prompt& prompt, uint32_t choice);
  absl::Status SubmitAll(Exchange& exchange, GenerateRequest& request, uint32_t lora);
  void Fail(WebCall& call, uint32_t status, std::string_view message, std::string_view param = {});
  void FailWith(WebCall& call, const absl::Status& status);

  void OnStep(const StepReport& step) override;
  void OnToken(const TokenReport& token) override;
  void OnFinished(const FinishReport& finish) override;
  Exchange* Find(RequestId id);
  void WriteStream(Exchange& exchange, std::string_view bytes);
  void Complete(Exchange& exchange);
  void Leave(Exchange& exchange);  // stops talking to the client and cancels
  Usage UsageOf(const Exchange& exchange) const;

  // instance_control.cc: everything that is not generation
  void Embeddings(WebCall& call);
  void Models(WebCall& call);
  void LoadLora(WebCall& call);
  void UnloadLora(WebCall& call);
  void Tokenize(WebCall& call);
  void Detokenize(WebCall& call);
  void RenderCompletion(WebCall& call);
  void RenderChatPrompt(WebCall& call);
  void Sleep(WebCall& call);
  void WakeUp(WebCall& call);
  void IsSleeping(WebCall& call);
  void Health(WebCall& call);
  void Ready(WebCall& call);
  void Version(WebCall& call);
  void Load(WebCall& call);
  void Query(WebCall& call);
  void ResetPrefixCache(WebCall& call);
  void AbortRequests(WebCall& call);
  void ModelInfo(WebCall& call);
  void ServerInfo(WebCall& call);
  void FlushCache(WebCall& call);
  void MetricsPageOf(WebCall& call);
  void GetConfig(WebCall& call);
  void SetConfig(WebCall& call);
  std::string MetricsText() const;
  std::string ConfigText() const;
  void Restart();
  std::string NewId(std::string_view prefix);
  int64_t unix_s() const { return place_.unix_s + now_ns_ / 1'000'000'000; }

  SimOptions options_;
  const InstancePlace place_;
  std::unique_ptr<Backend> backend_;
  Metrics metrics_;
  Random id_random_;
  Random failure_random_;
  int64_t now_ns_ = 0;
  uint64_t next_exchange_ = 1;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Exchange>> exchanges_;
  std::vector<WebCall*> hanging_;
  std::map<std::string, uint32_t, std::less<>> lora_numbers_;  // of all that ever were loaded
  double slow_factor_ = 1;
  bool stale_metrics_ = false;
  std::string stale_text_;
  bool sleeping_ = false;
  bool draining_ = false;
  bool exit_requested_ = false;
  std::string scratch_;  // of the event being written
};

}  // namespace weir::sim
