"""How time and memory grow with the number of windows: ``python -m tests.bench.growth`` prints the table.

10², 10³, 10⁴ and 10⁵ windows go through load → windows → prompts and keys → store → look-up → parse and score → tables,
each step on what the last one left. Per step, the slope of a least-squares line through log time (log memory) against
log windows: 1 is proportional, 2 is quadratic; the figure is 1.1 (issue "Proof"). A line through four points can hide
a bend at its end, so the slopes of the last decade alone have rows, too.

Time is processor time, since other work on shared cores must not decide; clock times stand beside it. Small sizes are
repeated, the quickest counts. Memory is the most that Python held at once beyond what the step was given (tracemalloc,
in a pass of its own, which is slow). Sessions are the simulated home's, repeated under other ids and clocks, so that
every window is a new question; the engine answers at once. Nothing here says how good an answer is.
"""

from __future__ import annotations

import csv
import gc
import os
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmhar.ask.asking import Asking
from llmhar.ask.inference import collect, make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data import registry as datasets
from llmhar.data import simulated
from llmhar.data.events import cut_windows
from llmhar.data.load_report import LoadReport
from llmhar.records import Fingerprint, Generation, Request
from llmhar.scaling import tables as scaling_tables
from llmhar.score import evaluate as evaluation
from llmhar.score import tables
from llmhar.text.prompt import PromptForm, build_prompt
from tests.bench.speed import make_answers
from tests.bench.verdicts import Claim, at_most, exit_code, table_text, tally

MOST, MOST_LAST = 1.1, 1.25
"""Slopes: the issue's figure, and ours for the last decade, which rests on two points."""
SIZES = (100, 1_000, 10_000, 100_000)
REPEATS = {100: 10, 1_000: 4, 10_000: 2}
"""Size -> how often it is timed; others once."""
PER_SESSION = 20
"""Windows of a session here."""
EVALUATE_S, EVALUATE_GB = 8, 4
"""Figures of issue "Fast": seconds for 10⁵ stored answers, gigabytes for 10⁶."""
TRIED = (
    "answers read once, page by page; a request's JSON put together once for all windows and its hash copied, "
    "clocks looked up (some 0.85 × in one run); items made as they are read (not shown to gain); garbage is 7 % of it"
)
"""To meet the seconds."""
KEPT = 512
"""Most bytes a window that storing may hold (ours): an answer has about 1,500, so a run that keeps answers is seen."""
LEAST_S, LEAST_BYTES = 1e-5, 1024
"""Less counts as this much: logarithms of next to nothing say nothing."""
Step = Callable[[Any], None]


# What is measured: the library's path.


class Journey:
    """n windows on their way; each step reads what the last one left."""

    def __init__(self, n: int, folder: Path) -> None:
        self.n, self.home = n, folder / f"home-{n}"
        if not self.home.is_dir():
            write_home(folder, n)
        (folder / "store.sqlite").unlink(missing_ok=True)
        self.store = Store(folder / "store.sqlite")

    def load(self) -> None:
        self.sessions = datasets.load("simulated", self.home).sessions

    def cut(self) -> None:
        windows = tuple(window for session in self.sessions for window in cut_windows(session))
        sessions = {session.session_id: session for session in self.sessions}
        prompts = {"simulated": build_prompt(self.sessions[0], PromptForm(answer="name"))}
        report = LoadReport("simulated", self.home)
        self.task = Task("simulated", "simulated", sessions, {}, windows, "name", "repeated", prompts, report)

    def ask(self) -> None:
        self.asks = make_asks(self.task, MODELS["rules"])
        assert len({ask.request.key for ask in self.asks}) == self.n, "the windows are not n different ones"

    def write(self) -> None:
        labels = self.sessions[0].labels
        run_asks(
            self.asks, MODELS["rules"], self.store, asking=Asking(progress=False, open_with=lambda: AtOnce(labels))
        )

    def look_up(self) -> None:
        self.answers = collect(self.asks, self.store)

    def read(self) -> None:
        self.result = tables.score_answers(self.task, MODELS["rules"], self.answers)

    def show(self) -> None:
        for table in (tables.score_table, tables.session_table, tables.verdict_table, scaling_tables.ledger_table):
            table([self.result])
        self.store.close()


STEPS: dict[str, Callable[[Journey], None]] = {
    "load": Journey.load,
    "windows": Journey.cut,
    "prompts and keys": Journey.ask,
    "store": Journey.write,
    "look-up": Journey.look_up,
    "parse and score": Journey.read,
    "tables": Journey.show,
}


class AtOnce:
    """An engine without model time: every answer is a new text, as a model's is."""

    def __init__(self, labels: Mapping[int, str]) -> None:
        self._texts = make_answers(50, labels)[0]

    def fingerprint(self) -> Fingerprint:
        return Fingerprint("made up", "1", "", "")

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for number, request in enumerate(requests):
            text = self._texts[number % len(self._texts)] + "\n"
            yield Generation(request.key, text, "stop", "", 900, 0, 420, 0.001)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *exc: object) -> None:
        """As :meth:`close`."""


def write_home(folder: Path, n_windows: int) -> None:
    """The simulated home as so many sessions of 20 windows, each repetition at other seconds of the day."""
    source, target = folder / "source", folder / f"home-{n_windows}"
    if not source.is_dir():
        simulated.write(source)
    target.mkdir()
    for file in source.glob("*.*"):
        shutil.copy(file, target)
    originals = [(own, _events(own / "data.csv")) for own in sorted(source.iterdir()) if own.is_dir()]
    for number in range(n_windows // PER_SESSION):
        own, (head, *rows) = originals[number % len(originals)]
        place, later = target / f"{number + 1:06}", 7 * (number // len(originals))
        place.mkdir()
        shutil.copy(own / "context.json", place)
        with open(place / "data.csv", "w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([head, *([row[0], _shifted(row[1], later), *row[2:]] for row in rows)])


def _events(file: Path) -> list[list[str]]:
    """Head and the first events of a session; notes without a sensor are left out."""
    head, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    return [head, *[row for row in rows if row[2]][: 10 * PER_SESSION]]


def _shifted(clock: str, seconds: int) -> str:
    hours, minutes, own = map(int, clock.split(":"))
    at = (hours * 3600 + minutes * 60 + own + seconds) % 86400
    return f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"


# How it is measured: any steps, any beginning.


class Cost(NamedTuple):
    """One step at one size."""

    processor: float
    """Seconds of processor time, of the quickest run."""
    seconds: float
    """By the clock, of the same run."""
    memory: int
    """Most bytes beyond what the step was given."""


def measure(steps: Mapping[str, Step], begin: Callable[[int], Any], sizes: Sequence[int],
            repeats: Mapping[int, int] = REPEATS) -> dict[str, dict[int, Cost]]:  # fmt: skip
    """Cost of each step at each size.

    Args:
        steps: name -> what is measured, in order, on one state.
        begin: size -> a new state; its making is not measured.
        sizes: rising; the first is run once beforehand, for imports and caches.
        repeats: size -> how often it is timed; others once.
    """
    _once(steps, begin(sizes[0]), _time)
    gc.collect()
    gc.freeze()  # what is there already is no step's: collections between steps need not go through it
    try:
        found = [(n, *_at(steps, begin, n, repeats.get(n, 1))) for n in sizes]
    finally:
        gc.unfreeze()
    return {name: {n: Cost(*times[name], peaks[name]) for n, times, peaks in found} for name in steps}


def _at(
    steps: Mapping[str, Step], begin: Callable[[int], Any], n: int, repeats: int
) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """Least time and memory of each step at one size."""
    times = [_once(steps, begin(n), _time) for _ in range(repeats)]
    tracemalloc.start()
    try:
        peaks = _once(steps, begin(n), _memory)
    finally:
        tracemalloc.stop()
    return {name: min(one[name] for one in times) for name in steps}, peaks


def _once(steps: Mapping[str, Step], state: Any, gauge: Callable[[Step, Any], Any]) -> dict[str, Any]:
    return {name: gauge(step, state) for name, step in steps.items()}


def _time(step: Step, state: Any) -> tuple[float, float]:
    gc.collect()
    busy, start = time.process_time(), time.perf_counter()
    step(state)
    return time.process_time() - busy, time.perf_counter() - start


def _memory(step: Step, state: Any) -> int:
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    step(state)
    return tracemalloc.get_traced_memory()[1] - before


def slope(values: Mapping[int, float]) -> float:
    """Of the least-squares line through log value against log size."""
    return float(np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)[0])


def last_decade(values: Mapping[int, float]) -> float:
    """Slope between the two largest sizes."""
    return slope(dict(list(values.items())[-2:]))


def growth_claims(costs: Mapping[str, Mapping[int, Cost]]) -> list[Claim]:
    """Slopes of every step, of time and of memory, and the steepest of the last decade."""
    rows: list[Claim] = []
    last: dict[str, dict[str, float]] = {"time": {}, "memory": {}}
    for name, by_size in costs.items():
        busy = {n: max(cost.processor, LEAST_S) for n, cost in by_size.items()}
        clock = {n: cost.seconds for n, cost in by_size.items()}
        held = {n: float(max(cost.memory, LEAST_BYTES)) for n, cost in by_size.items()}
        shown = ", ".join(f"{n:,}: {busy[n]:.3g} s ({clock[n]:.3g})" for n in busy)
        rows.append(at_most(f"{name}: slope of time", MOST, slope(busy), why=f"processor (clock): {shown}"))
        shown = ", ".join(f"{n:,}: {value / 2**20:,.3g} MiB" for n, value in held.items())
        rows.append(at_most(f"{name}: slope of memory", MOST, slope(held), why=shown))
        last["time"][name], last["memory"][name] = last_decade(busy), last_decade(held)
    for what, found in last.items():
        steepest = max(found, key=lambda name: found[name])
        rows.append(at_most(f"steepest slope of {what} in the last decade", MOST_LAST, found[steepest],
                            why=f"{steepest}; the figure is ours"))  # fmt: skip
    return rows


def streaming_claim(by_size: Mapping[int, Cost], name: str = "store") -> Claim:
    """What one more window adds to the memory of a step that has to let go of each answer."""
    (less, low), (more, high) = list(by_size.items())[-2:]
    each = (high.memory - low.memory) / (more - less)
    why = "keys of questions and of answers had; an answer has about 1,500 bytes. The figure is ours"
    return at_most(f"{name}: memory of one more window", KEPT, each, "bytes", why=why)


def evaluation_claims(task: Task, path: Path) -> list[Claim]:
    """What one evaluation of stored answers takes: its time, and its memory at some sizes on to a million windows.

    Args:
        task: its windows, each answered by the rules.
        path: of the store with the answers.
    """
    n = len(task.windows)
    parts = [replace(task, windows=task.windows[: n * share // 10]) for share in (2, 5, 10)]
    was, evaluation.LISTED = evaluation.LISTED, 0
    try:
        with Store(path) as store:
            work = lambda part: evaluation.evaluate(part, ["rules"], store=store)  # noqa: E731
            busy, seconds = _time(work, task)
            tracemalloc.start()
            held = {len(part.windows): _memory(work, part) for part in parts}
    finally:
        tracemalloc.stop()
        evaluation.LISTED = was
    slope_, start = np.polyfit(list(held), list(held.values()), 1)
    off = max(abs(start + slope_ * windows - found) for windows, found in held.items()) / max(held.values())
    task_bytes = _bytes_a_window(path.parent / "small")
    shown = ", ".join(f"{windows:,}: {found / 2**20:,.3g} MiB" for windows, found in held.items())
    why = f"evaluation {shown}, off the line by at most {100 * off:.0f} %; the task {task_bytes:,.0f} bytes a window"
    total = (start + (slope_ + task_bytes) * 1e6) / 1e9
    return [
        at_most(f"evaluate {n:,} stored answers", EVALUATE_S, seconds, "s", why=f"processor {busy:.3g} s", tried=TRIED),
        at_most("evaluate 1,000,000 windows, task included, on the straight line", EVALUATE_GB, total, "GB", why=why),
    ]


def _bytes_a_window(folder: Path, n: int = 1_000) -> float:
    """Bytes that loaded sessions and their windows take for good."""
    folder.mkdir()
    journey = Journey(n, folder)
    tracemalloc.start()
    try:
        journey.load(), journey.cut()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / n
    finally:
        tracemalloc.stop()
        journey.store.close()


def claims(*, quick: bool = False) -> list[Claim]:
    """All steps at all sizes; ``quick``: up to 10⁴."""
    journeys = list[Journey]()

    def begin(n: int) -> Journey:
        journeys[:] = [Journey(n, Path(name))]
        return journeys[0]

    with tempfile.TemporaryDirectory(prefix="llmhar-growth-") as name:
        costs = measure(STEPS, begin, SIZES[:3] if quick else SIZES)
        # What the journey listed is let go of: whoever evaluates so many windows holds their task alone.
        evaluated = evaluation_claims(journeys.pop().task, Path(name, "store.sqlite"))
    return [*growth_claims(costs), streaming_claim(costs["store"]), *evaluated]


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    found = claims(quick="--quick" in arguments)
    print(f"{table_text(found)}\n{tally(found)}; load of the machine {os.getloadavg()[0]:.1f}")
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
