"""A made-up home with faults, in MuRAL's format: what a loader mends, refuses and sets aside, and the cure of each.

Two sessions of a few lines, each fault once. The same home can be written cured: then its loader has nothing to say
but for the observer's note. For teaching and tests; no study reads it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from llmhar.data import mural
from llmhar.data.load_report import Loaded

HEADER = "time,sensor,action,Subject,activity"
ACTIVITIES = ("others", "preparing breakfast", "using bathroom")


class Line(NamedTuple):
    """One line of a file, as it was written and as it should be."""

    written: str
    cured: str = ""
    """Empty = there is nothing to cure."""
    cure: str = ""
    """What whoever owns the file would do; empty = nothing."""


FILES: dict[str, tuple[Line, ...]] = {
    "01/data.csv": (
        Line(HEADER),
        Line("07:00:05,kitchen kettle wattmeter,turned ON,A,1"),
        Line(
            "07:00:20,bathroom washbasin mov,turned ON,B,9",
            "07:00:20,bathroom washbasin mov,turned ON,B,2",
            "look the activity up in activities.json and write its number",
        ),
        Line("07:01:30,bathroom washbasin mov,turned OFF,B,2"),
        Line(
            "07:01:10,kitchen fridge contact,OPENED,A,1",
            "07:01:40,kitchen fridge contact,OPENED,A,1",
            "write rows in time order, or correct the clock that was read wrongly",
        ),
        Line(
            "7h02,kitchen fridge contact,CLOSED,A,1",
            "07:02:00,kitchen fridge contact,CLOSED,A,1",
            "write the time as HH:MM:SS",
        ),
        Line(
            "07:02:30,kitchen counter mov,blinked,A,1",
            "07:02:30,kitchen counter mov,turned ON,A,1",
            "write turned ON, turned OFF, OPENED or CLOSED",
        ),
        Line(
            "07:02:50,kitchen food cabinet contact,OPENED,A",
            "07:02:50,kitchen food cabinet contact,OPENED,A,1",
            "fill in the column that is missing; leave it empty where nobody annotated the event",
        ),
        Line(
            "07:03:00,dining room chair_1 contact,OPENED,A, B,1",
            '07:03:00,dining room chair_1 contact,OPENED,"A, B",1',
            "put a field that holds a comma into quotes",
        ),
        Line("07:03:30,,,A,1", cure="none is needed: a note of what nobody's sensor saw is no event"),
        Line(
            '07:03:50,"kitchen counter mov,turned OFF,A,1',
            "07:03:50,kitchen counter mov,turned OFF,A,1",
            "close the quote, or leave it out",
        ),
        Line("07:04:00,kitchen kettle wattmeter,turned OFF,A,1"),
    ),
    "01/context.json": (
        Line(
            '{"day": "Sunday", "resident number": 2}',
            '{"day": "weekend", "resident number": 2}',
            "write weekday or weekend",
        ),
    ),
    "02/data.csv": (
        Line(HEADER),
        Line(
            "25:10:00,kitchen kettle wattmeter,turned ON,A,1",
            "07:10:00,kitchen kettle wattmeter,turned ON,A,1",
            "write the time as HH:MM:SS; a session without any event is left out",
        ),
    ),
}
"""Path in the home's folder -> its lines."""


class Fault(NamedTuple):
    """What became of one line that is not used as it stands."""

    file: str
    line: int
    """From 1; 0 = the whole file."""
    written: str
    """The line; of a file of one line, that line; of a longer file that is to blame as a whole, "(all lines)"."""
    outcome: str
    """"mended", "refused" or "set aside"."""
    reason: str
    """The loader's."""
    cure: str


def write(folder: Path, *, cured: bool = False) -> Path:
    """Write the home's files into a folder.

    Args:
        folder: made where it is missing.
        cured: write each line as it should be.

    Returns:
        ``folder``.
    """
    files = {
        name: [one.cured if cured and one.cured else one.written for one in lines] for name, lines in FILES.items()
    }
    files["activities.json"] = [json.dumps([{"id": i, "name": name} for i, name in enumerate(ACTIVITIES)])]
    files[mural.MARK] = ["A made-up home with faults, simulated by llmhar (seed 0): nobody lived it."]
    for name, lines in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def load(*, cured: bool = False) -> Loaded:
    """Write the home into a temporary folder, read it by MuRAL's loader, and take the folder away.

    Args:
        cured: read the home without its faults.
    """
    with tempfile.TemporaryDirectory(prefix="llmhar-") as folder:
        return mural.load(write(Path(folder), cured=cured), dataset="simulated", home="simulated", seed=0)


def faults(loaded: Loaded) -> list[Fault]:
    """Each line of the books of :func:`load` beside the line itself and its cure, in the files' order.

    Args:
        loaded: the home as read with its faults.
    """
    report = loaded.report
    books = {"mended": report.mended, "refused": report.refused, "set aside": report.set_aside}
    rows = []
    for outcome, notes in books.items():
        for file, line, reason in notes:
            lines = FILES[file]
            one = lines[max(line, 1) - 1] if line or len(lines) == 1 else lines[-1]._replace(written="(all lines)")
            rows.append(Fault(file, line, one.written, outcome, reason, one.cure))
    return sorted(rows, key=lambda row: (row.file, row.line))
