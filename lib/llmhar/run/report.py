"""Runs notebooks through papermill into self-contained reports and an index. Knows no data, prompt or model.

Order of things: all settings of all notebooks are checked first; each notebook runs in a process of its own; outputs
are written aside and take their place only when the run has succeeded, so a report is old or new, never half, and a
run that fails leaves the last good one whole. A failing notebook leaves its executed copy and a one-line cause in
``run.json`` and in the index.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import multiprocessing
import os
import re
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from llmhar import paths
from llmhar.ask.engines import child
from llmhar.ask.engines.worker import watch
from llmhar.ask.inference import Bar
from llmhar.ask.spending import LimitReached
from llmhar.ask.store import Store, StoreError
from llmhar.run import aside
from llmhar.run.jobs import Job
from llmhar.run.publish import MEDIA_TYPE
from llmhar.traces.view import templates_of

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
"""Content security policy of every page: no script runs, nothing is fetched."""

# What notebooks may show as HTML, beside text: everything else is escaped by nbconvert's sanitiser.
TAGS = [
    "h1", "h2", "h3", "h4", "p", "br", "hr", "b", "i", "em", "strong", "code", "pre", "ul", "ol", "li", "div", "span",
    "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary",
]  # fmt: skip
ATTRIBUTES = {"*": ["style", "class", "aria-label", "scope", "colspan", "rowspan"], "details": ["open"]}
STYLES = [
    "background", "border", "border-collapse", "border-radius", "border-top", "color", "font-size", "font-weight",
    "margin", "margin-top", "max-height", "overflow", "padding", "padding-right", "text-align", "vertical-align",
    "white-space",
]  # fmt: skip
_PROGRESS = re.compile(r"\d+%\|.*\|")
SHORTEST_SECRET = 8
"""Characters: shorter values are not looked for, or every "none" and "1234" of a report would be blacked out."""
_INDEX = threading.Lock()
"""Held by the one thread that writes an index."""


def run_jobs(jobs: Sequence[Job], n_parallel: int = 1) -> list[dict[str, Any]]:
    """Run all jobs and write the index of their profile; one failing notebook does not stop the others.

    Returns:
        The ``run.json`` of each job, in order.
    """
    done: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(max(1, n_parallel)) as pool:
        waiting = {pool.submit(_run_apart, job, n_parallel == 1): job for job in jobs}
        for future in Bar(as_completed(waiting), total=len(jobs), desc="notebooks", unit="notebook", mininterval=1.0):
            job = waiting[future]
            record = done[job.notebook] = future.result()
            tqdm.write(f"{job.notebook}: {record['status']} in {record['seconds']:.0f} s", file=sys.stderr)
    for folder in {job.folder.parent for job in jobs}:
        write_index(folder)
    return [done[job.notebook] for job in jobs]


def _run_apart(job: Job, progress: bool) -> dict[str, Any]:
    """Run a job in a process of its own: papermill's working directory is the process's, and a death stays its own."""
    start = time.perf_counter()
    attempt = replace(job, folder=aside.aside(job.folder))
    file = attempt.folder / aside.RECORD
    with _INDEX:  # if this run is killed, the card of the older one says that it began
        aside.begin(job.folder)
        _write_record(file, _record(job, "") | {"status": "running"})
        write_index(job.folder.parent)
    process = multiprocessing.get_context("spawn").Process(target=_run_watched, args=(attempt, progress, os.getpid()))
    process.start()
    process.join()
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if record["status"] == "running":
        record = _record(job, f"the notebook's process ended early (exit code {process.exitcode})")
    record["seconds"] = round(time.perf_counter() - start, 2)
    _write_record(file, record)
    with _INDEX:
        aside.settle(job.folder, partial(write_index, job.folder.parent))
    return record


def _run_watched(job: Job, progress: bool, parent: int) -> None:
    """:func:`run_job` in a process that leaves when ``parent`` is gone; its kernel, engines and trainers follow."""
    threading.Thread(target=watch, args=(parent,), daemon=True).start()
    run_job(job, progress)


def _record(job: Job, cause: str) -> dict[str, Any]:
    """What run.json holds of a job that published nothing yet; seconds are known to whom started it."""
    return {
        "status": "stopped" if LimitReached.__name__ in cause else "failed" if cause else "ok",
        "cause": cause,
        **job.spec.to_json(),
        "trial": job.trial,
        "seconds": 0.0,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        **{
            "key_numbers": {},
            "engines": [],
            "models": {},
            "datasets": [],
            "kinds": [],
            "scores": [],
            "costs": [],
            "table": None,
        },
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
        executed = nbformat.from_dict(redact(executed, job.spec.params))
        paths.write_text(job.folder / "report.ipynb", nbformat.writes(executed))
        paths.write_text(job.folder / "report.html", to_html(executed, job.notebook))
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
            str(job.source),
            str(output),
            parameters=job.spec.params,
            kernel_name="python3",
            cwd=str(job.cwd),
            progress_bar={"mininterval": 1.0, "desc": job.notebook} if progress else False,
            extra_arguments=["--log-level=40"],
        )
    except PapermillExecutionError as error:
        return f"cell {error.cell_index}: {error.ename}: {_first_line(error.evalue)}"
    except Exception as error:  # a kernel that died, a full disk: the index must say so
        traceback.print_exc()
        return f"{type(error).__name__}: {_first_line(str(error))}"
    return ""


def _first_line(text: str, limit: int = 300) -> str:
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines() if line.strip()]
    return lines[0][:limit] if lines else ""


def _published(notebook: NotebookNode) -> dict[str, Any] | None:
    """The payload of the notebook's last ``publish`` call."""
    payloads = [
        output.data[MEDIA_TYPE]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if MEDIA_TYPE in output.get("data", {})
    ]
    return dict(payloads[-1]) if payloads else None


def _clean_metadata(notebook: NotebookNode) -> None:
    """Take out machine paths, finished progress bars, widget state and payloads."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("papermill", NotebookNode()).pop("input_path", None)
    notebook.metadata.get("papermill", NotebookNode()).pop("output_path", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", NotebookNode())
            data.pop(MEDIA_TYPE, None)
            if "text/html" in data:  # pandas' own style sheet, which the sanitiser would show as text
                data["text/html"] = re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.DOTALL)
            if output.output_type == "stream" and output.name == "stderr":
                lines = [line for line in re.split(r"[\r\n]+", output.text) if line and not _PROGRESS.search(line)]
                output.text = "\n".join(lines)
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]


WITH_WORDS = """
{%- extends 'index.html.j2' -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img alt="{{ (output | get_metadata('alt', 'image/png') or 'Picture without words') | escape_html }}"
 src="data:image/png;base64,{{ output.data['image/png'] | replace('\n', '') | escape_html }}">
</div>
{%- endblock data_png -%}
"""
"""nbconvert's lab template drops the words that a figure brings (:class:`llmhar.score.figures.StudyFigure`)."""


def to_html(notebook: NotebookNode, title: str) -> str:
    """One self-contained page: images inside, no script, nothing fetched, HTML of outputs sanitised."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    # Outputs only: markdown cells are our own reviewed text, and hold "<" in code spans.
    sanitiser = SanitizeHTML(tags=TAGS, attributes=ATTRIBUTES, styles=STYLES)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = sanitiser.sanitize_code_outputs(cell.outputs)
    exporter = HTMLExporter(
        template_name="lab",
        template_file="words.html.j2",
        extra_loaders=[DictLoader({"words.html.j2": WITH_WORDS})],
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    return body.replace(
        "<head>", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{html.escape(CSP)}">', 1
    )


def write_index(folder: Path) -> Path:
    """Write ``index.html`` over all reports of a profile, from their run.json files."""
    runs = []
    for file in sorted(folder.glob("*/run.json")):
        figure = file.with_name("figure.png")
        runs.append(
            {"trial": ""}  # older runs have no such field
            | json.loads(file.read_text(encoding="utf-8"))
            | {"link": f"{file.parent.name}/report.html", "later": aside.later_run(file.parent)}
            | {"figure": base64.b64encode(figure.read_bytes()).decode("ascii") if figure.is_file() else None}
        )
    page = templates_of("llmhar.run").get_template("index.html.j2").render(profile=folder.name, runs=runs, csp=CSP)
    paths.write_text(folder / "index.html", page)
    return folder / "index.html"
