"""Home Assistant's file while its owner writes it, and a full disk under its copy. Faults that faults_store.py counts.

The owner is a process of its own that commits pairs of states, by SQLite's write-ahead log as Home Assistant does, or
by the older journal, and moves the log into the file now and then. A reading is right where it holds whole pairs, none
missing in between, and all that were committed before it began.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest.mock import patch

from llmhar.data.load_report import DataError
from llmhar.data.own import hass
from tests.bench.disks import Disk, Seen, error_of
from tests.bench.faults_homes import make_recorder
from tests.bench.verdicts import Claim, at_least, exactly

NAME = "home-assistant_v2.db"
JOURNALS = ("wal", "delete")
PAIRS = 20_000
"""Pairs of states in the file before: some megabytes, which take a while to copy."""
START_S = 300.0
"""Most seconds that the owner's process may take to start."""
SHOWN_BY = "tests/proof/test_recorders.py"
Read = Callable[[Path], Iterable[tuple[int, list[str]]]]


def own(path: Path, journal: str, committed: Synchronized[int], end: Event) -> None:
    """What the file's owner does until ``end``: some dozens of commits a second, at moments that are drawn."""
    dice = random.Random(0)
    with closing(sqlite3.connect(path, timeout=0.1)) as db:
        db.execute(f"PRAGMA journal_mode={journal}")
        while not end.is_set():
            _commit(db, committed.value, 1)
            committed.value += 1
            if journal == "wal" and dice.random() < 0.2:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            time.sleep(dice.uniform(0.0, 0.06))


def _commit(db: sqlite3.Connection, first: int, n: int) -> None:
    """Write so many pairs in one transaction: states 2k + 1 and 2k + 2 say k."""
    for pair in range(first, first + n):
        db.executemany("INSERT INTO states VALUES (?, NULL, ?, NULL, ?, 0)",
                       [(2 * pair + k, str(pair), 1.3e9 + pair) for k in (1, 2)])  # fmt: skip
    db.commit()


def what_is_wrong(states: Iterable[tuple[int, list[str]]], before: int) -> str:
    """Why a reading is no picture of one moment; empty where it is.

    Args:
        states: (number, cells) as they were read.
        before: pairs that were committed before.
    """
    said = {number: cells[1] for number, cells in states}
    n = len(said)
    if set(said) != set(range(1, n + 1)):
        return f"{n} states up to {max(said, default=0)}"
    if n % 2 or any(said[number] != str((number - 1) // 2) for number in said):
        return f"{n} states: half a commit, or another state"
    return f"{n // 2} pairs, but {before} were committed before" if n < 2 * before else ""


def beside_its_owner(journal: str, n: int, read: Read = hass.read_states, pairs: int = PAIRS) -> list[Claim]:
    """Read a file while its owner writes it.

    Args:
        journal: of :data:`JOURNALS`.
        n: readings.
        read: what reads it.
        pairs: in the file before.
    """
    with tempfile.TemporaryDirectory() as folder:
        make_recorder(Path(folder), n=0)
        path = Path(folder, NAME)
        with closing(sqlite3.connect(path)) as db:
            _commit(db, 0, pairs)
        context = multiprocessing.get_context("spawn")
        committed, end = context.Value("l", pairs), context.Event()
        owner = context.Process(target=own, args=(path, journal, committed, end))
        owner.start()
        wrong, refused, begun = list[str](), 0, time.monotonic()
        while committed.value == pairs and owner.is_alive() and time.monotonic() < begun + START_S:
            time.sleep(0.01)
        for _ in range(n):
            before = committed.value
            try:
                wrong += filter(None, [what_is_wrong(read(path), before)])
            except DataError as error:
                refused += 1
                wrong += [] if "is written all the time" in str(error) else [str(error)[:150]]
        end.set()
        owner.join(30)
        commits = committed.value - pairs
        owner.kill()
    what = f"Home Assistant's file while its owner writes ({'log' if journal == 'wal' else 'journal'})"
    why = f"{commits} commits by another process meanwhile, {refused} of {n} readings refused ({SHOWN_BY})"
    return [
        at_least(f"{what}: readings that came through", n // 2, n - refused, "readings", why=why),
        exactly(f"{what}: readings torn, or without what was committed before", 0, len(wrong), "readings",
                why="; ".join([why, *wrong[:3]])),
        exactly(f"{what}: an owner that was held up", 0, int(owner.exitcode != 0 or not commits), "times",
                why=f"exit code {owner.exitcode}"),
    ]  # fmt: skip


def copy_on_full_disk(disk: Disk, read: Read = hass.read_states) -> Seen:
    """The disk of temporary files has no room for the copy: the file is as it was, and nothing of the copy is left."""
    with tempfile.TemporaryDirectory() as folder:
        make_recorder(Path(folder), n=0)
        path = Path(folder, NAME)
        with closing(sqlite3.connect(path)) as db:
            _commit(db, 0, PAIRS)
        whole, junk = path.read_bytes(), disk.fill(left=len(path.read_bytes()) // 2)
        with patch.object(tempfile, "tempdir", str(disk.path)):
            said = error_of(lambda: list(read(path)))
            lost = (path.read_bytes() != whole) + len(set(os.listdir(disk.path)) - {junk.name})
            junk.unlink()
            lost += bool(what_is_wrong(read(path), PAIRS))
        return Seen(said, lost)


def claims(n: int = 60) -> list[Claim]:
    """Both journals, so many readings each."""
    return [claim for journal in JOURNALS for claim in beside_its_owner(journal, n)]
