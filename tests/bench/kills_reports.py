"""Works that faults_kill.py kills: a report being written, a notebook being run by papermill. Claims nothing.

The report's own writing is a second of work: it is killed apart, with notebooks that were executed before.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat

from llmhar import paths
from llmhar.records import sha256_of
from llmhar.run import jobs, report
from llmhar.run.aside import ASIDE
from tests.bench.kills import Tally, answers, check_store, digest, finish

_CARD = re.compile(r'<section id="([^"]+)"[^>]*>.*?<span class="status \w+">(\w+) in .*?</section>', re.DOTALL)
_SECONDS = re.compile(r"(?<=in )\d+(?= s<)")
_LATER = re.compile(r'<p class="cause">A later run .*?</p>', re.DOTALL)


def import_all() -> None:
    """What report imports when it needs it, so that forks of this process need not."""
    import nbconvert.preprocessors.sanitize  # noqa: F401
    import papermill  # noqa: F401


@contextlib.contextmanager
def moved(folder: Path) -> Iterator[None]:
    """Home and reports in ``folder``; processes of multiprocessing are forks, which have everything imported."""
    places = {"LLMHAR_HOME": str(folder / "home"), "LLMHAR_REPORTS": str(folder / "reports"), "MPLBACKEND": "agg",
              "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
    fork = multiprocessing.get_context("fork")
    with patch.dict(os.environ, places), patch.object(multiprocessing, "get_context", lambda _: fork):
        yield


def plan(profile: str, names: Sequence[str], root: Path | None = None) -> list[jobs.Job]:
    """Jobs of a checkout, by default this one; their folders are set by :func:`run_jobs`."""
    with patch.dict(os.environ, {"LLMHAR_ROOT": str(root or paths.root())}):
        return jobs.plan_jobs(profile, names, {}, Path.cwd())


def run_jobs(planned: Sequence[jobs.Job], folder: Path) -> None:
    """As ``llmhar run`` does, with home and reports in ``folder``."""
    with moved(folder):
        report.run_jobs([dataclasses.replace(job, folder=folder / "reports" / "smoke" / job.notebook)
                         for job in planned])  # fmt: skip


def cards(index: Path) -> dict[str, tuple[str, str]]:
    """Notebook -> status and card of an index, without the run's seconds and what it says of a later run."""
    text = _LATER.sub("", _SECONDS.sub("", index.read_text())) if index.is_file() else ""
    return {found[1]: (found[2], found[0]) for found in _CARD.finditer(text)}


def is_ok(notebook: Path) -> bool:
    """Whether an executed notebook is there, whole, run to its last cell and without an error."""
    try:
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return False
    failed = [one for cell in cells for one in cell.outputs if one.output_type == "error"]
    return bool(cells) and all(cell.execution_count for cell in cells) and not failed


def lies(folder: Path) -> list[str]:
    """Notebooks that run.json or the index calls ok, but whose executed notebook did not end well or has no page."""
    said = {file.parent.name: record_of(file)["status"] for file in folder.glob("*/run.json")}
    shown = {name: status for name, (status, _) in cards(folder / "index.html").items()}
    return [f"{name} is marked ok" for name, status in [*said.items(), *shown.items()] if status == "ok"
            and not (is_ok(folder / name / "report.ipynb") and (folder / name / "report.html").is_file())]  # fmt: skip


def record_of(file: Path) -> dict[str, Any]:
    """run.json without the times that no two runs share; empty where there is none."""
    found = json.loads(file.read_text()) if file.is_file() else {}
    return {name: value for name, value in found.items() if name not in ("seconds", "finished_utc")}


class Reporting:
    """Report: pages, records, figures and index replace those of an older run; papermill's part is done beforehand.

    ``00_first`` was ok and is ok again with another number; ``01_second`` was ok and fails now, so the old one stands.
    """

    def __init__(self, scratch: Path, run: Callable[[Sequence[jobs.Job], Path], None] = run_jobs) -> None:
        self.scratch, self._run, self.version = scratch, run, 1
        for name in ("00_first", "01_second"):
            for version in (0, 1, 2):
                made = _executed(version, failed=(name, version) == ("01_second", 2))
                paths.write_text(scratch / "root" / "notebooks" / f"{version}" / f"{name}.ipynb", nbformat.writes(made))
            shutil.copy(scratch / "root" / "notebooks" / "0" / f"{name}.ipynb", scratch / "root" / "notebooks")
        (scratch / "root" / "params").mkdir()
        self.jobs = plan("smoke", [], scratch / "root")
        self.known = [self._snapshot(version) for version in (1, 2)]
        """What the old run leaves and what the new one does: file -> content."""

    def _snapshot(self, version: int) -> dict[str, str]:
        self.version, folder, tally = version, self.scratch / f"known-{version}", Tally()
        folder.mkdir()
        if version > 1:
            self.begin(folder)
        finish(self, folder, tally)
        if tally.broken:
            raise RuntimeError(tally.broken[0])
        return _contents(folder / "reports" / "smoke")

    def begin(self, folder: Path) -> None:
        shutil.copytree(self.scratch / "known-1" / "reports", folder / "reports")

    def run(self, folder: Path) -> None:
        def execute(job: jobs.Job, output: Path, progress: bool) -> str:
            shutil.copy(self.scratch / "root" / "notebooks" / f"{self.version}" / f"{job.notebook}.ipynb", output)
            return "" if is_ok(output) else "cell 1: ValueError: planted"

        with patch.object(report, "_execute", execute):
            self._run(self.jobs, folder)

    def look(self, folder: Path, tally: Tally) -> None:
        check_store(folder / "home" / "store.sqlite", tally)
        found = _contents(folder / "reports" / "smoke")
        old, new = self.known
        standing = {name: made for name, made in found.items() if f"/{ASIDE}/" not in name}
        tally.half += [f"{name} is neither old nor new" for name, made in standing.items()
                       if made not in (old.get(name), new.get(name), "no card")]  # fmt: skip
        for what in ("card of {}", "{}/run.json"):
            for name in ("00_first", "01_second"):
                said, page = found.get(what.format(name), "no card"), found[f"{name}/report.html"]
                version = old if said == old[what.format(name)] else new
                if said != "no card" and _says_ok(said) and page != version[f"{name}/report.html"]:
                    tally.lies.append(f"{what.format(name)} says ok of another run's page")

    def result(self, folder: Path, tally: Tally) -> bytes:
        check_store(folder / "home" / "store.sqlite", tally)
        return json.dumps(_contents(folder / "reports" / "smoke"), sort_keys=True).encode()


def _executed(version: int, *, failed: bool = False) -> nbformat.NotebookNode:
    """A notebook as papermill leaves it; its pages take some time to write. Version 0 was not executed."""
    v4, words = nbformat.v4, f"version {version} " * 5_000
    payload: dict[str, Any]
    payload = {"key_numbers": {"version": version}, "engines": [], "models": {}, "datasets": [], "kinds": [],
               "table": None, "figure_png": base64.b64encode(words.encode()).decode()}  # fmt: skip
    first = v4.new_code_cell("n: int = 1  # a number", metadata={"tags": ["parameters"]}, id="a")
    ends = [v4.new_output("error", ename="ValueError", evalue="planted", traceback=[])] if failed else [
        v4.new_output("stream", text=words),
        v4.new_output("display_data", {report.MEDIA_TYPE: payload, "text/plain": "published"})]  # fmt: skip
    cells = [first, v4.new_code_cell("publish()", id="b", outputs=ends if version else [])]
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number if version else None
    spec = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return v4.new_notebook(cells=cells, metadata=spec)


def _contents(folder: Path) -> dict[str, str]:
    """File -> hash; run.json as its text and the index as its cards, without the seconds that no two runs share; pages
    without the minute in which they were made.
    """
    found = {}
    for file in sorted(folder.rglob("[!.]*")):
        name = file.relative_to(folder).as_posix()
        if file.name == "run.json":
            found[name] = json.dumps(record_of(file))
        elif file.suffix == ".html" and file.name != "index.html":
            found[name] = sha256_of(re.sub(r"finished: [-\d]+ [\d:]+", "", file.read_text(encoding="utf-8")))
        elif file.name != "index.html" and file.is_file():
            found[name] = digest(file)
    whole = (folder / "index.html").read_text().rstrip().endswith("</html>")
    found["index.html"] = "whole" if whole else "half"
    return found | {f"card of {name}": card for name, (_, card) in cards(folder / "index.html").items()}


def _says_ok(said: str) -> bool:
    return '"status": "ok"' in said or ">ok in" in said


class Executing:
    """Notebook: papermill with a kernel of its own runs one of the project's; an older run's report is there."""

    def __init__(self, scratch: Path, notebook: str = "00_tour") -> None:
        self.scratch, self.notebook = scratch, notebook
        self.jobs = plan("smoke", [notebook])
        self.old = scratch / "older"
        self.old.mkdir()
        finish(self, self.old, tally := Tally())
        if tally.broken:
            raise RuntimeError(tally.broken[0])

    def begin(self, folder: Path) -> None:
        shutil.copytree(self.old / "reports", folder / "reports")

    def run(self, folder: Path) -> None:
        run_jobs(self.jobs, folder)

    def look(self, folder: Path, tally: Tally) -> None:
        check_store(folder / "home" / "store.sqlite", tally)
        tally.lies += lies(folder / "reports" / "smoke")
        place = Path("reports") / "smoke" / self.notebook
        for name, whole in WHOLE.items():
            file = folder / place / name
            if file.exists() and digest(file) != digest(self.old / place / name) and not whole(file):
                tally.half.append(f"{name}: {file.stat().st_size} bytes")

    def result(self, folder: Path, tally: Tally) -> bytes:
        place = folder / "reports" / "smoke"
        tally.lies += lies(place)
        kept = answers(folder / "home" / "store.sqlite")
        tally.doubles += len(kept) - len({row[:2] for row in kept})
        tally.lost += not kept
        return repr([record_of(place / self.notebook / "run.json"), digest(place / self.notebook / "figure.png"),
                     [card for _, card in cards(place / "index.html").values()], kept]).encode()  # fmt: skip


def is_json(file: Path) -> bool:
    with contextlib.suppress(ValueError):
        return bool(json.loads(file.read_text()))
    return False


WHOLE: dict[str, Callable[[Path], bool]] = {
    "run.json": is_json,
    "report.ipynb": is_json,
    "report.html": lambda file: file.read_text().rstrip().endswith("</html>"),
    "figure.png": lambda file: file.read_bytes().endswith(b"IEND\xaeB`\x82"),
}
"""How a file that no second run writes alike is seen to be whole."""
