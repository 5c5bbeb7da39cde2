// weir/io/metrics/request_counters.h: what one thread counts of its requests, as numbers without
// names. request_metrics.h fills them and writes the page.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "weir/io/metrics/histogram.h"

namespace weir::io {

// Bounds as llm-d's picker has them: dashboards name them.
inline constexpr std::array<double, 35> kDurationBounds = {
    .005, .025, .05, .1, .2, .4,  .6,  .8,  1,   1.25, 1.5, 2,   3,   4,    5,    6,    8,   10,
    15,   20,   30,  45, 60, 120, 180, 240, 300, 360,  480, 600, 900, 1200, 1800, 2700, 3600};
inline constexpr std::array<double, 24> kFirstByteBounds = {.005, .025, .05, .1, .2, .4, .6, .8,
                                                            1,    1.25, 1.5, 2,  3,  4,  5,  6,
                                                            8,    10,   15,  20, 30, 45, 60, 120};
inline constexpr std::array<double, 25> kRequestSizeBounds = {
    64,       128,      256,      512,       1024,      2048,      4096,      8192,    16384,
    32768,    65536,    131072,   262144,    524288,    1048576,   2097152,   4194304, 8388608,
    16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824};
// 32778 is theirs, and kept for the dashboards.
inline constexpr std::array<double, 15> kResponseSizeBounds = {
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536};
inline constexpr std::array<double, 19> kInputTokenBounds = {
    1,    8,    16,    32,    64,    128,    256,    512,    1024,   2048,
    4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288, 1048576};
inline constexpr std::array<double, 12> kOutputTokenBounds = {1,   8,   16,   32,   64,   128,
                                                              256, 512, 1024, 2048, 4096, 8192};
inline constexpr std::array<double, 13> kNtpotBounds = {.001, .002, .005, .01, .02, .05, .1,
                                                        .2,   .5,   1,    2,   5,   10};
inline constexpr std::array<double, 19> kTpotBounds = {
    .0005, .00205, .005, .01, .02, .04, .06, .08, .1, .125, .15, .2, .3, .4, .5, .6, .8, 1, 2};
inline constexpr std::array<double, 15> kItlBounds = {.001, .005, .01, .02, .04, .06, .08, .1,
                                                      .15,  .2,   .3,  .5,  .75, 1,   2};
inline constexpr std::array<double, 10> kSchedulerBounds = {.0001, .0002, .0005, .001, .002,
                                                            .005,  .01,   .02,   .05,  .1};
inline constexpr std::array<double, 16> kRequestProcessingBounds = {
    .0005, .001, .002, .005, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10};
inline constexpr std::array<double, 15> kResponseProcessingBounds = {
    .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5};
inline constexpr std::array<double, 14> kStreamBounds = {.001, .005, .01, .05, .1,  .5,  1,
                                                         5,    10,   30,  60,  120, 300, 600};

// Values of the label error_code; anything else counts as "Unknown".
inline constexpr std::array<std::string_view, 12> kErrorCodes = {"BadRequest",
                                                                 "Unauthorized",
                                                                 "Forbidden",
                                                                 "NotFound",
                                                                 "PreconditionFailed",
                                                                 "PayloadTooLarge",
                                                                 "RequestHeaderFieldsTooLarge",
                                                                 "ResourceExhausted",
                                                                 "Internal",
                                                                 "ServiceUnavailable",
                                                                 "ModelServerError",
                                                                 "Unknown"};

// One label set of one thread: one writer, any reader. About 2 KB.
struct RequestCounters {
  Counter requests;
  Counter running;  // now
  std::array<Counter, kErrorCodes.size()> errors;
  SecondsHistogram<kDurationBounds> duration;
  Histogram<kRequestSizeBounds> request_bytes;
  Histogram<kResponseSizeBounds> response_bytes;
  Histogram<kInputTokenBounds> input_tokens;
  Histogram<kInputTokenBounds> cached_tokens;
  Histogram<kOutputTokenBounds> output_tokens;
  SecondsHistogram<kNtpotBounds> ntpot;
  std::array<SecondsHistogram<kFirstByteBounds>, 2> ttft;  // not streaming, streaming
  SecondsHistogram<kTpotBounds> tpot;
  SecondsHistogram<kItlBounds> itl;
};

// What one thread counts beside label sets of requests.
struct StreamCounters {
  static constexpr size_t kGrpcCodes = 17;
  Counter begun;
  std::array<Counter, kGrpcCodes> ended;  // by gRPC status code
  SecondsHistogram<kStreamBounds> stream_duration;
  SecondsHistogram<kSchedulerBounds> scheduler_duration;
  SecondsHistogram<kRequestProcessingBounds> request_processing;
  SecondsHistogram<kResponseProcessingBounds> response_processing;
};

}  // namespace weir::io
