"""The library's own code: rates (:mod:`tests.bench.speed`), and what a fresh process takes until its work is done.

``python -m tests.bench.own_code`` prints the table. Fresh processes, since imports and a cold cache are part of what
people wait for: import of the package, a study's tables and figure from a warm store, a whole notebook from a warm
store, a file of 10,000 traces. Memory is the process's own high-water mark. Figures: shared/anchors.md §2.3.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.ask.engines.child import last_words
from llmhar.ask.inference import collect, make_asks
from llmhar.ask.meter import high_water
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, prepare
from llmhar.data import simulated
from llmhar.records import Fingerprint, Generation
from tests.bench import speed
from tests.bench.verdicts import Claim, at_most, exactly, exit_code, table_text, tally
from tests.memory import peak_memory

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "vllm", "transformers", "unsloth", "onnxruntime")
"""Packages that a warm run has no need of."""
N_TRACES, N_MODELS = 10_000, 4
NOTEBOOK = "02_prompting"
PACKAGE = "llmhar.score.evaluate"
MADE_UP = Fingerprint("made up", "1", "", "")


class Ran(NamedTuple):
    """One fresh process."""

    seconds: float
    """From its start to its end, by the clock."""
    processor: float
    """Seconds of processor time, its children's included."""
    peak: int
    """Most resident bytes."""
    told: dict[str, Any]
    """What it said."""


IMPORT = f"""
import json, sys, time
assert not [name for name in sys.modules if name.partition(".")[0] in ("llmhar", "numpy")], "imported before"
start, busy = time.perf_counter(), time.process_time()
import {PACKAGE}
print(json.dumps(dict(seconds=time.perf_counter() - start, processor=time.process_time() - busy)))
"""
"""Imports what a study without drawing needs (load, ask, store, read, score, tables) where nothing is there yet: not
even this module, which imports half of it."""

# The children: each does its work and returns what there is to say of it.


def child_study(folder: Path) -> dict[str, Any]:
    """Six models on all test windows, from a warm store to tables, tests and a figure."""
    from llmhar.scaling import tables as scaling_tables
    from llmhar.score import cost_tables, figures, tables
    from llmhar.score.evaluate import evaluate

    task = prepare("simulated", folder / "home")
    with Store(folder / "store.sqlite") as store:
        found = evaluate(task, copies(6), store=store)
    made = [tables.score_table, tables.session_table, tables.verdict_table, tables.reading_table]
    made += [cost_tables.cost_table, scaling_tables.missed_table, scaling_tables.ledger_table]
    rows = sum(len(table(found.results)) for table in made)
    rows += len(tables.pair_table(scaling_tables.compare_models(found.results)))
    figures.f1_by_session(found.results).savefig(folder / "f1.png")
    return {"asked": sum(run.n_asked for run in found.runs), "windows": len(task.windows), "rows": rows}


def child_report(folder: Path) -> dict[str, Any]:
    """10,000 traces from a warm store into one file that opens offline."""
    from llmhar.score.tables import score_answers
    from llmhar.traces.bundle import build_bundle
    from llmhar.traces.view import write_offline

    task, _ = made_up_task(N_TRACES)
    with Store(folder / "traces.sqlite") as store:
        results = [score_answers(task, model, collect(make_asks(task, model), store)) for model in copies(N_MODELS)]
    size = write_offline(build_bundle(results), folder / "traces.html")
    return {"bytes": size, "traces": sum(len(result.generations) for result in results)}


CHILDREN: dict[str, Callable[[Path], dict[str, Any]]] = {"study": child_study, "report": child_report}


def child(name: str, folder: Path) -> int:
    """Do the work in this process and say in one line what it was and took."""
    said = CHILDREN[name](folder)
    heavy = [package for package in HEAVY if package in sys.modules]
    print(json.dumps({**said, "heavy": heavy, "peak": high_water(os.getpid()) or 0}))
    return 0


# The parent.


def copies(n: int) -> list[ModelSpec]:
    """The rules under n names: models whose answers a store can hold without weights."""
    return [MODELS["rules"].model_copy(update={"name": f"copy {k}", "revision": f"copy {k}"}) for k in range(n)]


def made_up_task(n_traces: int) -> tuple[Task, random.Random]:
    """The explorer's made-up windows, the same in every process, and the dice that draw their texts."""
    from tests.bench import made_up_traces

    dice = random.Random("own code")
    return made_up_traces.made_up_task(-(-n_traces // N_MODELS), dice), dice


def fill(store: Store, task: Task, n_models: int, text: Callable[[int], str]) -> None:
    """Answers of all copies to all windows."""
    for model in copies(n_models):
        asks = make_asks(task, model)
        store.note_asks(asks)
        number = store.begin_pass()
        for place, ask in enumerate(asks):
            store.add(Generation(ask.request.key, text(place), "stop", "", 900, 0, 420, 1.0), MADE_UP, number)
        cost = {"n_asked": len(asks), "seconds": 1.0, "output_tokens": 420 * len(asks), "joules": None}
        store.end_pass(number, cost)


def fill_for_study(folder: Path) -> None:
    """What the rules say of every test window, under six names."""
    from llmhar.score.evaluate import evaluate

    simulated.write(folder / "home")
    task = prepare("simulated", folder / "home")
    with Store(folder / "store.sqlite") as store:
        said = [generation.text for generation in evaluate(task, ["rules"], store=store).results[0].generations]
        fill(store, task, 6, said.__getitem__)


def fill_for_report(folder: Path) -> None:
    """Texts of 1,200 characters, half of them words drawn at random: no flattery for sizes."""
    from tests.bench.made_up_traces import made_up_text

    task, dice = made_up_task(N_TRACES)
    with Store(folder / "traces.sqlite") as store:
        fill(store, task, N_MODELS, lambda place: made_up_text(task.windows[place], dice))


def run(command: list[str], folder: Path) -> Ran:
    """Run a command to its end.

    Args:
        command: arguments of this Python.
        folder: store, data and reports of the process, and its log.

    Raises:
        RuntimeError: it failed; its last words.
    """
    places = {"LLMHAR_HOME": str(folder / "llmhar"), "LLMHAR_REPORTS": str(folder / "reports")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with open(folder / "log.txt", "w+") as log, open(folder / "said.txt", "w+") as said:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=said, stderr=log,
                                   env={**os.environ, **places})  # fmt: skip
        with peak_memory(process.pid) as peak:
            code = process.wait()
        seconds = time.perf_counter() - start
        said.seek(0)
        lines = said.read().splitlines()
    if code:
        raise RuntimeError(f"{' '.join(command[-3:])} ended with {code}: {last_words(folder / 'log.txt')}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Ran(seconds, processor, told.get("peak") or peak.bytes, told)


def run_child(name: str, folder: Path) -> Ran:
    """One of :data:`CHILDREN` in a process of its own."""
    return run(["-m", "tests.bench.own_code", "--child", name, str(folder)], folder)


def described(runs: list[Ran], seconds: list[float], processor: float) -> str:
    """How often, how long, how much memory."""
    peak = max(one.peak for one in runs) / 2**20
    return f"{speed.spread(seconds, 's', 'fresh processes')}, processor {processor:.3g} s; memory peak {peak:,.0f} MiB"


def in_seconds(claim: str, most: float, runs: list[Ran], more: str = "", tried: str = "") -> Claim:
    """At most so many seconds from start to end of a process, the best of several."""
    seconds = [one.seconds for one in runs]
    why = described(runs, seconds, min(one.processor for one in runs))
    return at_most(claim, most, min(seconds), "s", why=f"{why}; {more}" if more else why, tried=tried)


def import_claim(runs: list[Ran]) -> Claim:
    """Judged from inside the process: Python's own start is not the package's."""
    seconds = [one.told["seconds"] for one in runs]
    why = described(runs, seconds, min(one.told["processor"] for one in runs))
    return at_most(f"import of the package ({PACKAGE})", 1, min(seconds), "s", why=f"{why}; without figures")


def study_claims(runs: list[Ran]) -> list[Claim]:
    """Time, no question asked, no weights' package imported."""
    said = runs[0].told
    what = f"6 models × {said['windows']} windows, {said['rows']} rows of 8 tables, a figure; Python's start included"
    heavy = sorted({package for one in runs for package in one.told["heavy"]})
    return [
        in_seconds("re-run of a study from a warm store", 10, runs, what),
        exactly("re-run of a study from a warm store: questions asked", 0, max(one.told["asked"] for one in runs)),
        exactly("re-run of a study from a warm store: packages of weights imported", 0, len(heavy), "packages",
                why=", ".join(heavy) or f"none of {', '.join(HEAVY)}"),
    ]  # fmt: skip


def report_claims(runs: list[Ran]) -> list[Claim]:
    """Time and size of the file."""
    said = runs[0].told
    what = f"{said['traces']:,} traces read from the store, scored, their words linked to events, packed"
    return [
        in_seconds("warm report of 10,000 traces", 30, runs, what),
        at_most("warm report of 10,000 traces: size", 10, said["bytes"] / 1e6, "MB", why="one offline HTML file"),
    ]


def claims(*, quick: bool = False) -> list[Claim]:
    """Rates and fresh processes; ``quick``: one run of each."""
    found = speed.claims(quick=quick)
    with tempfile.TemporaryDirectory(prefix="llmhar-own-code-") as name:
        folder = Path(name)
        several = lambda work, n: [work() for _ in range(1 if quick else n)]  # noqa: E731
        found.append(import_claim(several(partial(run, ["-c", IMPORT], folder), 5)))
        fill_for_study(folder)
        found += study_claims(several(partial(run_child, "study", folder), 3))
        warm = partial(run, ["-m", "llmhar.cli", "run", "smoke", NOTEBOOK, "--force"], folder)
        warm()
        found.append(
            in_seconds(
                f"re-run of {NOTEBOOK} (profile smoke) from a warm store",
                10,
                several(warm, 3),
                "papermill, a Jupyter kernel, figures and the HTML report; memory of all processes",
                "nbformat without jsonschema's grammar of addresses, half of its import",
            )
        )
        fill_for_report(folder)
        found += report_claims(several(partial(run_child, "report", folder), 2))
    return found  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print the table."""
    if arguments[:1] == ["--child"]:
        return child(arguments[1], Path(arguments[2]))
    found = claims(quick="--quick" in arguments)
    print(f"{table_text(found)}\n{tally(found)}; load of the machine {os.getloadavg()[0]:.1f}")
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
