"""Home Assistant's file beside an owner that writes, and on a full disk; and planted readers that are seen."""

import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from llmhar.data.own import hass
from tests.bench.disks import Fault, judge, small_disk
from tests.bench.faults_store import SPACE
from tests.bench.recorders import JOURNALS, NAME, beside_its_owner, copy_on_full_disk, what_is_wrong


def states(numbers):
    return [(number, ["light.a", str((number - 1) // 2), ""]) for number in numbers]


@pytest.mark.parametrize(
    ("read", "before", "said"),
    [
        (states([1, 2, 3, 4]), 2, ""),
        (states([1, 2, 4]), 1, "3 states up to 4"),
        (states([1, 2, 3]), 1, "half a commit"),
        ([*states([1, 2, 3]), (4, ["light.a", "7", ""])], 1, "another state"),
        (states([1, 2]), 2, "1 pairs, but 2 were committed before"),
    ],
)
def test_a_reading_that_is_no_picture_of_one_moment_is_seen(read, before, said):
    assert said in what_is_wrong(read, before) and bool(said) == bool(what_is_wrong(read, before))


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_file_is_read_while_its_owner_writes(journal):
    claims = beside_its_owner(journal, 5, pairs=2000)
    assert [claim.verdict for claim in claims] == ["met"] * 3, claims


def test_a_reader_of_the_file_alone_is_seen(tmp_path):
    def alone(path):
        """What stands in the log is not there."""
        copy = shutil.copyfile(path, tmp_path / "copy.db")
        with closing(sqlite3.connect(copy)) as db:
            return [(number, ["", state]) for number, state in db.execute("SELECT state_id, state FROM states")]

    claims = beside_its_owner("wal", 25, read=alone, pairs=500)
    assert claims[1].verdict == "missed" and "were committed before" in claims[1].why


def test_a_reader_that_holds_its_owner_up_is_seen():
    def locks(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(0.5)
        return hass.read_states(path)

    claims = beside_its_owner("delete", 2, read=locks, pairs=200)
    assert claims[2].verdict == "missed"


def test_a_full_disk_under_the_copy_is_told_and_a_reader_that_leaves_half_of_it_is_seen():
    def leaves(path):
        try:
            return list(hass.read_states(path))
        except Exception:
            shutil.copyfile(path, f"{hass.tempfile.gettempdir()}/left.db")
            raise

    fault = Fault("full", NAME, SPACE)
    try:
        with small_disk(8) as disk:
            judged = judge(fault, copy_on_full_disk(disk))
            assert judged.verdict == "met", judged
        with small_disk(8) as disk:
            assert "lost" in judge(fault, copy_on_full_disk(disk, leaves)).measured
    except OSError as error:
        pytest.skip(str(error))
