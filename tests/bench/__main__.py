"""All benches by name: ``python -m tests.bench [NAME] [ARGUMENT …]``, ``make bench ONLY=NAME ARGS="…"``; none = bench.

A bench takes this process's place, as ``python -m`` of its module would: its memory and its children are its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Bench(NamedTuple):
    """What can be measured by name."""

    module: str
    """Below ``tests.bench``; run by ``python -m``."""
    help: str


BENCHES: dict[str, Bench] = {
    "bench": Bench("bench", "speed, scale and growth in one table: proof/bench.md (--only NAME, --resume)"),
    "faults": Bench("faults", "kill -9, full disks, broken files, APIs, hostile answers: proof/faults.md (--resume)"),
    "all": Bench("every", "bench, faults and security: all tables on this commit (--only NAME, --skip demo, --quick)"),
    "security": Bench("security", "injection, secrets, gates, vulnerabilities, licences: proof/security.md"),
    "speed": Bench("speed", "rates of loader, prompts, parsing and store"),
    "scale": Bench("scale", "Ray on two nodes of this machine: throughput, a lost node, flat memory"),
    "demo": Bench("demo", "the last part of bench: the demo at commit ed81958 against now, in pairs; an hour"),
    "explorer": Bench("explorer", "10,000 traces in a browser: file size, first paint, next window"),
    "agreement": Bench("agreement", "the same 20 windows through vllm and transformers"),
    "calibration": Bench("calibration", "size, coverage and power of the study's statistics on simulated nulls"),
    "students": Bench("students", "a student (ARGS=NAME) as it stands and in its exported forms, on 20 windows"),
    "training": Bench("training", "our training against TRL's own: examples per second, losses"),
    "engines": Bench("engines", "a part of bench: prefix cache, adapters, starts"),
    "growth": Bench("growth", "a part of bench: time and memory with more windows"),
    "own-code": Bench("own_code", "a part of bench: overhead of the library's own code"),
    "peers": Bench("peers", "a part of bench: beside lm-evaluation-harness"),
    "inspect-ai": Bench("peers_inspect", "a part of bench: beside inspect_ai, one server for both"),
    "llama-cpp": Bench("peers_llama", "a part of bench: beside llama.cpp, one window and many, where it is installed"),
    "kills": Bench("faults_kill", "a part of faults: kill -9 at random points"),
    "store": Bench("faults_store", "a part of faults: four writers, disks, clocks"),
    "loaders": Bench("faults_loaders", "a part of faults: damaged files for every loader (ARGS=1000 of each)"),
    "checksums": Bench("checksums", "a part of bench: what checksums add to the look-up of stored answers"),
    "ages": Bench("ages", "which recorded rows are older than their code"),
}  # fmt: skip


def command(arguments: Sequence[str]) -> list[str]:
    """What is run; empty where help was asked for.

    Args:
        arguments: a name of :data:`BENCHES` and what its module is given; without a name all are bench's.

    Raises:
        SystemExit: no bench has this name; says which there are.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments and arguments[0][:1] != "-" else ("bench", arguments)
    if name == "help" or (name == "bench" and "--help" in rest):
        return []
    if name not in BENCHES:
        raise SystemExit(f"no bench is called {name!r}; there are: {', '.join(BENCHES)}")
    return [sys.executable, "-m", f"tests.bench.{BENCHES[name].module}", *rest]


if __name__ == "__main__":
    if chosen := command(sys.argv[1:]):
        os.execv(chosen[0], chosen)
    for name, bench in BENCHES.items():
        print(f"  make bench ONLY={name:<12} {bench.help}")
