"""Files of events in every form: told by what is in them, one name an event, errors with file, line and cure."""

import json
from dataclasses import replace
from datetime import datetime

import pandas as pd
import pytest
from typer.testing import CliRunner

from llmhar.cli import app
from llmhar.data.events import SensorEvent, Session
from llmhar.data.load_report import Loaded, LoadReport, Split, WrongCall
from llmhar.data.registry import DATASETS
from llmhar.run.row_files import read_rows, rows_of
from llmhar.score.f1 import ScoreError, score_rows

EVENTS = [
    {"session": "01", "id": 0, "activity": "cooking"},
    {"session": "01", "id": 1, "activity": None},
    {"session": "7", "id": 12, "activity": "watching TV, late"},
]


FRAME = pd.DataFrame(EVENTS)
LINES = [json.dumps(row) for row in EVENTS]
FORMS = {
    "csv": lambda file: FRAME.to_csv(file, index=False),
    "semicolons, a byte order mark": lambda file: FRAME.to_csv(file, sep=";", index=False, encoding="utf-8-sig"),
    "tabs, other columns too": lambda file: FRAME.assign(other=1).to_csv(file, sep="\t", index=False, quoting=1),
    "Windows line ends": lambda file: FRAME.to_csv(file, index=False, lineterminator="\r\n"),
    "jsonl": lambda file: file.write_text("\n\n".join(LINES) + "\n"),
    "array": lambda file: file.write_text(json.dumps(EVENTS)),
    "array over lines": lambda file: file.write_text("\n" + json.dumps(EVENTS, indent=1)),
    "ids as text": lambda file: file.write_text(json.dumps([{**row, "id": str(row["id"])} for row in EVENTS])),
    "parquet": FRAME.to_parquet,
    "parquet, ids of floats": FRAME.astype({"id": float}).to_parquet,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_events(tmp_path, form):
    FORMS[form](tmp_path / "name.of.no.form")
    assert [row for row in read_rows(tmp_path / "name.of.no.form").rows if row] == EVENTS


def test_one_truth_scores_predictions_of_another_form(tmp_path):
    truth, pred = tmp_path / "t.json", tmp_path / "p.csv"
    pairs = [["R1", "x"], ["R2", "y"]]
    truth.write_text(json.dumps([{"session": 3, "id": 0, "activity": "x", "activities": pairs, "time": "…"},
                                 {"session": 3, "id": 1, "activity": 2, "activities": [["R1", 2]]}]))  # fmt: skip
    pred.write_text("session,id,activity\n3,1,2\n3,0,y\n")
    found = score_rows(read_rows(truth).rows, read_rows(pred).rows)
    assert (found["macro_f1"], found["n_joint"], found["strict_macro_f1"]) == (1.0, 1, 0.5)
    # pairs go through CSV as JSON, and through Parquet as lists
    csv, parquet = tmp_path / "t.csv", tmp_path / "t.parquet"
    frame = pd.DataFrame(json.loads(truth.read_text())).astype({"activity": str})
    frame.assign(activities=frame["activities"].map(json.dumps)).to_csv(csv, index=False)
    frame.assign(activities=[[["R1", "x"], ["R2", "y"]], [["R1", "2"]]]).to_parquet(parquet)
    for file in (csv, parquet):
        assert score_rows(read_rows(file).rows, read_rows(pred).rows) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("session,id\na,1\n", "f, line 1: no column activity; needed are session, id, activity, there are session, id"),
        ("\n\nsession;id\n", "f, line 3: no column activity"),
        ("session,id,activity\na,1,x\na,2,watching TV, late\n", "f, line 3: 4 cells, the header has 3; put a cell"),
        ('session,id,activity\n"a\nb",1,x\na,2\n', "f, line 4: 2 cells"),
        ('session,id,activity\na,1,"x"y\n', "f, line 2: not CSV"),
        ('session,id,activity\na,1,"x\n', "not CSV"),
        ("session,id,activity\na,1,x\n\na,1,y\n", "f, line 4: session 'a', id 1 stands there twice"),
        ('session,id,activity,activities\na,1,x,"[["\n', "f, line 2: activities must be JSON, [[resident,"),
        ('session,id,activity,activities\na,1,x,"[[1,2,3]]"\n', 'f, line 2: need {"session", "id", "activity"}, and'),
        ('[{"session": "a", "id": 1, "activity": "x"}, 5]', "f, object 2: need an object, got 5"),
        ('[{"session": "a", "id": 1}]', 'f, object 1: need {"session", "id", "activity"}'),
        ('[{"session": "a",', "f: not JSON (Expecting property name enclosed in double quotes: line 1 column 18"),
        ('{"session": "a", "id": 1, "activity": "x"}\n{"id": 2}\n', 'f, line 2: need {"session", "id", "activity"}'),
        ("PAR1 but nothing else", "f cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_what_is_broken_says_where(tmp_path, text, message):
    file = tmp_path / "f"
    file.write_text(text)
    with pytest.raises(ScoreError) as error:
        rows = read_rows(file)
        score_rows(rows.rows, [], None, (rows.place, "predictions, line"))
    assert message in str(error.value).replace(f"{tmp_path}/", "")


def recording(name, activities=("cooking", "eating", "TRANSITION")):
    """A session of 30 events, the three activities in turn; the last one is not scored."""
    events = tuple(
        SensorEvent(i, datetime(2026, 3, 1, 7, 0, i), "kitchen", "fridge", "OPENED", activity_id=i % 3)
        for i in range(30)
    )
    return Session("made", name, "simulated", dict(enumerate(activities)), events, unscored=frozenset({2}))


def test_a_data_set_s_own_label_set_is_what_is_true():
    rows = rows_of([recording("a")], "made").rows
    assert [row["activity"] for row in rows[:3]] == ["cooking", "eating", None] and rows[2]["activities"] == []


def score(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def test_score_takes_a_data_set_s_name_for_either(monkeypatch, tmp_path):
    sessions = [recording(name) for name in "abc"]
    loads = lambda path: Loaded(sessions, LoadReport("made", path, sessions=sessions))  # noqa: E731
    entry = replace(DATASETS["mural"], name="made", load=loads, split=lambda _: Split(["a"], ["b", "c"]))
    monkeypatch.setitem(DATASETS, "made", entry)
    file, place = tmp_path / "p.csv", ("--path", tmp_path)
    pd.DataFrame([row for session in sessions for row in session.to_rows()]).to_csv(file, index=False)
    for pair in (("made", file), ("made", "made")):
        found = json.loads(score(*pair, *place, "--json").stdout)
        assert (found["macro_f1"], found["n_events"], found["n_unpredicted"]) == (1.0, 60, 0)
    assert json.loads(score(file, "made", *place, "--json").stdout)["n_events"] == 90  # a file knows no label set
    test = json.loads(score("made", file, *place, "--test", "--json").stdout)
    assert [s["session"] for s in test["per_session"]] == ["b", "c"]
    file.write_text("session,id,activity\na,0,cooking\n")
    shown = score("made", file, *place)
    assert "has no event of 2 of the 3 sessions" in shown.stderr and "strict" not in shown.stdout


def test_neither_a_file_nor_a_data_set_is_a_wrong_call(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("session,id,activity\na,1,\n")
    for arguments, words in (
        (("nothing", file), "nothing is no file and no data set; data sets are mural"),
        ((file, file, "--test"), "--test needs a data set's name as TRUTH"),
    ):
        done = score(*arguments)
        assert isinstance(done.exception, WrongCall) and words in str(done.exception)
    assert "none of its events has an activity, so there is nothing" in str(score(file, file).exception)
