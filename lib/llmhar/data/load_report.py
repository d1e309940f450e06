"""What a loader read, mended, refused and set aside: nothing is dropped in silence. Knows no file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.data.events import Session


class DataError(ValueError):
    """A data set that cannot be read at all; the message names the file, the line and the cure."""


class WrongCall(DataError):
    """A name or option that no data set has: the call is wrong, not the data."""


class MissingFile(DataError):
    """A folder in which the file is not that a data set is known by."""

    def __init__(self, said: str, name: str) -> None:
        """What is wrong, without a cure; and the data set."""
        self.said = said
        super().__init__(
            f"{said}: give the folder that holds the unpacked data set, or unpack its archive with "
            f"`llmhar data add {name} FILE`"
        )


class RowNote(NamedTuple):
    """One row that did not pass as it was."""

    file: str
    """Path relative to the data set's folder."""
    line: int
    """From 1, as an editor counts; 0 = the whole file."""
    reason: str

    def to_json(self) -> dict[str, Any]:
        """{"file", "line", "reason"}."""
        return self._asdict()


class DroppedRows(NamedTuple):
    """Well-formed rows of one kind that are no events, counted instead of listed."""

    file: str
    """Path relative to the data set's folder."""
    line: int
    """Of the first of them."""
    reason: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """{"file", "line", "reason", "rows"}."""
        return self._asdict()


@dataclass
class LoadReport:
    """The books of one loading: every row read is used (as it is or mended), refused, set aside or dropped."""

    dataset: str
    path: Path
    rows_read: int = 0
    """Data rows in all files, headers not counted."""
    rows_used: int = 0
    """Rows that became events, or intervals of labels."""
    mended: list[RowNote] = field(default_factory=list)
    """Rows kept after a repair (e.g. out of order, sorted)."""
    refused: list[RowNote] = field(default_factory=list)
    """Rows that cannot be used (e.g. an interval that ends before it starts)."""
    set_aside: list[RowNote] = field(default_factory=list)
    """Well-formed rows that are no sensor events (e.g. MuRAL's annotation-only rows), and sessions, by their id, that a
    study leaves out."""
    dropped: list[DroppedRows] = field(default_factory=list)
    """Rows that come by the thousand and are no events (e.g. temperatures), one entry a kind."""
    not_annotated: Counter[str] = field(default_factory=Counter)
    """Label that says that nobody annotated an activity -> events that carry it; they have no activity."""
    counts: dict[str, int] = field(default_factory=dict)
    """What else there is to count, by name: e.g. intervals of labels, repeated states."""
    warnings: list[str] = field(default_factory=list)
    """What a reader of results on this data must know."""
    sessions: Sequence[Session] = ()

    @property
    def n_unaccounted(self) -> int:
        """Rows that were read and stand nowhere in the books: 0, or the loader has a fault."""
        noted = {(note.file, note.line) for note in (*self.refused, *self.set_aside) if note.line}
        return self.rows_read - self.rows_used - len(noted) - sum(each.rows for each in self.dropped)

    @property
    def n_events(self) -> int:
        """Events kept, in all sessions."""
        return sum(len(session.events) for session in self.sessions)

    @property
    def n_unlabelled(self) -> int:
        """Events without an activity: shown to models, left out of scores."""
        return sum(event.activity_id is None for session in self.sessions for event in session.events)

    @property
    def labels(self) -> dict[str, int]:
        """Label of the files -> events that carry it, most frequent first; a joint event counts for each of its own."""
        found = Counter(s.activities[number] for s in self.sessions for e in s.events for number in e.activity_ids)
        return dict((found + self.not_annotated).most_common())

    def to_json(self) -> dict[str, Any]:
        """The form of ``llmhar data report --json``."""
        events = [event for session in self.sessions for event in session.events]
        return {
            "dataset": self.dataset,
            "path": str(self.path),
            "rows_read": self.rows_read,
            "events": self.n_events,
            "unlabelled_events": self.n_unlabelled,
            "sessions": len(self.sessions),
            "activities": list(dict.fromkeys(name for s in self.sessions for name in s.activities.values())),
            "rooms": sorted({event.room for event in events} - {""}),
            "sensors": sorted({f"{event.room} {event.sensor}".strip() for event in events}),
            "labels": self.labels,
            "counts": self.counts,
            "warnings": self.warnings,
            "dropped": [each.to_json() for each in self.dropped],
            "mended": [note.to_json() for note in self.mended],
            "refused": [note.to_json() for note in self.refused],
            "set_aside": [note.to_json() for note in self.set_aside],
        }


class Loaded(NamedTuple):
    """What every loader returns."""

    sessions: list[Session]
    """In the data set's own order (that of its splits)."""
    report: LoadReport


class Split(NamedTuple):
    """Session ids for training (teacher traces, examples) and for testing; disjoint."""

    train: list[str]
    test: list[str]
