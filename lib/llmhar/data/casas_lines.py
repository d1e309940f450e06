"""One line of a CASAS file in any of its layouts: fields, values, labels. Knows no file, session or home.

A layout is told by lines, never by a file's name:

- ``csv``, the release of 2025: ``date,time,sensor,message[,Label="begin"|Label="end"|Label]``, no header;
- ``al``: ``date time sensor location value label``, a label on every event;
- ``adlmr``: ``date time sensor value R T [R T]``, resident and number of the task;
- ``classic``: ``date time sensor value [Label begin|end]``, parted by blanks or tabs, blanks in labels too;
- ``ann``, UCI 506: ``date time sensor location location value type [label]``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from llmhar.data.reader import plain, quoted

NOT_ANNOTATED = frozenset({"other_activity", "other", "other activity"})
"""Labels, in lower case, that say that nobody annotated an activity."""
STATES = {
    **{"ON": "turned ON", "OFF": "turned OFF", "OPEN": "OPENED", "CLOSE": "CLOSED", "OPENED": "OPENED"},
    **{"CLOSED": "CLOSED", "PRESENT": "PRESENT", "ABSENT": "ABSENT", "START": "STARTED", "END": "ENDED"},
    **{"START_INSTRUCT": "INSTRUCTIONS STARTED", "STOP_INSTRUCT": "INSTRUCTIONS ENDED"},
}
"""Value of a line -> word for what the sensor did."""
TASK = "task"
"""adlmr's activities are "task 1", "task 2", ... until somebody names them."""
MAX_STRAY = 2
"""Most letters behind a known value that are taken for stray ones ("OPENc", "ONcc")."""
MAX_LABEL = 200
"""Longest label, in characters."""
_BY_LENGTH = sorted(STATES, key=len, reverse=True)
_MARK = re.compile(r'([^",=]*?[^",=\s])(?:\s*=\s*"*|"*\s+)(begin|end)"*(?=[\s,]|$)[\s,]*', re.IGNORECASE)
_RESIDENT = re.compile(r"[Rr]([0-9]{1,2})[_. ]+(\S.*)")
_PAIRS = re.compile(r"[0-9]{1,2} [0-9]{1,3}(?: [0-9]{1,2} [0-9]{1,3})*")
_GLUED_PAIR = re.compile(r"([1-9])([0-9]{1,2})")
_DATED = re.compile(r"\s*[0-9]{2,4}-[0-9]{1,2}-[0-9]{1,2}")
GLUED_LINE = re.compile(r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[\s,T][0-9]{2}:")
"""A date and time where none belongs: a file without a newline at its end was joined to the next."""

Fields = tuple[str, str, str, str, str, str]
"""Date, time, sensor, location (or empty), value, label (or empty)."""
Pair = tuple[str, str]
"""Resident (empty where nobody is named) and activity."""


class Mark(NamedTuple):
    """Where an activity begins or ends."""

    kind: str
    """ "begin" or "end"; empty for a label of this event alone."""
    resident: str
    activity: str


class Layout(NamedTuple):
    """How a line is cut into fields, and what its label field means."""

    name: str
    least: int
    """Fields without which a line cannot be used."""
    cut: Callable[[str], Fields | None]
    """None where fields are too few."""
    labels: str
    """ "marks" (begin and end, or a label of its own), "own" (a label an event) or "pairs" (resident and task)."""


def _csv(text: str) -> Fields | None:
    cells = text.split(",", 4)
    if len(cells) < 4:
        return None
    return cells[0].strip(), cells[1].strip(), cells[2].strip(), "", cells[3].strip(), "".join(cells[4:]).strip()


def _al(text: str) -> Fields | None:
    parts = text.split(None, 5)
    return (*parts[:5], "".join(parts[5:]).strip()) if len(parts) > 4 else None  # type: ignore[return-value]


def _blanks(text: str) -> Fields | None:
    parts = text.split(None, 4)
    if len(parts) < 4:
        return None
    return parts[0], parts[1], parts[2], "", parts[3], parts[4].strip() if len(parts) > 4 else ""


def _ann(text: str) -> Fields | None:
    parts = text.split(None, 7)
    if len(parts) < 7:
        return None
    location = parts[4] if parts[4].lower() != "ignore" else ""
    return parts[0], parts[1], parts[2], location, parts[5], parts[7].strip() if len(parts) > 7 else ""


CLASSIC = Layout("classic", 4, _blanks, "marks")
LAYOUTS = (
    Layout("csv", 4, _csv, "marks"),
    Layout("ann", 7, _ann, "marks"),
    Layout("al", 5, _al, "own"),
    Layout("adlmr", 4, _blanks, "pairs"),
    CLASSIC,
)


def layout_of(lines: Iterable[str | None]) -> Layout | None:
    """The layout that most of a file's first lines have; None where fewer than half of them begin with a date.

    A line that several layouts could be read from (one without a label) decides nothing while another does.
    """
    votes: Counter[str] = Counter()
    n_lines = n_dated = 0
    for text in lines:
        if text is not None and not text.strip():
            continue
        n_lines += 1
        if text is None or not is_dated(text):
            continue
        n_dated += 1
        votes.update(layout.name for layout in LAYOUTS if _fits(layout, text))
    if n_dated * 2 < n_lines or not votes:
        return None
    return max(LAYOUTS, key=lambda layout: votes[layout.name])


def is_dated(text: str) -> bool:
    """Whether a line begins with something like a date."""
    return bool(_DATED.match(text))


def _fits(layout: Layout, text: str) -> bool:
    fields = layout.cut(text)
    if fields is None or time_of(fields[0], fields[1]) is None or not _is_value(fields[4]):
        return False
    if layout.labels == "pairs":
        return bool(_PAIRS.fullmatch(fields[5]))
    return not _is_value(fields[3]) and not _PAIRS.fullmatch(fields[5])


def _is_value(text: str) -> bool:
    return number_of(text) is not None or state_of(text) is not None


def time_of(date: str, clock: str) -> datetime | None:
    """A line's time; None where it is not YYYY-MM-DD HH:MM:SS with or without a fraction of one to six digits."""
    if len(date) != 10 or date[4] != "-" or date[7] != "-" or len(clock) < 8 or clock[2] != ":" or clock[5] != ":":
        return None
    try:
        time = datetime.fromisoformat(f"{date} {clock}")
    except ValueError:
        return None
    return None if time.tzinfo else time


def number_of(value: str) -> float | None:
    """A value that is a number, as analog sensors have."""
    try:
        return float(value) if value[:1] in "-+.0123456789" else None
    except ValueError:
        return None


def state_of(value: str) -> tuple[str, str] | None:
    """What a value says the sensor did, and what it was taken for where it is plainly a known word gone wrong.

    Up to :data:`MAX_STRAY` characters behind a known word ("OPENc"), or one letter missing at its end ("OF").
    """
    text = value.upper()
    if text in STATES:
        return STATES[text], ""
    word = next((w for w in _BY_LENGTH if text.startswith(w) and len(text) - len(w) <= MAX_STRAY), "")
    word = word or next((w for w in _BY_LENGTH if len(text) > 1 and text == w[:-1]), "")
    return (STATES[word], word) if word else None


def marks_of(text: str) -> list[Mark]:
    """Marks of a label field, usually one; a label without "begin" or "end" is the event's own."""
    marks, at = list[Mark](), 0
    while found := _MARK.match(text, at):
        marks.append(Mark(found[2].lower(), *_named(found[1])))
        at = found.end()
    rest = text[at:].strip(' ",=\t')
    if rest.lower() in ("begin", "end"):  # of nothing
        return marks
    return [*marks, Mark("", *_named(rest))] if rest else marks


def _named(label: str) -> Pair:
    """Resident and activity: "R1_Sleep", "r1.Sleep" and "R1 wake" name a resident."""
    label = plain(label)
    found = _RESIDENT.fullmatch(label)
    return (f"R{int(found[1])}", found[2]) if found else ("", label)


def pairs_of(text: str) -> tuple[tuple[Pair, ...], str]:
    """(resident, task) pairs of a label field, and what is wrong with it (empty where nothing is)."""
    text = plain(text)
    if not text:
        return (), "no resident and task: event kept without activity"
    if glued := _GLUED_PAIR.fullmatch(text):
        said = f"resident and task run together: {quoted(text)} read as {glued[1]} {glued[2]}"
        return ((f"R{glued[1]}", f"{TASK} {int(glued[2])}"),), said
    if not _PAIRS.fullmatch(text):
        return (), f"{quoted(text)} is no resident and task: event kept without activity"
    numbers = text.split()
    pairs = [(f"R{int(numbers[i])}", f"{TASK} {int(numbers[i + 1])}") for i in range(0, len(numbers), 2)]
    different = tuple(dict.fromkeys(pairs))
    if len(pairs) > 2 or len(different) < len(pairs):
        return different, f"{len(pairs)} pairs of resident and task, {len(different)} different: each kept once"
    return different, ""
