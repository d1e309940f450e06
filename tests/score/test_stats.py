"""Intervals, paired tests, adjustment and variance split against scipy, statsmodels and by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from llmhar.score.stats import (
    Interval,
    clustered_interval,
    compare_pairs,
    holm,
    least_p,
    minimum_detectable_gap,
    sign_flip,
    sign_flip_p,
    t_interval,
    variance_split,
    verdict,
    wilson,
)
from tests.bench import calibration


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_equals_scipy(values, level):
    made = t_interval(values, level)
    n, mean, sd = len(values), np.mean(values), np.std(values, ddof=1)
    assert (made.n, made.mean) == (n, pytest.approx(mean, rel=0, abs=1e-12))
    assert made.sd == pytest.approx(sd, rel=0, abs=1e-12)
    if sd > 0:
        low, high = stats.t.interval(level, n - 1, loc=mean, scale=sd / math.sqrt(n))
        assert (made.low, made.high) == pytest.approx((low, high), rel=0, abs=1e-12)
    else:
        assert (made.low, made.high) == (made.mean, made.mean)


def test_by_hand():
    made = t_interval([0.4, 0.5, 0.6])  # sd 0.1; t(2) has a closed form: 4.3026…
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 0.1 / math.sqrt(3)
    assert made[:5] == pytest.approx((3, 0.5, 0.5 - half, 0.5 + half, 0.1), rel=0, abs=1e-12)
    assert str(made) == "0.500 [0.252, 0.748] (n = 3)"


def test_no_value_and_one_value_have_no_interval():
    none, one = t_interval([]), t_interval([0.25])
    assert none.n == 0 and all(math.isnan(value) for value in none[1:5])
    assert (one.n, one.mean) == (1, 0.25) and all(math.isnan(value) for value in one[2:5])
    assert str(none) == "no sessions"
    assert str(one) == "0.250 (n = 1, no interval)"


def test_sessions_without_a_score_are_not_counted():
    nan = float("nan")
    assert t_interval([nan, 0.4, nan, 0.6]) == t_interval([0.4, 0.6])
    assert t_interval([nan, 0.4])[:2] == (1, 0.4)
    assert str(t_interval([nan])) == "no sessions"


def test_a_session_counts_once_however_many_events_it_has():
    """The bounds widen with fewer sessions: six sessions use t(5) = 2.571, not 1.96."""
    values = [0.3, 0.4, 0.5, 0.5, 0.6, 0.7]
    made = t_interval(values)
    assert isinstance(made, Interval)
    assert (made.high - made.mean) / (made.sd / math.sqrt(6)) == pytest.approx(2.570581835636314, rel=1e-12)


# Sign-flip test

finite = st.floats(-1, 1).map(lambda value: round(value, 6))


@pytest.mark.parametrize("n", range(2, 13))
def test_sign_flip_equals_scipy(n):
    """Continuous differences, shifted so that all sizes of p occur; scipy enumerates all 2ⁿ patterns too."""
    for seed in range(3):
        differences = np.random.default_rng([n, seed]).normal(0.4 * seed, 1, n)
        known = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
        made = sign_flip(differences)
        assert made.p == pytest.approx(known.pvalue, rel=0, abs=1e-9)
        assert made[:2] == (n, pytest.approx(differences.mean())) and made[3:] == (True, 0)


@pytest.mark.parametrize("n", [4, 7, 10])
def test_sign_flip_equals_scipy_with_ties_and_zeros(n):
    """Integers sum without rounding, so scipy counts equal sums too."""
    for seed in range(5):
        differences = np.random.default_rng([n, seed]).integers(-2, 4, n).astype(float)
        known = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip(differences).p == pytest.approx(known.pvalue, rel=0, abs=1e-9)
        assert sign_flip(differences * 0.1).p == pytest.approx(known.pvalue, rel=0, abs=1e-9)  # 0.1 rounds: still ties


def test_sign_flip_by_hand():
    """1, 2, 3: sums 6, 4, 2, 0 and their mirror images."""
    assert sign_flip([1, 2, 3]).p == 2 / 8
    assert sign_flip([-1, 2, 3]).p == 4 / 8
    assert sign_flip([1, 2, -3]).p == 1
    assert sign_flip([0.1, 0.2, -0.3]).p == 1  # 0.1 + 0.2 - 0.3 is 5.6e-17, not zero
    assert sign_flip([0, 0, 0]).p == 1
    assert sign_flip([0, 1, 1, 1]).p == 2 / 8  # a zero adds nothing


def test_six_sessions_reach_one_in_32_and_no_less():
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).p == 1 / 32 == least_p(6)
    assert [least_p(n) for n in (1, 2, 16)] == [1, 0.5, 2**-15] and math.isnan(least_p(0))
    assert sign_flip(np.arange(1, 41)).p == least_p(40) == 1 / 10_001


def test_sign_flip_of_no_pair_and_one_pair():
    none, one = sign_flip([]), sign_flip([0.3])
    assert (none.n, none.exact, none.n_dropped) == (0, True, 0) and math.isnan(none.mean) and math.isnan(none.p)
    assert one == (1, 0.3, 1.0, True, 0)


def test_sign_flip_drops_and_counts_pairs_without_a_score():
    nan = float("nan")
    assert sign_flip([nan, 1, 2, nan, 3]) == sign_flip([1, 2, 3])._replace(n_dropped=2)
    assert sign_flip([nan])[0::4] == (0, 1)


def test_sign_flip_refuses_what_it_cannot_test():
    for differences, flips in (([1.0, math.inf], 10), (list(range(20)), 0)):
        with pytest.raises(ValueError, match="finite differences and at least one flip"):
            sign_flip(differences, n_flips=flips)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(finite, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_sign_flip_properties(differences, dice):
    """p lies in its range, and neither order, direction nor unit matter, drawn flips (n > 16) included."""
    made = sign_flip(differences, n_flips=500)
    assert least_p(made.n, 500) <= made.p <= 1
    assert made.exact == (made.n <= 16)
    shuffled = differences[:]
    dice.shuffle(shuffled)
    for other in (shuffled, [-value for value in differences], [100 * value for value in differences]):
        assert sign_flip(other, n_flips=500).p == made.p


def test_drawn_flips_are_seeded_and_near_the_exact_p():
    """Drawn beyond 16 sessions: the same seed, the same p; an added zero leaves the test as it was."""
    differences = np.random.default_rng(5).normal(0.5, 1, 16)
    exact, padded = sign_flip(differences), np.append(differences, 0.0)
    drawn = sign_flip(padded)
    assert exact.exact and not drawn.exact and drawn.n == 17
    assert drawn == sign_flip(padded) != sign_flip(padded, seed=1)
    error = math.sqrt(exact.p * (1 - exact.p) / 10_000)
    assert drawn.p == pytest.approx(exact.p, abs=4 * error)
    assert (drawn.p * 10_001) == pytest.approx(round(drawn.p * 10_001), abs=1e-6)  # (count + 1) / (flips + 1)


@pytest.mark.parametrize("n", [6, 30])
def test_many_tests_at_once_are_the_same_tests(n):
    table = np.random.default_rng(n).normal(0.2, 1, (1000, n))  # more than one block of 2**22 sums at n = 30
    assert sign_flip_p(table).tolist() == [sign_flip(row).p for row in table]


# Holm


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_statsmodels(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1], rel=0, abs=1e-9)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_holm_properties(p):
    adjusted = holm(p)
    assert [a != a for a in adjusted] == [value != value for value in p]
    kept = sorted((value, a) for value, a in zip(p, adjusted) if value == value)
    assert all(value <= a <= min(1, len(kept) * value) for value, a in kept)
    assert [a for _, a in kept] == sorted(a for _, a in kept)  # keeps the order of the p-values
    assert [a for a in holm([value for value in p if value == value])] == [a for a in adjusted if a == a]


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    for bad in (-0.1, 1.5):
        with pytest.raises(ValueError, match="p-values lie in 0 … 1"):
            holm([0.5, bad])


# Gaps, verdicts, pairs


def test_minimum_detectable_gap():
    assert minimum_detectable_gap(1, 6) == pytest.approx(1.049, abs=5e-4)  # anchors.md §3.4: 1.05 sd
    assert minimum_detectable_gap(2.9, 6) == pytest.approx(3.0, abs=0.05)  # the 3.0-point gap needs sd ≤ 2.9 points
    for n in (2, 6, 12, 30):
        assert minimum_detectable_gap(0.7, n) == pytest.approx(stats.t.ppf(0.975, n - 1) * 0.7 / math.sqrt(n), abs=1e-9)
    assert math.isnan(minimum_detectable_gap(1, 1)) and math.isnan(minimum_detectable_gap(1, 0))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(finite, min_size=3, max_size=12, unique=True))
def test_the_interval_excludes_zero_from_the_minimum_detectable_gap_on(differences):
    made = t_interval(differences)
    least = minimum_detectable_gap(made.sd, made.n)
    assert (made.low > 0 or made.high < 0) == (abs(made.mean) > least)


@pytest.mark.parametrize(("k", "n"), [(0, 9), (3, 9), (9, 9), (598, 740), (1, 1)])
def test_wilson_is_that_of_statsmodels(k, n):
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_wilson_of_nothing_is_nothing():
    low, high = wilson(0, 0)
    assert low != low and high != high


def test_verdict_words():
    assert verdict(0.05, 0.1) == "higher" and verdict(0.01, -0.1) == "lower"
    assert verdict(0.051, 0.9) == "not shown" and verdict(float("nan"), 0.9) == "not shown"
    assert verdict(0.01, 0.0) == "not shown" and verdict(0.01, float("nan"), alpha=0.005) == "not shown"
    assert verdict(0.08, 0.1, alpha=0.1) == "higher"


def test_pairs_hold_what_the_single_functions_say():
    dice = np.random.default_rng(1)
    scores = {"big": dice.normal(0.6, 0.1, 12), "small": dice.normal(0.4, 0.1, 12), "tiny": dice.normal(0.38, 0.1, 12)}
    rows = compare_pairs(scores)
    assert [(row.first, row.second) for row in rows] == [("big", "small"), ("big", "tiny"), ("small", "tiny")]
    for row in rows:
        gaps = scores[row.first] - scores[row.second]
        interval = t_interval(gaps)
        assert (row.n, row.gap, row.low, row.high) == interval[:4] and row.p == sign_flip(gaps).p
        assert row.least_gap == pytest.approx(minimum_detectable_gap(interval.sd, 12), abs=1e-12)
        assert row.p_least == 3 * 2**-11 and row.verdict == verdict(row.p_holm, row.gap)
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert [row.verdict for row in rows] == ["higher", "higher", "not shown"]
    turned = compare_pairs(dict(reversed(scores.items())))
    assert [row.verdict for row in turned] == ["not shown", "lower", "lower"]
    assert sorted(row.p_holm for row in turned) == sorted(row.p_holm for row in rows)


def test_two_pairs_over_six_sessions_can_show_nothing():
    """However large the gap: 2 × 1/32 > 0.05. The rows say so."""
    one = compare_pairs({"a": [0.9] * 6, "b": [0.1] * 6})
    assert (one[0].verdict, one[0].p_holm, one[0].p_least) == ("higher", 1 / 32, 1 / 32)
    three = compare_pairs({"a": [0.9] * 6, "b": [0.5] * 6, "c": [0.1] * 6})
    assert {(row.verdict, row.p_least) for row in three} == {("not shown", 3 / 32)}


def test_a_gap_of_shares_ends_at_one_and_a_gap_of_points_does_not():
    first, second = [1.0, 1.0, 0.9, 0.2], [0.0, 0.1, 0.0, 0.0]
    (pair,) = compare_pairs({"a": first, "b": second})
    free = t_interval([a - b for a, b in zip(first, second)])
    assert free.high > 1 and pair.high == 1 and pair.low == pytest.approx(free.low)
    assert pair.least_gap == pytest.approx((free.high - free.low) / 2), "what the data can show is not cut"
    (back,) = compare_pairs({"b": second, "a": first})
    assert (back.low, back.high) == (-1, pytest.approx(-free.low))
    (points,) = compare_pairs({"a": [100 * a for a in first], "b": [100 * b for b in second]})
    assert points.high == pytest.approx(100 * free.high)


def test_no_gap_over_clips_may_lie_on_either_side_and_unanswered_clips_drop_out():
    right, clusters = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "c", "c", "d"]
    (pair,) = compare_pairs({"x": right, "y": right}, clusters=clusters)
    assert pair.gap == 0 and pair.low == -pair.high < 0
    nan = float("nan")
    wrong = [0.0] * 6
    (whole,) = compare_pairs({"x": right[:4], "y": wrong[:4]}, clusters=clusters[:4])
    (part,) = compare_pairs({"x": [*right[:4], nan, nan], "y": wrong}, clusters=clusters)
    assert part == whole and part.n_values == 4, "also in a cluster of which some were asked"


def test_pairs_on_sessions_without_a_score():
    nan = float("nan")
    rows = compare_pairs({"a": [0.9, 0.8, 0.7, nan], "b": [0.1, 0.2, nan, 0.3], "none": [nan] * 4})
    assert [row.n for row in rows] == [2, 0, 0]
    assert (rows[0].p, rows[0].p_holm, rows[0].p_least) == (0.5, 0.5, 0.5)  # a pair without a session is no test
    assert all(math.isnan(value) for value in rows[1][3:10]) and rows[1].verdict == "not shown"


def test_planned_pairs_are_compared_and_adjusted_alone():
    scores = {"a": [0.9] * 6, "b": [0.5] * 6, "c": [0.1] * 6}
    planned = compare_pairs(scores, [("c", "a")])
    assert [(row.first, row.second, row.verdict) for row in planned] == [("c", "a", "lower")]
    assert (planned[0].p_holm, planned[0].n, planned[0].n_values) == (1 / 32, 6, 6)
    assert compare_pairs(scores, [("a", "c")], clusters=range(6))[0].p == planned[0].p, "a session is its own cluster"


def test_scores_that_differ_by_rounding_only_are_equal():
    """0.1 + 0.2 against 0.3 in every session would otherwise be six signs in one direction: p = 1/32."""
    rows = compare_pairs({"a": [0.1 + 0.2] * 6, "b": [0.3] * 6})
    assert (rows[0].gap, rows[0].p, rows[0].verdict) == (0, 1, "not shown")


def test_few_models_or_sessions():
    assert compare_pairs({}) == [] == compare_pairs({"a": [0.1, 0.2]})
    assert compare_pairs({"a": [], "b": []})[0].n == 0
    assert compare_pairs({"a": [0.5], "b": [0.2]})[0].p == 1


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match=r"unequal numbers of sessions: \{'a': 2, 'b': 1\}; give every model"):
        compare_pairs({"a": [0.1, 0.2], "b": [0.1]})
    with pytest.raises(ValueError, match="infinite score"):
        compare_pairs({"a": [0.1, 0.2], "b": [0.1, math.inf]})


# Clusters of clips


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=12), st.integers(1, 5))
def test_t_over_equal_clusters_is_the_t_interval_of_their_means(means, size):
    made = clustered_interval(np.repeat(means, size), list(np.repeat(np.arange(len(means)), size)), how="t")
    plain = t_interval(means)
    assert made[1:4] == pytest.approx(plain[1:4], abs=1e-9)
    assert (made.n_values, made.n) == (size * len(means), len(means))


@pytest.mark.parametrize(("how", "n"), [("t", 6), ("t", 15), ("bootstrap", 60)])
def test_intervals_cover(how, n):
    """Clips of unequal clusters that share their cluster's luck: about 95 % of intervals hold the truth."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        sizes = rng.integers(3, 7, n)
        luck = np.repeat(rng.beta(2, 2, n), sizes)
        clusters = list(np.repeat(np.arange(n), sizes))
        made = clustered_interval(rng.random(len(luck)) < luck, clusters, how=how, n_resamples=300, seed=trial)
        hits += made.low <= 0.5 <= made.high
    assert 0.91 <= hits / 300 <= 0.985


def test_intervals_at_the_edges():
    assert clustered_interval([], []).n_values == 0 and clustered_interval([], []).brief == "not measured"
    one = clustered_interval([1.0, 0.0], ["a", "a"])
    assert one.mean == 0.5 and math.isnan(one.low) and one.n == 1
    sure = clustered_interval([1.0] * 10, list("aabbccddee"))
    assert (sure.mean, sure.high) == (1.0, 1.0) and sure.low == pytest.approx(0.025 ** (1 / 10))
    never = clustered_interval([0.0] * 10, list("aabbccddee"))
    assert never.low == 0 and never.high == pytest.approx(1 - 0.025 ** (1 / 10))
    wide = clustered_interval([1.0, 1.0, 1.0, 0.0], list("abcd"))
    assert wide.high > 1 and wide.within.high == 1 and wide.within.low == max(0, wide.low)
    assert clustered_interval([0.5] * 4, list("aabb")).how == "t, clusters"
    assert clustered_interval([0, 1] * 30, list(range(60))).how == "bootstrap, clusters"
    assert clustered_interval([math.nan, 1.0, 0.0], list("abc")).n == 2
    with pytest.raises(ValueError, match="3 values and 2 clusters"):
        clustered_interval([1, 0, 1], ["a", "b"])


def test_verdicts_move_whole_clusters():
    clusters = list(np.repeat(np.arange(10), 4))
    better = {"a": np.ones(40), "b": np.tile([1.0, 0, 0, 0], 10)}
    (made,) = compare_pairs(better, [("a", "b")], clusters)
    assert made.verdict == "higher" and made.gap == 0.75
    assert made.p == sign_flip([3.0] * 10).p == 2 / 2**10
    (back,) = compare_pairs(better, [("b", "a")], clusters)
    assert back.verdict == "lower" and back.p == made.p
    # the same clips from three people prove nothing, and it is said that they could not
    (few,) = compare_pairs(better, [("a", "b")], list(np.repeat([0, 1, 2, 2, 2], 8)))
    assert few.verdict == "not shown" and few.p_least == 0.25
    (none,) = compare_pairs({"a": np.ones(4), "b": np.ones(4)}, [("a", "b")], list("abcd"))
    assert none.verdict == "not shown"


def test_verdicts_pay_for_every_pair():
    clusters = list(range(6))
    values = {"a": np.ones(6), "b": np.zeros(6), "c": np.zeros(6)}
    alone, both = (
        compare_pairs(values, [("a", "b")], clusters),
        compare_pairs(values, [("a", "b"), ("a", "c")], clusters),
    )
    assert alone[0].verdict == "higher" and alone[0].p == 2 / 2**6
    assert [one.verdict for one in both] == ["not shown"] * 2 and both[0].p_least == 4 / 2**6


# Variance split


def nested(sizes, sd, seed):
    """Long table of values: sizes[i][j] samples of window j in session i, sd of (session, window, sample)."""
    dice = np.random.default_rng(seed)
    rows = []
    for i, windows in enumerate(sizes):
        session = 0.5 + sd[0] * dice.normal()
        for j, k in enumerate(windows):
            window = session + sd[1] * dice.normal()
            rows += [(f"s{i}", j, window + sd[2] * dice.normal()) for _ in range(k)]
    return [list(column) for column in zip(*rows)]


def test_variance_split_equals_the_balanced_anova():
    a, b, k = 6, 8, 5
    session, window, value = nested([[k] * b] * a, (1, 0.7, 0.5), seed=0)
    cube = np.array(value).reshape(a, b, k)
    ms_session = b * k * cube.mean(axis=(1, 2)).var(ddof=1)
    ms_window = k * sum(cube.mean(axis=2)[i].var(ddof=1) for i in range(a)) / a
    ms_sample = cube.var(axis=2, ddof=1).mean()
    parts = ((ms_session - ms_window) / (b * k), (ms_window - ms_sample) / k, ms_sample)
    made = variance_split(session, window, value)
    assert made[:3] == (a, a * b, a * b * k)
    assert made[3:] == pytest.approx((*parts, sum(parts)), rel=0, abs=1e-9)
    assert list(made.shares.values()) == pytest.approx([part / sum(parts) for part in parts], abs=1e-9)


def test_variance_split_equals_mixed_model_on_a_balanced_case():
    """REML equals the moment estimates on balanced data where none is negative; statsmodels iterates, hence 1e-3."""
    formula = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    session, window, value = nested([[4] * 10] * 8, (1, 0.7, 0.5), seed=2)
    frame = pd.DataFrame({"session": session, "window": window, "value": value})
    fit = formula.mixedlm("value ~ 1", frame, groups="session", vc_formula={"window": "0 + C(window)"}, re_formula="1")
    known = fit.fit(reml=True)
    made = variance_split(session, window, value)
    assert (made.session, made.window, made.sample) == pytest.approx(
        (known.cov_re.iloc[0, 0], known.vcomp[0], known.scale), rel=1e-3
    )


def test_variance_split_finds_known_components_in_unbalanced_data():
    """Unbiased where no part is near zero: the mean over 400 simulations is within 4 standard errors of the truth."""
    sizes = [[1, 2, 5], [5, 5, 5, 5, 1], [3, 3], [2, 4, 6, 1], [5], [4, 1, 1, 3, 3, 3], [2, 2, 2, 2]]
    made = np.array([variance_split(*nested(sizes, (3, 2, 1), seed))[3:6] for seed in range(400)])
    error = made.std(axis=0, ddof=1) / math.sqrt(len(made))
    assert np.all(np.abs(made.mean(axis=0) - (9, 4, 1)) < 4 * error), (made.mean(axis=0), error)


def test_variance_split_ignores_order_and_missing_values():
    columns = nested([[2, 3], [1, 4, 2], [3, 3]], (1, 1, 1), seed=3)
    order = np.random.default_rng(0).permutation(len(columns[0]))
    shuffled = [[column[i] for i in order] for column in columns]
    made = variance_split(*columns)
    assert variance_split(*shuffled) == pytest.approx(made, abs=1e-12)
    added = [[*columns[0], "other"], [*columns[1], 0], [*columns[2], float("nan")]]
    assert variance_split(*added) == made


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1)), max_size=40))
def test_variance_split_is_never_negative(rows):
    made = variance_split([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    assert not any(part < 0 for part in made[3:])
    shares = [share for share in made.shares.values() if share == share]
    assert len(shares) < 3 or sum(shares) == pytest.approx(1)


def test_variance_split_says_what_the_data_cannot_tell():
    def unknown(made):
        return [name for name, part in zip(made._fields[3:], made[3:]) if math.isnan(part)]

    one_sample = variance_split(list("aabb"), [1, 2, 1, 2], [1, 2, 3, 5])
    assert unknown(one_sample) == ["window", "sample"]
    # Means 1.5 and 4; within them 0.5 and 2, together 1.25 a window; between: (4 - 1.5)²/2 - 1.25/2 = 2.5.
    assert (one_sample.session, one_sample.total) == pytest.approx((2.5, 3.75))
    assert unknown(variance_split(list("aaaa"), [1, 1, 2, 2], [1, 2, 3, 5])) == ["session", "total"]
    assert unknown(variance_split(list("aabb"), [1, 1, 1, 1], [1, 2, 3, 5])) == ["session", "window", "total"]
    assert unknown(variance_split([], [], [])) == ["session", "window", "sample", "total"]
    constant = variance_split(list("aabb") * 3, [1, 2, 1, 2] * 3, [0.1] * 12)  # whose mean is not 0.1
    assert constant[3:] == (0, 0, 0, 0) and all(math.isnan(share) for share in constant.shares.values())
    with pytest.raises(ValueError, match="2 sessions, 1 windows and 1 values"):
        variance_split(["a", "b"], [1], [0.5])


# Module


def test_import_stays_light():
    code = "import sys, llmhar.score.stats; print(sorted({'scipy.stats', 'pandas', 'statsmodels'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_calibration_keeps_its_promises_on_fewer_simulations():
    """The whole table: ``python -m tests.bench.calibration``."""
    for world in calibration.WORLDS[:2]:
        made = calibration.measure(world, 6, simulations=4000)
        assert calibration.failures(world, 6, made) == []
        assert made.size == pytest.approx(1 / 32, abs=0.01)  # all that six sessions can have
        assert made.power_1 < made.power_2
    bad = calibration.Figures(0.056, 0.92, 0.98, 0.5, 0.9)
    assert len(calibration.failures(calibration.WORLDS[0], 6, bad)) == 3
    assert len(calibration.failures(calibration.WORLDS[1], 6, bad)) == 1
    assert calibration.failures(calibration.WORLDS[2], 6, bad) == []


@pytest.mark.parametrize("world", calibration.WORLDS, ids=lambda world: world.name)
def test_calibration_knows_the_true_moments_of_its_worlds(world):
    first, second = world.draw(np.random.default_rng(0), (2000, 100))
    assert first.mean() == pytest.approx(world.mean, abs=2e-3) == pytest.approx(second.mean(), abs=4e-3)
    assert (first - second).std() == pytest.approx(world.sd_gap, rel=0.02)
