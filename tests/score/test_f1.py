"""Scores against scikit-learn, by hand, and under every change that must not matter."""

import math
import random
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from llmhar.score.f1 import ScoreError, SessionScore, average, f1_from_counts, score_rows, score_session
from tests.generated import examples

LABELS = [0, 1, 2, 3, 7]
CLOSE = {"rel": 0, "abs": 1e-12}
GENERATED = {"deadline": None, "derandomize": True, "database": None}
# 5 and 9 are no labels: in the truth they are not scored, as a prediction they are none.
pairs = st.lists(
    st.tuples(st.sampled_from([*LABELS, 9, None]), st.sampled_from([*LABELS, 5, None])), min_size=1, max_size=60
)

HAND = {  # session -> (truth, predicted), label set {1, 2, 3}
    "s1": ([1, 1, 2, 3], [1, 2, 2, None]),
    "s2": ([2, 2, None, 9], [2, 2, 1, 1]),
    "s3": ([3, 3, 3, 1, 1], [3, 1, 1, 1, None]),
}


def hand_scores():
    return [score_session(name, truth, predicted, {1, 2, 3}) for name, (truth, predicted) in HAND.items()]


@settings(max_examples=examples(500), **GENERATED)
@given(pairs)
def test_equals_scikit_learn(events):
    truth, predicted = [t for t, _ in events], [p for _, p in events]
    made = score_session("s", truth, predicted, LABELS)
    kept = [(t, -1 if p not in LABELS else p) for t, p in events if t in LABELS]
    assert made.n_events == len(kept)
    if not kept:
        assert math.isnan(made.macro_f1) and math.isnan(made.weighted_f1) and math.isnan(made.missed_pct)
        return
    true, guess = zip(*kept)
    for average_, value in (("macro", made.macro_f1), ("weighted", made.weighted_f1)):
        theirs = f1_score(true, guess, labels=sorted(set(true)), average=average_, zero_division=0)
        assert value == pytest.approx(theirs, **CLOSE)
    union = sorted({*true, *guess} - {-1})
    theirs = f1_score(true, guess, labels=union, average="macro", zero_division=0)
    assert made.union_f1 == pytest.approx(theirs, **CLOSE)
    assert made.accuracy == pytest.approx(np.mean([t == p for t, p in kept]), **CLOSE)
    assert made.missed_pct == pytest.approx(100 * np.mean([p == -1 for _, p in kept]), **CLOSE)


def test_three_sessions_by_hand():
    expected = [  # events, macro, weighted, accuracy, missed %
        (4, (F(2, 3) + F(2, 3) + 0) / 3, F(1, 2), F(1, 2), 25),
        (2, F(1), F(1), F(1), 0),
        (5, (F(2, 5) + F(1, 2)) / 2, F(23, 50), F(2, 5), 20),
    ]
    for score, (n, macro, weighted, accuracy, missed) in zip(hand_scores(), expected, strict=True):
        assert score.n_events == n
        assert score.macro_f1 == pytest.approx(float(macro), **CLOSE)
        assert score.weighted_f1 == pytest.approx(float(weighted), **CLOSE)
        assert score.accuracy == pytest.approx(float(accuracy), **CLOSE)
        assert score.missed_pct == pytest.approx(missed, **CLOSE)
    mean = average(hand_scores())
    assert mean.macro_f1 == pytest.approx(float(F(341, 540)), **CLOSE)  # mean of 4/9, 1 and 9/20
    assert mean.weighted_f1 == pytest.approx(float(F(49, 75)), **CLOSE)
    assert mean.missed_pct == pytest.approx(15.0, **CLOSE)
    assert mean.missed_sd == pytest.approx(math.sqrt(175), **CLOSE)
    assert (mean.n_sessions, mean.n_events) == (3, 11)


@settings(max_examples=100, **GENERATED)
@given(st.lists(pairs, min_size=1, max_size=4), st.integers(0, 2**32))
def test_order_and_numbering_do_not_matter(sessions, seed):
    rng = random.Random(seed)
    scores = [score_session(str(i), *zip(*events), LABELS) for i, events in enumerate(sessions)]
    turned = dict(zip([*LABELS, 9, 5, None], [*rng.sample(range(100), 7), None], strict=True))
    other = []
    for i in rng.sample(range(len(sessions)), len(sessions)):
        events = [(turned[t], turned[p]) for t, p in rng.sample(sessions[i], len(sessions[i]))]
        other.append(score_session(str(i), *zip(*events), rng.sample([turned[label] for label in LABELS], 5)))
    for score in other:
        for name, value in score.to_json().items():
            same = scores[int(score.session)].to_json()[name]
            assert value == (pytest.approx(same, **CLOSE) if isinstance(same, float) else same)
    assert average(other) == pytest.approx(average(scores), rel=0, abs=1e-12, nan_ok=True)


def test_all_missing_is_zero():
    score = score_session("s", [1, 1, 2], [None, None, None], {1, 2, 3})
    assert score == SessionScore("s", 3, 0.0, 0.0, 0.0, 100.0, 0.0)
    # A label outside the set is no prediction either.
    assert score_session("s", [1, 1, 2], [8, 9, None], {1, 2, 3}) == score


def test_unlabelled_events_are_left_out_with_their_predictions():
    alone = score_session("s", [1, 2, 2], [1, 2, 1], {1, 2})
    among = score_session("s", [None, 1, 2, None, 2, 7], [1, 1, 2, 2, 1, 1], {1, 2})
    assert among == alone
    assert alone.n_events == 3
    assert alone.macro_f1 == pytest.approx(2 / 3, **CLOSE)


def test_a_session_without_scored_events_is_no_zero():
    empty = score_session("e", [None, 9], [1, 2], {1, 2})
    assert empty.to_json() == {
        "session": "e", "n_events": 0, "macro_f1": None, "weighted_f1": None, "accuracy": None, "missed_pct": None,
            "union_f1": None,
    }  # fmt: skip
    full = score_session("f", [1, 1], [1, None], {1, 2})
    mean = average([empty, full])
    assert (mean.n_sessions, mean.n_events, mean.macro_f1) == (1, 2, pytest.approx(2 / 3, **CLOSE))
    assert math.isnan(mean.missed_sd)
    nothing = average([empty])
    assert (nothing.n_sessions, nothing.n_events) == (0, 0)
    assert math.isnan(nothing.macro_f1)
    assert math.isnan(score_session("e", [], [], set()).macro_f1)


def test_lengths_must_agree():
    with pytest.raises(ScoreError, match="session s: 2 true events but 1 predictions"):
        score_session("s", [1, 2], [1], {1, 2})


def test_counts_to_f1():
    macro, weighted, union = f1_from_counts(np.array([2, 0, 0]), np.array([3, 1, 0]), np.array([2, 0, 4]))
    assert macro == pytest.approx(float((F(4, 5) + 0) / 2), **CLOSE)  # the third label is not in the truth
    assert weighted == pytest.approx(float(F(4, 5) * F(3, 4)), **CLOSE)
    assert union == pytest.approx(float((F(4, 5) + 0 + 0) / 3), **CLOSE)  # but among the predictions


def test_missed_sd_is_that_of_numpy():
    missed = [10.0, 0.0, 42.5, 7.25]
    scores = [SessionScore(str(i), 10, 0.5, 0.5, 0.5, value, 0.5) for i, value in enumerate(missed)]
    assert average(scores).missed_sd == pytest.approx(np.std(missed, ddof=1), **CLOSE)
    assert average(scores).missed_pct == pytest.approx(np.mean(missed), **CLOSE)


def test_counting_missing_as_a_class_would_move_f1():
    """Ten events, four of them unanswered: the reading of "missing" alone is worth 18 points of macro F1."""
    truth = [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    predicted = [1, 1, 1, None, 2, 2, None, 3, None, None]
    ours = score_session("s", truth, predicted, {1, 2, 3})
    marked = [-1 if p is None else p for p in predicted]
    assert ours.macro_f1 == pytest.approx(float(F(151, 210)), **CLOSE)  # mean of 6/7, 4/5 and 1/2
    as_class = f1_score(truth, marked, average="macro", zero_division=0)
    assert as_class == pytest.approx(float(F(151, 280)), **CLOSE)
    assert 100 * (ours.macro_f1 - as_class) == pytest.approx(17.976, abs=1e-3)
    assert f1_score(truth, marked, average="micro") == pytest.approx(0.6, **CLOSE)
    assert f1_score(truth, marked, labels=[1, 2, 3], average="micro") == pytest.approx(0.75, **CLOSE)


def rows(which, sessions=HAND):
    """Rows of truth (0) or predictions (1); ids count from 0 in each session."""
    return [{"session": s, "id": i, "activity": a} for s, both in sessions.items() for i, a in enumerate(both[which])]


def test_rows_give_the_same_scores_in_any_order():
    found = score_rows(rows(0), list(reversed(rows(1))), {1, 2, 3})
    assert found["macro_f1"] == pytest.approx(float(F(341, 540)), **CLOSE)
    assert found["weighted_f1"] == pytest.approx(float(F(49, 75)), **CLOSE)
    assert found["missed_pct"] == pytest.approx(15.0, **CLOSE)
    assert found["missed_sd"] == pytest.approx(math.sqrt(175), **CLOSE)
    assert (found["n_sessions"], found["n_events"]) == (3, 11)
    assert found["per_session"] == [score.to_json() for score in hand_scores()]


def test_rows_with_names():
    names = {1: "cooking", 2: "eating", 3: "resting", 9: "TRANSITION", None: None}
    truth, guess = ([{**row, "activity": names[row["activity"]]} for row in rows(which)] for which in (0, 1))
    found = score_rows(truth, guess, ["cooking", "eating", "resting"])
    assert found == score_rows(rows(0), rows(1), {1, 2, 3})
    # Without a label set all that occur are scored: s2 then has the TRANSITION event, which was missed.
    everything = score_rows(truth, guess)
    assert everything["n_events"] == 12
    assert everything["per_session"][1]["weighted_f1"] == pytest.approx(2 / 3, **CLOSE)


def test_an_absent_row_is_a_missing_prediction():
    truth = [{"session": "a", "id": i, "activity": "x"} for i in range(4)]
    found = score_rows(truth, [truth[0], {**truth[1], "activity": None}])
    assert found["missed_pct"] == 75.0
    assert found["macro_f1"] == pytest.approx(float(F(2, 5)), **CLOSE)
    assert found["missed_sd"] is None
    assert score_rows([], [])["macro_f1"] is None


def test_an_activity_that_the_truth_lacks_is_wrong_not_missed():
    truth = [{"session": "a", "id": i, "activity": "x"} for i in range(2)]
    found = score_rows(truth, [truth[0], {**truth[1], "activity": "y"}])
    assert found["missed_pct"] == 0.0
    assert found["macro_f1"] == pytest.approx(2 / 3, **CLOSE)  # "y" is no class of its own
    assert score_rows(truth, [truth[0], {**truth[1], "activity": "y"}], ["x"])["missed_pct"] == 50.0


ROW = {"session": "a", "id": 0, "activity": "x"}


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([ROW, ROW], [], "truth, line 2: session 'a', id 0 stands there twice"),
        ([ROW], [ROW, {**ROW, "activity": "y"}], "predictions, line 2: session 'a', id 0 stands there twice"),
        ([ROW, {"session": "a", "id": 1}], [], 'truth, line 2: need {"session", "id", "activity"}, got {\'session\''),
        ([ROW], [{**ROW, "activity": ["x"]}], 'predictions, line 1: need {"session", "id", "activity"}'),
        ([ROW], [[1, 2]], r"predictions, line 1: need {"),
        ([ROW], [{**ROW, "id": "0"}], "that the truth does not have, first: session 'a', id '0';"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_say_where(truth, predicted, message):
    with pytest.raises(ScoreError) as error:
        score_rows(truth, predicted)
    assert message in str(error.value)
