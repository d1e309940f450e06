"""Claims of "Faults" about kill -9: at random points of generation, training, notebook, report and all that writes out.

`python -m tests.bench.faults_kill [KIND …]` prints them, `make bench ONLY=faults` has them. The machinery is in
:mod:`tests.bench.kills`; papermill, Jupyter's kernel, TRL and SQLite run for real.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import patch

from tests.bench.faults_store import has_weights
from tests.bench.kills import Filling, Tally, Work, campaign
from tests.bench.verdicts import Claim, at_least, at_most, exactly, exit_code, not_measured, table_text

KILLS = {"generation": 110, "report": 50, "notebook": 20, "training": 20,
         **dict.fromkeys(("data new", "label", "students export", "record"), 50)}  # fmt: skip
QUICK = {"generation": 12, "report": 6, "data new": 6, "label": 3, "students export": 3, "record": 3}
"""Kills of each kind, 400 in all; and those of ``quick``."""
AGAIN = {"generation": (1, "answers"), "training": (2, "steps")}
"""Most work that one kill may cost: the answer in flight; the steps since the last checkpoint."""
SHOWN_BY = "tests/proof/test_faults_kill.py"


def _reporting(scratch: Path) -> Work:
    from tests.bench.kills_reports import Reporting, import_all

    import_all()
    return Reporting(scratch)


def _executing(scratch: Path) -> Work:
    from tests.bench.kills_reports import Executing, import_all

    import_all()
    return Executing(scratch)


def _training(scratch: Path) -> Work:
    from tests.bench.kills_training import Training, import_all

    import_all()
    return Training(scratch)


def _making(scratch: Path) -> Work:
    from tests.bench.kills_homes import Making

    return Making(scratch)


def _replacing(kind: str, scratch: Path) -> Work:
    from tests.bench.kills_outputs import OUTPUTS

    return OUTPUTS[kind](scratch)


WORKS: dict[str, Callable[[Path], Work]] = {
    "generation": Filling, "report": _reporting, "notebook": _executing, "training": _training,
    "data new": _making, **{kind: partial(_replacing, kind) for kind in ("label", "students export", "record")},
}  # fmt: skip


def apart(kind: str, kills: int, seed: int = 0) -> Tally:
    """A campaign in a process of its own: forks come from one thread, whatever the caller has running."""
    quiet = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with patch.dict(os.environ, quiet), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_campaign, kind, kills, seed).result()


def _campaign(kind: str, kills: int, seed: int) -> Tally:
    with tempfile.TemporaryDirectory() as scratch:
        return campaign(WORKS[kind](Path(scratch)), kills, seed)


def judge(tallies: Mapping[str, Tally], wanted: Mapping[str, int]) -> list[Claim]:
    """Claims of what the kills showed.

    Args:
        tallies: kind -> what its kills showed.
        wanted: kind -> how often it was to be killed; a kind without a tally was not measured.
    """
    claims = []
    for kind, kills in wanted.items():
        what = f"kill -9 in {kind}: random points, each run again to the end"
        if kind not in tallies:
            why = "quick leaves it out" if not kills else "no weights of qwen3-tiny: llmhar models fetch qwen3-tiny"
            claims.append(not_measured(what, f"≥ {kills or KILLS[kind]} kills", why))
            continue
        one = tallies[kind]
        why = f"{SHOWN_BY}; over {one.seconds:.1f} s of an undisturbed run"
        why += f"; {one.resumed} kills came when answers or steps had begun" if kind in AGAIN else ""
        claims.append(at_least(what, kills, one.kills, "kills", why=why))
        claims.append(
            exactly(f"kill -9 in {kind}: re-runs with other tables", 0, one.differ, "re-runs", why=TABLES[kind])
        )
    every = list(tallies.values())
    sums: dict[str, list[str] | int] = {
        "files half-written": [one for t in every for one in t.half],
        "notebooks marked ok that are not": [one for t in every for one in t.lies],
        "stores damaged, or re-runs that failed": [one for t in every for one in t.broken],
        "answers or students lost": sum(t.lost for t in every),
        "answers or students double": sum(t.doubles for t in every),
    }
    for name, found in sums.items():
        why = f"{sum(t.kills for t in every)} kills ({SHOWN_BY})"
        if isinstance(found, list):
            why += "".join(f"; {one}" for one in dict.fromkeys(found[:3]))
        count = len(found) if isinstance(found, list) else found
        claims.append(exactly(f"kill -9, all kinds: {name}", 0, count, why=why))
    for kind, (limit, unit) in AGAIN.items():
        if kind in tallies:
            name, most = f"kill -9 in {kind}: work done again after one kill", tallies[kind].again
            claims.append(at_most(name, limit, most, unit, why="the most of all kills"))
    return claims


TABLES = {
    "generation": "score, session and verdict tables and all stored answers, byte by byte",
    "report": "pages, notebooks, figures and index by hash; run.json but for its seconds",
    "notebook": "key numbers, table, figure, index card and all stored answers; not the times that papermill notes",
    "data new": "home.yaml and events.parquet, byte by byte",
    "label": "the table and all stored answers, byte by byte",
    "students export": "names and hashes of all files",
    "record": "names and hashes of all files",
    "training": "sha256 of the adapter, every step's loss, the first batches; one thread",
}


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims about kills; ``quick``: fewer kills, and none of training and notebook."""
    wanted = QUICK if quick else KILLS
    found = {
        kind: apart(kind, kills) for kind, kills in wanted.items() if kind != "training" or has_weights("qwen3-tiny")
    }
    return judge(found, KILLS if not quick else {**dict.fromkeys(KILLS, 0), **QUICK})


def main() -> int:
    """Print the table; arguments name the kinds that are killed."""
    wanted = {kind: KILLS[kind] for kind in sys.argv[1:] or KILLS}
    found = judge({kind: apart(kind, kills) for kind, kills in wanted.items()}, wanted)
    print(table_text(found))
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
