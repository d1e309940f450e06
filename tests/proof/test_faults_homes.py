"""Loaders of homes and motion: sound files pass, damaged ones are read or refused, unbalanced books are found."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmhar.data.load_report import DataError, DroppedRows, LoadReport, RowNote
from llmhar.data.own import files
from llmhar.data.reader import Reader
from llmhar.fusion.clips import hapt, motion_files
from tests.bench import faults_homes
from tests.bench.faults_books import check_books, lost_lines
from tests.bench.faults_homes import ALL, HAPT, HOMES, make_kasteren, read_all
from tests.bench.faults_loaders import Case, fault_claims, mutated
from tests.bench.faults_loaders import read_all as read_cases


@pytest.fixture(autouse=True)
def own_places(monkeypatch):
    """Loaders here set them."""
    for name in ("LLMHAR_DATA", "LLMHAR_CACHE"):
        monkeypatch.setenv(name, "")


def test_sound_files_and_some_damaged_ones_pass():
    """All loaders in one process, as the bench reads them: what one leaves behind is another's."""
    cases = [Case(name, one, one.make, is_refused=False) for name, one in ALL.items()]
    outcomes = read_cases(cases)
    assert [(one.what, one.fault, one.was_refused) for one in outcomes] == [(name, "", False) for name in ALL]
    damaged = read_cases(mutated(2 * len(ALL), ALL, seed=5))
    assert [(one.what, one.fault) for one in damaged if one.fault] == []
    assert set(HOMES) < set(ALL)


def test_sums_that_do_not_balance_are_found():
    noted = {"refused": [RowNote("a", 2, "x")], "dropped": [DroppedRows("a", 3, "numbers", 2)]}
    check_books(LoadReport("made", Path("/nowhere"), rows_read=4, rows_used=1, **noted))
    with pytest.raises(RuntimeError, match="1 rows that were read stand nowhere"):
        check_books(LoadReport("made", Path("/nowhere"), rows_read=5, rows_used=1, **noted))


TABLE = 'time,sensor\n1,a\n\n2,"b\nb"\n3,c'


@pytest.mark.parametrize(
    ("entered", "is_table", "lost"),
    [
        ({2, 4, 6}, True, []),  # the header, a blank line, and one that goes on the line above
        ({2, 6}, True, [4, 5]),
        ({2, 4}, True, [6]),
        ({4, 6}, True, [2]),
        ({1, 2, 4, 6}, False, [5]),
    ],
)
def test_lost_lines_are_found_by_their_numbers(entered, is_table, lost):
    assert lost_lines(TABLE.split("\n"), entered, is_table) == lost


def test_a_planted_loader_that_loses_a_row_is_a_missed_claim():
    def load(folder):
        found = HOMES["Kasteren"].load(folder).report
        found.rows_used -= 1
        check_books(found)

    planted = {"planted": HOMES["Kasteren"]._replace(load=load)}
    outcomes = read_cases([Case("planted", planted["planted"], make_kasteren)])
    assert "RuntimeError: 1 rows that were read stand nowhere" in outcomes[0].fault
    claims = fault_claims(outcomes, outcomes, 1)
    assert [claim.verdict for claim in claims[:3]] == ["met", "missed", "missed"]


def lines_of(change):
    """A way of reading that goes through a function of a list of (line, ...)."""

    def planted(name):
        real = getattr(Reader, name)
        return lambda self, *how: iter(change(list(real(self, *how))))

    return planted


LOST = lines_of(lambda rows: [row for i, row in enumerate(rows) if i != 6])
TWICE = lines_of(lambda rows: [rows[5] if i == 6 else row for i, row in enumerate(rows)])


@pytest.mark.parametrize("name", ["CASAS, csv", "Kasteren", "MuRAL", "MARBLE", "clips, CSV"])
@pytest.mark.parametrize(("plant", "said"), [(LOST, "stands? nowhere in the books"), (TWICE, r"entered 2 times")])
def test_each_line_that_is_lost_or_read_twice_is_found(tmp_path, monkeypatch, name, plant, said):
    """Where one line is read twice and another one never, sums balance: only the numbers tell."""
    way = "stream" if name in ("CASAS, csv", "Kasteren") else "table"
    ALL[name].make(tmp_path)
    ALL[name].load(tmp_path)
    motion_files._prepared.cache_clear()
    monkeypatch.setattr(Reader, way, plant(way))
    with pytest.raises(RuntimeError, match=said):
        ALL[name].load(tmp_path)


@pytest.mark.parametrize("name", ["own CSV", "own Parquet", "Home Assistant", "Home Assistant before 2023"])
@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda rows: rows[:6] + rows[7:], r"(1|81) rows were not entered, (0|80) are counted"),
        (lambda rows: [*rows[:6], rows[5], *rows[7:]], "entered 2 times"),
    ],
)
def test_each_row_of_a_user_s_file_that_is_lost_or_kept_twice_is_found(tmp_path, monkeypatch, name, plant, said):
    real = files._rows
    monkeypatch.setattr(files, "_rows", lambda *how: plant(list(real(*how))))
    ALL[name].make(tmp_path)
    with pytest.raises(RuntimeError, match=said):
        ALL[name].load(tmp_path)


@pytest.mark.parametrize(("name", "clips_of"), [("PAMAP2", "pamap2_clips"), ("USC-HAD", "usc_had_clips")])
def test_rows_of_motion_in_no_clip_and_not_counted_are_found(tmp_path, monkeypatch, name, clips_of):
    HOMES[name].make(tmp_path)
    assert HOMES[name].load(tmp_path).dropped
    real = getattr(faults_homes, clips_of)
    monkeypatch.setattr(faults_homes, clips_of, lambda folder: replace(real(folder), dropped=()))
    with pytest.raises(RuntimeError, match=r"rows, but \d+ in clips, 0 dropped"):
        HOMES[name].load(tmp_path)


def test_rows_of_a_motion_file_that_are_left_out_without_a_word_are_found(tmp_path, monkeypatch):
    ALL["clips, CSV"].make(tmp_path)
    real = motion_files._numbers
    cut = lambda rows, *how: real(motion_files._Rows(rows.t[1:], rows.values[1:], rows.line[1:]), *how)  # noqa: E731
    monkeypatch.setattr(motion_files, "_numbers", cut)
    with pytest.raises(RuntimeError, match=r"imu\.csv, line 2: stands nowhere"):
        ALL["clips, CSV"].load(tmp_path)


def test_a_damaged_copy_of_hapt_is_refused_by_name(tmp_path):
    HOMES["HAPT, clips"].make(tmp_path)
    assert len(HOMES["HAPT, clips"].load(tmp_path).clips) == 3
    file = tmp_path / HAPT
    file.write_bytes(file.read_bytes()[:-100])
    hapt._read.cache_clear()
    hapt._motion_set.cache_clear()
    with pytest.raises(DataError, match=rf"{file.name} is damaged .*delete it"):
        HOMES["HAPT, clips"].load(tmp_path)


def test_motion_that_is_no_number_is_found(tmp_path):
    HOMES["USC-HAD"].make(tmp_path)
    clips = HOMES["USC-HAD"].load(tmp_path)
    signal = clips.clips[0].read_motion()
    signal.samples[3, 2] = float("inf")
    with pytest.raises(RuntimeError, match="no numbers"):
        read_all(clips)
