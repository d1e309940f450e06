"""The lesson's helpers: guesses beside the truth."""

import math

import pandas as pd
import pytest

from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing, cut_windows
from llmhar.data.registry import load
from llmhar.score import figures, tables
from llmhar.score.evaluate import evaluate
from llmhar.traces import lesson
from llmhar.traces.counterfactual import ReaskError


@pytest.fixture(scope="module")
def home():
    return load("simulated").sessions[0]


def test_a_perfect_guess_and_one_without_ideas(home):
    window = cut_windows(home)[0]
    truth = ["" if e.activity_id is None else home.activities[e.activity_id] for e in window.events]
    table = lesson.check_guess(window, home, [name.upper().replace(" ", "_") for name in truth])
    assert set(table["right"]) <= {"yes", "–"} and "yes" in set(table["right"])
    assert list(table["truth"]) == [name or "–" for name in truth]
    nothing = lesson.check_guess(window, home, ["?"] * len(truth))
    assert set(nothing["right"]) <= {"no", "–"} and set(nothing["guess"]) == {"–"}


def test_a_slip_of_the_pen_names_what_was_meant(home):
    window = cut_windows(home)[0]
    with pytest.raises(ValueError, match="'watchin TV'; did you mean 'watching TV'"):
        lesson.check_guess(window, home, ["watchin TV"] + ["?"] * (len(window.events) - 1))
    with pytest.raises(ValueError, match="need as many labels, not 1"):
        lesson.check_guess(window, home, ["?"])


def test_predictions_beside_measurements():
    table = lesson.predictions({"a": 3, "b": None}, {"a": 1.0, "b": 2.0})
    assert table.loc["a", "off by"] == 2 and math.isnan(table.loc["b", "off by"])
    with pytest.raises(ValueError, match="exactly these: a, b"):
        lesson.predictions({"a": 1}, {"a": 1.0, "b": 2.0})
    assert isinstance(table, pd.DataFrame)


def test_the_interval_by_hand_is_the_one_of_table_and_figure(tmp_path):
    task = prepare("simulated", windowing=Windowing(n=2))
    with Store(tmp_path / "store.sqlite") as store:
        results = evaluate(task, ["rules", "rules-plain"], store=store).results
    worked, f1 = lesson.interval_by_hand(results[0]), results[0].macro_f1
    assert (worked.n, worked.t) == (6, pytest.approx(2.571, abs=5e-4))
    assert worked.mean - worked.half == pytest.approx(f1.low) and worked.mean + worked.half == pytest.approx(f1.high)
    column = tables.session_table(results)["rules"]
    assert worked.sd == pytest.approx(column.std()) and worked.mean == pytest.approx(column.mean())
    drawn = [line.get_xdata() for line in figures.f1_by_session(results).axes[0].lines]
    assert any(list(ends) == pytest.approx([f1.low, f1.high]) for ends in drawn if len(ends) == 2)
    assert str(worked).endswith(f"[{f1.low:.3f}, {f1.high:.3f}]")


def test_taking_an_event_away_asks_again_and_shows_what_moved(tmp_path):
    task = prepare("simulated", windowing=Windowing(n=1))
    with Store(tmp_path / "store.sqlite") as store:
        (result,) = evaluate(task, ["rules"], store=store).results
        table = lesson.without(result, 2, store)
        again = lesson.without(result, 2, store)
        with pytest.raises(ReaskError, match="no event 99"):
            lesson.without(result, 99, store)
    assert table.equals(again) and table.loc[2, "changed"] == "gone" and table.loc[2, "after"] == "–"
    assert set(table.drop(2)["changed"]) <= {"yes", "no"} and (table["before"] != "–").all()


def test_changes_line_up_around_the_gap(home):
    window = cut_windows(home)[0]
    names = [f"a{i}" for i in range(len(window.events))]
    table = lesson.changes(window, 1, names, [names[0], "other", *names[3:]])
    assert list(table["changed"][:4]) == ["no", "gone", "yes", "no"]
