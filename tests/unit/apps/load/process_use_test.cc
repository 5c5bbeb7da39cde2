#include "load/process_use.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "load/progress.h"

namespace weir::load {
namespace {

TEST(ProcessUse, SeesItself) {
  const ProcessSample sample = SampleProcess(WatchSelf());
  EXPECT_GT(sample.resident_bytes, 100'000u);
  EXPECT_GT(sample.cpu_s, 0);
  const auto watched = ParseWatched("me=" + std::to_string(getpid()));
  ASSERT_TRUE(watched.ok()) << watched.status();
  EXPECT_EQ(watched->name, "me");
  EXPECT_EQ(watched->pids.front(), getpid());
}

TEST(ProcessUse, RefusesWhatIsNoProcess) {
  for (const char* bad : {"", "nginx", "nginx=", "=5", "nginx=-1", "nginx=x", "nginx=999999999"}) {
    EXPECT_FALSE(ParseWatched(bad).ok()) << bad;
  }
  // A process that has ended counts as nothing, not as an error.
  EXPECT_EQ(SampleProcess({"gone", {999'999'999}}).cpu_s, 0);
}

TEST(Progress, ShowsABarOrTheTime) {
  ProgressState state{.name = "prefix aware",
                      .share = 0.5,
                      .finished = 1234,
                      .errors = 2,
                      .in_flight = 16,
                      .requests_per_s = 40,
                      .output_tokens_per_s = 4000,
                      .ttft_ms = 12.34};
  EXPECT_EQ(RenderProgress(state, 4),
            "  prefix aware   ██░░  50 %  1,234 done, 16 in flight, 40 req/s, 4,000 tok/s, "
            "TTFT 12.3 ms, 2 errors");
  state.share = -1;
  state.elapsed_s = 12;
  state.errors = 0;
  state.ttft_ms = -1;
  state.warming_up = true;
  EXPECT_EQ(RenderProgress(state, 4),
            "  prefix aware   12 s  1,234 done, 16 in flight, 40 req/s, 4,000 tok/s, warming up");
}

}  // namespace
}  // namespace weir::load
