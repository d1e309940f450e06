"""Tables and figures of the scaling study: exact on a home small enough to count by hand, with a made-up engine."""

import json
import math
import shutil
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.inference import Answer
from llmhar.ask.models import ModelSpec, Shape
from llmhar.ask.store import Ask, Store
from llmhar.ask.stored import Stored
from llmhar.ask.task import Task, prepare
from llmhar.data import simulated
from llmhar.data.events import SensorEvent, Session, Windowing, cut_windows
from llmhar.data.load_report import LoadReport
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.run import publish
from llmhar.scaling import figures as scaling_figures
from llmhar.scaling import tables as scaling_tables
from llmhar.scaling.planner.roofline import Device, Layout, Load, PlanError, devices
from llmhar.score import controls, figures
from llmhar.score import cost as score_cost
from llmhar.score import evaluate as evaluation
from llmhar.score.cost import Point
from llmhar.score.ledger import CAUSES
from llmhar.score.tables import pair_table, score_answers
from llmhar.text.prompt import PromptForm
from tests.opened import Opened

ACTIVITIES = {1: "cooking", 2: "eating", 3: "sleeping", 4: "reading", 9: "TRANSITION"}
SHAPE = Shape(layers=2, hidden=64, heads=4, kv_heads=2, head_dim=32)
SMALL = ModelSpec(name="small", kind="llm", n_params=1_000_000, revision="abcdef0123456", hub_id="x/small", shape=SHAPE)
LARGE = ModelSpec(name="large", kind="llm", n_params=9_000_000, revision="fedcba9876543", hub_id="x/large", shape=SHAPE)
FLOOR = ModelSpec(name="floor", kind="rules", revision="1", hub_id="x/floor")
HERE = Fingerprint("fake", "1.0", "bfloat16", "cpu")


def session(name, *rows, day=3):
    """Rows of (activity, room, hour)."""
    events = tuple(
        SensorEvent(i, datetime(2000, 1, day, hour, i), room, "sensor", "OPENED", (), activity)
        for i, (activity, room, hour) in enumerate(rows)
    )
    return Session("simulated", name, "simulated", ACTIVITIES, events, unscored=frozenset({9}))


def task_of(test, train=(), dataset="simulated", kind="simulated"):
    return Task(
        dataset=dataset,
        kind=kind,
        sessions={s.session_id: s for s in test},
        train={s.session_id: s for s in train},
        windows=tuple(w for s in test for w in cut_windows(s, 2)),
        answer="name",
        subset="all windows of the hand-made sessions",
        prompts={},
        report=LoadReport(dataset, Path()),
    )


TRAIN = [
    session("t1", (1, "kitchen", 8), (1, "kitchen", 8), (1, "kitchen", 8), (2, "kitchen", 12), (2, "kitchen", 12)),
    session("t2", (3, "bedroom", 22), *[(9, "hall", 9)] * 9, *[(None, "hall", 9)] * 9),
]
# s1 has the windows (1 1) (2 TRANSITION), s2 the windows (2 3) (- 3)
TEST = [
    session("s1", (1, "kitchen", 8), (1, "kitchen", 8), (2, "kitchen", 12), (9, "hall", 9)),
    session("s2", (2, "kitchen", 12), (3, "bedroom", 22), (None, "hall", 9), (3, "bedroom", 8), day=4),
]


@pytest.fixture
def task():
    return task_of(TEST, TRAIN)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def asks_of(task, model, k=0):
    return [
        Ask(task.dataset, w.session_id, w.index, model.name,
            Request(model.hub_id, model.revision, "",
                    ({"role": "user", "content": f"{task.data}/{w.session_id}/{w.index}"},), sample_index=k))
        for w in task.windows
    ]  # fmt: skip


def generation(ask, text, tokens=50, seconds=1.0):
    return Generation(ask.request.key, text, "stop", "", 500, 400, tokens, seconds)


def result_of(task, model, texts, made_by=HERE, k=0):
    """A result from one text a window, without a store."""
    answers = [
        Answer(ask, Stored(generation(ask, text), made_by), "") for ask, text in zip(asks_of(task, model, k), texts)
    ]
    return score_answers(task, model, answers)


def reply(*names):
    return json.dumps([{"id": i, "activity": name} for i, name in enumerate(names)])


PERFECT = [
    reply("cooking", "cooking"),
    reply("eating", "cooking"),
    reply("eating", "sleeping"),
    reply("cooking", "sleeping"),
]
# s1: truth 1 1 2, answers 1 2 2: F1 2/3, 2/3. s2: truth 2 3 3, answers 3 - 3: F1 0, 1/2
HALF = [reply("cooking", "eating"), reply("eating", "cooking"), reply("sleeping"), reply("cooking", "sleeping")]
SILENT = ["I cannot tell."] * 4


# -- chance


def test_majority_class_is_the_training_sessions_most_frequent_label(task):
    chance = controls.majority_result(task)
    assert {p.label for r in chance.readings for p in r.predictions} == {1}, "9 and None are more frequent, unscored"
    # s1: truth 1 1 2 answered 1 1 1: F1 4/5 and 0; s2 has no 1
    assert [s.macro_f1 for s in chance.sessions] == pytest.approx([0.4, 0.0], abs=1e-12)
    assert (chance.model.kind, chance.overall.missed_pct, dict(chance.verdicts)) == ("chance", 0.0, {"ok": 8})


def test_majority_class_does_not_look_at_test_sessions(task):
    other = [replace(s, events=tuple(replace(e, activity_id=2) for e in s.events)) for s in TEST]
    changed = controls.majority_result(task_of(other, TRAIN))
    assert [r.predictions for r in changed.readings] == [r.predictions for r in controls.majority_result(task).readings]


def test_ledger_habits_do_not_look_at_test_sessions(task):
    """The mistake 1 -> 2 in the kitchen is confusable by training alone: without training sessions it is not."""
    told = scaling_tables.ledger_table([result_of(task, SMALL, HALF)]).loc["small"]
    untold = scaling_tables.ledger_table([result_of(task_of(TEST), SMALL, HALF)]).loc["small"]
    assert told["confusable: same room"] > 0 and untold["confusable: same room"] == 0
    assert untold["other activity"] == pytest.approx(told["confusable: same room"] + told["other activity"], abs=1e-9)


def test_a_line_of_the_ledger_in_words_adds_up(task):
    ledger = scaling_tables.ledger_table([result_of(task, SMALL, HALF)])
    said = scaling_tables.ledger_words(ledger)
    assert said.startswith(f"small, of 100 points: {ledger.iloc[0, 0]:.1f} reached; lost ")
    assert said.endswith("together 100.0.") and "confusable: same room" in said and " 0.0 to" not in said
    assert scaling_tables.ledger_words(ledger.iloc[:0]) == ""


def test_majority_class_without_training_events_answers_nothing():
    chance = controls.majority_result(task_of(TEST))
    assert chance.overall.missed_pct == 100.0 and dict(chance.verdicts) == {"missing": 8}
    row = scaling_tables.ledger_table([chance]).loc["majority class"]
    assert row["missing: never mentioned"] == pytest.approx(100.0, abs=1e-9)


# -- costs


def run(
    store, task, model, texts, made_by=HERE, seconds=8.0, joules=None, killed=False, windows=slice(None), tokens=50
):
    """One pass of an engine over some windows, as :mod:`llmhar.ask.inference` writes it."""
    asks = asks_of(task, model)[windows]
    store.note_asks(asks)
    number = store.begin_pass()
    for ask, text in zip(asks, texts[windows]):
        store.add(generation(ask, text, tokens), made_by, number)
    if not killed:
        cost = {"n_asked": len(asks), "seconds": seconds, "output_tokens": tokens * len(asks), "joules": joules}
        store.end_pass(number, cost)


def scored(store, task, model):
    return score_answers(task, model, inference.collect(asks_of(task, model), store))


def test_costs_are_those_of_the_passes(task, store):
    run(store, task, SMALL, PERFECT, seconds=8.0, joules=20.0)
    assert score_cost.points([scored(store, task, SMALL)], store) == [
        Point("small", "LLM", 1_000_000, 1.0, 50.0, 2.0, 5.0)
    ]


def test_costs_of_two_passes_add_up(task, store):
    run(store, task, SMALL, PERFECT, seconds=3.0, joules=6.0, windows=slice(0, 1), tokens=10)
    run(store, task, SMALL, PERFECT, seconds=9.0, joules=2.0, windows=slice(1, 4), tokens=30)
    (point,) = score_cost.points([scored(store, task, SMALL)], store)
    assert point[4:7] == (25.0, 3.0, 2.0)


def test_a_pass_over_more_than_these_windows_counts_in_part(task, store):
    run(store, task, SMALL, PERFECT, seconds=8.0, joules=4.0)
    half = task_of(TEST[:1], TRAIN)
    (point,) = score_cost.points([scored(store, half, SMALL)], store)
    assert point[4:7] == (50.0, 2.0, 1.0)


def test_joules_measured_in_part_are_not_measured(task, store):
    run(store, task, SMALL, PERFECT, joules=6.0, windows=slice(0, 2))
    run(store, task, SMALL, PERFECT, joules=None, windows=slice(2, 4))
    (point,) = score_cost.points([scored(store, task, SMALL)], store)
    assert point.seconds == 4.0 and point.joules is None


def test_a_killed_pass_has_no_seconds(task, store):
    run(store, task, SMALL, PERFECT, killed=True, windows=slice(0, 1))
    run(store, task, SMALL, PERFECT, joules=6.0, windows=slice(1, 4))
    (point,) = score_cost.points([scored(store, task, SMALL)], store)
    assert point[4:7] == (50.0, None, None)


def test_mixed_engines_have_no_seconds(task, store):
    run(store, task, SMALL, PERFECT, windows=slice(0, 2))
    run(store, task, SMALL, PERFECT, made_by=replace(HERE, device="cuda:A100"), windows=slice(2, 4))
    result = scored(store, task, SMALL)
    assert len(result.fingerprints) == 2
    (point,) = score_cost.points([result], store)
    assert point[4:7] == (50.0, None, None)


def test_rules_and_chance_have_neither_parameters_nor_costs(task, store):
    run(store, task, FLOOR, PERFECT, joules=3.0)
    results = [scored(store, task, FLOOR), controls.majority_result(task)]
    assert [tuple(p[2:7]) for p in score_cost.points(results, store)] == [
        (None, 1.0, None, None, None),
        (None, 0.2, None, None, None),
    ]


def test_windows_that_read_alike_are_asked_once_and_keep_their_seconds(store):
    """Two windows with one request: four answers from three requests are no mixture and no killed pass."""
    task = task_of(TEST, TRAIN)
    asks = asks_of(task, SMALL)
    asks[1] = asks[1]._replace(request=asks[0].request)
    store.note_asks(asks)
    number = store.begin_pass()
    for ask in (asks[0], asks[2], asks[3]):
        store.add(generation(ask, "[]"), HERE, number)
    store.end_pass(number, {"n_asked": 3, "seconds": 6.0, "output_tokens": 150, "joules": 3.0,
                           "counters": ["intel-rapl:0", "gpu1"], "threads": 2})  # fmt: skip
    (point,) = score_cost.points([score_answers(task, SMALL, inference.collect(asks, store))], store)
    assert point[4:] == (50.0, 2.0, 1.0, "gpu1, intel-rapl:0", "2")


def test_axes_table_says_fronts_and_what_was_not_measured():
    table = scaling_tables.axes_table(
        [
            Point("floor", "rules, not an LLM", None, 0.9, None, None, None),
            Point("small", "LLM", 1_000_000, 0.2, 10.0, 3.0, None),
            Point("large", "LLM", 9_000_000, 0.5, 30.0, 2.0, None),
        ]
    )
    assert table["joules"].tolist() == ["not measured"] * 3
    assert table["n_params"].tolist() == ["none", 1_000_000, 9_000_000]
    assert table["on the front of"].tolist() == ["–", "n_params, tokens", "n_params, tokens, seconds"]
    measured = scaling_tables.axes_table([Point("small", "LLM", 1, 0.2, 10.0, 3.0, 1.5)])
    assert measured.loc["small", "joules"] == 1.5
    assert measured.loc["small", "on the front of"] == "n_params, tokens, seconds, joules"


# -- beside the paper


def two_homes():
    other = task_of([replace(s, dataset="mural") for s in TEST], TRAIN, dataset="mural", kind="real")
    return task_of(TEST, TRAIN), other


def test_beside_published_keeps_missing_empty():
    ours, mural = two_homes()
    qwen = ModelSpec(name="qwen3-0.6b", kind="llm", n_params=596_049_920, revision="c" * 8, hub_id="x/q")
    table = scaling_tables.beside_published(
        [result_of(mural, qwen, HALF), result_of(ours, SMALL, PERFECT), controls.majority_result(ours)]
    )
    assert list(table.columns) == [
        "parameters", "S1 marble, %", "S1 mural, %", "ours, mural (real), %", "kind of ours", "ours, simulated, %",
    ]  # fmt: skip
    # session scores 2/3 and 1/4: mean 0.4583, t(0.975, 1) = 12.706, half width 12.706 * 0.2946 / √2
    assert table.loc["qwen3-0.6b"].tolist() == [600_000_000, 16.52, 10.81, "45.8 [0.0, 100.0] (n = 2)", "LLM", ""]
    assert table.loc["qwen3-32b"].tolist() == [32_000_000_000, 37.61, 53.70, "", "", ""]
    assert table.loc["small"].tolist() == [1_000_000, "", "", "", "LLM", "100.0 [100.0, 100.0] (n = 2)"]
    assert table.loc["majority class", "parameters"] == "" and table.loc["majority class", "kind of ours"] == "chance"
    assert len(table) == 8 and 0 not in table.drop(columns="parameters").to_numpy().ravel().tolist()


def test_one_session_has_no_interval_and_none_no_value():
    one = scaling_tables.beside_published([result_of(task_of(TEST[:1]), SMALL, HALF[:2])])
    assert one.loc["small", "ours, simulated, %"] == "66.7 (n = 1)"
    blank = task_of([session("s", (None, "hall", 9), (9, "hall", 9))])
    none = result_of(blank, SMALL, [reply("cooking", "cooking")])
    assert scaling_tables.beside_published([none]).loc["small", "ours, simulated, %"] == ""
    assert scaling_tables.missed_table([none]).loc["small", "ours, simulated"] == "–"
    assert (
        scaling_tables.missed_table([result_of(task_of(TEST[:1]), SMALL, HALF[:2])]).loc["small", "ours, simulated"]
        == "0.00 (n = 1)"
    )


def test_missed_table():
    ours, mural = two_homes()
    table = scaling_tables.missed_table([result_of(ours, SMALL, HALF), result_of(mural, SMALL, SILENT)])
    assert table.loc["qwen3-0.6b"].tolist() == ["13.52 ± 16.85", "16.66 ± 8.84", "–", "–"]
    # s1: 0 of 3, s2: 1 of 3: mean 16.67, sd 33.33 / √2
    assert table.loc["small"].tolist() == ["–", "–", "16.67 ± 23.57 (n = 2)", "100.00 ± 0.00 (n = 2)"]
    assert "qwen3-1.7b fine-tuned on mural" in table.index


# -- where the points went


def test_ledger_rows_add_up_to_100():
    ours, mural = two_homes()
    results = [
        result_of(ours, SMALL, HALF),
        result_of(mural, SMALL, SILENT),
        result_of(ours, LARGE, PERFECT),
        result_of(
            mural, LARGE, ['[{"id": 0, "activ', "<think>event 0", reply("flying", "flying"), reply("eating") * 2]
        ),
        controls.majority_result(ours),
    ]
    table = scaling_tables.ledger_table(results)
    assert list(table.columns) == ["macro F1", *CAUSES]
    assert table.index.tolist() == [
        "small on simulated", "small on mural (real)", "large on simulated", "large on mural (real)",
        "majority class on simulated",
    ]  # fmt: skip
    assert table.sum(axis=1).tolist() == pytest.approx([100.0] * 5, abs=1e-9)
    assert table.loc["small on mural (real)", "malformed"] == 100.0
    assert table.loc["large on simulated", "macro F1"] == 100.0
    # s1: 1 -> 2 costs (1/3 + 1/3)/2; s2: 2 -> 3 (1/1 + 1/4)/2 and one 3 never reported (1/4)/2; mean of both.
    half = table.loc["small on simulated"]
    assert half["macro F1"] == pytest.approx(100 * (2 / 3 + 1 / 4) / 2)
    assert half["confusable: same room"] == pytest.approx(100 / 6)
    assert half["missing: never mentioned"] == pytest.approx(100 / 16)
    assert half["other activity"] == pytest.approx(100 * 5 / 16)  # the bedroom's activity at noon in the kitchen


def test_ledger_leaves_out_sessions_without_a_scored_event():
    task = task_of([*TEST, session("s3", (None, "hall", 9), (9, "hall", 9))], TRAIN)
    row = scaling_tables.ledger_table([result_of(task, SMALL, [*HALF, reply("cooking")])]).loc["small"]
    assert row.sum() == pytest.approx(100.0, abs=1e-9)


def test_policy_table(task):
    prose = ["Sure! " + text for text in HALF]
    table = scaling_tables.policy_table(
        [result_of(task, SMALL, prose), result_of(task, LARGE, SILENT), controls.majority_result(task)]
    )
    assert table.index.tolist() == ["small", "large"], "chance answers no text that could be read otherwise"
    # answered events alone, s2: truth 2 3, answers 3 3: F1 0 and 2/3
    assert table.loc["small"].tolist() == pytest.approx([11 / 24, 0.0, (2 / 3 + 1 / 3) / 2], abs=1e-12)
    assert table.loc["large"].tolist()[:2] == [0.0, 0.0] and math.isnan(table.loc["large"].iloc[2])


def test_confusion_counts_every_scored_event(task):
    result = result_of(task, SMALL, HALF)
    table = scaling_tables.confusion(result)
    assert table.to_dict("index") == {
        "cooking": {"cooking": 1, "eating": 1, "sleeping": 0, "no answer": 0},
        "eating": {"cooking": 0, "eating": 1, "sleeping": 1, "no answer": 0},
        "sleeping": {"cooking": 0, "eating": 0, "sleeping": 1, "no answer": 1},
    }
    assert table.to_numpy().sum() == result.overall.n_events == 6
    silent = scaling_tables.confusion(result_of(task, SMALL, SILENT))
    assert silent["no answer"].tolist() == [2, 2, 2] and silent.to_numpy().sum() == 6
    strange = scaling_tables.confusion(result_of(task, SMALL, [reply("reading", "reading")] * 4))
    assert strange.columns.tolist()[-2:] == ["reading", "no answer"] and strange["reading"].sum() == 6


# -- what the data can prove


def test_pair_table_of_six_sessions():
    sessions = [replace(TEST[0], session_id=f"s{i}") for i in range(6)]
    task = task_of(sessions, TRAIN)
    right, wrong = result_of(task, LARGE, PERFECT[:2] * 6), result_of(task, SMALL, SILENT[:2] * 6)
    two = pair_table(scaling_tables.compare_models([right, wrong]))
    assert two[["data", "first", "second", "n"]].iloc[0].tolist() == ["simulated", "large", "small", 6]
    row = two.iloc[0]
    assert (row["gap"], row["p"], row["p_holm"], row["p_least"]) == (1.0, 1 / 32, 1 / 32, 1 / 32)
    assert (row["verdict"], row["verdict if planned alone"]) == ("higher", "higher")
    three = pair_table(scaling_tables.compare_models([wrong, right, controls.majority_result(task)]))
    assert three["p_least"].tolist() == [3 / 32] * 3 and three["verdict"].tolist() == ["not shown"] * 3
    assert three["verdict if planned alone"].tolist() == ["lower", "lower", "higher"]
    assert (
        pair_table(scaling_tables.compare_models([right])).empty and pair_table(scaling_tables.compare_models([])).empty
    )


def test_pairs_are_compared_within_a_data_set():
    ours, mural = two_homes()
    results = [result_of(t, m, x) for t in (ours, mural) for m, x in ((SMALL, HALF), (LARGE, PERFECT))]
    table = pair_table(scaling_tables.compare_models(results))
    assert table["data"].tolist() == ["simulated", "mural (real)"] and table["p_holm"].tolist() == [0.5, 0.5]
    assert table["gap"].tolist() == pytest.approx([-13 / 24] * 2)


def test_variance_table_needs_samples(task):
    once = [result_of(task, SMALL, HALF)]
    assert scaling_tables.variance_table([once]).empty and scaling_tables.variance_table([]).empty
    same = [result_of(task, LARGE, HALF, k=k) for k in range(3)]
    table = scaling_tables.variance_table([once, same])
    assert table.index.tolist() == ["large"]
    row = table.loc["large"]
    assert (row["n_sessions"], row["n_windows"], row["n_values"]) == (2, 4, 12)
    # the same answers each time: nothing varies between samples. Windows: 1/2, 1 and 0, 1
    assert row["sample"] == 0 and row["window"] == pytest.approx((0.125 + 0.5) / 2) and row["session"] == 0
    assert row["window, share"] == 1.0


def test_variance_of_samples_alone(task):
    half_right = [result_of(task, SMALL, PERFECT), result_of(task, SMALL, SILENT, k=1)]
    row = scaling_tables.variance_table([half_right]).loc["small"]
    assert row["sample"] == pytest.approx(0.5) and row["sample, share"] == 1.0


def test_unscored_activities_are_not_wrong_in_the_variance(task):
    """TRANSITION is neither offered nor scored: its events must not pull a perfect window down."""
    perfect = [result_of(task, SMALL, PERFECT, k=k) for k in range(2)]
    assert scaling_tables.variance_table([perfect]).loc["small", "total"] == 0.0
    blank = task_of([session("s", (9, "hall", 9), (None, "hall", 9))])
    nothing = [result_of(blank, SMALL, [reply("eating", "eating")], k=k) for k in range(2)]
    assert scaling_tables.variance_table([nothing]).loc["small", "n_values"] == 0


# -- roofline


def test_roofline_is_the_planners_for_the_very_tokens(task):
    result = result_of(task, SMALL, PERFECT)
    card = devices()["a100-80"]
    found = scaling_tables.roofline_seconds(
        [result, result_of(task, FLOOR, PERFECT), controls.majority_result(task)], "a100-80"
    )
    assert found == {"small": Layout(SMALL, card).seconds(Load(400, 100, 50), 4) / 4}
    two = scaling_tables.roofline_seconds([result], "a100-80", n_gpus=2)
    assert two == {"small": Layout(SMALL, card, 2).seconds(Load(400, 100, 50), 4) / 4}
    assert two["small"] < found["small"]


def test_plan_against_actual(task, store):
    run(store, task, SMALL, PERFECT, seconds=8.0)
    result = scored(store, task, SMALL)
    row = scaling_tables.plan_against_actual([result], store, "cpu-2core").loc["small"]
    floor = scaling_tables.roofline_seconds([result], "cpu-2core")["small"]
    card: Device = devices()["cpu-2core"]
    assert row["measured s / window"] == 2.0 and row["fraction of roofline"] == pytest.approx(floor / 2)
    assert row["planned s / window"] == pytest.approx(card.derate * floor)
    assert row["planned / measured"] == pytest.approx(card.derate * floor / 2)
    assert row["device"].startswith("cpu-2core (") and row["threads"] == "not recorded"
    pair = scaling_tables.plan_against_actual([result], store, "a100-80", n_gpus=2).loc["small"]
    assert pair["device"].startswith("2 × a100-80 (")


def test_plan_without_seconds_has_no_fraction(task, store):
    run(store, task, SMALL, PERFECT, killed=True)
    row = scaling_tables.plan_against_actual([scored(store, task, SMALL)], store, "cpu-2core").loc["small"]
    assert row["planned s / window"] > 0 and math.isnan(row["fraction of roofline"])


def test_unknown_device_names_those_there_are(task, store):
    for ask in (
        lambda: scaling_tables.roofline_seconds([], "abacus"),
        lambda: scaling_tables.plan_against_actual([], store, "abacus"),
    ):
        with pytest.raises(PlanError, match=r"unknown device 'abacus'; there are: .*a100-80.*cpu-2core"):
            ask()


# -- bound to the schema


def test_constrained_table_and_its_numbers(task, store):
    run(store, task, SMALL, SILENT, seconds=8.0, tokens=100)
    free = [scored(store, task, SMALL)]
    bound_model = SMALL.model_copy(update={"hub_id": "x/bound"})
    run(store, task, bound_model, HALF, seconds=4.0, tokens=25)
    bound = [scored(store, task, bound_model)]
    table = scaling_tables.constrained_table(free, bound, store)
    assert table.index.tolist() == [("small", "free text"), ("small", "bound to the schema")]
    assert table["missed %"].tolist() == pytest.approx([100.0, 100 / 6])
    assert table["tokens / s"].tolist() == [50.0, 25.0] and table["seconds / window"].tolist() == [2.0, 1.0]
    assert scaling_tables.schema_numbers(table) == pytest.approx(
        {"missed_pct_free": 100.0, "missed_pct_schema": 100 / 6, "tokens_per_s_free": 50.0, "tokens_per_s_schema": 25.0}
    )
    assert scaling_tables.schema_numbers(scaling_tables.constrained_table([], [], store)) == {}


def test_schema_numbers_of_two_data_sets_keep_them_apart(store):
    ours, mural = two_homes()
    free = [result_of(ours, SMALL, HALF), result_of(mural, SMALL, SILENT)]
    bound = [result_of(ours, SMALL, PERFECT), result_of(mural, SMALL, PERFECT)]
    numbers = scaling_tables.schema_numbers(scaling_tables.constrained_table(free, bound, store))
    assert numbers["missed_pct_free_small_on_simulated"] == pytest.approx(100 / 6)
    assert numbers["missed_pct_free_small_on_mural_(real)"] == 100.0
    assert numbers["missed_pct_schema_small_on_mural_(real)"] == 0.0 and len(numbers) == 8


def test_bound_answers_alone_are_not_taken_for_free_ones(task, store):
    numbers = scaling_tables.schema_numbers(
        scaling_tables.constrained_table([], [result_of(task, SMALL, PERFECT)], store)
    )
    assert numbers.keys() == {"missed_pct_schema", "tokens_per_s_schema"}


def test_result_numbers():
    ours, mural = two_homes()
    assert scaling_tables.result_numbers([result_of(ours, SMALL, HALF)]) == pytest.approx(
        {"macro_f1_small": 11 / 24, "missed_pct_small": 100 / 6}
    )
    several = scaling_tables.result_numbers([result_of(ours, SMALL, HALF), result_of(mural, SMALL, SILENT)])
    assert several["missed_pct_small_on_mural_(real)"] == 100.0


# -- thinking, and engines


class Thinker(Opened):
    """An engine that thinks as long as it may, 40 words at most, and is right from 10 words on."""

    def __init__(self, truth):
        self.truth = truth

    def fingerprint(self):
        return HERE

    def stream(self, requests):
        for request in requests:
            words = 0
            if request.template_args.get("enable_thinking"):
                budget = request.sampling.thinking_budget
                words = 40 if budget is None else min(budget, 40)
            names = self.truth[request.messages[-1]["content"]]
            answer = reply(*(names if words >= 10 else names[:0]))
            yield Generation(
                request.key, f"<think>{' hm' * words}</think>{answer}", "stop", "", 500, 0, words + 20, 0.1
            )


@pytest.fixture
def thinker(monkeypatch):
    """Puts the engine in place: call it with the tasks, get the list of models it was opened for."""

    def install(*tasks):
        truth = {
            t.prompt_of(w).messages(w)[-1]["content"]: [
                t.sessions[w.session_id].activities.get(e.activity_id, "nothing annotated") for e in w.events
            ]
            for t in tasks
            for w in t.windows
        }
        opened: list[str] = []

        def open_engine(name, model, options):
            opened.append(model.name)
            return Thinker(truth)

        models = {"deep": SMALL.model_copy(update={"name": "deep", "thinking": True}), "shallow": SMALL, "large": LARGE}
        monkeypatch.setattr(evaluation, "MODELS", models)
        monkeypatch.setattr(inference, "open_engine", open_engine)
        monkeypatch.setattr(scaling_tables, "tokenizer_file", lambda name: None)  # counts words
        return opened

    return install


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=1),
        form=PromptForm(answer="name"),
    )


def test_thinking_table_from_a_sweep(home, store, thinker):
    opened = thinker(home)
    sweep = evaluation.sweep_thinking(
        home, "deep", [5, 25, 1000], asking=Asking(sampling=Sampling(max_tokens=99)), store=store
    )
    table = scaling_tables.thinking_table(sweep, store)
    assert table.index.tolist() == ["off", "budget 5", "budget 25", "budget 1000", "on, no limit"]
    assert table["thinking tokens / window"].tolist() == [0.0, 5.0, 25.0, 40.0, 40.0]
    assert table["tokens / window"].tolist() == [20.0, 25.0, 45.0, 60.0, 60.0]
    assert table["macro F1"].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert table["missed %"].tolist() == [100.0, 100.0, 0.0, 0.0, 0.0]
    assert (table["seconds / window"] > 0).all() and opened == ["deep"] * 5
    evaluation.sweep_thinking(home, "deep", [5, 25, 1000], asking=Asking(sampling=Sampling(max_tokens=99)), store=store)
    assert opened == ["deep"] * 5, "the store has all answers"


def test_a_sweep_needs_a_model_that_thinks(home, store, thinker):
    opened = thinker(home)
    with pytest.raises(ValueError, match="shallow has no thinking mode: set thinking_model to one that has"):
        evaluation.sweep_thinking(home, "shallow", [5], asking=Asking(sampling=Sampling()), store=store)
    assert opened == [] and store.counts()["asks"] == 0


@pytest.fixture
def mural(tmp_path):
    """The fixture's sessions twice over, so that some are for training and some for tests."""
    fixture = Path(__file__).parents[1] / "fixtures" / "mural"
    for name in ("activities.json", "sensors.json"):
        shutil.copy(fixture / name, tmp_path)
    for source, name in (("01", "01"), ("01", "02"), ("01", "03"), ("02", "04")):
        shutil.copytree(fixture / source, tmp_path / name)
    form = PromptForm(answer="name", wording="short")
    return prepare("mural", tmp_path, form, Windowing(least_events=0))


def test_two_data_sets_start_each_engine_once(home, mural, store, thinker):
    opened = thinker(home, mural)
    found = evaluation.evaluate(
        [home, mural], ["deep", "large"], asking=Asking(thinking=True, n_samples=2), store=store
    )
    assert opened == ["deep", "large"]
    assert [(r.model.name, r.task.data) for r in found.results] == [
        ("deep", "simulated"), ("deep", "mural (real)"), ("large", "simulated"), ("large", "mural (real)"),
    ]  # fmt: skip
    assert [run.n_asked for run in found.runs] == [2 * (len(home.windows) + len(mural.windows))] * 2
    assert [len(own) for own in found.samples] == [2] * 4
    assert [r.macro_f1.mean for r in found.results] == [1.0, 1.0, 0.0, 0.0], "large has no thinking mode"
    every = [*found.results, *map(controls.majority_result, (home, mural))]
    assert scaling_tables.ledger_table(every).sum(axis=1).tolist() == pytest.approx([100.0] * 6, abs=1e-9)
    assert [p.model for p in score_cost.points(found.results, store)][1] == "deep on mural (real)"
    assert set(pair_table(scaling_tables.compare_models(every))["data"]) == {"simulated", "mural (real)"}
    table = scaling_tables.beside_published(every)
    assert table.loc["deep", "ours, simulated, %"] == "100.0 [100.0, 100.0] (n = 6)"
    assert table.loc["large", "ours, mural (real), %"].startswith("0.0 ")
    assert scaling_tables.variance_table(found.samples).index.tolist() == [
        f"{m} on {d}" for m in ("deep", "large") for d in ("simulated", "mural (real)")
    ]
    for figure in (
        scaling_figures.scaling_curve(every),
        scaling_figures.ledger_bars(scaling_tables.ledger_table(every), figures.describe(every)),
        scaling_figures.four_axes(score_cost.points(found.results, store), figures.describe(found.results)),
    ):
        png_of(figure)


# -- figures


def png_of(figure):
    assert isinstance(figure, Figure)
    made = publish.publish({}, figure=figure)["figure_png"]
    assert len(made) > 5000
    return made


def stamp_of(figure):
    return " ".join(figure.get_supxlabel().split())


def legend_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


ODD = SMALL.model_copy(update={"name": "odd $x_$ {model}", "n_params": 3_000_000})
STAMPED = (
    "Data: simulated, all windows of the hand-made sessions, 6 scored events",
    "small (LLM, revision abcdef01, fake 1.0 bfloat16 cpu)",
)


def test_scaling_curve_is_labelled_and_stamped(task):
    results = [
        result_of(task, LARGE, PERFECT), result_of(task, SMALL, HALF), result_of(task, ODD, SILENT),
        result_of(task, FLOOR, HALF), controls.majority_result(task),
    ]  # fmt: skip
    figure = scaling_figures.scaling_curve(results)
    png_of(figure)
    for part in (
        *STAMPED,
        "floor (rules, not an LLM",
        "majority class (chance, revision training",
        r"odd \$x_\$ {model}",
    ):
        assert part in stamp_of(figure), part
    assert legend_of(figure) == [
        "published, S1: Qwen3 on marble", "published, S1: Qwen3 on mural", "floor on simulated",
        "majority class on simulated", "ours: small on simulated", r"ours: odd \$x_\$ {model} on simulated",
        "ours: large on simulated",
    ]  # fmt: skip
    own = figures.colours_of(r.model.name for r in results)
    assert figure.alt.startswith("Macro F1: large 1; small 0.458; floor 0.458; majority class 0.2; odd $x_$ {model} 0.")
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    for panel in (left, right):
        lines = {line.get_label(): line for line in panel.lines}
        assert lines["published, S1: Qwen3 on mural"].get_xdata().tolist() == pytest.approx([0.6, 1.7, 4, 8, 14, 32])
        assert lines["published, S1: Qwen3 on mural"].get_ydata()[-1] == pytest.approx(0.537)
        curve = next(line for line in panel.lines if line.get_color() == "0.6")
        assert curve.get_xdata() == pytest.approx([0.001, 0.003, 0.009])  # in order of size
        assert curve.get_ydata() == pytest.approx([11 / 24, 0.0, 1.0])
        marks = [bars.lines[0] for bars in panel.containers]
        assert [to_hex(mark.get_color()) for mark in marks] == [own["small"], own["odd $x_$ {model}"], own["large"]]
        assert [mark.get_ydata()[0] for mark in marks] == pytest.approx([11 / 24, 0.0, 1.0])
        assert to_hex(lines["floor on simulated"].get_color()) == own["floor"]
        assert all(lines[name].get_color() in ("0.3", "0.55") for name in lines if name.startswith("published"))
        assert lines["floor on simulated"].get_ydata()[0] == pytest.approx(11 / 24)


def test_where_no_model_scores_a_sentence_stands_instead_of_a_curve(task):
    silent = [result_of(task, LARGE, SILENT), result_of(task, SMALL, SILENT), result_of(task, FLOOR, HALF)]
    figure = scaling_figures.scaling_curve(silent)
    png_of(figure)
    said = "On simulated, 2 language models (1M to 9M parameters) score macro F1 0: no curve"
    assert figure.axes[0].get_title(loc="left") == said and said in figure.alt
    assert not figure.axes[0].containers and not figure.axes[1].containers
    assert legend_of(figure) == [
        "published, S1: Qwen3 on marble",
        "published, S1: Qwen3 on mural",
        "floor on simulated",
    ]
    one = scaling_figures.scaling_curve(silent[:1])
    assert one.axes[0].get_title(loc="left") == "On simulated, large scores macro F1 0: no curve"
    scored = scaling_figures.scaling_curve([result_of(task, LARGE, HALF), *silent[1:]])
    assert scored.axes[0].get_title(loc="left") == "" and len(scored.axes[0].containers) == 2


def test_a_single_session_has_no_error_bar():
    """A bar of no length would say that the value is certain."""
    figure = scaling_figures.scaling_curve([result_of(task_of(TEST[:1]), SMALL, HALF[:2])])
    (bars,) = figure.axes[0].containers[0].lines[2]
    assert all(math.isnan(y) for _, y in bars.get_segments()[0])
    png_of(figure)


def test_scaling_curve_of_rules_alone(task):
    figure = scaling_figures.scaling_curve([result_of(task, FLOOR, HALF)])
    assert legend_of(figure)[-1] == "floor on simulated"
    png_of(figure)


def test_four_axes_say_what_was_not_measured(task):
    results = [result_of(task, SMALL, HALF), result_of(task, LARGE, PERFECT), result_of(task, FLOOR, HALF)]
    points = [
        Point("small", "LLM", 1_000_000, 0.4, 10.0, 3.0, None),
        Point("large", "LLM", 9_000_000, 1.0, 30.0, 2.0, None),
        Point("floor $", "rules, not an LLM", None, 0.6, None, None, None),
    ]
    figure = scaling_figures.four_axes(
        points, figures.describe(results), {"small": 1.5, "large": math.inf, "absent": 9.0}
    )
    png_of(figure)
    assert not [text for panel in figure.axes for text in panel.texts]
    assert [panel.get_xlabel() for panel in figure.axes] == [
        "parameters", "generated tokens / window", "seconds / window",
    ]  # fmt: skip
    assert stamp_of(figure).endswith("Not measured here: joules / window.")
    assert figure.alt.startswith("Macro F1: large 1; floor $ 0.6; small 0.4.")
    assert set(legend_of(figure)) == {"small (LLM)", "large (LLM)", r"floor \$ (rules, not an LLM)"}
    for part in (*STAMPED, "Grey line: Pareto front.", "Open marks: what the planner expects"):
        assert part in stamp_of(figure)
    open_marks = [line for line in figure.axes[2].lines if line.get_markerfacecolor() == "none"]
    assert [line.get_xdata()[0] for line in open_marks] == [1.5]
    front = next(line for line in figure.axes[2].lines if line.get_color() == "0.4")
    assert list(front.get_xdata()) == [2.0]  # faster and better than the other
    without = scaling_figures.four_axes(points, "Data: none.")
    assert "roofline" not in stamp_of(without)


def test_four_axes_have_few_plain_ticks():
    """SmolLM2's sizes and seconds once ran into each other as 6 x 10^7 and 4 x 10^-1."""
    close = [Point(f"m{i}", "LLM", n, 0.01 * i, t, s, 5.0) for i, (n, t, s) in enumerate(
        [(42_472_512, 256.0, 0.3), (56_632_896, 256.0, 0.57), (134_515_008, 159.0, 1.3)])]  # fmt: skip
    far = [Point("a", "LLM", 600_000_000, 0.1, 100.0, 0.5, 9.0), Point("b", "LLM", 32_000_000_000, 0.5, 9e4, 60.0, 9e4)]
    for points, letter in ((close, "M"), (far, "B")):
        figure = scaling_figures.four_axes(points, "Data: made up.")
        figure.canvas.draw()
        for panel in figure.axes:
            ticks = [
                t for t in panel.get_xticklabels() if panel.get_xlim()[0] <= t.get_position()[0] <= panel.get_xlim()[1]
            ]
            boxes = [t.get_window_extent() for t in ticks if t.get_text()]
            assert 1 <= len(boxes) <= 7 and not any("times" in t.get_text() for t in ticks)
            assert all(a.x1 < b.x0 for a, b in pairwise(boxes)), [t.get_text() for t in ticks]
        assert figure.axes[0].get_xticklabels()[-1].get_text().endswith(letter)
        png_of(figure)


def test_four_axes_of_nobody_and_of_zero():
    nobody = scaling_figures.four_axes([], "Data: nothing.")
    assert [panel.texts[0].get_text() for panel in nobody.axes] == ["no language model here"]
    png_of(nobody)
    png_of(scaling_figures.four_axes([Point("a", "LLM", 1, 0.0, 0.0, 0.0, 0.0)], "Data: zero."))
    png_of(scaling_figures.four_axes([Point("a", "LLM", 1, math.nan, 1.0, 1.0, 1.0)], "Data: no score."))


def test_ledger_bars(task):
    results = [result_of(task, ODD, HALF), controls.majority_result(task)]
    figure = scaling_figures.ledger_bars(scaling_tables.ledger_table(results), figures.describe(results))
    png_of(figure)
    assert legend_of(figure) == ["macro F1", *CAUSES]
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [r"odd \$x_\$ {model}", "majority class"]
    assert axes.yaxis_inverted(), "rows stand in the table's order"
    ends = [container[0].get_x() + container[0].get_width() for container in axes.containers]
    assert ends[-1] == pytest.approx(100.0, abs=1e-9) and axes.get_xlim() == (0, 100)
    assert "6 scored events" in stamp_of(figure) and "revision abcdef01" in stamp_of(figure)
    assert figure.alt.startswith("Of 100 points, odd $x_$ {model}: macro F1 45.8; ")


def test_confusion_map(task):
    dollars = {1: "cooking", 2: "$eating_$", 3: "sleeping", 4: "reading", 9: "TRANSITION"}
    task = task_of([replace(s, activities=dollars) for s in TEST], TRAIN)
    texts = [text.replace("eating", "$eating_$") for text in HALF]
    result = result_of(task, ODD, texts)
    figure = figures.confusion_map(scaling_tables.confusion(result), result.model.name, figures.describe([result]))
    png_of(figure)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "cooking (n = 2)",
        r"\$eating_\$ (n = 2)",
        "sleeping (n = 2)",
    ]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["cooking", r"\$eating_\$", "sleeping", "no answer"]
    assert r"odd \$x_\$ {model}" in axes.get_title(loc="left") and "6 scored events" in stamp_of(figure)


def test_confusion_map_names_every_activity_of_a_large_home(home):
    result = controls.majority_result(home)
    table = scaling_tables.confusion(result)
    figure = figures.confusion_map(table, result.model.name, figures.describe([result]))
    png_of(figure)
    figure.canvas.draw()
    assert len([t for t in figure.axes[0].get_yticklabels() if t.get_text()]) == len(table) > 8
    assert not table["no answer"].any(), "so its column is not drawn"
    assert len([t for t in figure.axes[0].get_xticklabels() if t.get_text()]) == len(table.columns) - 1
    boxes = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0, "a label is clipped"
