"""Rates of the library's own code on this machine: ``make speed``. Exit code 1 if a figure is missed.

Best of three runs: timings on shared cores are noisy, and the claim is about the code. Figures: issue "Spine", must
show 7 (shared/anchors.md §2.3).
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llmhar import datasets
from llmhar.datasets import simulated
from llmhar.inference import make_asks
from llmhar.models import MODELS
from llmhar.parsing import parse_answer
from llmhar.records import Fingerprint, Generation
from llmhar.scoring import score_session
from llmhar.store import Store
from llmhar.tasks import prepare


def best_rate(work: Callable[[], int], runs: int = 3) -> float:
    """Things done per second, best of some runs."""
    rates = []
    for _ in range(runs):
        start = time.perf_counter()
        n = work()
        rates.append(n / (time.perf_counter() - start))
    return max(rates)


def parse_and_score(n_answers: int = 5000) -> int:
    """Read and score answers with a reasoning of usual length, in sessions of 40 windows."""
    labels = {i: f"activity number {i}" for i in range(27)}
    dice = random.Random(0)
    reasoning = "Event 3: the kitchen induction stove wattmeter turned OFF in the evening indicates cooking. " * 10
    texts, truth = [], []
    for _ in range(n_answers):
        answer = [dice.randrange(27) for _ in range(10)]
        items = [{"id": i, "activity": labels[a]} for i, a in enumerate(answer)]
        texts.append(f"<think>\n{reasoning}\n</think>\n\n{json.dumps(items)}")
        truth.append([a if dice.random() < 0.7 else dice.randrange(27) for a in answer])
    start = time.perf_counter()
    for first in range(0, n_answers, 40):
        guess = [p.label for text in texts[first : first + 40] for p in parse_answer(text, 10, labels).predictions]
        score_session(str(first), [t for window in truth[first : first + 40] for t in window], guess, labels)
    parse_and_score.seconds = time.perf_counter() - start  # type: ignore[attr-defined]
    return n_answers


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        simulated.write(home)
        rows = [
            (
                "load events (MuRAL's format)",
                50_000,
                best_rate(lambda: datasets.load("simulated", home).report.n_events),
            )
        ]
        ordonez = Path(__file__).parents[3] / "shared" / "data" / "ordonez"
        if ordonez.is_dir():
            rate = best_rate(lambda: datasets.load("uci_adl", ordonez).report.n_events)
            rows.append(("load events (UCI ADL, real files)", 50_000, rate))
        task, model = prepare("simulated", home), MODELS["rules"]
        rows.append(("build prompts with request keys, windows", 5_000, best_rate(
            lambda: len([ask.request.key for _ in range(10) for ask in make_asks(task, model)]))))  # fmt: skip
        rates = []
        for _ in range(3):
            n = parse_and_score()
            rates.append(n / parse_and_score.seconds)  # type: ignore[attr-defined]
        rows.append(("parse and score answers", 20_000, max(rates)))
        rows.append(("look-ups in a store of 10,000", 1_000, look_ups(Path(scratch, "store.sqlite"))))
    print("| what | figure, per s | measured, per s | verdict |\n|---|---:|---:|---|")
    for what, figure, rate in rows:
        print(f"| {what} | {figure:,} | {rate:,.0f} | {'met' if rate >= figure else 'missed'} |")
    return int(any(rate < figure for _, figure, rate in rows))


def look_ups(path: Path, n: int = 10_000) -> float:
    """Single look-ups per second."""
    from llmhar.records import Request
    from llmhar.store import Ask

    with Store(path) as store:
        requests = [Request("m", "r", "", ({"role": "user", "content": str(i)},)) for i in range(n)]
        store.note_asks(Ask("d", "s", i, "m", request) for i, request in enumerate(requests))
        for request in requests:
            store.add(Generation(request.key, "x" * 500, "stop"), Fingerprint("bench", "1", "", ""))
        return best_rate(lambda: len([store.find([request.key]) for request in requests[:1000]]))


if __name__ == "__main__":
    sys.exit(main())
