"""All tables of the proof on this commit: ``make bench ONLY=all``. Bench, faults and security, one after the other.

What was measured before, and is not older than its code, is not measured again (their ``--resume``), so a run that was
ended goes on where it stood. ``--only NAME`` takes one table, ``--skip NAME`` leaves a part of bench out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.bench import ages
from tests.bench.bench import PARTS

TABLES: dict[str, tuple[str, ...]] = {
    "bench": ("--resume",),
    "faults": ("--resume",),
    "security": ("smollm2-135m", "llmhar-home-135m", "--resume"),
}
"""Bench -> what it is given beside the words that all are given."""


def run(words: Sequence[str]) -> int:
    """Run one bench in a process of its own."""
    return subprocess.run([sys.executable, "-m", *words], cwd=ages.ROOT, check=False).returncode


def main(arguments: Sequence[str], start: Callable[[Sequence[str]], int] = run) -> int:
    """Make the tables and mark rows that are older than their code; 1 where one of them missed a figure or broke.

    Args:
        arguments: of the command line.
        start: runs ``python -m`` with these words; returns its exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench all", description="All tables of the proof")
    parser.add_argument("--only", action="append", choices=tuple(TABLES), help="this table alone; may be repeated")
    parser.add_argument("--model", action="append", default=[], help="also asked by security, e.g. a student of yours")
    parser.add_argument("--skip", action="append", default=[], choices=PARTS, help="a part of bench that is left out")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    chosen = parser.parse_args(list(arguments))
    codes = {}
    for name in chosen.only or TABLES:
        started = time.perf_counter()
        further = {"bench": [word for part in chosen.skip for word in ("--skip", part)], "security": chosen.model}
        quick = ["--quick"] if chosen.quick else []
        codes[name] = start((f"tests.bench.{name}", *TABLES[name], *further.get(name, []), *quick))
        print(f"{name}: ended with {codes[name]} after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    for file, (n_old, n) in ages.mark_all().items():
        print(f"{file}: {n_old} of {n} rows {ages.OLD}", file=sys.stderr)
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
