"""Runs notebooks through papermill into self-contained reports and an index. Knows no data, prompt or model.

Order of things: all settings of all notebooks are checked first; each notebook runs in a process of its own; outputs
are written aside and take their place only when the run has succeeded, so a report is old or new, never half, and a
run that fails leaves the last good one whole. A failing notebook leaves its executed copy and a one-line cause in
``run.json`` and in the index.
"""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask import seen
from llmhar.ask.engines import child, kept
from llmhar.ask.inference import Bar
from llmhar.ask.spending import LimitReached
from llmhar.ask.store import Store, StoreError
from llmhar.run import aside, standing
from llmhar.run.index import link_reports, page_of, write_index
from llmhar.run.jobs import Job
from llmhar.run.page import to_html
from llmhar.run.publish import MEDIA_TYPE
from llmhar.run.ready import first_engine
from llmhar.settings import without_grammar_of_addresses

with without_grammar_of_addresses():
    import nbformat
    from nbformat import NotebookNode

_PROGRESS = re.compile(r"\d+%\|.*\|")
SHORTEST_SECRET = 8
"""Characters: shorter values are not looked for, or every "none" and "1234" of a report would be blacked out."""
_INDEX = threading.Lock()
"""Held by the one thread that writes an index."""


def run_jobs(jobs: Sequence[Job], n_parallel: int | None = 1, *, force: bool = True) -> list[dict[str, Any]]:
    """Run all jobs and write the index of their profile; one failing notebook does not stop the others.

    Args:
        jobs: notebooks and their settings.
        n_parallel: notebooks at a time; None = two of those whose answers are all here, then one by one the others,
            which need an engine.
        force: run those too whose report stands: nothing that it was made from has changed.

    Returns:
        The ``run.json`` of each job, in order; of a report that stands the old one, with "stands": True.
    """
    done: dict[str, dict[str, Any]] = {}
    for job in [] if force else jobs:
        if record := standing.standing_record(job):
            done[job.notebook] = record | {"stands": True}
            standing.note_standing(job)
    to_run = [job for job in jobs if job.notebook not in done]
    quick = [job for job in to_run if n_parallel is None and standing.needs_no_engine(job)]
    bar = Bar(total=len(jobs), initial=len(done), desc="notebooks", unit="notebook", mininterval=1.0)
    others, n_others = [job for job in to_run if job not in quick], n_parallel or 1
    with kept.Host() as host, bar:
        if n_others == 1 and others and not quick and (terms := first_engine(others[0])):
            threading.Thread(target=host.prepare, args=(terms,), daemon=True).start()
        for part, n in ((quick, 2), (others, n_others)):
            with ThreadPoolExecutor(max(1, n)) as pool:
                waiting = {pool.submit(_run_apart, job, host.address if n == 1 else ""): job for job in part}
                for future in as_completed(waiting):
                    done[waiting[future].notebook] = future.result()
                    bar.update()
    for folder in {job.folder.parent for job in jobs}:
        write_index(folder)
        link_reports(folder)
    return [done[job.notebook] for job in jobs]


def _run_apart(job: Job, lender: str) -> dict[str, Any]:
    """Run a job in a process of its own: papermill's working directory is the process's, and a death stays its own.

    Args:
        job: what to run.
        lender: who lends it engines, and shows that it runs alone; empty: it starts its own, and shows no bar.
    """
    start = time.perf_counter()
    inputs = standing.inputs_of(job)
    attempt = replace(job, folder=aside.aside(job.folder))
    file = attempt.folder / aside.RECORD
    with _INDEX:  # if this run is killed, the card of the older one says that it began
        aside.begin(job.folder)
        _write_record(file, _record(job, "") | {"status": "running"})
        write_index(job.folder.parent)
    environment = {**os.environ, seen.VARIABLE: str(attempt.folder / "looked_up"), kept.VARIABLE: lender}
    # Processes are forks of one that has imported all this: it is started once, and leaves with this process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "papermill", "nbconvert"])
    process = context.Process(target=_run_watched, args=(attempt, bool(lender), environment))
    process.start()
    process.join()
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if record["status"] == "running":
        record = _record(job, f"the notebook's process ended early (exit code {process.exitcode})")
    record["seconds"] = round(time.perf_counter() - start, 2)
    _write_record(file, record)
    if record["status"] == "ok":
        standing.note_made_from(attempt, inputs, attempt.folder / "looked_up")
    with _INDEX:
        aside.settle(job.folder, partial(write_index, job.folder.parent))
    return record


def _run_watched(job: Job, progress: bool, environment: Mapping[str, str]) -> None:
    """:func:`run_job` in a process that leaves when the one that started it is gone; its kernel, engines and trainers
    follow.

    Args:
        job: what to run.
        progress: whether a bar is shown.
        environment: of who started it: the process that this one is forked from may be older.
    """
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    run_job(job, progress)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a process that run_jobs started"
    parent.join()
    os._exit(0)


def _record(job: Job, cause: str) -> dict[str, Any]:
    """What run.json holds of a job that published nothing yet; seconds are known to whom started it."""
    return {
        "status": "stopped" if LimitReached.__name__ in cause else "failed" if cause else "ok",
        "cause": cause,
        **job.spec.to_json(),
        "trial": job.trial,
        "seconds": 0.0,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        **{"key_numbers": {}, "engines": [], "models": {}, "datasets": [], "kinds": [], "scores": [], "costs": []},
        "table": None,
        "tables": {},
        "figures": [],
    }


def run_job(job: Job, progress: bool = True) -> dict[str, Any]:
    """Run one notebook and write its report.ipynb, report.html and run.json.

    Returns:
        What run.json holds; "status" is "ok", "failed", or "stopped" by the limit of dollars ("cause" says why in one
        line).
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    temporary = job.folder / f".report.{uuid.uuid4().hex}.ipynb"
    try:
        cause = _note_run(job) or _execute(job, temporary, progress)
        executed = nbformat.read(temporary, as_version=4) if temporary.is_file() else None
    finally:
        temporary.unlink(missing_ok=True)
    published = _published(executed) if executed else None
    if not cause and published is None:
        cause = "the notebook published no results (call llmhar.run.publish.publish once)"
    record = _record(job, cause) | (published or {})
    _write_figure(job.folder / "figure.png", record.pop("figure_png", None))
    if executed is not None:
        _clean_metadata(executed)
        record["figures"] = _figures(executed)
        executed = nbformat.from_dict(redact(executed, job.spec.params))
        paths.write_text(job.folder / "report.ipynb", nbformat.writes(executed))
        paths.write_text(job.folder / "report.html", to_html(executed, job.notebook, page_of(record)))
    _write_record(job.folder / "run.json", record)
    return record


def _note_run(job: Job) -> str:
    """Keep in the store what makes this run; returns why that cannot be, empty on success."""
    try:
        with Store() as store:
            store.add_run(redact(job.spec.to_json(), job.spec.params))
    except StoreError as error:
        return f"StoreError: {_first_line(str(error))}"
    return ""


def _write_record(target: Path, record: Mapping[str, Any]) -> None:
    paths.write_text(target, json.dumps(redact(record, record["params"]), indent=1, ensure_ascii=False) + "\n")


def redact(value: Any, params: Mapping[str, Any]) -> Any:
    """A JSON-like value without secrets and machine paths: tracebacks and careless prints quote both.

    Args:
        value: text, or lists and mappings of it.
        params: the run's parameters. Values of those and of environment variables whose names say "secret" (the rule
            by which engines' child processes get none) become ``***``.
    """
    named = [v for name, v in [*os.environ.items(), *params.items()] if child.SECRET_NAMES.search(name.upper())]
    secrets = [re.escape(v) for v in named if isinstance(v, str) and len(v) >= SHORTEST_SECRET]
    short = {str(Path.home()): "~", str(paths.home()): "<store>", str(paths.root()): "<checkout>"}
    folders = [rf"(?<![\w.-]){re.escape(folder)}(?=/)" for folder in short]
    hidden = re.compile("|".join(sorted([*secrets, *folders], key=len, reverse=True)))  # the longer name first
    return _replace(value, lambda text: hidden.sub(lambda match: short.get(match[0], "***"), text))


def _replace(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {clean(name): _replace(content, clean) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(part, clean) for part in value]
    return clean(value) if isinstance(value, str) else value


def _write_figure(target: Path, encoded: str | None) -> None:
    """The key figure beside run.json; an older run's figure goes where this run has none."""
    if encoded is None:
        target.unlink(missing_ok=True)
    else:
        with paths.replacing(target) as temporary:
            temporary.write_bytes(base64.b64decode(encoded))


def _execute(job: Job, output: Path, progress: bool) -> str:
    """Run the notebook; returns the one-line cause of a failure, empty on success."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ["LLMHAR_HEADLESS"] = "1"  # inherited by the kernel: static views instead of widgets
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    # papermill's own reading of the parameters cell knows no `int | None`; ours has checked everything already.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            str(job.source), str(output), parameters=job.spec.params, kernel_name="python3", cwd=str(job.cwd),
            progress_bar={"mininterval": 1.0, "desc": job.notebook} if progress else False,
            extra_arguments=["--log-level=40"], execution_timeout=_cell_limit(),
        )  # fmt: skip
    except PapermillExecutionError as error:
        return f"cell {error.cell_index}: {error.ename}: {_first_line(error.evalue)}"
    except Exception as error:  # a kernel that died, a cell past its limit, a full disk: the index must say so
        name = type(error).__name__
        said = f"{_first_line(str(error), 200)}{CURES.get(name, '')}"
        return f"{_cell_that_ran(output)}{name}: {said}"
    return ""


CELL_LIMIT = "LLMHAR_CELL_SECONDS"
"""Environment variable: seconds after which a cell is stopped; not set = no limit."""
CURES = {
    "DeadKernelError": " (it was killed, often for want of memory: ask for fewer windows or a smaller model)",
    "CellTimeoutError": f" ({CELL_LIMIT} sets the limit)",
}
"""Errors of the kernel, not of a cell's code -> what is added to their words."""


def _cell_limit() -> int | None:
    """Seconds that a cell may take; None = as long as it wants."""
    said = os.environ.get(CELL_LIMIT, "")
    return int(said) if said.isascii() and said.isdecimal() and int(said) else None


def _cell_that_ran(output: Path) -> str:
    """The cell that ran when the kernel ended, as papermill notes it: "cell N: ", or nothing where it does not."""
    try:
        cells = nbformat.read(output, as_version=4).cells
    except (OSError, ValueError):
        return ""
    states = [cell.metadata.get("papermill", {}) for cell in cells]
    ran = [i for i, state in enumerate(states) if state.get("status", "pending") != "pending"]
    return f"cell {ran[-1]}: " if ran else ""


def _first_line(text: str, limit: int = 300) -> str:
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines() if line.strip()]
    return lines[0][:limit] if lines else ""


def _published(notebook: NotebookNode) -> dict[str, Any] | None:
    """The payload of the notebook's last ``publish`` call."""
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    payloads = [data[MEDIA_TYPE] for data in outputs if MEDIA_TYPE in data]
    return dict(payloads[-1]) if payloads else None


def _figures(notebook: NotebookNode) -> list[str]:
    """What each figure says in words, in the page's order: texts about figures are compared with it."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [alt for output in outputs if (alt := output.get("metadata", {}).get("image/png", {}).get("alt"))]


def _clean_metadata(notebook: NotebookNode) -> None:
    """Take out machine paths, finished progress bars, widget state and payloads."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("papermill", NotebookNode()).pop("input_path", None)
    notebook.metadata.get("papermill", NotebookNode()).pop("output_path", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                lines = [line for line in re.split(r"[\r\n]+", output.text) if line and not _PROGRESS.search(line)]
                output.text = "\n".join(lines)
        if "outputs" in cell:
            kept = [output for output in cell.outputs if MEDIA_TYPE not in output.get("data", {})]
            cell.outputs = [o for o in kept if o.output_type != "stream" or o.text.strip()]
