"""Works that faults_kill.py kills: ``llmhar label --out``, ``students export``, ``record``. Claims nothing.

Each replaces what an older run left; whatever a kill leaves is the old or the new one. A disk that is full is tried on
the same works (:func:`on_full_disk`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import whole
from llmhar.data import simulated
from llmhar.distill.cards import name_student
from llmhar.distill.export import export
from llmhar.run.record import record_runs
from llmhar.score.label import form_for, label_events, write_rows
from tests.bench.disks import Disk, Seen, error_of
from tests.bench.kills import Tally, Work, answers, check_store, digest
from tests.distill.made_students import make_student
from tests.distill.test_export import LLAMA, tiny
from tests.run.test_record import run_json


def contents(place: Path) -> str:
    """Names and hashes of a file or of all files in a folder, hidden ones too; empty where there is nothing."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return json.dumps({str(file.relative_to(place)): digest(file) for file in files if file.is_file()})


class Replacing:
    """What the works share: the output is, after a kill, the old one or the new one."""

    output = ""

    def __init__(self) -> None:
        self.known: set[str] = set()
        """Contents that are whole."""

    def _hidden(self, folder: Path) -> list[str]:
        """What is left of temporary files."""
        return [f"{one.name} is left" for one in folder.rglob(".*.part")]

    def look(self, folder: Path, tally: Tally) -> None:
        made = contents(folder / self.output)
        if made not in self.known:
            tally.half.append(f"{self.output}: {made[:120]}")

    def result(self, folder: Path, tally: Tally) -> bytes:
        made = contents(folder / self.output)
        self.known.add(made)  # of the undisturbed run: what is new
        tally.half += self._hidden(folder)
        return made.encode()


class Labelling(Replacing):
    """``llmhar label --out labels.csv``: answers go into the store, then the table replaces an older one."""

    output = "labels.csv"

    def __init__(self, scratch: Path, write: Callable[..., object] = write_rows, home: Path | None = None) -> None:
        super().__init__()
        self.write, self.home = write, home
        spec = MODELS["rules"]
        self.spec, self.task = spec, whole("simulated", simulated.write(scratch / "home"), form_for(spec), day="01")
        (scratch / "warm").mkdir()
        self.run(scratch / "warm")  # so that forks need not import what it imports when it needs it

    def begin(self, folder: Path) -> None:
        (folder / self.output).write_text("an older table")
        self.known.add(contents(folder / self.output))

    def run(self, folder: Path) -> None:
        with patch.object(paths, "STALE_S", -1.0), Store((self.home or folder) / "store.sqlite") as store:
            labelled = label_events(self.task, self.spec, Asking(progress=False), store)
            self.write(labelled.rows(), folder / self.output)

    def look(self, folder: Path, tally: Tally) -> None:
        check_store(folder / "store.sqlite", tally)
        super().look(folder, tally)

    def result(self, folder: Path, tally: Tally) -> bytes:
        kept = answers((self.home or folder) / "store.sqlite")
        tally.doubles += len(kept) - len({row[:2] for row in kept})
        return super().result(folder, tally) + repr(kept).encode()


class Exporting(Replacing):
    """``llmhar students export --replace``: a folder with GGUF takes the place of one with safetensors."""

    output = "out"

    def __init__(self, scratch: Path, do: Callable[..., object] = export) -> None:
        super().__init__()
        self.do, self.home = do, {"LLMHAR_HOME": str(scratch / "students-home")}
        with patch.dict(os.environ, self.home):
            name_student(make_student("l4-full-1", weights=tiny(scratch / "weights", LLAMA)), "mine")
        (scratch / "warm").mkdir()
        self.run(scratch / "warm")

    def _export(self, do: Callable[..., object], folder: Path, form: str) -> None:
        with patch.dict(os.environ, self.home), patch.object(paths, "STALE_S", -1.0):
            do("mine", folder / self.output, form, replace=True)

    def begin(self, folder: Path) -> None:
        self._export(export, folder, "safetensors")
        self.known.add(contents(folder / self.output))

    def run(self, folder: Path) -> None:
        self._export(self.do, folder, "gguf")

    def look(self, folder: Path, tally: Tally) -> None:
        if (folder / self.output).exists() or not list(folder.glob(".out.*.part/before")):
            super().look(folder, tally)  # else a kill between two moves: run again, it is put back and replaced


class Recording(Replacing):
    """``llmhar record``: two notebooks' run.json and figure replace older ones, then the page of results."""

    output = "root/reports/record"

    def __init__(self, scratch: Path, do: Callable[[str], object] = record_runs) -> None:
        super().__init__()
        self.do, self.scratch = do, scratch
        self.parts: set[str] = set()
        """Contents of a notebook's folder, and of the page, that are whole."""

    def _put(self, folder: Path, seconds: float) -> None:
        for name in ("02_prompting", "04_distillation"):
            for file, text in (("run.json", json.dumps(run_json(name, seconds=seconds)) + " " * 200_000),
                               ("figure.png", f"{seconds} " * 100_000)):  # fmt: skip
                paths.write_text(folder / "reports" / "demo" / name / file, text)
            paths.write_text(folder / "root" / "notebooks" / f"{name}.ipynb", "")

    def _record(self, do: Callable[[str], object], folder: Path) -> None:
        places = {"LLMHAR_ROOT": str(folder / "root"), "LLMHAR_REPORTS": str(folder / "reports")}
        with patch.dict(os.environ, places), patch.object(paths, "STALE_S", -1.0):
            do("demo")

    def begin(self, folder: Path) -> None:
        self._put(folder, 1.0)
        self._record(record_runs, folder)
        self.parts |= self._parts(folder)
        self._put(folder, 2.0)

    def run(self, folder: Path) -> None:
        self._record(self.do, folder)

    def _parts(self, folder: Path) -> set[str]:
        kept = folder / self.output
        return {contents(place) for place in (kept / "results.md", *kept.glob("demo/[!.]*"))}

    def look(self, folder: Path, tally: Tally) -> None:
        tally.half += [f"record: {part[:120]}" for part in self._parts(folder) - self.parts]

    def result(self, folder: Path, tally: Tally) -> bytes:
        self.parts |= self._parts(folder)
        return super().result(folder, tally)


OUTPUTS: dict[str, Callable[[Path], Work]] = {"label": Labelling, "students export": Exporting, "record": Recording}


def on_full_disk(disk: Disk, scratch: Path, work: Callable[[Path], Work], left: int = 8_000) -> Seen:
    """A work whose disk has no room for its output: what was there stays whole, and with room it is done.

    Args:
        disk: an empty one.
        scratch: for what the work needs beside its folder.
        work: makes it.
        left: bytes that are left on the disk.
    """
    made, tally, folder, beside = work(scratch), Tally(), disk.path / "work", scratch / "undisturbed"
    for place in (folder, beside):
        place.mkdir()
        made.begin(place)
    made.run(beside)
    wanted = made.result(beside, Tally())
    junk = disk.fill(left=left)
    said = error_of(lambda: made.run(folder))
    made.look(folder, tally)
    junk.unlink()
    lost = len(tally.half) + len(tally.broken) + bool(error_of(lambda: made.run(folder)))
    return Seen(said, lost + (made.result(folder, tally) != wanted) + len(tally.half))
