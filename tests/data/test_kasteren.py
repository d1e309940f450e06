"""The Kasteren loader on made-up houses, and on house A where its files lie beside the repository."""

import locale
from pathlib import Path

import pytest

from llmhar.data.registry import DataError, load, split
from llmhar.text.prompt import build_prompt

REAL = Path(__file__).parents[3] / "shared" / "data" / "kasteren_a"
real_files = pytest.mark.skipif(not REAL.is_dir(), reason="Kasteren's house A is not beside this repository")
B = {
    "s.csv": "25-Jul-2009 10:21:12,25-Jul-2009 10:21:20,5,1\n25-Jul-2009 23:59:00,26-Jul-2009 00:01:00,6,1\n"
    "26-Jul-2009 08:00:00,26-Jul-2009 08:00:10,7,1\n26-Jul-2009 07:00:00,26-Jul-2009 07:00:10,8,1\n"
    "26-Jul-2009 09:00:00,26-Jul-2009 09:00:10,9,1\n",
    "a.csv": "25-Jul-2009 10:21:15,25-Jul-2009 10:30:00,1\n26-Jul-2009 07:00:00,26-Jul-2009 08:30:00,2\n"
    "26-Jul-2009 08:00:05,26-Jul-2009 08:00:10,4\n",
    "one.txt": "5 BedRight BedroomUpstairs\n6 FrontDoor Hall\n7 Cupboard Kitchen\n8 Cupboard Kitchen\n"
    "9 Flush Toilet\n10 Sink Kitchen (NoInstance)\n",
    "two.txt": "1 LeaveHouse\n2 PrepareBreakfast\n3 Drop_dishwasher (NoInstance)\n4 Use Toilet\n5 Read\n",
}


@pytest.fixture
def house(tmp_path):
    def make(files=B, **changed):
        for name, text in {**files, **{name.replace("_", "."): text for name, text in changed.items()}}.items():
            place = tmp_path / "house" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text) if text is not None else place.unlink(missing_ok=True)
        loaded = load("kasteren", tmp_path / "house")
        assert loaded.report.n_unaccounted == 0
        return loaded

    return make


def said(loaded):
    return [
        (f"{e.time:%d %H:%M:%S}", e.text, s.activities.get(e.activity_id)) for s in loaded.sessions for e in s.events
    ]


@real_files
def test_real_house_a():
    report = (loaded := load("kasteren", REAL)).report
    assert (report.n_events, report.rows_read, report.rows_used) == (2636, 1318 + 245, 1318 + 245)
    assert report.counts == {"activations": 1318, "intervals": 245, "header lines": 4, "trailer lines": 2}
    assert [(n.file, n.line) for n in report.mended] == [("sensorData.txt", 1321)]  # it counts one more than there are
    assert report.refused == [] and [n.file for n in report.set_aside] == ["SOURCE.txt"]
    assert sorted(report.labels) == sorted(
        ["leave house", "use toilet", "take shower", "go to bed", "prepare Breakfast", "prepare Dinner", "get drink"]
    )
    assert {s.home for s in loaded.sessions} == {"kasteren_a"} and {s.n_residents for s in loaded.sessions} == {1}
    train, test = split("kasteren", loaded.sessions)
    assert len(test) * 3 >= len(loaded.sessions) and max(train) < min(test)


def test_houses_b_and_c(house):
    loaded = house()
    assert said(loaded) == [
        ("25 10:21:12", "bedroom upstairs bed right turned ON", None),
        ("25 10:21:20", "bedroom upstairs bed right turned OFF", "LeaveHouse"),
        ("25 23:59:00", "hall front door OPENED", None),
        ("26 00:01:00", "hall front door CLOSED", None),
        ("26 07:00:00", "kitchen cupboard 8 OPENED", "PrepareBreakfast"),
        ("26 07:00:10", "kitchen cupboard 8 CLOSED", "PrepareBreakfast"),
        ("26 08:00:00", "kitchen cupboard 7 OPENED", "PrepareBreakfast"),
        ("26 08:00:10", "kitchen cupboard 7 CLOSED", "Use Toilet"),
        ("26 09:00:00", "toilet flush turned ON", None),
        ("26 09:00:10", "toilet flush turned OFF", None),
    ]
    assert loaded.sessions[0].activities == {1: "LeaveHouse", 2: "PrepareBreakfast", 4: "Use Toilet", 5: "Read"}
    assert [(s.session_id, s.day) for s in loaded.sessions] == [("2009-07-25", "weekend"), ("2009-07-26", "weekend")]
    assert [(n.line, n.reason) for n in loaded.report.mended] == [
        (4, "out of order: 2009-07-26 07:00:00 follows 2009-07-26 08:00:00; sorted")
    ]
    assert loaded.report.counts["intervals"] == 3 and not loaded.report.warnings
    assert "- kitchen: cupboard 7, cupboard 8" in build_prompt(loaded.sessions[0]).home


def test_damaged_rows_headers_and_trailers(house):
    loaded = house(
        s_csv="Start time,End time,ID,Val\n-----,-----,--,---\n"
        + B["s.csv"]
        + "25-Jul-2009 10:21:12,25-Jul-2009 10:21:20,5\n31-Feb-2009 10:21:12,25-Jul-2009 10:21:20,5,1\n"
        "25-Mrt-2009 10:21:12,25-Jul-2009 10:21:20,5,1\n25-Jul-2009 10:21:12,25-Jul-2009 10:21:10,5,1\n"
        "25-Jul-2009 10:21:12,25-Jul-2009 10:21:20,5,0\nrubbish\nLength: 5\n",
        a_csv=B["a.csv"] + "\n25-Jul-2009,25-july-2009 00:00:10,1\nLength: 4",
        two_txt=B["two.txt"] + "5 Write\n",
    )
    refused = [(n.file, n.line, n.reason) for n in loaded.report.refused]
    assert refused == [
        ("s.csv", 8, "'25-Jul-2009 10:21:12,25-Jul-2009 10:21:20,5' is not start, end, id, value"),
        ("s.csv", 9, "time '31-Feb-2009 10:21:12' is not dd-Mon-yyyy HH:MM:SS"),
        ("s.csv", 10, "time '25-Mrt-2009 10:21:12' is not dd-Mon-yyyy HH:MM:SS"),
        ("s.csv", 11, "ends before it starts (2009-07-25 10:21:12 -> 2009-07-25 10:21:10)"),
        ("s.csv", 12, "value '0' is not 1"),
        ("s.csv", 13, "'rubbish' is not start, end, id, value"),
        ("two.txt", 6, "id 5 is named twice: the first name is kept"),
    ]
    assert [note[:2] for note in loaded.report.mended] == [("s.csv", 6), ("s.csv", 14), ("a.csv", 5)]
    assert loaded.report.counts["header lines"] == 2 and loaded.report.counts["intervals"] == 4


def test_without_names_ids_stay_speakable(house):
    house_a = {"s.csv": B["s.csv"].replace("Jul-2009", "Feb-2008"), "a.csv": B["a.csv"].replace("Jul-2009", "Feb-2008")}
    house_a["a.csv"] = house_a["a.csv"].replace(",2\n", ",13\n")
    loaded = house(house_a)
    assert said(loaded)[1] == ("25 10:21:20", "hall toilet door CLOSED", "leave house")  # ids and months of house A
    loaded = house(s_csv=B["s.csv"].replace(",9,1", ",99,1"))
    assert "sensor 99 turned ON" in [text for _, text, _ in said(loaded)] and loaded.report.warnings
    loaded = house(one_txt=None, two_txt=None)
    assert said(loaded)[1][1:] == ("sensor 5 turned OFF", "activity 1") and loaded.report.warnings
    loaded = house(one_txt=None)
    assert said(loaded)[1][1:] == ("sensor 5 turned OFF", "LeaveHouse")
    loaded = house(a_csv=None)
    assert {activity for _, _, activity in said(loaded)} == {None}


def test_several_houses_each_in_its_folder(house, tmp_path):
    loaded = house({f"{folder}/{name}": text for folder in "BC" for name, text in B.items()})
    assert [s.session_id for s in loaded.sessions] == ["B-2009-07-25", "B-2009-07-26", "C-2009-07-25", "C-2009-07-26"]
    assert split("kasteren", loaded.sessions).test == ["B-2009-07-26", "C-2009-07-26"]
    with pytest.raises(DataError, match=r"again.csv, s.csv all hold activations: put each house into a folder of its"):
        house({"again.csv": B["s.csv"], "s.csv": B["s.csv"]})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"file of activations .* is missing in .*llmhar data add kasteren FILE"):
        load("kasteren", tmp_path / "empty")


def test_months_are_english_in_any_locale(house, monkeypatch):
    monkeypatch.setattr(locale, "setlocale", None)  # nothing asks for it
    for month, number in (("Mar", 3), ("MAY", 5), ("Dec", 12), ("October", 10)):
        loaded = house({"x": f"01-{month}-2009 10:00:00\t01-{month}-2009 10:00:01\t5\t1\r\n"})
        assert loaded.sessions[0].events[0].time.month == number
