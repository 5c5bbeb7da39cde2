#include "backend.h"

#include <utility>

namespace weir::sim {
namespace {

class ModelBackend final : public Backend {
 public:
  explicit ModelBackend(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
  absl::Status Submit(RequestSpec spec, int64_t now_ns) override {
    return engine_->Submit(std::move(spec), now_ns);
  }
  bool Cancel(RequestId id) override { return engine_->Cancel(id); }
  int64_t NextEventTime() const override { return engine_->NextEventTime(); }
  void AdvanceTo(int64_t now_ns) override { engine_->AdvanceTo(now_ns); }
  EngineStats stats() const override { return engine_->stats(); }
  bool ResetPrefixCache() override { return engine_->ResetPrefixCache(); }
  void Restart() override { engine_->Restart(); }
  void set_step_time_factor(double factor) override { engine_->set_step_time_factor(factor); }
  uint32_t block_tokens() const override { return engine_->options().block_tokens; }

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateModelBackend(const EngineOptions& options,
                                                            EngineObserver& observer) {
  auto engine = Engine::Create(options, observer);
  if (!engine.ok()) return engine.status();
  return std::make_unique<ModelBackend>(*std::move(engine));
}

}  // namespace weir::sim
