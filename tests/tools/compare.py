"""Compares a profile's key numbers with a baseline: ``python -m tests.tools.compare REPORTS_FOLDER BASELINE_FOLDER``.

Either folder holds ``NN_name/run.json`` (a profile's reports, or what is recorded of them) or files ``NN_name.json`` of
the same form. Numbers must be equal to the last digit. A key number is looked for in the notebook of its name, then in
all of the same number: what left ``04_distillation`` for ``04b_transfer`` is still found. Exit code 1 where a number
differs or is gone and none of the rules below says why it may; numbers that the baseline lacks are listed and are no
fault.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmhar.run.terminal import print_line


class Rule(NamedTuple):
    """Key numbers that may differ between two runs of the same code."""

    pattern: str
    """Regular expression that is searched in ``NN/name of the key number``."""
    reason: str


UNTAUGHT = "SmolLM2 untaught: its texts depend on batching"
RULES = (
    Rule(r"(^|[_/ ])seconds|_per_s(_|$)|_(s|ms|min|h|hours|joules|watts|mib)$", "measured on this machine"),
    Rule(r"[_/]smollm2-[\w.-]+$", UNTAUGHT),
    Rule(r"^04/f1 smollm2-[\w.-]+, taught nothing, ", UNTAUGHT),
    Rule(r"^04/zero_shot_", UNTAUGHT),
    Rule(r"^03/missed_pct_(free|schema)$", UNTAUGHT),
)
EXACT = (r"^03/plan_gpu_hours_",)
"""Planned, not measured: no rule holds for these."""
Numbers = Mapping[str, Mapping[str, Any]]
"""Notebook -> name -> value."""
State = Literal["equal", "exempt", "differs", "gone", "new"]
ABSENT = object()


class Row(NamedTuple):
    """One key number on both sides."""

    notebook: str
    name: str
    here: Any
    """``ABSENT``: not in the reports."""
    baseline: Any
    """``ABSENT``: not in the baseline."""
    state: State
    reason: str = ""
    """Of an exempt one: why it may differ."""


def read_numbers(folder: Path) -> Numbers:
    """Key numbers of all finished runs in a folder.

    Raises:
        SystemExit: no run is there, or one that failed; names the file.
    """
    files = {file.parent.name: file for file in folder.glob("[0-9][0-9]*_*/run.json")}
    files |= {file.stem: file for file in folder.glob("[0-9][0-9]*_*.json")}
    if not files:
        raise SystemExit(f"{folder}: no NN_name/run.json and no NN_name.json in it")
    numbers = {}
    for notebook, file in sorted(files.items()):
        run = json.loads(file.read_text(encoding="utf-8"))
        if run["status"] != "ok":
            raise SystemExit(f"{file}: this run {run['status']} ({run['cause']}); nothing to compare")
        numbers[notebook] = run["key_numbers"]
    return numbers


def look_up(numbers: Numbers, notebook: str, name: str) -> Any:
    """A key number in the notebook of this name, else in another of the same number, else ``ABSENT``."""
    siblings = [other for other in numbers if other[:2] == notebook[:2]]
    for other in sorted(siblings, key=lambda other: other != notebook):
        if name in numbers[other]:
            return numbers[other][name]
    return ABSENT


def reason_for(notebook: str, name: str) -> str:
    """Why this key number may differ; empty where it may not."""
    path = f"{notebook[:2]}/{name}"
    if any(re.search(pattern, path) for pattern in EXACT):
        return ""
    return next((rule.reason for rule in RULES if re.search(rule.pattern, path)), "")


def compare(reports: Numbers, baseline: Numbers) -> Iterator[Row]:
    """All key numbers of the baseline, then those that it lacks."""
    for notebook, values in baseline.items():
        for name, wanted in values.items():
            here, reason = look_up(reports, notebook, name), reason_for(notebook, name)
            if here is ABSENT:
                yield Row(notebook, name, here, wanted, "gone")
            elif here == wanted:
                yield Row(notebook, name, here, wanted, "equal")
            else:
                yield Row(notebook, name, here, wanted, "exempt" if reason else "differs", reason)
    for notebook, values in reports.items():
        for name, here in values.items():
            if look_up(baseline, notebook, name) is ABSENT:
                yield Row(notebook, name, here, ABSENT, "new")


def print_rows(rows: Sequence[Row]) -> None:
    """A line a notebook, below it each number that is not equal."""
    for notebook in sorted({row.notebook for row in rows}):
        there = [row for row in rows if row.notebook == notebook]
        counts = {
            state: sum(row.state == state for row in there) for state in ("equal", "differs", "exempt", "gone", "new")
        }
        print_line(f"{notebook}: {', '.join(f'{n} {state}' for state, n in counts.items() if n)}")
        for row in there:
            if row.state != "equal":
                sides = {"here": row.here, "baseline": row.baseline}
                values = ", ".join(f"{side} {value!r}" for side, value in sides.items() if value is not ABSENT)
                print_line(f"  {row.state}: {row.name}: {values}{f' ({row.reason})' if row.reason else ''}")


def main(arguments: Sequence[str]) -> int:
    """Print the comparison; 1 where a number differs or is gone without a reason."""
    if len(arguments) != 2:
        raise SystemExit((__doc__ or "").splitlines()[0])
    rows = list(compare(read_numbers(Path(arguments[0])), read_numbers(Path(arguments[1]))))
    print_rows(rows)
    wrong = sum(row.state in ("differs", "gone") for row in rows)
    print_line(f"{len(rows)} key numbers, {wrong} without a reason differ or are gone")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
