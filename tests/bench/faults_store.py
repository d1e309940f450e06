"""Claims of "Faults" about storage: shared stores, full and read-only disks, damaged files, a clock that jumps.

`python -m tests.bench.faults_store` prints them, `make bench ONLY=faults` has them. Disks are real, small file systems
in memory (root mounts them; who is not root gets "not measured"). Each check takes what it checks as an argument, so
that tests/proof/test_faults_store.py can plant a fault and see it fail.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import tqdm.std

from llmhar import paths
from llmhar.ask import inference, model_files, models, trained
from llmhar.ask.asking import Asking
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import MODELS, ModelError, ModelSpec
from llmhar.ask.store import Store
from llmhar.distill import training
from llmhar.distill.students import open_student
from llmhar.records import Fingerprint, Generation, Request
from tests.bench import disks, recorders
from tests.bench.disks import CPU, SHOWN_BY, Disk, Fault, OpenStore, Seen, answer, asks, error_of, judge, request
from tests.bench.verdicts import Claim, exactly, exit_code, not_measured, table_text

MODEL = ModelSpec(name="recorded", kind="recorded", engine="recorded")
WRITERS, KEYS = 4, 10_000
SPACE, WRITABLE, NEW = r"[Ff]ree some space", r"[Mm]ake (its|the) folder writable", r"Move it away to begin a new one"


def write_all(path: Path, n: int, writer: int, open_store: OpenStore) -> list[str]:
    """Answer all questions, each writer in an order of its own; returns the errors."""
    step = (1, 3, 7, 9)[writer % 4]  # none divides n: each order is whole
    with open_store(path) as store:
        errors = [error_of(lambda: store.note_asks(asks(n)))]
        errors += [error_of(functools.partial(store.add, answer(i * step % n), CPU)) for i in range(n)]
    return [error for error in errors if error]


def shared(n: int, open_store: OpenStore = Store, start: str = "spawn") -> list[Claim]:
    """Four processes, the same keys, one store."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with ProcessPoolExecutor(WRITERS, multiprocessing.get_context(start)) as pool:
            waiting = [pool.submit(write_all, path, n, writer, open_store) for writer in range(WRITERS)]
            errors = [error for one in waiting for error in one.result()]
        with Store(path) as store:
            found = store.find([request(i).key for i in range(n)])
            lost = sum(request(i).key not in found or found[request(i).key].generation != answer(i) for i in range(n))
            doubles = store.counts()["successes"] - len(found)
    what = f"{WRITERS} processes, one store, {n:,} keys"
    why = f"each process writes every key, in orders of their own ({SHOWN_BY})"
    return [
        exactly(f"{what}: answers double", 0, doubles, why=why),
        exactly(f"{what}: answers lost or changed", 0, lost, why=why),
        exactly(f"{what}: writes that failed", 0, len(errors), why=f"{why}; {errors[0]}" if errors else why),
    ]


def changed_letters(folder: Path, n: int, open_store: OpenStore = Store) -> list[Claim]:
    """Letters of stored answers, and any other bytes of a store, are changed: never scored, told, asked anew."""
    other, untold, lost, said = disks.flipped_bytes(folder, n, open_store)
    why = f"{n:,} changed bytes, every second one within an answer ({SHOWN_BY})"
    told = f'says "{disks._short(said[0])}"' if said else "says nothing"
    return [
        exactly("a byte of a store changed: answers read otherwise than stored", 0, other, "answers", why=why),
        exactly("a letter of a stored answer changed: not told with the file", 0, untold, "times", why=told),
        exactly("a byte of a store changed: answers missing after they were asked anew", 0, lost, "answers", why=why),
    ]


def cut_model(folder: Path, locate: Callable[[ModelSpec], Any] = ModelSpec.locate) -> Seen:
    """Converted weights in the cache, of which a part is missing: not used, and fetched again."""
    with patch.dict(os.environ, {"LLMHAR_CACHE": str(folder)}):
        spec = MODELS["smollm2-135m-l4"]
        weights = spec.folder() / "model.safetensors"
        spec.folder().mkdir(parents=True)
        weights.write_bytes(bytes(10_000))
        model_files.write_marker(spec.folder(), {})
        lost = locate(spec) != spec.folder()
        weights.write_bytes(bytes(9_999))
        return Seen(error_of(lambda: locate(spec)), lost)


def cut_adapter(folder: Path, opened: Callable[..., Any] = open_student) -> Claim:
    """A student whose adapter is cut is taken for unfinished, so that training goes on or is done again."""
    weights = trained.weights_file(folder, "lora")
    record = {"recipe": {"method": "lora"}, "weights_bytes": 1000, "weights_sha256": ""}
    paths.write_text(folder / trained.RECORD, json.dumps(record))
    paths.write_text(weights, "x" * 1000)
    whole = opened(folder, MODEL) is not None
    paths.write_text(weights, "x" * 500)
    taken = int(opened(folder, MODEL) is not None) + (not whole)
    return exactly("a student's adapter is cut: taken for whole", 0, taken, "times",
                   why=f"training makes it again ({SHOWN_BY})")  # fmt: skip


class Jumping:
    """An engine during whose work somebody sets the clock by years; patch ``time.time`` with :meth:`now`."""

    def __init__(self, jumps: tuple[float, ...]) -> None:
        self.jumps, self.offset, self.clock = jumps, 0.0, time.time

    def now(self) -> float:
        return self.clock() + self.offset

    def fingerprint(self) -> Fingerprint:
        return CPU

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for number, made in enumerate(requests):
            self.offset = self.jumps[number % len(self.jumps)]
            yield Generation(made.key, f"a{number}", "stop")

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Jumping:
        return self

    def __exit__(self, *exc: object) -> None:
        """As :meth:`close`."""


YEARS = 365.25 * 86400.0


class Passes(NamedTuple):
    """What two passes over one store left and showed."""

    kept: tuple[Any, ...]
    """Answers, counts, notes: what no clock may change."""
    seconds: list[float]
    shown: str
    """The bars."""


def two_passes(path: Path, jumps: tuple[float, ...], bar: type, open_store: OpenStore, n: int = 60) -> Passes:
    """Half of the questions, then all of them, then two notes, by a clock that is set at every answer."""
    engine, shown = Jumping(jumps), io.StringIO()
    with (open_store(path) as store, patch.object(inference, "Bar", bar), patch.object(time, "time", engine.now),
          patch.object(tqdm.std, "time", engine.now), contextlib.redirect_stderr(shown)):  # fmt: skip
        done = [
            inference.run_asks(some, MODEL, store, asking=Asking(open_with=lambda: engine))
            for some in (asks(n // 2), asks(n))
        ]
        for text in ("first", "last"):
            engine.offset -= YEARS
            store.add_note(request(0).key, [], text)
        keys = [request(i).key for i in range(n)]
        costs = [cost.seconds for cost in store.costs(keys, CPU)]
        texts = {key: one.generation.text for key, one in store.find(keys).items()}
        kept = (texts, store.counts(), [note.text for note in store.notes()])
    return Passes(
        kept, [*costs, *(one.seconds for one in done), *(one.engine_seconds for one in done)], shown.getvalue()
    )


def clock_jump(folder: Path, bar: type = inference.Bar, open_store: OpenStore = Store) -> list[Claim]:
    """The clock is set decades back and ahead during two passes, beside two with a steady clock."""
    steady = two_passes(folder / "steady.sqlite", (0.0,), bar, open_store)
    jumping = two_passes(folder / "jumping.sqlite", (0.0, -30 * YEARS, 20 * YEARS, -40 * YEARS), bar, open_store)
    negative = [f"{value:.0f} s" for value in jumping.seconds if value < 0] + re.findall(r"-\d[\d.:]*", jumping.shown)
    why = f"time of day set by decades at every answer of two passes ({SHOWN_BY})"
    return [
        exactly("the clock jumps by years: answers, keys, counts or notes changed", 0,
                int(steady.kept != jumping.kept), why=why),
        exactly("the clock jumps by years: negative times or rates shown or stored", 0, len(negative),
                why="; ".join([why, *negative[:3]])),
    ]  # fmt: skip


OnDisk = tuple[int, Fault, Callable[[Disk], Seen]]
"""Megabytes, the fault, its check."""
ON_DISKS: Sequence[OnDisk] = (
    (3, Fault("disk full while answers are stored", "store.sqlite", SPACE), disks.store_on_full_disk),
    (3, Fault("disk full in one large transaction", "store.sqlite", SPACE), disks.many_asks_on_full_disk),
    (8, Fault("disk full while Home Assistant's file is copied", recorders.NAME, SPACE), recorders.copy_on_full_disk),
    (2, Fault("disk full while a report is written", "report.html", SPACE), disks.file_on_full_disk),
    (32, Fault("read-only folder: the store", "store.sqlite", WRITABLE),
     functools.partial(disks.read_only, work=disks.use_store, file="store.sqlite")),
    (4, Fault("read-only folder: a report", "report.html", WRITABLE),
     functools.partial(disks.read_only, work=lambda file: paths.write_text(file, "text"), file="report.html")),
)  # fmt: skip


def on_disks(checks: Sequence[OnDisk] = ON_DISKS) -> list[Claim]:
    """Each fault of a disk on a small file system of its own."""
    found = []
    for megabytes, fault, check in checks:
        try:
            with disks.small_disk(megabytes) as disk:
                found.append(judge(fault, check(disk)))
        except OSError as error:
            found.append(not_measured(fault.name, "an error that names file and cure, 0 lost", str(error)))
    return found


def training_on_full_disk(disk: Disk, scratch: Path) -> Seen:
    """The disk has room for two checkpoints, not for three; with more room training goes on to its end."""
    from tests.bench.kills_training import RECIPE, Training

    made = Training(scratch)
    train = functools.partial(training.train_student, RECIPE, made.examples, threads=1, progress=False)
    with patch.dict(os.environ, {"LLMHAR_HOME": str(disk.path)}):
        said = error_of(train)
        disk.remount("size=200m")
        student = train()
        weights = trained.weights_file(student.folder, "lora")
        lost = paths.file_sha256(weights) != student.record["weights_sha256"]
        return Seen(said, lost + (student.record["resumed_at"] == 0))


def cut_weights(folder: Path) -> Seen:
    """Weights of one's own, cut in the middle, are given to an engine."""
    place = shutil.copytree(MODELS["qwen3-tiny"].locate(), folder / "cut-model")
    weights = place / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    spec = MODELS["qwen3-tiny"].model_copy(update={"source": models.Local(path=place)})
    said = error_of(lambda: open_engine("transformers", spec, {"threads": 1}).close())
    return Seen(said, weights.read_bytes() != whole[: len(whole) // 2])


def llmhar_on_full_disk(disk: Disk) -> Seen:
    """``llmhar run`` whose reports have no room: one line on stderr, the old report whole."""
    old = disk.path / "smoke" / "00_tour" / "report.html"
    paths.write_text(old, "old")
    disk.fill()
    home = {"LLMHAR_REPORTS": str(disk.path)}
    done = subprocess.run([sys.executable, "-m", "llmhar.cli", "run", "smoke", "00_tour"], env={**os.environ, **home},
                          text=True, capture_output=True, check=False)  # fmt: skip
    said = next((line for line in done.stderr.splitlines() if line.startswith("llmhar: ")), "")
    return Seen(said if done.returncode == 1 else "", old.read_text() != "old")


def outputs_on_full_disk() -> list[Claim]:
    """What writes a user's files, each on a disk that has no room for them."""
    from tests.bench import kills_outputs
    from tests.bench.kills_homes import Making

    found = []
    for command, (file, work) in {
        "label": ("labels.csv", lambda scratch: kills_outputs.Labelling(scratch, home=scratch)),
        "students export": ("out", kills_outputs.Exporting),
        "record": ("02_prompting", kills_outputs.Recording),
        "data new": ("flat", Making),
    }.items():
        with tempfile.TemporaryDirectory() as scratch:
            check = functools.partial(kills_outputs.on_full_disk, scratch=Path(scratch), work=work)
            found += on_disks([(8, Fault(f"disk full: llmhar {command}", file, SPACE), check)])
    return found


def slow_claims() -> list[Claim]:
    """Faults that need a training, an engine or the command line: each starts processes that import for long."""
    room = Fault("disk full while a checkpoint is written", "students/qwen3-tiny", "mend what it says and run again")
    cut = Fault("weights cut, given to an engine", "cut-model", "is cut or damaged: delete it and run")
    full = Fault("disk full: llmhar run", "index.html", SPACE)
    with tempfile.TemporaryDirectory() as scratch:
        checks: list[OnDisk] = [(1, full, llmhar_on_full_disk)]
        if weights := has_weights("qwen3-tiny"):
            checks.append((30, room, functools.partial(training_on_full_disk, scratch=Path(scratch))))
        found = outputs_on_full_disk() + on_disks(checks)
        if weights:
            return [*found, judge(cut, cut_weights(Path(scratch)))]
    why = "no weights of qwen3-tiny: llmhar models fetch qwen3-tiny"
    return [*found, *(not_measured(one.name, "an error that names file and cure, 0 lost", why) for one in (room, cut))]


def has_weights(name: str) -> bool:
    """Whether a model is in the cache."""
    try:
        return isinstance(MODELS[name].locate(), Path)
    except ModelError:
        return False


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims about storage; ``quick``: 500 keys instead of 10,000, no training and no engine."""
    found = shared(500 if quick else KEYS) + on_disks()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, (name, how) in enumerate(disks.DAMAGES.items()):
            (folder / f"{number}").mkdir()
            seen = disks.damaged_store(folder / f"{number}", how)
            found.append(judge(Fault(f"damaged store: {name}", "store.sqlite", NEW), seen))
        (folder / "letters").mkdir()
        found += changed_letters(folder / "letters", 100 if quick else 2_000)
        fault = Fault("model file cut in the cache", "smollm2-135m-l4", "llmhar models fetch")
        found.append(judge(fault, cut_model(folder / "cache")))
        found.append(cut_adapter(folder / "student"))
        found += clock_jump(folder)
    found += recorders.claims(6 if quick else 60)
    return found if quick else [*found, *slow_claims()]


def main() -> int:
    """Print the table; ``--quick`` leaves out what takes minutes."""
    found = claims(quick="--quick" in sys.argv[1:])
    print(table_text(found))
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
