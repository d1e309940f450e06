"""Controls without a language model: what they learn from, what they may not see, and how well they do."""

from dataclasses import replace

import pytest

from llmhar.ask.task import prepare, training_task
from llmhar.data.events import Windowing
from llmhar.score import controls
from llmhar.score.controls import Labelled, control_results, true_labels
from llmhar.text.prompt import FORMS


@pytest.fixture(scope="module")
def task(simulated_home):
    return prepare("simulated", simulated_home, FORMS["brief"], Windowing(n=6))


@pytest.fixture(scope="module")
def taught(task):
    training = training_task(task, window_size=10, n_sessions=6)
    return true_labels(training.windows, next(iter(training.sessions.values())))


def test_controls_rank_as_what_they_know(task, taught):
    found = control_results(task, {"_truth": taught})
    assert list(found) == ["trees_truth", "lookup_truth", "embeddings", "majority"]
    f1 = {name: result.macro_f1.mean for name, result in found.items()}
    assert f1["trees_truth"] > f1["lookup_truth"] > f1["embeddings"] > f1["majority"]
    for name, result in found.items():
        assert result.model.kind == ("chance" if name == "majority" else "baseline")
        assert result.overall.missed_pct == 0 and result.revision and result.made_by
        assert sum(result.verdicts.values()) == sum(len(window.events) for window in task.windows)


def test_the_same_seed_gives_the_same_trees(task, taught):
    first, second = (controls.trees_result(task, taught, seed=3) for _ in range(2))
    assert first.readings == second.readings
    assert "seed 3" in first.made_by and "scikit-learn" in first.made_by


def test_no_control_looks_at_the_truth_of_test_windows(task, taught):
    blind = tuple(
        replace(w, events=tuple(replace(e, activity_id=None, residents=()) for e in w.events)) for w in task.windows
    )
    hidden = replace(task, windows=blind)
    for name, result in control_results(task, {"": taught}).items():
        assert [r.predictions for r in result.readings] == [
            r.predictions for r in control_results(hidden, {"": taught})[name].readings
        ], name


def test_labels_of_another_home_are_of_no_use(task, taught):
    foreign = taught._replace(activities={0: "sleeping"})
    assert list(control_results(task, {"": foreign})) == ["embeddings", "majority"]


def test_events_without_a_label_are_left_out_and_unknown_sensors_fall_back(task, taught):
    first = taught.windows[0]
    one = Labelled([first], [[7, *[None] * (len(first.events) - 1)]], "nobody", taught.activities)
    for fit in (controls.lookup_result, controls.trees_result):
        labels = {p.label for reading in fit(task, one).readings for p in reading.predictions}
        assert labels == {7}, "the only label there is"
    nothing = Labelled([first], [[None] * len(first.events)], "nobody", taught.activities)
    table = controls.lookup_result(task, nothing)
    assert table.overall.missed_pct == 100 and table.verdicts.keys() == {"missing"}


def test_of_no_labels_nothing_is_learnt(task, taught):
    """As where a teacher's answers name no activity of the home."""
    silent = taught._replace(labels=[[None] * len(own) for own in taught.labels])
    for fit in (controls.lookup_result, controls.trees_result):
        assert fit(task, silent).overall.missed_pct == 100


def test_trees_see_neighbours_and_hours_but_no_truth(task):
    window = task.windows[0]
    rows = controls.features(window)
    assert len(rows) == len(window.events)
    assert rows[2]["sensor -1"] == window.events[1].text and rows[2]["sensor +2"] == window.events[4].text
    assert "sensor -1" not in rows[0] and rows[1]["seconds -1"] <= 0 <= rows[1]["seconds +1"]
    shown = " ".join(str(value) for row in rows for value in [*row, *row.values()])
    assert not any(name in shown for name in task.sessions[window.session_id].activities.values())
