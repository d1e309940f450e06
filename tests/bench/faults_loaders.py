"""Claims of "Faults", the loaders: thousands of damaged and hostile files, each read in a process that may die of it.

A file may be read, or refused with the loader's own error that names it. Anything else is a fault: another exception, a
message without a file's name, a hostile archive that is taken in, no end, a process that dies. Damage is drawn from a
seed (:mod:`tests.bench.faults_files`), hostile files are :mod:`tests.bench.faults_hostile`'s. Each check takes the
cases that it reads, so that tests/proof/test_faults.py can plant a loader that fails.
``python -m tests.bench.faults --only loaders`` prints the claims; ``… .faults_loaders EACH [NAME …]``
those of so many damaged files of each loader (of some alone, by the beginnings of their names).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.bench.faults_files import DAMAGE, SETS, FileSet
from tests.bench.faults_homes import ALL, HOMES
from tests.bench.faults_hostile import HOSTILE, QUICK
from tests.bench.verdicts import Claim, at_least, at_most, exactly, exit_code, table_text

EACH, EACH_QUICK = 1000, 10
"""Damaged files of each loader, in a full run (figure of the issue "Proof anew") and in a quick one."""
LIMIT_S, PEAK_MIB = 20.0, 512
"""Most CPU seconds and memory that a file may cost. "Bounded" is put as numbers here: the largest hostile file has
375 MiB, most have a few hundred kilobytes; 1 GiB is unpacked within the time, on disk."""
WALL_S = 240.0
"""Seconds after which a file is taken for one that has no end: other work may slow the process down."""
PREPARE_S = 300.0
"""Most seconds that writing a file may take."""
SPACE = 3 * 2**30
"""Address space beyond what the process has: a bomb must not take the machine along."""
MESSAGE = 1000
"""Most characters of a clear error."""
SHOWN = 5
"""Most faults that a claim quotes."""


class Case(NamedTuple):
    """One file to be read."""

    what: str
    kind: FileSet
    prepare: Callable[[Path], object]
    """Writes everything that the loader reads into an empty folder."""
    is_refused: bool = False
    """Whether it must be refused."""


class Outcome(NamedTuple):
    """What came of one file."""

    what: str
    fault: str
    """What is wrong; empty: read, or clearly refused."""
    was_refused: bool
    seconds: float
    """CPU time of the loader."""
    mib: float
    """Most memory (resident set) above what the process had before."""


def read_all(cases: Sequence[Case], *, wall_s: float = WALL_S, space: int = SPACE) -> list[Outcome]:
    """Read every case in a process apart; where one kills it or has no end, another process goes on behind it."""
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("fork")  # planted loaders are functions of a test: they cannot be pickled
    while len(outcomes) < len(cases):
        with tempfile.TemporaryDirectory(prefix="llmhar-faults-") as folder:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_work, args=(cases[len(outcomes) :], Path(folder), theirs, space))
            child.start()
            theirs.close()
            outcomes += _listen(ours, cases[len(outcomes) :], child, wall_s)
            child.kill()
            child.join()
    return outcomes


def _listen(
    ours: Connection, cases: Sequence[Case], child: multiprocessing.process.BaseProcess, wall_s: float
) -> Iterator[Outcome]:
    """Outcomes as they come; the last one is a fault where the process ends or waits too long."""
    for case in cases:
        try:
            if ours.poll(PREPARE_S):
                ours.recv()  # the file is written, the loader starts
            if not ours.poll(wall_s):
                yield Outcome(case.what, f"no end within {wall_s:g} s", False, wall_s, 0.0)
                return
            yield Outcome(*ours.recv())
        except EOFError:
            child.join(10)
            yield Outcome(case.what, f"the process died (exit code {child.exitcode})", False, 0.0, 0.0)
            return


def _work(cases: Sequence[Case], folder: Path, theirs: Connection, space: int) -> None:
    """The child: reads case after case and says what came of each."""
    warnings.simplefilter("ignore")  # damaged numbers overflow: that is theirs to do
    _quiet()
    warm: set[int] = set()
    for number, case in enumerate(cases):
        with _place(folder, f"case-{number}") as place:
            case.prepare(place)
            theirs.send(case.what)
            if id(case.kind) not in warm:  # what a loader imports when it first reads is no file's fault
                warm.add(id(case.kind))
                with contextlib.suppress(BaseException), _place(folder, f"warm-{number}") as sound:
                    case.kind.make(sound)
                    case.kind.load(sound)
            with _bounded(space):
                outcome = _read(case, place)
            theirs.send(tuple(outcome))


@contextlib.contextmanager
def _place(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder for one case."""
    place = folder / name / "here"
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)


@contextlib.contextmanager
def _bounded(space: int) -> Iterator[None]:
    """No more address space than what is there and ``space`` bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") * 1024 + space, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _quiet() -> None:
    """Libraries in C write to the error stream what they think of a file; a crash is told by the exit code."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _read(case: Case, place: Path) -> Outcome:
    """Read one case and judge what came of it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # memory that an earlier case left is not to hide what this one takes
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    fault, was_refused, started = "", False, time.process_time()
    try:
        case.kind.load(place)
        if case.is_refused:
            fault = "taken in, though it must be refused"
    except case.kind.error as error:
        was_refused, message = True, str(error)
        if not case.kind.is_named(message):
            fault = f"an error that names no file: {message[:120]!r}"
        elif len(message) > MESSAGE:
            fault = f"an error of {len(message):,} characters: {message[:80]!r}"
    except BaseException as error:  # whatever it is, it is the fault that is looked for
        fault = f"{type(error).__name__}: {str(error)[:120]}"
    seconds = time.process_time() - started
    return Outcome(case.what, fault, was_refused, seconds, max(0, _memory("VmHWM") - before) / 1024)


def _memory(field: str) -> int:
    """KiB of this process, by Linux's name for them."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.M)
    return int(found[1]) if found else 0


# Cases.


def mutated(n: int, sets: dict[str, FileSet] | None = None, seed: int = 0) -> list[Case]:
    """``n`` damaged files, always the same ones: every set, file and kind of damage in turn."""
    cases = []
    sets = ALL if sets is None else sets
    for number in range(n):
        name = list(sets)[number % len(sets)]
        turn = number // len(sets)
        file = sets[name].hurt[turn % len(sets[name].hurt)]
        damage = list(DAMAGE)[turn // len(sets[name].hurt) % len(DAMAGE)]

        def prepare(folder: Path, name: str = name, file: str = file, damage: str = damage, turn: int = turn) -> None:
            sets[name].make(folder)
            random = Random(f"{seed} {name} {turn}")
            (folder / file).write_bytes(DAMAGE[damage](random, (folder / file).read_bytes()))

        cases.append(Case(f"{name}, {file}: {damage} ({turn})", sets[name], prepare))
    return cases


def hostile(names: Sequence[str] = tuple(HOSTILE)) -> list[Case]:
    """Files made to hurt, by name."""
    cases = []
    for name in names:
        one = HOSTILE[name]
        kind = (HOMES | SETS)[one.kind]  # without the books of homes and clips, which cost memory of their own

        def prepare(folder: Path, make: Callable[[Path], object] = kind.make,
                    write: Callable[[Path], object] = one.write) -> None:  # fmt: skip
            make(folder)
            write(folder)

        cases.append(Case(name, kind, prepare, one.is_refused))
    return cases


# Claims.


def fault_claims(damaged: Sequence[Outcome], made: Sequence[Outcome], n: int) -> list[Claim]:
    """How many were read, what was no clear error, and what the worst file cost."""
    claims = [at_least("mutated files: read", n, len(damaged), "files", why=_kinds(damaged))]
    for what, outcomes in (("mutated", damaged), ("hostile", made)):
        bad = [one for one in outcomes if one.fault]
        refused = sum(one.was_refused for one in outcomes)
        why = f"{len(outcomes):,} files, {refused:,} of them refused by an error that names the file"
        shown = "; ".join([why, *[f"{one.what}: {one.fault}" for one in bad[:SHOWN]]])
        claims.append(exactly(f"{what} files: anything but a clear error", 0, len(bad), "files", why=shown))
    both = [*damaged, *made]
    slow, large = max(both, key=lambda one: one.seconds), max(both, key=lambda one: one.mib)
    return [
        *claims,
        at_most("CPU time of a loader on a hostile file", LIMIT_S, slow.seconds, "s", why=f"the slowest: {slow.what}"),
        at_most("memory peak of a loader on a hostile file", PEAK_MIB, large.mib, "MiB",
                why=f"the largest: {large.what}; resident set above that before it"),
    ]  # fmt: skip


def _kinds(outcomes: Sequence[Outcome]) -> str:
    names = sorted({one.what.rpartition(":")[0].rpartition(", ")[0] for one in outcomes})
    return f"{'; '.join(names)}; {len(DAMAGE)} kinds of damage, always the same files"


def claims(*, quick: bool = False, each: int | None = None, names: Sequence[str] = ()) -> list[Claim]:
    """All claims of the loaders.

    Args:
        quick: whether the largest hostile files are left out.
        each: damaged files of each loader; None = :data:`EACH`, or :data:`EACH_QUICK`.
        names: beginnings of the names of those loaders that are damaged; empty = all.
    """
    sets = {name: one for name, one in ALL.items() if not names or name.lower().startswith(tuple(names))}
    n = (each or (EACH_QUICK if quick else EACH)) * len(sets)
    return fault_claims(read_all(mutated(n, sets)), read_all(hostile(QUICK if quick else tuple(HOSTILE))), n)


if __name__ == "__main__":
    found = claims(quick=True, each=int(sys.argv[1]), names=[name.lower() for name in sys.argv[2:]])
    print(table_text(found))
    sys.exit(exit_code(found))
