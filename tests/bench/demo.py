"""The demo at an earlier commit against now, in pairs on one machine: ``python -m tests.bench.demo``, ``ONLY=demo``.

A round runs the same notebooks by the earlier code and by this, cold (an empty store), warm (nothing has changed) and,
by this code, warm and forced; the order of the two changes from round to round. Ratios of one round count, never
seconds: the machine may be slow or busy. ``--commit``, ``--rounds``, ``--notebooks`` choose; ``--warm`` times no cold
runs: answers are asked for once, then all rounds share them.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import nbformat

from tests.bench.verdicts import Claim, at_most, exit_code, not_measured, table_text, tally

ROOT = Path(__file__).parents[2]
COMMIT = "ed81958"
NOTEBOOKS = ("00_tour", "01_serialization", "02_prompting", "03_scaling", "04_distillation", "05_fusion", "06_traces",
             "07_lesson")  # fmt: skip
"""That the earlier commit has."""
TEACHES = ("04_distillation",)
FIRST_ANSWER_S = 10.0


class Side(NamedTuple):
    """One of the two codes and where it works."""

    name: str
    checkout: Path
    folder: Path

    def run(self, notebooks: list[str], *options: str) -> float:
        """Seconds of ``llmhar run demo``; its own store and reports, the packages and weights of all."""
        places = {"LLMHAR_HOME": str(self.folder / "home"), "LLMHAR_REPORTS": str(self.folder / "reports"),
                  "PYTHONPATH": str(self.checkout / "lib"), "LLMHAR_ROOT": str(self.checkout)}  # fmt: skip
        command = [sys.executable, "-m", "llmhar.cli", "run", "demo", *notebooks, *options]
        begun = time.monotonic()
        done = subprocess.run(command, env=os.environ | places, cwd=self.checkout, capture_output=True, text=True)
        seconds = time.monotonic() - begun
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr[-2000:]}")
        print(f"{self.name}: {' '.join(options) or 'run'}: {seconds:.1f} s", file=sys.stderr)
        return seconds

    def first_answer(self) -> float | None:
        """Seconds from the start of 00_tour's first cell to the first answer of a language model in its store."""
        report = self.folder / "reports" / "demo" / "00_tour" / "report.ipynb"
        if not report.is_file():
            return None
        cells = nbformat.read(report, as_version=4).cells
        began = [cell.metadata.get("papermill", {}).get("start_time") for cell in cells]
        start = min(datetime.fromisoformat(at).timestamp() for at in began if at)
        with sqlite3.connect(self.folder / "home" / "store.sqlite") as db:
            found = db.execute(
                "SELECT min(created_utc) FROM attempts WHERE error = '' AND created_utc > ?"
                " AND json_extract(fingerprint, '$.engine') NOT IN ('rules', 'recorded')",
                (start,),
            ).fetchone()[0]
        return None if found is None else found - start


def ratio_claim(claim: str, most: float, pairs: list[tuple[float, float]]) -> Claim:
    """The median over rounds of now ÷ then, with its spread.

    Args:
        claim: what was run.
        most: the limit of the ratio.
        pairs: seconds then and now, one pair a round.
    """
    if not pairs:
        return not_measured(claim, f"≤ {most}", "no round ran it")
    ratios = [now / then for then, now in pairs]
    seconds = "; ".join(f"{then:.0f} → {now:.0f} s" for then, now in pairs)
    why = f"{len(pairs)} rounds, ratios {min(ratios):.2f} to {max(ratios):.2f} ({seconds})"
    return at_most(f"{claim}, now ÷ {COMMIT}", most, statistics.median(ratios), why=why)


def claims(
    *, quick: bool = False, commit: str = COMMIT, rounds: int = 3, notebooks: tuple[str, ...] = NOTEBOOKS,
    cold: bool = True,
) -> list[Claim]:  # fmt: skip
    """Cold, warm and forced runs of both codes.

    Args:
        quick: one round of the notebooks that train nothing.
        commit: the earlier code.
        rounds: pairs.
        notebooks: which both have.
        cold: whether the first run of each round is a claim; without, one store a side serves all rounds.
    """
    chosen = [name for name in notebooks if not quick or name not in TEACHES]
    times: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": [], "forced": []}
    firsts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="llmhar-demo-") as name:
        earlier = Path(name) / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(earlier), commit], check=True, capture_output=True)
        try:
            for number in range(1 if quick else rounds):
                place = Path(name) / (str(number) if cold else "all")
                sides = [Side(commit, earlier, place / "then"), Side("now", ROOT, place / "now")]
                order = sides[:: -1 if number % 2 else 1]
                if cold or not number:
                    first = {side.name: side.run(chosen) for side in order}
                    times["cold"] += [(first[commit], first["now"])] if cold else []
                    firsts += [seconds for seconds in [sides[1].first_answer()] if seconds is not None]
                again = {side.name: side.run(chosen) for side in order}
                times["warm"].append((again[commit], again["now"]))
                times["forced"].append((again[commit], sides[1].run(chosen, "--force")))
        finally:
            subprocess.run([*git, "remove", "--force", str(earlier)], check=False, capture_output=True)
    what = f"demo of {len(chosen)} notebooks"
    answered = statistics.median(firsts) if firsts else None
    return [
        ratio_claim(f"{what}, cold", 0.6, times["cold"]),
        ratio_claim(f"{what}, warm, nothing changed", 0.1, times["warm"]),
        ratio_claim(f"{what}, warm, all forced", 0.45, times["forced"]),
        at_most("first answer of a language model in 00_tour, from its first cell", FIRST_ANSWER_S, answered, "s",
                why=f"wall time, load {os.getloadavg()[0]:.1f}; rounds: {json.dumps([round(s, 1) for s in firsts])}"),
    ]  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default=COMMIT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--notebooks", nargs="+", default=list(NOTEBOOKS))
    parser.add_argument("--warm", action="store_true", help="leave cold rounds out")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    found = claims(quick=given.quick, commit=given.commit, rounds=given.rounds, notebooks=tuple(given.notebooks),
                   cold=not given.warm)  # fmt: skip
    print(f"{table_text(found)}\n{tally(found)}")
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
