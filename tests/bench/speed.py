"""Rates of the library's own code on this machine: ``make bench ONLY=speed``. Exit code 1 if a figure is missed.

Judged is the best of some runs by the clock: timings on shared cores are noisy, and the claim is about the code. Each
row also says the spread, the processor time of the best run (where the two differ, the machine was busy) and the most
memory that Python held for the step. Figures: issue "Spine", must show 7, and shared/anchors.md §2.3.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmhar.ask.inference import make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Ask, Store
from llmhar.ask.task import prepare
from llmhar.data import registry as datasets
from llmhar.data import simulated
from llmhar.records import Fingerprint, Generation, Request
from llmhar.scaling.planner.plan import make_plan
from llmhar.score.f1 import score_session
from llmhar.score.stats import clustered_interval
from llmhar.text.parsing import parse_answer
from tests.bench.verdicts import Claim, at_least, at_most, exit_code, not_measured, table_text, tally

ORDONEZ = Path(__file__).parents[3] / "shared" / "data" / "ordonez"
"""Real files that are no part of the repository."""


class Timed(NamedTuple):
    """Some runs of the same work."""

    n: int
    """Things done in one run."""
    seconds: tuple[float, ...]
    """Of each run, by the clock."""
    processor: float
    """Seconds of processor time of the quickest run."""
    peak: int
    """Most bytes that Python held at once beyond what was there before, in a further run that is not timed."""

    @property
    def best(self) -> float:
        """Seconds of the quickest run."""
        return min(self.seconds)

    def told(self, unit: str = "s", scale: float = 1.0) -> str:
        """How it was measured, for a table."""
        return (
            f"{spread([one * scale for one in self.seconds], unit)} for {self.n:,}, processor "
            f"{self.processor * scale:,.3g} {unit}; memory {self.peak / 2**20:.2f} MiB"
        )


def spread(values: Sequence[float], unit: str, what: str = "runs") -> str:
    """How far several measurements lie apart, for a table."""
    if len(values) == 1:
        return f"1 run: {values[0]:,.3g} {unit}"
    return f"best of {len(values)} {what}: {min(values):,.3g} to {max(values):,.3g} {unit}"


def timed(work: Callable[[], int], runs: int = 3) -> Timed:
    """Time some work.

    Args:
        work: does it all and returns how many things were done.
        runs: how often.
    """
    found = []
    for _ in range(runs):
        start, busy = time.perf_counter(), time.process_time()
        n = work()
        found.append((time.perf_counter() - start, time.process_time() - busy))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return Timed(n, tuple(seconds for seconds, _ in found), min(found)[1], peak)


def rate_claim(claim: str, least: float, unit: str, work: Callable[[], int], runs: int = 3) -> Claim:
    """At least so many things a second.

    Args:
        claim: for the table.
        least: the figure.
        unit: of what is counted.
        work, runs: see :func:`timed`.
    """
    done = timed(work, runs)
    why = f"{done.told()}; by processor time {done.n / done.processor:,.0f} {unit}/s"
    return at_least(claim, least, done.n / done.best, f"{unit}/s", why=why)


def loader_claims(home: Path, runs: int = 3) -> list[Claim]:
    """Events a second, of MuRAL's format and of UCI's real files."""
    name = "load events (UCI ADL, real files)"
    load = lambda dataset, folder: lambda: datasets.load(dataset, folder).report.n_events  # noqa: E731
    return [
        rate_claim("load events (MuRAL's format)", 50_000, "events", load("simulated", home), runs),
        rate_claim(name, 50_000, "events", load("uci_adl", ORDONEZ), runs) if ORDONEZ.is_dir()
        else not_measured(name, "≥ 50,000 events/s", "the files are not here (../shared/data/ordonez)"),
    ]  # fmt: skip


def prompt_claim(home: Path, runs: int = 3) -> Claim:
    """Windows a second that get a prompt and its request key."""
    task, model = prepare("simulated", home), MODELS["rules"]
    work = lambda: len([ask.request.key for _ in range(10) for ask in make_asks(task, model)])  # noqa: E731
    return rate_claim("build prompts with request keys", 5_000, "windows", work, runs)


LABELS = {i: f"activity number {i}" for i in range(27)}


def make_answers(n: int, labels: Mapping[int, str] = LABELS) -> tuple[list[str], list[list[int]]]:
    """Answers with a reasoning of usual length, and the truth that they mostly meet."""
    dice, numbers = random.Random(0), list(labels)
    reasoning = "Event 3: the kitchen induction stove wattmeter turned OFF in the evening indicates cooking. " * 10
    texts, truth = [], []
    for _ in range(n):
        answer = dice.choices(numbers, k=10)
        items = [{"id": i, "activity": labels[a]} for i, a in enumerate(answer)]
        texts.append(f"<think>\n{reasoning}\n</think>\n\n{json.dumps(items)}")
        truth.append([a if dice.random() < 0.7 else dice.choice(numbers) for a in answer])
    return texts, truth


def parse_claim(n: int = 5000, runs: int = 3) -> Claim:
    """Answers a second that are read and scored, in sessions of 40 windows."""
    texts, truth = make_answers(n)

    def work() -> int:
        for first in range(0, n, 40):
            own = texts[first : first + 40]
            guess = [p.label for text in own for p in parse_answer(text, 10, LABELS).predictions]
            score_session(str(first), [t for window in truth[first : first + 40] for t in window], guess, LABELS)
        return n

    return rate_claim("parse and score answers", 20_000, "answers", work, runs)


def look_up_claim(path: Path, n: int = 10_000, runs: int = 3) -> Claim:
    """Milliseconds of a single look-up in a store of n answers."""
    with Store(path) as store:
        requests = [Request("m", "r", "", ({"role": "user", "content": str(i)},)) for i in range(n)]
        store.note_asks(Ask("d", "s", i, "m", request) for i, request in enumerate(requests))
        for request in requests:
            store.add(Generation(request.key, "x" * 500, "stop"), Fingerprint("bench", "1", "", ""))
        done = timed(lambda: len([store.find([request.key]) for request in requests[:1000]]), runs)
    return at_most(f"look-up in a store of {n:,}", 1, 1000 * done.best / done.n, "ms", why=done.told("ms", 1000))


def bootstrap_claim(runs: int = 3) -> Claim:
    """Seconds of 10,000 resamples of the sessions of six models."""
    dice = random.Random(0)
    scores = [[dice.random() for _ in range(21)] for _ in range(6)]
    done = timed(lambda: len([clustered_interval(own, range(21), n_resamples=10_000) for own in scores]), runs)
    return at_most("10,000 bootstraps of 21 sessions × 6 models", 2, done.best, "s", why=done.told())


def plan_claim(runs: int = 3) -> Claim:
    """Seconds to plan the whole paper."""
    done = timed(lambda: len(make_plan("paper", "a100-80").rows), runs)
    tried = "cards read once, not sixteen times; left: 40 made-up days, of whose prompts tokens are counted"
    return at_most("plan the paper's jobs", 1, done.best, "s", why=f"the figure is ours; {done.told()}", tried=tried)


def claims(*, quick: bool = False) -> list[Claim]:
    """All rates; ``quick``: best of one run instead of five."""
    runs = 1 if quick else 5
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        simulated.write(home)
        return [
            *loader_claims(home, runs),
            prompt_claim(home, runs),
            parse_claim(runs=runs),
            look_up_claim(Path(scratch, "store.sqlite"), runs=runs),
            bootstrap_claim(runs),
            plan_claim(runs),
        ]


def main() -> int:
    """Print the table."""
    found = claims()
    load = os.getloadavg()[0]
    print(f"{table_text(found)}\n{tally(found)}; load of the machine {load:.1f} on {os.cpu_count()} threads")
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
