"""The MARBLE loader on made-up instances, and on the one real instance where it lies beside the repository."""

import os
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data.intervals import Intervals
from llmhar.data.marble import ACTIVITIES, SENSORS, TRANSITION
from llmhar.data.registry import DataError, Loaded, RowNote, load, split

FIXTURE = Path(__file__).parents[1] / "fixtures" / "marble"
REAL = Path(__file__).parents[3] / "shared" / "data" / "marble"
HEADER = b"sensor_id,sensor_status,ts,subject_id\n"


def _names(session):
    return [session.activities.get(e.activity_id) for e in session.events]


def test_labels_come_from_the_subjects_own_intervals():
    session = load("marble", FIXTURE).sessions[0]
    assert [(e.text, e.residents[0], session.activities.get(e.activity_id)) for e in session.events] == [
        ("medicine area medicines cabinet OPENED", "21", "TAKING_MEDICINES"),
        ("kitchen stove turned ON", "22", "COOKING"),
        ("dining-room chair turned ON", "21", "TRANSITION"),
        ("living-room couch turned ON", "22", "WATCHING_TV"),  # 600 ms before its interval
        ("office chair turned OFF", "21", "TRANSITION"),  # both ends belong to an interval
        ("office chair turned ON", "21", "USING_PC"),
        ("phone make a call turned ON", "21", "USING_PC"),
        ("phone answer a call turned OFF", "21", "USING_PC"),
        ("kitchen pantry OPENED", "21", "USING_PC"),  # 1,000 ms after its interval
        ("kitchen cutlery drawer OPENED", "29", None),
    ]
    assert [e.event_id for e in session.events] == list(range(10))
    assert (session.events[6].room, session.events[6].sensor) == ("", "phone make a call")


def test_report_names_each_bad_row():
    report = load("marble", FIXTURE).report
    instance = "A2a/instance1"
    assert report.refused == [
        RowNote(f"{instance}/subject-21/labels.csv", 5, "ends before it starts (1550000200000 -> 1550000150000)"),
        RowNote(f"{instance}/subject-21/labels.csv", 6, "unknown activity 'JUGGLING'"),
        RowNote(f"{instance}/environmental.csv", 10, "unknown sensor 'E9'"),
        RowNote(f"{instance}/environmental.csv", 11, "status 'open' is neither ON nor OFF"),
        RowNote(f"{instance}/environmental.csv", 12, "time 'noon' is not UNIX milliseconds"),
    ]
    assert report.mended == [
        RowNote(f"{instance}/environmental.csv", 7, "out of order: follows a later row of its subject; sorted"),
        RowNote(f"{instance}/environmental.csv", 9, "subject '29' has no folder: event kept without activity"),
    ]
    assert (report.rows_read, report.n_events, report.n_unlabelled) == (26, 14, 1)


def test_session_context():
    sessions = load("marble", FIXTURE).sessions
    assert [(s.session_id, s.n_residents, s.home, s.day) for s in sessions] == [
        ("A2a-instance1", 2, "marble", ""),
        ("B1m-instance1", 1, "marble", ""),
        ("B1m-instance2", 1, "marble", ""),
    ]
    assert (
        ACTIVITIES[1] == "ANSWERING_PHONE"
        and ACTIVITIES[13] == "WATCHING_TV"
        and ACTIVITIES[TRANSITION] == "TRANSITION"
    )
    assert sessions[0].unscored == {TRANSITION}
    assert list(sessions[0].labels) == list(range(1, 14))
    assert len(SENSORS) == 16
    assert SENSORS["P1"][:2] == ("dining room", "dining-room chair") and SENSORS["P2"][1] == "office chair"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_times_are_milans_whatever_the_machines_zone(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        events = load("marble", FIXTURE).sessions[0].events
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "Asia/Tokyo"
    assert events[0].time == datetime(2019, 2, 12, 20, 33, 20)
    assert events[2].time == datetime(2019, 2, 12, 20, 33, 30, 500_000)
    assert events[0].time.tzinfo is None


def test_summer_time(tmp_path):
    folder = tmp_path / "A1a" / "instance1"
    folder.mkdir(parents=True)
    (folder / "environmental.csv").write_bytes(HEADER + b'R1,"ON",1531562400123,"200"\n')
    assert load("marble", tmp_path).sessions[0].events[0].time == datetime(2018, 7, 14, 12, 0, 0, 123_000)


def test_locations_on_request():
    assert all(e.sensor != "presence" for s in load("marble", FIXTURE).sessions for e in s.events)
    loaded = load("marble", FIXTURE, {"locations": True})
    seen = [(e.text, e.residents) for e in loaded.sessions[0].events if e.sensor == "presence"]
    assert seen == [("medicine area presence ENTERED", ("21",)), ("medicine area presence LEFT", ("21",))]
    assert "A2a/instance1/subject-21/locations.csv" in {note.file for note in loaded.report.refused}
    assert len(loaded.sessions[0].events) == 12


def test_outer_folders_are_found(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "MARBLE" / "dataset")
    assert load("marble", tmp_path).sessions == load("marble", FIXTURE).sessions
    assert load("marble", tmp_path / "MARBLE").sessions == load("marble", FIXTURE).sessions


def test_missing_files(tmp_path):
    shutil.copytree(FIXTURE / "B1m", tmp_path / "B1m")
    (tmp_path / "B1m" / "instance1" / "subject-23" / "labels.csv").unlink()
    loaded = load("marble", tmp_path)
    assert _names(loaded.sessions[0]) == [None, None]
    assert _names(loaded.sessions[1]) == ["WATCHING_TV", "WATCHING_TV"]
    assert [note.file for note in loaded.report.mended] == ["B1m/instance1/subject-23/labels.csv"]
    (tmp_path / "B1m" / "instance2" / "environmental.csv").unlink()
    with pytest.raises(DataError, match=r"environmental.csv is missing in .*instance2.*llmhar data add marble FILE"):
        load("marble", tmp_path)
    with pytest.raises(DataError, match=r"<scenario>/instance<N>/environmental.csv is missing"):
        load("marble", tmp_path / "B1m" / "instance1")


def test_split_by_scenario(tmp_path):
    for scenario, n in {"A1a": 1, "B1a": 2, "C1a": 3, "D1a": 4}.items():
        for i in range(1, n + 1):
            folder = tmp_path / scenario / f"instance{i}"
            folder.mkdir(parents=True)
            (folder / "environmental.csv").write_bytes(HEADER + b'R1,"ON",1531562400123,"200"\n')
    sessions = load("marble", tmp_path).sessions
    assert split("marble", sessions[::-1]) == (
        ["B1a-instance1", "C1a-instance1", "C1a-instance2", "D1a-instance1", "D1a-instance2"],
        ["A1a-instance1", "B1a-instance2", "C1a-instance3", "D1a-instance3", "D1a-instance4"],
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MARBLE instance is not beside this repository")
def test_the_real_instance():
    loaded = load("marble", REAL)
    (session,) = loaded.sessions
    assert (session.session_id, session.n_residents, len(session.events)) == ("A1a-instance1", 1, 24)
    assert sum(e.sensor.startswith("phone") for e in session.events) == 2
    assert {e.residents for e in session.events} == {("200",)}
    assert loaded.report.refused == loaded.report.mended == []
    assert loaded.report.rows_read == 22 + 2 + 15
    assert session.events[0].time == datetime(2018, 11, 14, 14, 58, 14, 445_000)
    assert _names(session) == [
        "TRANSITION",
        *["PREPARING_COLD_MEAL"] * 6,
        *["SETTING_UP_TABLE"] * 3,
        *["TRANSITION"] * 2,
        *["TAKING_MEDICINES"] * 3,
        *["MAKING_PHONE_CALL"] * 2,
        "TRANSITION",
        *["CLEARING_TABLE"] * 4,
        "USING_PC",
        "TRANSITION",
    ]
    assert split("marble", loaded.sessions) == ([], ["A1a-instance1"])


INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 9)), max_size=12).map(
    lambda rows: [(start, start + length, label) for start, length, label in rows]
)


@settings(max_examples=300, deadline=None)
@given(INTERVALS, st.integers(-10, 110), st.integers(0, 20))
def test_intervals_equal_a_plain_search(rows, t, within):
    inside = [(start, i, label) for i, (start, end, label) in enumerate(rows) if start <= t <= end]
    expected = max(inside)[2] if inside else None
    found = Intervals(rows)
    assert found.at(t) == expected
    if inside:
        assert found.near(t, within) == expected
        return
    gaps = [(t - end if end < t else start - t, end > t, label) for start, end, label in rows]
    nearest = [gap for gap in gaps if gap[0] <= within and gap[:2] == min(gaps)[:2]]
    assert found.near(t, within) in ({label for *_, label in nearest} or {None})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=150), st.binary(max_size=80).map(lambda b: HEADER + b'R1,"ON",1531562400123,"2"\n' + b)
    )
)
def test_any_bytes_give_sessions_or_a_data_error(tmp_path, content):
    for name in ("environmental.csv", "subject-23/labels.csv", "subject-23/smartphone.csv", "subject-23/locations.csv"):
        shutil.rmtree(tmp_path / "B1m", ignore_errors=True)
        shutil.copytree(FIXTURE / "B1m", tmp_path / "B1m")
        (tmp_path / "B1m" / "instance1" / name).write_bytes(content)
        try:
            assert isinstance(load("marble", tmp_path, {"locations": True}), Loaded)
        except DataError as error:
            assert str(error)


def instance(folder, rows, labels=None):
    """One instance of one subject, "2", who is never outside a label of its own."""
    own = folder / "A1a" / "instance1"
    (own / "subject-2").mkdir(parents=True, exist_ok=True)
    (own / "environmental.csv").write_bytes(HEADER + rows)
    (own / "subject-2" / "labels.csv").write_bytes(b"act,ts_start,ts_end\n" + (labels or b"EATING,0,99999999999999\n"))
    return folder


def test_times_with_a_point_are_milliseconds(tmp_path):
    folder = instance(tmp_path, b"R1,ON,1576490400000.0,2\n", b"COOKING,1576490400000.0,1576490400000.00\n")
    loaded = load("marble", folder)
    assert loaded.sessions[0].events[0].time == datetime(2019, 12, 16, 11, 0)
    assert _names(loaded.sessions[0]) == ["COOKING"] and loaded.report.refused == []
    refused = load("marble", instance(tmp_path, b"R1,ON,1576490400000,2\nR1,ON,1576490400000.5,2\n")).report.refused
    assert [note[1:] for note in refused] == [(3, "time '1576490400000.5' is not UNIX milliseconds")]


def test_seconds_are_refused_and_never_read_as_1970(tmp_path):
    for seconds in (b"1576490400", b"1576490400.0", b"1576490400.123"):
        shown = seconds.decode()
        with pytest.raises(
            DataError, match=rf"environmental.csv: times such as '{shown}' are UNIX seconds.*ts by 1000"
        ):
            load("marble", instance(tmp_path, b"R1,ON,%s,2\n" % seconds))
        with pytest.raises(DataError, match=rf"labels.csv: times such as '{shown}' .* ts_start and ts_end by 1000"):
            load("marble", instance(tmp_path, b"R1,ON,1576490400000,2\n", b"EATING,%s,%s\n" % (seconds, seconds)))
    stray = b"R1,ON,1576490400000,2\nR1,ON,1576490401,2\nR1,ON,1576490402000,2\n"
    loaded = load("marble", instance(tmp_path, stray))
    assert [note[1:] for note in loaded.report.refused] == [(3, "time '1576490401' is UNIX seconds, not milliseconds")]
    assert len(loaded.sessions[0].events) == 2


def test_the_hour_that_the_clock_shows_twice_is_noted(tmp_path):
    first = 1540684800_000  # 2018-10-28 02:00 in Milan, in summer time
    rows = b"".join(b"R1,ON,%d,2\n" % (first + minutes * 60_000) for minutes in (-10, 30, 90, 119, 130))
    loaded = load("marble", instance(tmp_path, rows))
    assert [f"{event.time:%H:%M}" for event in loaded.sessions[0].events] == [
        "01:50",
        "02:30",
        "02:30",
        "02:59",
        "03:10",
    ]
    assert all(event.time.fold == 0 for event in loaded.sessions[0].events)
    (note,) = loaded.report.mended
    assert note.file == "A1a/instance1/environmental.csv" and "2 events lie in the second pass" in note.reason
    assert load("marble", instance(tmp_path, b"R1,ON,%d,2\n" % (first + 60_000))).report.mended == []


def test_latest_time_that_is_read(tmp_path):
    folder = tmp_path / "A1a" / "instance1"
    folder.mkdir(parents=True)
    (folder / "environmental.csv").write_bytes(HEADER + b"R1,ON,99999999999999,2\nR1,ON,0,2\nR1,ON,999999999999999,2\n")
    loaded = load("marble", tmp_path)
    assert loaded.sessions[0].events[0].time == datetime(1970, 1, 1) + timedelta(hours=1)
    assert [note.line for note in loaded.report.refused] == [4]
