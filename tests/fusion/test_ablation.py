"""The designed ablation: exact Shapley values, scores, cost of context."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from llmhar.fusion import ablation
from llmhar.fusion.ablation import Spent, combinations, shapley_shares, shapley_values
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.encoders.observation import MODALITIES, Observation

LABELS = ("cooking", "cleaning", "reading")
NONE = frozenset()


def observation(i, label="cooking", cluster=None, **more):
    name = f"c{i}"
    return Observation(name, label, cluster or name, i % 2, frozenset([name]), (), **more)


@st.composite
def games(draw, least=1, most=4):
    """A value for every set of players and clip."""
    players = list(MODALITIES[: draw(st.integers(least, most))])
    n = draw(st.integers(1, 7))
    value = st.lists(st.sampled_from([0.0, 1.0, 1 / 12]), min_size=n, max_size=n).map(np.array)
    return players, {own: draw(value) for own in combinations(players)}


def by_permutations(players, value_of):
    """Shapley's own definition: mean gain over all orders of arrival."""
    total = {name: 0.0 for name in players}
    orders = list(itertools.permutations(players))
    for order in orders:
        own = NONE
        for name in order:
            total[name] = total[name] + value_of[own | {name}] - value_of[own]
            own = own | {name}
    return {name: value / len(orders) for name, value in total.items()}


def test_combinations_are_all_of_them_in_table_order():
    made = combinations(["context", "captions", "motion", "labels"])
    assert len(made) == len(set(made)) == 16
    assert made[0] == NONE and made[-1] == frozenset(MODALITIES)
    assert made[1:5] == [frozenset([name]) for name in MODALITIES]
    assert [len(own) for own in made] == sorted(len(own) for own in made)


@settings(max_examples=60, deadline=None)
@given(games())
def test_shapley_equals_permutations_and_is_efficient(game):
    players, value_of = game
    made, slow = shapley_values(value_of, players), by_permutations(players, value_of)
    for name in players:
        np.testing.assert_allclose(made[name], slow[name], atol=1e-12)
    np.testing.assert_allclose(sum(made.values()), value_of[frozenset(players)] - value_of[NONE], atol=1e-12)
    clusters = [i // 2 for i in range(len(value_of[NONE]))]
    table = shapley_shares(value_of, clusters, n_resamples=50)
    whole = value_of[frozenset(players)].mean() - value_of[NONE].mean()
    assert abs(table["share"].sum() - whole) < 1e-12
    assert list(table.index) == players


@settings(max_examples=30, deadline=None)
@given(games(least=2, most=3))
def test_shapley_null_player_and_symmetry(game):
    players, value_of = game
    null = {own: value_of[own - {"context"}] for own in combinations([*players, "context"])}
    assert np.abs(shapley_values(null, [*players, "context"])["context"]).max() < 1e-12
    np.testing.assert_allclose(
        shapley_values(null, [*players, "context"])[players[0]],
        shapley_values(value_of, players)[players[0]],
        atol=1e-12,
    )
    a, b = players[:2]
    swap = {a: b, b: a}
    mirror = {own: (value_of[own] + value_of[frozenset(swap.get(name, name) for name in own)]) / 2 for own in value_of}
    made = shapley_values(mirror, players)
    np.testing.assert_allclose(made[a], made[b], atol=1e-12)


def test_stand_ins_do_not_play_and_missing_sets_are_named():
    value_of = {own: np.full(4, len(own) / 3) for own in combinations(["captions", "labels", "motion"])}
    table = shapley_shares(value_of, list("aabb"), stand_ins=frozenset(["captions"]), n_resamples=20)
    assert table.loc["captions", "note"] == "stand-in: left out" and math.isnan(table.loc["captions", "share"])
    assert table["share"].sum() == pytest.approx(2 / 3, abs=1e-12)
    # sets with the stand-in need not even be there
    fewer = {own: value for own, value in value_of.items() if "captions" not in own}
    pd.testing.assert_frame_equal(
        table.drop(index="captions"), shapley_shares(fewer, list("aabb"), n_resamples=20), check_exact=True
    )
    del value_of[frozenset(["labels"])]
    with pytest.raises(ValueError, match=r"1 of 4 combinations are missing.*labels"):
        shapley_shares(value_of, list("aabb"), stand_ins=frozenset(["captions"]))


def test_shapley_interval_resamples_clusters_jointly():
    """Where two clusters differ wholly, the interval is theirs, however many clips each has."""
    values = np.array([1.0, 0.0] * 15)
    table = shapley_shares({NONE: np.zeros(900), frozenset(["motion"]): np.repeat(values, 30)},
                           list(np.repeat(np.arange(30), 30)))  # fmt: skip
    one = shapley_shares({NONE: np.zeros(30), frozenset(["motion"]): values}, list(range(30)))
    assert table.loc["motion", ["share", "low", "high"]].tolist() == pytest.approx(
        one.loc["motion", ["share", "low", "high"]].tolist()
    )
    assert table.loc["motion", "clusters"] == 30 and 0.25 < table.loc["motion", "low"] < 0.4


# -- scores


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None, "no such thing"]),
                          st.sampled_from("abc")), min_size=1, max_size=25))  # fmt: skip
def test_macro_f1_is_scikit_learns(rows):
    observations = [observation(i, label, cluster) for i, (label, _, cluster) in enumerate(rows)]
    predictions = {one.clip_id: answer for one, (_, answer, _) in zip(observations, rows)}
    made = ablation.macro_f1(predictions, observations, LABELS, n_resamples=20)
    truth = [label for label, _, _ in rows]
    answers = [answer if answer in LABELS else "none" for _, answer, _ in rows]
    expected = f1_score(truth, answers, labels=sorted(set(truth)), average="macro", zero_division=0)
    assert made.mean == pytest.approx(expected, abs=1e-12)
    assert math.isnan(made.low) == (made.n == 1)
    assert not made.low > made.mean + 1e-12 or made.how == "bootstrap, clusters"


def test_cell_counts_missing_as_wrong():
    observations = [observation(i, LABELS[i % 3], f"p{i % 4}") for i in range(24)]
    predictions = {one.clip_id: one.label for one in observations}
    predictions["c0"], predictions["c1"] = None, "dancing"
    del predictions["c2"]
    cell = ablation.score_cell(
        predictions, observations, LABELS, answerer="x", kind="llm", condition=Condition(NONE, 1)
    )
    assert cell.accuracy.mean == pytest.approx(21 / 24) and cell.n_missing == 3
    assert (cell.accuracy.n_values, cell.accuracy.n, cell.shots) == (24, 4, 1)
    again = ablation.score_cell(
        predictions, observations, LABELS, answerer="x", kind="llm", condition=Condition(NONE, 1)
    )
    assert again == cell, "seeded"
    assert ablation.nothing_said(observations, LABELS).mean() == pytest.approx(1 / 3)


def test_conflict_clips_are_rows_of_their_own():
    observations = [observation(i, conflict=i < 3) for i in range(8)]
    table = ablation.by_conflict(lambda own: pd.DataFrame({"n": [len(own)]}, index=["x"]), observations)
    assert table["n"].to_dict() == {("consistent", "x"): 5, ("conflict", "x"): 3}
    assert list(ablation.by_conflict(lambda own: pd.DataFrame({"n": [len(own)]}), observations[3:]).index) == [
        ("consistent", 0)
    ]


# -- cost of context


def test_cost_of_context():
    """Motion costs 100 tokens and half a second, wins a fifth of clips; labels cost 20 and win nothing."""
    n = 20
    clusters = [i // 2 for i in range(n)]
    won = np.array([float(i % 2 == 0) for i in range(n)])
    spent = {
        own: Spent(
            np.full(n, 300.0 + 100 * ("motion" in own) + 20 * ("labels" in own)),
            np.full(n, 2.0 + 0.5 * ("motion" in own)) if "labels" not in own else np.full(n, math.nan),
            won * ("motion" in own),
        )
        for own in combinations(["labels", "motion"])
    }
    table = ablation.context_cost(spent, clusters, n_resamples=100)
    assert list(table.index) == ["labels", "motion"]
    motion = table.loc["motion"]
    assert motion[["pairs", "added tokens", "gain", "gain per 100 tokens"]].tolist() == [2, 100, 0.5, 0.5]
    assert motion["verdict"] == "higher" and math.isnan(motion["added seconds"])
    assert table.loc["labels", ["added tokens", "gain", "verdict"]].tolist() == [20, 0, "not shown"]
    timed = {own: one for own, one in spent.items() if "labels" not in own}
    assert ablation.context_cost(timed, clusters).loc["motion", ["pairs", "added seconds"]].tolist() == [1, 0.5]
