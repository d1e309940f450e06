"""One Markdown table of claim, figure, measured, verdict: what the benches bench, faults and security end in.

Measures nothing itself. A verdict follows from the number wherever there is one (:func:`at_most`, :func:`at_least`,
:func:`exactly`); whoever misses a figure or cannot measure it must say why, or the claim is refused; and a row that
misses says what was tried, or that nothing was.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from llmhar import paths, settings
from tests.bench import ages

Verdict = Literal["met", "missed", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("met", "missed", "not measured")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the table.

    Raises:
        ValueError: an unknown verdict, an empty part, or "missed" and "not measured" without a reason.
    """

    claim: str
    """What is claimed, in words a visitor understands."""
    figure: str
    """The limit, with its unit."""
    measured: str
    """What was seen, with its unit; "–" where nothing was measured."""
    verdict: Verdict
    why: str = ""
    """The test or command that shows it; of a figure missed: by how much, and why."""
    made: str = ""
    """Commit, module and hash of the code that measured it (:mod:`tests.bench.ages`); empty = not noted."""
    tried: str = ""
    """What was tried to meet the figure, for the table where it is missed."""
    setting: str = ""
    """Threads, number format and tokens of what was timed (:func:`setting`); empty = the table has no such column."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.claim}: verdict {self.verdict!r}; there are: {', '.join(VERDICTS)}")
        if not (self.claim and self.figure and self.measured):
            raise ValueError(f"{self.claim or 'a claim'}: claim, figure and measured must not be empty")
        if self.verdict != "met" and not self.why:
            raise ValueError(f"{self.claim}: {self.verdict}, but why?")

    @property
    def reason(self) -> str:
        """What the table says behind the verdict: why, and of a figure missed what was tried."""
        if self.verdict != "missed":
            return self.why
        return f"{self.why}; {f'tried: {self.tried}' if self.tried else UNTRIED}"


UNTRIED = "nothing was tried yet"


def at_most(
    claim: str, limit: float, measured: float | None, unit: str = "", *, why: str = "", tried: str = ""
) -> Claim:
    """A claim met where ``measured`` ≤ ``limit``; None or NaN = not measured."""
    return _compared(claim, "≤", limit, measured, unit, why, tried)


def at_least(
    claim: str, limit: float, measured: float | None, unit: str = "", *, why: str = "", tried: str = ""
) -> Claim:
    """A claim met where ``measured`` ≥ ``limit``; None or NaN = not measured."""
    return _compared(claim, "≥", limit, measured, unit, why, tried)


def exactly(
    claim: str, wanted: float, measured: float | None, unit: str = "", *, why: str = "", tried: str = ""
) -> Claim:
    """A claim met where ``measured`` is ``wanted`` (counts); None = not measured."""
    return _compared(claim, "=", wanted, measured, unit, why, tried, 6)


def not_measured(claim: str, figure: str, why: str) -> Claim:
    """A claim that nobody measured here, and the reason."""
    return Claim(claim, figure, "–", "not measured", why)


def setting(threads: int, dtypes: Collection[str], prompt_tokens: int, output_tokens: int) -> str:
    """How a row says what its engines ran with.

    Args:
        threads: of each engine.
        dtypes: number formats; two where the sides differ.
        prompt_tokens: that all timed runs read.
        output_tokens: that all timed runs wrote.
    """
    numbers = " and ".join(sorted({dtype for dtype in dtypes if dtype})) or "number format not told"
    return f"{threads} threads, {numbers}, {prompt_tokens:,} prompt and {output_tokens:,} output tokens"


def _compared(
    claim: str, sign: str, limit: float, measured: float | None, unit: str, why: str, tried: str, digits: int = 3
) -> Claim:
    figure = f"{sign} {_number(limit, 6)} {unit}".rstrip()
    if measured is None or math.isnan(measured):
        return not_measured(claim, figure, why or "no value")
    met = {"≤": measured <= limit, "≥": measured >= limit, "=": measured == limit}[sign]
    if not met:
        off = f"misses the figure by {_number(abs(measured - limit), digits)} {unit}".rstrip()
        why = f"{off}; {why}" if why else off
    # A value just past its limit must not be rounded onto it: "3 %, limit 3 %, missed" would puzzle anybody.
    enough = next(n for n in range(digits, 18) if measured == limit or _number(measured, n) != _number(limit, n))
    shown = f"{_number(measured, enough)} {unit}".rstrip()
    return Claim(claim, figure, shown, "met" if met else "missed", why, tried=tried)


def _number(value: float, digits: int) -> str:
    """``digits`` figures, whole numbers in full."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.1f}"


def table_text(claims: Sequence[Claim]) -> str:
    """The Markdown table."""
    rows: list[tuple[str, ...]] = [
        (c.claim, c.figure, c.measured, c.verdict if c.verdict == "met" else f"**{c.verdict}**", c.reason)
        for c in claims
    ]
    heads = ["claim", "figure", "measured", "verdict", "why, or what shows it"]
    for title, further in (("threads, numbers, tokens", [c.setting for c in claims]),
                           ("made from", [c.made for c in claims])):  # fmt: skip
        if any(further):
            rows = [(*row, cell) for row, cell in zip(rows, further, strict=True)]
            heads.append(title)
    lines = [_row(heads), "|" + "---|" * len(heads), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def tally(claims: Sequence[Claim]) -> str:
    """How many of each verdict, in one line."""
    return ", ".join(f"{sum(c.verdict == verdict for c in claims)} {verdict}" for verdict in VERDICTS)


def write_report(
    name: str, title: str, claims: Sequence[Claim], notes: Sequence[str] = (), *, folder: Path | None = None
) -> Path:
    """Write ``reports/record/proof/<name>.md`` and print its table.

    Args:
        name: "bench", "faults" or "security".
        title: heading of the page.
        claims: rows, in order.
        notes: Markdown blocks below the table (paragraphs, further tables).
        folder: where; None = ``reports/record/proof``.

    Raises:
        ValueError: no claims, or two of the same words.
    """
    names = [claim.claim for claim in claims]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{name}: claims must be there, each once: {names}")
    packages = ", ".join(f"{package} {version}" for package, version in settings.package_versions().items())
    head = [
        f"# {title}",
        f"{datetime.date.today().isoformat()}, commit {settings.commit()}. {settings.device()}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory. {packages}.",
        f"{len(claims)} claims: {tally(claims)}.",
    ]
    target = (folder or paths.record() / "proof") / f"{name}.md"
    table = table_text(claims)
    paths.write_text(target, "\n\n".join([*head, table.rstrip(), *notes]) + "\n")
    print(f"\n{table}\n{tally(claims)}: {target}")
    return target


def _record(name: str) -> Path:
    """Where a part's figures are kept."""
    return paths.home() / "bench" / f"{name.replace(' ', '-')}.json"


def keep(name: str, claims: Sequence[Claim], **more: Any) -> None:
    """Keep what one part of a bench found, for a later ``--resume``."""
    with contextlib.suppress(OSError):
        paths.write_text(_record(name), json.dumps({"claims": [asdict(claim) for claim in claims], "more": more}))


def kept(name: str) -> tuple[list[Claim], dict[str, Any]] | None:
    """What :func:`keep` kept; None where it did not, or where a row is older than its code, as the tables would say.

    A row of another commit with the same code says so: it counts, and its table is not of one commit alone.
    """
    try:
        raw = json.loads(_record(name).read_text(encoding="utf-8"))
        claims, more = [Claim(**row) for row in raw["claims"]], dict(raw["more"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if not claims or any(ages.is_old(claim.made) for claim in claims):
        return None
    return [_from_elsewhere(claim) for claim in claims], more


def _from_elsewhere(claim: Claim) -> Claim:
    commit = ages.commit_of(claim.made)
    if commit == ages.commit():
        return claim
    return replace(claim, why=f"{claim.why}; measured at commit {commit}, same code".removeprefix("; "))


def print_claims(claims: Callable[..., Sequence[Claim]], about: str | None, quick: str) -> int:
    """A bench as a command: measure, print the table; returns its exit code.

    Args:
        claims: measures; takes ``quick=``.
        about: the bench's docstring, whose first line is its help.
        quick: what ``--quick`` does.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    found = claims(quick=parser.parse_args().quick)
    print(table_text(found))
    return exit_code(found)


def exit_code(claims: Sequence[Claim]) -> int:
    """1 where a figure is missed, else 0: what was not measured fails nobody."""
    return int(any(claim.verdict == "missed" for claim in claims))
