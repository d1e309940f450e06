"""Tables of distillation across runs: other test data (S1 Table 2), fewer sessions (Figure 4), smaller models (§5).

S1's values stand beside ours as rows of their own. What was not run has no row: missing is never zero. Asks nobody,
draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from llmhar.distill.tables import f1_ratio, shown
from llmhar.score.published import DATASETS_IN_S1, published
from llmhar.score.stats import Interval
from llmhar.score.tables import KINDS, Result

PUBLISHED = "published (S1)"
"""``kind`` of S1's rows."""
UNTRAINED = "nothing"
"""``MatrixCell.trained_on`` of a student's parent."""
TEACHER = "nothing (teacher)"
"""``MatrixCell.trained_on`` of the teacher."""
S1_TEACHER, S1_FIGURE_4 = "Qwen3-32B", "Qwen3-0.6B"


class MatrixCell(NamedTuple):
    """One model tested on one data set."""

    student: str
    """The parent's name, the same for a student and for its untrained parent: changes are between those two."""
    trained_on: str
    """Data set of the traces, ``UNTRAINED`` or ``TEACHER``."""
    result: Result
    """On the data that it is tested on."""


class PublishedCell(NamedTuple):
    """One of S1's values, F1 in percent; :class:`MatrixCell` without a result."""

    student: str
    trained_on: str
    data: str
    """As ``Task.data`` calls it."""
    f1_pct: float


def published_cells() -> list[PublishedCell]:
    """S1 Table 2, with the untrained students and the teacher of Table 1."""
    base, tuned = published("table1"), published("table2")
    students = list(dict.fromkeys(tuned["student"]))
    wanted = [(name, UNTRAINED) for name in students] + [(S1_TEACHER, TEACHER)]
    rows = [(name, what, base[base["model"] == name].iloc[0]) for name, what in wanted]
    rows += [(row["student"], row["train_dataset"], row) for _, row in tuned.iterrows()]
    return [
        PublishedCell(name, what, f"{data} (real)", float(row[f"{data}_f1_pct"]))
        for name, what, row in rows
        for data in DATASETS_IN_S1
    ]


def percent(f1: Interval) -> str:
    """F1 in percent as "F1 [low, high] (n)"; empty where no session has a score."""
    if not f1.n:
        return ""
    interval = f" [{100 * f1.low:.1f}, {100 * f1.high:.1f}]" if f1.n > 1 else ""
    return f"{100 * f1.mean:.1f}{interval} (n = {f1.n})"


def matrix_table(cells: Sequence[MatrixCell]) -> pd.DataFrame:
    """S1 Table 2: who was trained on what and tested on what, F1 in percent; S1's rows first, then ours.

    "change" is F1 minus that of the untrained parent on the same data, in points, as S1 gives it: a difference of two
    means, whose verdict stands in ``student_table``. S1 gives no interval and does not say whether its F1 is macro.

    Args:
        cells: students, their untrained parents and the teacher, each on each data set it was asked about.

    Raises:
        ValueError: two results for one cell.
    """
    keys = [(cell.student, cell.trained_on, cell.result.task.data) for cell in cells]
    if twice := sorted({" / ".join(key) for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two results for one cell of the matrix: {', '.join(twice)}")
    theirs = published_cells()
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in theirs:
        row = rows.setdefault((one.student, one.trained_on, PUBLISHED), {})
        row[f"F1 % on {one.data}"] = f"{one.f1_pct:.2f}"
    _add_changes(rows, PUBLISHED, {one[:3]: one.f1_pct for one in theirs})
    kind_of = {cell[:2]: f"ours: {KINDS[cell.result.model.kind]}" for cell in cells}
    for cell in cells:
        row = rows.setdefault((*cell[:2], kind_of[cell[:2]]), {})
        row[f"F1 % on {cell.result.task.data}"] = percent(cell.result.macro_f1)
        for column, value in (("engine", cell.result.made_by), ("revision", cell.result.revision)):
            said = row.get(column, "")
            row[column] = said if value in said.split("; ") else "; ".join(filter(None, (said, value)))
    ours = {key: 100 * cell.result.macro_f1.mean for key, cell in zip(keys, cells)}
    for kind in set(kind_of.values()):
        _add_changes(rows, kind, ours)
    table = pd.DataFrame(list(rows.values()))
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["student", "trained on", "kind"])
    data = dict.fromkeys([one.data for one in theirs] + [key[2] for key in keys])
    columns = [f"{what} on {name}" for name in data for what in ("F1 %", "change")]
    return table.reindex(columns=[*columns, "engine", "revision"]).fillna("")


def _add_changes(
    rows: dict[tuple[str, str, str], dict[str, str]], kind: str, f1: dict[tuple[str, str, str], float]
) -> None:
    """Enter F1 minus the untrained parent's where both are known."""
    for (student, trained_on, data), value in f1.items():
        change = value - f1.get((student, UNTRAINED, data), float("nan"))
        row = rows.get((student, trained_on, kind))
        if row is not None and trained_on not in (UNTRAINED, TEACHER) and change == change:
            row[f"change on {data}"] = f"{change:+.2f}"


class SessionsPoint(NamedTuple):
    """A student that was trained on so many sessions."""

    n_sessions: int
    """Training sessions; 0: the untrained parent."""
    result: Result
    seed: int = 0
    """Of the training, and of which sessions were taken where that is drawn."""


def mean_f1(points: Sequence[SessionsPoint]) -> dict[int, float]:
    """Macro F1 by number of training sessions, rising; mean over seeds."""
    counts = sorted({point.n_sessions for point in points})
    scores = {n: [p.result.macro_f1.mean for p in points if p.n_sessions == n] for n in counts}
    return {n: sum(own) / len(own) for n, own in scores.items()}


def sessions_needed(points: Sequence[SessionsPoint], share: float = 0.95) -> int | None:
    """The fewest training sessions from which on F1 stays at ``share`` of what all sessions give (S1 §4.6: a plateau).

    Every larger number that was run must reach it too, so that one lucky run does not decide. Means over seeds; none of
    this has an interval: ``sessions_table`` shows how wide each share is.

    Args:
        points: at least two numbers of sessions; the largest is "all".
        share: of its F1, 0 … 1.

    Returns:
        Training sessions; None where fewer than two numbers were run or all sessions give no score above zero.
    """
    return plateau(mean_f1(points), share)


def plateau(f1: dict[int, float], share: float) -> int | None:
    """:func:`sessions_needed` from F1 by number of sessions."""
    counts = sorted(f1)
    if len(counts) < 2 or not f1[counts[-1]] > 0:
        return None
    needed = counts[-1]
    for n in reversed(counts):
        if not f1[n] >= share * f1[counts[-1]]:
            break
        needed = n
    return needed


def sessions_table(points: Sequence[SessionsPoint]) -> pd.DataFrame:
    """S1 Figure 4: F1 by number of training sessions, each as a share of what all sessions give; S1's rows first.

    The share is the ratio of session means with Fieller's interval over test sessions (``f1_ratio``), against the run
    with all sessions and the same seed, or the first seed where that was not run. S1 gives no interval.
    """
    rows: list[dict[str, object]] = [
        {
            "training sessions": int(row["n_train_sessions"]),
            "kind": PUBLISHED,
            "student": row["student"],
            "seed": "–",
            "macro F1 [95 %]": f"{row['f1_pct'] / 100:.4f} (no interval)",
            "share of all sessions' F1": f"{row['f1_pct'] / published_full():.2f}",
            "missed %": "–",
            "engine": "–",
            "revision": "–",
            "data": f"{row['dataset']} (real)",
        }
        for _, row in published("figure4").iterrows()
    ]
    most = max((point.n_sessions for point in points), default=0)
    full = {point.seed: point.result for point in reversed(points) if point.n_sessions == most}
    for point in sorted(points, key=lambda point: (point.n_sessions, point.seed)):
        result = point.result
        rows.append(
            {
                "training sessions": point.n_sessions,
                "kind": f"ours: {KINDS[result.model.kind]}",
                "student": result.model.name,
                "seed": point.seed,
                "macro F1 [95 %]": str(result.macro_f1),
                "share of all sessions' F1": _of(result, full.get(point.seed, full[min(full)])),
                "missed %": shown(result.overall.missed_pct, 1),
                "engine": result.made_by,
                "revision": result.revision,
                "data": result.task.data,
            }
        )
    return pd.DataFrame(rows).set_index(["training sessions", "kind"])


def published_full() -> float:
    """S1's F1 in percent with all training sessions (Figure 4)."""
    table = published("figure4")
    return float(table.loc[table["n_train_sessions"].idxmax(), "f1_pct"])


def _of(result: Result, whole: Result) -> str:
    """``f1_ratio`` in words; "1" for the whole itself."""
    return "1" if result is whole else ratio_text(f1_ratio(result, whole))


def ratio_text(ratio: Interval) -> str:
    """A ratio with its interval; "no interval" where it is unbounded or there are too few sessions."""
    if ratio.mean != ratio.mean:
        return "–"
    return f"{ratio.mean:.2f} " + (
        f"[{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low == ratio.low else "(no interval)"
    )


class GatewayPoint(NamedTuple):
    """One model as a home gateway would hold it; None = not measured."""

    result: Result
    n_params: int
    """Weights, adapter included."""
    n_bytes: int
    """Of the weight files, as they are loaded."""
    seconds_per_window: float | None
    """One window at a time or in batches: as the caller measured it, the same for all points."""
    peak_bytes: int | None
    """Most memory that the answering process held."""
    precision: str
    """Number format of the weights: float32, bfloat16, int8 …"""


def gateway_table(rows: Sequence[GatewayPoint]) -> pd.DataFrame:
    """How small it gets, and what that costs in F1: largest file first, each relative to it (S1 §5).

    MB are 10⁶ bytes. The last columns are relative to the first row: bytes in percent, and the ratio of F1 with
    Fieller's interval over test sessions. Seconds and memory are of the machine named in ``engine``.

    Raises:
        ValueError: results of different sessions.
    """
    ordered = sorted(rows, key=lambda point: -point.n_bytes)
    table = [
        {
            "model": point.result.model.name,
            "kind": KINDS[point.result.model.kind],
            "precision": point.precision,
            "parameters": f"{point.n_params:,}",
            "MB": shown(point.n_bytes / 1e6, 1),
            "macro F1 [95 %]": str(point.result.macro_f1),
            "missed %": shown(point.result.overall.missed_pct, 1),
            "s / window, this machine": shown(point.seconds_per_window, 2),
            "peak memory MB": shown(None if point.peak_bytes is None else point.peak_bytes / 1e6, 0),
            "size, % of the largest": shown(100 * point.n_bytes / (ordered[0].n_bytes or float("nan")), 1),
            "F1, of the largest's": _of(point.result, ordered[0].result),
            "engine": point.result.made_by,
            "revision": point.result.revision,
            "data": point.result.task.data,
        }
        for point in ordered
    ]
    return pd.DataFrame(table).set_index("model") if table else pd.DataFrame()
