"""Intervals over sessions against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmhar.stats import Interval, t_interval


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
    assert made == pytest.approx((3, 0.5, 0.5 - half, 0.5 + half, 0.1), rel=0, abs=1e-12)
    assert str(made) == "0.500 [0.252, 0.748] (n = 3)"


def test_no_value_and_one_value_have_no_interval():
    none, one = t_interval([]), t_interval([0.25])
    assert none.n == 0 and all(math.isnan(value) for value in none[1:])
    assert (one.n, one.mean) == (1, 0.25) and all(math.isnan(value) for value in one[2:])
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
