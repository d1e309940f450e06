"""The lesson's helpers: guesses beside the truth."""

import contextlib
import json
import math

import pandas as pd
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.stored import Stored
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing, cut_windows
from llmhar.data.registry import load
from llmhar.records import Fingerprint, Generation
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


def test_reasons_before_and_after_stand_beside_the_labels(tmp_path):
    task = prepare("simulated", windowing=Windowing(n=1))
    model, (window, *_) = MODELS["recorded-smoke"], task.windows

    def said(n, word):
        return json.dumps([{"id": i, "why": f"{word} {i}", "activity": 1} for i in range(n)])

    class Scripted(contextlib.nullcontext):
        def fingerprint(self):
            return Fingerprint("scripted", "1", "", "")

        def stream(self, requests):
            yield from (Generation(r.key, said(len(window.events) - 1, "after"), "stop") for r in requests)

    asks = make_asks(task, model)
    made = [Stored(Generation(a.request.key, said(10, "before"), "stop"), Fingerprint("x", "1", "", "")) for a in asks]
    result = tables.score_answers(task, model, [Answer(a, m, "") for a, m in zip(asks, made)])
    with Store(tmp_path / "store.sqlite") as store:
        scripted = Scripted()
        scripted.enter_result = scripted
        table = lesson.without(result, 2, store, Asking(open_with=lambda: scripted))
    assert list(table["why before"][:4]) == [f"before {i}" for i in range(4)]
    assert list(table["why after"][:4]) == ["after 0", "after 1", "–", "after 2"]


def test_changes_line_up_around_the_gap(home):
    window = cut_windows(home)[0]
    names = [f"a{i}" for i in range(len(window.events))]
    table = lesson.changes(window, 1, names, [names[0], "other", *names[3:]])
    assert list(table["changed"][:4]) == ["no", "gone", "yes", "no"]
