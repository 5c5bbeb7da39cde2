// weir/limits.h: every fixed limit of the engine, with the reason for its value.
#pragma once

#include <cstdint>

namespace weir {

// Endpoints in one pool. Masks are whole 64-bit words; 4,096 servers behind one picker is 40 times
// what the largest published fleet runs.
inline constexpr uint32_t kEndpointsMax = 4096;
static_assert(kEndpointsMax % 64 == 0);

inline constexpr uint32_t kProfilesMax = 16;              // scheduling profiles of one pipeline
inline constexpr uint32_t kPluginsMax = 256;              // plugin instances of one pipeline
inline constexpr uint32_t kPluginsPerProfileMax = 64;     // filters and scorers of one profile
inline constexpr uint32_t kTargetsMax = 16;               // primary and fallbacks of one decision
inline constexpr uint32_t kAttributesMax = 128;           // attribute columns of one pipeline
inline constexpr uint32_t kLabelsPerEndpointMax = 64;     // labels of one endpoint
inline constexpr uint32_t kLabelKeysMax = 1024;           // distinct label keys of one pool
inline constexpr uint32_t kAdaptersPerEndpointMax = 256;  // active LoRA adapters, and waiting
inline constexpr uint32_t kNameBytesMax = 512;        // endpoint name, label key or value, address
inline constexpr uint32_t kHeadersMax = 128;          // headers of one request
inline constexpr uint32_t kSubsetEntriesMax = 8192;   // endpoints of one subset hint
inline constexpr uint32_t kPromptsMax = 2048;         // prompts of one completions request
inline constexpr uint32_t kPromptPartsMax = 16384;    // text and media parts of one request
inline constexpr uint32_t kFlightStateBytesMax = 64;  // per observer plugin and request in flight
inline constexpr uint32_t kFlightStateTotalBytesMax =
    256;                                                // all observers of one request in flight
inline constexpr uint32_t kFlightsMax = 1u << 20;       // requests in flight of one router
inline constexpr uint32_t kDecisionsMax = 1u << 16;     // decisions that exist at one time
inline constexpr uint32_t kDecisionsKeptMax = 1024;     // recorded for RecentDecisions
inline constexpr uint32_t kPluginCountersMax = 8;       // counters of one plugin instance
inline constexpr uint32_t kArenaBytesMax = 64u << 20;   // scratch memory of one decision
inline constexpr uint32_t kObjectivesMax = 4096;        // objectives of one router
inline constexpr uint32_t kRewritesMax = 1024;          // model rewrites of one router
inline constexpr uint32_t kRewriteTargetsMax = 16384;   // of all rules; each counts per its models
inline constexpr uint32_t kRewriteWeightMax = 1000000;  // of one target of a rewrite rule
inline constexpr uint32_t kConfigBytesMax = 1u << 20;   // a pipeline file
inline constexpr uint64_t kRequestBodyBytesMax = 64ull
                                                 << 20;  // a request body that ParseOpenAi accepts

}  // namespace weir
