// scenario.h: batches, requests and parameters for checks, made from a seed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kit.h"

namespace weir::plugin_check {

// SplitMix64: a few lines, the same everywhere.
class SeededRandom {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t bound) { return bound == 0 ? 0 : Next() % bound; }
  bool Chance(uint32_t one_in) { return Below(one_in) == 0; }

 private:
  uint64_t state_;
};

enum class Columns {
  kOrdinary,  // plausible numbers
  kEqual,     // all endpoints alike
  kExtreme,   // zeros and largest values
  kNan,       // NaN, infinite and negative where the type has them
};

// A pool and the attribute columns that one plugin type reads.
class Scenario {
 public:
  Scenario(const weir_plugin& plugin, uint32_t count, Columns columns, SeededRandom& random);
  const KitPool& pool() const { return *pool_; }

 private:
  std::unique_ptr<KitPool> pool_;
  std::vector<std::vector<uint64_t>> attributes_;  // words, so that elements are aligned
};

// A chat or completions request with text, media, headers; sometimes tokenised.
KitRequest RandomRequest(SeededRandom& random);

// Parameters that fit or almost fit the schema.
std::string RandomParameters(const weir_plugin& plugin, SeededRandom& random);

// The parameters the checks use: "{}" where create takes it, else the first entry of the schema's
// "examples". Throws CheckSkipped where neither works.
std::string WorkingParameters(const weir_plugin& plugin);

}  // namespace weir::plugin_check
