"""Tables of distillation: what was trained, and how students stand beside teacher and untrained base (S1 §4.5, §4.9).

Asks nobody, trains nothing, draws nothing. Tables that compare runs (data sets, training sessions, sizes) are in
:mod:`llmhar.distill.transfer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from llmhar.ask.models import MODELS
from llmhar.distill.audit import Check
from llmhar.distill.courses import Course
from llmhar.distill.recipe import added_parameters, added_share
from llmhar.distill.students import Student
from llmhar.distill.study import Confirmed, StudyResults
from llmhar.distill.traces import FunnelStep
from llmhar.score.stats import Interval, Pair, compare_pairs, holm, least_p, minimum_detectable_gap
from llmhar.score.stats import verdict as verdict_of
from llmhar.score.tables import KINDS, NOT_RECORDED, STRICT_JOINT, Result

NOT_MEASURED = "not measured"
NAN = float("nan")
S1_ADDED_PCT = {"qwen3-0.6b": 3.25, "qwen3-1.7b": 1.99}
"""S1 §3.2.3: by how many percent LoRA makes each student larger."""
INTERMEDIATE = {"qwen3-0.6b": 3072, "qwen3-1.7b": 6144}
"""``intermediate_size`` of the releases' config.json; the other widths are in params/models.yaml."""


def shown(value: float | None, digits: int = 3) -> str:
    """A number as tables write it; what was not measured says so and is never zero."""
    return NOT_MEASURED if value is None or value != value else f"{value:.{digits}f}"


def courses_table(courses: Sequence[Course], taught_on: Sequence[Course] | None = None) -> pd.DataFrame:
    """What is taught and tested: one row a course.

    Args:
        courses: all of them.
        taught_on: those that somebody is taught on; None = all.
    """
    taught = courses if taught_on is None else taught_on
    rows = [(c.name, c in taught, len(c.training.windows), c.test.subset, c.test.data) for c in courses]
    columns = ["course", "taught", "training windows", "tested on", "data"]
    return pd.DataFrame(rows, columns=columns).set_index("course")


def funnel_table(funnels: Mapping[str, Sequence[FunnelStep]]) -> pd.DataFrame:
    """What each filter left of the teacher's traces, step by step (S1 §3.2.2 filters nothing).

    Args:
        funnels: name of the filter -> its steps, as :func:`llmhar.distill.traces.filter_traces` gives them.
    """
    rows = []
    for name, steps in funnels.items():
        for step in steps:
            windows, events = ("–", "–") if step.step == "asked" else (step.windows, step.events)
            right = "–" if step.correct_pct != step.correct_pct else f"{step.correct_pct:.1f}"
            rows.append((name, step.step, windows, step.traces, events, right))
    columns = ["filter", "step", "windows", "traces", "events", "teacher correct %"]
    return pd.DataFrame(rows, columns=columns).set_index(["filter", "step"])


def mean_losses(student: Student) -> tuple[float, float]:
    """Loss in nats per answer token: of the first step, and the mean of the last tenth of steps; NaN without steps."""
    losses = [loss for _, loss in student.losses]
    if not losses:
        return NAN, NAN
    tail = losses[-max(1, len(losses) // 10) :]
    return losses[0], sum(tail) / len(tail)


def training_table(students: Sequence[Student]) -> pd.DataFrame:
    """How each student was trained, and what that took on the machine that did it.

    Seconds are those of the last pass: a training that was killed and went on counts only what came after ``resumed
    at``. Peak memory is the training process's own on the host, not the card's. "trainable %" is of all weights,
    adapter included, as PEFT prints it.
    """
    rows = [_training_row(student) for student in students] or [{"student": "nobody"}]
    return pd.DataFrame(rows).set_index("student")


def _training_row(student: Student) -> dict[str, object]:
    record, recipe = student.record, student.recipe
    first, last = mean_losses(student)
    per_step, per_second = training_speed(record, recipe.max_steps)
    peak = record.get("peak_rss")
    return {
        "student": record["name"],
        "parent": record["parent"],
        "method": recipe.method,
        "back end": recipe.backend,
        "rank": recipe.rank if recipe.method == "lora" else "–",
        "steps": recipe.max_steps,
        "examples": record["n_examples"] - record.get("too_long", 0),
        "too long": record.get("too_long", 0),
        "examples seen": recipe.max_steps * recipe.examples_per_step,
        "trainable": record["trainable"],
        "trainable %": shown(100 * record["trainable"] / record["total"], 2),
        "first loss": shown(first),
        "last loss (mean of last 10 %)": shown(last),
        "s / step": shown(per_step, 2),
        "tokens / s": shown(per_second, 0),
        "threads": record.get("threads", NOT_RECORDED),
        "peak host memory GiB": shown(peak / 2**30 if peak else None, 2),
        "device": f"{record['device']}, {record['dtype']}",
        "data sha256": record["data_sha256"][:8],
        "weights sha256": record["weights_sha256"][:8],
        "resumed at": record["resumed_at"] or "–",
    }


def training_speed(record: Mapping[str, Any], n_steps: int) -> tuple[float | None, float | None]:
    """Seconds a step and tokens a second (prompts included) of the last pass; None where it made no step.

    Tokens are recorded for all steps, seconds for the last pass: its steps are taken to be as long as the mean.
    """
    own = n_steps - record["resumed_at"]
    if own < 1 or not record["seconds"]:
        return None, None
    per_step = record["seconds"] / own
    return per_step, record["tokens"] / n_steps / per_step


def audit_table(checks: Mapping[str, Sequence[Check]]) -> pd.DataFrame:
    """What the audit found: one row a student and check; "passed" is None where a check was not run.

    Args:
        checks: student -> its checks.
    """
    rows = [{"student": student, **check._asdict()} for student, own in checks.items() for check in own]
    columns = ["student", *Check._fields]
    return pd.DataFrame(rows, columns=columns).set_index(["student", "name"]).astype(object)


def share_table(ranks: Sequence[int] = (8, 16, 32, 64)) -> pd.DataFrame:
    """What LoRA adds to S1's students at several ranks on all seven projections, beside the percentages S1 gives.

    S1 §3.2.3 names neither rank nor projections. Rank 32 comes within 0.03 points for both students; of the usual
    ranks the others are off by 0.98 points and more. 31 and 33 are off by up to 0.12 only: that S1 took 32 and not one
    of these is custom, not arithmetic.
    """
    rows = []
    for name, stated in S1_ADDED_PCT.items():
        model = MODELS[name]
        assert model.shape is not None
        for rank in ranks:
            added = added_parameters(**model.shape.model_dump(), intermediate=INTERMEDIATE[name], rank=rank)
            share = added_share(added, model.n_params)
            rows.append((name, rank, model.n_params, added, share, stated, share - stated))
    columns = ["student", "rank", "base parameters", "added parameters", "added %, ours", "added %, S1", "ours - S1"]
    return pd.DataFrame(rows, columns=columns).set_index(["student", "rank"])


def paired_scores(first: Result, second: Result) -> tuple[list[float], list[float]]:
    """Macro F1 of both, session by session in the second's order; NaN where a session has no score.

    Raises:
        ValueError: the two are not of the same sessions of the same data.
    """
    own = {score.session: score.macro_f1 for score in first.sessions}
    other = {score.session: score.macro_f1 for score in second.sessions}
    if first.task.data != second.task.data or own.keys() != other.keys():
        raise ValueError(
            f"{first.model.name} ({first.task.data}, {len(own)} sessions) and {second.model.name} ({second.task.data}, "
            f"{len(other)} sessions) were not asked about the same sessions: compare results of one task"
        )
    return [own[session] for session in other], list(other.values())


def f1_ratio(first: Result, second: Result) -> Interval:
    """First model's macro F1 over the second's: ratio of session means with Fieller's 95 % interval over sessions.

    Fieller (1954): all ratios r that a paired t test of first - r · second does not reject. It takes in that both are
    scored on the same sessions and that the denominator is uncertain too; a bootstrap of six sessions would be too
    narrow (:mod:`llmhar.score.stats`). Where the second's own mean cannot be told from zero the interval is unbounded:
    bounds are NaN. ``sd`` is NaN.

    Raises:
        ValueError: not the same sessions.
    """
    table = np.array(paired_scores(first, second))
    above, below = table[:, ~np.isnan(table).any(axis=0)]
    n = len(below)
    ratio = float(above.mean() / below.mean()) if n and below.mean() else NAN
    if n < 2:
        return Interval(n, ratio, NAN, NAN, NAN)
    g = minimum_detectable_gap(1.0, n) ** 2  # t² / n
    (var_above, covariance), (_, var_below) = np.cov(above, below)
    a = below.mean() ** 2 - g * var_below
    b = above.mean() * below.mean() - g * covariance
    c = above.mean() ** 2 - g * var_above
    if a <= 0:
        return Interval(n, ratio, NAN, NAN, NAN)
    half = max(0.0, float(b * b - a * c)) ** 0.5
    return Interval(n, ratio, float(b - half) / a, float(b + half) / a, NAN)


def share_text(result: Result, whole: Result) -> str:
    """A result's F1 as a share of another's, with interval; "1" for the whole itself."""
    return "1" if result is whole else ratio_text(f1_ratio(result, whole))


def ratio_text(ratio: Interval) -> str:
    """A ratio with its interval; "no interval" where it is unbounded or there are too few sessions."""
    if ratio.mean != ratio.mean:
        return "–"
    return f"{ratio.mean:.2f} " + (
        f"[{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low == ratio.low else "(no interval)"
    )


class _Compared(NamedTuple):
    """One planned comparison with its place among all of a table."""

    pair: Pair
    p_holm: float
    p_least: float


def student_table(
    results: Sequence[Result],
    teacher: Result,
    zero_shot: Mapping[str, Result] | None = None,
    others: Sequence[Result] = (),
) -> pd.DataFrame:
    """Students beside their teacher and their untrained parents (S1 §4.5), one row a model.

    "of teacher's F1" is :func:`f1_ratio`. Verdicts are those of the exact paired sign-flip test over sessions, with
    Holm over all comparisons of this table (each student against the teacher, and against its own untrained parent);
    "not shown" is no proof of equality. ``p_least`` is the smallest adjusted p that these sessions and comparisons can
    give: above 0.05 every verdict is "not shown" beforehand. "alone": the verdict as the one planned comparison.

    Args:
        results: students, all on one task.
        teacher: its answers to the same windows.
        zero_shot: student's name -> its untrained parent's result; a student without one is compared with "–".
        others: shown without comparison: chance, rules.

    Raises:
        ValueError: results of other sessions than the teacher's.
    """
    parents = zero_shot or {}
    compared = _compare(results, teacher, parents)
    bases = {parent.model.name: parent for parent in parents.values()}
    rows = [_score_row(teacher, "teacher", teacher)]
    rows += [_score_row(other, "for comparison", teacher) for other in others]
    rows += [_score_row(base, "not trained", teacher) for base in bases.values()]
    for place, student in enumerate(results):
        row = _score_row(student, "student", teacher)
        for against in ("teacher", "zero-shot"):
            row |= _verdict_columns(against, compared.get((place, against)))
        rows.append(row)
    table = pd.DataFrame(rows).set_index("model")
    words = _verdicts(table)
    table[words] = table[words].astype(object).fillna("–")
    provenance = ["engine", "revision", "data"]
    return table[[name for name in table.columns if name not in provenance] + provenance]


def scores_table(results: StudyResults) -> pd.DataFrame:
    """:func:`student_table` of a study's first course: chance and the models before training beside the students."""
    others = list(results.compared.values())
    return student_table(results.scored, results.teacher, results.untrained_of, others)


def confirm_table(confirmed: Sequence[Confirmed]) -> pd.DataFrame:
    """Scores of teacher, student and what stands beside them, on sessions that nothing was chosen by."""
    parts = [student_table([one.student], one.teacher, others=list(one.compared.values())) for one in confirmed]
    return scores_of(pd.concat(parts))


def scores_of(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of a :func:`student_table`, rounded for reading: all of it but the verdicts."""
    return table.drop(columns=_verdicts(table)).round(3).astype(object)


def verdicts_of(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of a :func:`student_table`: a column a student."""
    return table.loc[table["role"] == "student", _verdicts(table)].T


def key_columns(table: pd.DataFrame) -> pd.DataFrame:
    """What run.json keeps of a :func:`student_table`."""
    columns = ["role", "kind", "macro F1", "95 % low", "95 % high", "sessions", "missed %", "of teacher's F1", "data"]
    return table[columns]


def _verdicts(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column.startswith("against")]


def _compare(
    results: Sequence[Result], teacher: Result, parents: Mapping[str, Result]
) -> dict[tuple[int, str], _Compared]:
    """Each student against teacher and parent, adjusted over all of them."""
    pairs: dict[tuple[int, str], Pair] = {}
    for place, student in enumerate(results):
        for against, other in (("teacher", teacher), ("zero-shot", parents.get(student.model.name))):
            if other is not None:
                own, its = paired_scores(student, other)
                (pairs[place, against],) = compare_pairs({"student": own, against: its})
    adjusted = holm([pair.p for pair in pairs.values()])
    least = holm([least_p(pair.n) for pair in pairs.values()])
    return {key: _Compared(pair, p, q) for (key, pair), p, q in zip(pairs.items(), adjusted, least)}


def _score_row(result: Result, role: str, teacher: Result) -> dict[str, object]:
    f1, ratio = result.macro_f1, f1_ratio(result, teacher)
    return {
        "model": result.model.name,
        "role": role,
        "kind": KINDS[result.model.kind],
        "macro F1": f1.mean,
        "95 % low": f1.low,
        "95 % high": f1.high,
        "sessions": f1.n,
        **({STRICT_JOINT: result.overall.strict_macro_f1} if result.n_joint else {}),
        "missed %": result.overall.missed_pct,
        "of teacher's F1": ratio.mean,
        "ratio low": ratio.low,
        "ratio high": ratio.high,
        "engine": result.made_by,
        "revision": result.revision,
        "data": result.task.data,
    }


def _verdict_columns(against: str, compared: _Compared | None) -> dict[str, object]:
    if compared is None:
        return {}
    return {
        f"against {against}": verdict_of(compared.p_holm, compared.pair.gap),
        f"against {against}, alone": compared.pair.verdict,
        f"against {against}, p_holm": round(compared.p_holm, 4),
        f"against {against}, p_least": round(compared.p_least, 4),
    }


PROBES = {
    "drop": "cited events taken away",
    "control drop": "other events taken away (control)",
    "swap": "cited events replaced",
    "control swap": "other events replaced (control)",
}
"""How tables call the probes of :mod:`llmhar.traces.faithfulness`."""


def faithfulness_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """How often the label of an explained event moved when a window was changed, in percent with interval.

    Args:
        rows: from ``llmhar.traces.faithfulness.faithfulness_rows``: {"model", "kind", "n", "changed", "low", "high"}, n
            events of which ``changed`` got another label, bounds in percent; NaN or None where nothing was measured.
    """
    table = []
    for row in rows:
        share = _with_bounds(100 * row["changed"] / row["n"], row) if row["n"] else NOT_MEASURED
        table.append((row["model"], PROBES.get(row["kind"], row["kind"]), row["n"],
                      row["changed"] if row["n"] else NOT_MEASURED, share, row.get("unreadable", "–"),
                      shown(row.get("seconds away"), 0)))  # fmt: skip
    columns = ["model", "what was done", "events", "label changed", "label changed %", "no label", "s away (mean)"]
    return pd.DataFrame(table, columns=columns).set_index(["model", "what was done"])


def faithfulness_gap_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Whether cited evidence moves a label more often than other evidence does: points, paired, over sessions.

    Verdicts of the exact sign-flip test over sessions, with Holm over the rows of this table; "higher": cited evidence
    matters more. "not shown" is no proof that it does not.

    Args:
        rows: from ``llmhar.traces.faithfulness.gap_rows``: {"model", "kind", "pairs", "gap", "low", "high", "p",
            "sessions"}.
    """
    adjusted = holm([row["p"] for row in rows])
    ways = {"drop": "taken away", "swap": "replaced"}
    table = [(row["model"], ways.get(row["kind"], row["kind"]), row["pairs"], _with_bounds(row["gap"], row, sign="+"),
              row["sessions"], verdict_of(p, row["gap"]), verdict_of(row["p"], row["gap"]), shown(p, 4))
             for row, p in zip(rows, adjusted)]  # fmt: skip
    columns = ["model", "cited against control", "pairs", "gap, points", "sessions", "verdict", "alone", "p_holm"]
    return pd.DataFrame(table, columns=columns).set_index(["model", "cited against control"])


def _with_bounds(value: float, row: Mapping[str, Any], sign: str = "") -> str:
    """A number with ``low`` and ``high`` of its row, one digit."""
    low, high = row["low"], row["high"]
    if value != value:
        return NOT_MEASURED
    if low is None or high is None or low != low or high != high:
        return f"{value:{sign}.1f} (no interval)"
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"
