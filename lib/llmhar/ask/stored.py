"""What the rows of the store say: requests, answers with their checksums, notes, what passes cost. Opens nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zlib import crc32

from llmhar.records import Fingerprint, Generation, Request, canonical_json

_pack_numbers = struct.Struct("<qqqd").pack
SHORT_KEY = 16
"""Digits of a request key that a view shows; notes take them too."""
DAMAGED = "damaged since it was stored, not to be scored; run again: what is missing is asked anew"
"""Said of an answer whose checksum is wrong, behind its store's name."""


def cure_of(error: Exception) -> str:
    """What to do about an error of SQLite or of the system; the end of a message."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte; extended codes stand above it
    if code == sqlite3.SQLITE_FULL:
        return "What it holds is whole. Free some space, or set LLMHAR_HOME to a folder on another disk, and run again."
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM) or isinstance(error, OSError):
        return "What it holds is whole. Make its folder writable (is there room?), or set LLMHAR_HOME to one that is."
    if code == sqlite3.SQLITE_BUSY:
        return "Another process is writing: wait for it, or end it, and run again."
    return "Move it away to begin a new one (sqlite3 FILE .recover saves what can be read), or set LLMHAR_HOME."


class Stored(NamedTuple):
    """A success in the store."""

    generation: Generation
    fingerprint: Fingerprint


class Ending(NamedTuple):
    """What many answers share: how they ended, and where they were made."""

    reason: str
    """Finish reason: stop or length."""
    word: str
    """The server's own word, where it is another."""
    fingerprint: Fingerprint
    crc: int
    """CRC-32 of the two texts that it was read from."""


@functools.lru_cache(1000)
def ending_of(ended: bytes, fingerprint: bytes) -> Ending:
    """One object for all answers of an engine that ended alike.

    Args:
        ended: finish reason and the server's own word, as the store holds them.
        fingerprint: of the engine, canonical JSON.

    Raises:
        ValueError: damaged: no UTF-8, or no JSON.
        TypeError: damaged: JSON of other names than a fingerprint's.
    """
    reason, _, word = ended.decode().partition(":")
    return Ending(reason, word, Fingerprint(**json.loads(fingerprint)), crc32(fingerprint, crc32(ended)))


def checksum(ending: Ending, key: bytes, text: bytes, logprobs: bytes | None, numbers: Sequence[float]) -> int:
    """CRC-32 of all that an answer says.

    Args:
        ending: how it ended, and where it was made.
        key: of its request.
        text: of the answer.
        logprobs: how likely its tokens were, JSON; None where that is not known.
        numbers: its prompt, cached and output tokens and its seconds.

    Raises:
        struct.error: damaged: something else than these four numbers.
        TypeError: damaged: something else than bytes.
    """
    return crc32(text, crc32(key + _pack_numbers(*numbers) + (logprobs or b""), ending.crc))


def checksum_of(row: Sequence[Any], logprobs: str) -> int:
    """Checksum of an answer before it is stored.

    Args:
        row: request key, fingerprint, text, finish reason, error, prompt, cached and output tokens, seconds.
        logprobs: how likely its tokens were, JSON; empty where that is not known.
    """
    key, fingerprint, text, ended = (part.encode() for part in row[:4])
    return checksum(ending_of(ended, fingerprint), key, text, logprobs.encode(), row[5:9])


def read_answers(rows: Iterable[Any], found: dict[str, Stored]) -> list[int]:
    """Put answers by request key into ``found``, of one key's the first; returns the numbers of damaged ones.

    Args:
        rows: number, request key, text, finish reason, fingerprint, logprobs, checksum (None = stored without one),
            prompt, cached and output tokens, seconds; all text as bytes. Rows of one key in the order of their numbers.
        found: answers that were read before.
    """
    damaged = []
    for number, key, text, ended, engine, logprobs, crc, prompt, cached, output, seconds in rows:
        try:
            ending = ending_of(ended, engine)
            if crc is not None:  # as checksum() has it, whose call alone takes half as long as this
                fixed = key + _pack_numbers(prompt, cached, output, seconds)
                if crc != crc32(text, crc32(fixed + logprobs if logprobs else fixed, ending.crc)):
                    raise ValueError
            name = key.decode()
            if name not in found:
                likely, reason, word = logprobs.decode() if logprobs else "", ending.reason, ending.word
                made = Generation(name, text.decode(), reason, "", prompt, cached, output, seconds, word, likely)
                found[name] = Stored(made, ending.fingerprint)
        except (ValueError, TypeError, AttributeError, struct.error):
            damaged.append(number)
    return damaged


def set_aside(db: sqlite3.Connection, why: str, numbers: Sequence[int]) -> None:
    """Make failures of these attempts."""
    db.execute("REINDEX attempts")  # the index holds what stood there before
    db.executemany("UPDATE attempts SET error = ? WHERE id = ?", ((why, number) for number in numbers))


def is_there(db: sqlite3.Connection, key: str, fingerprint: str, timed: bool) -> bool:
    """Whether a success stands in the table itself; an index alone may know of one that damage took."""
    where = "error = '' AND request_key = ? AND fingerprint = ? AND timed = ?"
    query = f"SELECT 1 FROM attempts INDEXED BY attempts_by_key WHERE {where}"
    return db.execute(query, (key, fingerprint, timed)).fetchone() is not None


def storable(text: str) -> str:
    """Lone surrogates, which SQLite's UTF-8 cannot hold, become replacement characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def storable_note(tags: Sequence[str], text: str) -> tuple[list[str], str]:
    """Tags and comment of a note as they are stored: blanks around and repeats go."""
    kept = list(dict.fromkeys(short for tag in tags if (short := storable(" ".join(tag.split())))))
    return kept, storable(text.strip())


def write_parts(db: sqlite3.Connection, request: Request, places: dict[str, int]) -> str:
    """The text of a request's row; its parts are in the store then, and their numbers in ``places``."""
    pieces = request.pieces()
    for text in (pieces.rest, pieces.schema, *pieces.texts):
        if text not in places:
            part = (hashlib.sha256(text.encode()).digest(), text)
            db.execute("INSERT OR IGNORE INTO parts VALUES (NULL, ?, ?)", part)
            (places[text],) = db.execute("SELECT id FROM parts WHERE sha256 = ?", part[:1]).fetchone()
    return canonical_json([places[pieces.rest], places[pieces.schema], [places[text] for text in pieces.texts]])


def read_request(db: sqlite3.Connection, key: str, row: str) -> Request:
    """A request of the text of its row.

    Raises:
        sqlite3.DatabaseError: a part is missing.
    """
    read = json.loads(row)
    if isinstance(read, dict):
        return Request.from_json(read)
    rest, schema, texts = read
    numbers = (rest, schema, *texts)
    found = [db.execute("SELECT json FROM parts WHERE id = ?", (number,)).fetchone() for number in numbers]
    if None in found:
        raise sqlite3.DatabaseError(f"a part of request {key[:SHORT_KEY]} is missing")
    return Request.from_pieces(*(text for (text,) in found))


class Note(NamedTuple):
    """What people said of the answers to one request; the latest version."""

    key: str
    """The whole request key."""
    tags: tuple[str, ...]
    text: str
    created_utc: float
    """UNIX seconds of the first version."""
    updated_utc: float
    """And of this one."""

    def to_json(self) -> dict[str, Any]:
        """As a bundle of traces holds it: "k" (short key), "tags", "text", "at" (ISO, UTC)."""
        at = datetime.fromtimestamp(self.updated_utc, UTC).isoformat(timespec="seconds")
        return {"k": self.key[:SHORT_KEY], "tags": list(self.tags), "text": self.text, "at": at}


class PassCost(NamedTuple):
    """What one pass cost, and how many of the answers in question it gave."""

    n_here: int
    n_asked: int
    """Requests of the whole pass."""
    seconds: float
    """Wall time of the engine's work, its start excluded."""
    output_tokens: int
    joules: float | None
    """None where nothing on the machine counts them."""
    peak_bytes: int | None = None
    """Most memory that the engine's process held, loading included; None where it has none of its own, or before this
    was measured."""
    counters: Sequence[str] = ()
    """Whose joules: "gpu0", "intel-rapl:0"; empty where not measured, or before they were named."""
    threads: int | None = None
    """OpenMP threads of the engine's process; None where it has none, or before they were kept."""


def chunks(keys: Sequence[str], size: int = 500) -> Iterator[tuple[list[str], str]]:
    """Keys in lists that one statement can hold, each with its question marks."""
    for start in range(0, len(keys), size):
        chunk = list(keys[start : start + size])
        yield chunk, ",".join("?" * len(chunk))
