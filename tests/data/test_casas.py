"""The CASAS loader on made-up files of every layout with every fault, and on genuine files beside the repository."""

import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from llmhar.data.casas_lines import layout_of, marks_of, pairs_of, state_of, time_of
from llmhar.data.registry import DataError, load, split
from llmhar.data.sensor_names import SensorId, speak
from llmhar.text.prompt import build_prompt
from tests.timing import quiet_seconds

SHARED = Path(__file__).parents[3] / "shared" / "data"
real_adlmr = pytest.mark.skipif(not (SHARED / "casas_adlmr").is_dir(), reason="adlmr is not beside this repository")
real_al = pytest.mark.skipif(not (SHARED / "casas_al_smarthome").is_dir(), reason="AL's home is not beside this one")


@pytest.fixture
def casas(tmp_path):
    """Writes a file and loads its folder."""

    def make(text, name="data", **options):
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        loaded = load("casas", tmp_path / "home", options)
        assert loaded.report.n_unaccounted == 0
        return loaded

    return make


def rows(loaded):
    """Clock, words and pairs of every event."""
    return [
        (f"{e.time:%d %H:%M:%S}", e.text, [(r, s.activities[n]) for r, n in e.all_pairs])
        for s in loaded.sessions
        for e in s.events
    ]


def notes(kept, *, line=True):
    return [(note.line, note.reason) if line else note.reason for note in kept]


@real_adlmr
def test_real_adlmr_has_all_its_faults_in_the_books():
    report = (loaded := load("casas", SHARED / "casas_adlmr")).report
    assert (report.rows_read, report.n_events, len(loaded.sessions)) == (17_236, 17_234, 26)
    booked = {(n.file, n.line): n.reason for n in (*report.mended, *report.refused, *report.set_aside)}
    no_label = "no resident and task: event kept without activity"
    expected = {
        ("P02.txt", 1): no_label,
        ("P19.txt", 13): no_label,
        ("P19.txt", 18): no_label,
        ("P04.txt", 645): "3 pairs of resident and task, 2 different: each kept once",
        ("P06.txt", 452): "resident and task run together: '211' read as 2 11",
        ("P09.txt", 391): "blank line",
        ("P09.txt", 392): "no date and time: 'Missing rest of the data'",
        ("P23.txt", 47): "value 'OPENv' read as OPEN",
        ("P23.txt", 441): "value 'OF' read as OFF",
        ("P03.txt", 265): "date '008-11-11' is a step back in time, its beginning lost: read as 2008-11-11",
    }
    assert {place: booked.get(place) for place in expected} == expected
    assert booked["SOURCE.txt", 0] == "its lines are no sensor events of CASAS: file left out"
    assert report.n_unaccounted == 0
    assert {s.n_residents for s in loaded.sessions} == {2} and {s.day for s in loaded.sessions} == {""}
    assert list(loaded.sessions[0].activities.values()) == [f"task {n}" for n in range(1, 16)]
    assert sum(bool(e.pairs) for s in loaded.sessions for e in s.events) > 2_800
    assert "not for zero-shot naming" in report.warnings[0]
    train, test = split("casas", loaded.sessions)
    assert train == [f"P{n:02}" for n in range(1, 18)] and test == [f"P{n}" for n in range(18, 27)]


@real_al
def test_real_al_home():
    report = (loaded := load("casas", SHARED / "casas_al_smarthome")).report
    assert (report.n_events, len(loaded.sessions), len(report.labels)) == (31_624, 16, 28)
    assert report.n_unlabelled == report.not_annotated["Other_Activity"] == 9804
    assert len(loaded.sessions[0].activities) == 27 and not report.mended and not report.refused
    kept = load("casas", SHARED / "casas_al_smarthome", {"other": True, "days": "2011-06-16..2011-06-17"})
    assert [s.session_id for s in kept.sessions] == ["2011-06-16", "2011-06-17"]
    assert kept.report.n_unlabelled == 0 and kept.report.n_unaccounted == 0
    assert kept.sessions[0].events[0].sensor == loaded.sessions[1].events[0].sensor
    assert "bedroom: closet, motion sensor" in build_prompt(loaded.sessions[0]).home


CSV = """\
2011-06-15,01:03:39.14962,BedroomABed,ON,Sleep="begin"
2011-06-15,01:03:40.284526,BedroomABed,OFF
2011-06-15,01:03:41,BathroomBToilet,OF,
2011-06-15,01:03:42,BathroomAToilet,ONf
2011-06-15,01:03:43,BathroomAToilet,ONc,Sleep="end"
2011-06-15,01:03:44,KitchenAStove,21.5,Cook="begin"
2011-06-15,01:03:45,KitchenAStove,ON
2011-06-15,01:03:46,KitchenAStove,22
2011-06-15,01:03:45.5,kitchenAstove,OFF
2011-06-15,01:03:47,KitchenAStove,OFF,Cook="end"
2011-06-15,01:03:48,OutsideDoor,OPEN,Leave_Home
2011-06-15,01:03:49,OutsideDoor,WAT
2011-06-15,01:03:50,OutsideDoor,CLOSE,cook="end"
2011-06-15,01:03:51,OutsideDoor,OPEN,Toilet="begin"
2011-06-15,01:03:52,OutsideDoor,CLOSE,r2.Watch_TV="begin"
2011-06-15,01:03:53,OutsideDoor,OPEN,r2.Watch_TV="end"
2011-06-16,23:59:59,OutsideDoor,OPEN,Other_Activity="begin"
2011-06-17,00:00:01,OutsideDoor,CLOSE,Other_Activity="end"
2011-06-17,00:00:02,OutsideDoor
2011-06-17,25:00:02,OutsideDoor,ON
"""


def test_the_release_of_2025_with_each_of_its_faults(casas):
    loaded = casas(CSV, "hh999.csv")
    assert rows(loaded) == [
        ("15 01:03:39", "bedroom bed turned ON", [("", "Sleep")]),
        ("15 01:03:40", "bedroom bed turned OFF", [("", "Sleep")]),
        ("15 01:03:41", "bathroom B toilet turned OFF", [("", "Sleep")]),
        ("15 01:03:42", "bathroom A toilet turned ON", [("", "Sleep")]),
        ("15 01:03:43", "bathroom A toilet turned ON", [("", "Sleep")]),
        ("15 01:03:45", "kitchen stove turned ON", [("", "Cook")]),  # its begin stands on a number
        ("15 01:03:45", "kitchen stove turned OFF", [("", "Cook")]),
        ("15 01:03:47", "kitchen stove turned OFF", [("", "Cook")]),
        ("15 01:03:48", "outside door OPENED", [("", "Leave_Home")]),
        ("15 01:03:50", "outside door CLOSED", [("", "Cook")]),  # "cook", a lone end
        ("15 01:03:51", "outside door OPENED", [("", "Toilet")]),
        ("15 01:03:52", "outside door CLOSED", [("R2", "Watch_TV"), ("", "Toilet")]),
        ("15 01:03:53", "outside door OPENED", [("R2", "Watch_TV"), ("", "Toilet")]),
        ("16 23:59:59", "outside door OPENED", []),
        ("17 00:00:01", "outside door CLOSED", []),
    ]
    report = loaded.report
    assert notes(report.mended) == [
        (3, "value 'OF' read as OFF"),
        (4, "value 'ONf' read as ON"),
        (5, "value 'ONc' read as ON"),
        (9, "steps back in time: 2011-06-15 01:03:45.500000 follows 2011-06-15 01:03:46; sorted"),
        (13, "'cook' ends without a begin: taken to hold for this row alone"),
        (14, "'Toilet' begins and never ends: taken to hold until the end of its day"),
        (13, "'cook' (1 rows, the first here) differs in case only: read as Cook"),
        (9, "'kitchenAstove' (1 rows, the first here) differs in case only: read as KitchenAStove"),
    ]
    assert notes(report.refused) == [
        (12, "unknown value 'WAT'"),
        (19, "too few fields for layout csv: '2011-06-17,00:00:02,OutsideDoor'"),
        (20, "time '2011-06-17 25:00:02' is not YYYY-MM-DD HH:MM:SS"),
    ]
    assert [(d.line, d.reason, d.rows) for d in report.dropped] == [
        (6, "numbers of KitchenAStove, which otherwise says ON or OFF", 2)
    ]
    assert report.not_annotated == {"Other_Activity": 2}
    assert report.counts == {"labels in the files": 6, "intervals": 6, "repeated states, kept": 3}
    assert [(s.session_id, s.day, s.home, s.n_residents) for s in loaded.sessions] == [
        ("2011-06-15", "weekday", "hh999", 1),
        ("2011-06-16", "weekday", "hh999", 1),
        ("2011-06-17", "weekday", "hh999", 1),
    ]
    assert sorted(loaded.sessions[0].described.rooms) == sorted(
        ["bathroom A", "bathroom B", "bedroom", "kitchen", "somewhere in the home"]
    )
    assert "Other_Activity" in casas(CSV, "hh999.csv", other=True).sessions[0].activities.values()


CLASSIC = """\
2008-02-27 12:43:27.416392 M08 ON R1 wake begin
2008-02-27 12:43:28.416392 M08\tOFF
2008-02-27 12:43:29.416392 AD1-A 2.71 R1 work in office begin
2008-02-27 12:43:30 M08 ON
2008-02-27 12:43:31 AD1-A 0.5 R1 work in office end
2008-02-27 12:43:32 M09 ON
2008-02-27 12:43:33 m09 OFF R1 wake end
2008-02-27 12:43:34 asterisk START Night wandering begin
2008-02-27 12:43:35 asterisk STOP_INSTRUCT
2008-02-27 12:43:36 asterisk END Night wandering end
2008-02-26 23:00:00 I04 ABSENT Sleep begin
2008-02-26 23:00:01 I04 PRESENT R2_Sleep begin
2008-02-26 23:00:02 D002 OPEN
2008-02-27 06:00:00 T003 21 Sleep end
2008-02-27 06:00:01 D002 CLOSE
2008-02-27 06:00:02 M09 ON R2_Sleep
2008-02-27 06:00:03 M09 OFF begin
"""


def test_classic_marks_with_blanks_in_labels(casas):
    loaded = casas(CLASSIC, "anything.txt")
    assert rows(loaded) == [
        ("26 23:00:00", "item I04 ABSENT", [("", "Sleep")]),
        ("26 23:00:01", "item I04 PRESENT", [("R2", "Sleep"), ("", "Sleep")]),
        ("26 23:00:02", "door D002 OPENED", [("R2", "Sleep"), ("", "Sleep")]),
        ("27 06:00:01", "door D002 CLOSED", []),  # Sleep ends on the temperature's line before
        ("27 06:00:02", "motion sensor M09 turned ON", [("R2", "Sleep")]),
        ("27 06:00:03", "motion sensor M09 turned OFF", []),
        ("27 12:43:27", "motion sensor M08 turned ON", [("R1", "wake")]),
        ("27 12:43:28", "motion sensor M08 turned OFF", [("R1", "wake")]),
        ("27 12:43:30", "motion sensor M08 turned ON", [("R1", "work in office")]),
        ("27 12:43:32", "motion sensor M09 turned ON", [("R1", "wake")]),
        ("27 12:43:33", "motion sensor M09 turned OFF", [("R1", "wake")]),
        ("27 12:43:34", "telephone STARTED", [("", "Night wandering")]),
        ("27 12:43:35", "telephone INSTRUCTIONS ENDED", [("", "Night wandering")]),
        ("27 12:43:36", "telephone ENDED", [("", "Night wandering")]),
    ]
    assert notes(loaded.report.mended) == [
        (11, "steps back in time: 2008-02-26 23:00:00 follows 2008-02-27 12:43:36; sorted"),
        (16, "label 'R2_Sleep' has neither begin nor end: taken to hold for this row alone"),
        (17, "label 'begin' names no activity: event kept without"),
        (12, "'Sleep' begins and never ends: taken to hold until the end of its day"),
        (7, "'m09' (1 rows, the first here) differs in case only: read as M09"),
    ]
    assert [(d.reason, d.rows) for d in loaded.report.dropped] == [
        ("numbers of AD1-A, which has no threshold", 2),
        ("numbers of T003, which has no threshold", 1),
    ]
    assert {s.n_residents for s in loaded.sessions} == {2}
    row = loaded.sessions[0].to_rows()[1]
    assert (row["activity"], row["activities"]) == ("Sleep", [["R2", "Sleep"], ["", "Sleep"]])


def test_marks_that_never_close(casas):
    loaded = casas(
        "2010-11-04 08:00:00 M001 ON Eat begin\n2010-11-04 09:00:00 M001 ON\n2010-11-04 10:00:00 M001 ON Read begin\n"
        "2010-11-04 10:30:00 M001 ON Read begin\n2010-11-04 11:00:00 M001 ON\n2010-11-06 12:00:00 M001 ON Read end\n"
    )
    assert [pairs for _, _, pairs in rows(loaded)] == [
        [("", "Eat")], [("", "Eat")], [("", "Read")], [("", "Read")], [("", "Read")], [("", "Read")],
    ]  # fmt: skip
    assert notes(loaded.report.mended) == [
        (3, "'Read' begins and never ends: taken to hold until its resident's next mark"),
        (4, "'Read' begins and never ends: taken to hold until the end of its day"),  # its end is two days later
        (6, "'Read' ends without a begin: taken to hold for this row alone"),
        (1, "'Eat' begins and never ends: taken to hold until its resident's next mark"),
    ]


def test_al_and_uci_506(casas):
    al = casas(
        "2011-06-15 01:03:39.1 OutsideDoor Entry ON Sleep\n2011-06-15 01:03:40.12 OutsideDoor FrontDoor OPEN Other\n"
        "2011-06-15 01:03:41.123456 LoungeChair LivingRoom OFF\n2011-06-15 01:03:42 Bedroom Bedroom\n"
        "2011-06-15 01:03:43 Kitchen KitchenLight ONc Cook\n2011-06-15 01:03:44 Kitchen Kitchen 27 Cook\n"
    )
    assert [(text, pairs) for _, text, pairs in rows(al)] == [
        ("entry outside door turned ON", [("", "Sleep")]),
        ("front door OPENED", []),
        ("living room lounge chair turned OFF", []),
        ("kitchen light turned ON", [("", "Cook")]),
    ]
    assert al.sessions[0].events[0].time == datetime(2011, 6, 15, 1, 3, 39, 100_000)
    assert notes(al.report.mended) == [
        (3, "label '' names no activity: event kept without"),
        (5, "value 'ONc' read as ON"),
    ]
    assert notes(al.report.refused) == [(4, "too few fields for layout al: '2011-06-15 01:03:42 Bedroom Bedroom'")]
    ann = casas(
        "2012-07-20 10:38:54.5\tD002\tOutsideDoor\tFrontDoor\tOPEN\tControl4-Door\tStep_Out\n"
        "2012-07-20 10:38:55.5\tM010\tIgnore\tIgnore\tON\tControl4-Motion\tOther_Activity\n"
        "2012-07-20 10:38:56.5\tBATV012\tIgnore\tIgnore\t9460\tControl4-BatteryVoltage\n"
    )
    assert [(text, pairs) for _, text, pairs in rows(ann)] == [
        ("front door D002 OPENED", [("", "Step_Out")]),
        ("motion sensor M010 turned ON", []),
    ]


ADLMR = "2008-11-11\t08:35:30.38366\tM08\tON 2 2\n2008-11-11\t08:35:31.5\tI04\tABSENT 1 13 2 13\n"


def test_adlmr_tasks_are_named_by_a_file_of_the_user(casas, tmp_path):
    unnamed = casas(ADLMR.strip(), "P01.txt")
    assert list(unnamed.sessions[0].activities.items()) == [(2, "task 2"), (13, "task 13")] and unnamed.report.warnings
    assert unnamed.sessions[0].events[1].pairs == (("R1", 13), ("R2", 13))
    assert unnamed.sessions[0].events[1].residents == ("R1", "R2")
    (tmp_path / "home" / "tasks.txt").write_text("fill dispenser\nhang up  clothes\n" + "\n" * 10 + "play checkers")
    named = casas(ADLMR, "P02.txt")  # P01 has no newline at its end; nothing runs together
    assert [s.session_id for s in named.sessions] == ["P01", "P02"] and not named.report.warnings
    assert dict(named.sessions[0].activities) == {2: "hang up clothes", 13: "play checkers"}
    glued = casas(ADLMR.strip() + ADLMR, "P02.txt").report
    assert notes(glued.refused) == [(2, "two lines in one: a file without a newline at its end was joined to the next")]


def test_a_home_file_names_sensors_and_gives_thresholds(casas, tmp_path):
    (tmp_path / "own.yaml").write_text(
        "name: own\nkind: real\nrooms: {kitchen: [stove]}\nsensors:\n  m08: {room: kitchen, name: ceiling motion}\n"
        "  AD1-A: {room: kitchen, name: stove, above: 1}\n"
    )
    loaded = casas(CLASSIC, home=str(tmp_path / "own.yaml"), analog="T*:20")
    said = [text for _, text, _ in rows(loaded)]
    assert "kitchen ceiling motion turned ON" in said and "motion sensor M09 turned ON" in said
    assert [text for text in said if "stove" in text] == ["kitchen stove turned ON", "kitchen stove turned OFF"]
    assert "temperature sensor T003 turned ON" in said and not loaded.report.dropped
    assert loaded.sessions[0].described.name == loaded.sessions[0].home == "own"
    for option, message in (
        ({"analog": "T001"}, "no SENSOR:NUMBER"), ({"days": "2011-13-01"}, "no span"), ({"days": ".."}, "no span"),
        ({"home": "nowhere"}, "no home file"), ({"files": "x"}, "no file 'x' in .*: choose from data"),
        ({"days": "1999-01-01"}, r"no sensor event .* lies in 1999-01-01\.\.1999-01-01"),
        ({"days": "2011-06-15..2011-06-14"}, "no span"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            casas(CLASSIC, **option)


def test_only_the_days_asked_for_are_read_but_marks_around_them_count(casas):
    loaded = casas(CLASSIC, days="2008-02-27..")
    assert [s.session_id for s in loaded.sessions] == ["2008-02-27"]
    text = CLASSIC.replace("T003 21 Sleep end", "M10 ON\n2008-02-27 06:00:00.5 M10 OFF Sleep end")
    assert ("27 06:00:00", "motion sensor M10 turned ON", [("", "Sleep")]) in rows(casas(text, days="2008-02-27"))
    assert loaded.report.dropped[-3].reason == "outside 2008-02-27..9999-12-31"
    far = casas("".join(f"2010-01-{d:02} 10:00:00 M001 ON\n" for d in range(1, 29)), days="..2010-01-03")
    assert (far.report.n_events, far.report.dropped[0].rows) == (3, 25)


def test_files_beside_the_data_are_no_data(casas, tmp_path):
    (tmp_path / "home" / "more").mkdir(parents=True)
    (tmp_path / "home" / "README").write_text("Lines look so:\n2010-11-04 00:03:50 M003 ON Sleeping begin\netc.\n")
    (tmp_path / "home" / "plan.png").write_bytes(b"\x89PNG\0\0\n\xff\xff")
    (tmp_path / "home" / "more" / "hh2.csv").write_text("2011-06-15,01:03:39,Kitchen,ON\n")
    (tmp_path / "home" / "more" / ".hidden.csv").write_text("2011-06-15,01:03:39,Kitchen,ON\n")
    loaded = casas("2011-06-15,01:03:39,Bedroom,ON,Sleep\n", "hh1.csv")
    assert [(s.session_id, s.home) for s in loaded.sessions] == [("hh1-2011-06-15", "hh1"), ("hh2-2011-06-15", "hh2")]
    assert [(n.file, n.line) for n in loaded.report.set_aside] == [("README", 0), ("plan.png", 0)]
    assert loaded.report.rows_read == 2
    (only,) = casas("2011-06-15,01:03:39,Bedroom,ON,Sleep\n", "hh1.csv", files="hh2").sessions
    assert (only.session_id, only.events[0].text) == ("2011-06-15", "kitchen motion sensor turned ON")


def test_bytes_that_are_no_text_cost_their_line_alone(casas):
    line = b"2010-11-04 00:03:50 M003 ON\n"
    content = b"\xef\xbb\xbf" + line + b"\xff" + line + line[:10] + b"\0" + line + b"x" * 200_000 + b"\n" + line * 5
    report = casas(content).report
    assert (report.n_events, report.rows_read) == (6, 9)
    assert notes(report.refused) == [
        (2, "not UTF-8 text; save the file as UTF-8"),
        (3, "NUL byte; save the file as plain UTF-8 text (not UTF-16)"),
        (4, "line of over 65,536 bytes"),
    ]


def test_too_much_to_read_together_is_chosen_from(casas, monkeypatch):
    monkeypatch.setattr("llmhar.data.casas.MAX_TOGETHER", 10)
    with pytest.raises(DataError, match=r"1 files of .* bytes.* options files=data\.\.\. or days=START\.\.END"):
        casas(CLASSIC)
    assert casas(CLASSIC, days="2008-02-26").sessions


def test_parts_of_lines():
    assert time_of("2011-06-15", "1:03:39") is time_of("2011-W24-3", "01:03:39") is None
    assert time_of("2011-06-15", "01:03:39+01:00") is None
    assert [state_of(v) for v in ("OFFcc", "CLOS", "O", "ONM026", "on")] == [
        ("turned OFF", "OFF"), ("CLOSED", "CLOSE"), None, None, ("turned ON", ""),
    ]  # fmt: skip
    two = marks_of('Sleep="end",r1.Toilet=""begin""')
    assert two == [("end", "", "Sleep"), ("begin", "R1", "Toilet")] == marks_of("Sleep end R1_Toilet begin")
    assert marks_of("R2 work in office") == [("", "R2", "work in office")]
    assert pairs_of("1")[0] == () and pairs_of("2 13 1 13") == ((("R2", "task 13"), ("R1", "task 13")), "")
    assert layout_of(["hello", "2010-11-04 00:03:50 M003 ON", "world"]) is None
    assert layout_of(["2010-11-04 00:03:50 M003 ON", "2010-11-04 00:03:50 M003 ON 1 2"]).name == "adlmr"


def test_names_of_sensors():
    names = ("KitchenAStove", "HallwayA", "OutsideDoor", "MA020", "T1", "XY9", "DiningRoomTable", "Closet", "Café")
    words = speak({SensorId(name): name == "Closet" for name in names})
    assert [" / ".join(words[SensorId(name)]) for name in names] == [
        "kitchen / stove", "hallway / motion sensor", " / outside door", " / area motion sensor MA020",
        " / temperature sensor T1", " / sensor XY9", "dining room / table", "closet / door", " / Café",
    ]  # fmt: skip
    assert len(set(speak({SensorId(n): False for n in ("FrontDoor", "Front_Door")}).values())) == 2


def made_up(n):
    clock = [datetime(2011, 1, 1) + timedelta(seconds=20 * i) for i in range(n)]
    label = {0: ',Sleep="begin"', 40: ',Sleep="end"', 50: ',Cook="begin"', 90: ',Cook="end"'}
    return "".join(
        f"{t:%Y-%m-%d},{t:%H:%M:%S}.{i % 999_999},Kitchen{'ABCD'[i % 4]}Stove,{('ON', 'OFF')[i // 4 % 2]}"
        f"{label.get(i % 100, '')}\n"
        for i, t in enumerate(clock)
    )  # fmt: skip


def test_fifty_thousand_lines_a_second_in_bounded_memory(casas):
    text = made_up(20_000)
    casas(text)
    assert quiet_seconds(lambda: casas(text), runs=2) < 20_000 / 50_000  # measured 160k a second
    tracemalloc.start()
    n_events = casas(text).report.n_events
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_events == 20_000 and most < 600 * n_events  # measured 190
