// Which endpoints a request may go to, whatever their scores: subset hints, requests without a
// body, requests that want cached prefixes only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "testing/allocation_guard.h"
#include "weir/router.h"

namespace weir {
namespace {

using ::testing::HasSubstr;

constexpr const char* kNoCandidates = "failed to find endpoint candidates for serving the request";

Router Make(const std::string& plugins, const std::string& refs) {
  return Router::FromText("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n" +
                              plugins + "schedulingProfiles:\n- name: default\n  plugins:\n" + refs,
                          "test.yaml", {.seed = 1})
      .value();
}
Router ByQueue() { return Make("- {type: queue-scorer}\n", "  - {pluginRef: queue-scorer}\n"); }

void Add(const Router& router, const std::string& name, const std::string& address,
         uint32_t waiting, const std::map<std::string, std::string>& labels = {}) {
  ASSERT_TRUE(router.pool()
                  .Upsert({.name = name,
                           .address = address,
                           .labels = labels,
                           .metrics = {.waiting_requests = waiting}})
                  .ok());
}

void AddThree(const Router& router) {
  Add(router, "a", "10.0.0.1:8000", 9);
  Add(router, "b", "10.0.0.2:8000", 5);
  Add(router, "c", "10.0.0.3:8000", 0);
}

std::string Picked(const Router& router, const Request& request) {
  const auto decision = router.Decide(request);
  return decision.ok() ? std::string(decision->primary().name) : decision.status().ToString();
}

TEST(Candidates, ASubsetLimitsThemWhateverTheLoad) {
  const Router router = ByQueue();
  AddThree(router);
  Request request;
  EXPECT_EQ(Picked(router, request), "default/c");
  const std::string_view two[] = {"10.0.0.1:8080", "10.0.0.2"};
  request.subset = two;
  EXPECT_EQ(Picked(router, request), "default/b");
  const std::string_view all[] = {"10.0.0.1,10.0.0.2,10.0.0.3"};
  request.subset = all;
  EXPECT_EQ(Picked(router, request), "default/c");
  const Decision decision = [&] {
    request.subset = two;
    return router.Decide(request).value();
  }();
  EXPECT_EQ(decision.targets().size(), 1u);
  const auto rows = decision.explanation().profiles[0].endpoints;
  EXPECT_EQ(rows[0].dropped_by, "");
  EXPECT_EQ(rows[2].dropped_by, "the subset hint");
  EXPECT_THAT(decision.Explain(), HasSubstr("dropped by the subset hint"));
}

TEST(Candidates, AnEmptySubsetIsNotTheSameAsNone) {
  const Router router = ByQueue();
  AddThree(router);
  Request request;
  request.subset.emplace();
  absl::Status status = router.Decide(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), kNoCandidates);
  const std::string_view elsewhere[] = {"192.168.1.99:8000"};
  request.subset = elsewhere;
  EXPECT_EQ(router.Decide(request).status().message(), kNoCandidates);
  request.subset.reset();
  EXPECT_TRUE(router.Decide(request).ok());
  EXPECT_EQ(ByQueue().Decide(request).status().message(), kNoCandidates) << "an empty pool";
  EXPECT_EQ(router.stats().decisions_no_endpoint, 2u);
}

TEST(Candidates, FiltersSeeWhatTheSubsetLeft) {
  const Router router = Make("- {type: prefill-filter}\n", "  - {pluginRef: prefill-filter}\n");
  Add(router, "a", "10.0.0.1:8000", 0, {{"llm-d.ai/role", "prefill"}});
  Add(router, "b", "10.0.0.2:8000", 0, {{"llm-d.ai/role", "decode"}});
  Request request;
  const std::string_view first[] = {"10.0.0.1"}, second[] = {"10.0.0.2"};
  request.subset = first;
  EXPECT_EQ(Picked(router, request), "default/a");
  request.subset = second;
  const absl::Status status = router.Decide(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "no endpoints available for the given request");
}

TEST(Candidates, WithoutABodyAnyOneThatFiltersLeaveWillDo) {
  const Router router = Make("- {type: prefill-filter}\n- {type: queue-scorer}\n",
                             "  - {pluginRef: prefill-filter}\n  - {pluginRef: queue-scorer}\n");
  Add(router, "a", "10.0.0.1:8000", 9, {{"llm-d.ai/role", "prefill"}});
  Add(router, "b", "10.0.0.2:8000", 0, {{"llm-d.ai/role", "decode"}});
  Add(router, "c", "10.0.0.3:8000", 0, {{"llm-d.ai/role", "prefill"}});
  Request request;
  request.any_endpoint = true;
  std::set<std::string> picked;
  for (int i = 0; i < 100; ++i) picked.insert(Picked(router, request));
  EXPECT_EQ(picked, (std::set<std::string>{"default/a", "default/c"}));
  const std::string_view subset[] = {"10.0.0.1"};
  request.subset = subset;
  const Decision decision = router.Decide(request).value();
  EXPECT_EQ(decision.primary().name, "default/a");
  const Explanation why = decision.explanation();
  EXPECT_EQ(why.profiles[0].endpoints[0].rank, 0);
  EXPECT_EQ(why.draws, 1u);
  Flight flight = router.Begin(decision);
  EXPECT_EQ(router.pool().in_flight(decision.primary().id), 1u);
}

TEST(Candidates, IfAvailableWantsAPrefixThatTheTargetHolds) {
  const Router router = Router::Default({.seed = 1}).value();
  Add(router, "a", "10.0.0.1:8000", 0);
  const std::string body = R"({"model":"m","prompt":")" + std::string(4096, 'p') + R"("})";
  Request request = ParseOpenAi("/v1/completions", body).value();
  request.if_available = true;
  const absl::Status miss = router.Decide(request).status();
  EXPECT_EQ(miss.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(miss.message(), "no decode worker has the requested KV cache");
  request.if_available = false;
  {
    const Decision decision = router.Decide(request).value();
    Flight flight = router.Begin(decision);
    flight.FirstToken();
    flight.Finish({}, End::kCompleted);
  }
  request.if_available = true;
  EXPECT_EQ(Picked(router, request), "default/a");
  // Nobody says what is cached: not available.
  const Router blind = ByQueue();
  Add(blind, "a", "10.0.0.1:8000", 0);
  EXPECT_EQ(blind.Decide(request).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Candidates, ASubsetAllocatesNothingInSteadyState) {
  const Router router = ByQueue();
  AddThree(router);
  Request request;
  const std::string_view subset[] = {"10.0.0.1:8000,10.0.0.3:1", "10.0.0.2:8000"};
  request.subset = subset;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Picked(router, request), "default/c");
  testing::AllocationForbidden guard;
  for (int i = 0; i < 10; ++i) {
    const auto decision = router.Decide(request);
    ASSERT_TRUE(decision.ok());
  }
}

}  // namespace
}  // namespace weir
