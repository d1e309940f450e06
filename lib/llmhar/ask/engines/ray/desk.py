"""Who has which request, of many replicas: dealing, answers, losses. Pure; knows no Ray and no engine.

A replica that is lost takes nothing with it: what it held goes to the others. A request may be what kills replicas, so
nothing is handed on for ever: after :data:`MAX_LOSSES` losses it is a failed generation. Whatever was in flight beside
such a request must not die with it; so a request that was lost twice is dealt as the only one of its kind on a replica,
and a third loss is its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmhar.records import Generation, Request

MAX_LOSSES = 3
"""Replicas that may be lost with a request before it fails."""


@dataclass
class Seat:
    """One replica as the desk sees it."""

    room: int
    """Most requests that it may hold at once: the back-pressure."""
    actor: Any = None
    """The desk's owner's business."""
    host: str = ""
    held: dict[int, Request] = field(default_factory=dict)
    """Number -> request: given and not answered."""
    unsent: list[int] = field(default_factory=list)
    """Of these, dealt and not sent yet."""
    suspect: int | None = None
    """Of these, the one that was lost with two replicas before."""

    def take_unsent(self) -> list[tuple[int, Request]]:
        """What is to be sent now; from here on it counts as sent."""
        numbers, self.unsent = self.unsent, []
        return [(number, self.held[number]) for number in numbers]

    def clear(self) -> None:
        """Forget what it holds."""
        self.held, self.unsent, self.suspect = {}, [], None


class Desk:
    """Deals one stream of requests to seats; pulls no more of it than the seats have room for."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._source = iter(requests)
        self._next = 0
        self._dry = False
        self._again: deque[tuple[int, Request]] = deque()
        self._suspects: deque[tuple[int, Request]] = deque()
        self._losses: Counter[int] = Counter()

    @property
    def empty(self) -> bool:
        """Whether nothing is left to deal (known once the source was asked in vain)."""
        return self._dry and not self._again and not self._suspects

    def deal(self, seats: Sequence[Seat]) -> None:
        """Fill the seats, always the emptiest one next: few requests are spread over all replicas."""
        for seat in seats:
            if seat.suspect is None and self._suspects and len(seat.held) < seat.room:
                number, request = self._suspects.popleft()
                seat.suspect = number
                self._give(seat, number, request)
        free = [seat for seat in seats if len(seat.held) < seat.room]
        while free:
            item = self._pull()
            if item is None:
                return
            seat = min(free, key=lambda seat: len(seat.held))
            self._give(seat, *item)
            if len(seat.held) >= seat.room:
                free.remove(seat)

    @staticmethod
    def _give(seat: Seat, number: int, request: Request) -> None:
        seat.held[number] = request
        seat.unsent.append(number)

    def _pull(self) -> tuple[int, Request] | None:
        if self._again:
            return self._again.popleft()
        for request in self._source:
            self._next += 1
            return self._next, request
        self._dry = True
        return None

    def answered(self, seat: Seat, number: int) -> bool:
        """Take an answer in; False for one that this seat does not owe (any more)."""
        if seat.held.pop(number, None) is None:
            return False
        self._losses.pop(number, None)
        if seat.suspect == number:
            seat.suspect = None
        return True

    def lost(self, seat: Seat, why: str) -> list[Generation]:
        """Take back what a lost replica held, for the others; returns failures of what was lost too often."""
        failed = []
        unsent = set(seat.unsent)
        for number, request in seat.held.items():
            self._losses[number] += number not in unsent  # what was never sent had no part in it
            losses = self._losses[number]
            if losses >= MAX_LOSSES:
                failed.append(_failure(request, f"{losses} replicas were lost while they answered this: {why}"))
            elif losses == MAX_LOSSES - 1:
                self._suspects.append((number, request))
            else:
                self._again.append((number, request))
        seat.clear()
        return failed

    def rest(self, why: str) -> Iterator[Generation]:
        """Everything that is left, as failures: nobody is there to answer it."""
        while self._suspects:
            yield _failure(self._suspects.popleft()[1], why)
        while (item := self._pull()) is not None:
            yield _failure(item[1], why)


def _failure(request: Request, why: str) -> Generation:
    return Generation(request.key, finish_reason="error", error=why)
