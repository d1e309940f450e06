"""Which test sessions are asked about."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.inference import make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.task import prepare
from llmhar.data.events import SCHEMES, Windowing
from llmhar.data.load_report import DataError, RowNote

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "ordonez"


def write_session(folder, name, n):
    """A MuRAL session of ``n`` annotated events and one without activity."""
    rows = [f"{i},07:{i // 60:02}:{i % 60:02},main door,OPENED,A,x,{5 if i < n else ''}" for i in range(n + 1)]
    (folder / name).mkdir()
    text = "uid,time,sensor,action,Subject,Description,activity\n" + "\n".join(rows) + "\n"
    (folder / name / "data.csv").write_text(text)


@pytest.fixture
def home(tmp_path):
    """Four training sessions, and test sessions of 9 and of 10 scored events."""
    (tmp_path / "activities.json").write_text('[{"id": 5, "name": "having dinner"}]')
    for name, n in (("01", 30), ("02", 3), ("03", 12), ("04", 12), ("05", 9), ("06", 10)):
        write_session(tmp_path, name, n)
    return tmp_path


def test_a_session_counts_from_one_window_of_scored_events_on(home):
    task = prepare("mural", home)
    assert list(task.sessions) == ["06"] and {window.session_id for window in task.windows} == {"06"}
    assert list(task.train) == ["01", "02", "03", "04"]  # who teaches is not counted
    assert task.subset == "all windows of 1 test sessions, 1 session with fewer than 10 scored events left out"
    assert task.report.set_aside == [RowNote("05", 0, "9 scored events, fewer than 10: session not asked about")]


def test_s1s_own_tables_leave_none_out(home):
    task = prepare("mural", home, windowing=Windowing(least_events=0))
    assert list(task.sessions) == ["05", "06"] and task.subset == "all windows of 2 test sessions"
    assert task.report.set_aside == []


def test_validation_sessions_are_counted_too(home):
    with pytest.raises(DataError, match="no validation session of mural has 13 scored events, at most 12"):
        prepare("mural", home, windowing=Windowing(part="validation", least_events=13))


def test_no_session_left_is_an_error(home):
    with pytest.raises(DataError, match="no test session of mural has 11 scored events, at most 10: lower"):
        prepare("mural", home, windowing=Windowing(least_events=11))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(SCHEMES)), st.integers(1, 12), st.none() | st.integers(0, 30), st.integers(0, 5))
def test_every_annotated_event_is_asked_about_once_or_counted_as_not_asked(simulated_home, scheme, size, n, seed):
    task = prepare("simulated", simulated_home, windowing=Windowing(size, n, seed, scheme=scheme))
    asked = list(task.scored_events())
    assert len(asked) == len(set(asked))
    assert len(asked) + task.n_not_asked == sum(session.n_scored for session in task.sessions.values())
    assert task.n_not_asked == 0 or n is not None


def test_what_stored_answers_are_found_by_does_not_change(simulated_home):
    """Events 0 to 9 are the same question in every scheme: what was answered is not asked again."""
    keys = {}
    for scheme in ("events", "last"):
        task = prepare("simulated", simulated_home, windowing=Windowing(scheme=scheme))
        whole = replace(task, windows=tuple(window for window in task.windows if len(window.events) == 10))
        keys[scheme] = {ask.request.key for ask in make_asks(whole, MODELS["rules"])}
    assert keys["events"] and keys["events"] <= keys["last"], "those that end with the tenth, the twentieth … event"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real UCI ADL files are not beside this repository")
def test_real_days_with_a_handful_of_scored_events_are_left_out():
    a, b = (prepare("uci_adl", REAL, options={"home": home}) for home in "AB")
    assert (len(a.sessions), len(b.sessions)) == (4, 7)
    why = "scored events, fewer than 10: session not asked about"
    assert a.report.set_aside == [RowNote("A-2011-12-12", 0, f"0 {why}")]
    assert b.report.set_aside == [RowNote("B-2012-12-03", 0, f"1 {why}")]
