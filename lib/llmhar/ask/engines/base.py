"""What an engine is: the protocol that every engine meets and that the contract tests run over.

An engine turns requests into generations. It knows nothing of sensors, prompts, labels or the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from llmhar.records import Fingerprint, Generation, Request


class EngineError(RuntimeError):
    """An engine that cannot start; the message is one sentence with the cure."""


class Engine(Protocol):
    """The contract. ``stream`` yields exactly one generation per request, in completion order.

    A request that fails comes back as a generation with ``error`` set: failures are values. Only an engine that
    cannot start at all raises :class:`EngineError`. ``close`` may be called twice; engines are context managers.
    """

    def fingerprint(self) -> Fingerprint:
        """Where generations of this engine are made."""
        ...

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer all requests, each as soon as it is ready."""
        ...

    def close(self) -> None:
        """Give memory and processes back."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc: object) -> None: ...
