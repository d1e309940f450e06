"""Drawn errors have the accuracy they were set to, and independent votes win as often as theory says."""

import itertools
import math
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.fusion import doses as dosing
from llmhar.fusion.ablation import correct
from llmhar.fusion.doses import Dose, bayes, confusion_matrix, corrupt, corrupt_all, plan_doses, vote
from llmhar.fusion.encoders.observation import Guess, Observation, StepSeen

LABELS = tuple(f"activity {i}" for i in range(6))


def clips(n, n_steps=9, said=("labels", "motion")):
    """Clips whose encoders speak other vocabularies; ten clips a person."""
    real = {name: (Guess(f"real {name}", 0.7), Guess("other", 0.3)) for name in said}
    steps = tuple(StepSeen(2.0 + 2 * i, **real) for i in range(n_steps))
    return [
        Observation(f"c{i}", LABELS[i % 6], f"p{i // 10}", 0, frozenset(), steps, {"setting": "indoors"},
                    embeddings={"labels": np.ones(3), "motion": np.ones(2)})
        for i in range(n)
    ]  # fmt: skip


def guesses(observations, modality):
    return [(one.label, getattr(step, modality)[0].name) for one in observations for step in one.steps]


@pytest.mark.parametrize("accuracy", dosing.LEVELS)
def test_drawn_accuracy_is_the_set_one(accuracy):
    drawn = guesses(corrupt(clips(800), "labels", accuracy, LABELS, seed=3), "labels")
    right = np.mean([truth == name for truth, name in drawn])
    assert abs(right - accuracy) <= 4 * math.sqrt(accuracy * (1 - accuracy) / len(drawn))
    if accuracy < 1:  # errors are spread evenly: every pair of true and wrong activity
        counts = np.zeros((6, 6))
        for truth, name in drawn:
            counts[LABELS.index(truth), LABELS.index(name)] += 1
        expected = (1 - accuracy) / 5 * counts.sum(axis=1, keepdims=True)
        z = (counts - expected) / np.sqrt(expected)
        assert np.abs(z[~np.eye(6, dtype=bool)]).max() < 4.5


def test_steps_and_modalities_are_drawn_independently():
    made = corrupt_all(clips(1500), Dose("all", 0.5, (("labels", 0.5), ("motion", 0.5))), LABELS)
    right = np.array([[getattr(step, name)[0].name == one.label for name in ("labels", "motion") for step in one.steps]
                      for one in made], dtype=float)  # fmt: skip
    correlation = np.corrcoef(right.T) - np.eye(18)
    assert np.abs(correlation).max() < 4.5 / math.sqrt(1500)
    assert not np.array_equal(
        right, [[g == t for t, g in guesses([one], "labels") + guesses([one], "motion")]
                for one in corrupt_all(clips(1500), Dose("all", 0.5, (("labels", 0.5), ("motion", 0.5))), LABELS, 1)]
    ), "another seed, other draws"  # fmt: skip


def test_corruption_touches_one_modality_and_hides_what_it_replaces():
    (one,) = clips(1)
    silent = StepSeen(99.0, motion=(Guess("real motion", 1.0),))
    mixed = [Observation("c0", LABELS[0], "p0", 0, frozenset(), (*one.steps, silent), one.context,
                         embeddings=one.embeddings)]  # fmt: skip
    (made,) = corrupt(mixed, "labels", 0.75, LABELS)
    assert made.steps[-1] == silent, "where it said nothing it stays silent"
    assert [step.motion for step in made.steps] == [step.motion for step in mixed[0].steps]
    assert set(made.embeddings) == {"motion"} and set(mixed[0].embeddings) == {"labels", "motion"}
    assert all(len(step.labels) == 1 and step.labels[0].share == 0.75 for step in made.steps[:-1])
    assert made.context == one.context
    alone = corrupt_all(mixed, Dose("motion", 1.0, (("motion", 1.0),)), LABELS)[0]
    assert not alone.context and not alone.embeddings and not any(step.labels for step in alone.steps)
    assert {step.motion[0].name for step in alone.steps} == {LABELS[0]}
    captions = corrupt(clips(1, said=("captions",)), "captions", 0.25, LABELS)[0]
    assert {step.captions[0].share for step in captions.steps} == {1.0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from(list(itertools.pairwise(dosing.LEVELS))), st.randoms())
def test_draws_are_nested_over_doses_and_free_of_order(seed, levels, random):
    given_ = clips(12)
    low, high = (corrupt(given_, "labels", level, LABELS, seed) for level in levels)
    for a, b in zip(low, high):
        for before, after in zip(a.steps, b.steps):
            assert before.labels[0].name != a.label or after.labels[0].name == a.label
    random.shuffle(given_)
    again = {one.clip_id: one.steps for one in corrupt(given_, "labels", levels[0], LABELS, seed)}
    assert again == {one.clip_id: one.steps for one in low}


def test_errors_follow_their_weights():
    weights = np.zeros((6, 6))
    weights[:, 1], weights[:, 2] = 3, 1
    matrix = confusion_matrix(LABELS, 0.4, weights)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(matrix), 0.4)
    assert matrix[0, 1] == pytest.approx(0.45) and matrix[1, 2] == pytest.approx(0.6)
    drawn = [name for truth, name in guesses(corrupt(clips(600), "labels", 0.4, LABELS, 1, weights), "labels")
             if truth == LABELS[0]]  # fmt: skip
    shares = np.array([drawn.count(name) for name in LABELS]) / len(drawn)
    np.testing.assert_allclose(shares, matrix[0], atol=4 * 0.5 / math.sqrt(len(drawn)))


def test_bad_settings_are_errors():
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="accuracy"):
            corrupt(clips(2), "labels", bad, LABELS)
    with pytest.raises(ValueError, match="step by step"):
        corrupt(clips(2), "context", 0.5, LABELS)
    with pytest.raises(ValueError, match="activity 1"):
        corrupt(clips(2), "labels", 0.5, (LABELS[0], "other"))
    with pytest.raises(ValueError, match="below zero"):
        confusion_matrix(LABELS, 0.5, -np.ones((6, 6)))


# -- fusing


def brute_vote(n, accuracy, k):
    """All outcomes of n votes."""
    total = 0.0
    for outcome in itertools.product(range(k), repeat=n):
        counts = [outcome.count(i) for i in range(k)]
        p = math.prod(accuracy if i == 0 else (1 - accuracy) / (k - 1) for i in outcome)
        total += p * (counts[0] == max(counts)) / counts.count(max(counts))
    return total


def expected_vote(n_votes: int, accuracy: float, n_labels: int) -> float:
    """Accuracy of the majority of ``n_votes`` independent votes, errors spread evenly, ties drawn: exact.

    Σ over k right votes of Binomial(k) · E[1 / (1 + number of others with k votes); nobody has more]; the ways to
    spread n - k wrong votes over K - 1 others come from exponential generating functions.
    """
    others, total = n_labels - 1, 0.0
    for k in range(n_votes + 1):
        wrong = n_votes - k
        chance = comb(n_votes, k) * accuracy**k * (1 - accuracy) ** wrong
        below = np.array([1 / factorial(j) for j in range(k)])
        for ties in range(min(others, wrong // k if k else others) + 1):
            rest = np.array([1.0])
            for _ in range(others - ties):
                rest = np.convolve(rest, below)[: wrong + 1] if k else np.array([0.0])
            left = wrong - ties * k
            if 0 <= left < len(rest):
                ways = comb(others, ties) * rest[left] / factorial(k) ** ties * factorial(wrong) / others**wrong
                total += chance * float(ways) / (1 + ties)
    return total


@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 4), (2, 3), (3, 2), (4, 3), (5, 4), (6, 3)])
@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_expected_vote_equals_enumeration(n, k, accuracy):
    assert expected_vote(n, accuracy, k) == pytest.approx(brute_vote(n, accuracy, k), abs=1e-12)


@pytest.mark.parametrize("accuracy", [0.10, 0.25, 0.50])
def test_independent_steps_give_the_analytic_vote(accuracy):
    made = corrupt_all(
        clips(3000, n_steps=4), Dose("all", accuracy, (("labels", accuracy), ("motion", accuracy))), LABELS
    )
    expected = expected_vote(8, accuracy, 6)
    right = correct(vote(made, LABELS), made).mean()
    assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / 3000)


def test_bayes_is_the_vote_for_equal_modalities_and_better_for_unequal_ones():
    equal = corrupt_all(clips(400, 3), Dose("all", 0.5, (("labels", 0.5), ("motion", 0.5))), LABELS)
    matrix = confusion_matrix(LABELS, 0.5)
    assert bayes(equal, LABELS, {"labels": matrix, "motion": matrix}) == vote(equal, LABELS)
    dose = Dose("labels", 0.9, (("labels", 0.9), ("motion", 0.1)))
    unequal = corrupt_all(clips(600, 3), dose, LABELS)
    known = {name: confusion_matrix(LABELS, a) for name, a in dose.accuracies}
    gap = correct(bayes(unequal, LABELS, known), unequal) - correct(vote(unequal, LABELS), unequal)
    assert gap.mean() > 0.02
    # worse than chance, and known to be: still worth something
    wrong = corrupt_all(clips(300, 3), Dose("labels", 0.0, (("labels", 0.0),)), LABELS)
    assert correct(bayes(wrong, LABELS, {"labels": confusion_matrix(LABELS, 0.0)}), wrong).mean() > 0.2
    assert correct(vote(wrong, LABELS), wrong).mean() == 0


def test_a_clip_of_which_nothing_is_said_is_a_draw():
    answers = vote([Observation(f"c{i}", LABELS[0], "p", 0, frozenset(), ()) for i in range(600)], LABELS)
    assert {answers[f"c{i}"] for i in range(600)} == set(LABELS)


# -- dose and response


def test_doses_vary_all_then_each():
    made = plan_doses(["labels", "motion"], (0.1, 1.0), others=0.5)
    assert [(one.varied, one.accuracy) for one in made] == [
        (name, level) for name in ("all", "labels", "motion") for level in (0.1, 1.0)
    ]
    assert made[0].accuracies == (("labels", 0.1), ("motion", 0.1))
    assert made[3].accuracies == (("labels", 1.0), ("motion", 0.5))
    assert [one.varied for one in plan_doses(["motion"], (0.5,))] == ["all"]
    assert plan_doses(["labels", "motion"], (0.1, 1.0), alone=False) == made[:2]


def test_dose_response_and_verdicts():
    observations, given_ = clips(120, 3), plan_doses(["labels", "motion"], (0.1, 0.5, 1.0))
    answers = dosing.respond(observations, given_, LABELS, seed=5)
    # an oracle that was asked about all modalities together only
    for dose in given_[:3]:
        answers["oracle", dose] = {one.clip_id: one.label for one in observations}
    table = dosing.dose_response(answers, observations, {"oracle": "llm"}, n_resamples=100)
    assert len(table) == 2 * 9 + 3 and set(table["kind"]) == {"llm", "baseline"}
    votes = table[(table["answerer"] == "vote") & (table["varied"] == "all")].set_index("dose")
    assert votes.loc[1.0, "accuracy"] == 1 and votes.loc[0.1, "accuracy"] < 0.3
    assert (table["clusters"] == 12).all() and (table["clips"] == 120).all()
    verdicts = dosing.dose_verdicts(answers, observations, "oracle", n_resamples=100)
    assert verdicts.loc[("all", 0.1), "verdict"] == "higher"
    assert verdicts.loc[("all", 1.0), ["gap", "verdict"]].tolist() == [0, "not shown"]
    assert len(verdicts) == 3
    lower = dosing.dose_verdicts(answers, observations, "vote", "oracle", n_resamples=100)
    assert lower.loc[("all", 0.1), "verdict"] == "lower"
    assert lower.loc[("all", 0.1), "gap"] == -verdicts.loc[("all", 0.1), "gap"]
