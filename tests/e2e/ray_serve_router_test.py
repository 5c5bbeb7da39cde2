"""weir.ray under Ray Serve's own routing code, in one process: replicas say what the test wants."""

import asyncio
import contextlib
import gc
import types
import unittest
from unittest import mock

import fleet

fleet.use_hosts()

import weir.ray  # noqa: E402
from ray.serve._private.common import (DeploymentHandleSource, DeploymentID,  # noqa: E402
                                       ReplicaID, ReplicaQueueLengthInfo, RequestMetadata)
from ray.serve._private.router import AsyncioRouter  # noqa: E402

DEPLOYMENT = DeploymentID(name="model", app_name="test")
PROMPT = "You are a careful assistant. " * 100  # many blocks of the prefix index
POLL_S = 0.001
WAIT_S = 20.0


class Answer:
    """A request at a replica. The test says when the replica answers, and Ray when it ended."""

    def __init__(self, replica):
        self.replica, self._callbacks, self._ended = replica, [], False

    def add_done_callback(self, callback):
        self._callbacks.append(callback)
        if self._ended:
            callback(self)

    async def get_rejection_response(self):
        await self.replica.answers.wait()
        return ReplicaQueueLengthInfo(self.replica.accepts.pop(0) if self.replica.accepts else True,
                                      len(self.replica.sent))

    def cancel(self):
        self.end()

    def end(self):
        self._ended = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Replica:
    is_cross_language, actor_id, node_id, availability_zone = False, None, "node", None
    replica_metadata, _replica_info = None, types.SimpleNamespace(node_ip="::1", port=1)

    def __init__(self, number):
        self.replica_id = ReplicaID(f"r{number}", DEPLOYMENT)
        self.multiplexed_model_ids, self.routing_stats = set(), {}
        self.max_ongoing_requests, self.queue_len = 100, 0
        self.sent, self.accepts = [], []  # answers; whether the next ones are accepted
        self.answers = asyncio.Event()
        self.answers.set()

    async def get_queue_len(self, *, deadline_s):
        return self.queue_len

    def try_send_request(self, pending, *, with_rejection):
        self.sent.append(Answer(self))
        return self.sent[-1]

    async def reserve_slot(self, metadata):
        return "token", ReplicaQueueLengthInfo(True, 1)

    async def release_slot(self, *_, **__):
        return 0


async def until(condition, what):
    """Polls until condition() is true."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(POLL_S)


def metadata(internal_id):
    return RequestMetadata(request_id="r", internal_request_id=internal_id)


async def nothing(*_):
    return None


class Serve:
    """Serve's part of a handle, without a cluster."""

    def __init__(self, count, rejects=True):
        self.replicas = [Replica(number) for number in range(count)]
        self.router = weir.ray.WeirRequestRouter(
            deployment_id=DEPLOYMENT, handle_source=DeploymentHandleSource.REPLICA,
            self_node_id="node", use_replica_queue_len_cache=rejects)
        self.router.initialize_state(seed=1, share="router")
        self.router.update_replicas(self.replicas)
        self.serve = serve = object.__new__(AsyncioRouter)
        serve.deployment_id, serve._deployment_available = DEPLOYMENT, True
        serve._event_loop = asyncio.get_running_loop()
        serve._request_router, serve._request_router_class = self.router, type(self.router)
        serve._request_router_initialized = asyncio.Event()
        serve._request_router_initialized.set()
        serve._enable_strict_max_ongoing_requests = rejects
        serve._resolve_request_arg_func = nothing
        serve._metrics_manager = mock.MagicMock()
        serve._objref_resolution_latency_ms = mock.MagicMock()

    def start(self, prompt=PROMPT, internal_id="in"):
        return asyncio.create_task(self.serve.assign_request(metadata(internal_id), prompt))

    async def cancel(self, task):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def sent(self):
        return [answer for replica in self.replicas for answer in replica.sent]

    def in_flight(self):
        return [row["in_flight"] for row in self.router.router.pool.rows()]


def in_loop(test):
    """Runs a test without the collector of cycles, for which an exception's traceback waits."""
    def run(self):
        gc.collect()
        gc.disable()
        try:
            asyncio.run(test(self))
        finally:
            gc.enable()
    return run


class RouterTest(unittest.TestCase):
    @in_loop
    async def test_cancelled_while_all_are_full(self):
        serve = Serve(2)
        for replica in serve.replicas:
            replica.queue_len = 100
        tasks = [serve.start(f"{number} {PROMPT}", str(number)) for number in range(20)]
        await until(lambda: sum(serve.in_flight()) > 0, "decisions")
        for task in tasks:
            await serve.cancel(task)
        await until(lambda: serve.in_flight() == [0, 0], "the ends of all")

    @in_loop
    async def test_cancelled_before_the_replica_accepts(self):
        serve = Serve(2)
        for replica in serve.replicas:
            replica.answers.clear()
        tasks = [serve.start(f"{number} {PROMPT}", str(number)) for number in range(20)]
        await until(lambda: len(serve.sent()) == 20, "all to be sent")
        self.assertEqual(sum(serve.in_flight()), 20)
        for task in tasks:
            await serve.cancel(task)
        await until(lambda: serve.in_flight() == [0, 0], "the ends of all")

    @in_loop
    async def test_calls_of_one_ingress_request_are_all_routed(self):
        serve = Serve(4)
        tasks = [serve.start(f"{number} {PROMPT}") for number in range(5)]  # of one internal id
        async with asyncio.timeout(WAIT_S):
            answers = await asyncio.gather(*tasks)
        self.assertEqual(sum(serve.in_flight()), 5)
        for count in range(5, 0, -1):
            self.assertEqual(sum(serve.in_flight()), count)
            answers.pop().end()
        self.assertEqual(serve.in_flight(), [0] * 4)

    @in_loop
    async def test_a_refused_attempt_ends_no_other(self):
        serve = Serve(1)
        first = await serve.start()
        serve.replicas[0].accepts = [False, False, True]
        second = await serve.start()  # of the same ingress request, too
        await asyncio.sleep(POLL_S)
        self.assertEqual(serve.in_flight(), [2])
        self.assertEqual(len(serve.replicas[0].sent), 4)
        first.end()
        self.assertEqual(serve.in_flight(), [1])
        second.end()
        self.assertEqual(serve.in_flight(), [0])

    @in_loop
    async def test_without_the_protocol_of_refusal(self):
        serve = Serve(3, rejects=False)
        serve.replicas[0].queue_len = serve.replicas[1].queue_len = 100
        answer = await serve.start()
        self.assertIs(answer.replica, serve.replicas[2])
        await until(lambda: serve.in_flight() == [0, 0, 1], "the request to count")
        answer.end()
        await until(lambda: serve.in_flight() == [0, 0, 0], "its end")

    @in_loop
    async def test_a_chosen_replica_learns_the_prompt(self):
        for options in ({"_reserve": False}, {}):
            with self.subTest(options):
                serve = Serve(6)
                homes = set()
                for _ in range(4):
                    async with serve.serve.choose_replica(metadata("in"), PROMPT, **options) as one:
                        homes.add(one.replica_id)
                        self.assertEqual(sum(serve.in_flight()), 1)
                        if "_reserve" not in options:
                            answer = await serve.serve.dispatch(one, metadata("in"), PROMPT)
                            answer.end()
                    await until(lambda: not any(serve.in_flight()), "its end")
                self.assertEqual(len(homes), 1)

    @in_loop
    async def test_full_replicas_are_not_asked_without_a_pause(self):
        serve = Serve(2)
        with self.assertLogs("weir.ray"):
            serve.router.initialize_state(config_file="/no/such/file")
        asked = 0

        async def full(*, deadline_s):
            nonlocal asked
            asked += 1
            return 100

        for replica in serve.replicas:
            replica.get_queue_len, replica.queue_len = full, 100
        never = asyncio.Event()
        with mock.patch.object(serve.router, "_backoff", lambda attempt: never.wait()):
            task = serve.start()
            await until(lambda: asked >= 4, "two rounds")
            for _ in range(100):
                await asyncio.sleep(0)
            self.assertLessEqual(asked, 8)
            await serve.cancel(task)


if __name__ == "__main__":
    fleet.main()
