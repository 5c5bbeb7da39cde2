"""weir.ray.WeirRequestRouter in a stand-in for Ray Serve's loop (ray_stub), without Ray."""

import array
import fractions
import json
import math
import pathlib
import subprocess
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "ray_stub"))

import weir  # noqa: E402
import weir._prompts  # noqa: E402
import weir.ray  # noqa: E402
from ray.serve import request_router as serve  # noqa: E402, the stand-in

PROMPT = "You are a careful assistant. " * 100  # many blocks of the prefix index
OTHER = "A text that begins otherwise. " * 100

# The replica that reports the shortest queue first, so that a test knows the order.
BY_LOAD = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: max-score-picker
  parameters:
    maxNumOfEndpoints: %d
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 1
  - pluginRef: max-score-picker
"""


REFUSED = (
    ({"config_file": "/no/such/file.yaml"}, "/no/such/file.yaml: No such file"),
    ({"config_text": (BY_LOAD % 1).replace("queue-scorer", "no-such-scorer")}, "no-such-scorer"),
    ({"config": {}, "config_text": ""}, "config, config_file, config_text: expected at most one"),
    ({"share": "machine"}, 'share: "machine", expected "process" or "router"'),
    ({"text_extractor": "weir.no_such_module:f"}, "text_extractor: "),
    ({"text_extractor": "json:no_such_function"}, "text_extractor: "),
    ({"text_extractor": ""}, "text_extractor: "),
    ({"stats_keys": {"x": "no_such_column"}}, 'stats_keys: "no_such_column", expected one of'),
    ({"top_k": 3}, "top_k: not an option of weir.ray.WeirRequestRouter"),
)


def make(*replicas, use_replica_queue_len_cache=True, deployment=serve.DeploymentID("model"),
         **options):
    router = weir.ray.WeirRequestRouter(
        deployment_id=deployment, handle_source=None, self_node_id="node-1",
        prefer_local_node_routing=True, use_replica_queue_len_cache=use_replica_queue_len_cache)
    options.setdefault("share", "router")
    options.setdefault("seed", 7)
    router.initialize_state(**json.loads(json.dumps(options)))
    router.update_replicas(list(replicas))
    return router


def replicas(count, **fields):
    return [serve.RunningReplica(f"r{i}", **fields) for i in range(count)]


def choose(router, pending, candidates=None):
    pool = list(router._replicas.values()) if candidates is None else candidates
    return serve.run(router.choose_replicas(pool, pending))


def send(router, pending, completed_late=False):
    return serve.run(router.send(pending, completed_late))


def loads(router):
    return {row["name"].rpartition("#")[2]: row["in_flight"] for row in router.router.pool.rows()}


class RankTest(unittest.TestCase):
    def test_targets_are_ranks_of_one_and_all_replicas_the_last(self):
        pool = replicas(4)
        for replica, waiting in zip(pool, (0, 5, 1, 9)):
            replica.routing_stats = {"num_waiting_reqs": waiting}
        router = make(*pool, config_text=BY_LOAD % 2)
        ranks = choose(router, serve.request(PROMPT))
        self.assertEqual(ranks, [[pool[0]], [pool[2]], pool])

    def test_equals_are_drawn_by_the_seed(self):
        def first(seed):
            pool = replicas(4)
            for replica, waiting in zip(pool, (0, 5, 0, 9)):
                replica.routing_stats = {"num_waiting_reqs": waiting}
            router = make(*pool, config_text=BY_LOAD % 2, seed=seed)
            ranks = choose(router, serve.request(PROMPT))
            self.assertEqual({r.replica_id.unique_id for rank in ranks[:2] for r in rank},
                             {"r0", "r2"})
            self.assertEqual(ranks[2], pool)
            return ranks[0][0].replica_id.unique_id

        self.assertEqual(first(7), first(7))
        self.assertEqual({first(seed) for seed in range(1, 20)}, {"r0", "r2"})

    def test_a_prompt_goes_where_its_start_went(self):
        router = make(*replicas(4))
        homes = {}
        for turn in range(5):
            for number in range(4):
                pending = serve.request(f"{number} {PROMPT}" + "more " * turn)
                replica = send(router, pending)
                homes.setdefault(number, set()).add(replica)
                router.done(pending, replica)
        self.assertTrue(all(len(seen) == 1 for seen in homes.values()), homes)
        self.assertEqual(router.fallbacks, 0)

    def test_no_request_leaves_the_choice_to_queue_length(self):
        pool = replicas(2)
        self.assertEqual(choose(make(*pool), None), [pool])

    def test_no_candidates(self):
        pending = serve.request(PROMPT)
        self.assertEqual(choose(make(), pending), [])
        self.assertTrue(pending.routing_context.should_backoff)

    def test_only_candidates_are_ranked(self):
        pool = replicas(6)
        ranks = choose(make(*pool), serve.request(PROMPT), pool[4:])
        self.assertEqual({r for rank in ranks for r in rank}, set(pool[4:]))

    def test_a_full_favourite_is_passed_over(self):
        router = make(*replicas(3, max_ongoing_requests=1))
        first = send(router, serve.request(PROMPT))
        second = serve.request(PROMPT, request_id="second")
        self.assertIsNot(send(router, second), first)
        self.assertEqual(router.probes, 0)

    def test_the_next_choice_that_has_room_is_the_first(self):
        pool = replicas(4, max_ongoing_requests=1)
        for replica, waiting in zip(pool, (0, 5, 1, 9)):
            replica.routing_stats = {"num_waiting_reqs": waiting}
        router = make(*pool, config_text=BY_LOAD % 3)
        for full, first, decisions in (((), 0, 1), ((0,), 2, 1), ((0, 2), 1, 1), ((2,), 0, 1),
                                       ((0, 1, 2), 3, 2)):
            with self.subTest(full=full):
                for number, replica in enumerate(pool):
                    router.replica_queue_len_cache.lengths[replica.replica_id] = number in full
                before = router.router.stats()["decisions"]
                ranks = choose(router, pending := serve.request(PROMPT))
                self.assertEqual(ranks[0], [pool[first]])
                self.assertEqual(loads(router)[f"r{first}"], 1)
                self.assertEqual(sum(loads(router).values()), 1)
                self.assertEqual(router.router.stats()["decisions"] - before, decisions)
                pending.future.cancel()
                serve.settle()

    def test_all_full_waits_with_backoff_until_one_has_room(self):
        pool = replicas(2, max_ongoing_requests=1)
        router = make(*pool)
        running = [(p, send(router, p)) for p in (serve.request(PROMPT), serve.request(OTHER))]

        def free_one():
            if router.sleeps == 3:
                router.done(*running.pop())

        router.on_sleep = free_one
        free = running[1][1]
        self.assertIs(send(router, serve.request(PROMPT, request_id="late")), free)
        self.assertEqual(router.sleeps, 3)

    def test_an_adapter_goes_to_replicas_that_have_it(self):
        pool = replicas(4, max_ongoing_requests=1)
        pool[2].multiplexed_model_ids = {"lora-a"}
        router = make(*pool)
        self.assertIs(send(router, serve.request(PROMPT, adapter="lora-a")), pool[2])
        self.assertIsNot(send(router, serve.request(PROMPT, adapter="lora-a")), pool[2])
        self.assertEqual(router.router.pool.rows()[2]["active_adapters"], ["lora-a"])

    def test_an_adapter_stays_on_its_replicas_while_one_has_room(self):
        for seed in range(1, 11):
            pool = replicas(6, max_ongoing_requests=1)
            for host in pool[1:3]:
                host.multiplexed_model_ids = {"lora-a"}
            router = make(*pool, seed=seed)
            homes = {send(router, serve.request(PROMPT, adapter="lora-a")) for _ in range(2)}
            self.assertEqual(homes, set(pool[1:3]))

    def test_a_thousand_replicas(self):
        pool = replicas(1000)
        router = make(*pool)
        ranks = choose(router, serve.request(PROMPT))
        self.assertEqual([len(rank) for rank in ranks], [1, 1, 1, 1000])


class LifeTest(unittest.TestCase):
    def test_requests_count_until_they_end(self):
        pool = replicas(1)
        router = make(*pool)
        first, second = serve.request(PROMPT), serve.request(OTHER, request_id="s")
        send(router, first)
        send(router, second)
        self.assertEqual(loads(router), {"r0": 2})
        router.done(first, pool[0])
        router.done(second, pool[0])
        self.assertEqual(loads(router), {"r0": 0})
        self.assertEqual(router.router.stats()["flights_ended"], 2)

    def test_a_burst_sees_itself(self):
        pool = replicas(4)
        router = make(*pool)
        for number in range(8):  # decided before any of them is routed
            choose(router, pending := serve.request(f"{number} {PROMPT}", request_id=str(number)))
            self.addCleanup(lambda _: None, pending)
        self.assertEqual(set(loads(router).values()), {2})

    def test_a_refused_request_moves_and_counts_once(self):
        for completed_late in (False, True):
            with self.subTest(completed_late=completed_late):
                pool = replicas(2, max_ongoing_requests=1)
                router = make(*pool)
                home = send(router, serve.request(PROMPT))
                away = pool[1 - pool.index(home)]
                router.replica_queue_len_cache.lengths[home.replica_id] = 0  # stale: it is full
                moved = serve.request(PROMPT, request_id="moved")
                self.assertIs(send(router, moved, completed_late), away)
                self.assertEqual(set(loads(router).values()), {1})
                router.done(moved, away)
                self.assertEqual(loads(router)[away.replica_id.unique_id], 0)

    def test_a_replica_that_refused_has_learned_nothing(self):
        for completed_late in (False, True):
            with self.subTest(completed_late=completed_late):
                for seed in range(1, 9):
                    refuses, takes = pool = replicas(2, max_ongoing_requests=1)
                    router = make(*pool, seed=seed)
                    lengths = router.replica_queue_len_cache.lengths
                    refuses.ongoing, lengths[takes.replica_id] = 1, 1  # both are stale
                    router.on_sleep = lambda: self.fail("one has room")
                    pending = serve.request(PROMPT)
                    self.assertIs(send(router, pending, completed_late), takes)
                    router.done(pending, takes)
                    lengths.update({replica.replica_id: 0 for replica in pool})
                    again = choose(router, serve.request(PROMPT, request_id="again"))
                    self.assertIs(again[0][0], takes)

    def test_a_refused_request_may_be_taken_by_the_same_replica(self):
        for completed_late in (False, True):
            with self.subTest(completed_late=completed_late):
                pool = replicas(1, max_ongoing_requests=1)
                router = make(*pool)
                first, second = serve.request(PROMPT), serve.request(PROMPT, request_id="s")
                send(router, first)
                router.replica_queue_len_cache.lengths[pool[0].replica_id] = 0  # stale: it is full
                router.on_sleep = lambda: pool[0].ongoing and router.done(first, pool[0])
                send(router, second, completed_late)
                self.assertEqual(loads(router), {"r0": 1})
                router.done(second, pool[0])
                self.assertEqual(loads(router), {"r0": 0})

    def test_a_refused_call_leaves_another_of_its_ingress_request_alone(self):
        pool = replicas(2, max_ongoing_requests=1)
        router = make(*pool)
        one, two = serve.request(PROMPT), serve.request(PROMPT)  # of one internal id
        home = send(router, one)
        away = pool[1 - pool.index(home)]
        router.replica_queue_len_cache.lengths[home.replica_id] = 0  # stale: it is full
        self.assertIs(send(router, two), away)
        self.assertEqual(set(loads(router).values()), {1})
        router.done(one, home)
        self.assertEqual(loads(router)[away.replica_id.unique_id], 1)

    def test_each_call_of_an_ingress_request_gets_the_replica_chosen_for_it(self):
        router = make(*replicas(1))
        calls = [serve.request(f"{number} {PROMPT}") for number in range(3)]  # of one internal id
        for call in calls:
            choose(router, call)
        matching = router._get_pending_request_matching_internal_request_id
        self.assertTrue(all(matching(call.metadata) is call for call in calls))
        calls[1].future.cancel()
        self.assertIsNone(matching(calls[1].metadata))
        self.assertIsNone(matching(None))

    def test_serve_may_take_another_replica(self):
        pool = replicas(6)
        router = make(*pool)
        for taken in (1, 4):  # the second choice, and one of the last rank
            prompt = f"{taken} {PROMPT}"
            pending = serve.request(prompt, request_id=f"q{taken}")
            ranks = [replica for rank in choose(router, pending) for replica in rank]
            other = ranks[taken]
            router.on_request_routed(pending, other.replica_id, result := serve.Result())
            self.assertEqual(loads(router)[other.replica_id.unique_id], 1)
            self.assertEqual(sum(loads(router).values()), 1)
            result.end()
            self.assertEqual(sum(loads(router).values()), 0)
            # And the prompt is known to lie there.
            again = choose(router, serve.request(prompt, request_id="again"))
            self.assertIs(again[0][0], other)

    def test_a_request_that_is_cancelled_stops_counting(self):
        for sent in (False, True):
            for cached in (False, True):
                with self.subTest(sent=sent, cached=cached):
                    router = make(*replicas(2), use_replica_queue_len_cache=cached)
                    pending = serve.request(PROMPT)  # and Ray's exception holds it, until a gc
                    if sent:
                        replica = serve.run(router.pick(pending))
                        serve.settle()
                    else:
                        choose(router, pending)
                    self.assertEqual(sum(loads(router).values()), 1)
                    if sent:
                        router.completed(pending, replica)
                    else:
                        pending.future.cancel()
                        serve.settle()
                    self.assertEqual(sum(loads(router).values()), 0)

    def test_a_replica_that_is_only_asked_for_learns_the_prompt(self):
        for reserved in (False, True):
            with self.subTest(reserved=reserved):
                pool = replicas(6)
                router = make(*pool)
                pending = serve.request(PROMPT)
                if reserved:
                    home = serve.run(router.pick(pending))
                    serve.settle()
                else:
                    home = choose(router, pending)[0][0]
                self.assertEqual(loads(router)[home.replica_id.unique_id], 1)
                del pending
                self.assertEqual(sum(loads(router).values()), 0)
                for _ in range(3):
                    again = serve.request(PROMPT, request_id="again")
                    self.assertIs(choose(router, again)[0][0], home)

    def test_calls_of_one_ingress_request_share_its_id(self):
        pool = replicas(1)
        router = make(*pool)
        calls = [serve.request(PROMPT), serve.request(OTHER)]
        for call in calls:
            send(router, call)
        router.done(calls[0], pool[0])
        self.assertEqual(loads(router), {"r0": 1})
        router.done(calls[1], pool[0])
        self.assertEqual(loads(router), {"r0": 0})

    def test_ray_without_the_hook_of_completion(self):
        with mock.patch.object(serve.RequestRouter, "on_request_completed"):
            del serve.RequestRouter.on_request_completed
            pool = replicas(1)
            router = make(*pool)
            pending = serve.request(PROMPT)
            send(router, pending)
            self.assertEqual(loads(router), {"r0": 1})
            router.done(pending, pool[0])
            self.assertEqual(loads(router), {"r0": 0})

    def test_without_the_protocol_of_refusal(self):
        pool = replicas(3)
        for taken in range(3):
            with self.subTest(taken=taken):
                router = make(*pool, use_replica_queue_len_cache=False)
                pending = serve.request(PROMPT)
                for _ in range(4):  # rounds that found all full
                    replica = choose(router, pending)[taken][0]
                self.assertEqual(sum(loads(router).values()), 1)
                metadata = pending.metadata
                pending.future.set_result(replica)
                del pending  # Serve keeps nothing of what it has sent
                serve.settle()
                self.assertEqual(loads(router)[replica.replica_id.unique_id], 1)
                self.assertEqual(sum(loads(router).values()), 1)
                router.on_request_completed(replica.replica_id, metadata.internal_request_id)
                self.assertEqual(sum(loads(router).values()), 0)

    def test_without_the_protocol_of_refusal_running_requests_are_bounded(self):
        with mock.patch.object(weir.ray, "RUNNING_MAX", 3):
            router = make(*replicas(1, max_ongoing_requests=10), use_replica_queue_len_cache=False)
            for number in range(5):
                send(router, serve.request(PROMPT, request_id=str(number)))
            self.assertEqual(loads(router), {"r0": 3})


class ReplicaTest(unittest.TestCase):
    def test_replicas_come_and_go(self):
        pool = replicas(3)
        router = make(*pool[:2])
        router.update_replicas(pool[1:])
        self.assertEqual(set(loads(router)), {"r1", "r2"})
        homes = {send(router, serve.request(f"{i} {PROMPT}", request_id=str(i))) for i in range(6)}
        self.assertEqual(homes, set(pool[1:]))

    def test_the_home_of_a_prompt_dies(self):
        pool = replicas(3)
        router = make(*pool)
        pending = serve.request(PROMPT)
        home = send(router, pending)
        router.on_replica_actor_died(home.replica_id)
        self.assertNotIn(home.replica_id.unique_id, loads(router))
        router.on_replica_actor_died(home.replica_id)  # reported twice
        self.assertIsNot(send(router, serve.request(PROMPT, request_id="next")), home)
        router.done(pending, home)
        self.assertEqual(router.fallbacks, 0)

    def test_one_that_was_taken_for_dead_is_known_again(self):
        pool = replicas(2)
        pool[0].routing_stats = {"num_waiting_reqs": 3}
        router = make(*pool)
        router.on_replica_actor_died(pool[0].replica_id)
        router.update_replicas(pool)
        rows = {row["name"][-2:]: row["waiting_requests"] for row in router.router.pool.rows()}
        self.assertEqual(rows, {"r0": 3, "r1": 0})

    def test_it_dies_between_decision_and_routing(self):
        router = make(*replicas(2))
        pending = serve.request(PROMPT)
        home = choose(router, pending)[0][0]
        router.on_replica_actor_died(home.replica_id)
        self.assertIsNot(send(router, pending), home)
        self.assertEqual(sum(loads(router).values()), 1)

    def test_stats_become_columns(self):
        pool = replicas(2)
        pool[0].routing_stats = {"num_waiting_reqs": 3, "num_running_reqs": 7.0, "kv": 0.5,
                                 "block_size": 32, "num_blocks": 100, "other": 1}
        row, unknown = make(*pool).router.pool.rows()
        self.assertEqual((row["waiting_requests"], row["running_requests"], row["kv_used_ratio"],
                          row["kv_block_tokens"], row["kv_block_count"]), (3, 7, 0.5, 32, 100))
        self.assertIsNone(unknown["sample_age_s"])

    def test_stats_that_make_no_sense_stay_unknown(self):
        class Odd:  # as an array of NumPy
            __hash__ = None

            def __eq__(self, other):
                raise ValueError("ambiguous")

            __bool__ = __lt__ = __le__ = __ge__ = __eq__

        for stats in ({"kv": 7, "num_waiting_reqs": -1, "num_running_reqs": "3",
                       "block_size": float("nan"), "num_blocks": True, "reports": math.nan},
                      {"num_running_reqs": Odd(), "reports": Odd(), "histogram": Odd()},
                      Odd(), [1], "kv", None, {"num_waiting_reqs": math.inf, "kv": 10**400}):
            pool = replicas(4)
            pool[0].routing_stats = stats
            router = make(*pool[:2])
            router.update_replicas(pool)
            self.assertEqual(len(router.router.pool), 4)
            self.assertIsNone(router.router.pool.rows()[0]["sample_age_s"])
            self.assertEqual(router.fallbacks, 0)

    def test_an_odd_stat_leaves_the_others(self):
        pool = replicas(1)
        pool[0].routing_stats = {"kv": fractions.Fraction(1, 4), "num_running_reqs": [7]}
        row, = make(*pool).router.pool.rows()
        self.assertEqual((row["kv_used_ratio"], row["running_requests"]), (0.25, 0))

    def test_old_stats_are_not_applied_again(self):
        pool = replicas(1)
        pool[0].routing_stats = {"num_waiting_reqs": 3}
        router = make(*pool)
        send(router, serve.request(PROMPT))
        router.update_replicas(pool)
        row = choose_row(router)
        self.assertEqual((row["waiting_requests"], row["sent_since_sample"]), (4, 1))
        pool[0].routing_stats = {"num_waiting_reqs": 5}
        router.update_replicas(pool)
        row = choose_row(router)
        self.assertEqual((row["waiting_requests"], row["sent_since_sample"]), (5, 0))

    def test_a_report_that_equals_the_last_is_news(self):
        class Server(weir.ray.StatsMixin):
            pass

        pool, server = replicas(1), Server()
        server.report(num_waiting_reqs=3)
        pool[0].routing_stats = server.record_routing_stats()
        router = make(*pool)
        for told, expected in (((), (4, 1)), ({"num_waiting_reqs": 3}, (3, 0))):
            if told:
                server.report(**told)
            else:
                send(router, serve.request(PROMPT))
            pool[0].routing_stats = server.record_routing_stats()
            router.update_replicas(pool)
            row = choose_row(router)
            self.assertEqual((row["waiting_requests"], row["sent_since_sample"]), expected)

    def test_adapters_come_and_go(self):
        pool = replicas(2)
        router = make(*pool)
        for adapters in ({"a", "b"}, {"b"}, set()):
            pool[0].multiplexed_model_ids = adapters
            router.update_replicas(pool)
            self.assertEqual([row["active_adapters"] for row in router.router.pool.rows()],
                             [sorted(adapters), []])

    def test_keys_of_the_deployment(self):
        pool = replicas(1)
        pool[0].routing_stats = {"depth": 4}
        router = make(*pool, stats_keys={"depth": "waiting_requests"})
        self.assertEqual(router.router.pool.rows()[0]["waiting_requests"], 4)

    def test_the_mixin_reports(self):
        class Server(weir.ray.StatsMixin):
            pass

        server = Server()
        self.assertEqual(server.record_routing_stats(), {})
        server.report(kv=0.25, num_waiting_reqs=2)
        server.report(kv=0.5)
        self.assertEqual(server.record_routing_stats(),
                         {"kv": 0.5, "num_waiting_reqs": 2, "reports": 2})
        with self.assertRaisesRegex(ValueError, "kv_usage: expected num_waiting_reqs, "):
            server.report(kv_usage=0.5)


def choose_row(router):
    """How a decision sees the only replica."""
    return router.router.decide(prompt="x").explain()[0]


class SharingTest(unittest.TestCase):
    def test_handles_of_a_process_share_what_they_know(self):
        pool = replicas(4)
        one, two = make(*pool, share="process"), make(*pool, share="process")
        self.assertIs(one.router, two.router)
        self.assertIs(weir.ray.routers()["default", "model"], one.router)
        home = send(one, serve.request(PROMPT))
        self.assertIs(send(two, serve.request(PROMPT, request_id="two")), home)
        self.assertEqual(loads(two)[home.replica_id.unique_id], 2)

    def test_other_deployments_and_configurations_share_nothing(self):
        pool = replicas(1)
        one = make(*pool, share="process")
        for other in (make(*pool, share="process", deployment=serve.DeploymentID("other")),
                      make(*pool, share="process", config_text=BY_LOAD % 1), make(*pool)):
            self.assertIsNot(other.router, one.router)

    def test_the_engine_goes_with_its_last_handle(self):
        deployment = serve.DeploymentID("short-lived")
        one = make(share="process", deployment=deployment)
        self.assertIn(("default", "short-lived"), weir.ray.routers())
        del one
        self.assertNotIn(("default", "short-lived"), weir.ray.routers())

    def test_a_handle_that_is_behind_ranks_only_its_own(self):
        pool = replicas(3)
        behind = make(*pool[:2], share="process")
        ahead = make(*pool, share="process")
        self.assertEqual(len(ahead.router.pool), 3)
        for number in range(6):
            ranks = choose(behind, serve.request(f"{number} {PROMPT}"))
            self.assertEqual({r for rank in ranks for r in rank}, set(pool[:2]))


class TroubleTest(unittest.TestCase):
    def test_a_refused_configuration_routes_by_queue_length_and_says_so(self):
        pool = replicas(2)
        for options, complaint in REFUSED:
            with self.subTest(options), self.assertLogs("weir.ray", "ERROR") as logged:
                router = make(*pool, **options)
                pending = serve.request(PROMPT)
                self.assertEqual(choose(router, pending), [pool])
                self.assertTrue(pending.routing_context.should_backoff)
                router.on_replica_actor_died(pool[1].replica_id)
            self.assertEqual(len(logged.output), 1)
            self.assertIn(complaint, logged.output[0])
            self.assertEqual(router.fallbacks, 1)

    def test_the_driver_hears_of_it_at_once(self):
        for options, complaint in REFUSED:
            with self.subTest(options), self.assertRaises(weir.Error) as caught:
                weir.ray.request_router_config(**options)
            self.assertIn(complaint, str(caught.exception))
        config = weir.ray.request_router_config(seed=3, stats_period_s=0.5)
        self.assertEqual(config.request_router_kwargs, {"seed": 3})
        self.assertEqual(config.request_router_class, "weir.ray.WeirRequestRouter")
        self.assertEqual(config.request_routing_stats_period_s, 0.5)

    def test_what_raises_is_counted_and_logged_once_a_minute(self):
        pool = replicas(3)
        router = make(*pool, text_extractor="ray_router_test:broken_extractor")
        with self.assertLogs("weir.ray", "ERROR") as logged:
            for _ in range(5):
                pending = serve.request(PROMPT)
                self.assertEqual(choose(router, pending), [pool])
                self.assertTrue(pending.routing_context.should_backoff)
            send(router, serve.request(PROMPT))
        self.assertEqual(router.fallbacks, 6)
        self.assertEqual(len(logged.output), 1)

    def test_a_scorer_that_raises_leaves_the_other_scorers(self):
        @weir.scorer("test-raises")
        def raises(request, endpoints):
            raise KeyError("not today")

        config = {"plugins": [{"type": "test-raises"}, {"type": "queue-scorer"},
                              {"type": "max-score-picker"}],
                  "schedulingProfiles": [{"name": "default", "plugins": [
                      {"pluginRef": "test-raises", "weight": 9},
                      {"pluginRef": "queue-scorer", "weight": 1},
                      {"pluginRef": "max-score-picker"}]}]}
        pool = replicas(2)
        pool[0].routing_stats = {"num_waiting_reqs": 9}
        pool[1].routing_stats = {"num_waiting_reqs": 0}
        router = make(*pool, config=config)
        with self.assertLogs():  # of weir, by whom it was raised
            self.assertIs(choose(router, serve.request(PROMPT))[0][0], pool[1])

    def test_a_prompt_that_is_no_prompt_is_placed_by_load(self):
        pool = replicas(2)
        for argument in (["x", 3], [1, -5], {"messages": "text"}, b"{", {"body": 3}, object(), 7,
                         [[1, 2]], {"prompt": [[1], [2]]}, "", [], [{"role": object()}]):
            with self.subTest(argument):
                router = make(*pool)
                ranks = choose(router, serve.request(argument))
                self.assertEqual({r for rank in ranks for r in rank}, set(pool))
                self.assertEqual(router.fallbacks, 0)

    def test_prompts_that_cannot_be_read_are_counted_and_logged(self):
        router = make(*replicas(2))
        with self.assertLogs("weir.ray", "ERROR") as logged:
            for _ in range(3):
                choose(router, serve.request([1, -5]))
        self.assertEqual((router.unread, router.fallbacks), (3, 0))
        self.assertEqual(len(logged.output), 1)
        self.assertIn("tokens[1]: -5, expected 0..4294967295", logged.output[0])

    def test_importing_weir_imports_no_host(self):
        done = subprocess.run([sys.executable, "-c", "import sys, weir, weir.rollout\n"
                               "assert not {'ray', 'litellm'} & set(sys.modules)"],
                              cwd=pathlib.Path(__file__).parent, check=False)
        self.assertEqual(done.returncode, 0)


class PromptTest(unittest.TestCase):
    def test_kinds(self):
        message = {"role": "user", "content": "hi"}
        text = types.SimpleNamespace(prompt="hello", model="m")
        chat = types.SimpleNamespace(messages=[types.SimpleNamespace(**message)], model=None)
        tokens = array.array("I", [1, 2, 3])
        for argument, expected in (
                ("hello", {"prompt": "hello"}),
                ([1, 2], {"tokens": [1, 2]}),
                (tokens, {"tokens": tokens}),
                (b'{"model": "m"}', {"body": b'{"model": "m"}'}),
                (b"\x00", {}),
                ([message], {"messages": [message]}),
                ({"messages": [message], "model": "m"}, {"messages": [message], "model": "m"}),
                ({"prompt_token_ids": [4], "prompt": "four"}, {"tokens": [4]}),
                ({"input": "embed me"}, {"prompt": "embed me"}),
                (text, {"prompt": "hello", "model": "m"}),
                (chat, {"messages": [message]}),
                (7, {}), (None, {}), ([], {}), ([[1]], {}), (mock.MagicMock(), {}),
                ([message, 7], {}), ({"prompt": {"prompt": "deep"}}, {})):
            with self.subTest(argument):
                self.assertEqual(weir._prompts.prompt_of((argument,), {}), expected)
                self.assertEqual(weir._prompts.prompt_of((), {"request": argument}), expected)

    def test_the_first_that_says_something_counts(self):
        self.assertEqual(weir._prompts.prompt_of((3, None, "a", "b"), {}), {"prompt": "a"})

    def test_an_extractor_of_the_deployment(self):
        router = make(*replicas(3), text_extractor="ray_router_test:deep_extractor")
        homes = {send(router, serve.request({"deep": PROMPT}, request_id=str(i)))
                 for i in range(3)}
        self.assertEqual(len(homes), 1)


def broken_extractor(args, kwargs):
    raise RuntimeError("no text today")


def deep_extractor(args, kwargs):
    return {"prompt": args[0]["deep"]}


if __name__ == "__main__":
    sys.modules.setdefault("ray_router_test", sys.modules["__main__"])
    unittest.main()
