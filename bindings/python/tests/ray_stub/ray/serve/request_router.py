"""A stand-in for ray.serve.request_router, for tests without Ray: what a router is told and asked
by Serve, in Serve's order, with replicas and backoff in virtual time."""

import asyncio
import dataclasses
import types
from typing import Any, Dict, List, Optional

LOOP = asyncio.new_event_loop()
ROUNDS_MAX = 20  # of choose_replicas for one request, before the test calls it a spin


@dataclasses.dataclass(frozen=True)
class DeploymentID:
    name: str
    app_name: str = "default"


@dataclasses.dataclass(frozen=True)
class ReplicaID:
    unique_id: str
    deployment_id: DeploymentID

    def to_full_id_str(self):
        return f"SERVE_REPLICA::{self.deployment_id.app_name}#{self.deployment_id.name}#{self.unique_id}"


@dataclasses.dataclass
class RoutingContext:
    should_backoff: bool = False


@dataclasses.dataclass
class PendingRequest:
    args: List[Any]
    kwargs: Dict[str, Any]
    metadata: Any
    future: Any = dataclasses.field(default_factory=LOOP.create_future)
    routing_context: RoutingContext = dataclasses.field(default_factory=RoutingContext)

    def reset_future(self):
        self.future = LOOP.create_future()


def request(*args, request_id="r", adapter="", **kwargs):
    metadata = types.SimpleNamespace(request_id=request_id, internal_request_id=f"in-{request_id}",
                                     multiplexed_model_id=adapter)
    return PendingRequest(list(args), kwargs, metadata)


class RunningReplica:
    """A replica that knows its load; the router learns it from refusals and probes."""

    def __init__(self, name, deployment=DeploymentID("model"), max_ongoing_requests=4):
        self.replica_id = ReplicaID(name, deployment)
        self.node_id, self.availability_zone = "node-1", None
        self.multiplexed_model_ids, self.routing_stats = set(), {}
        self.max_ongoing_requests, self.ongoing = max_ongoing_requests, 0

    def __repr__(self):
        return self.replica_id.unique_id


class QueueLenCache:
    def __init__(self):
        self.lengths = {}

    def get(self, replica_id):
        return self.lengths.get(replica_id)


class LocalityMixin:
    def __init__(self, *args, prefer_local_node_routing=False, **kwargs):
        super().__init__(*args, **kwargs)


class MultiplexMixin:
    pass


class RequestRouter:
    def __init__(self, deployment_id, use_replica_queue_len_cache=True, **_):
        self._deployment_id = deployment_id
        self._use_replica_queue_len_cache = use_replica_queue_len_cache
        self._replicas = {}
        self.replica_queue_len_cache = QueueLenCache()
        self.sleeps = self.probes = 0
        self._results = []  # (metadata, result): Ray holds these until they end

    def update_replicas(self, replicas):
        for replica in replicas:  # Serve asks new ones for their queue length
            if replica.replica_id not in self._replicas:
                self.replica_queue_len_cache.lengths[replica.replica_id] = replica.ongoing
        self._replicas = {r.replica_id: r for r in replicas}

    def on_replica_actor_died(self, replica_id):
        self._replicas.pop(replica_id, None)

    def on_request_routed(self, pending_request, replica_id, result):
        pass

    def on_request_completed(self, replica_id, internal_request_id):
        pass

    # What Serve does around the router.

    async def choose(self, pending: Optional[PendingRequest]) -> RunningReplica:
        """The loop of one routing task."""
        for attempt in range(ROUNDS_MAX):
            for rank in await self.choose_replicas(list(self._replicas.values()), pending):
                replica = self._select(rank)
                if replica is not None:
                    return replica
            if not pending.routing_context.should_backoff:
                continue
            if attempt > 0:
                self.sleeps += 1
                self.on_sleep()
        raise AssertionError(f"no replica after {ROUNDS_MAX} rounds and {self.sleeps} sleeps")

    def on_sleep(self):
        pass

    def _select(self, rank):
        cache = self.replica_queue_len_cache.lengths if self._use_replica_queue_len_cache else {}
        room = [r for r in rank
                if cache.get(r.replica_id, r.max_ongoing_requests) < r.max_ongoing_requests]
        if not room and rank:
            self.probes += 1
            cache.update({r.replica_id: r.ongoing for r in rank})
            room = [r for r in rank if r.ongoing < r.max_ongoing_requests]
        return min(room, key=lambda r: cache[r.replica_id], default=None)

    async def pick(self, pending):
        """Gives a request its replica. Whoever waits for that goes on before other callbacks."""
        replica = await self.choose(pending)
        pending.future.set_result(replica)
        return replica

    async def send(self, pending, completed_late=False):
        """Routes a request until a replica takes it; done() ends it. Ray hears in a thread of its
        own that an attempt came to its end, so the router may hear it late."""
        cache = self.replica_queue_len_cache.lengths
        ended = []
        while True:
            replica = await self.pick(pending)
            accepted = replica.ongoing < replica.max_ongoing_requests
            replica.ongoing += accepted
            await asyncio.sleep(0)  # the replica answers
            if not self._use_replica_queue_len_cache:
                return replica
            cache[replica.replica_id] = replica.ongoing
            if accepted:
                self._results.append((pending.metadata, result := Result()))
                self.on_request_routed(pending, replica.replica_id, result)
                for one in ended:
                    self.completed(pending, one)
                return replica
            pending.reset_future()
            if completed_late:
                ended.append(replica)
            else:
                self.completed(pending, replica)

    def completed(self, pending, replica):
        if hasattr(RequestRouter, "on_request_completed"):
            self.on_request_completed(replica.replica_id, pending.metadata.internal_request_id)

    def done(self, pending, replica):
        """The answer came to its end."""
        replica.ongoing -= 1
        cache = self.replica_queue_len_cache.lengths
        if replica.replica_id in cache:
            cache[replica.replica_id] -= 1
        self.completed(pending, replica)
        for ended in [one for one in self._results if one[0] is pending.metadata]:
            self._results.remove(ended)
            ended[1].end()


def run(coroutine):
    return LOOP.run_until_complete(coroutine)


def settle():
    """Runs what is due."""
    run(asyncio.sleep(0))


class Result:
    """What a replica answers."""

    def __init__(self):
        self._callbacks = []

    def add_done_callback(self, callback):
        self._callbacks.append(callback)

    def end(self):
        for callback in self._callbacks:
            callback(None)
