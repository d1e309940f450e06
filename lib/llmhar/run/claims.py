"""Results in README and docs, written from ``reports/record`` and by nobody's hand.

A span stands between ``<!-- record: NAME -->`` and ``<!-- /record -->``; ``llmhar record`` writes all anew, and a
test finds a text that differs from what the records give. What was not recorded says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.score.stats import bounded

_SPAN = re.compile(r"(<!-- record: (\w+) -->\n).*?(<!-- /record -->)", re.DOTALL)
FILES = ("README.md", "docs/*.md")
"""Where spans may stand, below the checkout."""
ROWS = {
    "teacher": "the student's teacher: scripted rules, fitted by hand to this home",
    "student": "student, taught reasoning and answers",
    "answer_only": "student, taught answers only",
    "trees": "trees on the teacher's labels, 5 seconds",
    "trees_truth": "trees on the truth",
    "lookup": "table of sensor and part of day, teacher's labels",
    "rules_plain": "rules without habits",
    "embeddings": "text embeddings, no labelled home",
    "zero_shot": "the student before training",
    "majority": "chance: the most frequent activity",
}
"""Beginning of a key number's name -> how README calls it."""


def read_run(record: Path, profile: str, notebook: str) -> dict[str, Any]:
    """A recorded run.json; empty where it was not recorded."""
    file = record / profile / notebook / "run.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _about(run: Mapping[str, Any]) -> str:
    commit = f"commit {run['commit'][:10]}" + (" with changes" if run["commit"].endswith("+dirty") else "")
    return f"{commit}, {run['finished_utc'][:10]}" if "finished_utc" in run else commit


def student_span(record: Path) -> str:
    """The student beside everything that could explain its score, on the new seed and on other days."""
    run = read_run(record, "demo-full", "04_distillation")
    numbers = run.get("key_numbers", {})
    if "trees_f1" not in numbers:
        return "Not recorded yet with its controls: `llmhar run demo-full 04`, then `llmhar record demo-full 04`."
    rows = [
        f"| {words} | {_f1(numbers, name)} | {_f1(numbers, f'confirmed_{name}')} |"
        for name, words in ROWS.items()
        if f"{name}_f1" in numbers
    ]
    scores = {row["data"]: row for row in run["scores"]}
    heads = [f"{data}: {row['n_sessions']} sessions, {row['n_events']} events" for data, row in scores.items()]
    table = ["| macro F1 [95 % interval over sessions] | " + " | ".join(heads[:2]) + " |", "|---|---|---|", *rows]
    gap, p = _f1(numbers, "student_minus_answer_only"), numbers.get("student_minus_answer_only_p")
    said = f"Reasoning minus answers only, paired by session: {gap}, p {p:.3f}. " if p is not None else ""
    made_by = "; ".join(engine for engine in run["engines"] if engine.startswith("smollm2"))
    return "\n".join(table) + f"\n\n{said}{numbers.get('plan', '')} ({_about(run)}; {made_by}; one run of each arm.)"


def demo_span(record: Path) -> str:
    """What the demo's own notebooks found, a line each."""
    lines = []
    for name, keys in {"02_prompting": ("macro_f1_rules",), "04_distillation": ("teacher", "student", "trees")}.items():
        run = read_run(record, "demo", name)
        numbers = run.get("key_numbers", {})
        found = [f"{key.replace('_', ' ')} {_f1(numbers, key)}" for key in keys if f"{key}_f1" in numbers]
        found += [f"{key.replace('_', ' ')} {numbers[key]:.3f}" for key in keys if key in numbers]
        if found:
            lines.append(f"- `{name}` ({_about(run)}; {'; '.join(run['datasets'])}): {', '.join(found)}.")
    return "\n".join(lines) or "Not recorded yet."


def _f1(numbers: Mapping[str, Any], name: str) -> str:
    """A score with its interval, as a key number holds it."""
    return bounded(*(numbers.get(f"{name}_f1{end}") for end in ("", "_low", "_high")))


SPANS: dict[str, Callable[[Path], str]] = {"student": student_span, "demo": demo_span}
"""Name in a span's mark -> its text from the record's folder."""


def fill_spans(text: str, record: Path | None = None) -> str:
    """A page with each span's text as the records give it.

    Raises:
        KeyError: a span that there is not.
    """
    folder = record or paths.record()
    return _SPAN.sub(lambda span: f"{span[1]}{SPANS[span[2]](folder)}\n{span[3]}", text)


def write_spans(root: Path | None = None) -> list[Path]:
    """Write the spans of README and docs anew; returns the files that changed."""
    root = root or paths.root()
    changed = []
    for file in sorted(file for pattern in FILES for file in root.glob(pattern)):
        text = file.read_text(encoding="utf-8")
        if (filled := fill_spans(text)) != text:
            paths.write_text(file, filled)
            changed.append(file)
    return changed
