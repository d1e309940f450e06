"""Results in README and docs, written from ``reports/record`` and by nobody's hand.

A span stands between ``<!-- record: NAME -->`` and ``<!-- /record -->``; ``llmhar record`` writes all anew, and a
test finds a text that differs from what the records give. What was not recorded says so.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.models import HOME_MODEL
from llmhar.run.findings import against, paired
from llmhar.score.stats import bounded

_SPAN = re.compile(r"(<!-- record: (\w+) -->\n).*?(<!-- /record -->)", re.DOTALL)
FILES = ("README.md", "docs/*.md")
"""Where spans may stand, below the checkout."""
ROWS = {
    "teacher": "its teacher: scripted rules fitted by hand to this home",
    "student": "student, taught reasoning and answers",
    "student_seed_1": "the same, trained once more (seed 1)",
    "answer_only": "student, taught answers only",
    "answer_only_seed_1": "the same, trained once more (seed 1)",
    "trees": "trees on the teacher's labels, 5 seconds",
    "trees_truth": "trees on the truth",
    "lookup": "table of sensor and part of day, teacher's labels",
    "rules_plain": "rules without habits",
    "embeddings": "text embeddings, no labelled home",
    "zero_shot": "the student before training",
    "majority": "chance: the most frequent activity",
}
"""Beginning of a key number's name -> how README calls it."""


KNOWN = {
    "student": "SmolLM2-135M taught reasons and answers",
    "answer_only": "answers only",
    "trees": "trees on the same labels",
    "lookup": "a table of sensor and part of day",
    "rules_plain": "rules without habits",
    "embeddings": "text embeddings",
}
"""Beginning of a key number's name -> how a sentence calls it."""


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
    scores = list({row["data"]: row for row in run["scores"]}.values())[:2]
    heads = " | ".join(row["data"].partition(" ")[0] for row in scores)
    table = [f"| macro F1 [95 % interval over sessions] | {heads} |", "|---|---|---|", *rows]
    counted = "; ".join(f"{row['data']}: {row['n_sessions']} sessions, {row['n_events']} events" for row in scores)
    gap, p = _f1(numbers, "student_minus_answer_only"), numbers.get("student_minus_answer_only_p")
    said = f"Reasoning minus answers only, paired by session: {gap}, p {p:.3f}. " if p is not None else ""
    made_by = "; ".join(engine for engine in run["engines"] if engine.startswith("smollm2"))
    said = f"{counted}. {said}{_seeds(numbers)} {numbers.get('plan', '')} ({_about(run)}; {made_by})."
    return "\n".join(table) + f"\n\n{textwrap.fill(said, 119)}"


def _seeds(numbers: Mapping[str, Any]) -> str:
    """How often each arm was trained, and what its trainings have in the mean."""
    if "seeds" not in numbers:
        return "One run of each arm;"
    own, bare = (_f1(numbers, f"{arm}_of_seeds") for arm in ("student", "answer_only"))
    said = f"Mean of {numbers['seeds']} trainings of each arm: reasons and answers {own}, answers only {bare}"
    if (p := numbers.get("student_minus_answer_only_of_seeds_p")) is not None:
        said += f", paired {_f1(numbers, 'student_minus_answer_only_of_seeds')}, p {p:.3f}"
    return f"{said};"


def known_span(record: Path) -> str:
    """The same as one paragraph: the student on the new seed, and all that could explain its score."""
    run = read_run(record, "demo-full", "04_distillation")
    numbers = run.get("key_numbers", {})
    if "trees_f1" not in numbers:
        return student_span(record)
    found = [f"{words} {_f1(numbers, name)}" for name, words in KNOWN.items() if f"{name}_f1" in numbers]
    first, p = run["scores"][0], numbers.get("student_minus_answer_only_p")
    pair = _f1(numbers, "student_minus_answer_only")
    gap = "" if p is None else f" Reasons minus answers only, paired: {pair}, p {p:.3f}."
    said = f"{first['n_sessions']} sessions of {first['data']}, macro F1: {'; '.join(found)}.{gap}"
    return textwrap.fill(f"{said} {_seeds(numbers)} {numbers.get('plan', '')} ({_about(run)}).", 119)


def meaning(record: Path) -> str:
    """What a student buys on a home whose labels one has, and where it is needed: a paragraph made from the numbers.

    Args:
        record: ``reports/record``; nothing is said where the student was not recorded with its controls.
    """
    numbers = read_run(record, "demo-full", "04_distillation").get("key_numbers", {})
    if not {"student_f1", "trees_f1", "student_minus_trees_f1"} <= set(numbers):
        return ""
    gap = numbers["student_minus_trees_f1"]
    buys = {"ahead": "more than", "behind": "less than", "not shown": "nothing that can be shown over"}
    trees = paired(gap, numbers.get("student_minus_trees_p"))
    said = (
        f"What it means. On a home whose labels one has, a student buys {buys[trees]} trees that are fitted in five "
        f"seconds on the same labels: its macro F1 is {_f1(numbers, 'student')}, theirs {_f1(numbers, 'trees')} "
        f"({against('trees', gap, numbers.get('student_minus_trees_p'))})."
    )
    if (gap := numbers.get("student_minus_answer_only_f1")) is not None:
        p = numbers.get("student_minus_answer_only_p")
        said += f" Taught the teacher's reasons, not its answers alone: {against('answers only', gap, p)}."
    elsewhere = read_run(record, "demo-full", "04b_transfer").get("key_numbers", {})
    if "transfer_f1" in elsewhere:
        said += (
            " Trees and tables need labels of the very home. In homes never seen there are none: a student of made-up "
            f"homes has {_f1(elsewhere, 'transfer')} there, text embeddings {_f1(elsewhere, 'transfer_embeddings')}, "
            f"rules without habits {_f1(elsewhere, 'transfer_rules_plain')}."
        )
    if "seeds" in numbers:
        gap, p = (numbers.get(f"student_minus_answer_only_of_seeds_{end}") for end in ("f1", "p"))
        said += (
            f" Each arm was trained {numbers['seeds']} times: over them reasons and answers have "
            f"{_f1(numbers, 'student_of_seeds')}, answers alone {_f1(numbers, 'answer_only_of_seeds')}"
        )
        said += "." if gap is None else f"; {against('answers only', gap, p)}."
    else:
        said += " Each arm was trained once: what another seed would give is not shown."
    return textwrap.fill(said, 119)


RECORDED_HOMES = {
    "uci_a": "UCI ADL A", "uci_b": "UCI ADL B", "kasteren_a": "Kasteren A", "casas_al": "CASAS AL"
}  # fmt: skip
SIMULATED_HOMES = {"odd_homes": "40 made-up homes of rare words", "simulated_other": "the simulated home, other days"}
"""Name of a home in key numbers -> how README calls it."""
HOMES = {
    "transfer": "SmolLM2-135M taught on made-up homes: its reasons, named by a matcher",
    "transfer_own_names": "the same, naming activities itself",
    "transfer_answer_only": "taught the same windows without reasons, naming activities itself",
    "transfer_rules_plain": "hand-written rules without habits",
    "transfer_embeddings": "text embeddings",
    "transfer_matcher": "pairwise matcher, fitted on the same made-up homes",
}
"""Beginning of a key number's name -> how README calls who goes to homes never seen."""


def homes_span(record: Path) -> str:
    """Who goes to homes never seen: the mean over recorded homes, and the student home by home."""
    run = read_run(record, "demo-full", "04b_transfer")
    numbers = run.get("key_numbers", {})
    if "transfer_f1" not in numbers:
        return "Not recorded yet: `llmhar run demo-full 04b`, then `llmhar record demo-full 04b`."
    table = ["| without any labelled day of the home | macro F1 [95 % interval over sessions] |", "|---|---|"]
    table += [f"| {words} | {_f1(numbers, name)} |" for name, words in HOMES.items() if f"{name}_f1" in numbers]

    def own(names: Mapping[str, str]) -> str:
        return ", ".join(f"{words} {numbers[key]:.3f}" for name, words in names.items()
                         if (key := f"transfer_f1_{name}") in numbers)  # fmt: skip

    gaps = [
        f"{numbers[key]:+.3f} against {words}, p {numbers[f'{key}_p']:.4f}"
        for key, words in (("transfer_minus_answer_only", "answers only"), ("transfer_minus_embeddings", "embeddings"),
                           ("transfer_minus_matcher", "the matcher"),
                           ("transfer_minus_rules_plain", "rules-plain"))
        if key in numbers
    ]  # fmt: skip
    real = {row["data"]: row for row in run.get("scores", []) if row["data"].endswith("(real)")}.values()
    n_sessions, n_events = (sum(row[key] for row in real) for key in ("n_sessions", "n_events"))
    counted = f" ({n_sessions} sessions, {n_events:,} events)" if real else ""
    n, made_by = numbers["transfer_homes"], next((name for name in run["engines"] if "made-up homes:" in name), "")
    said = (
        f"The student is `{HOME_MODEL}`. Mean over the {n} recorded homes{counted}: {own(RECORDED_HOMES)}. Not in "
        f"the mean, simulated: {own(SIMULATED_HOMES)}. The student's gap, paired by session: {'; '.join(gaps)}."
    )
    if isinstance(day := numbers.get("overtake_days"), float):
        low, high = (numbers.get(f"overtake_days_{end}") for end in ("low", "high"))
        said += f" Decision trees need {bounded(day, low, high)} labelled days of the home itself to pass it."
    said = textwrap.fill(f"{said} One training, seed 0 ({_about(run)}; {made_by}).", 119)
    return "\n".join(table) + f"\n\n{said}"


FUSED = {
    "vote": "a vote over steps", "rules": "scripted rules", "embeddings": "text embeddings",
    "student": "SmolLM2-135M taught on made-up clips", "student_unseen": "the same on activities never taught",
}  # fmt: skip
"""Beginning of a key number's name -> how a sentence calls who fuses sound, motion and context."""


def fusion_span(record: Path) -> str:
    """Who fuses sound, motion and context as text, everything shown, as one paragraph."""
    run = read_run(record, "demo-full", "05_fusion")
    numbers = run.get("key_numbers", {})
    if "student_f1" not in numbers:
        return "Not recorded yet: `llmhar run demo-full 05`, then `llmhar record demo-full 05`."
    found = [f"{words} {_f1(numbers, name)}" for name, words in FUSED.items() if f"{name}_f1" in numbers]
    fitted = f"naive Bayes fitted on labelled clips {numbers['f1_all_bayes']:.3f}"
    said = f"{numbers['student_clips']} composed clips, macro F1: {'; '.join([fitted, *found])}; one run"
    return textwrap.fill(f"{said} ({_about(run)}).", 119)


def _f1(numbers: Mapping[str, Any], name: str) -> str:
    """A score with its interval, as a key number holds it."""
    return bounded(*(numbers.get(f"{name}_f1{end}") for end in ("", "_low", "_high")))


SPANS: dict[str, Callable[[Path], str]] = {
    "student": student_span, "known": known_span, "homes": homes_span, "fusion": fusion_span
}  # fmt: skip
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
