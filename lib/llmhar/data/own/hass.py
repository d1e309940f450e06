"""Home Assistant's recorder: the states of ``home-assistant_v2.db``, new schema or old. Never writes to it.

The file is copied first, its write-ahead log with it: Home Assistant may be running.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from llmhar.data.load_report import DataError

MARK = b"SQLite format 3\x00"
COLUMNS = ("entity_id", "state", "last_updated")
"""Names of what :func:`read_states` yields, as a history file has them."""


def read_states(path: Path) -> Iterator[tuple[int, list[str]]]:
    """state_id, and cells in the order of :data:`COLUMNS`, of every state in the order of time; times are UTC.

    Raises:
        DataError: no recorder's database, or one that is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="llmhar-") as folder:
        copy = Path(folder) / "states.db"
        try:
            for suffix in ("", "-wal"):
                if suffix == "" or Path(f"{path}{suffix}").is_file():
                    shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        except OSError as error:
            raise DataError(f"{path} cannot be copied to {folder}: {error.strerror or error}") from error
        try:
            with closing(sqlite3.connect(copy)) as database:
                database.text_factory = lambda raw: raw.decode("utf-8", "replace")
                for number, entity, state, stamp, text in database.execute(_query(database, path)):
                    yield number if isinstance(number, int) else 0, [_text(entity), _text(state), _time(stamp, text)]
        except sqlite3.Error as error:
            cure = "stop Home Assistant and copy the file again, or take it from a backup"
            raise DataError(f"{path} cannot be read ({error}): {cure}") from error


def _query(database: sqlite3.Connection, path: Path) -> str:
    """All states, whichever schema the file has.

    Raises:
        DataError: there is no table of states.
    """
    columns = {row[1] for row in database.execute("PRAGMA table_info(states)")}
    metas = {row[1] for row in database.execute("PRAGMA table_info(states_meta)")}
    has_meta = "metadata_id" in columns and {"metadata_id", "entity_id"} <= metas
    entities = ["m.entity_id"] * has_meta + ["s.entity_id"] * ("entity_id" in columns)
    stamps = [f"s.{name}" for name in ("last_updated_ts", "last_changed_ts") if name in columns]
    texts = [f"s.{name}" for name in ("last_updated", "last_changed") if name in columns]
    if not (entities and "state" in columns and "state_id" in columns and stamps + texts):
        raise DataError(f"{path} holds no states of Home Assistant: give its recorder's file, home-assistant_v2.db")
    join = " LEFT JOIN states_meta m ON s.metadata_id = m.metadata_id" if has_meta else ""
    stamp, text = (f"COALESCE({', '.join([*names, 'NULL'])})" if names else "NULL" for names in (stamps, texts))
    return (
        f"SELECT s.state_id, COALESCE({', '.join([*entities, 'NULL'])}), s.state, {stamp}, {text} "
        f"FROM states s{join} ORDER BY {stamp}, {text}, s.state_id"
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _time(stamp: object, text: object) -> str:
    """A time in UTC; empty where there is none."""
    try:
        if isinstance(stamp, int | float):
            return datetime.fromtimestamp(stamp, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{stamp}"
    said = _text(text)
    return f"{said}+00:00" if said and said[-6:-5] not in ("+", "-") and said[-1:] != "Z" else said
