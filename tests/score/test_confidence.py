"""Confidences against the truth: by hand where one can, thresholds chosen on other sessions than they are judged on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.asking import Asking
from llmhar.ask.inference import Answer, make_asks, no_confidence
from llmhar.ask.models import MODELS
from llmhar.ask.stored import Stored
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation
from llmhar.score import confidence as conf
from llmhar.score import confidence_figures as figures
from llmhar.score.tables import score_answers
from llmhar.text.prompt import PromptForm

GENERATED = {"deadline": None, "derandomize": True, "database": None}
RULES = MODELS["rules"]


def judged(confidence, right, sessions=None, data="home"):
    own = sessions or [str(i) for i in range(len(right))]
    return conf.Judged(
        np.array(confidence, dtype=float), np.array(right, dtype=bool), tuple((data, s) for s in own), "made up"
    )


HAND = judged([0.9, 0.9, 0.5, 0.5, 0.1, 0.0], [1, 1, 1, 0, 0, 0], ["a", "b", "a", "b", "a", "b"])


@pytest.fixture(scope="module")
def task(simulated_home):
    return prepare("simulated", simulated_home, windowing=Windowing(n=2), form=PromptForm(answer="name"))


def answers_of(task, wrong=(), unsure=(), logprobs=True, missing=()):
    """True labels but for the events ``wrong`` of each window; ``unsure`` ones have the probability 1/4."""
    found = []
    for ask, window in zip(make_asks(task, RULES), task.windows):
        names = task.sessions[window.session_id].activities
        text, tokens = "[", []
        for i, event in enumerate(window.events):
            if i in missing:
                continue
            number = event.activity_id
            name = names[(number + 1) % len(names) if i in wrong else number]
            text += f'{"," if len(text) > 1 else ""}{{"id":{i},"activity":'
            tokens += [[len(text), len(text) + 2, math.log(0.5)], [len(text) + 2, len(text) + 3, math.log(0.5)]] * (
                i in unsure
            )
            text += json.dumps(name) + "}"
        made = Generation(ask.request.key, text + "]", "stop", logprobs=json.dumps(tokens) if logprobs else "")
        found.append(Answer(ask, Stored(made, Fingerprint("recorded", "1", "", "")), ""))
    return found


def test_confidence_and_truth_of_every_scored_event(task):
    answers = answers_of(task, wrong={1, 2}, unsure={2, 3}, missing={4})
    lost = answers[0]._replace(stored=None)
    own = conf.by_tokens(score_answers(task, RULES, [lost, *answers[1:]]))
    n, per_window = len(task.windows), len(task.windows[0].events)
    assert per_window == 10 and len(own.right) == 10 * n and own.n_sessions == 6
    windows = own.confidence.reshape(n, 10), own.right.reshape(n, 10)
    assert not windows[0][0].any() and not windows[1][0].any(), "no answer: not sure, not right"
    assert windows[0][1:].tolist() == [[1, 1, 0.25, 0.25, 0, 1, 1, 1, 1, 1]] * (n - 1)
    assert windows[1][1:].tolist() == [[True, False, False, True, False, *[True] * 5]] * (n - 1)
    assert "rules" in own.stamp and "recorded" in own.stamp and task.data in own.stamp


def test_events_that_are_only_shown_count_in_another_window(task):
    shown = replace(task, windows=tuple(replace(w, n_context=len(w.events) - 1) for w in task.windows))
    own = conf.by_tokens(score_answers(shown, RULES, answers_of(shown)))
    assert len(own.right) == sum(1 for _ in shown.scored_events()) < sum(1 for _ in task.scored_events())


def test_what_has_no_probabilities_is_refused(task):
    with pytest.raises(conf.ConfidenceError, match="no answer of rules came with probabilities"):
        conf.by_tokens(score_answers(task, RULES, answers_of(task, logprobs=False)))


def test_bins_of_equal_mass_keep_equal_confidences_together():
    bins = conf._bins(HAND, 3)
    assert [sorted(HAND.confidence[bins == number]) for number in range(3)] == [[0.0, 0.1], [0.5, 0.5], [0.9, 0.9]]
    assert set(conf._bins(judged([1.0] * 50, [1] * 50), 10)) == {0} and len(conf._bins(judged([], []), 10)) == 0


def test_calibration_error_by_hand():
    error = conf.calibration_error(HAND, 3)
    assert error.mean == pytest.approx((2 * 0.05 + 0 + 2 * 0.1) / 6) and (error.n, error.n_values) == (2, 6)
    assert conf.calibration_error(judged([1, 1, 0, 0], [1, 1, 0, 0])).mean == 0
    assert conf.calibration_error(judged([1, 1, 1, 1], [0, 0, 0, 0])).mean == 1
    assert math.isnan(conf.calibration_error(judged([], [])).mean)


def test_the_interval_is_over_sessions_and_holds_the_true_error():
    """Sure by 0.2 too much: ECE's interval holds 0.2, and is wider where few sessions differ than for their events."""
    random = np.random.default_rng(0)
    sure = random.uniform(0.3, 1.0, 6000)
    right = random.random(6000) < sure - 0.2
    error = conf.calibration_error(judged(sure, right, [str(i // 100) for i in range(6000)]))
    assert error.low < 0.2 < error.high and error.how == "bootstrap, clusters" and error.high - error.low < 0.05
    shifted = right ^ (np.arange(6000) // 1500 == 0)  # one of four sessions is the other way round
    wide = conf.calibration_error(judged(sure, shifted, [str(i // 1500) for i in range(6000)]))
    assert wide.n == 4 and wide.high - wide.low > 0.1


def test_risk_and_coverage_by_hand():
    curve = conf.risk_coverage(HAND)
    assert curve.thresholds.tolist() == [0.9, 0.5, 0.1, 0.0]
    assert curve.coverage == pytest.approx([2 / 6, 4 / 6, 5 / 6, 1.0])
    assert curve.risk == pytest.approx([0, 1 / 4, 2 / 5, 3 / 6])
    assert curve.area.mean == pytest.approx((2 * 0 + 2 / 4 + 2 / 5 + 3 / 6) / 6)


@settings(max_examples=60, **GENERATED)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0.2, 0.5, 1.0]), st.booleans(), st.sampled_from("abcd")), min_size=1, max_size=30
    )
)
def test_curves_hold_for_any_events(rows):
    own = judged(*map(list, zip(*[(c, r and c > 0, s) for c, r, s in rows])))
    curve = conf.risk_coverage(own)
    assert curve.coverage[-1] == 1 and curve.risk[-1] == pytest.approx(1 - own.accuracy)
    assert 0 <= curve.area.mean <= 1 and 0 <= conf.calibration_error(own).mean <= 1
    backwards = judged(own.confidence[::-1], own.right[::-1], [s for _, s in own.sessions][::-1])
    assert conf.risk_coverage(backwards).area.mean == pytest.approx(curve.area.mean)
    assert conf.calibration_error(backwards).mean == pytest.approx(conf.calibration_error(own).mean)
    for wanted in (0.5, 1.0):
        try:
            chosen = conf.choose_threshold(own, accuracy=wanted)
        except conf.ConfidenceError:
            kept = [curve.risk[i] for i, t in enumerate(curve.thresholds) if t > 0]
            assert all(1 - risk < wanted for risk in kept)
            continue
        kept = own.confidence >= chosen.value
        assert chosen.value > 0 and own.right[kept].mean() >= wanted and chosen.coverage == pytest.approx(kept.mean())


def test_a_confidence_that_knows_gains_and_one_that_does_not_does_not():
    random = np.random.default_rng(1)
    right = random.random(2000) < 0.5
    sessions = [str(i // 50) for i in range(2000)]
    knows = conf.risk_coverage(judged(np.where(right, 0.9, 0.2) + random.random(2000) / 100, right, sessions)).area
    guesses = conf.risk_coverage(judged(random.random(2000), right, sessions)).area
    assert knows.high < 0.3 and guesses.low < 0.5 < guesses.high


def test_a_threshold_keeps_most_labels_at_the_wanted_accuracy():
    chosen = conf.choose_threshold(HAND, accuracy=0.75)
    assert (chosen.value, chosen.accuracy, chosen.coverage, chosen.wanted) == (0.5, 0.75, 4 / 6, "accuracy ≥ 0.75")
    assert conf.choose_threshold(HAND, accuracy=0.9).value == 0.9
    assert conf.choose_threshold(HAND, coverage=0.5).value == 0.5
    assert conf.choose_threshold(HAND, coverage=0.8).value == 0.1
    with pytest.raises(conf.ConfidenceError, match=r"no threshold has coverage ≥ 0.9 .*largest coverage is 0.833"):
        conf.choose_threshold(HAND, coverage=0.9)  # an event without a label is never kept
    with pytest.raises(conf.ConfidenceError, match=r"accuracy ≥ 0.6 on 2 .*highest accuracy is 0.500"):
        conf.choose_threshold(judged([0.5, 0.5], [1, 0]), accuracy=0.6)
    for wrong in ({}, {"accuracy": 0.5, "coverage": 0.5}):
        with pytest.raises(conf.ConfidenceError, match="one of both"):
            conf.choose_threshold(HAND, **wrong)
    with pytest.raises(conf.ConfidenceError, match="no threshold"):
        conf.choose_threshold(judged([], []), accuracy=0.5)


def test_it_is_judged_on_sessions_that_did_not_choose_it():
    chosen = conf.choose_threshold(HAND, accuracy=0.75)
    others = judged([0.5, 0.49, 0.7, 0.0], [1, 1, 0, 0], ["x", "x", "y", "y"], "other home")
    kept = conf.judge_threshold(chosen, others)
    assert (kept.accuracy.mean, kept.coverage.mean, kept.n_kept, kept.n, kept.all_labels) == (0.5, 0.5, 2, 4, 0.5)
    assert kept.coverage.n == 2
    leak = judged([0.5], [1], ["b"])
    for planted in (leak, conf.pool([others, leak])):
        with pytest.raises(conf.ConfidenceError, match="was chosen on session"):
            conf.judge_threshold(chosen, planted)
    nothing = conf.judge_threshold(chosen, judged([0.1], [1], ["z"]))
    assert (nothing.n_kept, nothing.coverage.mean) == (0, 0.0) and math.isnan(nothing.accuracy.mean)


def test_homes_are_pooled_by_event_and_no_session_twice():
    other = judged([0.3], [1], ["a"], "other home")
    both = conf.pool([HAND, other])
    assert (len(both.right), both.n_sessions) == (7, 3)
    for wrong in ([], [HAND, HAND]):
        with pytest.raises(conf.ConfidenceError):
            conf.pool(wrong)


def test_table_and_figures_say_what_they_show():
    table = conf.confidence_table({"student": HAND, "none": judged([], [])})
    assert table.loc["student", ["events", "sessions", "risk of all labels"]].tolist() == [6, 2, 0.5]
    chosen = {"student": conf.choose_threshold(HAND, accuracy=0.75)}
    figure = figures.risk_coverage_curves({"student": HAND}, chosen)
    assert "made up; 6 events of 2 sessions" in figure.alt
    figure.canvas.draw()
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any("from 0.50 on (chosen for accuracy ≥ 0.75): 67 % kept, 25 % of them wrong" in word for word in words)


def test_who_can_say_how_sure_it_is():
    small = MODELS["smollm2-135m"]
    assert {no_confidence(small, engine) for engine in ("auto", "vllm", "transformers", "onnx", "openai")} == {""}
    assert no_confidence(MODELS["llmhar-home-135m-int8"], "auto") == ""
    assert "rules" in no_confidence(MODELS["rules"], "auto") and "recorded" in no_confidence(small, "recorded")


def test_only_requests_that_can_ask_for_probabilities(task):
    asking = Asking(confidence=True)
    assert not any(ask.request.logprobs for ask in make_asks(task, RULES, asking))
    plain = [ask.request.key for ask in make_asks(task, RULES)]
    assert [ask.request.key for ask in make_asks(task, RULES, asking)] == plain
    served = replace(asking, engine="openai")
    asks = make_asks(task, MODELS["smollm2-135m"], served)
    assert all(ask.request.logprobs for ask in asks)
    without = make_asks(task, MODELS["smollm2-135m"], replace(served, confidence=False))
    assert not {ask.request.key for ask in asks} & {ask.request.key for ask in without}
