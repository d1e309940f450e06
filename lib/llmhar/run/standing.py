"""Which reports stand: nothing that could change them has changed since they were made. Runs nothing.

Beside a report that succeeded lies a file ``made_from``: hashes of the notebook, its settings, the library's code and
parameter files, the data's files, and the keys of all answers that the run looked up (:mod:`llmhar.ask.seen`). A report
stands while all of it is as it was and each of those answers is still the one that the store gives. Whatever cannot be
told (a missing file, a request without an answer, another version of this format) means: run it again.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmhar import paths
from llmhar.ask import seen, trained
from llmhar.ask.store import Store, StoreError
from llmhar.data.registry import DATASETS
from llmhar.records import sha256_of
from llmhar.run import aside
from llmhar.run.jobs import Job

VERSION = 2
"""Of the file: one of another version says nothing."""
_PACKAGE = Path(__file__).parents[1]


class Inputs(NamedTuple):
    """What a run reads beside answers and students."""

    hashes: dict[str, str]
    """"source", "settings" (packages and device among them) and "code" (library and parameter files)."""
    data: frozenset[str]
    """Name, size and time of change of each data file: data can be too large to be read for each run."""

    def to_json(self) -> dict[str, Any]:
        """As :data:`aside.MADE_FROM` holds it."""
        return self.hashes | {"data": sorted(self.data)}

    def as_made(self, made: Mapping[str, Any]) -> bool:
        """Whether a report that was made from those inputs would read the same now. Made-up homes may have come since:
        whoever needs them writes them where they are not, so that a report which did not find them does not need them.
        """
        made_up = tuple(f"{paths.data() / name}{os.sep}" for name, own in DATASETS.items() if own.kind == "simulated")
        was, same = frozenset(made["data"]), made == self.hashes | {"data": made["data"]}
        return same and was <= self.data and all(line.startswith(made_up) for line in self.data - was)


def inputs_of(job: Job) -> Inputs:
    """What a notebook with its settings would read now."""
    spec = job.spec
    settings = [spec.params, spec.packages, spec.device, sys.version, str(job.cwd), job.trial, os.environ.get("TZ")]
    folders = [paths.data(), *(job.cwd / str(given) for given in [spec.params.get("data_dir")] if given)]
    code = [(str(file), _hash(file, file.stat().st_mtime_ns)) for file in _files([_PACKAGE, paths.params()])]
    if paths.own_models().is_file():
        code.append(("", paths.file_sha256(paths.own_models())))
    hashes = {"source": paths.file_sha256(job.source), "settings": sha256_of(settings), "code": sha256_of(code)}
    return Inputs(hashes, _listing(_files(folders)))


@functools.lru_cache(4096)
def _hash(file: Path, changed_ns: int) -> str:
    """What a file held when it was last changed; all notebooks of a run share it."""
    return paths.file_sha256(file)


def _files(places: Iterable[Path]) -> list[Path]:
    """Files at and below these places, sorted; what Python compiled and hidden files are left out."""
    found = list[Path]()
    for place in places:
        if place.is_file():
            found.append(place)
        for folder, inner, names in os.walk(place):
            inner[:] = [name for name in inner if name != "__pycache__" and not name.startswith(".")]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _listing(files: Iterable[Path]) -> frozenset[str]:
    lines = set()
    for file in files:
        with suppress(FileNotFoundError):  # a temporary file of another process
            about = file.stat()
            lines.add(f"{file} {about.st_size} {about.st_mtime_ns}")
    return frozenset(lines)


def _students_of(job: Job) -> str:
    """Students and plans that a notebook which teaches finds; empty for others. A student's folder never changes."""
    if "teaching" not in job.spec.params:
        return ""
    files = [*trained.students_home().glob(f"*/{trained.RECORD}"), *_files([paths.record() / "plan.lock"])]
    return sha256_of(sorted(_listing(files)))


def note_made_from(job: Job, inputs: Inputs, looked_up: Path) -> None:
    """Write down, beside what a run that succeeded wrote, what it was made from.

    Args:
        job: that has run, its folder the one that it wrote to.
        inputs: :func:`inputs_of` before it began; where they are others now, nothing is written. It may have written
            data of its own (made-up homes).
        looked_up: the keys that it looked up, as :mod:`llmhar.ask.seen` kept them.
    """
    now = inputs_of(job)
    if now.hashes != inputs.hashes or not now.data >= inputs.data:
        return
    keys = seen.read(looked_up)
    made = {
        "version": VERSION,
        "inputs": now.to_json(),
        "students": _students_of(job),
        "keys": keys,
        "answers": _answers(keys),
    }
    paths.write_text(job.folder / aside.MADE_FROM, json.dumps(made))


def _answers(keys: list[str]) -> str | None:
    """A hash of the answers that the store has for these requests; None where one has none, or none can be read."""
    if not keys:
        return ""
    try:
        with Store() as store:
            return seen.answers_hash(store, keys)
    except StoreError:
        return None


def standing_record(job: Job) -> dict[str, Any] | None:
    """The ``run.json`` of a report that need not be made again; None where it must be.

    Args:
        job: what would run.
    """
    try:
        record: dict[str, Any] = json.loads((job.folder / aside.RECORD).read_text(encoding="utf-8"))
        made = json.loads((job.folder / aside.MADE_FROM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = (
        record.get("status") == "ok" and aside.later_run(job.folder) is None and (job.folder / "report.html").is_file()
    )
    if not whole or made.get("version") != VERSION or not inputs_of(job).as_made(made["inputs"]):
        return None
    if made["students"] != _students_of(job) or made["answers"] is None or made["answers"] != _answers(made["keys"]):
        return None
    return record


def note_standing(job: Job) -> None:
    """Keep beside a report when it was last found to stand, for the index."""
    paths.write_text(job.folder / aside.STANDS, datetime.now(UTC).isoformat(timespec="seconds"))


def needs_no_engine(job: Job) -> bool:
    """Whether a notebook's answers are all here, as far as can be told before it runs: the report that it made with
    these settings had them. Its figures, texts or code may have changed since.

    Args:
        job: what would run.
    """
    try:
        made = json.loads((job.folder / aside.MADE_FROM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = made.get("version") == VERSION and made["inputs"]["settings"] == inputs_of(job).hashes["settings"]
    return same and made["students"] == _students_of(job) and _answers(made["keys"]) is not None
