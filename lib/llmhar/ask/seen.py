"""Which answers a notebook's run looked up: the keys go to a file that the run names, one a line. Asks nobody.

A report depends on these answers and on no others of the store, so that it stands while they stay
(:mod:`llmhar.run.standing`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmhar.ask.store import Store

VARIABLE = "LLMHAR_LOOKED_UP"
"""Environment variable with the file's path; where it is not set, nothing is kept."""
NOTES = "notes"
"""Stands for a look at what people said of answers."""
_kept: set[str] = set()


def keep(keys: Iterable[str], *, timed: bool = False) -> None:
    """Add to the run's file what it does not hold yet; :data:`VARIABLE` is set.

    Args:
        keys: of requests, or :data:`NOTES`.
        timed: whether the answer was asked alone, for its time.
    """
    file = os.environ[VARIABLE]
    new = {f"{key} {int(timed)}" for key in keys} - _kept
    if new:
        with open(file, "a", encoding="ascii") as stream:
            stream.writelines(f"{line}\n" for line in sorted(new))
        _kept.update(new)


def read(file: Path) -> list[str]:
    """The lines of such a file, sorted; none where nothing was looked up."""
    return sorted(set(file.read_text(encoding="ascii").split("\n")) - {""}) if file.is_file() else []


def answers_hash(store: Store, lines: list[str]) -> str | None:
    """A hash over which attempts answer these requests, of every engine, and over all notes where these were read.

    Args:
        store: to look in.
        lines: from :func:`read`.

    Returns:
        None where a request has no answer: a run would ask it.
    """
    made = hashlib.sha256()
    for timed in (False, True):
        keys = [key for key, _, flag in (line.partition(" ") for line in lines) if flag == str(int(timed))]
        answered = _outcomes(store, [key for key in keys if key != NOTES], timed)
        if len({key for key, _ in answered}) < len(set(keys) - {NOTES}):
            return None
        made.update(repr((timed, sorted(answered))).encode())
    if f"{NOTES} 0" in lines:
        made.update(repr(store.notes()).encode())
    return made.hexdigest()


def _outcomes(store: Store, keys: list[str], timed: bool) -> set[tuple[str, str]]:
    """Key and what came of it: each success's number, and the reasons for which rules refuse: they do so each time."""
    return {
        (key, error or str(number))
        for key, number, error, engine in store.attempts(keys, timed=timed)
        if not error or engine == "rules"
    }
