"""Home Assistant's recorder: the states of ``home-assistant_v2.db``, new schema or old. Never writes to it.

The file is copied first, its write-ahead log and journal with it: Home Assistant may be running. A copy during which
the file was written, or its log begun anew, is made again.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from llmhar.data.load_report import DataError
from llmhar.data.own.rows import MAX_ROWS

MARK = b"SQLite format 3\x00"
COLUMNS = ("entity_id", "state", "last_updated")
"""Names of what :func:`read_states` yields, as a history file has them."""
TRIES, WAIT_S = 6, 0.5
"""How often a file that is being written is copied, and the seconds between two tries."""
MAX_CELL = 2**20
"""Longest text or blob of one cell, in bytes; Home Assistant's states have at most 255 characters."""
_PARTS = ("", "-wal", "-journal")
_LOG_HEAD = 32
"""Bytes at a log's beginning that change when it is begun anew."""


def read_states(path: Path) -> Iterator[tuple[int, list[str]]]:
    """state_id, and cells in the order of :data:`COLUMNS`, of every state in the order of time; times are UTC.

    Raises:
        DataError: no recorder's database, or one that is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="llmhar-") as folder:
        copy = _copied(path, Path(folder) / "states.db")
        try:
            with closing(sqlite3.connect(copy)) as database:
                database.text_factory = lambda raw: raw.decode("utf-8", "replace")
                database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL)
                query = _query(database, path)
                for n, (number, entity, state, stamp, text) in enumerate(database.execute(query)):
                    if not isinstance(number, int) or number < 1:
                        raise sqlite3.DatabaseError(f"a state has the number {str(number)[:20]}")
                    if n >= MAX_ROWS:
                        raise DataError(
                            f"{path} holds more than {MAX_ROWS:,} states: purge a copy of it, and read that"
                        )
                    yield number, [_text(entity), _text(state), _time(stamp, text)]
        except sqlite3.Error as error:
            cure = "stop Home Assistant and copy the file again, or take it from a backup"
            raise DataError(f"{path} cannot be read ({str(error)[:300]}): {cure}") from error


def _copied(path: Path, copy: Path) -> Path:
    """Copy the database and what belongs to it, as they were at one moment.

    Args:
        path: the database.
        copy: where it goes.

    Raises:
        DataError: it cannot be copied, or is written all the time.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(WAIT_S)
        try:
            before = _state_of(path)
            for suffix in _PARTS:
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
                if suffix == "" or Path(f"{path}{suffix}").is_file():
                    shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
            if _state_of(path) == before:
                return copy
        except FileNotFoundError as error:
            if not path.is_file():
                raise DataError(f"{path} is not there: check the path") from error
        except OSError as error:
            cure = ": free some space there, or set TMPDIR to another folder" if error.errno == errno.ENOSPC else ""
            raise DataError(f"{path} cannot be copied to {copy.parent}: {error.strerror or error}{cure}") from error
    raise DataError(f"{path} is written all the time: stop Home Assistant, or give a copy that it does not write")


def _state_of(path: Path) -> tuple[object, ...]:
    """What changes when a database is written in place or its log begun anew; a log that only grows is the same."""
    status, journal, log = path.stat(), Path(f"{path}-journal"), Path(f"{path}-wal")
    head = b""
    if log.is_file():
        with open(log, "rb") as file:
            head = file.read(_LOG_HEAD)
    written = journal.stat().st_mtime_ns if journal.is_file() else 0
    return status.st_mtime_ns, status.st_size, status.st_ino, written, head


def _query(database: sqlite3.Connection, path: Path) -> str:
    """All states, whichever schema the file has.

    Raises:
        DataError: there is no table of states whose key is state_id (a view has no key, and may have no end).
        sqlite3.Error: the tables are damaged.
    """
    columns = {row[1]: row[5] for row in database.execute("PRAGMA table_info(states)")}
    metas = {row[1] for row in database.execute("PRAGMA table_info(states_meta)")}
    has_meta = "metadata_id" in columns and {"metadata_id", "entity_id"} <= metas
    entities = ["m.entity_id"] * has_meta + ["s.entity_id"] * ("entity_id" in columns)
    stamps = [f"s.{name}" for name in ("last_updated_ts", "last_changed_ts") if name in columns]
    texts = [f"s.{name}" for name in ("last_updated", "last_changed") if name in columns]
    if not (entities and "state" in columns and columns.get("state_id") and stamps + texts):
        raise DataError(f"{path} holds no states of Home Assistant: give its recorder's file, home-assistant_v2.db")
    for table in ("states", *["states_meta"] * has_meta):
        if (said := database.execute(f"PRAGMA quick_check({table})").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(said)
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
