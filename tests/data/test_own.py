"""A user's own home: files of many shapes, home.yaml that keeps edits, and everything that a data set is good for.

All files are made up here."""

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask.engines.rules import home as rules
from llmhar.ask.task import prepare
from llmhar.cli import app
from llmhar.data import registry
from llmhar.data.events import Windowing
from llmhar.data.load_report import DataError, WrongCall
from llmhar.data.own import files, hass, make, times, words
from llmhar.data.own.files import Wanted
from llmhar.data.own.make import Plan
from llmhar.distill import courses
from llmhar.records import Request
from llmhar.run.jobs import plan_jobs
from llmhar.settings import SettingsError
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import PromptForm

EXAMPLES = Path(__file__).parents[2] / "params" / "examples"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "Europe/Paris")
    return tmp_path


def new(tmp_path, content, *, name="flat", file="in.csv", labels=None, columns=None, **plan):
    """Make a home of one file's content; returns what was made."""
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / file).write_bytes(content)
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
        plan["labels"] = [tmp_path / "labels.csv"]
    wanted = Wanted(columns or {}, plan.pop("day_first", None), hass=plan.pop("hass", False))
    return make.make(name, [tmp_path / file], Plan(wanted, **plan))


def texts(made):
    """All events as "HH:MM:SS text activity"."""
    return [
        f"{e.time:%H:%M:%S} {e.text}" + (f" = {s.activities[e.activity_id]}" if e.activity_id is not None else "")
        for s in made.loaded.sessions
        for e in s.events
    ]


def home_yaml(name="flat"):
    return yaml.safe_load((paths.data() / name / "home.yaml").read_text())


PLAIN = [
    ("2026-03-02 08:00:00", "fridge door", "open", "kitchen", "Cooking"),
    ("2026-03-02 08:00:09", "fridge door", "closed", "kitchen", "Cooking"),
    ("2026-03-02 21:00:00", "bed", "on", "bedroom", "Sleeping"),
]
EXPECTED = [
    "08:00:00 kitchen fridge door OPENED = Cooking",
    "08:00:09 kitchen fridge door CLOSED = Cooking",
    "21:00:00 bedroom bed turned ON = Sleeping",
]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_any_delimiter_line_end_and_encoding(data, mark, end, encoding):
    lines = [mark.join(("time", "sensor", "state", "room", "activity")), *map(mark.join, PLAIN)]
    lines.append(mark.join(("2026-03-02 21:30:00", "café", "on", "kitchen", "")))
    made = new(data, end.join([*lines, ""]).encode(encoding))
    assert texts(made) == [*EXPECTED, "21:30:00 kitchen café turned ON"]
    said = [note.reason for note in made.loaded.report.mended]
    assert said == (["not UTF-8: the file is read as Latin-1"] if encoding == "latin-1" else [])
    assert made.loaded.report.refused == [] and made.loaded.report.n_unaccounted == 0


@pytest.mark.parametrize(
    "header",
    [
        "Timestamp,Sensor_ID,Value,Location,Label",
        "Date Time,Item Name,Message,Place,Annotation",
        "last_changed,device,status,area,task",
        '"datetime","name","new_state","RoomName","Activity"',
    ],
)
def test_columns_are_known_by_usual_names(data, header):
    assert texts(new(data, "\n".join([header, *map(",".join, PLAIN)]))) == EXPECTED


def test_date_and_clock_in_two_columns(data):
    rows = [",".join((t[:10], t[11:], *rest)) for t, *rest in PLAIN]
    assert texts(new(data, "\n".join(["date,time,sensor,state,room,activity", *rows]))) == EXPECTED


def test_columns_that_a_user_names_win(data):
    content = "\n".join(["a,b,c,d,e", *map(",".join, PLAIN)])
    with pytest.raises(DataError) as error:
        new(data, content)
    assert all(part in str(error.value) for part in ("in.csv", "'a', 'b', 'c', 'd', 'e'", "--columns time=COLUMN"))
    assert not (paths.data() / "flat").exists()
    columns = {"time": "a", "sensor": "B", "state": "3", "room": "d", "activity": "e"}
    assert texts(new(data, content, columns=columns)) == EXPECTED
    with pytest.raises(WrongCall, match="unknown 'when'"):
        new(data, content, columns={"when": "a"})
    with pytest.raises(DataError, match="no column 'nosuch'"):
        new(data, content, columns={**columns, "room": "nosuch"})


def test_a_file_without_header(data):
    made = new(data, "\n".join(map(";".join, [(t, s, state, activity) for t, s, state, _, activity in PLAIN])))
    assert texts(made) == EXPECTED  # the rooms by their things
    assert "no header: columns are taken as time 1, sensor 2, state 3" in made.loaded.report.mended[0].reason
    two = "\n".join(",".join((t[:10], t[11:], s, state)) for t, s, state, *_ in PLAIN)
    assert len(texts(new(data, two, name="two"))) == 3


def test_lines_above_the_header_and_headers_within(data):
    lines = [
        "sep=,",
        "",
        "export of 2026",
        "time,sensor,state",
        "2026-03-02 08:00:00,bed,on",
        "time,sensor,state",
        "2026-03-02 09:00:00,bed,off",
    ]
    made = new(data, "\n".join(lines))
    assert len(texts(made)) == 2
    assert {(d.line, d.reason) for d in made.loaded.report.dropped} == {
        (1, "above the header"),
        (6, "the header again"),
    }


def test_parquet_of_any_types(data):
    table = pd.DataFrame(PLAIN, columns=["time", "sensor", "state", "room", "activity"])
    for name, stamps in {
        "text": table["time"],
        "naive": pd.to_datetime(table["time"]),
        "zoned": pd.to_datetime(table["time"]).dt.tz_localize("Europe/Paris"),
        "utc": pd.to_datetime(table["time"]).dt.tz_localize("Europe/Paris").dt.tz_convert("UTC"),
        "epoch": pd.to_datetime(table["time"]).dt.tz_localize("Europe/Paris").astype("int64"),
    }.items():
        (data / "x").mkdir(exist_ok=True)
        table.assign(time=stamps, state=["1", "0", "1"] if name == "epoch" else table["state"]).to_parquet(
            data / "in.pq"
        )
        made = make.make(name, [data / "in.pq"], Plan())
        assert [text[:8] for text in texts(made)] == [text[:8] for text in EXPECTED], name
    boolean = table.assign(state=[True, False, True], room=None)
    boolean.to_parquet(data / "bool.parquet")
    assert texts(make.make("bool", [data / "bool.parquet"], Plan()))[0] == EXPECTED[0]


def test_activations_are_two_events(data):
    content = (
        "start;end;sensor;room\n"
        "2026-03-02 08:00:00;2026-03-02 08:00:09;fridge door;kitchen\n"
        "2026-03-02 21:00:00;2026-03-02 23:59:59;bed;\n"
        "2026-03-02 09:00:00;2026-03-02 08:00:00;bed;\n"
        "2026-03-02 07:00:00;;kettle;kitchen\n"
    )
    made = new(data, content)
    assert texts(made) == [
        "07:00:00 kitchen kettle turned ON",
        "08:00:00 kitchen fridge door OPENED",
        "08:00:09 kitchen fridge door CLOSED",
        "21:00:00 bedroom bed turned ON",
        "23:59:59 bedroom bed turned OFF",
    ]
    assert [note.reason for note in made.loaded.report.refused] == [
        "ends before it starts (2026-03-02 09:00:00 -> 2026-03-02 08:00:00)"
    ]
    assert ("in.csv", 5, "no end: its beginning alone is an event") in made.loaded.report.mended
    assert made.loaded.report.n_unaccounted == 0


def test_a_column_that_is_no_time_is_an_error_with_reasons(data):
    with pytest.raises(DataError) as error:
        rows = ["yesterday,bed,on", "07:00:00,bed,on", "2026-03-02,bed,on", "2026-03-02 08:00,bed,unavailable"]
        new(data, "\n".join(["time,sensor,state", *rows]))
    assert "in.csv: no sensor event in 4 rows: 3: time '…' is no date with a time of day" in str(error.value)
    assert "1: state 'unavailable': nothing is known" in str(error.value) and not (paths.data() / "flat").exists()
    with pytest.raises(DataError, match="no row below the header"):
        new(data, "time,sensor,state\n")
    with pytest.raises(DataError, match="is not there"):
        make.make("flat", [data / "nosuch.csv"], Plan())
    for content, said in (
        (b"PK\x03\x04 a workbook", "unpack it, or save the table as CSV"),
        (b"PAR1 broken", "Parquet"),
        (b"SQLite format 3\0 broken", "copy the file again"),
        (b"", "cannot tell which column"),
        (b"\0" * 99, "cannot tell which column"),
    ):
        with pytest.raises(DataError, match=said):
            new(data, content)


TIMES = [
    ("2026-10-25T02:30:00.123456+02:00", "2026-10-25T02:30:00.123456+02:00"),
    ("2026-03-02 08:00", "2026-03-02 08:00"),
    ("2026-03-02T08:00:00Z", "2026-03-02T08:00:00+00:00"),
    ("2026-03-02 08:00:00 UTC", "2026-03-02 08:00:00+00:00"),
    ("2026-03-02 08:00:00 +0100", "2026-03-02 08:00:00+0100"),
    ("2026-03-02T08:00:00+01:00[Europe/Paris]", "2026-03-02T08:00:00+01:00"),
    ("2026-03-02 08:00:00,250", "2026-03-02 08:00:00,250"),
    ("1772438400", "2026-03-02T08:00:00+00:00"),
    ("1772438400.25", "2026-03-02T08:00:00.250000+00:00"),
    ("1772438400250", "2026-03-02T08:00:00.250000+00:00"),
    ("1772438400250000", "2026-03-02T08:00:00.250000+00:00"),
    ("1772438400250000999", "2026-03-02T08:00:00.250000+00:00"),
    ("25/12/2026 08:00:00", "2026-12-25T08:00:00"),
    ("2.3.2026 08:00", "2026-03-02T08:00:00"),
    ("2026/03/02 08:00:00", "2026-03-02T08:00:00"),
    ("25-Feb-2008 00:20:14", "2008-02-25T00:20:14"),
    ("Mar 2, 2026 8:05 PM", "2026-03-02T20:05:00"),
    ("2 March 2026, 12:05:00 am", "2026-03-02T00:05:00"),
]


@pytest.mark.parametrize(("text", "iso"), TIMES)
def test_times_are_read(text, iso):
    assert times.read_time(text, day_first=True) == iso
    datetime.fromisoformat(iso)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "08:00:00",
        "2026-03-02",
        "2026-02-30 08:00",
        "0226-03-02 08:00:00",
        "2026-03-02 25:00:00",
        "12",
        "17724384",
        "32/01/2026 08:00",
        "1/2/26 08:00",
        "2026-03-02 13:00 PM",
        "nan",
        "9" * 40,
        "2026-03-02 08:00:00+99:00",
    ],
)
def test_times_that_cannot_be_read_say_so(text):
    with pytest.raises(times.BadTime):
        times.read_time(text, day_first=True)


def test_day_and_month(data):
    def rows(*days):
        return "\n".join(["time,sensor,state", *(f"{day} 08:00:00,bed,on" for day in days)])

    assert new(data, rows("02/03/2026", "13/03/2026"), name="a").loaded.sessions[0].session_id == "2026-03-02"
    assert new(data, rows("02/03/2026", "02/13/2026"), name="b").loaded.sessions[0].session_id == "2026-02-03"
    for days in (("02/03/2026", "04/03/2026"), ("13/03/2026", "02/13/2026")):
        with pytest.raises(DataError, match=r"in\.csv: dates like '02/03/2026|--day-first or --month-first"):
            new(data, rows(*days))
    assert new(data, rows("02/03/2026"), day_first=True).loaded.sessions[0].session_id == "2026-03-02"
    assert new(data, rows("02/03/2026"), day_first=False).loaded.sessions[0].session_id == "2026-02-03"


def test_the_clock_is_kept_as_written_and_utc_is_shown_in_the_homes_zone(data):
    lines = [
        "2026-07-01T23:30:00+02:00,a,on",
        "2026-07-01T23:30:00,b,on",
        "2026-07-01T23:30:00-05:00,c,on",
        "2026-07-01T23:30:00Z,d,on",
        "2026-07-02T00:00:00+00:00,e,on",
    ]
    made = new(data, "\n".join(["time,sensor,state", *lines]))
    assert {s.session_id: [f"{e.sensor} {e.time:%H:%M}" for e in s.events] for s in made.loaded.sessions} == {
        "2026-07-01": ["a 23:30", "b 23:30", "c 23:30"],
        "2026-07-02": ["d 01:30", "e 02:00"],
    }
    assert home_yaml()["zone"] == "Europe/Paris"
    assert any("shown in Europe/Paris, this machine's zone" in said for said in made.said)
    file = paths.data() / "flat" / "home.yaml"
    file.write_text(
        file.read_text().replace("zone: Europe/Paris", "zone: Asia/Tokyo").replace('"Europe/Paris"', '"Asia/Tokyo"')
    )
    assert [e.time.hour for e in registry.load("flat").sessions[1].events] == [8, 9]
    made = new(data, "time,sensor,state\n2026-07-01T23:30:00Z,d,on", name="york", zone="America/New_York")
    assert made.loaded.sessions[0].events[0].time == datetime(2026, 7, 1, 19, 30)
    with pytest.raises(WrongCall, match="no time zone 'Mars'"):
        new(data, "time,sensor,state\n2026-07-01T23:30:00Z,d,on", name="mars", zone="Mars")


AUTUMN = {
    "utc": ("2026-10-25T00:30:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z", "2026-10-25T02:05:00Z"),
    "offsets": (
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:50:00+02:00",
        "2026-10-25T02:10:00+01:00",
        "2026-10-25T03:05:00+01:00",
    ),
    "naive": ("2026-10-25 02:30:00", "2026-10-25 02:50:00", "2026-10-25 02:10:00", "2026-10-25 03:05:00"),
}


@pytest.mark.parametrize("form", AUTUMN)
def test_the_hour_that_stands_twice(data, form):
    made = new(data, "time,sensor,state\n" + "\n".join(f"{t},bed,{i % 2}" for i, t in enumerate(AUTUMN[form])))
    events = made.loaded.sessions[0].events
    assert [f"{e.time:%H:%M}" for e in events] == ["02:30", "02:50", "02:10", "03:05"]  # in the order of time
    said = [note.reason for note in made.loaded.report.mended]
    assert said == [
        "the clock from 02:00 to 03:00 on 2026-10-25 (Europe/Paris) stands twice: 3 events there, in the "
        "order of time as far as files tell it"
    ]


def test_the_hour_that_is_missing(data):
    made = new(
        data, "time,sensor,state\n2026-03-29 01:59:00,bed,on\n2026-03-29 02:30:00,bed,off\n2026-03-29 03:01:00,bed,on"
    )
    assert [f"{e.time:%H:%M}" for e in made.loaded.sessions[0].events] == ["01:59", "02:30", "03:01"]
    assert [note.reason for note in made.loaded.report.mended] == [
        "there is no clock from 02:00 to 03:00 on 2026-03-29 (Europe/Paris): 1 events bear it, kept as they are written"
    ]


@pytest.mark.parametrize(
    ("on", "off", "said"),
    [
        ("on", "off", ("turned ON", "turned OFF")),
        ("True", "false", ("turned ON", "turned OFF")),
        ("1", "0", ("turned ON", "turned OFF")),
        ("1.0", "0.0", ("turned ON", "turned OFF")),
        ("OPEN", "CLOSE", ("OPENED", "CLOSED")),
        ("opened", "Closed", ("OPENED", "CLOSED")),
        ("unlocked", "locked", ("OPENED", "CLOSED")),
        ("home", "not_home", ("ENTERED", "LEFT")),
        ("present", "absent", ("PRESENT", "ABSENT")),
        ("detected", "clear", ("turned ON", "turned OFF")),
        ("active", "inactive", ("turned ON", "turned OFF")),
        ("turned ON", "turned OFF", ("turned ON", "turned OFF")),
        ("playing", "idle", ("turned ON", "turned OFF")),
    ],
)
def test_states(data, on, off, said):
    made = new(data, f"time,sensor,state\n2026-03-02 08:00:00,thing,{on}\n2026-03-02 08:00:01,thing,{off}\n")
    assert [e.state for e in made.loaded.sessions[0].events] == list(said)


def test_states_that_say_nothing_or_are_strange_are_counted(data):
    words = ["on", "unavailable", "unknown", "", "nan", "heating", "heating", "off"]
    made = new(
        data, "time,sensor,state\n" + "\n".join(f"2026-03-02 08:00:0{i},boiler,{w}" for i, w in enumerate(words))
    )
    report = made.loaded.report
    assert report.n_events == 2 and report.n_unaccounted == 0 and report.rows_read == 8
    assert {(d.reason, d.line, d.rows) for d in report.dropped} == {
        ("state 'unavailable': nothing is known", 3, 1),
        ("state 'unknown': nothing is known", 4, 1),
        ("state '': nothing is known", 5, 1),
        ("state 'nan': nothing is known", 6, 1),
        ("state 'heating' is not understood: say what it means in home.yaml, states", 7, 2),
    }
    file = paths.data() / "flat" / "home.yaml"
    file.write_text(file.read_text().replace("states: {}", "states: {heating: on, off: ignore}"))
    assert [e.state for e in registry.load("flat").sessions[0].events] == ["turned ON"] * 3


NUMBERS = "time,sensor,state\n" + "\n".join(
    f"2026-03-02 08:00:{i:02},kitchen_kettle_power,{w}"
    for i, w in enumerate(["0", "1990,5", "2000", "3.1", "0", "1e3"])
).replace(",5", ".5")


def test_numbers_become_events_by_a_threshold(data):
    with pytest.raises(DataError, match=r"6: numbers of 'kitchen_kettle_power' are no events.*--above SENSOR=NUMBER"):
        new(data, NUMBERS)
    made = new(data, NUMBERS, above={"kitchen_kettle_power": 5})
    assert texts(made) == [
        f"08:00:0{i} kitchen kettle power turned {w}" for i, w in ((0, "OFF"), (1, "ON"), (3, "OFF"), (5, "ON"))
    ]
    assert home_yaml()["sensors"] == {"kitchen_kettle_power": {"room": "kitchen", "name": "kettle power", "above": 5.0}}
    assert made.loaded.report.n_unaccounted == 0
    with pytest.raises(WrongCall, match=r"no new sensor 'nosuch'.*'kitchen_kettle_power'"):
        new(data, NUMBERS, name="other", above={"kitchen_kettle_power": 5, "nosuch": 1})
    both = NUMBERS + "\n2026-03-02 09:00:00,bed,on\n"
    made = new(data, both, name="both")
    assert texts(made) == ["09:00:00 bedroom bed turned ON"] and any("give them `above`" in said for said in made.said)
    file = paths.data() / "both" / "home.yaml"
    assert "# numbers from 0 to 2000: no events without `above`" in file.read_text()
    file.write_text(file.read_text().replace("name: kettle power}", "name: kettle, above: 100}"))
    assert len(registry.load("both").sessions[0].events) == 5


def test_a_log_of_readings_has_its_repeats_dropped_and_a_log_of_events_keeps_them(data):
    readings = [f"2026-03-02 08:{i:02}:00,bed,{'on' if 20 < i < 40 else 'off'}" for i in range(60)]
    made = new(data, "\n".join(["time,sensor,state", *readings]), name="readings")
    assert len(texts(made)) == 3 and home_yaml("readings")["repeats"] == "drop"
    motion = [f"2026-03-02 08:{i:02}:00,hall,on" for i in range(60)]  # never says that nobody moves
    assert len(texts(new(data, "\n".join(["time,sensor,state", *motion]), name="motion"))) == 60
    some = ["on", "on", "off", "on", "off", "off"]
    rows = [f"2026-03-02 08:{i:02}:00,bed,{w}" for i, w in enumerate(some)]
    assert len(texts(new(data, "\n".join(["time,sensor,state", *rows]), name="some"))) == 6


def labelled(made):
    return [(f"{e.time:%H:%M}", s.activities.get(e.activity_id)) for s in made.loaded.sessions for e in s.events]


EVENTS = "time,sensor,state,activity\n" + "\n".join(f"2026-03-02 08:{m:02}:00,s{m % 3},on,%s" for m in range(0, 60, 10))


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("Sleep begin", "Sleep end"),
        ('Sleep="begin"', 'Sleep="end"'),
        ("Sleep_start", "Sleep_stop"),
        ("START:Sleep", "STOP:Sleep"),
    ],
)
def test_begin_and_end_marks(data, begin, end):
    made = new(data, EVENTS % ("", begin, "", "Cook", end, ""))
    assert [a for _, a in labelled(made)] == [None, "Sleep", "Sleep", "Cook", "Sleep", None]
    assert made.loaded.sessions[0].activities == {0: "Cook", 1: "Sleep"} and made.loaded.report.mended == []


def test_marks_without_their_other_half_label_one_event(data):
    made = new(data, EVENTS % ("Cook end", "Sleep begin", "", "Sleep begin", "Sleep end", "Cook begin"))
    assert [a for _, a in labelled(made)] == ["Cook", "Sleep", None, "Sleep", "Sleep", "Cook"]
    assert [(note.line, note.reason) for note in made.loaded.report.mended] == [
        (2, "'Cook' ends without a beginning: it labels its own event alone"),
        (3, "'Sleep' begins and does not end: it labels its own event alone"),
        (7, "'Cook' begins and does not end: it labels its own event alone"),
    ]


def test_a_mark_on_a_row_that_is_no_event_counts(data):
    rows = [
        "2026-03-02 08:00:00,AD1,2.71,Sleep begin",
        "2026-03-02 08:10:00,bed,on,",
        "2026-03-02 08:20:00,AD1,3.5,Sleep end",
        "2026-03-02 08:30:00,bed,off,",
    ]
    assert labelled(new(data, "\n".join(["time,sensor,state,activity", *rows]))) == [
        ("08:10", "Sleep"),
        ("08:30", None),
    ]


def test_labels_as_rows_of_their_own(data):
    rows = [
        "2026-03-02 08:00:00,label,START:Kitchen|Cooking",
        "2026-03-02 08:10:00,hob,on",
        "2026-03-02 08:20:00,label,STOP:Kitchen|Cooking",
        "2026-03-02 08:30:00,hob,off",
    ]
    made = new(data, "\n".join(["Time,ItemName,Value", *rows]))
    assert labelled(made) == [("08:10", "Kitchen|Cooking"), ("08:30", None)] and made.loaded.report.n_unaccounted == 0


def test_names_that_only_look_like_marks_stay(data):
    made = new(data, EVENTS % ("Weekend", "Night start", "Bookend", "", "", ""))
    assert [a for _, a in labelled(made)][:3] == ["Weekend", "Night start", "Bookend"]


INTERVALS = (
    "Start time;End time;Activity;Person\n02/03/2026 08:05:00;13/03/2026 08:00:00;Away;\n"
    "2026-03-02T07:10:00Z;2026-03-02T07:20:00Z;Sleep;anna\n2026-03-02 08:20:00;2026-03-02 08:40:00;TV;bob\n"
    "2026-03-02 09:00:00;2026-03-02 08:40:00;TV;bob\n2026-03-02 09:00:00;;TV;bob\n"
    "2026-03-02 09:00:00;2026-03-02 09:10:00;;\n"
)


def test_labels_as_intervals_of_a_second_file(data):
    made = new(data, EVENTS % (("",) * 6), labels=INTERVALS)
    events = made.loaded.sessions[0].events
    names = made.loaded.sessions[0].activities
    assert names == {0: "Away", 1: "Sleep", 2: "TV"}
    shown = [[(who, names[n]) for who, n in e.pairs] or names.get(e.activity_id) for e in events]
    assert shown[:2] == [None, [("", "Away"), ("anna", "Sleep")]]  # the interval in UTC is 08:10 to 08:20 in Paris
    assert shown[2] == [("", "Away"), ("anna", "Sleep"), ("bob", "TV")] and shown[5] == "Away"
    assert made.loaded.sessions[0].n_residents == 2
    assert [(n.file, n.line, n.reason[:12]) for n in made.loaded.report.refused] == [
        ("labels.csv", 5, "ends before "),
        ("labels.csv", 6, "the interval"),
        ("labels.csv", 7, "no activity"),
    ]
    assert made.loaded.report.n_unaccounted == 0
    with pytest.raises(DataError, match=r"labels.csv: cannot tell.*start, end, activity.*--columns start=COLUMN"):
        new(data, EVENTS % (("",) * 6), labels="a,b\n1,2\n", name="other")
    (data / "labels.csv").write_text("a,b,c\n2026-03-02 08:00:00,2026-03-02 08:30:00,Sleep\n")
    plan = Plan(Wanted({"start": "a", "end": "b", "activity": "c"}), [data / "labels.csv"])
    assert [a for _, a in labelled(make.make("third", [data / "in.csv"], plan))] == ["Sleep"] * 4 + [None] * 2


def test_residents_and_joint_events(data):
    rows = [
        "08:00,bed,on,anna,Sleep",
        '08:01,bed,off,"anna, bob",Sleep',
        "08:02,tv,on,anna & bob,TV;Read",
        "08:03,tv,off,,TV",
    ]
    made = new(data, "\n".join(["time,sensor,state,person,activity", *("2026-03-02 " + row for row in rows)]))
    events = made.loaded.sessions[0].events
    assert [e.residents for e in events] == [("anna",), ("anna", "bob"), ("anna", "bob"), ()]
    assert made.loaded.sessions[0].activities == {0: "Read", 1: "Sleep", 2: "TV"}
    assert [e.pairs for e in events] == [(), (("anna", 1), ("bob", 1)), (("anna", 2), ("bob", 0)), ()]
    assert [e.activity_ids for e in events] == [(1,), (1,), (2, 0), (2,)]
    assert made.loaded.sessions[0].n_residents == 2


def test_what_means_not_annotated_is_no_activity_unless_home_yaml_lists_it(data):
    made = new(data, EVENTS % ("Other_Activity", "none", "Cook", "cook", "COOK ", "Cook"))
    assert made.loaded.sessions[0].activities == {0: "Cook"}
    assert [a for _, a in labelled(made)] == [None, None, *["Cook"] * 4] and made.loaded.report.mended == []
    file = paths.data() / "flat" / "home.yaml"
    file.write_text(file.read_text().replace("  Cook: Cook", "  Cook: cooking\n  Other_Activity: other"))
    session = registry.load("flat").sessions[0]
    assert session.activities == {0: "cooking", 1: "other"} and session.events[0].activity_id == 1


HASS = [
    ("binary_sensor.kitchen_fridge_door", "off", 0),
    ("binary_sensor.kitchen_fridge_door", "on", 60),
    ("binary_sensor.kitchen_fridge_door", "on", 70),
    ("binary_sensor.kitchen_fridge_door", "unavailable", 80),
    ("binary_sensor.kitchen_fridge_door", "on", 90),
    ("binary_sensor.kitchen_fridge_door", "off", 100),
    ("light.living_room", "on", 110),
    ("media_player.bedroom_tv", "playing", 120),
    ("sun.sun", "above_horizon", 130),
    ("sensor.plug_power", "12.5", 140),
    ("person.anna", "Work", 150),
    ("person.anna", "home", 160),
    ("device_tracker.phone", "home", 161),
    ("binary_sensor.hub_connectivity", "on", 162),
    ("lock.front_door", "locked", 170),
]
HASS_TEXTS = [
    "01:00:00 kitchen fridge door CLOSED",
    "01:01:00 kitchen fridge door OPENED",
    "01:01:40 kitchen fridge door CLOSED",
    "01:01:50 living room light turned ON",
    "01:02:00 bedroom tv turned ON",
    "01:02:30 anna LEFT",
    "01:02:40 anna ENTERED",
    "01:02:50 entrance front door CLOSED",
]
START = datetime(2026, 3, 2)


def hass_csv():
    return "entity_id,state,last_changed\n" + "\n".join(
        f"{entity},{state},{(START + timedelta(seconds=at)).isoformat()}.000Z" for entity, state, at in sorted(HASS)
    )


def test_home_assistants_history(data):
    made = new(data, hass_csv())
    assert texts(made) == HASS_TEXTS and made.loaded.report.n_unaccounted == 0
    dropped = {d.reason: d.rows for d in made.loaded.report.dropped}
    assert dropped == {
        "state 'unavailable': nothing is known": 1,
        "home.yaml leaves this sensor out": 1,
        "the state that its sensor had: no event": 2,
        "numbers of 'sensor.plug_power' are no events without `above` in home.yaml": 1,
        "entities of Home Assistant's domain 'sun' are not read": 1,
        "entities of Home Assistant's domain 'device_tracker' are not read": 1,
    }
    home = home_yaml()
    assert home["repeats"] == "drop" and list(home["rooms"]) == ["bedroom", "entrance", "kitchen", "living room"]
    assert list(home["activities"]) == list(words.COMMON_ACTIVITIES)
    assert "binary_sensor.hub_connectivity" not in home["sensors"] and "person.anna" in home["sensors"]
    assert any("can be labelled, not scored" in said for said in made.said)


def recorder(path, schema):
    with closing(sqlite3.connect(path)) as db:
        if schema == "new":
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE states_meta (metadata_id INTEGER PRIMARY KEY, entity_id TEXT)")
            db.execute(
                "CREATE TABLE states (state_id INTEGER PRIMARY KEY, entity_id CHAR(0), state TEXT, "
                "last_changed CHAR(0), "
                "last_changed_ts FLOAT, last_updated_ts FLOAT, metadata_id INTEGER)"
            )
            entities = sorted({entity for entity, *_ in HASS})
            db.executemany("INSERT INTO states_meta VALUES (?, ?)", enumerate(entities))
        else:
            db.execute(
                "CREATE TABLE states (state_id INTEGER PRIMARY KEY, domain TEXT, entity_id TEXT, state TEXT, "
                "last_changed DATETIME, last_updated DATETIME)"
            )
        for entity, state, at in HASS:
            time = START + timedelta(seconds=at)
            if schema == "new":
                stamp = (time - datetime(1970, 1, 1)).total_seconds()
                row = (None, None, state, None, None, stamp, entities.index(entity))
            else:
                row = (None, entity.partition(".")[0], entity, state, None, str(time))
            db.execute(f"INSERT INTO states VALUES ({','.join('?' * len(row))})", row)
        db.commit()
        yield


@pytest.mark.parametrize("schema", ["new", "old"])
def test_home_assistants_recorder_is_read_and_never_written(data, schema):
    path = data / "home-assistant_v2.db"
    for _ in recorder(path, schema):  # Home Assistant holds it open: the last rows are in its write-ahead log
        before = {
            file.name: file.read_bytes() for file in data.glob("home-assistant_v2.db*") if file.suffix != ".db-shm"
        }
        made = make.make("flat", [path], Plan())
        assert texts(made) == HASS_TEXTS and made.loaded.report.n_unaccounted == 0
        after = {
            file.name: file.read_bytes() for file in data.glob("home-assistant_v2.db*") if file.suffix != ".db-shm"
        }
        assert after == before and ("home-assistant_v2.db-wal" in before) == (schema == "new")


def test_another_database_is_refused(data):
    with closing(sqlite3.connect(data / "x.db")) as db:
        db.execute("CREATE TABLE t (a)")
        db.commit()
    with pytest.raises(DataError, match="holds no states of Home Assistant"):
        make.make("flat", [data / "x.db"], Plan())


def test_a_view_named_states_is_no_recorder(data):
    """It may have no end: `WITH RECURSIVE` gives as many rows as one reads."""
    with closing(sqlite3.connect(data / "x.db")) as db:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS state_id, 'light.a' AS "
        db.execute(f"CREATE VIEW states AS {endless} entity_id, 'on' AS state, i AS last_updated_ts FROM n")
        db.commit()
    with pytest.raises(DataError, match="holds no states of Home Assistant"):
        make.make("flat", [data / "x.db"], Plan())


def test_a_cut_recorder_is_refused(data):
    path = data / "home-assistant_v2.db"
    for _ in recorder(path, "old"):
        pass
    whole = path.read_bytes()
    assert len(whole) == 2 * 4096
    path.write_bytes(whole[:-4096] + bytes(4096))
    with pytest.raises(DataError, match=r"home-assistant_v2\.db cannot be read .*stop Home Assistant"):
        make.make("flat", [path], Plan())


@pytest.mark.parametrize("n_writes", [2, 100])
def test_a_recorder_that_is_written_meanwhile_is_copied_again(data, monkeypatch, n_writes):
    """Its owner moves the log into the file while it is copied: half of the copy would be old, half new."""
    path = data / "home-assistant_v2.db"
    copy, writes = hass.shutil.copyfile, []

    def copied(source, target):
        copy(source, target)
        if len(writes) < n_writes and str(source).endswith(".db"):
            writes.append(source)
            stamp = (START + timedelta(hours=3, minutes=len(writes)) - datetime(1970, 1, 1)).total_seconds()
            with closing(sqlite3.connect(path)) as db:
                word = ("on", "off")[len(writes) % 2]
                db.execute("INSERT INTO states VALUES (NULL, NULL, ?, NULL, NULL, ?, 1)", (word, stamp))
                db.commit()
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    monkeypatch.setattr(hass.shutil, "copyfile", copied)
    monkeypatch.setattr(hass, "WAIT_S", 0)
    for _ in recorder(path, "new"):
        if n_writes == 100:
            with pytest.raises(DataError, match="is written all the time: stop Home Assistant"):
                list(hass.read_states(path))
            assert len(writes) == hass.TRIES
        else:
            states = list(hass.read_states(path))
            assert len(states) == len(HASS) + 2 and [state[0] for state in states] == sorted(s[0] for s in states)


def week(n=7, activity="Cook"):
    rows = [f"2026-03-{2 + d:02} 08:{m:02}:00,stove,{m % 2},{activity}" for d in range(n) for m in range(12)]
    return "time,sensor,state,activity\n" + "\n".join(rows) + "\n"


def test_running_it_again_keeps_edits(data):
    new(data, week())
    file = paths.data() / "flat" / "home.yaml"
    text = file.read_text()
    edits = {
        "rules: []": 'rules: ["One person lives here."]',
        "split:": "split: 2026-03-04",
        "leave_out: []": "leave_out: [bell]",
        "{room: kitchen, name: stove}": "{room: galley, name: old stove}  # my own word",
        "kitchen: []": "galley: [table, 2 chairs]",
        "  Cook: Cook": "  Cook: cooking # renamed",
    }
    for old, edited in edits.items():
        assert old in text
        text = text.replace(old, edited)
    file.write_text(text)
    again = new(data, week())
    assert file.read_text() == text and "old stove" in texts(again)[0]
    more = week() + "2026-03-20 08:00:00,bathroom_shower,on,Shower\n2026-03-20 08:00:00,bell,on,\n"
    made = new(data, more, file="more.csv")
    after = file.read_text()
    assert [line for line in after.splitlines() if line not in text.splitlines()] == [
        "  bathroom: []",
        "  Shower: Shower",
        "  bathroom_shower: {room: bathroom, name: shower}",
    ]
    assert [line for line in text.splitlines() if line not in after.splitlines()] == []
    home = made.loaded.sessions[0].described
    assert home.rooms == {"galley": ("table", "2 chairs", "old stove"), "bathroom": ("shower",)}
    assert made.loaded.sessions[0].activities == {0: "cooking", 1: "Shower"}
    assert any("84 rows of sensors were replaced by 86" in said for said in made.said)
    # what a user takes out stays out
    file.write_text(
        after.replace("  Shower: Shower\n", "").replace("  bathroom_shower: {room: bathroom, name: shower}\n", "")
    )
    made = new(data, more, file="more.csv")
    assert "Shower" not in file.read_text() and "bathroom_shower" not in file.read_text()
    assert made.loaded.report.mended[-1].reason == "activity 'Shower' is not in home.yaml: kept without a label"
    assert texts(made)[-1] == "08:00:00 bathroom shower turned ON"


@pytest.mark.parametrize(
    "section",
    [
        "activities: [Cook]",
        "activities:\n- Cook",
        "activities:\n  - Cook  # mine",
        "activities: {Cook: Cook}",
        "activities: {Cook: Cook, }",
        "activities: {}",
        "activities: []",
        "activities:",
        "activities:  # nothing yet",
        "activities:\n  Cook: Cook\n\n  # a remark\n\n",
        "activities:\n    Cook:\n        Cook",
        "activities: {\n  Cook: Cook,\n  Nap: Nap\n}  # end",
        "",
        "activities: null",
        "activities: ~ # x",
    ],
)
def test_a_home_file_of_any_form_is_added_to(data, section):
    new(data, week())
    folder = paths.data() / "flat"
    rest = "sensors:\n  stove:\n    room: kitchen\n    name: stove\n"
    (folder / "home.yaml").write_text(f"name: flat\nkind: real\nzone: UTC\nrooms: {{}}\n{section}\n{rest}")
    made = new(data, week() + "2026-03-20 08:00:00,\"a, b: {c}\",on,No\n2026-03-20 08:01:00,x,on,'#1'\n")
    home = home_yaml()
    names = list(home["activities"])
    assert names[-2:] == ["'#1'", "No"] and (names[0] == "Cook") == ("Cook" in section)
    assert home["sensors"]["stove"] == {"room": "kitchen", "name": "stove"} and set(home["sensors"]) == {
        "stove",
        "a, b: {c}",
        "x",
    }
    assert "  # mine" in (folder / "home.yaml").read_text() if "# mine" in section else True
    assert made.loaded.sessions[-1].n_scored == 2


def test_more_events_can_be_added(data):
    new(data, week(2), file="one.csv")
    (data / "two.csv").write_text(week(3))
    made = make.make("flat", [data / "two.csv"], Plan(add=True))
    assert len(made.loaded.sessions) == 3 and len(texts(made)) == 36 and made.loaded.report.n_unaccounted == 0
    assert [(d.file, d.rows, d.reason) for d in made.loaded.report.dropped] == [
        ("two.csv", 24, "a row that the home has already")
    ]
    assert len(texts(make.make("flat", [data / "two.csv"], Plan(add=True)))) == 36
    assert len(texts(make.make("flat", [data / "one.csv"], Plan()))) == 24


def test_only_some_days(data):
    made = new(data, week(), days="2026-03-03..2026-03-05")
    assert [s.session_id for s in made.loaded.sessions] == ["2026-03-03", "2026-03-04", "2026-03-05"]
    assert [(d.rows, d.reason) for d in made.loaded.report.dropped] == [(48, "outside --days 2026-03-03..2026-03-05")]
    assert len(new(data, week(), days="2026-03-07..").loaded.sessions) == 2
    assert len(new(data, week(), days="..2026-03-02").loaded.sessions) == 1
    with pytest.raises(WrongCall, match=r"is no span: write START\.\.END"):
        new(data, week(), days="March")


def test_a_sensor_is_known_by_its_room_where_there_are_several(data):
    rows = ["08:00,door,open,kitchen", "08:01,door,open,bathroom", "08:02,lamp,on,kitchen"]
    made = new(data, "\n".join(["time,sensor,state,room", *("2026-03-02 " + row for row in rows)]))
    assert list(home_yaml()["sensors"]) == ["bathroom/door", "kitchen/door", "lamp"]
    assert [text[9:] for text in texts(made)] == [
        "kitchen door OPENED",
        "bathroom door OPENED",
        "kitchen lamp turned ON",
    ]


@pytest.mark.parametrize(
    ("sensor", "room", "said"),
    [
        ("binary_sensor.kitchen_fridge_door", "", ("kitchen", "fridge door")),
        ("light.kitchen", "", ("kitchen", "light")),
        ("binary_sensor.master_bedroom_motion", "", ("master bedroom", "motion")),
        ("sensor.bedroom_2_lamp", "", ("bedroom 2", "lamp")),
        ("switch.livingroom_tv", "", ("living room", "tv")),
        ("KitchenStove", "", ("kitchen", "stove")),
        ("motion_hall", "", ("hall", "motion")),
        ("LivingRoomAChair", "", ("living room a", "chair")),
        ("binary_sensor.cuisine_frigo", "", ("cuisine", "frigo")),
        ("M013", "", ("", "motion sensor M013")),
        ("D002", "hall", ("hall", "door D002")),
        ("12", "", ("", "sensor 12")),
        ("fridge", "", ("kitchen", "fridge")),
        ("front_door", "", ("entrance", "front door")),
        ("Kitchen Fridge", "kitchen", ("kitchen", "fridge")),
        ("tv", "Living Room", ("living room", "tv")),
        ("person.kitchen", "", ("", "kitchen")),
        ("___", "", ("", "sensor")),
        ("zigbee2mqtt/bathroom/door", "", ("bathroom", "zigbee2mqtt door")),
    ],
)
def test_rooms_and_names_are_guessed(sensor, room, said):
    assert words.spoken_place(sensor, room) == said


def test_names_of_homes(data):
    for name in ("../x", "a/b", "", ".hidden", "a b", "x" * 41, "a:b", "none", "True", "-x", "a.csv"):
        with pytest.raises(WrongCall, match="cannot be a home's name"):
            make.check_name(name, ())
    with pytest.raises(WrongCall, match="mural is the name of a data set"):
        make.check_name("mural", registry.BUILT_IN)
    make.check_name("my_home-2", registry.BUILT_IN)


def test_an_own_home_is_a_data_set_like_any_other(data):
    new(data, week())
    assert (
        "flat" in registry.DATASETS
        and list(registry.DATASETS)[-1] == "flat"
        and len(registry.DATASETS) == len(registry.BUILT_IN) + 1
    )
    entry = registry.dataset("flat")
    assert (entry.kind, entry.homes, entry.is_own) == ("real", ("flat",), True)
    assert registry.split("flat", registry.load("flat").sessions).test == ["2026-03-06", "2026-03-07", "2026-03-08"]
    task = prepare("flat", windowing=Windowing(n=1))
    assert list(task.train) == ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"] and task.kind == "real"
    prompt = task.prompt_of(task.windows[0])
    assert "- kitchen: stove" in prompt.home and "0. Cook" in prompt.labels and prompt.example == ""
    with pytest.raises(DataError, match=r"no data set 'flatt': choose one of mural, .*, flat$"):
        registry.load("flatt")


def test_a_run_may_name_an_own_home(data):
    with pytest.raises(SettingsError, match="dataset: unknown 'flat'"):
        plan_jobs("smoke", ["02"], {"dataset": "flat"}, data)
    new(data, week())
    planned = plan_jobs("smoke", ["02", "04"], {"dataset": "flat", "datasets": "flat"}, data)
    assert [job.spec.params.get("dataset") or job.spec.params["datasets"] for job in planned] == ["flat", ["flat"]]
    assert courses.is_here("flat")
    assert courses.prepare_course("flat", None, PromptForm(), PromptForm("student"), Windowing()).test.windows


def test_a_broken_home_breaks_nothing_else(data):
    new(data, week())
    folder = paths.data() / "flat"
    good = (folder / "home.yaml").read_text()
    for text, said in (
        ("zone: [", "mend the file"),
        (good.replace("Europe/Paris", "Mars/Base"), "zone: .*no time zone 'Mars/Base'"),
        (good + "\nnosuch: 1\n", "nosuch"),
        (good.replace("split:", "split: soon"), "split"),
        (good.replace("name: stove", "nam: stove"), "sensors.stove.name"),
    ):
        (folder / "home.yaml").write_text(text)
        with pytest.raises(DataError, match=said) as error:
            registry.load("flat")
        assert str(folder / "home.yaml") in str(error.value)
        assert {"mural", "flat"} <= set(registry.DATASETS)
        with pytest.raises(DataError):
            new(data, week())
        assert (folder / "home.yaml").read_text() == text
    (folder / "home.yaml").write_text(good)
    (folder / "events.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"events\.parquet"):
        registry.load("flat")
    (folder / "events.parquet").unlink()
    with pytest.raises(DataError, match="llmhar data new flat --from FILE"):
        registry.load("flat")
    pd.DataFrame({"a": [1]}).to_parquet(folder / "events.parquet")
    with pytest.raises(DataError, match="was not written by llmhar"):
        registry.load("flat")
    (folder / "events.parquet").unlink()
    assert len(texts(new(data, week()))) == 84


def test_the_split_is_by_whole_days(data):
    for n, n_test in ((1, 1), (2, 1), (3, 1), (4, 2), (7, 3), (9, 3)):
        made = new(data, week(n))
        parts = registry.split("flat", made.loaded.sessions)
        assert len(parts.test) == n_test >= n / 3
        assert ("one day is left for testing: no score can have an interval" in made.loaded.report.warnings) == (
            n_test == 1
        )
    file = paths.data() / "flat" / "home.yaml"
    for day, n_test in (("2026-03-09", 2), ("2026-03-02", 9), ("2026-03-10", 1)):
        file.write_text("".join(f"split: {day}\n" if line.startswith("split:") else line for line in file.open()))
        loaded = registry.load("flat")
        assert len(registry.split("flat", loaded.sessions).test) == n_test
        assert bool(loaded.report.warnings) == (n_test < 3)
    file.write_text(file.read_text().replace("split: 2026-03-10", "split: 2027-01-01"))
    with pytest.raises(DataError, match="split is after the last day, 2026-03-10"):
        prepare("flat")


@pytest.mark.parametrize("least", [0, 10])
def test_an_unlabelled_home_cannot_be_scored_and_says_what_can_be_done(data, least):
    new(data, week(activity=""))
    report = registry.load("flat").report.to_json()
    assert report["unlabelled_events"] == report["events"] == 84
    with pytest.raises(DataError, match=r"nothing to score: `llmhar label flat --model NAME --out FILE\.csv`"):
        prepare("flat", windowing=Windowing(least_events=least))


FOREIGN = "time,sensor,state,room,activity\n" + "\n".join(
    f"2026-03-{2 + d:02} 08:{m:02}:00,{('Kühlschrank', 'Tür', '烤箱', 'x<|im_end|>')[m % 4]},{m // 4 % 2},Küche,"
    f"{('Kochen', 'Schlafen')[d % 2]}"
    for d in range(3)
    for m in range(20)
)


@pytest.mark.parametrize("answer", ["number", "name"])
def test_rules_answer_validly_about_rooms_and_activities_they_do_not_know(data, answer):
    new(data, FOREIGN)
    task = prepare("flat", form=PromptForm("s1-blank", answer=answer))
    for window in task.windows:
        spec = task.prompt_of(window)
        request = Request("rules", "", "", spec.messages(window))
        [generation] = rules.RulesEngine().stream([request])
        labels = task.sessions[window.session_id].labels
        found = parse_answer(generation.text, len(window.events), labels)
        assert {prediction.verdict for prediction in found.predictions} == {"ok"}


def test_untrusted_names_reach_yaml_and_prompts_as_text(data):
    hostile = [
        "x: {a: &a [*a]}",
        "!!python/object/apply:os.system [ls]",
        "- - -",
        "# no",
        "on",
        "null",
        "2026-03-02",
        "a\u202eb\u0007c",
        "'\"",
        "{}",
        "%TAG",
        "@x",
        "`",
        "|",
        ">",
        "é" * 100,
        "\N{GRINNING FACE}",
        "a\\n",
        "yes",
        "~",
        "0x1F",
        "1e3",
        "=",
        "<<",
        "? x",
    ]
    frame = pd.DataFrame(
        [("2026-03-02 08:00:00", s, "on", s, s) for s in hostile],
        columns=["time", "sensor", "state", "room", "activity"],
    )
    frame.to_parquet(data / "in.parquet")
    made = make.make("flat", [data / "in.parquet"], Plan())
    assert len(texts(made)) + len(made.loaded.report.refused) == len(hostile)
    home = home_yaml()
    assert set(home["sensors"]) == {words.clean(s) for s in hostile} - {""}
    assert registry.load("flat").sessions == made.loaded.sessions
    with pytest.raises(DataError, match="500 different activities"):
        new(
            data,
            "time,sensor,state,activity\n" + "\n".join(f"2026-03-02 08:00:00,s,on,a{i}" for i in range(500)),
            name="many",
        )


def test_a_home_of_very_many_sensors_still_fits_its_file(data):
    rows = [f"2026-03-02 08:00:00,kitchen_sensor_{'x' * 60}_{i},on" for i in range(4000)]
    made = new(data, "\n".join(["time,sensor,state", *rows]))
    assert made.loaded.report.n_events == 4000 and 500 < len(home_yaml()["sensors"]) < 4000
    assert registry.load("flat").report.n_events == 4000


GOOD = [
    f"2026-03-{2 + i // 8:02} 0{i % 8}:00:00,bed {i % 3},{i % 2},{['', 'Sleep begin', 'Sleep end', 'Cook'][i % 4]}"
    for i in range(30)
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.integers(0, 29),
            st.one_of(
                st.text(max_size=30),
                st.sampled_from(
                    [
                        '"',
                        '""',
                        ",,,,,,",
                        "\0",
                        "2026-13-45 08:00:00,a,on,",
                        "2026-03-02 08:00:00,,on,x",
                        "x" * 70000,
                        "time,sensor,state,activity",
                        "2026-03-02 08:00:00,a,on,Nap end",
                        '2026-03-02 08:00:00,"a\nb",on,',
                        "1e400,a,1e400,",
                        "2026-03-02 08:00:00+00:00,a,nan,",
                    ]
                ),
            ),
        ),
        max_size=8,
    ),
    st.binary(max_size=3),
)
def test_damaged_lines_are_in_the_books(tmp_path_factory, damage, bytes_):
    folder = tmp_path_factory.mktemp("damaged")
    lines = GOOD.copy()
    for at, text in damage:
        lines[at] = text
    content = "\n".join(["time,sensor,state,activity", *lines]).encode("utf-8", "replace") + b"\n" + bytes_
    (folder / "in.csv").write_bytes(content)
    try:
        rows = files.read_file(folder / "in.csv", "in.csv", Wanted()).rows
        made = make.make("damaged", [folder / "in.csv"], Plan(zone="Europe/Paris"))
    except DataError:
        return
    assert made.loaded.report.n_unaccounted == 0 and made.loaded.report.rows_read == sum(row.n for row in rows)
    noted = {row.line for row in rows}
    text = content.decode("utf-8", "ignore")
    if '"' not in text and text.isascii():  # a quoted field may run over lines
        there = [
            i for i, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1) if line.strip()
        ]
        assert set(there[1:]) <= noted
    assert registry.load("damaged").sessions == made.loaded.sessions


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text):
    for day_first in (None, True, False):
        try:
            iso = times.read_time(text, day_first)
        except times.BadTime:
            continue
        for zone in ("Europe/Paris", "America/Sao_Paulo", "Pacific/Apia"):
            assert times.ZoneClock(zone).read(iso).clock.tzinfo is None


def test_the_command_line(data, capsys):
    def llmhar(*arguments, code=0):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    home = json.loads(llmhar("data", "new", "my_home", "--from", EXAMPLES / "my_home.csv", "--json").stdout)
    assert list(home) == ["home", "events", "sessions", "rooms", "sensors", "activities", "mended", "refused"]
    assert (home["events"], home["sessions"], home["mended"], home["refused"]) == (200, 7, [], [])
    assert (
        home["home"] == str(paths.data() / "my_home") and "kitchen" in home["rooms"] and "Eating" in home["activities"]
    )
    report = json.loads(llmhar("data", "report", "my_home", "--json").stdout)
    assert {key: report[key] for key in ("activities", "rooms", "sensors", "events")} == {
        key: home[key] for key in ("activities", "rooms", "sensors", "events")
    }
    events = json.loads(llmhar("data", "events", "my_home", "--json").stdout)
    assert len(events) == 200 and events[0]["time"] == "2026-03-02T06:32:50.000" and events[0]["activity"] == "Sleeping"
    listed = json.loads(llmhar("data", "list", "--json").stdout)
    assert [row["present"] for row in listed if row["name"] == "my_home"] == [True]
    shown = llmhar("data", "new", "ha", "--from", EXAMPLES / "home_assistant.csv", "--zone", "Europe/Paris").output
    assert (
        "note: no activity in the files" in shown and "dropped: home_assistant.csv" in shown and "events: 137" in shown
    )
    (data / "a.csv").write_text(week(1)), (data / "b.csv").write_text(week(2))
    both = llmhar(
        "data",
        "new",
        "both",
        "--from",
        data / "a.csv",
        data / "b.csv",
        "--columns",
        "time=time,sensor=sensor",
        "--json",
    )
    assert json.loads(both.stdout)["events"] == 36
    assert isinstance(CliRunner().invoke(app, ["data", "new", "mural", "--from", "x"]).exception, WrongCall)
    assert isinstance(CliRunner().invoke(app, ["data", "new", "pamap2", "--from", "x"]).exception, WrongCall)
    assert "--from FILE" in llmhar("data", "new", "x", code=2).output
    assert "home-assistant alone" in llmhar("data", "new", "x", "--from", "y", "--preset", "openhab", code=2).output
    assert "NAME=NUMBER" in llmhar("data", "new", "x", "--from", "y", "--above", "a=b", code=2).output


def test_sensors_that_would_sound_alike_are_told_apart(data):
    sensors = ["switch.living_room_tv", "media_player.living_room_tv", "kitchen motion", "kitchen_motion", "bed"]
    made = new(data, "time,sensor,state\n" + "\n".join(f"2026-03-02 08:00:00,{sensor},on" for sensor in sensors))
    assert sorted(text[9:-10] for text in texts(made)) == [
        "bedroom bed",
        "kitchen motion kitchen motion",
        "kitchen motion kitchen_motion",
        "living room tv media player",
        "living room tv switch",
    ]
