"""The MuRAL loader on made-up sessions with every fault that facts.md names."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data import mural, simulated
from llmhar.data.registry import DataError, Loaded, RowNote, load, split
from tests.timing import quiet_seconds

FIXTURE = Path(__file__).parents[1] / "fixtures" / "mural"
HEADER = "uid,time,sensor,action,Subject,Description,activity\n"


@pytest.fixture
def home(tmp_path):
    """One session that tests fill: call it with rows (text or bytes), get its folder."""

    def make(rows, name="01", activities='[{"id": 0, "name": "others"}, {"id": 5, "name": "having dinner"}]'):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "activities.json").write_text(activities)
        content = rows if isinstance(rows, bytes) else (HEADER + rows).encode()
        (tmp_path / name / "data.csv").write_bytes(content)
        return tmp_path

    return make


def test_events_read_as_in_the_paper():
    first = load("mural", FIXTURE).sessions[0]
    assert [(e.event_id, e.room, e.sensor, e.state) for e in first.events] == [
        (0, "bedroom_1", "door", "OPENED"),
        (1, "", "main door", "OPENED"),
        (2, "dining room", "chair_1 contact", "CLOSED"),
        (3, "kitchen", "induction stove wattmeter", "turned OFF"),
        (4, "kitchen", "counter mov", "turned ON"),
        (5, "winter garden", "mov", "turned ON"),
    ]
    assert first.events[3].text == "kitchen induction stove wattmeter turned OFF"
    assert first.events[1].text == "main door OPENED"
    assert [e.activity_id for e in first.events] == [6, 11, 0, 3, None, None]
    assert [e.residents for e in first.events] == [("A",), ("B",), ("A", "B"), ("A",), ("A",), ("C",)]
    assert [e.pairs for e in first.events[1:4]] == [(), (("A", 0), ("B", 0)), ()]  # a joint event
    assert first.events[0].time == datetime(2000, 1, 3, 19, 50)  # a Monday


def test_sessions_carry_their_context():
    sessions = load("mural", FIXTURE).sessions
    assert [(s.session_id, s.day, s.n_residents) for s in sessions] == [
        ("01", "weekday", 3),
        ("02", "weekend", 2),
        ("03", "", None),
    ]
    assert {(s.dataset, s.home) for s in sessions} == {("mural", "mural")}
    assert sessions[0].activities == sessions[0].labels
    assert sessions[0].activities[11] == "coming into the appartment"


def test_midnight_and_late_rows():
    second = load("mural", FIXTURE).sessions[1]
    assert [e.time for e in second.events] == [
        datetime(2000, 1, 1, 23, 59, 58),  # a Saturday
        datetime(2000, 1, 1, 23, 59, 59),
        datetime(2000, 1, 2, 0, 0, 2),
        datetime(2000, 1, 2, 0, 0, 5),
    ]
    assert [e.sensor for e in second.events] == ["counter mov", "main door", "counter mov", "main door"]


def test_the_books_balance():
    report = load("mural", FIXTURE).report
    assert report.rows_read == 15
    assert report.n_events == 11
    assert report.set_aside == [RowNote("01/data.csv", 4, "annotation only: no sensor")]
    assert report.refused == [
        RowNote("01/data.csv", 9, "time '19:61:00' is not HH:MM:SS"),
        RowNote("01/data.csv", 10, "too few columns: 3 of 7"),
        RowNote("01/data.csv", 11, "unknown action 'exploded'"),
    ]
    assert report.mended == [
        RowNote("01/data.csv", 8, "activity '99' is not in activities.json: event kept without activity"),
        RowNote("02/data.csv", 4, "out of order: 23:59:59 follows a later row; sorted"),
    ]
    assert report.n_events + len(report.refused) + len(report.set_aside) == report.rows_read
    assert report.n_unlabelled == 2


def test_inner_folder_is_found(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "MuRAL")
    loaded = load("mural", tmp_path)
    assert loaded.sessions == load("mural", FIXTURE).sessions
    assert loaded.report.mended[0].file == "MuRAL/01/data.csv"


def test_bom_crlf_and_quoted_commas(home):
    rows = '0,07:00:00,kitchen counter mov,turned ON,"A, B","x, ""y"", z",5\r\n'
    folder = home(b"\xef\xbb\xbf" + (HEADER.replace("\n", "\r\n") + rows).encode())
    (event,) = load("mural", folder).sessions[0].events
    assert (event.room, event.residents, event.activity_id) == ("kitchen", ("A", "B"), 5)


def test_line_numbers_survive_line_breaks_inside_quotes(home):
    folder = home('0,07:00:00,kitchen mov,turned ON,A,"two\nlines",5\n1,7h,kitchen mov,turned ON,A,x,5\n')
    assert load("mural", folder).report.refused == [RowNote("01/data.csv", 4, "time '7h' is not HH:MM:SS")]


def test_unquoted_comma_is_refused_not_shifted(home):
    folder = home("0,07:00:00,kitchen mov,turned ON,A,x,5\n1,07:00:01,kitchen mov,turned ON,A, B,x,5\n")
    (note,) = load("mural", folder).report.refused
    assert note == RowNote("01/data.csv", 3, "too many columns: 8 for 7; quote a field that holds a comma")


def test_columns_are_found_by_name(home):
    folder = home(b"activity,Subject,action,sensor,TIME\n5.0,A,opened,main door,7:00:01\n")
    (event,) = load("mural", folder).sessions[0].events
    assert (event.activity_id, event.state, event.time) == (5, "OPENED", datetime(2000, 1, 3, 7, 0, 1))


def test_twelve_hours_back_is_the_border(home):
    rows = "0,{},main door,OPENED,A,x,5\n1,{},main door,CLOSED,A,x,5\n"
    late = load("mural", home(rows.format("13:00:00", "01:00:00")))
    assert [e.time.hour for e in late.sessions[0].events] == [1, 13]
    assert len(late.report.mended) == 1
    wrapped = load("mural", home(rows.format("13:00:01", "01:00:00")))
    assert [(e.time.day, e.time.hour) for e in wrapped.sessions[0].events] == [(3, 13), (4, 1)]
    assert wrapped.report.mended == []


def test_ties_keep_the_files_order(home):
    rows = "".join(f"{i},07:00:00,kitchen s{i},turned ON,A,x,5\n" for i in range(12))
    assert [e.sensor for e in load("mural", home(rows)).sessions[0].events] == [f"s{i}" for i in range(12)]


def test_an_empty_session_is_named_not_dropped_in_silence(home):
    home("0,07:00:00,main door,OPENED,A,x,5\n")
    loaded = load("mural", home("", name="02"))
    assert [s.session_id for s in loaded.sessions] == ["01"]
    assert loaded.report.refused == [RowNote("02/data.csv", 0, "no usable sensor event: session left out")]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "activities.json").unlink(), "activities.json is missing in .*llmhar data add mural FILE"),
        (lambda p: (p / "01" / "data.csv").unlink(), "data.csv is missing in .*01: give the folder.*data add mural"),
        (lambda p: (p / "activities.json").write_text("[{"), "activities.json, line 1: not JSON"),
        (lambda p: (p / "activities.json").write_text("[" * 200_000), "activities.json.*not JSON"),
        (lambda p: (p / "activities.json").write_text("1" * 5000), "activities.json: not JSON that can be read"),
        (lambda p: (p / "activities.json").write_text("[]"), "no activity in it"),
        (lambda p: (p / "activities.json").write_text('{"0": "others"}'), "must be a list of objects"),
        (lambda p: (p / "activities.json").write_text('[{"id": true, "name": "x"}]'), "whole number"),
        (lambda p: (p / "activities.json").write_text('[{"id":1,"name":"x"},{"id":1,"name":"y"}]'), "two names"),
        (lambda p: (p / "sensors.json").write_text('["x"]'), "sensors.json: must be a list of objects"),
        (lambda p: (p / "01" / "context.json").write_text("3"), "context.json: must be a JSON object"),
        (lambda p: (p / "01" / "data.csv").write_text("a,b\n1,2\n"), "data.csv, line 1: no column time, sensor"),
        (lambda p: (p / "01" / "data.csv").write_text(""), "data.csv: empty; the header must name"),
        (lambda p: (p / "01" / "data.csv").write_bytes(HEADER.encode() + b"\n\0\n"), "data.csv, line 3: NUL byte"),
        (lambda p: (p / "01" / "data.csv").write_bytes(HEADER.encode() + b"\xe9\n"), "data.csv, line 2: not UTF-8"),
        (lambda p: (p / "01" / "data.csv").write_text(HEADER + '1,"' + "x\n" * 99_999), "line 2: a quote is opened"),
        (lambda p: (p / "01" / "data.csv").write_text(HEADER + ",,,,,,5" + "x" * 70_000), "line 2: field of over"),
        (
            lambda p: (p / "01" / "data.csv").write_text(HEADER + "1,7,x,OPENED,A,x,5\n"),
            "no usable .* line 2: time '7'",
        ),
    ],
)
def test_what_cannot_be_read_says_where_and_what_to_do(tmp_path, damage, message):
    shutil.copytree(FIXTURE / "01", tmp_path / "01")
    shutil.copy(FIXTURE / "activities.json", tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load("mural", tmp_path)


def test_no_regular_file_and_too_large_a_file(home, monkeypatch):
    folder = home("0,07:00:00,main door,OPENED,A,x,5\n")
    monkeypatch.setattr("llmhar.data.reader.MAX_BYTES", 80)
    with pytest.raises(DataError, match=r"data\.csv has 86 bytes, more than the 80 that are read"):
        load("mural", folder)
    (folder / "01" / "data.csv").unlink()
    (folder / "01" / "data.csv").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        load("mural", folder)


def test_endless_midnights_end(home):
    folder = home("".join(f"0,{hour}:00:00,main door,OPENED,A,x,5\n" for hour in ("08", "16", "00")) * 400)
    with pytest.raises(DataError, match="over 366 midnights"):
        load("mural", folder)


def test_bad_context_values_are_reported(home):
    folder = home("0,07:00:00,main door,OPENED,A,x,5\n")
    (folder / "01" / "context.json").write_text(json.dumps({"day": "Caturday", "resident number": "many"}))
    loaded = load("mural", folder)
    assert (loaded.sessions[0].day, loaded.sessions[0].n_residents) == ("", None)
    assert [note.reason for note in loaded.report.mended] == [
        "day 'Caturday' is neither weekday nor weekend: left empty",
        "resident number 'many' is no number: left empty",
    ]


@pytest.mark.parametrize(("n", "n_train"), [(21, 15), (22, 15), (20, 13), (3, 2), (2, 1), (1, 0)])
def test_split_is_by_name(home, n, n_train):
    for i in range(n, 0, -1):
        folder = home("0,07:00:00,main door,OPENED,A,x,5\n", name=f"{i:02d}")
    sessions = load("mural", folder).sessions
    names = [f"{i:02d}" for i in range(1, n + 1)]
    assert [s.session_id for s in sessions] == names
    assert split("mural", sessions[::-1]) == (names[:n_train] + names[21:], names[n_train:21])


CELL = st.sampled_from(
    ["07:00:00", "23:59:59", "kitchen mov", "", "OPENED", "turned ON", "A, B", "5", "-1", '"', "é\r"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=80).map(lambda b: HEADER.encode() + b),
        st.lists(st.lists(CELL, max_size=8), max_size=6).map(
            lambda rows: (HEADER + "\n".join(",".join(row) for row in rows)).encode()
        ),
    )
)
def test_any_bytes_give_sessions_or_a_data_error(home, content):
    for where in ("data", "activities", "sensors", "context"):
        folder = home("0,07:00:00,main door,OPENED,A,x,5\n")
        for extra in ("sensors.json", "01/context.json"):
            (folder / extra).unlink(missing_ok=True)
        names = {"activities": "activities.json", "sensors": "sensors.json", "context": "01/context.json"}
        (folder / names.get(where, "01/data.csv")).write_bytes(content)
        try:
            loaded = load("mural", folder)
        except DataError as error:
            assert str(error)
        else:
            assert isinstance(loaded, Loaded)
            for session in loaded.sessions:
                assert [e.event_id for e in session.events] == list(range(len(session.events)))
                assert list(session.events) == sorted(session.events, key=lambda e: e.time)


def test_fifty_thousand_events_a_second(home):
    rows = "".join(
        f'{i},{7 + i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d},kitchen s{i % 23} mov,turned ON,"A, B","x, y",5\n'
        for i in range(40_000)
    )
    folder = home(rows)
    assert load("mural", folder).report.n_events == 40_000
    assert quiet_seconds(lambda: load("mural", folder), runs=2) < 40_000 / 50_000  # measured 170k a second


def test_bytes_in_columns_that_nobody_reads_refuse_nothing(home):
    rows = b'0,07:00:00,main door,OPENED,A,"B\x92s coffee \x96 hot, caf\xe9",5\n1,07:00:01,main door,CLOSED,A,x,5\n'
    loaded = load("mural", home(HEADER.encode().replace(b"uid", b"n\xb0") + rows))
    assert (loaded.report.n_events, loaded.report.refused, loaded.report.mended) == (2, [], [])
    with pytest.raises(DataError, match=r"data.csv, line 3: not UTF-8 text"):
        load("mural", home(HEADER.encode() + rows.replace(b"CLOSED,A", b"CLOSED,Andr\xe9")))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_first_line_parted_by_other_marks_says_so(home, mark, quote):
    header = mark.join(f"{quote}{name}{quote}" for name in HEADER.strip().split(","))
    with pytest.raises(DataError, match=r"data.csv, line 1: parted by .*, not by commas; save it as CSV with commas"):
        load("mural", home(f"{header}\n0{mark}07:00:00\n".encode()))


def test_loader_is_the_registrys():
    assert mural.load(FIXTURE, dataset="simulated", home="simulated").sessions[0].home == "simulated"


def test_a_stray_quote_costs_its_own_row_alone(home):
    loaded = load(
        "mural",
        home(
            '0,07:00:00,bedroom_1 door,OPENED,A,"stray quote,5\n'
            '1,07:00:01,kitchen counter mov,turned ON,B,"B cooks",5\n'
            '2,07:00:02,kitchen counter mov,turned OFF,B,never "closed,5\n'
            "3,07:00:03,main door,OPENED,B,x,5\n"
            '4,07:00:04,main door,CLOSED,B,"two\nlines",5\n'
        ),
    )
    assert [event.sensor for event in loaded.sessions[0].events] == [
        "counter mov",
        "counter mov",
        "main door",
        "main door",
    ]
    assert [(note.line, note.reason[:7]) for note in loaded.report.refused] == [(2, "a quote")]


def test_lines_whose_quotes_do_not_fit_together_are_each_named(home):
    """The first quote is closed in the next line, behind which a letter stands: two broken rows, not one."""
    broken = '0,07:00:00,main door,OPENED,A,"stray,5\n1,07:00:01,main door,CLOSED,B,x"y,5,9\n'
    loaded = load("mural", home(broken + "2,07:00:02,main door,OPENED,B,x,5\n"))
    assert [(note.line, note.reason[:7]) for note in loaded.report.refused] == [(2, "a quote"), (3, "a quote")]
    assert (loaded.report.rows_read, loaded.report.rows_used) == (3, 1)


def test_the_simulated_home_does_not_pass_for_real_data(tmp_path):
    simulated.write(tmp_path / "home")
    with pytest.raises(DataError, match="simulated home, no real data"):
        load("mural", tmp_path / "home")
