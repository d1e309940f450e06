"""Tables, excerpts and figures of distillation: exact on a home small enough to count by hand, made-up students."""

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from llmhar.ask.inference import Answer
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask
from llmhar.ask.stored import Stored
from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent, Session, cut_windows
from llmhar.data.load_report import LoadReport
from llmhar.distill import figures as student_figures
from llmhar.distill import key_numbers, sessions, transfer
from llmhar.distill import small as small_students
from llmhar.distill import tables as student_tables
from llmhar.distill.recipe import Recipe
from llmhar.distill.sessions import SessionsPoint
from llmhar.distill.small import GatewayPoint
from llmhar.distill.students import Student
from llmhar.distill.traces import FunnelStep
from llmhar.distill.transfer import TEACHER, UNTRAINED, MatrixCell
from llmhar.records import Fingerprint, Generation, Request
from llmhar.run import publish
from llmhar.score import figures
from llmhar.score.tables import score_answers
from llmhar.text.parsing import parse_answer
from llmhar.traces import excerpts, faithfulness
from llmhar.traces.excerpts import OWN, SILENT, excerpts_html, find_excerpts, pick_events
from tests.timing import quiet_seconds

ACTIVITIES = {1: "preparing breakfast", 2: "eating", 3: "sleeping", 9: "TRANSITION"}
RULES = ModelSpec(name="rules", kind="rules", revision="1+0496bf67", hub_id="x/rules")
BASE = ModelSpec(name="small-l8", kind="llm", n_params=56_632_896, revision="abcdef0123+l8:0-4", hub_id="x/small")
STUDENT = BASE.model_copy(update={"name": "small-l8-distilled", "revision": "abcdef0123+l8:0-4+tuned:0123456789ab"})
HERE = Fingerprint("transformers", "4.57", "float32", "cpu")
EVIL = '<script>alert(1)</script><img src=x onerror=alert(2)>"><svg onload=alert(3)>'


def event(i, activity, sensor="fridge contact", clock=(7, 30, 20), state="OPENED"):
    begun = datetime(2000, 1, 3, *clock) + timedelta(seconds=i)
    return SensorEvent(i, begun, "kitchen", sensor, state, (), activity)


def task_of(n_sessions=6, dataset="simulated", kind="simulated", activities=(1, 1, 2, 2)):
    """Sessions of four events, a window each: two of activity 1, two of activity 2."""
    sessions = {}
    for s in range(n_sessions):
        events = tuple(event(i, a) for i, a in enumerate(activities))
        sessions[f"s{s}"] = Session(dataset, f"s{s}", "h", ACTIVITIES, events, unscored=frozenset({9}))
    return Task(
        dataset=dataset,
        kind=kind,
        sessions=sessions,
        train={},
        windows=tuple(w for s in sessions.values() for w in cut_windows(s, 4)),
        answer="name",
        subset="all windows of hand-made sessions",
        prompts={},
        report=LoadReport(dataset, Path()),
    )


def result_of(task, model, texts):
    """A result from one text a window, without a store."""
    answers = []
    for window, text in zip(task.windows, texts):
        message = {"role": "user", "content": f"{task.data}/{window.session_id}/{window.index}"}
        ask = Ask(task.dataset, window.session_id, window.index, model.name,
                  Request(model.hub_id, model.revision, "", (message,)))  # fmt: skip
        made = Generation(ask.request.key, text, "stop", "", 500, 400, 50, 1.0)
        answers.append(Answer(ask, Stored(made, HERE), ""))
    return score_answers(task, model, answers)


def reply(*names):
    return json.dumps([{"id": i, "activity": name} for i, name in enumerate(names)])


B, E = "preparing breakfast", "eating"
RIGHT = reply(B, B, E, E)  # F1 1
# truth 1 1 2 2 answered 1 1 1 2: F1 4/5 and 2/3
GOOD, GOOD_F1 = reply(B, B, B, E), (4 / 5 + 2 / 3) / 2
# answered 1 1 and nothing more: F1 1 and 0, half missed
HALF = reply(B, B)
WRONG = reply(E, E, B, B)


@pytest.fixture(scope="module")
def task():
    return task_of()


@pytest.fixture(scope="module")
def teacher(task):
    return result_of(task, RULES, [RIGHT] * 5 + [GOOD])


@pytest.fixture(scope="module")
def base(task):
    return result_of(task, BASE, [HALF, WRONG, HALF, WRONG, "no idea", HALF])


@pytest.fixture(scope="module")
def student(task):
    return result_of(task, STUDENT, [RIGHT, GOOD, RIGHT, GOOD, HALF, GOOD])


# -- what was trained


def record_of(**changes):
    recipe = Recipe(student="small-l8", method="full", max_steps=20, batch_size=4, accumulate=2)
    return {
        "name": "small-l8-distilled", "parent": "small-l8", "recipe": recipe.model_dump(mode="json"),
        "n_examples": 100, "too_long": 3, "trainable": 56_632_896, "total": 56_632_896, "seconds": 40.0,
        "tokens": 16_000, "peak_rss": 3 * 2**30, "device": "cpu", "dtype": "float32", "resumed_at": 0,
        "data_sha256": "da7a" * 16, "weights_sha256": "beef" * 16,
        "losses": [[step, 2.0 / step] for step in range(1, 21)],
    } | changes  # fmt: skip


def student_of(folder=Path("/nowhere"), **changes):
    return Student(folder, BASE, record_of(**changes))


def test_training_table_counts():
    row = student_tables.training_table([student_of()]).loc["small-l8-distilled"]
    assert row[["parent", "method", "back end", "rank", "steps"]].tolist() == ["small-l8", "full", "peft", "–", 20]
    assert row[["examples", "too long", "examples seen"]].tolist() == [97, 3, 160]
    # 40 s for 20 steps; 800 tokens a step
    assert row[["s / step", "tokens / s", "peak host memory GiB"]].tolist() == ["2.00", "400", "3.00"]
    assert (row["first loss"], row["last loss (mean of last 10 %)"]) == ("2.000", f"{(2 / 19 + 2 / 20) / 2:.3f}")
    assert row[["trainable", "trainable %", "resumed at"]].tolist() == [56_632_896, "100.00", "–"]
    assert row[["device", "data sha256", "weights sha256"]].tolist() == ["cpu, float32", "da7ada7a", "beefbeef"]


def test_training_table_of_adapters_resumed_and_unmeasured():
    recipe = Recipe(student="small-l8", backend="unsloth", rank=16, max_steps=20).model_dump(mode="json")
    adapter = student_of(recipe=recipe, trainable=3_250, total=100_000, resumed_at=15, peak_rss=None, name="lora")
    row = student_tables.training_table([adapter]).loc["lora"]
    assert row[["back end", "rank", "trainable %", "resumed at"]].tolist() == ["unsloth", 16, "3.25", 15]
    # 40 s for the last 5 steps
    assert row[["s / step", "tokens / s", "peak host memory GiB"]].tolist() == ["8.00", "100", "not measured"]
    none = student_of(resumed_at=20, losses=[])
    row = student_tables.training_table([none]).iloc[0]
    assert row[["first loss", "s / step", "tokens / s"]].tolist() == ["not measured"] * 3


def test_only_rank_32_fits_what_s1_gives():
    table = student_tables.share_table()
    assert table.loc[("qwen3-0.6b", 32), "added parameters"] == 28 * 32 * 22_528 == 20_185_088
    assert table.loc[("qwen3-1.7b", 32), "added parameters"] == 28 * 32 * 38_912 == 34_865_152
    assert table["added %, S1"].tolist() == [3.25] * 4 + [1.99] * 4
    assert table.loc[("qwen3-0.6b", 32), "added %, ours"] == pytest.approx(100 * 20_185_088 / 616_235_008)
    fits = table.index[table["ours - S1"].abs() < 0.03].tolist()
    assert fits == [("qwen3-0.6b", 32), ("qwen3-1.7b", 32)]
    assert round(table.loc[(slice(None), [8, 16, 64]), "ours - S1"].abs().min(), 2) == 0.99
    near = student_tables.share_table((31, 33))["ours - S1"].abs()
    assert round(near.max(), 2) == 0.12 and near.min() > 0.05, "said in recipe.py and notebook 04"


FUNNELS = {
    "none": [FunnelStep("asked", 0, 120, 0, math.nan), FunnelStep("answered", 118, 118, 1180, 61.25)],
    "correct": [
        FunnelStep("asked", 0, 120, 0, math.nan),
        FunnelStep("answered", 118, 118, 1180, 61.25),
        FunnelStep("complete", 110, 110, 1100, 64.0),
        FunnelStep("correct (at least 100%)", 0, 0, 0, math.nan),
    ],
}


def test_funnel_table():
    table = student_tables.funnel_table(FUNNELS)
    assert table.loc[("none", "asked")].tolist() == ["–", 120, "–", "–"]
    assert table.loc[("none", "answered")].tolist() == [118, 118, 1180, "61.2"]
    assert table.loc[("correct", "correct (at least 100%)")].tolist() == [0, 0, 0, "–"]
    assert len(table) == 6 and student_tables.funnel_table({}).empty


# -- students, teacher, base


def test_students_beside_teacher_and_base(task, teacher, base, student):
    chance = result_of(task, ModelSpec(name="majority class", kind="chance"), [reply(B, B, B, B)] * 6)
    table = student_tables.student_table([student], teacher, {student.model.name: base}, [chance])
    assert table.index.tolist() == ["rules", "majority class", "small-l8", "small-l8-distilled"]
    assert table["role"].tolist() == ["teacher", "for comparison", "not trained", "student"]
    assert table["kind"].tolist() == ["rules, not an LLM", "chance", "LLM", "LLM"]
    mean = (2 + 3 * GOOD_F1 + 0.5) / 6
    row = table.loc["small-l8-distilled"]
    assert row["macro F1"] == pytest.approx(mean) and row["sessions"] == 6
    assert row["missed %"] == pytest.approx(50 / 6)
    assert row["of teacher's F1"] == pytest.approx(mean / ((5 + GOOD_F1) / 6))
    assert row["ratio low"] < row["of teacher's F1"] < row["ratio high"]
    assert table.loc["rules", ["of teacher's F1", "ratio low", "ratio high"]].tolist() == pytest.approx([1, 1, 1])
    assert table.loc["rules", "against teacher"] == table.loc["small-l8", "against zero-shot"] == "–"
    # student - teacher: 0 -a 0 -a -1/2 0: three of eight sign patterns' extremes, p = 2/8
    assert (row["against teacher"], row["against teacher, alone"]) == ("not shown", "not shown")
    assert row["against teacher, p_holm"] == 0.25
    # student - base: all six positive: p = 1/32, times two comparisons
    assert (row["against zero-shot"], row["against zero-shot, alone"]) == ("not shown", "higher")
    assert row["against zero-shot, p_holm"] == row["against zero-shot, p_least"] == 0.0625
    assert row[["engine", "revision", "data"]].tolist() == [
        "transformers 4.57 float32 cpu", "abcdef01+l8+tuned:01234567", "simulated",
    ]  # fmt: skip


def test_one_comparison_can_be_shown(base, student):
    table = student_tables.student_table([student], base)
    row = table.loc["small-l8-distilled"]
    assert (row["against teacher"], row["against teacher, p_holm"]) == ("higher", 0.0312)
    assert "against zero-shot" not in table.columns
    assert len(student_tables.student_table([], base)) == 1


def test_results_of_other_sessions_are_not_compared(teacher):
    for other in (task_of(5), task_of(6, "mural", "real")):
        with pytest.raises(ValueError, match="not asked about the same sessions"):
            student_tables.student_table([result_of(other, STUDENT, [RIGHT] * 6)], teacher)


def test_sessions_are_paired_by_name_not_by_place(student, teacher):
    shuffled = replace(student, sessions=tuple(reversed(student.sessions)))
    assert student_tables.f1_ratio(shuffled, teacher) == student_tables.f1_ratio(student, teacher)


def scored(task, f1):
    """A result whose sessions have these scores."""
    made = result_of(task, STUDENT, [RIGHT] * len(f1))
    return replace(made, sessions=tuple(replace(s, macro_f1=value) for s, value in zip(made.sessions, f1)))


def test_ratio_interval_holds_the_ratios_that_a_t_test_does_not_reject(task):
    a, b = np.array([0.5, 0.4, 0.6, 0.5, 0.45, 0.3]), np.array([0.8, 0.7, 0.75, 0.9, 0.6, 0.65])
    ratio = student_tables.f1_ratio(scored(task, a), scored(task, b))
    assert ratio.n == 6 and ratio.mean == pytest.approx(2.75 / 4.4)
    for bound in (ratio.low, ratio.high):
        rest = a - bound * b
        t = rest.mean() / (rest.std(ddof=1) / 6**0.5)
        assert abs(t) == pytest.approx(2.570582, abs=1e-5)  # t(0.975, 5)
    exact = student_tables.f1_ratio(scored(task, 0.5 * b), scored(task, b))
    assert [exact.mean, exact.low, exact.high] == pytest.approx([0.5, 0.5, 0.5], abs=1e-6)


def test_ratio_interval_covers_95_percent(task):
    draw, template, hits = np.random.default_rng(0), scored(task, [1.0] * 6), 0
    for _ in range(400):
        share = draw.normal(0, 0.1, 6)
        b, a = 0.6 + share, 0.45 + 0.8 * share + draw.normal(0, 0.08, 6)
        first, second = (
            replace(template, sessions=tuple(replace(s, macro_f1=v) for s, v in zip(template.sessions, values)))
            for values in (a, b)
        )
        ratio = student_tables.f1_ratio(first, second)
        hits += ratio.low <= 0.75 <= ratio.high
    assert 0.92 < hits / 400 < 0.98, "standard error 0.011"


def test_ratio_without_an_interval_says_so(task):
    noisy = scored(task, [0.0, 0.0, 0.9, 0.0, 0.0, 0.0])
    ratio = student_tables.f1_ratio(scored(task, [0.5] * 6), noisy)
    assert ratio.mean == pytest.approx(3.0 / 0.9) and math.isnan(ratio.low) and math.isnan(ratio.high)
    assert student_tables.ratio_text(ratio) == "3.33 (no interval)"
    zero = student_tables.f1_ratio(scored(task, [0.5] * 6), scored(task, [0.0] * 6))
    assert math.isnan(zero.mean) and student_tables.ratio_text(zero) == "–"
    one = task_of(1)
    single = student_tables.f1_ratio(scored(one, [0.5]), scored(one, [1.0]))
    assert (single.n, single.mean) == (1, 0.5) and math.isnan(single.low)


def test_a_session_without_score_drops_out_of_the_ratio(task):
    a = scored(task, [0.5, 0.4, 0.6, 0.5, 0.45, math.nan])
    b = scored(task, [0.8, 0.7, 0.75, 0.9, 0.6, 0.65])
    assert student_tables.f1_ratio(a, b).n == 5
    assert student_tables.f1_ratio(a, b).mean == pytest.approx(2.45 / 3.75)


def test_faithfulness_table():
    measured = {"n": 40, "unreadable": 2, "changed": 13, "changed %": 32.5, "low": 20.0, "high": 48.0}
    none = {"n": 0, "unreadable": 3, "changed": 0, "low": math.nan, "high": math.nan, "seconds away": math.nan}
    rows = [
        {"model": "small", "kind": "drop", **measured, "seconds away": 61.6},
        {"model": "small", "kind": "control swap", **none},
        {"model": "small", "kind": "other", "n": 3, "changed": 3, "low": None, "high": None},
    ]
    table = student_tables.faithfulness_table(rows)
    assert table["label changed %"].tolist() == ["32.5 [20.0, 48.0]", "not measured", "100.0 (no interval)"]
    assert table["label changed"].tolist() == [13, "not measured", 3]
    assert table["s away (mean)"].tolist() == ["62", "not measured", "not measured"]
    assert table.index.tolist() == [
        ("small", "cited events taken away"),
        ("small", "other events replaced (control)"),
        ("small", "other"),
    ]
    assert student_tables.faithfulness_table([]).empty


def test_faithfulness_gaps_are_judged_together():
    row = {"model": "small", "pairs": 40, "gap": 12.5, "low": 3.0, "high": 22.0, "p": 0.03125, "sessions": 6}
    nothing = row | {"kind": "swap", "gap": math.nan, "low": math.nan, "high": math.nan, "p": math.nan, "sessions": 0}
    table = student_tables.faithfulness_gap_table([row | {"kind": "drop"}, nothing])
    assert table["gap, points"].tolist() == ["+12.5 [+3.0, +22.0]", "not measured"]
    assert table["verdict"].tolist() == ["higher", "not shown"] and table["p_holm"].tolist() == [
        "0.0312",
        "not measured",
    ]
    both = student_tables.faithfulness_gap_table([row | {"kind": "drop"}, row | {"kind": "swap"}])
    assert both["verdict"].tolist() == ["not shown"] * 2 and both["alone"].tolist() == ["higher"] * 2
    assert student_tables.faithfulness_gap_table([]).empty


def test_faithfulness_tables_take_what_the_probes_give():
    assert set(student_tables.PROBES) == set(faithfulness.PROBE_KINDS)
    assert student_tables.faithfulness_table(faithfulness.faithfulness_rows([])).empty
    assert student_tables.faithfulness_gap_table(faithfulness.gap_rows([])).empty


# -- across runs


@pytest.fixture(scope="module")
def cells(task, teacher, base, student):
    mural = task_of(3, "mural", "real")
    return [
        MatrixCell("rules", TEACHER, teacher),
        MatrixCell("small-l8", UNTRAINED, base),
        MatrixCell("small-l8", "simulated", student),
        MatrixCell("small-l8", "simulated", result_of(mural, STUDENT, [GOOD, GOOD, HALF])),
        MatrixCell("small-l8", UNTRAINED, result_of(mural, BASE, [HALF] * 3)),
    ]


def test_matrix_holds_published_values(cells):
    table = transfer.matrix_table(cells)
    theirs = table.xs("published (S1)", level="kind")
    assert len(theirs) == 2 + 1 + 4
    columns = ["F1 % on marble (real)", "change on marble (real)", "F1 % on mural (real)", "change on mural (real)"]
    expected = {
        ("Qwen3-0.6B", UNTRAINED): ["16.52", "", "10.81", ""],
        ("Qwen3-1.7B", UNTRAINED): ["26.73", "", "12.42", ""],
        ("Qwen3-32B", TEACHER): ["37.61", "", "53.70", ""],
        ("Qwen3-0.6B", "marble"): ["32.38", "+15.86", "9.66", "-1.15"],
        ("Qwen3-0.6B", "mural"): ["32.05", "+15.53", "50.68", "+39.87"],
        ("Qwen3-1.7B", "marble"): ["33.55", "+6.82", "16.25", "+3.83"],
        # S1 prints +41.28 for the last one; its own Tables 1 and 2 give 52.67 - 12.42
        ("Qwen3-1.7B", "mural"): ["34.27", "+7.54", "52.67", "+40.25"],
    }
    assert {key: theirs.loc[key, columns].tolist() for key in theirs.index} == expected
    assert (theirs["F1 % on simulated"] == "").all() and (theirs["engine"] == "").all()


def test_matrix_of_ours(cells):
    table = transfer.matrix_table(cells)
    ours = table.loc[("small-l8", "simulated", "ours: LLM")]
    f1 = [1, GOOD_F1, 1, GOOD_F1, 0.5, GOOD_F1]
    half = 2.570582 * np.std(f1, ddof=1) / 6**0.5
    mean = np.mean(f1)
    assert (
        ours["F1 % on simulated"] == f"{100 * mean:.1f} [{100 * (mean - half):.1f}, {100 * (mean + half):.1f}] (n = 6)"
    )
    # base: 1/2 0 1/2 0 0 1/2
    assert ours["change on simulated"] == f"{100 * (mean - 0.25):+.2f}"
    assert ours["change on mural (real)"] == f"{100 * ((2 * GOOD_F1 + 0.5) / 3 - 0.5):+.2f}"
    assert ours["F1 % on marble (real)"] == "" and "tuned" in ours["revision"]
    untrained = table.loc[("small-l8", UNTRAINED, "ours: LLM")]
    assert untrained["F1 % on mural (real)"] == "50.0 [50.0, 50.0] (n = 3)" and untrained["change on simulated"] == ""
    assert table.loc[("rules", TEACHER, "ours: rules, not an LLM"), "F1 % on mural (real)"] == ""
    assert len(table) == 7 + 3
    assert not {0, "0", "0.0"} & set(table.to_numpy().ravel().tolist())


def test_matrix_without_ours_and_with_a_cell_twice(cells):
    assert len(transfer.matrix_table([])) == 7
    with pytest.raises(ValueError, match="two results for one cell of the matrix: small-l8 / simulated / simulated"):
        transfer.matrix_table([*cells, cells[2]])


def test_a_second_round_is_a_row_of_its_own_and_changes_against_the_same_parent(cells):
    table = transfer.matrix_table([*cells, cells[2]._replace(round=2)])
    once, twice = (table.loc[(name, "simulated", "ours: LLM")] for name in ("small-l8", "small-l8 twice"))
    assert twice["F1 % on simulated"] == once["F1 % on simulated"] and twice["F1 % on mural (real)"] == ""
    assert twice["change on simulated"] == once["change on simulated"] != ""
    own = transfer.key_rows(table)
    assert list(own) == ["F1 % on mural (real)", "F1 % on simulated"] and len(own) == 4


def points_of(task, scores, seed=0):
    return [SessionsPoint(n, scored(task, [f1] * 6), seed) for n, f1 in scores.items()]


def test_sessions_needed(task):
    needed = lambda scores, **how: sessions.sessions_needed(points_of(task, scores), **how)  # noqa: E731
    assert needed({0: 0.1, 1: 0.3, 4: 0.49, 10: 0.51, 15: 0.5}) == 4
    assert needed({0: 0.1, 1: 0.3, 4: 0.49, 10: 0.51, 15: 0.5}, share=0.5) == 1
    assert needed({1: 0.5, 4: 0.3, 15: 0.5}) == 15, "one lucky run does not decide"
    assert needed({0: 0.5, 4: 0.5}) == 0, "training bought nothing"
    assert needed({15: 0.5}) is None and needed({}) is None and needed({1: 0.0, 15: 0.0}) is None
    seeds = points_of(task, {1: 0.2, 4: 0.6, 15: 0.6}) + points_of(task, {1: 0.2, 4: 0.4, 15: 0.6}, seed=1)
    assert sessions.sessions_needed(seeds) == 15, "0.5 on average"
    assert sessions.sessions_needed(seeds, share=0.8) == 4


def test_figure_4_is_among_the_key_numbers(task):
    numbers = key_numbers.sessions_numbers(points_of(task, {0: 0.1, 4: 0.5, 15: 0.5}))
    assert numbers["sessions_needed"] == 4 and numbers["sessions_student"] == "small-l8-distilled"
    assert [numbers[f"sessions_{n}_f1"] for n in (0, 4, 15)] == pytest.approx([0.1, 0.5, 0.5])
    assert "sessions_15_f1_low" in numbers and key_numbers.sessions_numbers([]) == {}


def test_published_plateau_is_at_four_sessions():
    table = sessions.sessions_table([])
    assert table.index.tolist() == [(n, "published (S1)") for n in (0, 1, 4, 10, 15)]
    assert table["share of all sessions' F1"].tolist() == ["0.21", "0.58", "0.98", "1.01", "1.00"]
    assert table["macro F1 [95 %]"].tolist()[1] == "0.2945 (no interval)"
    assert set(table["data"]) == {"mural (real)"} and set(table["engine"]) == {"–"}


def test_sessions_table_of_ours(task, base, student):
    points = [
        SessionsPoint(10, student),
        SessionsPoint(0, base),
        SessionsPoint(10, base, seed=1),
        SessionsPoint(3, student, 1),
    ]
    table = sessions.sessions_table(points)
    ours = table.xs("ours: LLM", level="kind")
    assert ours.index.tolist() == [0, 3, 10, 10] and ours["seed"].tolist() == [0, 1, 0, 1]
    share = student_tables.f1_ratio(base, student)
    assert ours["share of all sessions' F1"].iloc[0] == f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}]"
    assert ours["share of all sessions' F1"].iloc[2] == "1"
    assert ours["macro F1 [95 %]"].iloc[0] == str(base.macro_f1)
    assert ours["missed %"].iloc[0] == "41.7" and set(ours["data"]) == {"simulated"}


def test_gateway_table_says_what_was_not_measured(base, student):
    onnx = (Fingerprint("onnx", "1", "float32", "cpu"),)
    student, base = replace(student, fingerprints=onnx), replace(base, fingerprints=onnx)
    table = small_students.gateway_table(
        [
            GatewayPoint(student, 56_632_896, 56_700_000, None, None, "int8"),
            GatewayPoint(base, 56_632_896, 226_531_584, 1.234, 812_000_000, "float32"),
        ]
    )
    assert table.index.tolist() == ["small-l8", "small-l8-distilled"], "largest first"
    small = table.loc["small-l8-distilled"]
    assert small[["s / window, this machine", "peak memory MB"]].tolist() == ["not measured"] * 2
    assert small[["precision", "parameters", "MB", "size, % of its engine's largest"]].tolist() == [
        "int8", "56,632,896", "56.7", "25.0",
    ]  # fmt: skip
    large = table.loc["small-l8"]
    assert large[["MB", "s / window, this machine", "peak memory MB"]].tolist() == ["226.5", "1.23", "812"]
    assert large["F1, of its engine's largest"] == "1"
    assert small["F1, of its engine's largest"].startswith(f"{student.macro_f1.mean / base.macro_f1.mean:.2f} ")
    assert small["macro F1 [95 %]"] == str(student.macro_f1)
    assert small_students.gateway_table([]).empty


def test_gateway_table_compares_rows_of_one_engine_alone(base, student):
    """vLLM in bfloat16 against ONNX Runtime in int8 differ in engine and number format: no ratio says which it was."""
    vllm, onnx = (Fingerprint(name, "1", "", "cpu") for name in ("vllm", "onnx"))

    def point(result, made, precision, mb, seconds):
        named = replace(result, model=result.model.model_copy(update={"name": precision}), fingerprints=(made,))
        return GatewayPoint(named, 1, mb * 1_000_000, seconds, None, precision, 100.0, "2")

    table = small_students.gateway_table(
        [point(base, vllm, "bfloat16", 400, 2.5), point(base, onnx, "float32", 800, 10.0),
         point(student, onnx, "int8", 200, 1.0)]
    )  # fmt: skip
    assert table["engine"].to_dict() == {"float32": "onnx", "bfloat16": "vllm", "int8": "onnx"}
    assert table["tokens / s"].tolist() == ["10.0", "40.0", "100.0"] and set(table["threads"]) == {"2"}
    size, speed, f1 = small_students.OF_LARGEST
    assert table[size].tolist() == ["100.0", "100.0", "25.0"] and table[speed].tolist() == ["1.00", "1.00", "10.00"]
    assert table[f1].tolist()[:2] == ["1", "1"] and table.loc["int8", f1] != "1"


# -- excerpts

LONG = """<think>
Somebody is up early.
Event 0: the bed sensor turned OFF at 07:10:01. Getting up is not sleeping any more.
Event 2: the kettle turned ON at 07:25:00. So preparing breakfast.
Event 3: the fridge contact OPENED at 07:30:20. The fridge is where food is kept, so preparing breakfast.
Event 4: the door CLOSED at 07:31:02. As in event 3, still the kitchen.
</think>
[{"id": 0, "activity": "eating"}, {"id": 3, "activity": "preparing breakfast"}]"""
SHORT = """<think>
0: bed in the bedroom, so sleeping
3: fridge near the coffee machine, cooking, so preparing breakfast
4: door, so eating
</think>
[]"""
EVENTS = [
    event(0, 3, "bed", (7, 10, 1)),
    event(1, 3, "bed", (7, 11, 1)),
    event(2, 1, "kettle", (7, 24, 58)),
    event(3, 1, "fridge contact", (7, 30, 17)),
    event(4, 2, "door", (7, 30, 58)),
    event(5, 2, "induction stove wattmeter", (19, 52, 59), "turned OFF"),
]


def found(text, i, events=EVENTS):
    return find_excerpts(parse_answer(text, len(events), {1: B, 2: E}), events)[i]


def test_excerpts_of_both_styles():
    assert found(LONG, 3) == (
        "Event 3: the fridge contact OPENED at 07:30:20. The fridge is where food is kept, so preparing breakfast.",
        "event number",
    )
    assert found(SHORT, 3) == ("3: fridge near the coffee machine, cooking, so preparing breakfast", "event number")
    assert found(SHORT, 4).text == "4: door, so eating"
    assert found(LONG, 0).text.endswith("not sleeping any more.")


def test_the_reason_in_its_item_is_what_is_said_about_an_event():
    items = [{"id": 0, "why": 'bed, "07:30:17" {3} fridge', "activity": B}, {"id": 4, "why": "x " * 400, "activity": E}]
    for text in (json.dumps(items), f"<think>{LONG}</think>{json.dumps(items)}"):
        assert found(text, 0) == ('bed, "07:30:17" {3} fridge', OWN)
        assert found(text, 4).text.endswith("x […]") and len(found(text, 4).text) <= 400
    assert found(json.dumps(items), 3) == (SILENT, "none"), "another event's reason is not about it"
    said = f"<think>Event 3: the fridge, so breakfast.</think>{json.dumps(items)}"
    assert found(said, 3) == ("Event 3: the fridge, so breakfast.", "event number")


def test_events_in_one_line_and_in_marks():
    line = "<think>Event 2: kettle, so cooking. Event 3: fridge, so breakfast. Event 4: door.</think>[]"
    assert found(line, 3).text == "Event 3: fridge, so breakfast."
    assert (
        found("<think>**Event 3:** the fridge.\n**Event 4:** the door.</think>[]", 3).text == "**Event 3:** the fridge."
    )
    assert found("<think>- id 3 is the fridge\n- id 4 is the door</think>[]", 3).text == "- id 3 is the fridge"
    assert found("<think>(3) the fridge\n(4) the door</think>[]", 3).text == "(3) the fridge"


def test_numbers_that_are_no_event_numbers():
    assert found("<think>07:30:20 something happened\n19. eating</think>[]", 0) == (SILENT, "none")
    assert found("<think>It starts at 3.5 degrees. Activity id 3 fits.</think>[]", 3) == (SILENT, "none")
    labels = "\n".join(f"{i}. label {i}" for i in range(1, 30))
    assert found(f"<think>{labels}</think>[]", 3) == (SILENT, "none"), "a list of activities"
    assert found("<think>event 33 is none</think>[]", 3) == (SILENT, "none")
    assert (
        found('<think>{"id": 3, "time": "07:30:20", "event": "fridge contact OPENED"}</think>[]', 3).found_by == "none"
    )


def test_mentions_in_sentences():
    text = "<think>First the bed. In the kitchen, events 2, 3 and 4 are cooking. Then nothing.</think>[]"
    assert found(text, 3) == ("In the kitchen, events 2, 3 and 4 are cooking.", "event number")
    assert found(text, 0) == ("First the bed.", "sensor name, which 2 events have")
    assert found(text, 5).found_by == "none"
    assert (
        found("<think>So events 1 to 4 are one person. Done.</think>[]", 3).text == "So events 1 to 4 are one person."
    )
    assert found("<think>So events 1-2 are one person.</think>[]", 3).found_by == "none"


def test_texts_that_count_from_one():
    text = "<think>" + "\n".join(f"{i + 1}. the {e.sensor}" for i, e in enumerate(EVENTS)) + "</think>[]"
    assert found(text, 3) == ("4. the fridge contact", "event number")
    named = "<think>" + "\n".join(f"Event {i + 1}: the {e.sensor}" for i, e in enumerate(EVENTS)) + "</think>[]"
    assert found(named, 0).text == "Event 1: the bed"


def test_by_time_by_sensor_and_silence():
    assert found("<think>Hm. At 07:30:20 food is taken out. So eating.</think>[]", 3) == (
        "At 07:30:20 food is taken out.", "time",
    )  # fmt: skip
    twins = [EVENTS[3], replace(EVENTS[3], event_id=1)]
    assert found("<think>At 07:30:20 food is taken out.</think>[]", 1, twins).found_by == "none", "two at that time"
    # S1 Table 3: "The induction stove is part of the kitchen …" of the induction stove wattmeter
    s1 = "<think>The induction stove is part of the kitchen. Let's assign this to preparing dinner (19)</think>[]"
    assert found(s1, 5) == ("The induction stove is part of the kitchen.", "sensor name")
    assert found("<think>I like it.</think>[]", 3) == (SILENT, "none")
    assert found("[]", 3) == (SILENT, "none") and found("", 3) == (SILENT, "none")


def test_reasoning_outside_thinking_marks():
    plain = '3: the fridge, so breakfast.\n[{"id": 3, "activity": "eating"}]'
    assert found(plain, 3).text.startswith("3: the fridge, so breakfast.")
    assert found('[{"id": 3, "activity": "eating"}, {"id": 4, "activ', 3) == (SILENT, "none")


def test_long_excerpts_are_cut_and_several_joined():
    long = found("<think>Event 3: " + "and so on " * 200 + "</think>[]", 3).text
    assert len(long) <= excerpts.MAX_CHARS and long.endswith("[…]")
    three = found("<think>Is event 3 a fridge? Maybe event 3 is. Surely event 3 is.</think>[]", 3).text
    assert three == "Is event 3 a fridge? […] Maybe event 3 is. […]"


@pytest.mark.parametrize("bad", ["event" + " " * 200_000, "event " + "1" * 200_000 + "a", "{" * 200_000,
                                 "events " + "1, " * 60_000 + "x", "event 0-9999 " * 15_000, "\n3" * 90_000,
                                 "*" * 200_000, "a.  \n\n" * 40_000])  # fmt: skip
def test_hostile_text_is_read_in_time(bad):
    assert quiet_seconds(lambda: found(f"<think>{bad}</think>[]", 3), runs=1) < 2


@pytest.fixture(scope="module")
def three(task):
    """Teacher, base and student on six windows of four events: 1 1 2 2."""
    spoken = "".join(f"\nEvent {i}: because {i}." for i in range(4))
    said = lambda answer: f"<think>{spoken}</think>{answer}"  # noqa: E731
    right, wrong = said(RIGHT), said(WRONG)
    return [
        result_of(task, RULES, [right, wrong, right, right, right, wrong]),
        result_of(task, BASE, [right, wrong, WRONG, right, wrong, wrong]),
        result_of(task, STUDENT, [right, wrong, right, wrong, right, wrong]),
    ]


def test_picks_are_instructive_and_the_same_every_time(three):
    picks = pick_events(three, 6)
    assert picks == pick_events(three, 6)
    # base right in windows 0 and 3; student in 0, 2 and 4, of which 2 says nothing in the base: 4 comes first
    assert picks[:4] == [
        (4, 0, "the student is right, the untrained base is wrong"),
        (3, 0, "the student is wrong, the teacher is right"),
        (1, 0, "all are wrong"),
        (0, 0, "all are right"),
    ]
    assert picks[4][:2] == (2, 0), "another window before a window's second event"
    assert picks[5][:2] == (3, 1), "no other window is left"
    assert pick_events(three, 0) == [] and len(pick_events(three, 99)) == 24
    assert len({pick[:2] for pick in pick_events(three, 99)}) == 24


def test_unscored_events_are_not_picked():
    task = task_of(1, activities=(9, None, 1, 9))
    same = [result_of(task, model, [RIGHT]) for model in (RULES, BASE, STUDENT)]
    assert [pick[:2] for pick in pick_events(same, 9)] == [(0, 2)]


def test_picks_need_three_results_on_the_same_windows(three):
    other = result_of(task_of(5), STUDENT, [RIGHT] * 5)
    for results in (three[:2], [], [*three[:2], other]):
        with pytest.raises(ValueError, match="teacher, the untrained base and the student"):
            pick_events(results, 1)


def test_excerpt_rows(three):
    rows = excerpts.excerpt_rows(three, 3, 2)
    assert rows.event == {
        "session": "s3", "window": "0", "id": "2", "time": "07:30:22", "text": "kitchen fridge contact OPENED",
        "truth": "eating",
    }  # fmt: skip
    assert [(m.name, m.label, m.mark, m.css) for m in rows.models] == [
        ("rules", "eating", "✓", "right"),
        ("small-l8", "eating", "✓", "right"),
        ("small-l8-distilled", "preparing breakfast", "✗", "wrong"),
    ]
    assert [m.excerpt for m in rows.models] == ["Event 2: because 2."] * 3
    assert rows.models[0].kind == "rules, not an LLM" and rows.models[2].engine == "transformers 4.57 float32 cpu"
    silent = excerpts.excerpt_rows([result_of(task_of(1), BASE, ["no idea"])], 0, 0).models[0]
    assert (silent.label, silent.css, silent.mark, silent.excerpt) == ("malformed", "none", "–", SILENT)


def test_excerpts_page(three):
    page = excerpts_html(three, pick_events(three, 4)).data
    assert page.count("<table") == 4 and page.count("found by event number") == 12
    assert "simulated, session s4, window 0" in page and "all are wrong" in page
    assert "No scored event" in excerpts_html(three, []).data


def test_excerpts_escape_everything():
    activities = {1: EVIL, 2: "eating"}
    events = tuple(replace(event(i, 1), sensor=EVIL, room=EVIL, state=EVIL) for i in range(2))
    session = Session("simulated", EVIL, "h", activities, events)
    task = replace(task_of(1), sessions={EVIL: session}, windows=tuple(cut_windows(session, 4)))
    model = BASE.model_copy(update={"name": EVIL, "revision": EVIL})
    text = f"<think>Event 0: {EVIL}\nEvent 1: {EVIL}</think>" + json.dumps([{"id": 0, "activity": EVIL}])
    page = excerpts_html([result_of(task, model, [text])] * 3, [excerpts.Pick(0, i, EVIL) for i in range(2)]).data
    assert "<script" not in page and "<img" not in page and "<svg" not in page
    assert page.count("&lt;script&gt;") >= 12 and "Event 0: &lt;script&gt;" in page


# -- figures


def png_of(figure, folder, name):
    assert isinstance(figure, Figure)
    figure.savefig(folder / f"{name}.png")
    made = publish.publish({}, figure=figure)["figure_png"]
    assert len(made) > 5000
    return made


def stamp_of(figure):
    return " ".join(figure.get_supxlabel().split())


def legend_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


PROVENANCE = ("Data: simulated, all windows of hand-made sessions, 24 scored events",
              "small-l8-distilled (LLM, revision abcdef01+l8+tuned:01234567, "
              "transformers 4.57 float32 cpu)")  # fmt: skip


def test_loss_curve(tmp_path):
    draw = np.random.default_rng(0)
    losses = [[i, float(2.5 * i**-0.4 * math.exp(draw.normal(0, 0.15)))] for i in range(1, 301)]
    other = [[i, 0.6 * loss] for i, loss in losses]
    figure = student_figures.loss_curve([student_of(losses=losses), student_of(losses=other, name="odd $x_$")])
    png_of(figure, tmp_path, "loss_curve")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log" and len(axes.lines) == 4
    assert axes.lines[0].get_ydata().tolist() == [loss for _, loss in losses]
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(np.mean([loss for _, loss in losses[-8:]]))
    smooth = np.mean([loss for _, loss in losses[-8:]])
    assert figure.alt.startswith(f"Loss at the end: small-l8-distilled {smooth:.3g}; odd $x_$ {0.6 * smooth:.3g}. ")
    assert student_figures.loss_curve([student_of(losses=[])]).alt.startswith("How students learn")
    assert legend_of(figure) == ["small-l8-distilled: full, peft", r"odd \$x_\$: full, peft"]
    assert "100 examples (data da7ada7a), 8 a step" in stamp_of(figure) and "cpu float32" in stamp_of(figure)


def test_funnel_bars(tmp_path):
    figure = student_figures.funnel_bars(FUNNELS, "Teacher: rules (rules, not an LLM). Data: simulated, 12 sessions.")
    png_of(figure, tmp_path, "funnel_bars")
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [120, 118, 110, 0]
    assert texts_of(axes) == ["120", "118, 61 % of events right", "110, 64 % of events right", "0"]
    names = ["all: asked", "all: answered", "correct: complete", "correct: correct (at least 100%)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert stamp_of(figure).startswith("Teacher: rules") and "take no trace" not in stamp_of(figure)
    assert figure.alt.startswith("Traces left by each filter: none 118; correct 0.")


def test_steps_that_take_no_trace_away_have_no_bar():
    steps = [FunnelStep("asked", 0, 120, 0, math.nan), FunnelStep("answered", 120, 120, 1200, 61.25)]
    figure = student_figures.funnel_bars({"none": steps, "complete": steps, "correct": FUNNELS["correct"]}, "Data: x.")
    assert [bar.get_width() for bar in figure.axes[0].patches] == [120, 118, 110, 0]
    assert figure.axes[0].get_yticklabels()[1].get_text() == "correct: answered"
    assert stamp_of(figure) == 'Data: x. Filters that take no trace away: "none", "complete".'
    assert "Traces left by each filter: none 120; complete 120; correct 0" in figure.alt
    assert student_figures.funnel_bars({}, "Data: x.").alt.endswith("Data: x.")


def test_students_bars(task, teacher, base, student, tmp_path):
    chance = result_of(task, ModelSpec(name="majority class", kind="chance"), [reply(B, B, B, B)] * 6)
    lora = scored(task, [0.5, 0.7, 0.4, 0.6, 0.55, 0.3])
    lora = replace(lora, model=STUDENT.model_copy(update={"name": "small-l8-distilled-correct-only"}))
    figure = student_figures.students_bars(teacher, [base], [student, lora], [chance])
    png_of(figure, tmp_path, "students_bars")
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [r.macro_f1.mean for r in (base, student, lora, chance)]
    assert [len(line.get_xdata()) for line in axes.lines].count(6) == 4, "each session of each model"
    own = figures.colours_of(r.model.name for r in (teacher, base, student, lora, chance))
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [
        own[r.model.name] for r in (base, student, lora, chance)
    ]
    f1 = student.macro_f1
    assert texts_of(axes)[1] == f"{f1.mean:.2f} [{f1.low:.2f}, {f1.high:.2f}]"
    assert [label for label in legend_of(figure) if "teacher" in label or "comparison" in label] == [
        f"teacher: rules (rules, not an LLM) {teacher.macro_f1.mean:.2f}", "for comparison"
    ]  # fmt: skip
    assert all(part in stamp_of(figure) for part in (*PROVENANCE, "majority class (chance"))
    single = task_of(1)
    alone = student_figures.students_bars(result_of(single, RULES, [RIGHT]), [], [result_of(single, STUDENT, [GOOD])])
    assert texts_of(alone.axes[0]) == [f"{GOOD_F1:.2f} (n = 1)"]
    png_of(alone, tmp_path, "students_bars_alone")


def test_sessions_curve(task, teacher, tmp_path):
    draw = np.random.default_rng(1)
    noisy = lambda f1: scored(task, np.clip(f1 + draw.normal(0, 0.08, 6), 0, 1))  # noqa: E731
    curve = {0: 0.03, 1: 0.3, 2: 0.42, 4: 0.55, 8: 0.6, 12: 0.61}
    points = [SessionsPoint(n, noisy(f1), seed) for n, f1 in curve.items() for seed in (0, 1)]
    figure = student_figures.sessions_curve(points, teacher)
    png_of(figure, tmp_path, "sessions_curve")
    ours, theirs = figure.axes
    needed = sessions.sessions_needed(points)
    assert ours.get_title(loc="left") == f"Ours: 95 % of the full score from {needed} sessions on"
    assert theirs.get_title(loc="left") == "S1: 95 % of the full score from 4 sessions on"
    assert list(theirs.lines[0].get_xdata()) == [0, 1, 4, 10, 15]
    assert list(theirs.lines[0].get_ydata()) == pytest.approx([0.1081, 0.2945, 0.4942, 0.5118, 0.5068])
    assert theirs.lines[1].get_ydata()[0] == pytest.approx(0.537)
    means = sessions.mean_f1(points)
    assert any(list(line.get_ydata()) == list(means.values()) for line in ours.lines)
    assert "not the heights" in stamp_of(figure) and PROVENANCE[0] in stamp_of(figure)
    said = "LLM, transformers 4.57 float32 cpu: small-l8-distilled (revision abcdef01+l8+tuned:01234567)"
    assert said in stamp_of(figure)
    one = student_figures.sessions_curve(points[:1], teacher)
    assert "too few runs" in one.axes[0].get_title(loc="left")


def gateway_points(task):
    found = []
    sizes = {"smollm2-135m": (134_515_008, 0.44), "smollm2-135m-l16": (84_953_664, 0.45),
             "smollm2-135m-l8": (56_632_896, 0.40), "smollm2-135m-l4": (42_472_512, 0.2)}  # fmt: skip
    for place, (name, (n, f1)) in enumerate(sizes.items()):
        for precision, width, seconds in (("float32", 4, 4.0), ("bfloat16", 2, 9.0), ("int8", 1, None)):
            f1_here = [f1 + 0.05 * ((i + place) % 3 - 1) - (0.02 if width == 1 else 0) for i in range(6)]
            result = scored(task, f1_here)
            model = STUDENT.model_copy(update={"name": f"{name}-distilled {precision}"})
            spent = seconds and seconds / (place + 1)
            found.append(GatewayPoint(replace(result, model=model), n, n * width, spent, None, precision))
    return found


def test_gateway_curve(task, tmp_path):
    points = gateway_points(task)
    figure = student_figures.gateway_curve(points)
    png_of(figure, tmp_path, "gateway_curve")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and sorted(texts_of(axes)) == sorted(p.result.model.name for p in points)
    marks = axes.collections
    assert [mark.get_offsets()[0].tolist() for mark in marks] == [
        pytest.approx([p.n_bytes / 1e6, p.result.macro_f1.mean]) for p in points
    ]
    assert [len(mark.get_facecolors()) == 0 for mark in marks] == [p.seconds_per_window is None for p in points]
    assert marks[1].get_sizes()[0] > marks[0].get_sizes()[0], "area grows with seconds"
    assert legend_of(figure) == ["float32", "bfloat16", "int8"] and "the largest 9.00 s" in stamp_of(figure)
    boxes = [text.get_window_extent() and Text.get_window_extent(text) for text in axes.texts]
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    assert not overlaps
    png_of(student_figures.gateway_curve(points[:1]), tmp_path, "gateway_curve_one")


def test_one_student_in_two_precisions_has_one_name_and_one_colour(task, tmp_path):
    whole, eight = gateway_points(task)[:2]
    names = ("small taught on home-merged", "small taught on home-merged-int8")
    points = [
        one._replace(precision=precision, result=replace(one.result, model=STUDENT.model_copy(update={"name": name})))
        for one, precision, name in zip((whole, eight), ("bfloat16", "int8"), names)
    ]
    figure = student_figures.gateway_curve(points)
    png_of(figure, tmp_path, "gateway_curve_of_one")
    assert texts_of(figure.axes[0]) == ["small", "small"]
    first, second = (mark.get_edgecolors()[0].tolist() for mark in figure.axes[0].collections)
    assert first == second and all(name in stamp_of(figure) for name in names)
    assert "small int8 (" in figure.alt


def test_matrix_heatmap(cells, tmp_path):
    figure = student_figures.matrix_heatmap(cells)
    png_of(figure, tmp_path, "matrix_heatmap")
    theirs, ours = figure.axes[:2]
    assert len(theirs.texts) == 14 and "50.68" in texts_of(theirs)
    grid = np.asarray(ours.images[0].get_array().filled(np.nan))
    assert np.isnan(grid).sum() == 1, "the teacher was not asked about mural: blank, not zero"
    assert len(ours.texts) == 5 and PROVENANCE[1] in stamp_of(figure)


def test_figures_read_marks_of_names_as_text(task, teacher, student, tmp_path):
    odd = replace(student, model=STUDENT.model_copy(update={"name": "a $x_$ {b}"}))
    for name, figure in {
        "bars": student_figures.students_bars(teacher, [], [odd]),
        "sessions": student_figures.sessions_curve([SessionsPoint(1, odd), SessionsPoint(2, odd)], teacher),
        "gateway": student_figures.gateway_curve([GatewayPoint(odd, 1, 1_000_000, None, None, "$int_8$")]),
        "matrix": student_figures.matrix_heatmap([MatrixCell("a $x_$", UNTRAINED, odd)]),
    }.items():
        png_of(figure, tmp_path, name)
    assert figures.plain("$") == r"\$"
