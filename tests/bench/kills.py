"""Kills a work by SIGKILL at random points, looks at what is left, runs it again. Knows one work: filling a store.

Each kill hits a fork of a process that has everything imported, so that points fall into the work and not into its
start. A work is an object (:class:`Work`); tests/proof/test_faults_kill.py replaces its parts by faulty ones to see
every check fail. The other works and the claims are in :mod:`tests.bench.faults_kill`.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from llmhar import paths
from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store, StoreError
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation, Request
from llmhar.score import tables
from llmhar.text.prompt import PromptForm

ASKED = "asked.log"
"""What a work began to make, a line each, over all its runs: what stands there twice was made again."""


@dataclass
class Tally:
    """What a number of kills showed."""

    kills: int = 0
    """That hit the work; kills that came after its end are not counted."""
    seconds: float = 0.0
    """An undisturbed run."""
    half: list[str] = field(default_factory=list)
    """Files that were neither the old nor the new one."""
    lies: list[str] = field(default_factory=list)
    """Notebooks marked ok that are not."""
    broken: list[str] = field(default_factory=list)
    """Stores that did not open or failed their integrity check; runs that failed after the kill."""
    differ: int = 0
    """Re-runs that gave other tables than the undisturbed run."""
    lost: int = 0
    doubles: int = 0
    again: int = 0
    """Most pieces of work that one kill had made again."""
    resumed: int = 0
    """Kills that came when some work had begun, so that the re-run had something to go on from."""


class Work(Protocol):
    """A kind of work. Its state is all in one folder."""

    def begin(self, folder: Path) -> None:
        """What there is before the run: nothing, or an older run's files."""

    def run(self, folder: Path) -> None:
        """Do the work from where it stands; runs in a fork."""

    def look(self, folder: Path, tally: Tally) -> None:
        """Note what is wrong with what a kill left."""

    def result(self, folder: Path, tally: Tally) -> bytes:
        """The final tables; notes what is lost or double."""


def start(work: Callable[[Path], None], folder: Path) -> int:
    """Fork a process, in a session of its own, that does the work; its words go to ``said.txt``."""
    gc.collect()  # no finaliser of ours may run in the fork
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        said = os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        work(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill(pid: int) -> bool:
    """SIGKILL to a process and all it started, kernels in sessions of their own too; False where it had ended."""
    process = psutil.Process(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()  # or it might start another child between the list and the kill
    family = process.children(recursive=True) if process.is_running() else []
    for one in [process, *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    psutil.wait_procs(family, timeout=30)
    return code == -signal.SIGKILL


def finish(work: Work, folder: Path, tally: Tally) -> float:
    """Run to the end; returns seconds."""
    begun = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(start(work.run, folder), 0)[1])
    if code:
        tally.broken.append(f"a run ended with code {code}: {(folder / 'said.txt').read_text()[-300:]}")
    return time.perf_counter() - begun


def campaign(work: Work, kills: int, seed: int = 0) -> Tally:
    """Kill so often, each time in a fresh folder; look at what is left, run again, compare with an undisturbed run.

    Args:
        work: what is killed.
        kills: that must hit the running work; the moments are drawn over the time that an undisturbed run took, and
            over less where kills come too late, over more where a late one still hits: other work shares this machine.
        seed: of that draw.
    """
    tally, dice = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole = _fresh(work, Path(scratch) / "whole")
        tally.seconds = finish(work, whole, tally)
        wanted, span = work.result(whole, tally), tally.seconds
        for number in range(max(3 * kills, 30)):  # a loaded machine makes the first spans too long: many miss, then few
            folder = _fresh(work, Path(scratch) / f"{number}")
            moment = dice.uniform(0, span)
            pid = start(work.run, folder)
            time.sleep(moment)
            hit = kill(pid)
            span = max(span, 1.1 * moment) if hit else moment
            tally.kills += hit
            tally.resumed += hit and (folder / ASKED).exists()
            work.look(folder, tally)
            finish(work, folder, tally)
            tally.differ += work.result(folder, tally) != wanted
            _count_again(folder, tally)
            shutil.rmtree(folder)
            if tally.kills == kills:
                break
    return tally


def _fresh(work: Work, folder: Path) -> Path:
    folder.mkdir()
    work.begin(folder)
    return folder


def _count_again(folder: Path, tally: Tally) -> None:
    if (folder / ASKED).exists():
        lines = (folder / ASKED).read_text().splitlines()
        tally.again = max(tally.again, len(lines) - len(set(lines)))


def digest(file: Path) -> str:
    """Of a file's bytes; empty where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def check_store(path: Path, tally: Tally) -> None:
    """Does a store open, and is it whole by SQLite's own check?"""
    if not path.exists():
        return
    try:
        Store(path).close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            said = [row[0] for row in db.execute("PRAGMA integrity_check")]
            said += [f"dangling: {row}" for row in db.execute("PRAGMA foreign_key_check")]
    except (StoreError, sqlite3.Error) as error:
        said = [str(error)]
    tally.broken += [one for one in said if one != "ok"]


def answers(path: Path) -> list[tuple[Any, ...]]:
    """All successes of a store, without the times that no two runs share."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return sorted(db.execute("SELECT request_key, fingerprint, text, finish_reason, prompt_tokens, output_tokens"
                                 " FROM attempts WHERE error = ''"))  # fmt: skip


def note(folder: Path, what: object) -> None:
    """Add a line to the log of begun work, in one system call."""
    log = os.open(folder / ASKED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{what}\n".encode())
    os.close(log)


class Noted:
    """An engine that notes what it begins to answer."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder

    def fingerprint(self) -> Fingerprint:
        return self.engine.fingerprint()

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        def watched() -> Iterator[Request]:
            for request in requests:
                note(self.folder, request.key)
                yield request

        return self.engine.stream(watched())

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Noted:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Filling:
    """Generation: the store fills with recorded answers, then tables replace those of an older run."""

    def __init__(self, scratch: Path, *, delay_s: float = 0.006, n_windows: int = 10,
                 open_store: Callable[[Path], Store] = Store,
                 write: Callable[[Path, str], None] = paths.write_text) -> None:  # fmt: skip
        self.model = MODELS["recorded-smoke"]
        self.task = prepare(
            "simulated",
            simulated.write(scratch / "home"),
            windowing=Windowing(n=n_windows),
            form=PromptForm(answer="name"),
        )
        self.asks = inference.make_asks(self.task, self.model)
        lines = (paths.params() / "recorded" / "recorded-smoke.jsonl").read_text().splitlines()
        self.replies = scratch / "slow.jsonl"
        self.replies.write_text("\n".join(json.dumps(json.loads(one) | {"delay_s": delay_s}) for one in lines if one))
        self.open_store, self.write = open_store, write
        self.known: dict[str, bytes] = {}
        """Name of a file -> its new bytes, once a run has ended."""
        (scratch / "warm").mkdir(exist_ok=True)
        Filling.run(self, scratch / "warm")  # so that forks need not import what a run imports when it needs it

    def begin(self, folder: Path) -> None:
        (folder / "tables.csv").write_text("old")

    def run(self, folder: Path) -> None:
        asking = Asking(progress=False, open_with=lambda: Noted(RecordedEngine(self.replies), folder))
        with self.open_store(folder / "store.sqlite") as store:
            inference.run_asks(self.asks, self.model, store, asking)
            result = tables.score_answers(self.task, self.model, inference.collect(self.asks, store))
        made = [table([result]).to_csv() for table in (tables.score_table, tables.session_table, tables.verdict_table)]
        self.write(folder / "tables.csv", "\n".join(made))

    def look(self, folder: Path, tally: Tally) -> None:
        check_store(folder / "store.sqlite", tally)
        found = (folder / "tables.csv").read_bytes()
        if found not in (b"old", self.known.get("tables.csv", b"old")):
            tally.half.append(f"tables.csv: {len(found)} bytes")

    def result(self, folder: Path, tally: Tally) -> bytes:
        made = (folder / "tables.csv").read_bytes()
        self.known.setdefault("tables.csv", made)
        check_store(folder / "store.sqlite", tally)
        kept = answers(folder / "store.sqlite")
        distinct = {row[:2] for row in kept}
        tally.lost += len({ask.request.key for ask in self.asks}) - len({row[0] for row in kept})
        tally.doubles += len(kept) - len(distinct)
        return made + repr(kept).encode()
