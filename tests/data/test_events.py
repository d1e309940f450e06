"""Cutting and drawing windows."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.data.events import (
    SCHEMES,
    WINDOW_SIZE,
    SensorEvent,
    Session,
    Windowing,
    cut_windows,
    pick_sessions,
    sample_windows,
    subset_name,
)
from llmhar.settings import SettingsError

START = datetime(2000, 1, 3, 7, 0, 0)


def session(session_id="01", n=25):
    events = tuple(SensorEvent(i, START + timedelta(seconds=i), "kitchen", "fridge", "OPENED") for i in range(n))
    return Session("mural", session_id, "mural", {0: "others"}, events)


def test_ten_events_without_overlap_and_a_short_last_window():
    windows = cut_windows(session(n=25))
    assert WINDOW_SIZE == 10
    assert [(w.session_id, w.index, [e.event_id for e in w.events]) for w in windows] == [
        ("01", 0, list(range(10))),
        ("01", 1, list(range(10, 20))),
        ("01", 2, list(range(20, 25))),
    ]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 60), st.integers(1, 30))
def test_windows_one_after_another_give_the_session(n, size):
    whole = session(n=n)
    windows = cut_windows(whole, size)
    assert tuple(event for window in windows for event in window.events) == whole.events
    assert [window.index for window in windows] == list(range(-(-n // size)))
    assert all(len(window.events) == size for window in windows[:-1])
    assert all(window.events for window in windows)


def at_seconds(*seconds):
    events = (SensorEvent(i, START + timedelta(seconds=s), "hall", "door", "OPENED") for i, s in enumerate(seconds))
    return Session("mural", "01", "mural", {0: "others"}, tuple(events))


def shown(windows):
    """Events of each window, by id, and which of them count."""
    return [([e.event_id for e in w.events], [w.events[i].event_id for i in w.counted]) for w in windows]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 12), st.sampled_from(sorted(SCHEMES)))
def test_in_every_scheme_each_event_counts_once_and_windows_are_runs(gaps, size, scheme):
    whole = at_seconds(*(sum(gaps[: i + 1]) for i in range(len(gaps))))
    windows = cut_windows(whole, size, scheme=scheme)
    assert [window.index for window in windows] == list(range(len(windows)))
    assert [w.events[i].event_id for w in windows for i in w.counted] == list(range(len(gaps)))
    for window in windows:
        ids = [event.event_id for event in window.events]
        assert ids == list(range(ids[0], ids[-1] + 1)) and len(ids) <= size
        if seconds := SCHEMES[scheme].seconds:
            assert (window.events[-1].time - window.events[0].time).total_seconds() < seconds


def test_windows_that_end_with_each_event_count_it_alone():
    windows = cut_windows(session(n=4), 3, scheme="last")
    assert shown(windows) == [([0], [0]), ([0, 1], [1]), ([0, 1, 2], [2]), ([1, 2, 3], [3])]


def test_windows_of_a_time_end_before_it_is_over_and_when_they_are_full():
    whole = at_seconds(0, 59, 60, 100, 119, 121, 122, 1000)
    assert shown(cut_windows(whole, 10, scheme="60 s")) == [
        ([0, 1], [0, 1]), ([2, 3, 4], [2, 3, 4]), ([5, 6], [5, 6]), ([7], [7]),
    ]  # fmt: skip
    assert [ids for ids, _ in shown(cut_windows(whole, 2, scheme="5 min"))] == [[0, 1], [2, 3], [4, 5], [6], [7]]
    assert cut_windows(at_seconds(), 10, scheme="60 s") == []


def test_s1s_windows_are_what_they_were():
    assert cut_windows(session(n=25)) == cut_windows(session(n=25), 10, 10, "events")
    assert all(window.n_context == 0 for window in cut_windows(session(n=25), 10, 3))
    assert subset_name(Windowing(), 6) == "all windows of 6 test sessions"
    assert subset_name(Windowing(scheme="last"), 6).endswith(
        ", windows of the last 10 events, only the last one counted"
    )


def test_a_scheme_that_there_is_not_and_a_step_that_it_does_not_know():
    with pytest.raises(SettingsError, match="no way to cut windows 'hour'; there are: events, last, 60 s, 5 min"):
        cut_windows(session(), scheme="hour")
    with pytest.raises(ValueError, match="know no step, got 3"):
        cut_windows(session(), 10, 3, "last")


@pytest.mark.parametrize("size", [0, -1])
def test_size_below_one(size):
    with pytest.raises(ValueError, match=f"window size and step must be at least 1, got {size}"):
        cut_windows(session(), size)


def drawn(sessions, n, seed=0):
    """Session -> indices drawn, in the order given back."""
    found = {}
    for window in sample_windows([w for s in sessions for w in cut_windows(s)], n, seed):
        found.setdefault(window.session_id, []).append(window.index)
    return found


def test_all_windows_for_none_and_for_too_many():
    windows = cut_windows(session(n=95))
    assert sample_windows(windows, None) == windows
    assert sample_windows(windows, 10) == windows
    assert sample_windows(windows, 99, seed=3) == windows
    assert sample_windows(windows, 0) == []
    assert sample_windows(windows, -1) == []
    assert sample_windows([], 3) == []


def test_n_windows_of_each_session_in_time_order():
    found = drawn([session("01", 200), session("02", 300), session("03", 15)], 4)
    assert list(found) == ["01", "02", "03"]
    assert [len(own) for own in found.values()] == [4, 4, 2]
    assert all(own == sorted(set(own)) for own in found.values())


def test_a_draw_stays_the_same_for_good():
    """Stored answers are found again only if the same windows are drawn: these never change."""
    assert drawn([session("01", 200)], 4) == {"01": [10, 13, 15, 17]}
    assert drawn([session("01", 200)], 4, seed=1) != drawn([session("01", 200)], 4)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1000), st.integers(1, 19), st.integers(1, 19))
def test_smaller_draws_are_subsets(seed, n, m):
    small, large = (drawn([session("01", 200)], k, seed)["01"] for k in sorted((n, m)))
    assert set(small) <= set(large)


def test_a_draw_depends_on_its_own_session_alone():
    a, b, c = session("a", 200), session("b", 200), session("c", 200)
    assert drawn([a], 5)["a"] == drawn([a, b, c], 5)["a"] == drawn([c, b, a], 5)["a"]
    assert drawn([b], 5)["b"] == drawn([c, a, b], 5)["b"]
    assert drawn([a], 5)["a"] != drawn([b], 5)["b"]


def test_subset_names():
    assert subset_name(Windowing(), 6) == "all windows of 6 test sessions"
    assert subset_name(Windowing(n=4, seed=7), 6) == "4 windows from each of 6 test sessions (seed 7)"
    assert subset_name(Windowing(part="validation"), 3) == "all windows of 3 validation sessions"
    thin = ", 1 session with fewer than 10 scored events left out"
    assert subset_name(Windowing(), 4, n_thin=1) == f"all windows of 4 test sessions{thin}"
    named = subset_name(Windowing(n=4, least_events=7), 6, n_thin=2)
    assert named == (
        "4 windows from each of 6 test sessions (seed 0), 2 sessions with fewer than 7 scored events left out"
    )


def test_scored_events_are_those_of_the_label_set():
    events = tuple(SensorEvent(i, START, "kitchen", "fridge", "OPENED", (), i % 4 or None) for i in range(40))
    own = Session("mural", "01", "mural", {1: "cooking", 2: "eating", 3: "TRANSITION"}, events, unscored=frozenset({3}))
    assert own.n_scored == 20 and Windowing().least_events == WINDOW_SIZE


def test_a_row_has_one_activity_and_all_pairs():
    events = (
        SensorEvent(0, START, "", "door", "OPENED"),
        SensorEvent(1, START, "", "door", "OPENED", (), 1),
        SensorEvent(2, START, "", "door", "OPENED", ("A",), 1),
        SensorEvent(3, START, "", "door", "OPENED", ("A", "B"), 2, (("A", 2), ("B", 1))),
    )
    rows = Session("mural", "01", "mural", {1: "cooking", 2: "eating"}, events).to_rows()
    assert [row["activity"] for row in rows] == [None, "cooking", "cooking", "eating"]
    assert [row["activities"] for row in rows] == [
        [], [["", "cooking"]], [["A", "cooking"]], [["A", "eating"], ["B", "cooking"]],
    ]  # fmt: skip


def test_pick_sessions_in_the_order_asked_for():
    a, b, c = session("a"), session("b"), session("c")
    assert pick_sessions([a, b, c], ["c", "a"]) == [c, a]
    with pytest.raises(KeyError, match="d"):
        pick_sessions([a, b, c], ["d"])
