"""Speed, scale and growth in one table, reports/record/proof/bench.md: ``python -m tests.bench.bench``, ``make bench``.

The parts run one after the other, each in a process of its own, so that memory peaks are a part's own and whatever one
part imports or sets (Ray reads its environment once, trainers change theirs) is gone for the next. A part that raises,
dies or hangs becomes a missed claim that says how: one broken part does not cost the table.

``--quick``: fewer rounds and sizes. ``--only NAME`` (again and again): some parts, printed; the report stays as it is.
``--resume``: parts that were measured whole, and none of whose rows is older than its code, are not measured again.
``--skip NAME``: a part that is not measured now; the table says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmhar import paths
from llmhar.ask.engines.child import last_words
from tests.bench import ages, verdicts
from tests.bench.verdicts import Claim, exit_code, not_measured, table_text, tally, write_report
from tests.memory import peak_memory

ROOT = Path(__file__).parents[2]
PARTS: dict[str, str] = {
    "scale": "tests.bench.scale:claims",
    "own code": "tests.bench.own_code:claims",
    "growth": "tests.bench.growth:claims",
    "engines": "tests.bench.engines:claims",
    "peers": "tests.bench.peers:claims",
    "inspect_ai": "tests.bench.peers_inspect:claims",
    "llama.cpp": "tests.bench.peers_llama:claims",
    "explorer": "tests.bench.explorer:claims",
    "training": "tests.bench.training:claims",
    "checksums": "tests.bench.checksums:claims",
    "statistics": "tests.bench.calibration:claims",
    "demo": "tests.bench.demo:claims",
}
"""Name -> module and function, imported in the part's own process: ``claims(*, quick: bool) -> list[Claim]``."""
WITH_MODELS = frozenset({"engines", "peers", "llama.cpp", "training", "demo"})
"""Parts whose rows must say threads, number format and tokens; rows of the others get :data:`NO_MODEL`."""
NO_MODEL = f"no weights, no tokens; threads as they come, {os.cpu_count()} cores"
LIMIT_S, LIMITS = 5400.0, {"demo": 4 * 3600.0}
"""After so many seconds a part is taken for hung."""
BROKEN = "runs to its end"
MOST_RATIO, ROWS = 1e4, 26
"""In the picture: ratios beyond are drawn at the edge; rows of a column."""
NOT_HERE = (
    "Not measured here: anything on CUDA (no GPU on this machine; vLLM is its CPU build, and vLLM, Unsloth and Ray on "
    "GPUs are written and not run), the six sizes of Qwen3, joules (no counter that this machine lets us read)."
)


class Part(NamedTuple):
    """What one part gave and took."""

    name: str
    claims: list[Claim]
    seconds: float
    peak: int
    """Most resident bytes of its process and their children together, at one moment."""
    load: tuple[float, float]
    """Of the machine, over one minute, before and after it."""


# The child.


def measure(name: str, target: str, *, quick: bool) -> list[Claim]:
    """Claims of a part; of one that raises, one missed claim that names the exception."""
    module, _, function = target.partition(":")
    try:
        found: list[Claim] = getattr(importlib.import_module(module), function)(quick=quick)
        names = [claim.claim for claim in found]
        if not found or len(set(names)) < len(names):
            raise ValueError(f"claims must be there, each once: {names}")
        return [with_setting(name, claim) for claim in found]
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = textwrap.shorten(f"{error}", 300, placeholder=" …") or "no message"
        return [broken(type(error).__name__, f"{Path(place.filename).name}, line {place.lineno}: {why}")]


def with_setting(part: str, claim: Claim) -> Claim:
    """The claim, which says threads, number format and tokens.

    Raises:
        ValueError: it was measured with a model and does not say so.
    """
    if claim.setting or claim.measured == "–":
        return claim
    if part in WITH_MODELS:
        raise ValueError(f"{claim.claim!r} says no threads, number format and tokens")
    return replace(claim, setting=NO_MODEL)


def broken(measured: str, why: str) -> Claim:
    """The claim of a part that gave none."""
    return Claim(BROKEN, "no exception", measured, "missed", why)


# The parent.


def run_part(name: str, target: str, *, quick: bool, limit_s: float = LIMIT_S) -> Part:
    """Measure a part in a process of its own.

    Args:
        name: for the table.
        target: see :data:`PARTS`.
        quick: fewer rounds and sizes.
        limit_s: seconds after which it is ended with all its children.
    """
    start, before = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as scratch:
        file, log = Path(scratch, "claims.json"), Path(scratch, "log.txt")
        command = [sys.executable, "-m", "tests.bench.bench", "--part", name, "--target", target, "--json", str(file)]
        with open(log, "wb") as out:
            process = subprocess.Popen([*command, *(["--quick"] if quick else [])], cwd=ROOT, stdout=out, stderr=out)
            with peak_memory(process.pid) as peak:
                code = _wait(process, limit_s)
        try:
            found = [Claim(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            ended = f"still running after {limit_s:.0f} s" if code is None else f"ended with {code}"
            found = [broken(ended, last_words(log) or "it said nothing")]
        if found[0].claim == BROKEN:
            print(log.read_text(encoding="utf-8", errors="replace")[-4000:], file=sys.stderr)
    made = ages.stamp(target.partition(":")[0])
    named = [replace(claim, claim=f"{name}: {claim.claim}", made=made) for claim in found]
    return Part(name, named, time.perf_counter() - start, peak.bytes, (before, os.getloadavg()[0]))


def keep(part: Part) -> None:
    """Keep the figures of a part that came to its end, for ``--resume``."""
    if not part.claims[0].claim.endswith(BROKEN):
        verdicts.keep(f"bench {part.name}", part.claims, seconds=part.seconds, peak=part.peak, load=part.load)


def kept(name: str) -> Part | None:
    """A part that was measured before; None where it was not, or a row of it is older than its code."""
    found = verdicts.kept(f"bench {name}")
    if found is None:
        return None
    claims, more = found
    return Part(name, claims, more["seconds"], more["peak"], tuple(more["load"]))


def skipped(name: str) -> Part:
    """The row of a part that nobody wants measured now."""
    why = f'left out by --skip: make bench ARGS="--only {name}" measures it'
    return Part(name, [not_measured(f"{name}: all of it", "see there", why)], 0.0, 0, (0.0, 0.0))


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Exit code; None: it hung. Whatever happens here, neither it nor a child of it is left running."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            family = [*psutil.Process(process.pid).children(recursive=True), process]
            for one in family:
                with contextlib.suppress(psutil.Error, OSError):
                    one.kill()
            process.wait()


def notes(parts: Sequence[Part], *, quick: bool) -> list[str]:
    """What stands under the table: the picture, memory and time of each part, the machine's load, what is missing."""
    claims = [claim for part in parts for claim in part.claims]
    rows = [
        f"| {part.name} | {part.seconds:,.0f} | {part.peak / 2**20:,.0f} | {part.load[0]:.1f} → {part.load[1]:.1f} "
        f"| {tally(part.claims)} |"
        for part in parts
    ]
    return [
        f"![{alt_text(claims)}](bench.png)",
        "## Time and memory of each part",
        "| part | seconds | memory peak, MiB | load | claims |\n|---|--:|--:|--:|---|\n" + "\n".join(rows),
        "Memory is the most that the part's process and all its children held together (pages they share count for "
        "each, samples every 0.05 s); that of single steps stands in their rows. "
        f"Load is the machine's over one minute, before → after the part, on {os.cpu_count()} hardware threads. "
        f"{'A quick run: fewer rounds and sizes than `make bench` has. ' if quick else ''}"
        "Rounds and spread stand in each row: what is timed alone is judged by its best run, what is compared by the "
        "median of its pairs.",
        NOT_HERE,
    ]  # fmt: skip


# The picture.


def ratio(claim: Claim) -> float | None:
    """How many times better than its figure: below 1 = missed; None where no two numbers can be compared."""
    numbers = [re.search(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text) for text in (claim.figure, claim.measured)]
    if claim.figure[0] not in "≥≤" or claim.verdict == "not measured" or None in numbers:
        return None
    limit, measured = (float(found[0].replace(",", "")) for found in numbers if found)
    over, under = (measured, limit) if claim.figure[0] == "≥" else (limit, measured)
    if limit <= 0:
        return None
    times = MOST_RATIO if under <= 0 else min(max(over / under, 1 / MOST_RATIO), MOST_RATIO)
    # A figure that is put in other words than "measured over limit" must not be drawn on the wrong side.
    return times if (times >= 1) == (claim.verdict == "met") else None


def alt_text(claims: Sequence[Claim]) -> str:
    """The picture in words."""
    drawn = {claim.claim: times for claim in claims if (times := ratio(claim)) is not None}
    text = f"Claims as ratios of measured to figure on a log axis: {len(drawn)} of {len(claims)} have a ratio"
    missed = [f"{name} ({times:.2g} ×)" for name, times in drawn.items() if times < 1]
    met = {name: times for name, times in drawn.items() if times >= 1}
    if met:
        closest = min(met, key=lambda name: met[name])
        text += f", {len(met)} of them on the right of 1 (met), the closest {closest} ({met[closest]:.2f} ×)"
    text += f"; on the left (missed): {', '.join(missed) or 'none'}."
    return re.sub(r"[\[\]|]", " ", text)


def draw(claims: Sequence[Claim]) -> Any:
    """The picture: a row a claim, a line at 1, met on the right, missed on the left; colour and shape say the same."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.ticker import FuncFormatter

    rows = [(claim.claim, times) for claim in claims if (times := ratio(claim)) is not None]
    n_columns = max(1, -(-len(rows) // ROWS))
    height = -(-len(rows) // n_columns)
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=1.05)
    blue, orange = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[3]
    figure, grid = plt.subplots(1, n_columns, figsize=(9.5 * n_columns, 1.8 + 0.36 * max(height, 3)), sharex=True,
                                squeeze=False, layout="constrained")  # fmt: skip
    for column, axes in enumerate(grid[0]):
        own = rows[column * height : (column + 1) * height]
        for place, (_, times) in enumerate(own):
            met = times >= 1
            axes.plot([1, times], [place, place], color=blue if met else orange, linewidth=2, alpha=0.5)
            axes.plot(times, place, marker="o" if met else "X", markersize=9, color=blue if met else orange)
            said = f"over {times:,.0f} ×" if times == MOST_RATIO else f"{times:,.3g} ×"
            axes.annotate(said, (times, place), (9 if met else -9, 0), textcoords="offset points", va="center",
                          ha="left" if met else "right", fontsize=10)  # fmt: skip
        axes.set_yticks(range(len(own)), [textwrap.shorten(name, 62, placeholder=" …") for name, _ in own])
        axes.set(xscale="log", ylim=(height - 0.4, -0.6), xlabel="times better than the figure (log)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} ×"))
        axes.axvline(1, color="0.15", linewidth=1.6)
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
    low = min([1.0, *(times for _, times in rows)])
    grid[0][0].set_xlim(min(0.4, low / 3), 6 * max([2.0, *(times for _, times in rows)]))
    figure.suptitle("Measured against its figure: dots on the right are met, crosses on the left are missed",
                    fontsize=15)  # fmt: skip
    plt.close(figure)
    return figure


def write(parts: Sequence[Part], *, quick: bool) -> None:
    """Picture and report."""
    claims = [claim for part in parts for claim in part.claims]
    with paths.replacing(paths.record() / "proof" / "bench.png") as temporary:
        draw(claims).savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    title = f"Proof: speed, scale and growth{' (quick run)' if quick else ''}"
    write_report("bench", title, claims, notes(parts, quick=quick))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, print the table; without ``--only`` write report and picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (may be given again); no report")
    parser.add_argument("--skip", action="append", default=[], choices=PARTS, help="not this part (again and again)")
    parser.add_argument("--resume", action="store_true", help="take parts that were measured with this same code")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        found = measure(given.part, given.target or PARTS[given.part], quick=given.quick)
        given.json.write_text(json.dumps([asdict(claim) for claim in found]), encoding="utf-8")
        return 0
    parts = []
    for name in given.only or PARTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        part = kept(name) if given.resume else None
        if part is None and name in given.skip:
            part = skipped(name)
        elif part is None:
            part = run_part(name, PARTS[name], quick=given.quick, limit_s=LIMITS.get(name, LIMIT_S))
            if not given.quick:
                keep(part)
        parts.append(part)
        print(f"{name}: {tally(part.claims)}, {part.seconds:.0f} s", file=sys.stderr, flush=True)
    claims = [claim for part in parts for claim in part.claims]
    if given.only:
        print(f"{table_text(claims)}\n{tally(claims)}\n\n" + "\n\n".join(notes(parts, quick=given.quick)[1:]))
    else:
        write(parts, quick=given.quick)
    return exit_code(claims)


if __name__ == "__main__":
    sys.exit(main())
