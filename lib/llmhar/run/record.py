"""``llmhar record``: copies finished runs of a profile into ``reports/record``, which git tracks, with what models
answered in them (:mod:`llmhar.ask.recorded_answers`), and writes its page.

Runs write into ``reports/<profile>``, which git ignores: no run leaves a tracked file changed, and what is recorded is
recorded on purpose. The page ``results.md`` is made from the recorded ``run.json`` files alone.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask import recorded_answers
from llmhar.ask.store import Store
from llmhar.run.aside import MADE_FROM
from llmhar.run.claims import meaning, write_spans
from llmhar.run.jobs import choose_notebooks, plan_jobs
from llmhar.score.stats import bounded
from llmhar.settings import PROFILES, SettingsError, to_text

RESULTS = "results.md"
HEAD = """# Results recorded on purpose
Written by `llmhar record` from the `run.json` files beside it: do not edit. A row is one run of a notebook with numbers
that it published; its `run.json` holds all of them, with parameters, packages, engines and data. F1 is the mean over
sessions, in brackets its 95 % interval. A commit that a clone lacks was joined with later ones when it landed.
"""
AGAIN = "Run with other settings than the profile has today, or with parameters that have come since; the same again:"
SCORED = ("04_distillation", "04b_transfer")
"""Notebooks whose scores stand whole on the page."""
_RESULT = re.compile(r"f1|accuracy|ratio|tokens_(?!per_s)")
"""Key numbers that the page shows: scores, shares and costs in tokens."""
_COUNT = re.compile(r"n_|(\w+_)?windows|sessions$|events$")
"""Key numbers that say of how many things the others are."""


def record_runs(profile: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """Copy run.json and figure.png of finished runs into ``reports/record/<profile>``, write the page of results, and
    the spans of README and docs that come from the records.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks, by name or by number ("02"); none = all that have run.

    Returns:
        JSON-ready: "profile"; "recorded", a row a notebook ("notebook", "path" and names of "files"); "refused", a row
        a notebook ("notebook" and "why"); "results", where the page is.

    Raises:
        SettingsError: an unknown profile or notebook.
    """
    named = list(names)
    runs = {name: paths.reports() / profile / name for name in choose_notebooks(profile, named)}
    if not named:
        runs = {name: folder for name, folder in runs.items() if (folder / "run.json").is_file()}
    refusals = {name: why for name, folder in runs.items() if (why := _why_not(folder / "run.json", profile, name))}
    if not runs:
        refusals = {"all": f"no notebook has run; run: llmhar run {profile}"}
    recorded = [_copy(runs[name], paths.record() / profile / name) for name in runs if name not in refusals]
    paths.write_text(paths.record() / RESULTS, results_page(paths.record()))
    write_spans()
    return {
        "profile": profile,
        "recorded": recorded,
        "refused": [{"notebook": name, "why": why} for name, why in refusals.items()],
        "results": str(paths.record() / RESULTS),
    }


def _why_not(file: Path, profile: str, name: str) -> str:
    """Why a run is not recorded; empty where it is finished."""
    again = f"run again: llmhar run {profile} {name}"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        _row(file)  # whatever the page needs is there
        return "" if run["status"] == "ok" else f"it {run['status']} ({run['cause']}); {again}"
    except FileNotFoundError:
        return f"it has not run; run: llmhar run {profile} {name}"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{file} is damaged ({type(error).__name__}); {again}"


def _copy(run: Path, target: Path) -> dict[str, Any]:
    """Copy a run's two files and write its answers, all in one step; what an older record had besides goes."""
    files = [name for name in ("run.json", "figure.png") if (run / name).is_file()]
    with paths.replacing_folder(target) as made:
        for name in files:
            shutil.copyfile(run / name, made / name)
        if _write_answers(run, made / recorded_answers.FILE):
            files.append(recorded_answers.FILE)
    return {"notebook": target.name, "path": str(target), "files": files}


def _write_answers(run: Path, file: Path) -> int:
    """Write what models answered to the requests that a run looked up; nothing where the run does not say which."""
    try:
        lines = json.loads((run / MADE_FROM).read_text(encoding="utf-8"))["keys"]
    except (OSError, ValueError, LookupError):
        return 0
    in_batches = [key for key, _, timed in (line.partition(" ") for line in lines) if timed == "0"]
    with Store() as store:
        return recorded_answers.write(store, in_batches, file)


def results_page(folder: Path) -> str:
    """The page of results: a table a profile, a row a recorded run.

    Args:
        folder: holds ``<profile>/<notebook>/run.json``.
    """
    parts = [HEAD]
    for profile in PROFILES:
        rows = [_row(file) for file in sorted((folder / profile).glob("*/run.json"))]
        if rows:
            head = "| notebook | status | commit | data | numbers | of |\n|---|---|---|---|---|---|\n"
            parts.append(f"## {profile}\n{head}" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
        again = [command for file in sorted((folder / profile).glob("*/run.json")) if (command := again_command(file))]
        if again:
            parts.append(f"{AGAIN}\n\n" + "\n".join(f"- `{command}`" for command in again) + "\n")
        parts += [_scores(folder / profile / name / "run.json") for name in SCORED]
    if said := meaning(folder):
        parts.append(f"## What a student buys\n{said}\n")
    return "\n".join(filter(None, parts))


def again_command(file: Path) -> str:
    """What runs a recorded run again, where its profile alone does not; empty where it does, or knows it no more."""
    asked = json.loads(file.read_text(encoding="utf-8")).get("params", {})
    try:
        now = plan_jobs(file.parts[-3], [file.parts[-2]], {}, Path.cwd())[0].spec.params if asked else {}
    except SettingsError:
        return ""
    changed = {name: value for name, value in asked.items() if name in now and now[name] != value}
    # a list that could be None is another parameter today
    fitting = {name: value for name, value in changed.items() if value is not None or not isinstance(now[name], list)}
    options = [shlex.quote(f"{name}={to_text(value)}") for name, value in fitting.items()]
    return " -p ".join([f"llmhar run {file.parts[-3]} {file.parts[-2].partition('_')[0]}", *options]) if options else ""


def _scores(file: Path) -> str:
    """All scores of a recorded run: a row a model, macro and weighted F1 of each data set; empty where there are none.

    A model's row says what made its answers; where that differs between data sets, all are named.
    """
    rows = json.loads(file.read_text(encoding="utf-8")).get("scores", []) if file.is_file() else []
    if not rows:
        return ""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    counts: dict[str, tuple[int, int]] = {}
    made_by: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        key, data = (row["model"], row["kind"]), row["data"]
        cells.setdefault(key, {})[data] = f"{_interval(row, 'macro_f1')} / {_interval(row, 'weighted_f1')}"
        counts[data] = (row["n_sessions"], row["n_events"])
        made_by.setdefault(key, set()).add(f"{row['engine']}, {row['revision']}")
    heads = [f"{data}: {n} sessions, {events} events" for data, (n, events) in counts.items()]
    lines = [["model", "kind", *heads, "made by, revision"], ["---"] * (len(heads) + 3)]
    for (model, kind), own in cells.items():
        lines.append([model, kind, *(own.get(data, "–") for data in counts), "; ".join(sorted(made_by[model, kind]))])
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return f"### {file.parts[-3]}, {file.parts[-2]}: macro F1 / weighted F1 with 95 % intervals\n{table}\n"


def _interval(row: Mapping[str, Any], name: str) -> str:
    return bounded(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _row(file: Path) -> list[str]:
    run = json.loads(file.read_text(encoding="utf-8"))
    place = f"{file.parts[-3]}/{file.parts[-2]}"
    figure = f" ([figure]({place}/figure.png))" if file.with_name("figure.png").is_file() else ""
    date = f", {run['finished_utc'][:10]}" if "finished_utc" in run else ""
    commit = run["commit"][:10] + ("+dirty" if run["commit"].endswith("+dirty") else "")
    return [
        f"[{file.parts[-2]}]({place}/run.json){figure}",
        f"{run['status']} in {run['seconds']:.0f} s",
        f"{commit}{date}",
        _cell("; ".join(run["datasets"])),
        _cell(", ".join(_results(run["key_numbers"]))),
        _cell(", ".join(f"{value} {_words(name)}" for name, value in run["key_numbers"].items() if _COUNT.match(name))),
    ]


def _results(numbers: Mapping[str, Any]) -> Iterator[str]:
    """Results in words, each with its interval; cells of a matrix (their names hold blanks) are left to run.json."""
    for name, value in numbers.items():
        if _RESULT.search(name) and isinstance(value, int | float) and " " not in name:
            low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
            interval = f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else ""
            if not name.endswith(("_low", "_high")):
                yield f"{_words(name)} **{value:.3g}**{interval}"


def _words(name: str) -> str:
    return name.removeprefix("n_").replace("_", " ")


def _cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table, whatever a data set or a model is called."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or "–"
