"""The trace store: every generation ever made, in one SQLite file, keyed by what was asked. Derives nothing.

- A **request** is stored once under its key (see :class:`llmhar.records.Request`), and what many share stands once
  (:mod:`llmhar.ask.request_rows`).
- **Attempts** are appended, each in a transaction of its own, and never overwritten. A partial unique index allows one
  success per (request key, fingerprint); failures keep their reason and are retried on demand. How likely an answer's
  tokens were stands beside it, where it was asked for: never computed again.
- An **ask** says which window of which data set a request was made for.
- A **pass** is one engine working through some requests: its wall time and joules, which single requests, answered in
  batches, do not have.
- A **run** keeps the settings, commit, packages and device that made it.
- A **note** is what a person said of a trace: tags and a comment. Each change is a new row; the latest one counts.

Raw text only: parsing, scoring and figures are derived each time, so a better parser costs no GPU hour. Killing any
process at any moment loses at most what was in flight. WAL mode and a long busy time-out let several processes share
one store.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmhar import paths
from llmhar.ask import seen, stored
from llmhar.ask.stored import SHORT_KEY, Note, PassCost, Stored, chunks, cure_of, storable
from llmhar.records import Fingerprint, Generation, Purpose, Request, canonical_json

BUSY_S = 60.0
"""Seconds that a process waits for others that write."""
FORMAT = 3
"""Version of the tables (``sql/tables.sql``). Stores of format 2 are brought up in one transaction, others refused."""

_SQL = Path(__file__).parent / "sql"
_SQL_FILES = ("tables", "from_format_2", "notes", "logprobs", "parts", "sums")
_TABLES, _FROM_FORMAT_2, _NOTES, _LOGPROBS, _PARTS, _SUMS = ((_SQL / f"{name}.sql").read_text() for name in _SQL_FILES)
MAX_NOTE, MAX_TAG, MAX_TAGS = 10_000, 60, 20
"""Characters of a comment and of a tag, and tags of a note."""
_Method = TypeVar("_Method", bound=Callable[..., Any])


class StoreError(RuntimeError):
    """A store that cannot be used; the message names the file and the cure."""


def _reads(method: _Method) -> _Method:
    """For methods of a store that read: damage shows only when the damaged pages are read."""

    @functools.wraps(method)
    def reading(self: Store, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.ProgrammingError:  # a call that is wrong in itself
            raise
        except (sqlite3.Error, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read the store {self.path}: {error}. {cure_of(error)}") from error

    return reading  # type: ignore[return-value]


class Ask(NamedTuple):
    """One window put to one model: what a request was made for."""

    dataset: str
    session_id: str
    window_index: int
    model: str
    """Key into ``params/models.yaml``."""
    request: Request
    purpose: Purpose = "study"
    """What the answer is for."""


class Store:
    """One open store. Use as a context manager, or call :meth:`close`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open (and create, if need be) the store at ``path``, by default ``LLMHAR_HOME/store.sqlite``.

        Raises:
            StoreError: no store of this format, a damaged file, or a folder that cannot be written.
        """
        self.path = path or paths.home() / "store.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._open_patiently()
        except (sqlite3.Error, OSError, UnicodeDecodeError, StoreError) as error:
            if hasattr(self, "_db"):  # else the error's traceback would hold the file for as long as it lives
                self._db.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot open the store {self.path}: {error}. {cure_of(error)}") from error

    def _open_patiently(self) -> None:
        """Open the tables. SQLite's own patience does not cover the switch to WAL while others open a new store."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return self._open_tables()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _open_tables(self) -> None:
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut the last commits
        self._db.execute(
            "PRAGMA cache_size = -32768"
        )  # KiB: the keys of 10^5 answers stay in memory while they are read
        statements = {0: _TABLES, 2: _FROM_FORMAT_2}.get(self._format())
        if statements is not None:
            with self._transaction():
                if self._format() != FORMAT:  # another process was not faster
                    for statement in statements.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {FORMAT}")
        if self._format() != FORMAT:
            raise StoreError(
                f"{self.path} has store format {self._format()}, this llmhar reads {FORMAT}: use another LLMHAR_HOME"
            )

    def _has(self, table: str) -> bool:
        """Whether a table that is made with its first row is there."""
        return bool(self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])

    def _format(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(f"cannot write to the store {self.path}: {error}. {cure_of(error)}") from error

    def note_asks(self, asks: Iterable[Ask]) -> None:
        """Remember what requests were made for; known ones are left as they are, and are not serialised again. Those
        that an older llmhar wrote out whole are written short.
        """
        rows = list(asks)
        requests = {ask.request.key: ask.request for ask in rows}
        new = requests.keys() - self._keys_here(list(requests))
        with self._transaction():
            places: dict[str, int] = {}
            self._db.execute(_PARTS)
            self._db.executemany(
                "INSERT INTO requests VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET request = excluded.request",
                ((key, self._row(requests[key], places)) for key in requests if key in new),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO asks VALUES (?, ?, ?, ?, ?, ?)",
                ((a.dataset, a.session_id, a.window_index, a.model, a.request.key, a.purpose) for a in rows),
            )

    def _row(self, request: Request, places: dict[str, int]) -> str:
        """The text of a request's row; its parts are in the store then, and their numbers in ``places``."""
        return stored.write_parts(self._db, request, places)

    @_reads
    def _keys_here(self, keys: Sequence[str]) -> set[str]:
        """Which of these requests are in the store, written short."""
        here: set[str] = set()
        for chunk, marks in chunks(keys):
            query = f"SELECT key FROM requests WHERE key IN ({marks}) AND request NOT LIKE '{{%'"
            here.update(key for (key,) in self._db.execute(query, chunk))
        return here

    def begin_pass(self) -> int:
        """Number of a new pass, for :meth:`add` and :meth:`end_pass`."""
        with self._transaction():
            return int(self._db.execute("INSERT INTO passes VALUES (NULL, '')").lastrowid or 0)

    def end_pass(self, number: int, cost: Mapping[str, Any]) -> None:
        """Keep what a pass cost; a pass that was killed keeps nothing and counts as not measured."""
        with self._transaction():
            self._db.execute("UPDATE passes SET cost = ? WHERE id = ? AND cost = ''", (canonical_json(cost), number))

    @_reads
    def costs(self, keys: Sequence[str], fingerprint: Fingerprint, *, timed: bool = False) -> list[PassCost]:
        """What the passes cost that gave these answers, one entry a pass, with how many of the answers it gave."""
        counts: Counter[int] = Counter()
        for chunk, marks in chunks(keys):
            rows = self._db.execute(
                f"SELECT pass_id, count(*) FROM attempts WHERE error = '' AND request_key IN ({marks})"
                " AND fingerprint = ? AND timed = ? AND pass_id IS NOT NULL GROUP BY pass_id",
                [*chunk, canonical_json(fingerprint.to_json()), timed],
            )
            counts.update(dict(rows))
        ended = dict(self._db.execute("SELECT id, cost FROM passes WHERE cost <> ''"))
        return [PassCost(n, **json.loads(ended[number])) for number, n in sorted(counts.items()) if number in ended]

    def add(
        self, generation: Generation, fingerprint: Fingerprint, pass_id: int | None = None, *, timed: bool = False
    ) -> bool:
        """Append one attempt in a transaction of its own.

        Args:
            generation: an answer, or the reason why there is none.
            fingerprint: of the engine that gave it.
            pass_id: from :meth:`begin_pass`.
            timed: whether it was asked alone, for its time.

        Returns:
            False where another process stored a success for the same request and fingerprint first.

        Raises:
            StoreError: the request is unknown, or the disk refuses.
        """
        row = (
            generation.request_key, canonical_json(fingerprint.to_json()), storable(generation.text),
            storable(":".join(filter(None, (generation.finish_reason, generation.finish_word)))),
            storable(generation.error), generation.prompt_tokens, generation.cached_tokens,
            generation.output_tokens, generation.seconds, pass_id, time.time(), timed,
        )  # fmt: skip
        with self._transaction():
            if not self._db.execute("SELECT 1 FROM requests WHERE key = ?", row[:1]).fetchone():
                raise StoreError(f"request {generation.request_key[:12]}… was never noted: call note_asks first")
            insert = "INSERT OR IGNORE INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?)"
            done = self._db.execute(insert, row)
            if done.rowcount == 0 and not stored.is_there(self._db, *row[:2], timed):
                self._db.execute("REINDEX attempts")  # one index knows an answer that is not there: damaged
                done = self._db.execute(insert, row)
            if done.rowcount == 1 and generation.ok:
                self._db.execute(_SUMS)
                crc = stored.checksum_of(row[:9], generation.logprobs)
                self._db.execute("INSERT OR REPLACE INTO sums VALUES (?, ?)", (done.lastrowid, crc))
            if done.rowcount == 1 and generation.logprobs:
                self._db.execute(_LOGPROBS)
                self._db.execute("INSERT INTO logprobs VALUES (?, ?)", (done.lastrowid, generation.logprobs))
            return done.rowcount == 1

    @_reads
    def find(
        self, keys: Sequence[str], exactly: Fingerprint | None = None, *, timed: bool = False
    ) -> dict[str, Stored]:
        """Successes for these request keys; of several engines' the one stored first, always the same. Answers whose
        letters have changed since they were stored are left out, said on stderr, and are failures from now on.

        Args:
            keys: request keys.
            exactly: accept this fingerprint alone (``--exact-engine``).
            timed: answers that were asked alone, for their time, instead of all others.
        """
        found: dict[str, Stored] = {}
        damaged: list[int] = []
        beside = [table for table in ("logprobs", "sums") if self._has(table)]
        joined = "".join(f" LEFT JOIN {table} ON {table}.attempt_id = id" for table in beside)
        columns = (
            f"id, request_key, text, finish_reason, fingerprint, {'tokens' if 'logprobs' in beside else 'NULL'},"
            f" {'crc' if 'sums' in beside else 'NULL'}, prompt_tokens, cached_tokens, output_tokens, seconds"
        )
        self._db.text_factory = bytes  # damaged letters need not be UTF-8
        try:
            for rows in self._successes(columns, keys, exactly, timed, joined):
                damaged += stored.read_answers(rows, found)
        finally:
            self._db.text_factory = str
        if damaged:
            self._set_aside(damaged)
        return found

    @_reads
    def answered(self, keys: Sequence[str], exactly: Fingerprint | None = None, *, timed: bool = False) -> set[str]:
        """Which of these request keys have an answer, damaged ones among them; arguments as :meth:`find` takes them."""
        return {key for rows in self._successes("request_key", keys, exactly, timed) for (key,) in rows}

    def _successes(
        self, columns: str, keys: Sequence[str], exactly: Fingerprint | None, timed: bool, joined: str = ""
    ) -> Iterator[sqlite3.Cursor]:
        """Columns of all successes for these keys, some hundreds of keys at a time."""
        if os.environ.get(seen.VARIABLE):
            seen.keep(keys, timed=timed)
        only, extra = (" AND fingerprint = ?", [canonical_json(exactly.to_json())]) if exactly else ("", [])
        for chunk, marks in chunks(keys):
            where = f"error = '' AND request_key IN ({marks}) AND timed = ?{only}"
            query = f"SELECT {columns} FROM attempts INDEXED BY attempts_by_key{joined} WHERE {where}"
            yield self._db.execute(query, [*chunk, timed, *extra])

    def _set_aside(self, damaged: Sequence[int]) -> None:
        """Say that these answers are damaged, and make failures of them: the next run asks them anew."""
        print(f"llmhar: {len(damaged)} of the answers in {self.path} {stored.DAMAGED}", file=sys.stderr)
        with suppress(StoreError), self._transaction():  # where it cannot be written they are left out each time
            stored.set_aside(self._db, f"{self.path.name}: {stored.DAMAGED}", damaged)

    @_reads
    def attempts(self, keys: Sequence[str], *, timed: bool = False) -> list[tuple[str, int, str, str]]:
        """Request key, number, error (empty on success) and engine of all attempts at these requests."""
        found = list[tuple[str, int, str, str]]()
        for chunk, marks in chunks(keys):
            engine = "CASE WHEN json_valid(fingerprint) THEN json_extract(fingerprint, '$.engine') ELSE '' END"
            query = f"SELECT request_key, id, error, {engine} FROM attempts"
            found += self._db.execute(f"{query} WHERE request_key IN ({marks}) AND timed = ?", [*chunk, timed])
        return found

    @_reads
    def has_answer_of(self, model: str) -> bool:
        """Whether a model of this name has answered anything."""
        query = "SELECT 1 FROM asks JOIN attempts USING (request_key) WHERE model = ? AND error = '' LIMIT 1"
        return self._db.execute(query, (model,)).fetchone() is not None

    @_reads
    def failures(self, keys: Sequence[str], *, timed: bool = False) -> dict[str, str]:
        """Latest reason of each of these requests that failed and never succeeded."""
        reasons: dict[str, str] = {}
        for chunk, marks in chunks(keys):
            reasons |= dict(
                self._db.execute(
                    f"SELECT request_key, error FROM attempts WHERE request_key IN ({marks}) AND timed = ?"
                    " AND request_key NOT IN (SELECT request_key FROM attempts WHERE error = '' AND timed = ?)"
                    " ORDER BY id",
                    [*chunk, timed, timed],
                )
            )
        return reasons

    @_reads
    def request(self, key: str) -> Request | None:
        """The whole request under this key."""
        row = self._db.execute("SELECT request FROM requests WHERE key = ?", (key,)).fetchone()
        return stored.read_request(self._db, key, row[0]) if row else None

    @_reads
    def asked_for(self, key: str) -> list[tuple[str, str, int, str, str]]:
        """What a request was made for: (data set, session, window index, model, purpose), sorted."""
        return self._db.execute(
            "SELECT dataset, session_id, window_index, model, purpose FROM asks WHERE request_key = ?"
            " ORDER BY 1, 2, 3, 4",
            (key,),
        ).fetchall()

    @_reads
    def count_answers(self, dataset: str, sessions: Sequence[str]) -> int:
        """Successful answers about windows of these sessions, whoever gave them and whatever for."""
        marks = ", ".join("?" * len(sessions))
        row = self._db.execute(
            "SELECT count(DISTINCT attempts.id) FROM asks JOIN attempts USING (request_key)"
            f" WHERE error = '' AND dataset = ? AND session_id IN ({marks})",
            (dataset, *sessions),
        ).fetchone()
        return int(row[0])

    @_reads
    def counts(self) -> dict[str, int]:
        """Rows of each table, successes and failures apart."""
        names = ("requests", "successes", "failures", "asks", "runs")
        tables = ("requests", "attempts WHERE error = ''", "attempts WHERE error <> ''", "asks", "runs")
        one = lambda rows: int(self._db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])  # noqa: E731
        return {name: one(rows) for name, rows in zip(names, tables)}

    def add_run(self, spec: dict[str, Any]) -> int:
        """Keep everything that made a run; returns its number."""
        with self._transaction():
            done = self._db.execute("INSERT INTO runs VALUES (NULL, ?, ?)", (canonical_json(spec), time.time()))
            return int(done.lastrowid or 0)

    def add_note(self, key: str, tags: Sequence[str], text: str) -> Note:
        """Keep a note on the answers to a request; earlier versions stay, an empty one takes the note back.

        Args:
            key: request key, or its first digits (at least :data:`SHORT_KEY`).
            tags: short words; blanks around and repeats go.
            text: a comment.

        Raises:
            StoreError: no request has this key, or the note is too long.
        """
        kept, comment = stored.storable_note(tags, text)
        if len(comment) > MAX_NOTE or len(kept) > MAX_TAGS or max(map(len, kept), default=0) > MAX_TAG:
            raise StoreError(f"a note may have {MAX_NOTE} characters and {MAX_TAGS} tags of {MAX_TAG} each: shorten it")
        whole = self._whole_key(key)
        with self._transaction():
            self._db.execute(_NOTES)
            row = (whole, canonical_json(kept), comment, time.time())
            self._db.execute("INSERT INTO notes VALUES (NULL, ?, ?, ?, ?)", row)
        return self._notes([whole], taken_back=True)[0]

    @_reads
    def _whole_key(self, key: str) -> str:
        found = [] if len(key) < SHORT_KEY else self._db.execute(
            "SELECT key FROM requests WHERE key >= ? AND key < ? LIMIT 2", (storable(key), storable(key) + "g")
        ).fetchall()  # fmt: skip
        if len(found) != 1:
            raise StoreError(f"{len(found) or 'no'} requests of {self.path} have a key that begins with {key[:64]!r}")
        return str(found[0][0])

    def notes(self, keys: Sequence[str] | None = None) -> list[Note]:
        """Latest version of each note, the oldest first; None = all."""
        if os.environ.get(seen.VARIABLE):
            seen.keep([seen.NOTES])
        return self._notes(keys, taken_back=False)

    @_reads
    def _notes(self, keys: Sequence[str] | None, *, taken_back: bool) -> list[Note]:
        if not self._has("notes"):
            return []
        found: dict[str, Note] = {}
        wanted = None if keys is None else set(keys)
        for key, tags, text, at in self._db.execute(
            "SELECT request_key, tags, text, created_utc FROM notes ORDER BY id"
        ):
            if wanted is None or key in wanted:
                found[key] = Note(
                    key, tuple(json.loads(tags)), text, found[key].created_utc if key in found else at, at
                )
        return [note for note in found.values() if taken_back or note.tags or note.text]

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
