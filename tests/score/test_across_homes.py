"""Means over homes: each home weighs the same, intervals and tests are over sessions within homes."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from llmhar.score.across_homes import compare, gap_over_homes, mean_over_homes

NAN = float("nan")


def test_each_home_weighs_the_same():
    found = mean_over_homes([[0.2, 0.4], [1.0] * 30])
    assert found.mean == pytest.approx((0.3 + 1.0) / 2) and found.n == 32
    assert found.low < found.mean < found.high
    assert mean_over_homes([[0.2, NAN, 0.4], [NAN], [1.0, 1.0]]).mean == pytest.approx(0.65), "a home without a score"


def test_one_home_is_a_t_interval_and_equal_variances_pool():
    values = [0.1, 0.5, 0.6, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    one = mean_over_homes([values])
    assert (one.low, one.high) == pytest.approx((low, high))
    two = mean_over_homes([values, [value - 0.1 for value in values]])
    half = stats.t.ppf(0.975, 6) * stats.sem(values) / 2**0.5
    assert two.high - two.mean == pytest.approx(half), "Satterthwaite: 3 + 3 degrees of freedom"


def test_a_home_of_one_session_has_no_interval_and_nothing_varies_without_width():
    assert mean_over_homes([[0.5], [0.1, 0.2]]).low != mean_over_homes([[0.5], [0.1, 0.2]]).low
    assert mean_over_homes([[0.5, 0.5], [0.1, 0.1]])[2:4] == pytest.approx((0.3, 0.3))
    assert mean_over_homes([]).n == 0


def test_the_interval_covers():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(800):
        drawn = [rng.normal(mean, sd, n) for mean, sd, n in ((0.2, 0.3, 4), (0.6, 0.1, 7), (0.4, 0.2, 6))]
        found = mean_over_homes(drawn)
        hits += found.low <= 0.4 <= found.high
    assert 0.93 <= hits / 800 <= 0.98


def test_gaps_are_paired_and_weighted():
    rng = np.random.default_rng(1)
    base = [rng.uniform(0, 0.5, n) for n in (4, 8, 6)]
    better = [own + 0.3 + rng.normal(0, 0.02, len(own)) for own in base]
    gap = gap_over_homes(better, base)
    assert gap.interval.mean == pytest.approx(0.3, abs=0.02) and gap.p < 0.001
    assert gap_over_homes(base, better).interval.mean == pytest.approx(-gap.interval.mean)
    noise = gap_over_homes([own + rng.normal(0, 0.3, len(own)) for own in base], base)
    assert noise.p > 0.05
    with pytest.raises(ValueError, match="each session"):
        gap_over_homes([[0.1, 0.2]], [[0.1]])


@dataclass(frozen=True)
class Score:
    session: str
    macro_f1: float
    n_events: int = 10


@dataclass(frozen=True)
class Answers:
    sessions: tuple[Score, ...]


def test_other_sessions_are_refused():
    one = {"a": Answers((Score("1", 0.5), Score("2", 0.7)))}
    other = {"a": Answers((Score("1", 0.5), Score("3", 0.7)))}
    assert compare(one, one, ["a"]).interval.mean == 0
    with pytest.raises(ValueError, match="a: the two were asked about other sessions"):
        compare(one, other, ["a"])
