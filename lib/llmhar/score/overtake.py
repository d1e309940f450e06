"""Days to overtake: how many labelled days of a home make a tree as good as a student that has seen none of them.

A control is fitted on n labelled days, drawn from those that nobody is asked about, and judged on the very windows that
the student was asked. A draw is an order of the days; its first n are the labelled ones, so that each draw is what one
household would go through. Asks nobody, draws no figure.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from llmhar.ask.task import Task
from llmhar.data.events import LEAST_EVENTS, WINDOW_SIZE, Session, Window, cut_windows
from llmhar.score.controls import event_words, features, true_labels
from llmhar.score.stats import B, Floats, widened_weights
from llmhar.score.tables import Result, score_labels
from llmhar.text.embedding import embed

DAYS = (0, 1, 2, 4, 8)
"""Labelled days that controls are fitted on; of none they learn nothing, and miss every event."""
DRAWS = 50
"""Orders of days that are drawn."""
TREES = 50
"""Trees of a forest: half of scikit-learn's default, which takes twice as long for 0.002 to 0.008 of F1 (measured on
two real homes, at 1 to 8 days)."""
MEAN = "mean of the homes"
"""Row of several homes together."""
Matrices = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""What a control sees of training events and of test events, a row an event."""


class LeakedDay(ValueError):
    """A test day among those that a control learns; the message names both."""


class LearningCurve(NamedTuple):
    """Macro F1 of one control in one home, by labelled days."""

    control: str
    """Key into :data:`CONTROLS`."""
    data: str
    """As ``Task.data`` calls the home."""
    days: tuple[int, ...]
    """Labelled days, rising; no more than the home has."""
    f1: Floats
    """Macro F1, shape (len(days), draws, test sessions with a scored event)."""
    sessions: tuple[str, ...]
    """Ids of these sessions."""
    n_days: int
    """Days that could be drawn."""
    left_out: tuple[int, ...]
    """Numbers of days that were wanted and are more than the home has."""
    made_by: str
    """Library, trees and seed."""


def learning_curves(
    task: Task, days: Sequence[int] = DAYS, n_draws: int = DRAWS, seed: int = 0, n_trees: int = TREES
) -> list[LearningCurve]:
    """Fit and judge every control of :data:`CONTROLS` on labelled days of a home.

    Args:
        task: windows that the student was asked, of one home; its ``train`` sessions are the days to draw from, those
            with as few scored events as no test session may have (``LEAST_EVENTS``) aside.
        days: labelled days, each a point of the curve.
        n_draws: orders of days.
        seed: of the orders and of the trees.
        n_trees: trees of each forest.

    Raises:
        LeakedDay: a test day among the days to draw from.
        ValueError: the task is of several homes.
    """
    homes = {session.home for session in [*task.sessions.values(), *task.train.values()]}
    if len(homes) > 1:
        raise ValueError(f"{task.data} has {len(homes)} homes: days are drawn from one, prepare each by itself")
    refuse_test_days(task)
    pool = labelled_days(task)
    fitted = tuple(sorted(n for n in set(days) if n <= len(pool)))
    size = max((len(window.events) for window in task.windows), default=WINDOW_SIZE)
    windows = [window for session in pool for window in cut_windows(session, size)]
    orders = [_order(len(pool), draw, seed) for draw in range(n_draws)]
    made_by = f"scikit-learn {version('scikit-learn')} ExtraTrees, {n_trees} trees, seed {seed}"
    left_out = tuple(sorted(n for n in set(days) if n > len(pool)))
    curves = []
    for control, see in CONTROLS.items():
        learner = _Learner(task, pool, windows, see(windows, task.windows), (n_trees, seed))
        f1 = np.array([[learner.f1_after(order[:n]) for order in orders] for n in fitted])
        curves.append(LearningCurve(control, task.data, fitted, f1, learner.judged, len(pool), left_out, made_by))
    return curves


def labelled_days(task: Task, draw: int | None = None, seed: int = 0) -> list[Session]:
    """The days that may be labelled: training sessions with as many scored events as a test session must have.

    Args:
        task: of one home.
        draw: in the order of this draw; None = as they were lived.
        seed: of the order.
    """
    pool = [session for session in task.train.values() if session.n_scored >= LEAST_EVENTS]
    return pool if draw is None else [pool[i] for i in _order(len(pool), draw, seed)]


def _order(n: int, draw: int, seed: int) -> list[int]:
    return random.Random(f"{seed}:{draw}").sample(range(n), n)


def refuse_test_days(task: Task) -> None:
    """Check that no test day is among those that controls may learn: by its name, or by what happened on it.

    Raises:
        LeakedDay: one is, or a tenth of its events is a test day's (made-up days of one date may share a few).
    """
    happened = {name: _happened(session) for name, session in task.sessions.items()}
    for name, session in task.train.items():
        own = _happened(session)
        for test, events in happened.items():
            if name == test or len(own & events) > len(own) / 10:
                raise LeakedDay(f"{task.data}: day {name} is to be learnt, and is test session {test}")


def _happened(session: Session) -> set[tuple[datetime, str]]:
    return {(event.time, event.text) for event in session.events}


def _window_features(train: Sequence[Window], test: Sequence[Window]) -> Matrices:
    """What trees see of a window, as :func:`llmhar.score.controls.features` has it."""
    from sklearn.feature_extraction import DictVectorizer

    taught, asked = ([row for window in windows for row in features(window)] for windows in (train, test))
    matrix = DictVectorizer(dtype=np.float32, sparse=False).fit_transform([*taught, *asked])
    return matrix[: len(taught)], matrix[len(taught) :]


def _event_embeddings(train: Sequence[Window], test: Sequence[Window]) -> Matrices:
    """The sentence embedding of what each event says: part of day, room and sensor."""
    taught, asked = ([event_words(e) for window in windows for e in window.events] for windows in (train, test))
    vectors = embed([*taught, *asked])
    return vectors[: len(taught)], vectors[len(taught) :]


CONTROLS: Mapping[str, Callable[[Sequence[Window], Sequence[Window]], Matrices]] = {
    "trees": _window_features,
    "trees on embeddings": _event_embeddings,
}
"""What is fitted on labelled days, by what it sees of their events and of the test events."""


class _Learner:
    """One control in one home: fits each set of days once, and scores it on the test windows."""

    def __init__(
        self, task: Task, pool: Sequence[Session], windows: Sequence[Window], seen: Matrices, forest: tuple[int, int]
    ) -> None:
        """As :func:`learning_curves` gives it; ``forest`` is (trees, seed)."""
        self._task, (self._n_trees, self._seed) = task, forest
        labels = true_labels(windows, pool[0]).labels if pool else []
        truth = np.array([-1 if label is None else label for own in labels for label in own], dtype=np.int64)
        place = {session.session_id: i for i, session in enumerate(pool)}
        day = np.array([place[window.session_id] for window in windows for _ in window.events], dtype=np.int64)
        train, self._test = seen
        self._rows, row = np.unique(train[truth >= 0], axis=0, return_inverse=True)
        self._n_labels = int(truth.max(initial=0)) + 1
        self._keys = row.ravel() * self._n_labels + truth[truth >= 0]  # a number for each pair of row and label
        self._day = day[truth >= 0]
        self._f1: dict[frozenset[int], Floats] = {}
        nobody = score_labels(task, [[None] * len(window.events) for window in task.windows])
        self.judged = tuple(score.session for score in nobody if score.n_events)

    def f1_after(self, days: Sequence[int]) -> Floats:
        """Macro F1 of each judged session after these days were labelled, shape (n_sessions,)."""
        key = frozenset(days)
        if key not in self._f1:
            guess = iter(self._predict(days))
            labels = [[next(guess) for _ in window.events] for window in self._task.windows]
            scores = {score.session: score.macro_f1 for score in score_labels(self._task, labels)}
            self._f1[key] = np.array([scores[name] for name in self.judged])
        return self._f1[key]

    def _predict(self, days: Sequence[int]) -> list[int | None]:
        """A label for each event of the test windows."""
        from sklearn.ensemble import ExtraTreesClassifier

        # equal rows with equal labels become one with a weight: the same trees grow from them, sooner
        keys, weights = np.unique(self._keys[np.isin(self._day, days)], return_counts=True)
        if not len(keys):
            return [None] * len(self._test)
        rows = self._rows[keys // self._n_labels]
        shown = rows.any(axis=0)  # a feature that these days do not have is none, as where nothing else is known
        trees = ExtraTreesClassifier(self._n_trees, random_state=self._seed, n_jobs=1)
        with warnings.catch_warnings(action="ignore"):  # "many classes for so few samples": they have weights
            trees.fit(rows[:, shown], keys % self._n_labels, sample_weight=weights)
        found: list[int | None] = trees.predict(self._test[:, shown]).tolist()
        return found


class Overtake(NamedTuple):
    """When a control's F1 passes the student's."""

    data: str
    """A home, or :data:`MEAN`."""
    control: str
    student: str
    day: float | None
    """Labelled days, interpolated linearly between those that were tried; None = not within ``within`` days."""
    low: float | None
    """95 % bounds over resampled sessions and draws; None = not within ``within`` days."""
    high: float | None
    share: float
    """Share of the resamples in which it passes within these days, 0 … 1."""
    within: int
    """Most labelled days that were tried."""
    n_sessions: int
    """Test sessions of all homes."""
    n_draws: int
    has_interval: bool
    """Whether each home has the two test sessions that an interval takes."""

    @property
    def key_number(self) -> float | str:
        """The day, or in words that there is none within those that were tried."""
        return f"not within {self.within} days" if self.day is None else self.day

    def __str__(self) -> str:
        day, low, high = ("not within" if day is None else f"{day:.1f}" for day in (self.day, self.low, self.high))
        words = f"not within {self.within} days" if self.day is None else day
        return f"{words} [{low}, {high}]" if self.has_interval else f"{words} (no interval)"


def find_overtake(curves: Sequence[LearningCurve], students: Sequence[Result], seed: int = 0) -> Overtake:
    """The labelled days at which a control passes the student, in one home or on the mean of several.

    The first crossing counts, where the control's F1 is above the student's for the first time, on straight lines
    (linear in days) between the numbers of days that all homes have. A resample draws test sessions of each home, the
    same for student and control, and one order of days; its interval is that of a household that labels days as they
    come, not of a mean over many.

    Args:
        curves: of one control, a home each.
        students: one student's results on the same windows, a home each, in any order.
        seed: of the resamples.

    Raises:
        ValueError: no curve, curves of several controls, or no result on the same sessions.
    """
    if len({curve.control for curve in curves}) != 1:
        raise ValueError(f"an overtaking is of one control, got {sorted({curve.control for curve in curves})}")
    days, own = shared_days(curves), [scores_on(curve, students) for curve in curves]
    gaps = [_at(curve, days) - scores for curve, scores in zip(curves, own)]
    crossings = [_crossing(days, row) for row in _resampled(gaps, seed)]
    low, high = np.quantile([np.inf if day is None else day for day in crossings], (0.025, 0.975), method="nearest")
    first = curves[0]
    return Overtake(
        data=first.data if len(curves) == 1 else MEAN,
        control=first.control,
        student=result_for(first, students).model.name,
        day=_crossing(days, np.mean([gap.mean(axis=(1, 2)) for gap in gaps], axis=0)),
        low=float(low) if np.isfinite(low) else None,
        high=float(high) if np.isfinite(high) else None,
        share=float(np.mean([day is not None for day in crossings])),
        within=max(days),
        n_sessions=sum(len(curve.sessions) for curve in curves),
        n_draws=first.f1.shape[1],
        has_interval=min(len(curve.sessions) for curve in curves) > 1,
    )


def shared_days(curves: Sequence[LearningCurve]) -> tuple[int, ...]:
    """Numbers of labelled days that all of some curves have."""
    return tuple(n for n in curves[0].days if all(n in curve.days for curve in curves))


def by_control(curves: Sequence[LearningCurve]) -> dict[str, list[LearningCurve]]:
    """Curves of each control, in the order given."""
    found: dict[str, list[LearningCurve]] = {}
    for curve in curves:
        found.setdefault(curve.control, []).append(curve)
    return found


def result_for(curve: LearningCurve, results: Sequence[Result]) -> Result:
    """The one result on the windows of a curve.

    Raises:
        ValueError: there is none, or several, or on other sessions.
    """
    found = [result for result in results if result.task.data == curve.data]
    judged = [tuple(score.session for score in result.sessions if score.n_events) for result in found]
    if judged != [curve.sessions]:
        there = ", ".join(f"{result.model.name} on {result.task.data}" for result in results) or "none"
        raise ValueError(f"need one result on the {len(curve.sessions)} sessions of {curve.data}, got: {there}")
    return found[0]


def scores_on(curve: LearningCurve, results: Sequence[Result]) -> Floats:
    """Macro F1 of the result on a curve's home, shape (n_sessions,)."""
    return np.array([score.macro_f1 for score in result_for(curve, results).sessions if score.n_events])


def _at(curve: LearningCurve, days: Sequence[int]) -> Floats:
    """F1 at these numbers of days only."""
    return curve.f1[[curve.days.index(n) for n in days]]


def _resampled(homes: Sequence[Floats], seed: int) -> Floats:
    """Mean over homes of values (n_points, n_draws, n_sessions) in each resample, (n_resamples, n_points)."""
    total = np.zeros((B, len(homes[0])))
    for place, values in enumerate(homes):
        _, n_draws, n_sessions = values.shape
        draws = np.random.default_rng((seed, place)).integers(n_draws, size=B)
        weights = widened_weights(n_sessions, seed=seed + place)
        total += np.einsum("pbs,bs->bp", values[:, draws], weights) / n_sessions / len(homes)
    return total


def _crossing(days: Sequence[int], gaps: Floats) -> float | None:
    """Where gaps (control minus student, one a number of days) are above 0 for the first time; None = nowhere."""
    above = np.flatnonzero(gaps > 0)
    if not len(above):
        return None
    i = int(above[0])
    return float(days[i] if i == 0 else days[i] - (days[i] - days[i - 1]) * gaps[i] / (gaps[i] - gaps[i - 1]))


def overtake_table(curves: Sequence[LearningCurve], students: Sequence[Result]) -> pd.DataFrame:
    """When each control passes the student, a row a home and control, then the mean of the homes.

    Args:
        curves: of any controls and homes.
        students: one student's results on the same windows, a home each.
    """
    rows = []
    for own in by_control(curves).values():
        for some in [*([curve] for curve in own), *([own] if len(own) > 1 else [])]:
            found = find_overtake(some, students)
            passes = f"{100 * found.share:.0f} % within {found.within} days"
            counts = (found.n_sessions, found.n_draws)
            rows.append((found.data, found.control, str(found), passes, *counts, found.student))
    columns = [
        "data",
        "control",
        "passes after labelled days [95 %]",
        "of resamples",
        "test sessions",
        "draws",
        "student",
    ]
    return pd.DataFrame(rows, columns=columns).set_index(["data", "control"])


def curve_table(
    curves: Sequence[LearningCurve], students: Sequence[Result], tuned: Mapping[int, Sequence[Result]] | None = None
) -> pd.DataFrame:
    """Macro F1 by labelled days: each home, then the mean of the homes; the student stands at 0 days.

    Intervals of controls are over resampled sessions and draws of days, those of students over sessions. What a home
    has too few days for is no row; the last column says so.

    Args:
        curves: of any controls and homes.
        students: one student's results on the same windows, a home each.
        tuned: labelled days -> results of the student tuned on them, of some homes or all.
    """
    homes = list(dict.fromkeys(curve.data for curve in curves))
    rows = []
    for data in [*homes, *([MEAN] if len(homes) > 1 else [])]:
        here = [curve for curve in curves if data in (curve.data, MEAN)]
        for control, own in by_control(here).items():
            days = shared_days(own)
            few = [f"{c.data} has {c.n_days} days: not {', '.join(map(str, c.left_out))}" for c in own if c.left_out]
            points = _points([_at(curve, days) for curve in own])
            rows += [(data, control, n, *point, "; ".join(few)) for n, point in zip(days, points)]
        for n, results in {0: students, **(tuned or {})}.items():
            own = by_control(here)[here[0].control]
            if all(any(result.task.data == curve.data for result in results) for curve in own):
                result = result_for(own[0], results)
                (point,) = _points([scores_on(curve, results)[None, None] for curve in own])
                if len(own) == 1:  # the study's own interval
                    point = (*result.macro_f1[1:4], *point[3:])
                rows.append((data, result.model.name, n, *point, ""))
    columns = [
        "data",
        "who",
        "labelled days",
        "macro F1",
        "95 % low",
        "95 % high",
        "test sessions",
        "draws",
        "left out",
    ]
    return pd.DataFrame(rows, columns=columns)


def _points(homes: Sequence[Floats]) -> list[tuple[float, float, float, int, int]]:
    """Mean of the homes at each point, bounds cut at 0 and 1 (NaN where a home has one session), sessions, draws."""
    means = np.mean([values.mean(axis=(1, 2)) for values in homes], axis=0)
    low, high = np.clip(np.quantile(_resampled(homes, 0), (0.025, 0.975), axis=0), 0, 1)
    if min(values.shape[2] for values in homes) < 2:
        low = high = np.full(len(means), np.nan)
    counts = sum(values.shape[2] for values in homes), homes[0].shape[1]
    return [(float(mean), float(a), float(b), *counts) for mean, a, b in zip(means, low, high)]
