"""Joint events: right by any of their activities, everywhere; by the first alone in the strict variant beside it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.stored import Stored
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing, true_activity
from llmhar.distill.plan_lock import windows_sha256
from llmhar.records import Fingerprint, Generation
from llmhar.run.publish import score_row
from llmhar.scaling import tables as scaling
from llmhar.score import tables
from llmhar.score.f1 import average, score_events, score_rows, score_session
from llmhar.text.prompt import PromptForm
from llmhar.traces import bundle, excerpts, export, lesson, view


@pytest.mark.parametrize(
    ("activities", "scored", "answer", "expected"),
    [
        ((1, 2), {1, 2, 3}, 2, 2), ((1, 2), {1, 2, 3}, 1, 1), ((1, 2), {1, 2, 3}, 3, 1), ((1, 2), {1, 2, 3}, None, 1),
        ((9, 2), {1, 2, 3}, 9, 2), ((9, 2), {1, 2, 3}, None, 2), ((9,), {1, 2}, 9, None), ((), {1}, 1, None),
        ((1,), {1, 2}, 2, 1),
    ],
)  # fmt: skip
def test_an_answer_is_measured_against_its_own_activity_else_the_first_scored_one(activities, scored, answer, expected):
    assert true_activity(activities, scored, answer) == expected


def test_a_joint_event_by_hand():
    score = score_events("s", [(1, 2), (1,), (2, 1), ()], [2, 1, 3, 1], {1, 2, 3})
    # truth beside these answers: 2, 1, 2; strictly: 1, 1, 2
    assert score.macro_f1 == score_session("s", [2, 1, 2, None], [2, 1, 3, 1], {1, 2, 3}).macro_f1 == (1 + 2 / 3) / 2
    assert score.strict_macro_f1 == score_session("s", [1, 1, 2], [2, 1, 3], {1, 2, 3}).macro_f1 == (2 / 3 + 0) / 2
    assert (score.n_events, score.n_joint, score.strict) == (3, 2, score.strict_macro_f1)
    assert {"n_joint", "strict_macro_f1"} <= set(score.to_json())
    plain = score_session("t", [1], [1], {1, 2, 3})
    assert "n_joint" not in plain.to_json() and plain.strict == plain.macro_f1
    assert average([score, plain]).strict_macro_f1 == (1 / 3 + 1) / 2
    # both residents do the same: one activity, nothing joint about it
    assert score_events("s", [(1,)], [1], {1}).n_joint == 0


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 9, None]), st.sampled_from([0, 1, 2, 5, None])), max_size=30))
def test_without_joint_events_the_numbers_are_bit_for_bit_those_of_before(events):
    truth, predicted = [t for t, _ in events], [p for _, p in events]
    old = score_session("s", truth, predicted, {0, 1, 2})
    new = score_events("s", [() if t is None else (t,) for t in truth], predicted, {0, 1, 2})
    assert repr(old) == repr(new)


def test_rows_may_name_all_pairs():
    truth = [{"session": "a", "id": 0, "activity": "x", "activities": [["R1", "x"], ["R2", "y"]]},
             {"session": "a", "id": 1, "activity": "x", "activities": [["R1", "x"]]},
             {"session": "a", "id": 2, "activity": None, "activities": []}]  # fmt: skip
    found = score_rows(truth, [{"session": "a", "id": i, "activity": a} for i, a in enumerate("yxx")])
    assert (found["macro_f1"], found["n_joint"], found["n_events"], found["not_in_truth"]) == (1.0, 1, 2, {})
    assert found["strict_macro_f1"] == pytest.approx(2 / 3)
    first = score_rows(truth, [{"session": "a", "id": i, "activity": "x"} for i in range(3)])
    assert (first["macro_f1"], first["strict_macro_f1"]) == (1.0, 1.0)


@pytest.fixture(scope="module")
def task(simulated_home):
    """Every third event of the simulated home has a second activity: the next number."""
    made = prepare("simulated", simulated_home, windowing=Windowing(n=2), form=PromptForm(answer="name"))

    def second(event, n):
        other = (event.activity_id + 1) % n
        return event if event.event_id % 3 else replace(event, pairs=(("A", event.activity_id), ("B", other)))

    sessions = {name: replace(s, events=tuple(second(e, len(s.activities)) for e in s.events))
                for name, s in made.sessions.items()}  # fmt: skip
    windows = tuple(replace(w, events=tuple(sessions[w.session_id].events[e.event_id] for e in w.events))
                    for w in made.windows)  # fmt: skip
    return replace(made, sessions=sessions, windows=windows)


def result_of(task, which):
    answers = []
    for ask, window in zip(make_asks(task, MODELS["rules"]), task.windows):
        names = task.sessions[window.session_id].activities
        items = [{"id": i, "activity": names[e.activity_ids[which]]} for i, e in enumerate(window.events)]
        made = Generation(ask.request.key, f"<think>ok</think>{json.dumps(items)}", "stop")
        answers.append(Answer(ask, Stored(made, Fingerprint("recorded", "1", "", "")), ""))
    return tables.score_answers(task, MODELS["rules"], answers)


def test_the_last_activity_of_joint_events_is_right_in_every_chapter(task):
    first, last = result_of(task, 0), result_of(task, -1)
    assert first.macro_f1.mean == last.macro_f1.mean == 1.0 and last.n_joint > 20
    assert first.overall.strict_macro_f1 == 1.0 > last.overall.strict_macro_f1 > 0
    table = tables.score_table([first, last])
    assert list(table[tables.STRICT_JOINT]) == [1.0, last.overall.strict_macro_f1]
    assert score_row(last)["strict_macro_f1"] == last.overall.strict_macro_f1
    both = tables.average_samples([first, last])
    assert both.overall.strict_macro_f1 == pytest.approx((1 + last.overall.strict_macro_f1) / 2)

    confusion = scaling.confusion(last)
    assert sum(confusion.loc[name, name] for name in confusion.index) == confusion.to_numpy().sum()
    assert scaling.ledger_table([last]).drop(columns="macro F1").to_numpy().sum() == 0
    assert set(scaling.policy_table([last]).iloc[0]) == {1.0}
    assert scaling._share_right(task, task.windows[0], last.readings[0]) == 1.0
    joint = next(i for i, e in enumerate(task.windows[0].events) if e.pairs)
    session = task.sessions[task.windows[0].session_id]
    both_names = session.truth_of(task.windows[0].events[joint])
    assert both_names.count(" / ") == 1

    assert all(excerpts.is_right(last, p, e) for p, w in enumerate(task.windows) for e in range(len(w.events)))
    assert excerpts.excerpt_rows([last], 0, joint).event["truth"] == both_names
    assert view.trace_html([last], 0).data.count("✗") == 1  # in the table's key
    assert both_names in view.window_html(task.windows[0], session).data
    guess = [session.activities[p.label] for p in last.readings[0].predictions]
    assert set(lesson.check_guess(task.windows[0], session, guess)["right"]) == {"yes"}
    for row in export.trace_rows([last]):
        assert row["n_right"] == row["n_scored"] == len(row["events"])
    truths = bundle.build_bundle([last])["windows"][0]["e"][joint][4:]
    assert len(truths) == 2 and last.readings[0].predictions[joint].label is not None


def test_tables_without_joint_events_have_no_strict_column(task):
    windows = tuple(replace(w, events=tuple(replace(e, pairs=()) for e in w.events)) for w in task.windows)
    result = result_of(replace(task, windows=windows), 0)
    assert tables.STRICT_JOINT not in tables.score_table([result]) and "strict_macro_f1" not in score_row(result)
    assert result.overall.strict_macro_f1 == result.overall.macro_f1


def test_sessions_count_events_by_any_scored_activity(task):
    session = next(iter(task.sessions.values()))
    event = next(e for e in session.events if e.pairs)
    alone = replace(session, events=(event,))
    assert replace(alone, unscored=frozenset({event.activity_id})).n_scored == 1
    assert replace(alone, unscored=frozenset(event.activity_ids)).n_scored == 0


def test_a_plan_s_lock_sees_pairs(task):
    windows = tuple(replace(w, events=tuple(replace(e, pairs=()) for e in w.events)) for w in task.windows)
    assert windows_sha256(task) != windows_sha256(replace(task, windows=windows))
