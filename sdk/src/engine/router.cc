// The public handles: Router, Decision, Flight.
#include "weir/router.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/engine.h"

namespace weir {

Router::Router(std::shared_ptr<internal::Engine> engine) noexcept : engine_(std::move(engine)) {}

absl::StatusOr<Router> Router::FromText(std::string_view text, const std::string& name,
                                        const RouterOptions& options) {
  auto engine = internal::Engine::Create(text, name, options);
  if (!engine.ok()) return engine.status();
  return Router(*std::move(engine));
}

absl::StatusOr<Router> Router::FromFile(const std::string& path, const RouterOptions& options) {
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(path), "\": no file has a zero byte in its name"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string text(kConfigBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  // A directory opens, too.
  if (file.bad()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kConfigBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", kConfigBytesMax, " bytes"));
  }
  return FromText(text, path, options);
}

absl::StatusOr<Router> Router::Default(const RouterOptions& options) {
  return FromText(internal::DefaultPipelineText(), "default pipeline", options);
}

EndpointPool& Router::pool() const noexcept { return engine_->pool(); }
ResourceStore& Router::resources() const noexcept { return engine_->resources(); }

absl::StatusOr<Decision> Router::Decide(const Request& request) const {
  const absl::StatusOr<internal::DecisionState*> state = engine_->DecideNow(request);
  if (!state.ok()) return state.status();
  return Decision(*state);
}

absl::StatusOr<Decision> Router::Decide(const Request& request, const DecideInputs& inputs) const {
  auto snapshot = std::dynamic_pointer_cast<const internal::Snapshot>(inputs.snapshot);
  if (snapshot == nullptr) return absl::InvalidArgumentError("snapshot: not one of this library's");
  const internal::SentLoad sent{inputs.sent_requests, inputs.sent_tokens};
  if (sent.requests.size() != sent.tokens.size() ||
      (!sent.requests.empty() && sent.requests.size() != snapshot->count())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sent_requests, sent_tokens: ", sent.requests.size(), " and ", sent.tokens.size(),
        " elements, expected none or one per endpoint, ", snapshot->count()));
  }
  const absl::StatusOr<internal::DecisionState*> state =
      engine_->Decide(request, std::move(snapshot), inputs.now_ns, inputs.seed, sent);
  if (!state.ok()) return state.status();
  return Decision(*state);
}

Flight Router::Begin(const Decision& decision, uint32_t target_index) const {
  return Flight(engine_->Begin(*decision.state_, target_index));
}

void Router::Record(Decision decision) const {
  if (internal::DecisionState* state = std::exchange(decision.state_, nullptr)) {
    engine_->Record(state);
  }
}

std::vector<Explanation> Router::RecentDecisions() const { return engine_->RecentDecisions(); }
RouterStats Router::stats() const { return engine_->Stats(); }
const RouterNeeds& Router::needs() const noexcept { return engine_->needs(); }
std::string Router::Describe() const { return engine_->Describe(); }

Decision::Decision(Decision&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Decision& Decision::operator=(Decision&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Decision::~Decision() {
  if (state_ != nullptr) state_->engine->Release(state_);
}

const Target& Decision::primary() const noexcept { return state_->targets[0]; }
std::span<const Target> Decision::targets() const noexcept { return state_->chosen(); }
std::span<const Header> Decision::headers() const noexcept { return state_->headers; }
void Decision::ReleaseRequest() noexcept { state_->ForgetRequest(); }
Explanation Decision::explanation() const { return state_->engine->Explain(*state_); }
std::string Decision::Explain() const { return explanation().ToText(); }
std::string Decision::ToJson() const { return explanation().ToJson(); }

Flight::Flight(Flight&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Flight& Flight::operator=(Flight&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Flight::~Flight() { Finish({}, End::kFailed); }

void Flight::FirstToken() noexcept {
  if (state_ != nullptr) state_->engine->FirstToken(state_);
}
void Flight::Finish(const Usage& usage, End end) noexcept {
  if (internal::FlightState* state = std::exchange(state_, nullptr)) {
    state->engine->Finish(state, usage, end);
  }
}

}  // namespace weir
