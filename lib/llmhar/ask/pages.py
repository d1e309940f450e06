"""Long studies by pages: asks that are made on the way and answers that are looked up when they are read, never listed.

Ten thousand answers with their questions and readings take a hundred megabytes, so that a study of a million would
find no room. Here a page at a time is held; keys stay. Asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, TypeVar, overload

from llmhar.ask.asking import Asking
from llmhar.ask.inference import PAGE, Answer, Outcome, asker, look_up
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask, Store
from llmhar.ask.task import Task
from llmhar.records import Fingerprint

T = TypeVar("T")


class Paged(Sequence[T]):
    """A sequence whose items are made page by page, each time they are needed; the last page is held."""

    def __init__(self, n: int, make: Callable[[int, int], list[T]]) -> None:
        """Nothing is made yet.

        Args:
            n: items.
            make: makes the items from a place to another one.
        """
        self._n, self._make = n, make
        self._held: tuple[int, list[T]] = (-1, [])

    def _page(self, number: int) -> list[T]:
        if self._held[0] != number:
            self._held = (-1, [])  # two pages are never held
            start = number * PAGE
            self._held = (number, self._make(start, min(start + PAGE, self._n)))
        return self._held[1]

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(self._n))]
        place = range(self._n)[at]
        return self._page(place // PAGE)[place % PAGE]

    def __iter__(self) -> Iterator[T]:
        for number in range(-(-self._n // PAGE)):
            yield from self._page(number)


class LateAsks(Collection[Ask]):
    """The asks of tasks to a model, made anew each time they are gone through."""

    def __init__(self, tasks: Sequence[Task], model: ModelSpec, asking: Asking) -> None:
        """Nothing is made yet.

        Args:
            tasks: whose windows are asked about.
            model: who is asked.
            asking: how.
        """
        self.n_samples, self.timed = asking.n_samples, asking.purpose == "timed"
        self._tasks = [(task.windows, asker(task, model, asking)) for task in tasks]
        self.keys: list[list[str]] = [[] for _ in tasks]
        """Of each task's requests, once they have been gone through."""

    def __len__(self) -> int:
        return sum(len(windows) for windows, _ in self._tasks) * self.n_samples

    def __contains__(self, ask: object) -> bool:
        return any(own == ask for own in self)

    def __iter__(self) -> Iterator[Ask]:
        for place, (windows, asks_of) in enumerate(self._tasks):
            keys = list[str]()
            for window in windows:
                own = asks_of(window)
                keys += [ask.request.key for ask in own]
                yield from own
            self.keys[place] = keys

    def answers(self, task: int, sample: int, store: Store, exactly: Fingerprint | None) -> PagedAnswers:
        """The answers to one sample of a task.

        Args:
            task: its place among the tasks.
            sample: the k-th of each window, from 0.
            store: where they are; it may be closed before they are read.
            exactly: accept answers of this engine alone.
        """
        windows, asks_of = self._tasks[task]
        keys, path = self.keys[task][sample :: self.n_samples], store.path

        def found(start: int, stop: int) -> list[Outcome]:
            with Store(path) as opened:
                return look_up(keys[start:stop], opened, exactly, timed=self.timed)

        def answers(start: int, stop: int) -> list[Answer]:
            asks = [asks_of(window)[sample] for window in windows[start:stop]]
            return [Answer(ask, *outcome) for ask, outcome in zip(asks, stored[start:stop])]

        stored = Paged(len(windows), found)
        return PagedAnswers(Paged(len(windows), answers), stored)


class PagedAnswers(NamedTuple):
    """One sample of a task, in the order of its windows."""

    answers: Paged[Answer]
    stored: Paged[Outcome]
    """The same without their questions, which take longer to make than answers to look up."""
