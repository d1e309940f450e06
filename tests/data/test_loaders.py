"""Damaged lines in every loader's files: sessions or a DataError, and every row that was read is accounted for."""

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data.registry import DATASETS, DataError, load
from tests.data.test_casas import ADLMR, CLASSIC, CSV
from tests.data.test_kasteren import B

FIXTURES = Path(__file__).parents[1] / "fixtures"
AL = "2011-06-15 01:03:39.1 OutsideDoor Entry ON Sleep\n2011-06-15 01:03:40.12 OutsideDoor FrontDoor OPEN Other\n"
SENSORS = "2011-11-28 10:00:00\t2011-11-28 10:05:00\tBed\tPressure\tBedroom\n" * 3
ADLS = "2011-11-28 10:00:00\t2011-11-28 10:05:00\tSleeping\n2011-11-28 10:06:00\t2011-11-28 10:09:00\tLunch\n"
FOLDERS = {
    "mural": None,
    "marble": None,
    "uci_adl": {"OrdonezA_Sensors.txt": SENSORS, "OrdonezA_ADLs.txt": ADLS},
    "casas csv": {"hh1.csv": CSV},
    "casas classic": {"data": CLASSIC},
    "casas adlmr": {"P01": ADLMR * 5, "tasks.txt": "one\ntwo\n"},
    "casas al": {"data": AL * 5},
    "kasteren": B,
}


def test_every_loader_of_files_is_tried():
    assert {name.split()[0] for name in FOLDERS} == {n for n, e in DATASETS.items() if e.kind == "real"} - {"casas2025"}


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request, tmp_path_factory):
    """Name of a data set, a folder of it, and its files as they are when whole."""
    place = tmp_path_factory.mktemp("whole") / "set"
    name = request.param.split()[0]
    if FOLDERS[request.param] is None:
        shutil.copytree(FIXTURES / name, place)
    else:
        place.mkdir()
        for file, text in FOLDERS[request.param].items():
            (place / file).write_text(text)
    return name, place, {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


PIECES = st.sampled_from(
    [b"", b",", b"\t", b" ", b"\n", b'"', b"\xff", b"\0", b"ON", b"begin", b"end", b"2011-06-15", b"9999-12-31",
     b"0001-01-01", b"2011-W24-3", b"23:59:60", b"10:00:00+01", b"-", b"1e400", b"211", b"R1_", b"Length: 3", b"\r"]
)  # fmt: skip
DAMAGE = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0, 1), st.integers(0, 12), PIECES | st.binary(max_size=4)), max_size=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=DAMAGE)
def test_damaged_lines_are_all_accounted_for(folder, damage):
    """Read = used (events, intervals of labels) + refused + set aside + dropped; each of them names file and line."""
    name, place, whole = folder
    files = list(whole)
    for path, content in whole.items():
        path.write_bytes(content)
    for which, where, length, piece in damage:
        path = files[which % len(files)]
        content = path.read_bytes()
        at = int(where * len(content))
        path.write_bytes(content[:at] + piece + content[at + length :])
    try:
        report = load(name, place).report
    except DataError as error:
        assert str(error)
        return
    assert report.n_unaccounted == 0
    assert report.n_events and report.rows_used
    ends = re.compile(rb"\r\n|\r|\n")  # a line ends as Python and editors end one
    lines = {path.relative_to(place).as_posix(): len(ends.split(path.read_bytes())) for path in files}
    for note in (*report.mended, *report.refused, *report.set_aside):
        assert note.reason and 0 <= note.line <= lines.get(note.file, 0)


@pytest.mark.parametrize("fault", ["forgotten", "counted twice"])
def test_a_row_that_is_lost_is_seen(monkeypatch, tmp_path, fault):
    from llmhar.data import casas_rows

    monkeypatch.setattr(
        casas_rows.FileRows, "_refuse", lambda self, line, reason: setattr(self, "lost", line)
        if fault == "forgotten" else setattr(self._report, "rows_used", self._report.rows_used + 2)
    )  # fmt: skip
    (tmp_path / "data").write_text(CLASSIC + "2008-02-27 06:00:03 M09\n")
    assert load("casas", tmp_path).report.n_unaccounted == (1 if fault == "forgotten" else -1)
