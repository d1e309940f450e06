"""What answers cost in US dollars: an estimate before they are asked for, what was spent, and a limit of a run.

Prices are those of models' entries, tokens those that servers report. What a failed attempt cost, if it reports no
tokens, nobody here can know. Asks nobody.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from llmhar import paths
from llmhar.ask.engines.base import EngineError
from llmhar.ask.models import Mode, ModelSpec, Prices
from llmhar.records import Generation, Request

LIMIT, LEDGER = "LLMHAR_MAX_USD", "LLMHAR_SPENT"
"""Environment variables: most US dollars that a run may spend, and the file in which its processes add up what they
spend. ``llmhar run --max-usd`` sets both; without the file each process counts for itself."""
CHARACTERS = 4
"""Characters of a prompt's token, about, where only a server can count."""
EXPECTED: dict[Mode, int] = {"thinking": 3000, "plain": 300}
"""Tokens that a window's answer takes, about: what the planner assumes."""


class LimitReached(EngineError):
    """The next request might cost more than is left of the limit; all answers so far are stored."""


class Cost(NamedTuple):
    """What an engine, or a set of answers, used."""

    n_requests: int
    prompt_tokens: int
    """Cached ones among them."""
    cached_tokens: int
    output_tokens: int
    """Thinking included."""
    usd: float | None
    """US dollars by the prices of models.yaml; None where it has none. Attempts that failed are not in it."""

    def plus(self, other: Cost) -> Cost:
        """Both together."""
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        n, prompt, cached, output = (a + b for a, b in zip(self[:4], other[:4]))
        return Cost(n, prompt, cached, output, usd)


def cost_of(generations: Iterable[Generation], prices: Prices | None) -> Cost:
    """What these answers cost at these prices, also long after they were made."""
    made = [generation for generation in generations if generation.ok]
    prompt, cached, output = (
        sum(getattr(generation, f"{kind}_tokens") for generation in made) for kind in ("prompt", "cached", "output")
    )
    usd = None
    if prices is not None:
        again = prices.input_usd if prices.cached_usd is None else prices.cached_usd
        usd = ((prompt - cached) * prices.input_usd + cached * again + output * prices.output_usd) / 1e6
    return Cost(len(made), prompt, cached, output, usd)


class Estimate(NamedTuple):
    """What requests may take, before the first is sent."""

    model: str
    n_requests: int
    prompt_tokens: int
    output_tokens: int
    """About as many."""
    most_tokens: int
    """No more than these, by ``max_tokens``."""
    usd: float | None
    """About; None where no prices are known."""
    most_usd: float | None

    def __str__(self) -> str:
        """A line for people."""
        words = (f"{self.n_requests:,} requests, about {self.prompt_tokens:,} tokens to read and "
                 f"{self.output_tokens:,} to write (at most {self.most_tokens:,})")  # fmt: skip
        if self.usd is None:
            return f"{self.model}: {words}; what they cost is not known: the model's entry has no prices"
        return f"{self.model}: {words}: about ${self.usd:.4f}, at most ${self.most_usd:.4f}"


def estimate(requests: Sequence[Request], model: ModelSpec) -> Estimate:
    """What these requests may take. Tokens are guessed: four characters of a prompt each, answers as the planner has
    them, 300 tokens, or 3,000 with thinking.

    Args:
        requests: to one model.
        model: whose prices count.
    """
    read = sum(_prompt_tokens(request) for request in requests)
    most = sum(request.sampling.max_tokens for request in requests)
    about = sum(min(request.sampling.max_tokens, EXPECTED[_mode(request, model)]) for request in requests)
    prices = [cost_of([Generation("", prompt_tokens=read, output_tokens=n)], model.prices).usd for n in (about, most)]
    return Estimate(model.name, len(requests), read, about, most, *prices)


def _prompt_tokens(request: Request) -> int:
    return sum(len(message["content"]) for message in request.messages) // CHARACTERS


def _mode(request: Request, model: ModelSpec) -> Mode:
    return "thinking" if model.thinking and request.template_args.get("enable_thinking", True) else "plain"


class _Ledger:
    """A sum that several processes add to: a line a change and whose it is, appended in one write."""

    def __init__(self, file: str) -> None:
        self._file, self._read, self._sum = Path(file) if file else None, 0, 0.0
        self.dearest: dict[str, float] = {}
        """Model -> largest change, as far as it was read: what a request of it may take."""

    def add(self, model: str, *changes: float) -> None:
        if self._file is None:
            for usd in changes:
                self._count(usd, model)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._file, "ab", buffering=0) as stream:
            stream.write("".join(f"{usd!r} {model}\n" for usd in changes).encode())

    def total(self) -> float:
        if self._file is not None and self._file.exists():
            with open(self._file, "rb") as stream:
                stream.seek(self._read)
                whole, end, _ = stream.read().rpartition(b"\n")
            self._read += len(whole + end)
            for line in whole.decode().splitlines():
                usd, _, model = line.partition(" ")
                self._count(float(usd), model)
        return self._sum

    def _count(self, usd: float, model: str) -> None:
        self._sum += usd
        self.dearest[model] = max(self.dearest.get(model, 0.0), usd)


_ledger = functools.cache(_Ledger)
_spent_here: dict[str, Cost] = {}


def spent_here() -> dict[str, Cost]:
    """What this process has had servers answer, by model; failed attempts are not in it."""
    return dict(_spent_here)


def limit_usd() -> float | None:
    """The limit of this run; None = there is none.

    Raises:
        EngineError: no number, or below 0.
    """
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text or "inf")
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise EngineError(f"{LIMIT} must be a number of US dollars, got {text[:40]!r}")
    return limit if text else None


def cannot_count(model: ModelSpec) -> str:
    """Why a limit cannot hold for a model; empty where it can, or where none is set."""
    if limit_usd() is None or model.prices is not None:
        return ""
    return (f"{model.name} has no prices, so --max-usd cannot hold: llmhar models add NAME --api --id {model.hub_id} "
            "--price-in X --price-out Y")  # fmt: skip


class Purse:
    """What one engine may still spend. The first answer is waited for; then each request under way counts as the
    dearest so far, so the limit is passed by no more than that one guess was wrong.
    """

    def __init__(self, model: ModelSpec) -> None:
        """Open it.

        Raises:
            EngineError: a limit is set, and the model has no prices.
        """
        self._model, self._limit = model, limit_usd()
        self._ledger = _ledger(os.environ.get(LEDGER, ""))
        if problem := cannot_count(model):
            raise EngineError(problem)

    def may_send(self, n_running: int) -> bool:
        """Whether one more request may be sent while so many are under way."""
        if self._limit is None:
            return True
        spent, dearest = self._ledger.total(), self._ledger.dearest.get(self._model.name)
        return spent < self._limit and n_running == 0 if dearest is None else spent + dearest <= self._limit

    def reserve(self) -> float:
        """Count a request that is sent as the dearest so far; the sum is given back to :meth:`settle`."""
        reserved = self._ledger.dearest.get(self._model.name, 0.0) if self._limit is not None else 0.0
        if reserved:
            self._ledger.add(self._model.name, reserved)
        return reserved

    def settle(self, reserved: float, request: Request, generation: Generation) -> None:
        """Count what a request took in place of what was reserved.

        Args:
            reserved: from :meth:`reserve`.
            request: what was sent.
            generation: with the tokens that the server reported, answered or not; where it reported none of an answer,
                they are guessed from the texts.
        """
        prompt, output = generation.prompt_tokens, generation.output_tokens
        if generation.text and not prompt + output:
            prompt, output = _prompt_tokens(request), len(generation.text) // CHARACTERS
        counted = Generation("", prompt_tokens=prompt, cached_tokens=generation.cached_tokens, output_tokens=output)
        used = cost_of([counted], self._model.prices)
        name = self._model.name
        if generation.ok:
            _spent_here[name] = _spent_here[name].plus(used) if name in _spent_here else used
        if used.usd is not None and (generation.ok or used.usd or reserved):
            self._ledger.add(name, -reserved, used.usd)

    def reached(self) -> LimitReached:
        """That no more is sent, as one sentence with the cure."""
        return LimitReached(
            f"{self._model.name}: the limit of ${self._limit:g} (--max-usd) is reached, ${self._ledger.total():.4f} "
            "are spent; every answer is stored: run again, with more, to go on"
        )


def begin(max_usd: float | None) -> None:
    """Begin a run: its processes, this one and those that it starts, add up what they spend in a file of its own.

    Args:
        max_usd: most that the run may spend; None = as ``LLMHAR_MAX_USD`` says, else no limit.
    """
    if max_usd is not None:
        os.environ[LIMIT] = repr(max_usd)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    os.environ[LEDGER] = str(paths.home() / "spent" / f"{stamp}-{os.getpid()}.txt")


def end() -> str:
    """End a run; what it spent, as a line for people, empty where no server was paid."""
    file = Path(os.environ.pop(LEDGER))
    spent, limit = _Ledger(str(file)).total(), limit_usd()
    file.unlink(missing_ok=True)
    of = f" of ${limit:g}" if limit is not None else ""
    return f"spent: ${spent:.4f}{of} by the tokens that servers reported" if spent > 0 else ""
