"""Claims of "Peers" against inspect_ai; ``python -m tests.bench.peers_inspect`` prints them.

Both run the same windows with the same sampling against one server on loopback, each in a process of its own: theirs
through ``eval_set``, which goes on where a run was ended, ours as a notebook does. The server answers each request
after the same time, whatever it is asked, so that what differs is the runners'; no weights are loaded. It counts what
it is asked: that says what a run that was ended by SIGKILL, or one that had ended, asks again.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmhar.ask.engines.child import last_words
from tests.ask.engines import test_openai as fake
from tests.bench import peers
from tests.bench.engines_steps import spread
from tests.bench.peers import Run, Unavailable
from tests.bench.verdicts import Claim, at_least, at_most, not_measured, print_claims

AT_ONCE, ANSWER_S = 8, 0.5
"""Requests that either side has under way at once; seconds until the server answers one."""
FASTER = 1.0
"""Figure of both times, ours: no slower than the peer."""
SIDES = ("ours", "inspect-ai")
SERVER = f"one server on loopback ({AT_ONCE} at once, {ANSWER_S:g} s an answer, no weights)"
COLD_CLAIM = f"against inspect_ai, {SERVER}, cold: its wall time over ours, whole process"
RERUN_CLAIM = "against inspect_ai, the same run again: its wall time over ours, whole process"
KILL_CLAIM = "beside inspect_ai, kill -9 in mid-run and the same command again: requests that we send twice"


class Killed(NamedTuple):
    """One run that was ended and run again to its end."""

    twice: int
    """Requests of both runs beyond one a window."""
    again: Run
    """The second run."""


class Books:
    """What the server was asked: how often each prompt with its sampling came, and how many answers it gave."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.given = 0

    def __call__(self, body: dict[str, Any]) -> Any:
        says = [(message["role"], message["content"]) for message in body["messages"]]
        self.asked[json.dumps([says, body["temperature"], body.get("max_tokens")])] += 1  # atomic: one thread at a time
        time.sleep(ANSWER_S)
        self.given += 1
        items = [{"id": number, "why": "the sensor speaks of it", "activity": "Other"} for number in range(10)]
        return 200, fake.completion(json.dumps(items)), {}


@contextlib.contextmanager
def served() -> Iterator[tuple[Books, str]]:
    """The server of the unit tests, with books; and its address."""
    with pytest.MonkeyPatch.context() as patch, contextlib.contextmanager(inspect.unwrap(fake.server))(patch) as server:
        books = Books()
        server.replies = [books]
        yield books, server.url


def told(windows: dict[str, Any], url: str, *, cached: bool) -> dict[str, Any]:
    """What a side is told of the windows (:func:`tests.bench.peers.windows_job`) and the server.

    Args:
        windows: the job so far.
        url: of the server.
        cached: whether inspect_ai's cache is on, as it is not by itself.
    """
    options = {"base_url": url, "max_num_seqs": AT_ONCE}
    return {**windows, "url": url, "at_once": AT_ONCE, "threads": 1, "cached": cached,
            "engine": "openai", "options": options}  # fmt: skip


def whole(side: str, windows: dict[str, Any], folder: Path) -> tuple[Run, Run]:
    """A run from nothing, then the same again; inspect_ai's cache is on.

    Raises:
        Unavailable: the peer failed or asked something else than each window once; its last words.
        RuntimeError: we did.
    """
    with served() as (books, url):
        job, runs, n = told(windows, url, cached=True), [], windows["n"]
        for _ in range(2):
            before = books.asked.total()
            runs.append(replace(peers.run_side(side, job, folder, folder), asked=books.asked.total() - before))
            if len(books.asked) != n:
                raise (RuntimeError if side == "ours" else Unavailable)(f"{side}: {len(books.asked)} different prompts")
    return runs[0], runs[1]


def killed(side: str, windows: dict[str, Any], folder: Path, after: int, *, cached: bool) -> Killed:
    """A run ended by SIGKILL when the server had given so many answers, then the same run to its end.

    Raises:
        Unavailable, RuntimeError: as :func:`whole` raises them.
    """
    with served() as (books, url):
        job = told(windows, url, cached=cached)
        process, log = peers.start_side(side, job, folder, folder)
        with process:
            while books.given < after and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        if process.returncode != -9:
            failure = RuntimeError if side == "ours" else Unavailable
            raise failure(f"{side} ended ({process.returncode}) before it was killed: {last_words(log)}")
        again = peers.run_side(side, job, folder, folder)
    return Killed(books.asked.total() - windows["n"], again)


def time_claims(ours: Sequence[tuple[Run, Run]], peer: Sequence[tuple[Run, Run]]) -> list[Claim]:
    """Cold and again, of runs in pairs."""
    claims = []
    for name, place in ((COLD_CLAIM, 0), (RERUN_CLAIM, 1)):
        pairs = [(theirs[place], own[place]) for theirs, own in zip(peer, ours, strict=True)]
        ratios, (theirs, own) = [b.wall / a.wall for b, a in pairs], pairs[0]
        why = (
            f"{spread(ratios)}; {theirs.wall:.1f} s ({theirs.start:.1f} s its imports) and {own.wall:.1f} s; asked: "
            f"{theirs.asked} and {own.asked} requests of {own.answered} windows; {version()}, eval_set with its cache; "
            "ours reads raw data, parses and scores"
        )
        claims.append(at_least(name, FASTER, statistics.median(ratios), "×", why=why))
    return claims


def kill_claim(ours: Sequence[Killed], cached: Sequence[Killed], bare: Sequence[Killed]) -> Claim:
    """What is asked again: at most what was under way."""

    def most(kills: Sequence[Killed]) -> str:
        return f"{max(kill.twice for kill in kills)} in {max(kill.again.wall for kill in kills):.1f} s"

    why = (
        f"most of {len(ours)} kills, the figure is what was under way; all {ours[0].again.answered} windows answered "
        f"after each; inspect_ai with its cache {most(cached)}, as it comes {most(bare)}, ours {most(ours)}"
    )
    return at_most(KILL_CLAIM, AT_ONCE, max(kill.twice for kill in ours), "requests", why=why)


def version() -> str:
    """The peer and its version.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        return f"inspect_ai {importlib.metadata.version('inspect_ai')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable("inspect_ai is not installed") from error


def measure(*, quick: bool) -> list[Claim]:
    """Pairs in an order that changes, then kills at the same points for all.

    Raises:
        Unavailable, RuntimeError: as :func:`whole` raises them.
    """
    n, points = (8, (4,)) if quick else (32, (8, 16, 24))
    version()
    runs: dict[str, list[tuple[Run, Run]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        windows = peers.windows_job(Path(name), n, 64)
        for number in range(1 if quick else 3):
            for side in SIDES if number % 2 else SIDES[::-1]:
                runs[side].append(whole(side, windows, _folder(name, f"{number}-{side}")))
        kills = [
            [killed(side, windows, _folder(name, f"{side}-{cached}-{after}"), after, cached=cached) for after in points]
            for side, cached in (("ours", True), ("inspect-ai", True), ("inspect-ai", False))
        ]
    return [*time_claims(runs["ours"], runs["inspect-ai"]), kill_claim(*kills)]


def _folder(*parts: str) -> Path:
    folder = Path(*parts)
    folder.mkdir()
    return folder


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module.

    Args:
        quick: few windows, one pair and one kill, to see that everything runs; figures mean little.
    """
    figures = {COLD_CLAIM: "≥ 1 ×", RERUN_CLAIM: "≥ 1 ×", KILL_CLAIM: f"≤ {AT_ONCE} requests"}
    try:
        return measure(quick=quick)
    except Unavailable as error:
        return [not_measured(name, figure, str(error)) for name, figure in figures.items()]
    except RuntimeError as error:
        return [Claim(name, figure, "–", "missed", str(error)) for name, figure in figures.items()]


if __name__ == "__main__":
    sys.exit(print_claims(claims, __doc__, "one pair and one kill with few windows"))
