"""Asking again about a window changed by hand: the right question, one generation, kept in the store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.inference import collect, make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import one_window, prepare
from llmhar.data import simulated
from llmhar.data.events import SensorEvent, Window, Windowing
from llmhar.records import VERDICTS, Fingerprint, Generation, Sampling
from llmhar.score import tables
from llmhar.text.prompt import PromptForm
from llmhar.text.schema import answer_schema
from llmhar.traces import reask as reasking
from llmhar.traces.bundle import build_bundle
from llmhar.traces.counterfactual import Order, ReaskError, drop_events, edit_window, swap_events
from llmhar.traces.reask import Reasker, reask
from llmhar.traces.widget import TraceBrowser

RULES, SMOKE = MODELS["rules"], MODELS["recorded-smoke"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=2),
        form=PromptForm(answer="name", wording="brief"),
    )


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def rows_of(window):
    return [(f"{e.time:%H:%M:%S}", e.room, e.sensor, e.state) for e in window.events]


def window_at(*clocks, index=3):
    events = [
        SensorEvent(
            40 + i, datetime.fromisoformat(f"2000-01-0{day}T{clock}"), "kitchen", f"thing {i}", "turned ON", ("A",), i
        )
        for i, (day, clock) in enumerate(clocks)
    ]
    return Window("01", index, tuple(events))


MORNING = window_at((3, "07:00:00.250"), (3, "07:00:05"), (3, "07:00:09"), (3, "07:01:00"))


def test_dropped_events_leave_the_others_with_their_truth():
    rows = rows_of(MORNING)
    made = edit_window(MORNING, [rows[0], rows[2], rows[3]])
    assert [(e.event_id, e.sensor, e.activity_id, e.residents) for e in made.events] == [
        (0, "thing 0", 0, ("A",)), (1, "thing 2", 2, ("A",)), (2, "thing 3", 3, ("A",)),
    ]  # fmt: skip
    assert made.events[0].time == MORNING.events[0].time  # to the millisecond


def test_edited_events_lose_their_truth():
    rows = rows_of(MORNING)
    made = edit_window(MORNING, [rows[0], ("07:00:07", "bathroom", "shower", "turned OFF"), *rows[2:]])
    new = made.events[1]
    assert (new.room, new.sensor, new.state, new.activity_id, new.residents) == (
        "bathroom",
        "shower",
        "turned OFF",
        None,
        (),
    )
    assert new.time == datetime(2000, 1, 3, 7, 0, 7)
    assert [e.activity_id for e in made.events] == [0, None, 2, 3]
    added = edit_window(MORNING, [*rows, ("07:02:00", "", "phone", "turned ON")])
    assert [e.activity_id for e in added.events] == [0, 1, 2, 3, None]


def test_an_unchanged_window_is_the_window_itself():
    assert edit_window(MORNING, rows_of(MORNING)) is MORNING


def test_changed_windows_are_numbered_by_what_they_hold():
    rows = rows_of(MORNING)
    one, same, other = (edit_window(MORNING, rows[start:]) for start in (1, 1, 2))
    assert one == same and one.index != other.index
    assert one.index == drop_events(MORNING, [0]).index == 20894758130872  # what a store of format 2 is brought up to
    assert swap_events(MORNING, [0, 2], MORNING.events[3:]).index == 180577053984638 < 2**53  # exact in JavaScript
    assert edit_window(replace(MORNING, session_id="02"), rows[1:]).index != one.index


def test_clocks_pass_midnight():
    night = window_at((3, "23:58:00"), (3, "23:59:30"), (4, "00:00:10"))
    rows = rows_of(night)
    made = edit_window(night, [rows[0], ("00:00:01", "hall", "lamp", "turned ON"), rows[2]])
    assert [e.time.day for e in made.events] == [3, 4, 4]
    same_second = edit_window(MORNING, [rows_of(MORNING)[0], ("07:00:00", "hall", "lamp", "turned ON")])
    assert same_second.events[1].time >= same_second.events[0].time


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "1 to 30 events, not 0"),
        ([("07:00:00", "a", "b", "c")] * 31, "not 31"),
        ([("7:00:00", "a", "b", "c")], "HH:MM:SS"),
        ([("24:00:00", "a", "b", "c")], "HH:MM:SS"),
        ([("07:00", "a", "b", "c")], "HH:MM:SS"),
        ([("０７:００:００", "a", "b", "c")], "HH:MM:SS"),
        ([("07:00:00", "a" * 81, "b", "c")], "room has 81"),
        ([("07:00:00", "a", "b" * 81, "c")], "sensor has 81"),
        ([("07:00:00", "a", "b", "c" * 81)], "state has 81"),
        ([("07:00:00", "a", " \u202e ", "c")], "sensor is empty"),
        ([("07:00:00", "a", "b", "")], "state is empty"),
        ([("07:00:05", "a", "b", "c"), ("07:00:01", "a", "b", "c")], "event 1 at 07:00:01 comes before event 0"),
    ],
)
def test_orders_that_make_no_window(rows, message):
    with pytest.raises(ReaskError, match=message):
        edit_window(MORNING, rows)


def test_one_generation_about_the_changed_window_from_the_rules(task, store):
    old = task.windows[0]
    rows = rows_of(old)[1:]
    order = Order(old.session_id, old.index, tuple(rows))
    reply = reask(task, RULES, order, store)
    assert store.counts()["requests"] == store.counts()["successes"] == 1
    assert set(reply) == {"r", "x", "l", "v", "t", "c", "f", "k", "m", "w"} and reply["w"] == []
    assert len(reply["l"]) == len(reply["v"]) == len(rows) and {VERDICTS[v] for v in reply["v"]} == {"ok"}
    names = list(task.sessions[old.session_id].labels.values())
    assert [names[label] for label in reply["l"]] == [item["activity"] for item in json.loads(reply["x"])]
    assert [m[2] for m in reply["m"] if m[3] == "event"] == [[i] for i in range(len(rows))]
    (key,) = [key for (key,) in store._db.execute("SELECT key FROM requests")]
    asked = store.request(key)
    assert reply["k"] == key[:16] and asked.messages[0]["content"] == task.prompt_of(old).system
    assert rows[0][0] in asked.messages[1]["content"] and rows_of(old)[0][0] not in asked.messages[1]["content"]
    assert store.asked_for(key)[0][2] == edit_window(old, rows).index
    assert reask(task, RULES, order, store) == reply  # the store answers: no second attempt
    assert store.counts()["successes"] == 1


def test_nothing_changed_asks_nothing(task, store):
    asks = make_asks(task, RULES)
    run_asks(asks, RULES, store, asking=Asking(progress=False))
    before, window = store.counts(), task.windows[0]
    like = asks[0].request
    order = Order(window.session_id, window.index, tuple(rows_of(window)), like=like)
    reply = reask(task, RULES, order, store)
    assert store.counts() == before and reply["k"] == like.key[:16]


def test_wording_serializer_temperature_and_the_rest_as_it_was(task, store):
    window = task.windows[0]
    like = make_asks(task, RULES, asking=Asking(sampling=Sampling(top_p=0.9, max_tokens=77, seed=5), constrained=True))[
        0
    ].request
    rows = tuple(rows_of(window))
    order = Order(window.session_id, window.index, rows, wording="s1", serializer="lines", temperature=0.5, like=like)
    reask(task, RULES, order, store)
    (key,) = [key for (key,) in store._db.execute("SELECT key FROM requests")]
    asked = store.request(key)
    assert asked.sampling == Sampling(temperature=0.5, top_p=0.9, max_tokens=77, seed=5)
    assert asked.messages[0]["content"].startswith("You are an assistant") and "\n1 " in asked.messages[1]["content"]
    other = replace(order, wording=None, temperature=None)
    reask(task, RULES, other, store)
    (second,) = [found for (found,) in store._db.execute("SELECT key FROM requests") if found != key]
    asked = store.request(second)
    assert asked.messages[0]["content"].startswith("Name the home activity") and asked.sampling == like.sampling
    with pytest.raises(ReaskError, match="temperature"):
        reask(task, RULES, replace(order, temperature=float("nan")), store)


@pytest.mark.parametrize("why", [True, False])
def test_a_bound_answer_is_bound_to_the_same_schema_again(task, store, why):
    """Whatever the model would be asked otherwise: it reasons in each item if it did before."""
    window, model = task.windows[0], MODELS["smollm2-135m"]
    (like, *_) = make_asks(task, model, Asking(constrained=True, why=why))
    made = [{"id": i, **({"why": f'"{i}" near event 0'} if why else {}), "activity": "chatting"} for i in range(9)]
    engine = Scripted(json.dumps(made))
    order = Order(window.session_id, window.index, tuple(rows_of(window)[1:]), like=like.request)
    reply = reask(task, model, order, store, Asking(open_with=lambda: engine))
    (asked,) = engine.asked
    assert asked.schema == answer_schema(9, task.sessions[window.session_id].labels, "name", why=why)
    said = [[f'"{i}" near event 0', [[9, 16, [0], "event"]]] for i in range(9)]
    assert reply["w"] == (said if why else []) and reply["r"] == ""


class Scripted:
    """Says one text; keeps what it was asked."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def fingerprint(self):
        return Fingerprint("scripted", "1", "", "")

    def stream(self, requests):
        for request in requests:
            self.asked.append(request)
            yield Generation(request.key, self.text, "stop")

    def close(self):
        """Nothing is open."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def test_a_model_that_fails_says_why(task, store):
    window = task.windows[0]
    prompts = {home: replace(prompt, labels="") for home, prompt in task.prompts.items()}
    with pytest.raises(ReaskError, match=r"rules gave no answer: .*label list"):
        order = Order(window.session_id, window.index, tuple(rows_of(window)))
        reask(replace(task, prompts=prompts), RULES, order, store)
    with pytest.raises(ReaskError, match="no window 999"):
        reask(task, RULES, Order(window.session_id, 999, tuple(rows_of(window))), store)


class Counting:
    """Stands before an engine and counts."""

    opened, closed, asked = 0, 0, 0

    def __init__(self, inner):
        self.inner = inner
        Counting.opened += 1

    def fingerprint(self):
        return self.inner.fingerprint()

    def stream(self, requests):
        for generation in self.inner.stream(requests):
            Counting.asked += 1
            yield generation

    def close(self):
        Counting.closed += 1

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@pytest.fixture
def counting(monkeypatch):
    Counting.opened = Counting.closed = Counting.asked = 0
    real = reasking.open_model
    monkeypatch.setattr(reasking, "open_model", lambda *how: Counting(real(*how)))
    return Counting


@pytest.fixture
def results(task, store):
    made = []
    for model in (RULES, SMOKE):
        asks = make_asks(task, model, asking=Asking(sampling=Sampling(max_tokens=99)))
        run_asks(asks, model, store, asking=Asking(progress=False))
        made.append(tables.score_answers(task, model, collect(asks, store)))
    return made


def view(bundle, n, m, rows, **changes):
    window = bundle["windows"][n]
    told = {"window": n, "dataset": bundle["datasets"][window["d"]]["name"], "session": window["s"],
            "index": window["i"], "model": m, "model_name": bundle["models"][m]["name"], "events": tuple(rows),
            "labels": tuple(bundle["labels"]), "wording": None, "temperature": 0.0}  # fmt: skip
    return Order(**{**told, **changes})


def test_the_widget_s_orders_reuse_one_open_engine(results, store, counting):
    bundle = build_bundle(results)
    rows = [tuple(row[:4]) for row in bundle["windows"][1]["e"]]
    with Reasker(results, store) as reasker:
        assert counting.opened == 0
        same = reasker(view(bundle, 1, 0, rows))
        assert same == bundle["windows"][1]["a"][0] and counting.opened == 0  # the store had it
        first, second = reasker(view(bundle, 1, 0, rows[1:])), reasker(view(bundle, 1, 0, rows[2:]))
        assert len(first["l"]) == len(rows) - 1 and len(second["l"]) == len(rows) - 2
        assert (counting.opened, counting.closed, counting.asked) == (1, 0, 2)
        assert {bundle["labels"][label] for label in first["l"]} <= set(bundle["labels"]) and -1 not in first["l"]
        assert reasker(view(bundle, 1, 0, rows[1:])) == first and counting.asked == 2
        recorded = reasker(view(bundle, 1, 1, rows[1:]))  # another model: the first engine goes, memory holds one
        assert recorded["f"] == "stop" and (counting.opened, counting.closed) == (2, 1)
        key = next(k for (k,) in store._db.execute("SELECT key FROM requests") if k.startswith(first["k"]))
        assert store.request(key).sampling.max_tokens == 99  # as the model was asked before
    assert counting.closed == 2
    reasker.close()
    assert counting.closed == 2


def test_an_engine_that_failed_is_opened_anew(results, store, counting, monkeypatch):
    bundle = build_bundle(results)
    rows = [tuple(row[:4]) for row in bundle["windows"][0]["e"]]
    with Reasker(results, store) as reasker:
        reasker(view(bundle, 0, 0, rows[1:]))

        def die(self, requests):
            raise EngineError("the child died")
            yield

        with monkeypatch.context() as broken:
            broken.setattr(reasker._open[1].__class__, "stream", die)
            with pytest.raises(EngineError, match="died"):
                reasker(view(bundle, 0, 0, rows[2:]))
        assert counting.closed == 1
        reasker(view(bundle, 0, 0, rows[2:]))
        assert counting.opened == 2
        with pytest.raises(ReaskError, match="HH:MM:SS"):
            reasker(view(bundle, 0, 0, [("late", *rows[0][1:])]))
        assert counting.closed == 1  # a slip of the pen does not cost an engine


def test_a_model_that_was_not_asked_about_a_window_can_be(results, store, task):
    few = one_window(task, 0, 0)
    asks = make_asks(few, SMOKE)
    run_asks(asks, SMOKE, store, asking=Asking(progress=False))
    mixed = [results[0], tables.score_answers(few, SMOKE, collect(asks, store))]
    bundle = build_bundle(mixed)
    far = next(n for n, window in enumerate(bundle["windows"]) if window["a"][1] is None)
    rows = [tuple(row[:4]) for row in bundle["windows"][far]["e"]]
    with Reasker(mixed, store) as reasker:
        assert len(reasker(view(bundle, far, 1, rows[:5]))["l"]) == 5
        with pytest.raises(ReaskError, match="no model 7"):
            reasker(view(bundle, far, 1, rows, model=7))
        with pytest.raises(ReaskError, match="among the results"):
            reasker(view(bundle, far, 1, rows, dataset="elsewhere"))


def test_through_the_widget(results, store):
    bundle = build_bundle(results)
    rows = [list(row[:4]) for row in bundle["windows"][0]["e"]][1:]
    with Reasker(results, store) as reasker:
        widget = TraceBrowser(bundle, reask=reasker, save_note=lambda *note: store.add_note(*note).to_json())
        order = {"type": "reask", "window": 0, "model": 0, "events": rows, "wording": "short", "temperature": 0}
        told = widget.answer(order)
        assert told["type"] == "reasked" and told["events"] == rows and len(told["answer"]["l"]) == len(rows)
        assert widget.answer({**order, "events": [["25:00:00", "a", "b", "c"]]})["type"] == "failed"
    key = told["answer"]["k"]
    noted = widget.answer({"type": "note", "k": key, "tags": ["counterfactual"], "text": "flips"})
    assert noted["type"] == "noted" and noted["note"]["k"] == key and store.notes()[0].text == "flips"
    assert "no requests" in widget.answer({"type": "note", "k": "f" * 16, "tags": [], "text": "x"})["text"]
