"""Says in one sentence what a run found, from its record alone: number, interval, n, and "not shown" where it is not.

A sentence's words of comparison come from :func:`compared`, which looks at the numbers that the sentence quotes: a
sentence cannot say more than its numbers show. Reads no file and knows no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llmhar.run.table_html import number_text

Run = Mapping[str, Any]
"""What run.json holds."""
LEVEL = 0.05
"""A p-value below it counts as shown."""
MOST = 6
"""Key numbers on a card of the index."""
TITLES = {
    "00_tour": "One window, from sensor rows to a score",
    "01_serialization": "How a window is written, and what that costs",
    "02_prompting": "Asking: the prompt, the answers, and how much is right",
    "03_scaling": "How large must a model be?",
    "04_distillation": "What a small model learns from its teacher",
    "04b_transfer": "Students in homes they were not taught in",
    "04c_small_students": "How small a student can get, and what its reasons are worth",
    "05_fusion": "Sound and motion, told as text",
    "05b_encoder_errors": "When the encoders are wrong",
    "06_traces": "Reading traces one by one",
    "07_lesson": "A lesson: guess first, then measure",
}
# Names of key numbers, first come first shown; each is a pattern for the whole name.
ORDER = {
    "00_tour": ("macro_f1_.*", "missed_pct_.*"),
    "01_serialization": ("tokens_.*", "windows_test"),
    "02_prompting": ("macro_f1_.*", "missed_pct_.*", "sessions"),
    "03_scaling": ("macro_f1_rules", "macro_f1_trees.*", "macro_f1_s.*", "missed_pct_schema", "plan_.*"),
    "04_distillation": ("student_f1", "student_of_seeds_f1", "student_minus_answer_only_of_seeds_f1",
                        "student_of_teacher_f1", "teacher_f1", "trees_f1", "student_minus_.*", "zero.*"),
    "04b_transfer": ("transfer_f1", "transfer_minus_.*", "transfer_.*_f1", "transfer_homes",
                     "f1 (?!rules|trees|lookup|text|majority).*", ".*_missed_pct"),
    "04c_small_students": ("gap drop, (?!rules).*", "gap swap, (?!rules).*", "(f1|mb) .*", "gap .*"),
    "05_fusion": ("f1_all_(?!modalities).*", "f1_vote", "imu_accuracy"),
    "05b_encoder_errors": ("accuracy_dose_50_(?!vote|bayes).*", "accuracy_dose_50_.*", "crossing_.*", "f1_all_.*"),
    "06_traces": ("n_traces", "macro_f1_.*"),
    "07_lesson": ("macro_f1_.*", "token_ratio"),
}  # fmt: skip
_WORDS = (
    (r"macro_f1_(.+)", r"macro F1, \1"),
    (r"f1_all_(.+)", r"macro F1, everything told, \1"),
    (r"missed_pct_(.+)", r"% of events without a label, \1"),
    (r"(.+)_missed_pct", r"% of events without a label, \1"),
    (r"tokens_per_s_(.+)", r"tokens a second, \1"),
    (r"tokens_(.+)", r"tokens a window, \1"),
    (r"student_of_teacher_f1", "student's share of its teacher's macro F1"),
    (r"student_minus_(.+)_of_seeds_f1", r"macro F1, student minus \1, means over seeds"),
    (r"student_minus_(.+)_f1", r"macro F1, student minus \1"),
    (r"(.+)_of_seeds_f1", r"macro F1, \1, mean over seeds"),
    (r"transfer_minus_(.+)", r"macro F1 in new homes, student minus \1"),
    (r"accuracy_dose_50_(.+)", r"accuracy with half of the guesses right, \1"),
    (r"crossing_(.+)_(.+)", r"share of right guesses where \1 and \2 cross"),
    (r"motion_(.+)_(\d+)_accuracy", r"accuracy by motion alone, \1, \2 classes"),
    (r"fusion_with_(.+)", r"accuracy of the fusion that \1 feeds"),
    (r"gap (drop|swap), (.+)", r"points more labels moved by cited than by other events (\1), \2"),
    (r"mb (.+)", r"MB of weights, \1"),
    (r"f1 (.+), taught (.+), on (\S+) .+", r"macro F1 on \3, \1, taught \2"),
    (r"f1 (.+)", r"macro F1, \1"),
    (r"(.+)_f1", r"macro F1, \1"),
)
"""Patterns of key numbers' names and how they are read out; the first that fits counts."""


class Score(NamedTuple):
    """A mean with its interval and what it is a mean over."""

    name: str
    kind: str
    mean: float
    low: float | None
    high: float | None
    missed_pct: float | None
    n: int
    unit: str

    def __str__(self) -> str:
        return f"{number_text(self.mean)}{interval_text(self.low, self.high)}"


def interval_text(low: float | None, high: float | None) -> str:
    """An interval behind a number, with a blank before it; empty where there is none."""
    return "" if low is None or high is None else f" [{number_text(low)}, {number_text(high)}]"


def compared(first: Score, second: Score) -> str:
    """How two means stand that were not compared pair by pair: only intervals apart from each other show anything."""
    if None in (first.low, first.high, second.low, second.high):
        return "not shown"
    if (first.low or 0.0) > (second.high or 0.0):
        return "ahead"
    return "behind" if (first.high or 0.0) < (second.low or 0.0) else "not shown"


def paired(gap: float, p: float | None) -> str:
    """How a paired difference stands: its sign where p is below 5 %, else "not shown"."""
    if p is None or p >= LEVEL or gap == 0:
        return "not shown"
    return "ahead" if gap > 0 else "behind"


def finding_of(run: Run) -> str:
    """A run's finding in one sentence; empty where it failed or has no results."""
    if run.get("status") not in ("ok", None) or not run.get("key_numbers"):
        return ""
    return re.sub(r"^the\b", "The", FINDINGS.get(str(run.get("notebook")), _best_models)(run))


def subject(name: str, one: str = "reaches", many: str = "reach", aside: str = "") -> str:
    """An answerer with its verb ("the rules reach", "smollm2-135m reaches") and what stands between the two."""
    the = "the " if name in ("rules", "majority class") else ""
    verb = many if re.match(r"(rules|trees|text embeddings)\b", name) else one
    return f"{the}{name}{aside} {verb}"


def _scores(run: Run) -> list[Score]:
    """Macro F1 of each model on the run's first data."""
    rows = run.get("scores") or []
    return [
        Score(r["model"], r["kind"], r["macro_f1"], r["macro_f1_low"], r["macro_f1_high"], r.get("missed_pct"),
              r["n_sessions"], "session")
        for r in rows
        if r["macro_f1"] is not None and (r["data"], r.get("subset")) == (rows[0]["data"], rows[0].get("subset"))
    ]  # fmt: skip


def _clip_scores(run: Run) -> list[Score]:
    """Macro F1 of each answerer that was told everything, from the table of a study of clips."""
    table = run.get("table") or {"columns": [], "rows": []}
    rows = [dict(zip(table["columns"], row)) for row in table["rows"]]
    if not rows or not {"activities", "answerer", "kind", "macro F1", "low", "high"} <= set(rows[0]):
        return []
    unit = next((name for name in ("recordings", "people", "clusters") if name in rows[0]), "clips")
    return [
        Score(str(r["answerer"]), str(r["kind"]), r["macro F1"], r["low"], r["high"], None, int(r[unit]),
              {"recordings": "recording", "people": "person"}.get(unit, "group of clips"))
        for r in rows
        if r["macro F1"] is not None and r["activities"] == "all"
    ]  # fmt: skip


def _best_models(run: Run, scores: Sequence[Score] | None = None) -> str:
    """The best language model beside the best of the others."""
    scores = _scores(run) if scores is None else scores
    models = [score for score in scores if score.kind == "LLM"]
    others = [score for score in scores if score.kind not in ("LLM", "chance", "published (S2)")]
    if not models and not others:
        return ""
    best = max(models or others, key=lambda score: score.mean)
    if not models or not others:
        alone = "no language model was asked" if not models else "nothing else was asked"
        return f"{subject(best.name)} macro F1 {best} ({_n(best)}); {alone}."
    other = max(others, key=lambda score: score.mean)
    among = f", the best of {len(models)} language models," if len(models) > 1 else ", a language model,"
    missed = best.missed_pct
    silent = f" and leaves {number_text(missed)} % of events without a label" if missed else ""
    stands = compared(best, other)
    said = "which of them is better is not shown" if stands == "not shown" else f"the language model is {stands}"
    what = "no language model" if other.kind.startswith(other.name) else other.kind
    end = f"{subject(other.name, aside=f' ({what})')} {other}: {said} ({_n(min(best, other, key=lambda s: s.n))})."
    return f"{best.name}{among} reaches macro F1 {best}{silent}; {end}"


def _n(score: Score) -> str:
    return f"n = {score.n} {score.unit if score.n == 1 else _plural(score.unit)}"


def _plural(unit: str) -> str:
    return "groups of clips" if unit == "group of clips" else f"{unit}s"


def _writing(run: Run) -> str:
    numbers = run["key_numbers"]
    costs = {name.removeprefix("tokens_"): value for name, value in numbers.items() if re.fullmatch(r"tokens_.*", name)}
    costs = {name: value for name, value in costs.items() if value}
    if len(costs) < 2:
        return ""
    least, most = min(costs, key=lambda name: costs[name]), max(costs, key=lambda name: costs[name])
    times = costs[most] / costs[least]
    unit = _unit(run)
    of = f" (n = {numbers['windows_test']:,} windows)" if numbers.get("windows_test") else ""
    if number_text(costs[least]) == number_text(costs[most]):
        return f"All {len(costs)} ways of writing a window cost {number_text(costs[least])} {unit}{of}."
    return (
        f"The same window costs {number_text(costs[least])} {unit} as {least} and {number_text(costs[most])} as {most}:"
        f" {number_text(times)} times as many{of}."
    )


def _unit(run: Run) -> str:
    """What was counted: words where no tokenizer was named."""
    return "words" if (run.get("params") or {}).get("tokenizer", "") is None else "tokens"


def _student(run: Run) -> str:
    numbers = run["key_numbers"]
    if numbers.get("student_f1") is None:
        return _best_models(run)
    share, n = numbers.get("student_of_teacher_f1"), max((score.n for score in _scores(run)), default=0)
    of = "" if share is None else f", {number_text(100 * share)} % of its teacher's {_quoted(numbers, 'teacher_f1')}"
    beside = _beside(numbers, "trees", "trees") or "; how it stands to trees is not shown"
    beside += _beside(numbers, "answer_only", "a student taught answers only")
    windows = numbers.get("windows")
    over = f" (n = {n} sessions)" if n else f" (n = {windows} windows)" if windows else ""
    return f"The student reaches macro F1 {_quoted(numbers, 'student_f1')}{of}{beside}{over}."


def _beside(numbers: Mapping[str, Any], key: str, name: str) -> str:
    """The student against another, by the means over seeds where each was trained several times; empty: not paired."""
    means = f"student_minus_{key}_of_seeds"
    of_seeds = numbers.get(f"{means}_f1") is not None
    pair = means if of_seeds else f"student_minus_{key}"
    if (gap := numbers.get(f"{pair}_f1")) is None:
        return ""
    over = f", means over {numbers['seeds']} seeds" if of_seeds else ""
    return f"; {against(name, gap, numbers.get(f'{pair}_p'))}{over}"


def _quoted(numbers: Mapping[str, Any], name: str) -> str:
    value = numbers.get(name)
    ends = interval_text(numbers.get(f"{name}_low"), numbers.get(f"{name}_high"))
    return "–" if value is None else f"{number_text(value)}{ends}"


def against(name: str, gap: float, p: float | None) -> str:
    """A paired difference in words."""
    test = "no test" if p is None else f"p {number_text(p)}" if p >= 0.001 else "p < 0.001"
    by = f"by {number_text(abs(gap))} ({test})"
    said = {"ahead": f"ahead of {name} {by}", "behind": f"behind {name} {by}"}
    return said.get(paired(gap, p), f"a difference from {name} is not shown ({test})")


def _moved(run: Run) -> str:
    numbers = run["key_numbers"]
    if numbers.get("transfer_f1") is None:
        return _best_models(run)
    gaps = {"the pairwise matcher": "transfer_minus_matcher", "rules-plain": "transfer_minus_rules_plain"}
    told = {name: key for name, key in gaps.items() if numbers.get(key) is not None}
    beside = "".join(f"; {against(name, numbers[key], numbers.get(f'{key}_p'))}" for name, key in told.items())
    n = numbers.get("transfer_homes")
    homes = "In homes never seen" if n is None else f"In {n} {'home' if n == 1 else 'homes'} never seen"
    return f"{homes} the student reaches macro F1 {_quoted(numbers, 'transfer_f1')}{beside}."


def _clips(run: Run) -> str:
    return _best_models(run, _clip_scores(run))


def _spoilt(run: Run) -> str:
    """The answerer that stands first in the table of doses, where half of the guesses are right, beside the vote."""
    table = run.get("table") or {"columns": [], "rows": []}
    rows = [dict(zip(table["columns"], row)) for row in table["rows"]]
    halfway = [row for row in rows if row.get("dose") == 0.5 and row.get("vote") is not None]
    if not halfway or halfway[0].get("accuracy") is None:
        return ""
    row = halfway[0]
    said = {"lower": "less often than the vote", "higher": "more often than the vote"}.get(
        str(row.get("verdict")), "which of them is better is not shown"
    )
    own, vote = number_text(100 * row["accuracy"]), number_text(100 * row["vote"])
    who = subject(row["answerer"], "is", "are")
    start = f"With half of the encoders' guesses right, {who} right on {own} % of clips"
    return f"{start}, a vote on {vote} %: {said} (n = {row.get('clips')} clips)."


FINDINGS: dict[str, Callable[[Run], str]] = {
    "01_serialization": _writing,
    "04_distillation": _student,
    "04b_transfer": _moved,
    "05_fusion": _clips,
    "05b_encoder_errors": _spoilt,
}
"""Notebook -> its sentence; the others compare their models."""


class KeyNumber(NamedTuple):
    """A key number as a card shows it."""

    words: str
    text: str


def key_numbers(run: Run) -> Iterator[KeyNumber]:
    """All key numbers of a run in the order of its cards, each with its interval and p."""
    numbers: Mapping[str, Any] = run["key_numbers"]
    patterns = ORDER.get(str(run.get("notebook")), ())
    ends = {f"{name}{end}" for name in numbers for end in ("_low", "_high", "_p", "_pairs")}
    ends |= {f"{name.removesuffix('_f1')}_p" for name in numbers}
    names = [name for name in numbers if name not in ends]

    def place(name: str) -> int:
        fits = (i for i, pattern in enumerate(patterns) if re.fullmatch(pattern, name))
        return next(fits, len(patterns) + isinstance(numbers[name], str))

    for name in sorted(names, key=place):
        yield KeyNumber(_read_out(name).replace("token", _unit(run)[:-1]), _value(numbers, name))


def _value(numbers: Mapping[str, Any], name: str) -> str:
    value = numbers[name]
    if value is None:
        return "not measured"
    if not isinstance(value, int | float):
        return str(value)
    root = name.removesuffix("_f1")
    p = numbers.get(f"{name}_p", numbers.get(f"{root}_p"))
    ends = interval_text(numbers.get(f"{name}_low"), numbers.get(f"{name}_high"))
    n = "" if f"{name}_pairs" not in numbers else f", n = {numbers[f'{name}_pairs']} pairs"
    told = "" if p is None else f", p {number_text(p) if p >= 0.001 else '< 0.001'}"
    return f"{number_text(value)}{ends}{told}{n}"


def _read_out(name: str) -> str:
    for pattern, words in _WORDS:
        if found := re.fullmatch(pattern, name):
            return found.expand(words).replace("_", " ")
    return name.removeprefix("n_").replace("_", " ")
