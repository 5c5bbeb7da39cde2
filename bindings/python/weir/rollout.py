"""Rollouts of reinforcement learning: sessions that stay on their server, groups of equal prompts
that share one prefill, and caches that a weight update empties.

    rollouts = weir.rollout.Rollouts(router)
    for rollout in rollouts.begin_group(8, model="policy", tokens=prompt_ids):
        ...send to rollout.address...
        rollout.complete(prompt_tokens=812, output_tokens=97)
    rollouts.weights_updated()
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import weir

__all__ = ["Rollout", "Rollouts"]

SESSIONS_MAX = 1 << 16  # sessions that are remembered; the one unused for longest goes first
PER_ENDPOINT = 8  # rollouts of a group that go to one server


class Rollout:
    """One generation, in flight on its server until complete() or fail(). As a context manager it
    fails if the block ends without complete()."""

    def __init__(self, decision: weir.Decision, flight: weir.Flight,
                 session: str | None = None) -> None:
        self.decision, self.session = decision, session
        self._flight = flight

    @property
    def endpoint(self) -> str:
        """The server's name."""
        return str(self.decision.endpoint)

    @property
    def address(self) -> str:
        """Where to send it: "host:port"."""
        return str(self.decision.address)

    def first_token(self) -> None:
        self._flight.first_token()

    def complete(self, *, prompt_tokens: int = -1, cached_tokens: int = -1,
                 output_tokens: int = -1) -> None:
        """Ends it with what the server counted, -1 where it did not say."""
        self._flight.finish(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens,
                            output_tokens=output_tokens)

    def fail(self) -> None:
        """Ends it as failed: what it would have left in the server's cache is not counted on."""
        self._flight.finish(end="failed")

    def __enter__(self) -> Rollout:
        return self

    def __exit__(self, *_: Any) -> None:
        self.fail()

    def __repr__(self) -> str:
        return f"Rollout({self.endpoint!r}, session={self.session!r})"


class Rollouts:
    """Places rollouts with a router, whose pool the caller keeps. One thread at a time."""

    def __init__(self, router: weir.Router, *, sessions_max: int = SESSIONS_MAX) -> None:
        if sessions_max < 1:
            raise ValueError(f"sessions_max {sessions_max}: expected 1 or more")
        self.router = router
        self._sessions_max = sessions_max
        self._sessions: OrderedDict[str, str] = OrderedDict()  # to the server's address

    def __len__(self) -> int:
        """Sessions that are remembered."""
        return len(self._sessions)

    def begin(self, *, session: str | None = None, **request: Any) -> Rollout:
        """Places one rollout; `request` is what Router.decide() takes. A session goes where its
        first rollout went, as long as that server is in the pool. Raises as decide() does."""
        decision = None
        if session is not None and session in self._sessions:
            self._sessions.move_to_end(session)
            try:
                decision = self.router.decide(**request, subset=[self._sessions[session]])
            except (weir.UnavailableError, weir.ExhaustedError):
                pass  # its server left, or takes nothing now
        if decision is None:
            decision = self.router.decide(**request)
        return self._begun(decision, session)

    def begin_group(self, count: int, *, per_endpoint: int = PER_ENDPOINT,
                    sessions: Sequence[str] | None = None, **request: Any) -> list[Rollout]:
        """Places `count` rollouts of one prompt: up to `per_endpoint` of them go to one server,
        which computes the prompt once; the next ones are placed in the knowledge of these.
        `sessions`: a name for each. All are placed, or none."""
        if count < 0 or per_endpoint < 1:
            raise ValueError(f"count {count}, per_endpoint {per_endpoint}: expected 0, 1 or more")
        if sessions is not None and len(sessions) != count:
            raise ValueError(f"sessions: {len(sessions)} names, expected {count}")
        begun: list[Rollout] = []
        try:
            while len(begun) < count:
                decision = self.router.decide(**request)
                for _ in range(min(per_endpoint, count - len(begun))):
                    begun.append(self._begun(decision, sessions[len(begun)] if sessions else None))
        except BaseException:
            _fail_all(begun)
            raise
        return begun

    def begin_batch(self, requests: Iterable[Mapping[str, Any]]) -> list[Rollout]:
        """Places many prompts with Router.decide_batch(), as many at once as there are servers, so
        that no decision is blind to more than one rollout for each. All are placed, or none."""
        waiting = list(requests)
        begun: list[Rollout] = []
        try:
            for part in _parts(waiting, max(1, len(self.router.pool))):
                for decision in self.router.decide_batch(part):
                    if isinstance(decision, Exception):
                        raise decision
                    begun.append(self._begun(decision, None))
        except BaseException:
            _fail_all(begun)
            raise
        return begun

    def end_session(self, session: str) -> None:
        """Forgets a session; the next rollout of that name is placed anew."""
        self._sessions.pop(session, None)

    def weights_updated(self, names: Iterable[str] | None = None) -> None:
        """Servers with new weights (None: all) hold no prefix any more, and nothing in flight.
        Sessions stay. Raises weir.NotFoundError for a name that is not in the pool."""
        for name in list(self.router.pool if names is None else names):
            self.router.pool.invalidate(name)

    def _begun(self, decision: weir.Decision, session: str | None) -> Rollout:
        if session is not None:
            self._sessions[session] = decision.address
            self._sessions.move_to_end(session)
            while len(self._sessions) > self._sessions_max:
                self._sessions.popitem(last=False)
        return Rollout(decision, self.router.begin(decision), session)


def _parts(items: list[Any], count: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), count):
        yield items[start:start + count]


def _fail_all(begun: list[Rollout]) -> None:
    for rollout in begun:
        rollout.fail()
