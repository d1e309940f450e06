"""What else is asked of a student in homes never seen: days of labels it saves, how sure it is, reasons, windows.

Each question has one function that gathers, and others that make tables, figures and key numbers of what was gathered;
all of them give :data:`~llmhar.distill.moving.NOT_ASKED` where nobody was. Scores are computed in :mod:`llmhar.score`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from llmhar.ask.asking import Asking
from llmhar.ask.inference import no_confidence
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import SCHEMES, Windowing
from llmhar.distill.courses import read_name
from llmhar.distill.home_lessons import LISTED
from llmhar.distill.moving import NOT_ASKED, VALIDATION_WINDOWS, Homes, Row, bound, main_row
from llmhar.distill.study import examine
from llmhar.score import home_figures
from llmhar.score.confidence import (
    ConfidenceError,
    Judged,
    Kept,
    Threshold,
    by_tokens,
    choose_threshold,
    confidence_table,
    judge_threshold,
    pool,
)
from llmhar.score.confidence_figures import risk_coverage_curves
from llmhar.score.overtake import LearningCurve, by_control, curve_table, find_overtake, learning_curves, overtake_table
from llmhar.score.tables import Result
from llmhar.traces.evidence import Moves, count_moves, probe_evidence

QUESTIONS = ("curve", "days", "tuned", "sure", "reasons", "losses", "windows")
"""What may be asked beside the matrix, each by name; the first is :func:`llmhar.distill.moving.learning_curve`, the
third :func:`llmhar.distill.tuned_days.ask_tuned`."""
ACCURACY = 0.8
"""Share of right labels that a threshold is chosen for, on validation homes."""
PROBES = 10
"""Events of each home whose cited evidence is taken away."""
LAST_WINDOWS = 15
"""Windows of each day where only the last of ten events is labelled: each event costs a window of its own."""
FITTED = "trees"
"""The control whose labelled days are a key number."""
Numbers = dict[str, float | int | str | None]
"""Key numbers."""


@dataclass(frozen=True)
class LabelledDays:
    """What trees learn from labelled days of the counted homes, beside the student that has seen none."""

    curves: Sequence[LearningCurve]
    students: Sequence[Result]
    """The student's results, a home each, in the order of the curves' homes."""
    tuned: Mapping[int, Sequence[Result]] = field(default_factory=dict)
    """Labelled days -> results of the student tuned on them, of some homes."""

    @property
    def table(self) -> pd.DataFrame | str:
        """When each control passes the student, a row a home and control, then the mean of the homes."""
        return overtake_table(self.curves, self.students) if self.curves else NOT_ASKED

    @property
    def figure(self) -> Figure | str:
        """F1 of the controls by labelled days, a panel a home and one for their mean."""
        return home_figures.learning_figure(self.curves, self.students, self.tuned) if self.curves else NOT_ASKED

    @property
    def tuned_table(self) -> pd.DataFrame | str:
        """F1 by labelled days: trees, the student as it comes, and the student tuned on them, in homes where it was."""
        if not self.tuned or not self.curves:
            return NOT_ASKED
        names = {result.task.data for results in self.tuned.values() for result in results}
        curves = [curve for curve in self.curves if curve.data in names]
        return curve_table(curves, self.students, self.tuned).set_index(["data", "who", "labelled days"])

    @property
    def numbers(self) -> Numbers:
        """``overtake_days`` of trees on the mean over homes, with its bounds; words where they do not pass."""
        if not self.curves:
            return {}
        found = find_overtake(by_control(self.curves)[FITTED], self.students)
        beyond = f"not within {found.within} days"
        ends = {"low": found.low, "high": found.high} if found.has_interval else {}
        bounds = {f"overtake_days_{end}": beyond if day is None else day for end, day in ends.items()}
        return {"overtake_days": found.key_number, **bounds}


def label_days(rows: Sequence[Row], homes: Homes, tuned: Mapping[int, Sequence[Result]] | None = None) -> LabelledDays:
    """Fit trees on labelled days of each counted home, and judge them on the windows that the student was asked about.

    Args:
        rows: answerers, the study's student among them; nothing is fitted where it is not.
        homes: the counted ones are learnt.
        tuned: labelled days -> results of the student tuned on them, of some of these homes.
    """
    own = main_row(rows)
    if own is None:
        return LabelledDays([], [])
    curves = [curve for column in homes.counted for curve in learning_curves(homes.tasks[column])]
    return LabelledDays(curves, [own.results[column] for column in homes.counted], tuned or {})


@dataclass(frozen=True)
class Sureness:
    """How sure the student is, where it was chosen (made-up validation homes) and where it is judged."""

    judged: Mapping[str, Judged]
    """Name of the homes -> their scored events."""
    threshold: Threshold | None
    """Chosen on validation homes; None where nobody was asked, or where no threshold reaches the wanted accuracy."""
    words: str
    """What the threshold does on the recorded homes, in a sentence."""
    kept: Kept | None
    """The same in numbers."""

    @property
    def table(self) -> pd.DataFrame | str:
        """Calibration error and area under the risk-coverage curve, validation and recorded homes apart."""
        return confidence_table(self.judged) if self.judged else NOT_ASKED

    @property
    def figure(self) -> Figure | str:
        """What is wrong among the labels that are kept, and where the threshold ends up."""
        marked = {name: self.threshold for name in self.judged} if self.threshold else None
        return risk_coverage_curves(self.judged, marked) if self.judged else NOT_ASKED

    @property
    def numbers(self) -> Numbers:
        """The threshold, accuracy and coverage that it gives on recorded homes, and accuracy without it."""
        if self.threshold is None or self.kept is None:
            return {}
        kept = self.kept.accuracy.numbers("sure_accuracy") | self.kept.coverage.numbers("sure_coverage")
        return {"sure_from": self.threshold.value, "accuracy_of_all": self.kept.all_labels, **kept}


def ask_sureness(
    rows: Sequence[Row], homes: Homes, asking: Asking, store: Store, accuracy: float = ACCURACY
) -> Sureness:
    """Ask the student once more with the probabilities of its tokens, about validation homes and the counted homes.

    Args:
        rows: answerers, the study's student among them.
        homes: a threshold is judged on the counted ones.
        asking: limits and engine.
        store: where answers are looked up and kept.
        accuracy: share of right labels that a threshold is chosen for, 0 … 1.
    """
    own = main_row(rows)
    if own is None or not homes.counted:
        return Sureness({}, None, NOT_ASKED, None)
    model = own.results[homes.counted[0]].model
    if reason := no_confidence(model, asking.engine):
        return Sureness({}, None, reason, None)
    validation = prepare("validation_homes", None, LISTED, Windowing(n=VALIDATION_WINDOWS))
    tasks = [validation, *(homes.tasks[column] for column in homes.counted)]
    (results,) = examine([model], tasks, store, bound(asking))
    chosen_on, judged_on = by_tokens(results[0]), pool([by_tokens(result) for result in results[1:]])
    judged = {"validation homes": chosen_on, "recorded homes": judged_on}
    try:
        threshold = choose_threshold(chosen_on, accuracy=accuracy)
    except ConfidenceError as error:
        return Sureness(judged, None, str(error), None)
    kept = judge_threshold(threshold, judged_on)
    words = (
        f"Labels with a probability of {threshold.value:.2f} and more, chosen for {threshold.wanted} on validation "
        f"homes: on the recorded homes {kept.accuracy} of those that are kept are right, {kept.coverage} of "
        f"{kept.n} events keep theirs; of all labels {kept.all_labels:.3f} are right."
    )
    return Sureness(judged, threshold, words, kept)


def probe_reasons(rows: Sequence[Row], homes: Homes, asking: Asking, store: Store, n: int = PROBES) -> Moves | None:
    """Take away what the student's reasons cite, and as much that they do not; None where no student was asked.

    Args:
        rows: answerers, the study's student among them.
        homes: the counted ones are probed.
        asking: limits and engine.
        store: where answers are looked up and kept.
        n: most events of a home.
    """
    own = main_row(rows)
    if own is None or not homes.counted:
        return None
    probed = [
        probe_evidence(homes.tasks[column], own.results[column].model, n, store, bound(asking))
        for column in homes.counted
    ]
    return count_moves(own.name, probed)


def reasons_table(moves: Moves | None) -> pd.DataFrame | str:
    """How often answers moved, by what was taken away."""
    return pd.DataFrame(moves.rows()).set_index(["model", "taken away"]) if moves else NOT_ASKED


def kinds_of_loss(rows: Sequence[Row], homes: Homes) -> list[Result]:
    """Results of all students on the counted homes, the largest model first; none where nobody was asked."""
    students = [row for row in rows if row.role == "student"]
    largest_first = sorted(students, key=lambda row: -(next(iter(row.results.values())).model.n_params or 0))
    return [row.results[column] for row in largest_first for column in homes.counted]


def kinds_figure(results: Sequence[Result]) -> Figure | str:
    """F1 of frequent and rare, static and moving activities, by student."""
    return home_figures.kind_figure(results) if results else NOT_ASKED


def ask_schemes(
    rows: Sequence[Row], homes: Homes, names: Sequence[str], asking: Asking, store: Store
) -> dict[str, list[Result]]:
    """The student again on one counted home, its whole test days cut otherwise; none where nobody was asked.

    Args:
        rows: answerers, the study's student among them.
        homes: the counted home with the fewest scored events is asked about.
        names: ``homes`` of the notebook, which say what lies behind a column.
        asking: limits and engine.
        store: where answers are looked up and kept.
    """
    own = main_row(rows)
    if own is None or not homes.counted:
        return {}
    events = {column: sum(s.n_scored for s in homes.tasks[column].sessions.values()) for column in homes.counted}
    column = min(events, key=lambda name: events[name])
    dataset, options = read_name(next(name for name in names if name.startswith(f"{column}=")).partition("=")[2])
    windowings = [Windowing(n=LAST_WINDOWS if SCHEMES[name].only_last else None, scheme=name) for name in SCHEMES]
    tasks = [prepare(dataset, None, LISTED, windowing, options) for windowing in windowings]
    (results,) = examine([own.results[column].model], tasks, store, bound(asking))
    return {scheme: [result] for scheme, result in zip(SCHEMES, results)}


def schemes_figure(results: Mapping[str, Sequence[Result]]) -> Figure | str:
    """Macro F1 by scheme over the events that all schemes asked about, pure and mixed windows apart."""
    return home_figures.scheme_figure(results) if results else NOT_ASKED
