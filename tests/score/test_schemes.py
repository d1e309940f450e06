"""The same sessions in other windows: exact on hand-made sessions."""

import pytest

from llmhar.data.events import SCHEMES
from llmhar.score.home_figures import scheme_figure
from llmhar.score.schemes import is_pure, scheme_table
from llmhar.score.stats import t_interval
from tests.score.homes import result_of, session_of, task_of

# windows of four: s1 pure, mixed; s2 pure (9 and None are no activity), mixed by a joint event that does not fit
TEST = [session_of("s1", [1, 1, 1, 1, 2, 2, 3, 3], day=1), session_of("s2", [2, 9, None, 2, (1, 2), 1, 2, 2], day=2)]


def results(answer, **more):
    return {scheme: [result_of(task_of(TEST, scheme=scheme), "student", answer)] for scheme in SCHEMES} | more


def truth(event, window):
    return event.activity_id


def test_pure_windows_hold_one_activity():
    pure = [is_pure(window, TEST[0] if window.session_id == "s1" else TEST[1]) for window in task_of(TEST).windows]
    assert pure == [True, False, True, False]
    joint = session_of("j", [(1, 2), 2, (2, 3)])
    assert [is_pure(window, joint) for window in task_of([joint]).windows] == [True]
    nothing = session_of("n", [None, 9])
    assert is_pure(task_of([nothing]).windows[0], nothing) is None


def test_the_table_counts_each_event_once_in_every_scheme():
    table = scheme_table(results(truth)).reset_index()
    whole = table[table["events of"] == "all"]
    assert (
        list(whole["windows"]) == list(SCHEMES) and set(whole["n events"]) == {14} and set(whole["macro F1"]) == {1.0}
    )
    assert list(whole["windows asked"]) == [4, 16, 8, 4] and set(whole["events not asked"]) == {0}
    by_scheme = table.pivot(index="windows", columns="events of", values="n events")
    assert (by_scheme["pure windows"] + by_scheme["mixed windows"] == 14).all()
    assert list(by_scheme.loc["events", ["pure windows", "mixed windows"]]) == [6, 8]


def test_only_the_last_event_of_a_sliding_window_counts():
    """Every answer but the last is wrong: no matter."""
    last_right = result_of(task_of(TEST, scheme="last"), "x", lambda e, w: e.activity_id if e is w.events[-1] else 4)
    last_wrong = result_of(task_of(TEST, scheme="last"), "x", lambda e, w: 4 if e is w.events[-1] else e.activity_id)
    assert last_right.macro_f1.mean == 1 and last_wrong.macro_f1.mean == 0
    assert sum(last_right.verdicts.values()) == 16 and last_right.overall.n_events == 14
    assert last_right.verdicts["missing"] == 1 and last_wrong.verdicts == {"ok": 16}


def test_f1_of_pure_and_mixed_windows_by_hand():
    first = result_of(task_of(TEST), "student", lambda event, window: window.events[0].activity_id)
    table = scheme_table({"events": [first]}).droplevel(["data", "model", "windows"])
    # s1: 1 1 1 1 right; 2 2 2 2 for 2 2 3 3. s2: 2 2 right; 1 1 1 1 for (1,2) 1 2 2
    s1, s2 = (2 * 2 / 6 + 0) / 2, (2 * 2 / 6 + 0) / 2
    assert table.at["pure windows", "macro F1"] == 1.0
    assert table.at["mixed windows", "macro F1"] == pytest.approx((s1 + s2) / 2)
    assert table.at["mixed windows", "95 % low"] == pytest.approx(t_interval([s1, s2]).within.low)


def test_events_that_a_scheme_did_not_ask_about_are_left_out_for_all():
    some = task_of(TEST, scheme="last")
    few = type(some)(**{f: getattr(some, f) for f in some.__dataclass_fields__} | {"windows": some.windows[:6]})
    both = results(truth, last=[result_of(few, "student", truth)])
    table = scheme_table(both).reset_index()
    assert set(table[table["events of"] == "all"]["n events"]) == {6}
    assert set(table[table["windows"] == "last"]["events not asked"]) == {8}
    alone = scheme_table(both, common=False).reset_index()
    assert list(alone[alone["events of"] == "all"]["n events"]) == [14, 6, 14, 14]


def test_by_the_first_schemes_windows_each_row_holds_the_same_events():
    table = scheme_table(results(truth), by_first=True).reset_index()
    for name, n in (("all", 14), ("pure windows", 6), ("mixed windows", 8)):
        assert set(table[table["events of"] == name]["n events"]) == {n}


def test_the_figure_names_schemes_and_n():
    figure = scheme_figure(results(truth))
    assert "student" in figure.alt and "14 scored events" in figure.alt
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(SCHEMES)
