"""What stands on a node of a Ray cluster: one of our own engines, fed and emptied by :mod:`.engine`.

A plain class; the driver makes an actor of it, so nothing here imports Ray. It never writes to the store. Requests and
answers travel as plain dictionaries and strings.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import psutil

from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import ModelError, ModelSpec
from llmhar.records import Generation, Request

Numbered = tuple[int, dict[str, Any]]
"""A request (``Request.to_json``) or an answer (fields of ``Generation``) under the driver's number."""


class ReplicaLost(RuntimeError):
    """The engine's process is gone: this replica would fail whatever it is given, so it answers nothing more."""


class Replica:
    """One engine. Two calls may run at once: an :meth:`exchange` that waits, and what ends the waiting."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._lock, self._engine_lock = threading.Lock(), threading.Lock()
        self._work: _Work | None = None

    def open(self, model: str, engine: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Start the engine; its weights are looked for on this node.

        Args:
            model: JSON of a ModelSpec.
            engine: key into ``ENGINES``, or "auto".
            options: fields of :class:`llmhar.ask.engines.registry.Options`.

        Returns:
            "fingerprint", "in_flight" (requests that the engine takes before it waits for an answer), "host".

        Raises:
            EngineError: it cannot start; names this node.
        """
        host = socket.gethostname()
        try:
            self._engine = open_engine(engine, ModelSpec.model_validate_json(model), options)
        except (EngineError, ModelError) as error:
            raise EngineError(f"on {host}: {error}") from None  # the cause need not be readable where the driver is
        return {
            "fingerprint": self._engine.fingerprint().to_json(),
            "in_flight": int(getattr(self._engine, "_in_flight", 1)),  # child engines; the others answer in order
            "host": host,
        }

    def exchange(self, session: int, given: Sequence[Numbered]) -> list[Numbered]:
        """Hand requests in, wait for at least one answer, and take all that are ready.

        Args:
            session: number of the driver's stream; a higher one ends what is left of the one before.
            given: requests, none if the driver only waits.

        Returns:
            Answers; none if the session was dropped.

        Raises:
            ReplicaLost: the engine's process ended.
        """
        with self._lock:
            if self._engine is None:
                raise ReplicaLost("this replica was closed")
            if self._work is None or session > self._work.session:
                self._stop()
                self._work = _Work(session, self._engine, self._engine_lock)
            work = self._work
        if session < work.session:
            return []
        work.give(given)
        return work.take()

    def drop(self, session: int) -> None:
        """End a session: what is in flight is cancelled at the engine's next answer."""
        with self._lock:
            if self._work is not None and self._work.session == session:
                self._work.stop()

    def close(self) -> None:
        """Give memory and processes back; calling it twice does no harm."""
        with self._lock:
            self._stop()
            if self._engine is not None:
                self._engine.close()
            self._engine = None

    def _stop(self) -> None:
        if self._work is not None:
            self._work.stop()


class _Work:
    """One session: a thread that runs the engine's stream, between two queues.

    The stream is fed what has come in and ends when nothing more is there, as an engine that waited for its next
    request would not hand over the answers it has.
    """

    def __init__(self, session: int, engine: Engine, engine_lock: threading.Lock) -> None:
        self.session = session
        self._engine, self._engine_lock = engine, engine_lock
        self._inbox: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Numbered | Exception | None] = queue.SimpleQueue()
        self._waiting: dict[str, deque[int]] = {}
        self._stopped = False
        threading.Thread(target=self._run, name=f"session-{session}", daemon=True).start()

    def give(self, given: Sequence[Numbered]) -> None:
        for item in given:
            self._inbox.put(item)

    def take(self) -> list[Numbered]:
        """All answers that are ready, at least one; none once the session was stopped."""
        done: list[Numbered] = []
        while True:
            try:
                item = self._outbox.get(block=not done)
            except queue.Empty:
                return done
            if item is None:
                return done
            if isinstance(item, Exception):
                if not done:
                    raise item
                self._outbox.put(item)  # the answers first
                return done
            done.append(item)

    def stop(self) -> None:
        self._stopped = True
        self._inbox.put(None)
        self._outbox.put(None)

    def _run(self) -> None:
        try:
            with self._engine_lock:  # an engine has one stream at a time: wait till a dropped session's has ended
                while not self._stopped and (item := self._inbox.get()) is not None:
                    self._answer(item)
        except Exception as error:
            self._outbox.put(
                error if isinstance(error, ReplicaLost) else ReplicaLost(f"{type(error).__name__}: {error}")
            )

    def _answer(self, first: Numbered) -> None:
        with contextlib.closing(self._engine.stream(self._pending(first))) as stream:  # type: ignore[type-var]
            for generation in stream:
                if self._stopped:
                    return
                if generation.error and _gone(self._engine):
                    raise ReplicaLost(generation.error)
                self._put(generation)
        for key in list(self._waiting):
            error = "the engine gave no answer to this request"
            self._put(Generation(key, finish_reason="error", error=error))

    def _pending(self, first: Numbered) -> Iterator[Request]:
        item: Numbered | None = first
        while item is not None:
            number, fields = item
            request = Request.from_json(fields)
            self._waiting.setdefault(request.key, deque()).append(number)
            yield request
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return

    def _put(self, generation: Generation) -> None:
        numbers = self._waiting.get(generation.request_key)
        if not numbers:
            return  # an answer that nobody asked for
        self._outbox.put((numbers.popleft(), asdict(generation)))
        if not numbers:
            del self._waiting[generation.request_key]


def _gone(engine: Engine) -> bool:
    """Whether the engine's own process has ended; engines without one are never gone."""
    pid = getattr(engine, "pid", None)
    return pid is not None and not psutil.pid_exists(pid)
