// The prompt path of a body: scan of the JSON, then hash of the prompt's blocks. The decoded text
// is checked before it is timed. BM_Memcpy is the floor: reading each byte once and writing it
// once.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "weir/prefix_hash.h"
#include "weir/random.h"
#include "weir/request.h"

namespace weir {
namespace {

constexpr char kPath[] = "/v1/chat/completions";
constexpr uint32_t kBlockTokens = 64;

struct Body {
  std::string json;  // with 64 readable bytes behind it
  std::string text;  // of the prompt
  size_t size = 0;
  std::string_view view() const { return {json.data(), size}; }
};

// Chat of four turns. One character of `escape_every` is a line break or a quote, which JSON
// escapes; English prose with Markdown has about one in 40, source code one in 25.
Body MakeBody(size_t bytes, uint32_t escape_every) {
  Body body;
  Random random(3);
  body.json = R"({"model":"meta-llama/Llama-3.1-8B-Instruct","messages":[)";
  const char* const roles[] = {"system", "user", "assistant", "user"};
  for (int turn = 0; turn < 4; ++turn) {
    body.text += roles[turn];
    body.json +=
        std::string(turn == 0 ? "" : ",") + R"({"role":")" + roles[turn] + R"(","content":")";
    while (body.json.size() < (bytes - 120) * (turn + 1) / 4) {
      if (random.NextBelow(escape_every) == 0) {
        const bool quote = random.NextBelow(3) == 0;
        body.json += quote ? "\\\"" : "\\n";
        body.text += quote ? '"' : '\n';
      } else {
        const char letter = static_cast<char>('a' + random.NextBelow(26));
        body.json += letter;
        body.text += letter;
      }
    }
    body.json += R"("})";
  }
  body.json += R"(],"stream":true,"stream_options":{"include_usage":true},"max_tokens":512})";
  body.size = body.json.size();
  body.json.append(64, '\0');
  return body;
}

void SetRates(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * state.iterations());
  state.counters["us_per_kb"] = benchmark::Counter(
      static_cast<double>(bytes) / 1024 / 1e6,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"bytes", "escape_every"});
  for (const int64_t bytes : {1 << 10, 32 << 10, 220 << 10}) {
    benchmark->Args({bytes, 40})->Args({bytes, 1'000'000});
  }
}

void Parse(benchmark::State& state, size_t padding_bytes, bool hash) {
  const Body body =
      MakeBody(static_cast<size_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  RequestParser parser;
  Request request;
  std::vector<uint64_t> hashes(body.size / 4 / kBlockTokens + 1);
  if (!parser.Parse(kPath, body.view(), &request, padding_bytes).ok() ||
      request.prompts[0].parts[0].bytes != body.text || request.max_output_tokens != 512) {
    return state.SkipWithError("the body was not read right");
  }
  for (auto _ : state) {
    if (!parser.Parse(kPath, body.view(), &request, padding_bytes).ok()) std::abort();
    if (!hash) continue;
    const std::string_view text = request.prompts[0].parts[0].bytes;
    benchmark::DoNotOptimize(HashPrefixBlocks(
        PrefixSeed(request.model),
        {reinterpret_cast<const uint32_t*>(text.data()), text.size() / 4}, kBlockTokens, hashes));
  }
  SetRates(state, body.size);
}

void BM_Request_Parse(benchmark::State& state) { Parse(state, 64, false); }
BENCHMARK(BM_Request_Parse)->Apply(Arguments);

void BM_Request_ParseUnpadded(benchmark::State& state) { Parse(state, 0, false); }
BENCHMARK(BM_Request_ParseUnpadded)->Apply(Arguments);

void BM_Request_ParseAndHash(benchmark::State& state) { Parse(state, 64, true); }
BENCHMARK(BM_Request_ParseAndHash)->Apply(Arguments);

void BM_Memcpy(benchmark::State& state) {
  const std::vector<char> from(static_cast<size_t>(state.range(0)), 'a');
  std::vector<char> to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  SetRates(state, from.size());
}
BENCHMARK(BM_Memcpy)->ArgName("bytes")->Arg(1 << 10)->Arg(32 << 10)->Arg(220 << 10);

}  // namespace
}  // namespace weir
