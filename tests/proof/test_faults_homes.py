"""Loaders of homes and motion: sound files pass, damaged ones are read or refused, unbalanced books are found."""

from pathlib import Path

import pytest

from llmhar.data.load_report import DroppedRows, LoadReport, RowNote
from tests.bench.faults_homes import ALL, HOMES, check_books, lines_in, make_kasteren, read_all
from tests.bench.faults_loaders import Case, fault_claims, mutated
from tests.bench.faults_loaders import read_all as read_cases


def test_sound_files_and_some_damaged_ones_pass():
    """All loaders in one process, as the bench reads them: what one leaves behind is another's."""
    cases = [Case(name, one, one.make, is_refused=False) for name, one in ALL.items()]
    outcomes = read_cases(cases)
    assert [(one.what, one.fault, one.was_refused) for one in outcomes] == [(name, "", False) for name in ALL]
    damaged = read_cases(mutated(2 * len(ALL), ALL, seed=5))
    assert [(one.what, one.fault) for one in damaged if one.fault] == []
    assert set(HOMES) < set(ALL)


def report(**values):
    return LoadReport("made", Path("/nowhere"), **values)


def test_books_that_do_not_balance_are_found():
    noted = report(
        rows_read=4, rows_used=1, refused=[RowNote("a", 2, "x")], dropped=[DroppedRows("a", 3, "numbers", 2)]
    )
    check_books(noted, {"a": 4})
    with pytest.raises(RuntimeError, match="1 rows that were read stand nowhere"):
        check_books(report(rows_read=2, rows_used=1), {})
    with pytest.raises(RuntimeError, match="5 lines, but 4 rows"):
        check_books(noted, {"a": 5})
    left_out = report(rows_read=4, rows_used=4, set_aside=[RowNote("b", 0, "left out")])
    check_books(left_out, {"a": 4, "b": 9})


def test_a_planted_loader_that_loses_a_row_is_a_missed_claim():
    def load(folder):
        found = HOMES["Kasteren"].load(folder).report
        found.rows_used -= 1
        check_books(found, lines_in(folder))

    planted = {"planted": HOMES["Kasteren"]._replace(load=load)}
    outcomes = read_cases([Case("planted", planted["planted"], make_kasteren)])
    assert "RuntimeError: 1 rows that were read stand nowhere" in outcomes[0].fault
    claims = fault_claims(outcomes, outcomes, 1)
    assert [claim.verdict for claim in claims[:3]] == ["met", "missed", "missed"]


def test_motion_that_is_no_number_is_found(tmp_path):
    HOMES["USC-HAD"].make(tmp_path)
    clips = HOMES["USC-HAD"].load(tmp_path)
    signal = clips.clips[0].read_motion()
    signal.samples[3, 2] = float("inf")
    with pytest.raises(RuntimeError, match="no numbers"):
        read_all(clips)
