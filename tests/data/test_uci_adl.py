"""The UCI ADL loader on made-up rows, and on the real files where they lie beside the repository."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data.registry import DataError, Loaded, RowNote, load, split
from llmhar.data.uci_adl import ACTIVITIES
from tests.timing import quiet_seconds

REAL = Path(__file__).parents[3] / "shared" / "data" / "ordonez"
real_files = pytest.mark.skipif(not REAL.is_dir(), reason="the real UCI ADL files are not beside this repository")
SENSORS_HEAD = "Start time          \tEnd time            \tLocation\tType\t\tPlace\r\n---\t---\t---\t---\t---\r\n"
ADLS_HEAD = "Start time          \tEnd time            \tActivity\t\r\n--------\t--------\t--------\t\r\n"


@pytest.fixture
def home_a(tmp_path):
    def make(sensors, adls):
        for name, head, rows in (("Sensors", SENSORS_HEAD, sensors), ("ADLs", ADLS_HEAD, adls)):
            content = rows if isinstance(rows, bytes) else (head + rows).encode("latin-1")
            (tmp_path / f"OrdonezA_{name}.txt").write_bytes(content)
        return tmp_path

    return make


@pytest.fixture(scope="module")
def real():
    return load("uci_adl", REAL)


@real_files
def test_real_events(real):
    events = {h: [e for s in real.sessions if s.home == h for e in s.events] for h in ("uci_adl_a", "uci_adl_b")}
    assert {h: len(e) for h, e in events.items()} == {"uci_adl_a": 818, "uci_adl_b": 4668}
    assert {h: sum(x.activity_id is None for x in e) for h, e in events.items()} == {"uci_adl_a": 68, "uci_adl_b": 1687}
    assert (real.report.n_events, real.report.n_unlabelled) == (5486, 1755)
    assert real.report.rows_read == 409 + 2334 + 248 + 493
    places = Counter((e.room, e.sensor) for e in events["uci_adl_b"])
    assert places["living room", "door"] == 2 * 814
    assert places["kitchen", "door"] == 2 * 558
    assert places["entrance", "main door"] == 2 * 78
    assert len(places) == 12
    assert {e.state for e in events["uci_adl_b"] if e.sensor in ("fridge", "main door")} == {"OPENED", "CLOSED"}
    assert {e.state for e in events["uci_adl_b"] if e.sensor == "door"} == {
        "turned ON",
        "turned OFF",
    }  # a PIR, no contact


@real_files
def test_real_faults(real):
    assert real.report.refused == [
        RowNote("OrdonezA_ADLs.txt", 72, "ends before it starts (2011-12-01 19:28:51 -> 2011-12-01 16:29:59)"),
        RowNote("OrdonezA_ADLs.txt", 81, "ends before it starts (2011-12-02 12:20:41 -> 2011-12-01 10:20:59)"),
        RowNote("OrdonezA_ADLs.txt", 83, "ends before it starts (2011-12-02 12:27:47 -> 2011-12-01 11:35:49)"),
    ]
    assert [(note.file, note.line) for note in real.report.mended] == [
        ("OrdonezB_Sensors.txt", line) for line in (327, 1577, 2067, 2143)
    ]
    assert real.report.mended[0].reason == "out of order: 2012-11-14 12:54:07 follows 2012-11-14 12:54:27; sorted"


@real_files
def test_real_days(real):
    ids = [s.session_id for s in real.sessions]
    assert (ids[0], ids[14], ids[15], ids[-1]) == ("A-2011-11-28", "A-2011-12-12", "B-2012-11-11", "B-2012-12-03")
    assert len(ids) == 15 + 23 == len(set(ids))
    assert {s.n_residents for s in real.sessions} == {1}
    days = {s.session_id: s.day for s in real.sessions}
    assert (days["A-2011-12-02"], days["A-2011-12-03"]) == ("weekday", "weekend")  # Friday, Saturday
    for session in real.sessions:
        assert {e.time.date().isoformat() for e in session.events} == {session.session_id[2:]}
        assert [e.event_id for e in session.events] == list(range(len(session.events)))
        assert list(session.events) == sorted(session.events, key=lambda e: e.time)


@real_files
def test_real_split(real):
    train, test = split("uci_adl", real.sessions)
    assert [i for i in test if i[0] == "A"] == [f"A-2011-12-{d:02d}" for d in (8, 9, 10, 11, 12)]
    assert (len(train), len(test)) == (10 + 15, 5 + 8)
    assert max(i for i in train if i[0] == "B") < min(i for i in test if i[0] == "B")


@real_files
def test_one_home(real):
    only_b = load("uci_adl", REAL, {"home": "B"})
    assert only_b.sessions == [s for s in real.sessions if s.home == "uci_adl_b"]
    assert only_b.report.refused == []


def test_activities_are_fixed():
    assert ACTIVITIES == {
        0: "Breakfast",
        1: "Dinner",
        2: "Grooming",
        3: "Leaving",
        4: "Lunch",
        5: "Showering",
        6: "Sleeping",
        7: "Snack",
        8: "Spare_Time/TV",
        9: "Toileting",
    }


def test_intervals_that_overlap_touch_and_leave_gaps(home_a):
    folder = home_a(
        "2011-11-28 10:00:00\t\t2011-11-28 10:05:00\tBed \t\tPressure\tBedroom\t\t\r\n"
        "2011-11-28 10:10:00\t2011-11-28 10:20:00\tFridge\tMagnetic\tKitchen\r\n"
        "2011-11-28 10:21:00\t2011-11-29 00:00:00\tSeat\tPressure\tLiving",  # no newline at the end
        "2011-11-28 10:00:00\t2011-11-28 10:20:00\tSleeping\r\n"
        "2011-11-28 10:05:00\t2011-11-28 10:10:00\t \tSnack\t\r\n",
    )
    loaded = load("uci_adl", folder, {"home": "A"})
    assert [(s.session_id, len(s.events)) for s in loaded.sessions] == [("A-2011-11-28", 5), ("A-2011-11-29", 1)]
    first = loaded.sessions[0]
    assert [(e.text, e.activity_id) for e in first.events] == [
        ("bedroom bed turned ON", 6),
        ("bedroom bed turned OFF", 7),  # both hold it; Snack started last
        ("kitchen fridge OPENED", 7),
        ("kitchen fridge CLOSED", 6),
        ("living room seat turned ON", None),
    ]
    assert loaded.sessions[1].events[0].time == datetime(2011, 11, 29)
    assert loaded.report.n_unlabelled == 2


def test_bad_rows_are_refused_by_line(home_a):
    folder = home_a(
        "2011-11-28 10:00:00 2011-11-28 10:05:00 Bed Pressure Bedroom\n"
        "\n"
        "2011-02-30 10:00:00 2011-11-28 10:05:00 Bed Pressure Bedroom\n"
        "2011-11-28 10:00 2011-11-28 10:05:00 Bed Pressure Bedroom\n"
        "2011-11-28 10:00:00 2011-11-28 10:05:00 Bed Pressure\n"
        "2011-11-28 10:00:00 2011-11-28 10:05:00 Bed Pressure Bed room\n"
        "2011-11-28 10:00:00 2011-11-28 09:05:00 Bed Pressure Bedroom\n",
        "2011-11-28 10:00:00 2011-11-28 10:05:00 Juggling\n",
    )
    report = load("uci_adl", folder, {"home": "A"}).report
    assert [(note.file, note.line, note.reason) for note in report.refused] == [
        ("OrdonezA_ADLs.txt", 3, "unknown activity 'Juggling'"),
        ("OrdonezA_Sensors.txt", 5, "time '2011-02-30 10:00:00' is not YYYY-MM-DD HH:MM:SS"),
        ("OrdonezA_Sensors.txt", 6, "time '2011-11-28 10:00' is not YYYY-MM-DD HH:MM:SS"),
        ("OrdonezA_Sensors.txt", 7, "too few fields: 6 for 7"),
        ("OrdonezA_Sensors.txt", 8, "too many fields: 8 for 7"),
        ("OrdonezA_Sensors.txt", 9, "ends before it starts (2011-11-28 10:00:00 -> 2011-11-28 09:05:00)"),
    ]
    assert (report.rows_read, report.n_events) == (7, 2)


def test_missing_home_and_unknown_home(home_a):
    folder = home_a("2011-11-28 10:00:00 2011-11-28 10:05:00 Bed Pressure Bedroom\n", "")
    (folder / "OrdonezB_Sensors.txt").unlink(missing_ok=True)
    loaded = load("uci_adl", folder)  # one home alone is loaded, and the books say that the other is missing
    assert {session.home for session in loaded.sessions} == {"uci_adl_a"}
    assert loaded.report.refused[-1] == ("OrdonezB_Sensors.txt", 0, "missing: home B left out")
    with pytest.raises(DataError, match="no home 'C': choose A, B or both"):
        load("uci_adl", folder, {"home": "C"})
    with pytest.raises(DataError, match=r"OrdonezB_Sensors.txt is missing"):
        load("uci_adl", folder, {"home": "B"})


@pytest.mark.parametrize("head", ["", SENSORS_HEAD])
def test_a_byte_order_mark_costs_no_row(home_a, head):
    rows = head + "2011-11-28 10:00:00\t2011-11-28 10:05:00\tCaf\xe9tera\tElectric\tKitchen\r\n"
    adls = "2011-11-28 10:00:00\t2011-11-28 10:05:00\tBreakfast\r\n".encode("utf-8-sig")
    (session,) = load("uci_adl", home_a(rows.encode("utf-8-sig"), adls), {"home": "A"}).sessions
    assert [(event.sensor, event.activity_id) for event in session.events] == [("caf\xe9tera", 0)] * 2


def test_other_marks_between_fields_are_named(home_a):
    row = "2011-11-28 10:00:00;2011-11-28 10:05:00;Bed;Pressure;Bedroom\n"
    with pytest.raises(DataError, match="too few fields: 3 for 7; parted by ';', not by tabs"):
        load("uci_adl", home_a(row, ""), {"home": "A"})


def test_latin_1_is_accepted_and_utf_16_is_not(home_a):
    row = "2011-11-28 10:00:00 2011-11-28 10:05:00 Caf\xe9tera Electric Kitchen\n"
    assert load("uci_adl", home_a(row, ""), {"home": "A"}).sessions[0].events[0].sensor == "caf\xe9tera"
    with pytest.raises(DataError, match="line 1: NUL byte; save the file as plain UTF-8"):
        load("uci_adl", home_a(row.encode("utf-16"), ""), {"home": "A"})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.lists(
                st.sampled_from(
                    ["2011-11-28", "9999-12-31", "0001-01-01", "2011-W48-1", "10:00:00", "10:00+01", "Bed", "\t"]
                ),
                max_size=8,
            ).map(" ".join),
            max_size=8,
        ).map(lambda rows: "\r\n".join(rows).encode()),
    )
)
def test_any_bytes_give_sessions_or_a_data_error(home_a, content):
    good = "0001-01-01 00:00:00 9999-12-31 23:59:59 Bed Pressure Bedroom\n"
    for sensors, adls in ((good, content), (content, ""), (good.encode() + content, "")):
        try:
            assert isinstance(load("uci_adl", home_a(sensors, adls), {"home": "A"}), Loaded)
        except DataError as error:
            assert str(error)


def test_fifty_thousand_events_a_second(home_a):
    clock = [datetime(2011, 11, 28) + timedelta(seconds=30 * i) for i in range(20_001)]
    sensors = "".join(f"{a}\t\t{b}\tBed\t\tPressure\tBedroom\r\n" for a, b in pairwise(clock))
    adls = "".join(f"{a}\t{b}\tSleeping\r\n" for a, b in zip(clock, clock[5:]))  # five overlap everywhere
    folder = home_a(sensors, adls)
    assert load("uci_adl", folder, {"home": "A"}).report.n_events == 40_000
    seconds = quiet_seconds(lambda: load("uci_adl", folder, {"home": "A"}), runs=2)
    assert seconds < 40_000 / 50_000  # measured 250k a second
