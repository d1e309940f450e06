"""Claims of "Scale": two Ray nodes on this machine; `python -m tests.bench.scale` prints them, `make bench` has them.

Two raylets, dashboard off, object stores of 100 MiB. Both share this machine's cores, so only latency-bound work can
show that two nodes do twice as much: the recorded engine sleeps before each answer. Each check takes any engine, so
that tests/ask/engines/ray/test_engine.py can plant a fault and see it fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.registry import Options
from llmhar.ask.inference import run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask, Store
from llmhar.records import Fingerprint, Generation, Request
from tests.bench.verdicts import Claim, at_least, at_most, exactly, exit_code, not_measured, table_text

# Ray's ports are open to the network, and who reaches them may run code: a token of this run's own. Ray reads these
# once, when it is imported.
if "ray" not in sys.modules:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

MODEL = ModelSpec(name="recorded", kind="recorded", engine="recorded")
SPEEDUP, GROWTH_MIB = 1.8, 32
"""Figures: issue "Proof"; "flat" is put as a number here: growth after the first tenth of the answers."""
SYSTEM = "Label each sensor event with one activity. " * 40
NODE = {"num_cpus": 4, "object_store_memory": 100 * 2**20, "include_log_monitor": False}
HEAD = {**NODE, "include_dashboard": False, "no_monitor": True}
_CALM = {"prestart_worker_first_driver": False, "enable_worker_prestart": False, "agent_register_timeout_ms": 120_000}
"""Ray starts idle Python processes, one a CPU, ahead of need, and gives up where its own are slow to start: in the way
on two cores."""


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """Two raylets; yields Ray's Cluster, whose nodes can be added and removed. This process is not connected to it."""
    import ray
    from ray._private import utils
    from ray.cluster_utils import Cluster

    # Each raylet starts a metrics agent that imports the dashboard's packages, 15 s and more on busy cores, and dies if
    # that is slow. Told that they are missing (as with plain `ray`), it starts the small agent.
    utils.get_dashboard_dependency_error = lambda: ImportError("not wanted here")
    cluster = Cluster()
    try:
        _add_patiently(cluster, **HEAD, _system_config=_CALM)
        _add_patiently(cluster, **NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def _add_patiently(cluster: Any, **node: Any) -> None:
    """Add a node; a raylet gives its helpers 15 s to start, which is short where other work keeps the cores busy."""
    for left in (2, 1, 0):
        try:
            cluster.add_node(**node)
            return
        except Exception:  # Ray raises just this
            if not left:
                raise


def open_ray(address: str, replies: Path, replicas: int = 2) -> Engine:
    """The recorded engine in replicas."""
    from llmhar.ask.engines.ray.engine import RayEngine

    return RayEngine(MODEL, Options(ray_address=address, replicas=replicas, replies=replies))


def write_replies(folder: Path, delay_s: float = 0.0) -> Path:
    """A file of the recorded engine that answers anything."""
    path = folder / f"replies-{delay_s}.jsonl"
    path.write_text(json.dumps({"default": True, "text": '[{"id":0,"activity":"Cooking"}]', "delay_s": delay_s}) + "\n")
    return path


def ask(n: int) -> Request:
    """The n-th window; its static text is shared in memory, as a task's is."""
    window = f"{n}. at 12:30:45, kitchen stove wattmeter switched on; " * 4
    return Request("m", "r", "", ({"role": "system", "content": SYSTEM}, {"role": "user", "content": window}))


class Watched:
    """An engine looked over the shoulder: counts its answers, and calls somebody at each."""

    def __init__(self, engine: Engine, at: Callable[[int], None]) -> None:
        self.engine, self.at = engine, at
        self.answers: Counter[str] = Counter()

    def fingerprint(self) -> Fingerprint:
        return self.engine.fingerprint()

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for number, generation in enumerate(self.engine.stream(requests), start=1):
            self.answers[generation.request_key] += 1
            self.at(number)
            yield generation

    def close(self) -> None:
        """Whoever opened the engine closes it."""

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *exc: object) -> None:
        """As :meth:`close`."""


def speedup(open_with: Callable[[int], Engine], n: int = 80, rounds: int = 3) -> Claim:
    """Two nodes against one, in turns, on the same cluster.

    Args:
        open_with: engine with so many replicas, each on a node of its own.
        n: requests a round.
        rounds: pairs of runs.
    """
    with open_with(1) as one, open_with(2) as two:
        ratios = []
        for number in range(rounds):
            requests = [ask(number * n + i) for i in range(n)]
            ratios.append(_seconds(one, requests) / _seconds(two, requests))
    spread = f"median of {rounds} pairs, {min(ratios):.2f} to {max(ratios):.2f}; {n} requests a run, recorded engine"
    return at_least("two nodes against one, latency-bound engine", SPEEDUP, statistics.median(ratios), "×", why=spread)


def _seconds(engine: Engine, requests: list[Request]) -> float:
    start = time.perf_counter()
    done = list(engine.stream(iter(requests)))
    if len(done) != len(requests) or not all(generation.ok for generation in done):
        raise RuntimeError(f"not every request was answered: {[g.error for g in done if not g.ok][:1]}")
    return time.perf_counter() - start


def survival(engine: Engine, hurt: Callable[[], None], folder: Path, *, n: int = 120, limit_s: float = 60.0,
             what: str = "a node killed in mid-run") -> list[Claim]:  # fmt: skip
    """Lose something after a third of the answers: does the run end, with each answer once, and only that stored?

    Args:
        engine: runs in a thread of its own, as a run that waits for ever must be seen.
        hurt: what is done to it.
        folder: for the store.
        n: requests.
        limit_s: seconds that the whole run may take.
        what: for the table.
    """
    asks = [Ask("bench", "s", i, MODEL.name, ask(i)) for i in range(n)]
    watched = Watched(engine, lambda number: hurt() if number == n // 3 else None)
    path, failed = folder / f"survival-{time.monotonic_ns()}.sqlite", []

    def work() -> None:
        try:
            with Store(path) as store:
                run_asks(asks, MODEL, store, asking=Asking(progress=False, open_with=lambda: watched))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    start = time.perf_counter()
    thread.start()
    thread.join(limit_s)
    seconds = limit_s + 1 if thread.is_alive() else time.perf_counter() - start
    with Store(path) as store:
        counts = store.counts()
    doubles = sum(count - 1 for count in watched.answers.values())
    ended = (
        f"still waiting after {limit_s:.0f} s" if thread.is_alive() else f"{n} requests; {failed or ''}".rstrip("; ")
    )
    return [
        at_most(f"{what}: the run ends", limit_s, seconds, "s", why=ended),
        exactly(f"{what}: answers lost", 0, n - counts["successes"], why=f"{counts['failures']} failures in the store"),
        exactly(f"{what}: answers given or stored twice", 0, doubles + max(0, counts["successes"] - n)),
    ]


def flat_memory(engine: Engine, folder: Path, n: int = 100_000) -> Claim:
    """Driver memory while n windows pass through it into the store; the requests themselves are there beforehand.

    What does grow are the keys of answers had, which ``run_asks`` and :class:`Watched` keep (some 150 bytes each).
    """
    process, sizes = psutil.Process(), []

    def sample(number: int) -> None:
        if number >= n // 10 and number % max(1, n // 100) == 0:
            sizes.append(process.memory_info().rss / 2**20)

    asks = [Ask("bench", "s", i, MODEL.name, ask(i)) for i in range(n)]
    with Store(folder / f"memory-{time.monotonic_ns()}.sqlite") as store:
        done = run_asks(asks, MODEL, store, asking=Asking(progress=False, open_with=lambda: Watched(engine, sample)))
        stored = store.counts()["successes"]
    if stored != n:
        return Claim(
            f"driver memory over {n:,} windows", f"≤ {GROWTH_MIB} MiB", "–", "not measured", f"{stored} stored"
        )
    why = (f"most after the first tenth of the answers, less what it was then ({sizes[0]:,.0f} MiB with all requests); "
           f"{n / done.engine_seconds:,.0f} windows/s into the store")  # fmt: skip
    return at_most(f"driver memory: growth over {n:,} windows", GROWTH_MIB, max(sizes) - sizes[0], "MiB", why=why)


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of Scale; ``quick``: of a tenth of the windows."""
    return claims_of(10_000 if quick else 100_000)


def claims_of(n: int) -> list[Claim]:
    """All claims on two fresh nodes, that of memory over ``n`` windows; without Ray none is measured."""
    try:
        import ray  # noqa: F401
    except ImportError:
        why = 'Ray is not installed: pip install "ray[default]==2.60.0"'
        return [not_measured("two nodes against one, latency-bound engine", f"≥ {SPEEDUP} ×", why),
                not_measured("a node killed in mid-run: answers lost or doubled", "= 0", why),
                not_measured(f"driver memory: growth over {n:,} windows", f"≤ {GROWTH_MIB} MiB", why)]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, two_nodes() as cluster:
        folder, address = Path(scratch), cluster.address
        swift, slow = write_replies(folder), write_replies(folder, 0.05)
        found = [speedup(lambda replicas: open_ray(address, slow, replicas))]
        with open_ray(address, swift) as engine:
            found.append(flat_memory(engine, folder, n))
        with open_ray(address, slow) as engine:
            found += survival(engine, lambda: remove_a_node(cluster), folder)
    return found


def remove_a_node(cluster: Any) -> None:
    """End the node that is not the head by SIGKILL, as a power cut does."""
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)


def main() -> int:
    """Print the table; an argument is the number of windows of the memory claim."""
    found = claims_of(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(table_text(found))
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
