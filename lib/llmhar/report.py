"""Runs notebooks through papermill into self-contained reports and an index. Knows no data, prompt or model.

Order of things: all settings of all notebooks are checked first; each notebook runs in a process of its own; outputs
are written beside their place and moved there in one step, so a report is old or new, never half. A failing notebook
leaves its executed copy and a one-line cause in ``run.json`` and in the index.
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
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from llmhar import paths, settings
from llmhar.datasets import DATASETS
from llmhar.distill.quantise import PRECISIONS
from llmhar.distill.recipe import BACKENDS, METHODS
from llmhar.distill.traces import FILTERS
from llmhar.engines import ENGINES
from llmhar.explorer import templates
from llmhar.models import load_models
from llmhar.planner import Load, devices, refuse_if_starved
from llmhar.prompts import ANSWER_STYLES, PROMPTS
from llmhar.publish import MEDIA_TYPE
from llmhar.serialize import SERIALIZERS
from llmhar.settings import PROFILES, RunSpec, SettingsError
from llmhar.store import Store

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
_COURSES = ("datasets", "if_here", "test_on")
_COUNTS = (
    *[
        "n_windows",
        "window_size",
        "max_tokens",
        "n_samples",
        "n_gpus",
        "n_shown",
        "step",
        "teacher_samples",
        "max_steps",
    ],
    *[
        "full_steps",
        "batch_size",
        "accumulate",
        "rank",
        "alpha",
        "save_every",
        "few_windows",
        "max_epochs",
        "on_policy_steps",
    ],
)
_PROGRESS = re.compile(r"\d+%\|.*\|")


@dataclass(frozen=True)
class Job:
    """One notebook to run."""

    notebook: str
    """Name without ending, e.g. "02_prompting"."""
    source: Path
    spec: RunSpec
    folder: Path
    """``reports/<profile>/<notebook>``."""
    cwd: Path
    """The caller's folder: relative paths in parameters are read from it and recorded as given."""


def notebook_names() -> list[str]:
    """All notebooks, in the order they are read and run."""
    return sorted(path.stem for path in (paths.root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def parameters_of(notebook: Path) -> dict[str, settings.Parameter]:
    """Names, types, defaults and help from a notebook's cell tagged ``parameters``.

    Raises:
        SettingsError: no such cell, or two.
    """
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise SettingsError(f"{notebook.name}: need exactly one cell tagged `parameters`, found {len(cells)}")
    return settings.read_parameters(cells[0].source)


def plan_jobs(profile: str, names: Iterable[str], options: Mapping[str, str], cwd: Path) -> list[Job]:
    """Check everything that can be checked before any work.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks, by name or by number ("02"); none = all.
        options: ``-p`` values; each must fit at least one of the notebooks, and is given to those it fits.
        cwd: the caller's folder.

    Raises:
        SettingsError: an unknown profile, notebook or parameter, or a value of another type.
    """
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; there are: {', '.join(PROFILES)}")
    chosen = list(dict.fromkeys(_find_notebook(name) for name in names)) or notebook_names()
    parameters = {name: parameters_of(paths.root() / "notebooks" / f"{name}.ipynb") for name in chosen}
    strangers = [option for option in options if not any(option in known for known in parameters.values())]
    if strangers:
        known = sorted({name for names in parameters.values() for name in names})
        raise SettingsError(f"-p: unknown parameter {', '.join(strangers)}; there are: {', '.join(known)}")
    jobs = []
    for name in chosen:
        file = paths.params() / name / f"{profile}.yaml"
        own = {option: text for option, text in options.items() if option in parameters[name]}
        values = settings.resolve(parameters[name], settings.read_profile(file), own, f"params/{name}/{profile}.yaml")
        _check_values(values, f"{name}, {profile}")
        jobs.append(
            Job(
                notebook=name,
                source=paths.root() / "notebooks" / f"{name}.ipynb",
                spec=settings.make_spec(name, profile, values),
                folder=paths.reports() / profile / name,
                cwd=cwd,
            )
        )
    return jobs


_CHOICES: dict[str, Callable[[], Iterable[str]]] = {
    "dataset": lambda: DATASETS,
    "datasets": lambda: DATASETS,
    "engine": lambda: ["auto", *ENGINES],
    "wording": lambda: PROMPTS,
    "serializer": lambda: SERIALIZERS,
    "answer": lambda: ANSWER_STYLES,
    "device": devices,
    **dict.fromkeys(("if_here", "test_on"), lambda: DATASETS),
    **dict.fromkeys(("teacher_wording", "student_wording"), lambda: PROMPTS),
    **dict.fromkeys(("teacher_serializer", "student_serializer"), lambda: SERIALIZERS),
    **dict.fromkeys(("trace_filter", "again_filter"), lambda: FILTERS),
    "backend": lambda: BACKENDS,
    "method": lambda: ["auto", *METHODS],
    "serve": lambda: ["adapter", "merged"],
    "precisions": lambda: PRECISIONS,
    **dict.fromkeys(("models", "tokenizer", "constrained_model", "repeated_model", "thinking_model"), load_models),
    **dict.fromkeys(("teacher", "students", "session_student", "on_policy_student"), load_models),
}
"""Parameter -> the registry that its values must be in."""


def _check_values(values: Mapping[str, Any], where: str) -> None:
    """Names that a registry does not hold, counts below 1, empty or doubled lists: an error before any work."""
    for name, value in values.items():
        given = value if isinstance(value, list) else [] if value is None else [value]
        known = list(_CHOICES[name]()) if name in _CHOICES and given else given
        if name in _COURSES:  # loader options stand behind a colon; loaders check them
            known = [one for one in given if str(one).partition(":")[0] in known] or known
        unknown = [one for one in given if one not in known]
        if unknown:
            raise SettingsError(f"{where}: {name}: unknown {unknown[0]!r}; there are: {', '.join(known)}")
        if name in ("models", "datasets") and (not given or len(set(given)) < len(given)):
            raise SettingsError(f"{where}: {name} must name at least one, and none twice; got {value!r}")
        if name in _COUNTS and value is not None and value < 1:
            raise SettingsError(f"{where}: {name} must be at least 1, got {value}")
        if value == "":
            raise SettingsError(f"{where}: {name} is empty; leave it out, or write none")
    if "device" in values:  # stop a run whose device has no room for a model: PlanError names the cure
        load = Load(output=min(Load().output, values.get("max_tokens", Load().output)))
        for model in values.get("models", []):
            refuse_if_starved(model, values["device"], load, n_gpus=values.get("n_gpus", 1))


def _find_notebook(name: str) -> str:
    found = [known for known in notebook_names() if known == name or known.startswith(f"{name}_")]
    if len(found) != 1:
        raise SettingsError(f"unknown notebook {name!r}; there are: {', '.join(notebook_names())}")
    return found[0]


def run_jobs(jobs: Sequence[Job], n_parallel: int = 1) -> list[dict[str, Any]]:
    """Run all jobs and write the index of their profile; one failing notebook does not stop the others.

    Returns:
        The ``run.json`` of each job, in order.
    """
    done: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(max(1, n_parallel)) as pool:
        waiting = {pool.submit(_run_apart, job, n_parallel == 1): job for job in jobs}
        for future in tqdm(as_completed(waiting), total=len(jobs), desc="notebooks", unit="notebook", mininterval=1.0):
            job = waiting[future]
            done[job.notebook] = future.result()
            said = f"{job.notebook}: {done[job.notebook]['status']} in {done[job.notebook]['seconds']:.0f} s"
            tqdm.write(said, file=sys.stderr)
    for folder in {job.folder.parent for job in jobs}:
        write_index(folder)
    return [done[job.notebook] for job in jobs]


def _run_apart(job: Job, progress: bool) -> dict[str, Any]:
    """Run a job in a process of its own: papermill's working directory is the process's, and a death stays its own."""
    start = time.perf_counter()
    file = job.folder / "run.json"
    file.unlink(missing_ok=True)  # an older run's record must not pass for this one's
    process = multiprocessing.get_context("spawn").Process(target=run_job, args=(job, progress))
    process.start()
    process.join()
    if not file.is_file():
        record = _record(job, f"the notebook's process ended early (exit code {process.exitcode})", start)
        _write_record(file, record)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _record(job: Job, cause: str, start: float) -> dict[str, Any]:
    """What run.json holds of a job that published nothing yet."""
    return {
        "status": "failed" if cause else "ok",
        "cause": cause,
        "notebook": job.notebook,
        "profile": job.spec.profile,
        "commit": job.spec.commit,
        "params": job.spec.params,
        "packages": job.spec.packages,
        "device": job.spec.device,
        "seconds": round(time.perf_counter() - start, 2),
        "key_numbers": {}, "engines": [], "models": {}, "datasets": [], "kinds": [], "table": None,
    }  # fmt: skip


def run_job(job: Job, progress: bool = True) -> dict[str, Any]:
    """Run one notebook and write its report.ipynb, report.html and run.json.

    Returns:
        What run.json holds; "status" is "ok" or "failed" (then "cause" says why in one line).
    """
    start = time.perf_counter()
    with Store() as store:
        store.add_run(job.spec.to_json())
    job.folder.mkdir(parents=True, exist_ok=True)
    temporary = job.folder / f".report.{uuid.uuid4().hex}.ipynb"
    try:
        cause = _execute(job, temporary, progress)
        executed = nbformat.read(temporary, as_version=4) if temporary.is_file() else None
    finally:
        temporary.unlink(missing_ok=True)
    found = _published(executed) if executed else None
    if not cause and found is None:
        cause = "the notebook published no results (call llmhar.publish.publish once)"
    record = _record(job, cause, start)
    record |= found or {}
    _write_figure(job.folder / "figure.png", record.pop("figure_png", None))
    if executed is not None:
        _clean_metadata(executed)
        paths.write_text(job.folder / "report.ipynb", nbformat.writes(executed))
        paths.write_text(job.folder / "report.html", to_html(executed, job.notebook))
    _write_record(job.folder / "run.json", record)
    return record


def _write_record(target: Path, record: Mapping[str, Any]) -> None:
    paths.write_text(target, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


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
            extra_arguments=["--log-level=40"],
        )  # fmt: skip
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


def to_html(notebook: NotebookNode, title: str) -> str:
    """One self-contained page: images inside, no script, nothing fetched, HTML of outputs sanitised."""
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    # Outputs only: markdown cells are our own reviewed text, and hold "<" in code spans.
    sanitiser = SanitizeHTML(tags=TAGS, attributes=ATTRIBUTES, styles=STYLES)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = sanitiser.sanitize_code_outputs(cell.outputs)
    exporter = HTMLExporter(
        template_name="lab", embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True,
        exclude_anchor_links=True,
    )  # fmt: skip
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
            json.loads(file.read_text(encoding="utf-8"))
            | {"link": f"{file.parent.name}/report.html"}
            | {"figure": base64.b64encode(figure.read_bytes()).decode("ascii") if figure.is_file() else None}
        )
    page = templates.get_template("index.html.j2").render(profile=folder.name, runs=runs, csp=CSP)
    paths.write_text(folder / "index.html", page)
    return folder / "index.html"
