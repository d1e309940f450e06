"""Replicas of our own engines on a Ray cluster, behind the engine contract: more than one machine for one stream.

One plain Ray actor per replica (:mod:`.replica`) opens an engine of ``ENGINES`` on its node; this side deals requests
(:mod:`.desk`), yields each answer as it arrives and alone ever sees the store. ``ray.data`` is not used: its
actor pool waited for ever for actors that a lost node had taken along, and hands results back in blocks.

- **Lost replicas are given up**, never restarted or waited for; what they held goes to the others.
- **Back-pressure**: a replica holds a bounded number of requests, and no more are pulled from the caller.
- **Nothing twice**: an answer counts only while its replica owes it; what a replica given up still sends is not read.
- No telemetry, no dashboard, no secrets: actors see their node's environment, not the driver's.

Whoever can reach a Ray port can run code there: see docs/cluster.md.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.ray.desk import Desk, Seat
from llmhar.ask.engines.ray.replica import Replica
from llmhar.ask.engines.registry import Options
from llmhar.ask.models import ModelSpec
from llmhar.records import Fingerprint, Generation, Request

log = logging.getLogger("llmhar.engines")
ADDRESS_VARIABLE = "LLMHAR_RAY_ADDRESS"
START_TIMEOUT_S = 3600.0
"""After which a replica that has not started is given up (weights come from a slow disk, other jobs hold the cards)."""
GRACE_S = 30.0
"""Least time that the first replica waits for the others: whoever comes later finds the requests dealt."""
CLOSE_S, KNOCK_S = 15.0, 10.0
_ON_GPUS = ("auto", "vllm", "transformers")
_CURE = "see `ray status`, then run again: what is stored is not asked again"
_users = 0  # open engines of this process that share the connection made here; nobody else's is ever closed


class Place(NamedTuple):
    """Where one replica goes."""

    node: str
    """Ray's node id."""
    host: str
    gpus: int


class RayEngine:
    """An existing Ray cluster behind the engine contract. One ``stream`` at a time."""

    def __init__(self, model: ModelSpec, options: Options, *, replica: type[Replica] = Replica) -> None:
        """Connect, start the replicas and wait for them.

        Args:
            model: what to serve; each node looks for the weights in its own cache.
            options: ``ray_address``, ``replicas`` and ``replica_engine``; the rest goes to each replica's engine. Paths
                (adapters, replies) must be the same on every node.
            replica: what becomes an actor; for tests.

        Raises:
            EngineError: no Ray, no cluster, no room, or no replica could start.
        """
        global _users
        if options.replica_engine in ("ray", "openai"):
            raise EngineError(f"replica_engine={options.replica_engine} makes no sense on a cluster; leave it out")
        self._ray, self._mine = _connect(options.ray_address)
        _users += self._mine
        self._seats: list[Seat] = []
        self._calls: dict[Any, Seat] = {}
        self._starting: dict[Any, tuple[Any, Place, float]] = {}
        self._fingerprint: Fingerprint | None = None
        self._last_words, self._n_lost = "", 0
        self._session, self._streaming, self._closed = 0, False, False
        try:
            self._start(model, options, replica)
        except BaseException:
            self.close()
            raise

    def _start(self, model: ModelSpec, options: Options, replica: type[Replica]) -> None:
        engine, replica_options = _replica_engine(model, options)
        gpus = options.tensor_parallel_size if engine in _ON_GPUS else 0
        places = choose_places(self._ray.nodes(), options.replicas, gpus)
        remote = self._ray.remote(replica)
        pin = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        for place in places:
            # Bound to its node and never restarted: a restart elsewhere may wait for room that will never be there.
            actor = remote.options(
                num_cpus=1, num_gpus=place.gpus, max_restarts=0, max_task_retries=0, max_concurrency=2,
                scheduling_strategy=pin(place.node, soft=False),
            ).remote()  # fmt: skip
            call = actor.open.remote(model.model_dump_json(), options.replica_engine, replica_options)
            self._starting[call] = (actor, place, time.monotonic())
        begun, deadline = time.monotonic(), math.inf
        while self._starting and time.monotonic() < deadline:
            self._admit_ready(timeout=1.0)
            if self._seats and deadline == math.inf:  # the others get as long again
                now = time.monotonic()
                deadline = now + max(GRACE_S, now - begun)
        if not self._seats:
            raise EngineError(f"no replica could start on the {len(places)} places of this cluster: {self._last_words}")
        log.info("ray: %d replicas of %s, %d still starting", len(self._seats), self._fingerprint, len(self._starting))

    def _admit_ready(self, timeout: float) -> None:
        ready, _ = self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=timeout)
        for call in ready:
            self._admit(call)
        late = time.monotonic() - START_TIMEOUT_S
        for call in [call for call, (_, _, since) in self._starting.items() if since < late]:
            actor, place, _ = self._starting.pop(call)
            self._give_up(actor, place.host, f"did not start within {START_TIMEOUT_S:.0f} s")

    def _admit(self, call: Any) -> None:
        """Seat a replica that has started, if its answers may stand beside the others'."""
        actor, place, _ = self._starting.pop(call)
        try:
            opened = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            return self._give_up(actor, place.host, _words(error))
        made_by = Fingerprint(**opened["fingerprint"])
        self._fingerprint = self._fingerprint or made_by
        if made_by != self._fingerprint:  # one pass of the store has one fingerprint
            why = f"answers as {made_by}, the others as {self._fingerprint}; give all nodes the same hardware and lock"
            return self._give_up(actor, place.host, why)
        # A quarter, at least 32, waits in the replica while answers travel, so that its engine is never starved.
        room = opened["in_flight"] + max(32, opened["in_flight"] // 4)
        self._seats.append(Seat(room, actor, opened["host"]))

    def _give_up(self, actor: Any, host: str, why: str) -> None:
        self._last_words, self._n_lost = why, self._n_lost + 1
        log.warning("ray: replica on %s given up: %s", host, why)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)

    def fingerprint(self) -> Fingerprint:
        """That of the replicas' engine: an answer is the same whichever machine the engine ran on."""
        assert self._fingerprint is not None
        return self._fingerprint

    @property
    def hosts(self) -> list[str]:
        """Hosts of the replicas that answer now, one entry each."""
        return [seat.host for seat in self._seats]

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer all requests, each as soon as it is ready; a dropped stream cancels what is in flight."""
        if self._streaming:
            raise RuntimeError("this engine is already answering another stream")
        self._streaming, self._session = True, self._session + 1
        desk = Desk(requests)
        try:
            while True:
                desk.deal(self._seats)
                self._send()
                if not self._seats and not self._starting:
                    yield from desk.rest(self._obituary())
                    return
                if not self._calls and desk.empty:
                    return
                yield from self._receive(desk)
        finally:
            self._streaming = False
            self._drop()

    def _send(self) -> None:
        """Each replica has one call under way as long as it holds anything."""
        waited_for = {id(seat) for seat in self._calls.values()}
        for seat in self._seats:
            if seat.held and id(seat) not in waited_for:
                given = [(number, request_json(request)) for number, request in seat.take_unsent()]
                self._calls[seat.actor.exchange.remote(self._session, given)] = seat

    def _receive(self, desk: Desk) -> Iterator[Generation]:
        # Oldest call first, so that none is passed over for ever; a replica that is starting must not hold others up.
        ready, _ = self._ray.wait([*self._calls, *self._starting], num_returns=1, timeout=60.0)
        for call in ready:
            if call in self._starting:
                self._admit(call)
                continue
            seat = self._calls.pop(call)
            try:
                done = self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                yield from self._lose(seat, desk, _words(error))
                continue
            for number, fields in done:
                if desk.answered(seat, number):
                    yield Generation(**fields)
        if not ready and self._starting:
            self._admit_ready(timeout=0)

    def _lose(self, seat: Seat, desk: Desk, why: str) -> list[Generation]:
        """Give a replica up and hand on what it held."""
        self._seats.remove(seat)
        self._give_up(seat.actor, seat.host, why)
        return desk.lost(seat, why)

    def _obituary(self) -> str:
        if self._closed:
            return "the ray engine was closed"
        return f"all {self._n_lost} replicas are lost, the last: {self._last_words}; {_CURE}"

    def _drop(self) -> None:
        self._calls.clear()
        for seat in self._seats:
            if seat.held:
                seat.actor.drop.remote(self._session)
                seat.clear()

    def close(self) -> None:
        """End the replicas and, if nobody else uses it, the connection; the cluster stays."""
        global _users
        if self._closed:
            return
        self._closed = True
        actors = [seat.actor for seat in self._seats] + [actor for actor, _, _ in self._starting.values()]
        ends = [seat.actor.close.remote() for seat in self._seats]
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.wait(ends, num_returns=len(ends), timeout=CLOSE_S) if ends else None
        for actor in actors:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self._seats, self._starting = [], {}
        _users -= self._mine
        if self._mine and not _users:
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _connect(address: str | None) -> tuple[Any, bool]:
    """Ray, and whether the connection is ours to close.

    Raises:
        EngineError: Ray is not installed, no address, or nobody answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise EngineError('engine ray needs Ray: pip install "ray[default]==2.60.0" on every node') from error
    if ray.is_initialized():
        return ray, _users > 0
    target = address or os.environ.get(ADDRESS_VARIABLE) or os.environ.get("RAY_ADDRESS")
    if not target:
        raise EngineError(
            f"engine ray needs a running cluster: --address HOST:6379 (or {ADDRESS_VARIABLE}), or --address auto on a "
            "node of it; docs/cluster.md tells how to start one"
        )
    _knock(target)
    try:
        ray.init(address=target, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        words = " ".join(str(error).split())[:200]
        raise EngineError(f"no Ray cluster at {target}: {words}; is it up (ray status), and its Ray 2.60?") from error
    return ray, True


def _knock(target: str) -> None:
    """See whether anybody listens at HOST:PORT: Ray itself tries for minutes.

    Raises:
        EngineError: nobody does.
    """
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
        except OSError as error:
            raise EngineError(f"no Ray cluster answers at {target} ({error}); is it up (ray status)?") from error


def _replica_engine(model: ModelSpec, options: Options) -> tuple[str, dict[str, Any]]:
    """The engine that a replica will take, as far as known here, and its options ready for the journey."""
    engine = options.replica_engine
    if engine == "auto" and model.engine != "auto":
        engine = model.engine
    changed = {name: value for name, value in asdict(options).items() if value != getattr(Options(), name)}
    for name in ("ray_address", "replicas", "replica_engine", "stays"):
        changed.pop(name, None)
    if "adapters" in changed:
        changed["adapters"] = [str(Path(adapter).absolute()) for adapter in options.adapters]
    if options.replies is not None:
        changed["replies"] = str(Path(options.replies).absolute())
    return engine, changed


def request_json(request: Request) -> dict[str, Any]:
    """A request for the journey: its adapter's path must not depend on this process's folder."""
    fields = request.to_json()
    if request.adapter_path:
        fields["adapter_path"] = str(Path(request.adapter_path).absolute())
    return fields


def choose_places(nodes: Sequence[Mapping[str, Any]], replicas: int | None, gpus: int) -> list[Place]:
    """Which nodes get replicas, in turn.

    Args:
        nodes: what ``ray.nodes()`` says.
        replicas: how many; None = one a node, or as many as its cards hold where there are cards.
        gpus: cards of one replica where the cluster has any; 0 = an engine that needs none.

    Raises:
        EngineError: no node has room, or not for so many.
    """
    alive = sorted((node for node in nodes if node["Alive"]), key=lambda n: (n["NodeManagerAddress"], n["NodeID"]))
    cards = gpus if any(node["Resources"].get("GPU", 0) >= 1 for node in alive) else 0
    room = {}
    for node in alive:  # each replica also takes one of Ray's CPUs; a head node is often started with none
        n = int(node["Resources"].get("CPU", 0))
        room[node["NodeID"]] = min(n, int(node["Resources"].get("GPU", 0)) // cards) if cards else n
    total = sum(room.values())
    if not total:
        need = f"{cards} cards on one node" if cards else "a CPU"
        raise EngineError(f"no node of this cluster offers {need} to a replica; see `ray status`")
    n_replicas = replicas if replicas is not None else total if cards else sum(n > 0 for n in room.values())
    if not 1 <= n_replicas <= total:
        raise EngineError(f"replicas={n_replicas}, but this cluster has room for {total}; choose 1 to {total}")
    places: list[Place] = []
    while len(places) < n_replicas:
        for node in alive:
            if room[node["NodeID"]] and len(places) < n_replicas:
                room[node["NodeID"]] -= 1
                places.append(Place(node["NodeID"], node["NodeManagerAddress"], cards))
    return places


def _words(error: Exception) -> str:
    """An error of Ray in one line: what our own code said, else its first lines without the traceback."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return " ".join(str(cause).split())[:400]
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
