"""The home with faults: every fault does what the lesson says, and its cure cures it."""

import pytest

from llmhar.data import faulty_home
from llmhar.score import loader_tables

OUTCOMES = {
    ("01/context.json", 0): ("mended", "'Sunday' is neither weekday nor weekend"),
    ("01/data.csv", 3): ("mended", "'9' is not in activities.json"),
    ("01/data.csv", 5): ("mended", "out of order"),
    ("01/data.csv", 6): ("refused", "not HH:MM:SS"),
    ("01/data.csv", 7): ("refused", "unknown action"),
    ("01/data.csv", 8): ("refused", "too few columns"),
    ("01/data.csv", 9): ("refused", "too many columns"),
    ("01/data.csv", 10): ("set aside", "annotation only"),
    ("01/data.csv", 11): ("refused", "a quote is opened"),
    ("02/data.csv", 0): ("refused", "session left out"),
    ("02/data.csv", 2): ("refused", "not HH:MM:SS"),
}


@pytest.fixture(scope="module")
def faulty():
    return faulty_home.load()


def test_each_fault_is_in_the_books_with_its_line_and_a_cure(faulty):
    faults = {(fault.file, fault.line): fault for fault in faulty_home.faults(faulty)}
    assert {place: fault.outcome for place, fault in faults.items()} == {
        place: outcome for place, (outcome, _) in OUTCOMES.items()
    }
    for place, (_, reason) in OUTCOMES.items():
        assert reason in faults[place].reason and faults[place].cure
        if place[1]:
            assert faults[place].written == faulty_home.FILES[place[0]][place[1] - 1].written
    assert faulty.report.n_unaccounted == 0


def test_every_line_that_is_to_be_cured_is_a_fault_and_no_other(faulty):
    noted = {(fault.file, fault.line) for fault in faulty_home.faults(faulty)}
    for file, lines in faulty_home.FILES.items():
        for number, line in enumerate(lines, start=1):
            place = (file, number if len(lines) > 1 else 0)
            assert (place in noted) == bool(line.cure), place


def test_the_cured_home_has_nothing_but_the_note(faulty, tmp_path):
    cured = faulty_home.load(cured=True)
    (note,) = faulty_home.faults(cured)
    assert note.outcome == "set aside" and cured.report.n_unaccounted == 0
    events = [event for session in cured.sessions for event in session.events]
    assert all(event.activity_id is not None for event in events) and {s.day for s in cured.sessions} == {"weekend", ""}
    books = loader_tables.books_table({"as written": faulty, "cured": cured})
    assert list(books.loc[["mended", "refused"], "cured"]) == [0, 0] and books.at["set aside", "cured"] == 1
    assert books.at["rows read", "as written"] == books.at["rows read", "cured"] == 12
    assert books.at["events", "cured"] == len(events) == 11 and books.at["events", "as written"] == 5


def test_the_table_says_whole_file_where_no_line_is_to_blame(faulty):
    table = loader_tables.fault_table(faulty)
    assert list(table.columns) == ["line", "as written", "became", "reason", "cure"]
    assert list(table.loc["02/data.csv", "line"]) == ["whole file", 2] and not table.isna().any().any()


def test_the_folder_is_gone_afterwards(faulty):
    assert not faulty.report.path.exists()
