"""Days to overtake: which days are learnt, how a crossing is found, and what stands where there is none."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.score import overtake
from llmhar.score.controls import trees_result, true_labels
from llmhar.score.figures import colours_of
from llmhar.score.home_figures import learning_figure
from llmhar.score.overtake import (
    MEAN,
    LeakedDay,
    LearningCurve,
    curve_table,
    find_overtake,
    learning_curves,
    overtake_table,
)
from llmhar.score.stats import t_interval, widened_weights
from llmhar.score.tables import score_labels
from tests.score.homes import result_of, session_of, task_of

REAL = Path(__file__).parents[3] / "shared" / "data" / "kasteren_a"
CONTROLS = list(overtake.CONTROLS)


def day(number, *, first=1, second=2, name="", **options):
    """Twelve events of two activities."""
    return session_of(name or f"d{number}", [first] * 6 + [second] * 6, day=number, **options)


@pytest.fixture(scope="module")
def task():
    """Three test days; of five training days two know cooking and sleep, three the others."""
    train = [day(1), day(2), *(day(n, first=3, second=4) for n in (3, 4, 5))]
    return task_of([day(n) for n in (11, 12, 13)], train)


@pytest.fixture(scope="module")
def curves(task):
    return learning_curves(task, n_draws=8, n_trees=5)


def student_of(task, *wrong):
    """Right but for the first ``wrong[i]`` events of session i."""
    places = {name: n for name, n in zip(task.sessions, wrong)}
    return result_of(task, "student", lambda e, w: e.activity_id if e.event_id >= places.get(w.session_id, 0) else None)


def curve_of(task, f1, days=(0, 1, 2, 4, 8), control="trees"):
    """A curve with given F1: one value a number of days, for all draws and sessions, or a whole array."""
    f1 = np.array(f1, dtype=float)
    f1 = np.broadcast_to(f1[:, None, None], (len(days), 4, len(task.sessions))) if f1.ndim == 1 else f1
    return LearningCurve(control, task.data, days, f1, tuple(task.sessions), 10, (), "by hand")


def test_each_control_at_each_number_of_days_that_there_is(task, curves):
    assert [curve.control for curve in curves] == CONTROLS
    for curve in curves:
        assert curve.days == (0, 1, 2, 4) and curve.left_out == (8,) and curve.n_days == 5
        assert curve.f1.shape == (4, 8, 3) and curve.sessions == ("d11", "d12", "d13")
        assert (curve.f1[0] == 0).all(), "of no day nothing is learnt"
        assert set(np.unique(curve.f1[1])) == {0.0, 1.0}, "a day knows both activities or neither"
        assert (curve.f1[3] == 1).all(), "of four of the five days one knows them"
        assert (np.diff(curve.f1, axis=0) >= 0).all(), "a draw is an order of days: the first n"


def test_a_day_that_is_learnt_is_drawn_as_often_as_another(task):
    curve = learning_curves(task, (1,), n_draws=200, n_trees=1)[0]
    assert curve.f1.mean() == pytest.approx(2 / 5, abs=0.1)


def test_the_same_seed_gives_the_same_curves_and_another_other_draws(task, curves):
    again = learning_curves(task, n_draws=8, n_trees=5)
    assert all(np.array_equal(one.f1, other.f1) for one, other in zip(curves, again))
    assert not np.array_equal(learning_curves(task, n_draws=8, n_trees=5, seed=1)[0].f1, curves[0].f1)


def test_trees_are_those_of_the_other_controls(simulated_home):
    """On all days, and as many trees, F1 is that of :func:`trees_result` on the same windows."""
    task = prepare("simulated", simulated_home, windowing=Windowing(n=3))
    some = dict(list(task.train.items())[:4])
    task = replace(task, train=some)
    curve = learning_curves(task, (4,), n_draws=1, n_trees=100)[0]
    windows = [w for session in some.values() for w in overtake.cut_windows(session)]
    trees = trees_result(task, true_labels(windows, next(iter(some.values()))))
    assert curve.f1[0, 0] == pytest.approx([score.macro_f1 for score in trees.sessions if score.n_events], abs=0.05)


def test_a_planted_test_day_is_found(task):
    test = next(iter(task.sessions.values()))
    for planted in (test, replace(test, session_id="d99")):
        leaky = replace(task, train={**task.train, planted.session_id: planted})
        with pytest.raises(LeakedDay, match=f"day {planted.session_id} is to be learnt, and is test session d11"):
            learning_curves(leaky, n_draws=1, n_trees=1)


def test_no_control_looks_at_the_truth_of_the_test_days(task, curves, monkeypatch):
    judged = []
    monkeypatch.setattr(
        overtake, "score_labels", lambda task, labels: judged.append(labels) or score_labels(task, labels)
    )
    learning_curves(task, n_draws=3, n_trees=5)
    seen, judged[:] = list(judged), []
    blind = {
        n: replace(s, events=tuple(replace(e, activity_id=None) for e in s.events)) for n, s in task.sessions.items()
    }
    windows = tuple(replace(w, events=tuple(replace(e, activity_id=None) for e in w.events)) for w in task.windows)
    learning_curves(replace(task, sessions=blind, windows=windows), n_draws=3, n_trees=5)
    assert judged == seen


def test_days_with_a_handful_of_events_are_not_drawn(task):
    few = session_of("d6", [1, 2], day=6)
    curve = learning_curves(replace(task, train={**task.train, "d6": few}), n_draws=1, n_trees=1)[0]
    assert curve.n_days == 5


def test_a_home_without_training_days_has_the_point_of_none():
    task = task_of([day(11), day(12)])
    for curve in learning_curves(task, n_draws=2):
        assert curve.days == (0,) and curve.left_out == (1, 2, 4, 8) and (curve.f1 == 0).all()
    found = find_overtake([curve], [student_of(task, 3, 3)])
    assert found.key_number == "not within 0 days"


def test_days_of_several_homes_are_not_mixed(task):
    other = replace(task, train={**task.train, "x": day(6, name="x", home="other")})
    with pytest.raises(ValueError, match="simulated has 2 homes: days are drawn from one"):
        learning_curves(other)


@pytest.mark.parametrize(
    ("f1", "expected"),
    [
        ((0, 0.2, 0.6, 0.8, 0.9), 1.75),  # 0.5 between one day and two
        ((0, 0.2, 0.5, 0.6, 0.9), 2.0),  # equal is not above; the line leaves it at once
        ((0, 0.1, 0.2, 0.3, 0.7), 6.0),
        ((0, 0.9, 0.1, 0.1, 0.1), 5 / 9),  # the first crossing, whatever comes later
        ((0, 0.1, 0.2, 0.3, 0.4), None),
        ((0.6, 0.7, 0.8, 0.9, 1), 0.0),
    ],
)
def test_a_crossing_is_linear_in_days(f1, expected):
    task = task_of([day(n) for n in (11, 12, 13)])
    half = result_of(task, "student", lambda e, w: 1 if e.activity_id == 1 else None)
    assert half.macro_f1.mean == 0.5
    found = find_overtake([curve_of(task, f1)], [half])
    assert found.day == (None if expected is None else pytest.approx(expected))
    assert (found.low, found.high) == (found.day, found.day), "nothing varies"
    assert found.share == (0 if expected is None else 1) and found.within == 8
    if expected is None:
        assert found.key_number == "not within 8 days" and str(found) == "not within 8 days [not within, not within]"


def test_the_interval_is_over_draws_and_sessions():
    task = task_of([day(n) for n in range(11, 36)])
    student = student_of(task, *[3, 6, 9] * 9)
    slow, quick = np.array([0.0, 0.1, 0.1, 0.2, 0.3]), np.array([0.0, 0.9, 1, 1, 1])
    f1 = np.repeat(np.stack([slow, *[quick] * 9], axis=1)[:, :, None], len(task.sessions), axis=2)
    found = find_overtake([curve_of(task, f1)], [student])
    assert found.share == pytest.approx(0.9, abs=0.03) and found.high is None and found.low is not None
    assert found.low < 1 < 8 and "not within" in str(found) and found.n_sessions == 25 and found.n_draws == 10
    alone = find_overtake([curve_of(task, quick)], [student])
    assert alone.low < alone.day < alone.high


def test_few_sessions_widen_as_students_t_does():
    scores = [0.2, 0.5, 0.6, 0.9]
    drawn = widened_weights(4, n_resamples=20_000) @ np.array(scores) / 4
    low, high = np.quantile(drawn, (0.025, 0.975))
    t = t_interval(scores)
    assert (high - low) == pytest.approx(t.high - t.low, rel=0.15)
    assert (widened_weights(1) == 1).all() and widened_weights(30).min() >= 0
    assert widened_weights(4).sum(axis=1) == pytest.approx(4)


def homes():
    """Two homes of three test days, with their curves and a student."""
    tasks = [task_of([day(n) for n in (11, 12, 13)], part=part) for part in ("home A", "home B")]
    curves = [curve_of(tasks[0], (0, 0.4, 0.8, 1, 1)), curve_of(tasks[1], (0, 0.0, 0.4, 0.6), days=(0, 1, 2, 4))]
    return tasks, curves, [student_of(task, 2, 4, 6) for task in tasks]


def test_the_mean_of_homes_takes_the_days_that_all_have():
    _, curves, students = homes()
    found = find_overtake(curves, list(reversed(students)))
    assert found.data == MEAN and found.within == 4 and found.n_sessions == 6
    mean = np.array([0, 0.2, 0.6, 0.8])
    f1 = students[0].macro_f1.mean
    assert found.day == pytest.approx(np.interp(f1, mean, (0, 1, 2, 4)))


def test_tables_say_n_and_what_was_left_out_and_hold_no_nan(task, curves):
    student = student_of(task, 2, 4, 6)
    table = curve_table(curves, [student], {2: [student]})
    assert not table.isna().any().any()
    assert list(table["who"]) == [*["trees"] * 4, *["trees on embeddings"] * 4, "student", "student"]
    assert list(table[table["who"] == "student"]["labelled days"]) == [0, 2]
    assert set(table[table["who"] == "trees"]["left out"]) == {"simulated has 5 days: not 8"}
    row = table[table["who"] == "student"].iloc[0]
    assert (row["macro F1"], row["95 % low"]) == (student.macro_f1.mean, student.macro_f1.low)
    assert ((table["95 % low"] <= table["macro F1"]) & (table["macro F1"] <= table["95 % high"])).all()
    passes = overtake_table(curves, [student])
    assert not passes.isna().any().any() and list(passes.index.get_level_values("control")) == CONTROLS


def test_both_homes_and_their_mean_stand_in_the_tables():
    tasks, curves, students = homes()
    table = curve_table(curves, students, {2: students[:1]})
    assert list(table["data"].unique()) == [tasks[0].data, tasks[1].data, MEAN]
    tuned = table[(table["who"] == "student") & (table["labelled days"] == 2)]
    assert list(tuned["data"]) == [tasks[0].data], "the mean is of students that were tuned in every home"
    assert len(overtake_table(curves, students)) == 3


def test_one_session_has_no_interval():
    task = task_of([day(11)])
    found = find_overtake([curve_of(task, (0, 0.2, 0.6, 0.8, 1))], [student_of(task, 6)])
    assert str(found) == f"{found.day:.1f} (no interval)"
    assert curve_table([curve_of(task, (0, 0.2, 0.6, 0.8, 1))], [student_of(task, 6)])["95 % low"].isna().all()


def test_a_result_on_other_sessions_is_refused(task, curves):
    other = student_of(task_of([day(11)]), 1)
    with pytest.raises(ValueError, match="need one result on the 3 sessions of simulated, got: student on simulated"):
        find_overtake(curves[:1], [other])
    with pytest.raises(ValueError, match="an overtaking is of one control"):
        find_overtake(curves, [student_of(task)])


def test_the_figure_shows_every_home_and_their_mean():
    tasks, curves, students = homes()
    figure = learning_figure(curves, students, {2: students})
    own = colours_of(["student", "trees"])
    drawn = {line.get_label(): to_hex(line.get_color()) for line in figure.axes[0].lines}
    assert (drawn["trees"], drawn["student, no labelled day"]) == (own["trees"], own["student"])
    assert figure.alt.startswith("Macro F1: student on ") and "Passed after labelled days: trees in " in figure.alt
    assert [axes.get_title(loc="left") for axes in figure.axes] == [tasks[0].data, tasks[1].data, MEAN]
    assert (
        "labelled days" in figure.alt and "by hand" in figure.get_supxlabel() and math.isfinite(figure.get_figwidth())
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the real Kasteren files are not beside this repository")
def test_a_real_home_at_two_numbers_of_days():
    task = prepare("kasteren", REAL, windowing=Windowing(n=4))
    trees = learning_curves(task, (1, 8), n_draws=3, n_trees=10)[0]
    assert trees.days == (1, 8) and trees.f1[1].mean() > trees.f1[0].mean() > 0
