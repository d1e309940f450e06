"""How far the study's tests and intervals can be trusted: ``python -m tests.bench.calibration``.

Simulates session scores of two models, many times, and prints one Markdown table: size of the sign-flip test, coverage
of the t interval, power at one and two minimum detectable gaps. Exit code 1 if a required figure is missed (issue
"Scaling", must show 4; shared/anchors.md §3.5): size ≤ 0.055 wherever the null of the test holds, coverage 93–97 % for
normal data. The other figures are reported as they come. Seeded, under a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from llmhar.score.stats import Floats, least_p, minimum_detectable_gap, sign_flip_p
from tests.bench.verdicts import Claim, at_most

ALPHA, MOST_SIZE, COVERAGE = 0.05, 0.055, (0.93, 0.97)
SIMULATIONS, BLOCK = 20_000, 2_000
"""Tests a row (standard error of a 5 % rate: 0.15 points), and how many share one draw of flips."""


class World(NamedTuple):
    """Where session scores come from; scores lie in 0 … 1 except in the normal world."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], tuple[Floats, Floats]]
    """Scores of two models with equal mean, each of shape (simulations, sessions)."""
    mean: float
    """True mean of the first model's score."""
    sd_gap: float
    """True standard deviation of a session's difference."""
    exchangeable: bool
    """The null of the sign-flip test holds: differences are symmetric about zero."""
    normal: bool


def normal(dice: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """A session effect that both models share, and each model's own; sd 0.1 each."""
    session = dice.normal(0.5, 0.1, shape)
    return session + dice.normal(0, 0.1, shape), session + dice.normal(0, 0.1, shape)


def f1_like(dice: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Bounded and skewed to the left, as F1 of good models with a bad session now and then: products of Beta(6, 1)."""
    session = dice.beta(6, 1, shape)
    return session * dice.beta(6, 1, shape), session * dice.beta(6, 1, shape)


def collapsing(dice: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Equal means, other shapes: the first is better in most sessions and collapses in some. Not exchangeable."""
    return dice.beta(6, 1, shape), dice.beta(60, 10, shape)


def beta_moments(a: float, b: float) -> tuple[float, float]:
    """Mean and mean square of a beta variable."""
    mean = a / (a + b)
    return mean, mean * (a + 1) / (a + b + 1)


M61, S61 = beta_moments(6, 1)
M60, S60 = beta_moments(60, 10)
WORLDS = [
    World("normal", normal, 0.5, 0.02**0.5, exchangeable=True, normal=True),
    World("F1-like, skewed", f1_like, M61**2, (2 * S61 * (S61 - M61**2)) ** 0.5, exchangeable=True, normal=False),
    World(
        "one model collapses at times",
        collapsing,
        M61,
        (S61 - M61**2 + S60 - M60**2) ** 0.5,
        exchangeable=False,
        normal=False,
    ),
]


class Figures(NamedTuple):
    """Rates of one row, 0 … 1."""

    size: float
    cover_mean: float
    cover_gap: float
    power_1: float
    power_2: float


def covered(values: Floats, truth: float) -> float:
    """Share of rows whose 95 % t interval holds the truth (the formula of `t_interval`, over all rows at once)."""
    n = values.shape[1]
    half = minimum_detectable_gap(1.0, n) * values.std(axis=1, ddof=1)
    return float((np.abs(values.mean(axis=1) - truth) <= half).mean())


def measure(world: World, n: int, simulations: int = SIMULATIONS, seed: int = 0) -> Figures:
    """Simulate one row of the table."""
    dice = np.random.default_rng([seed, n, len(world.name)])
    first, second = world.draw(dice, (simulations, n))
    gaps = first - second
    step = minimum_detectable_gap(world.sd_gap, n)

    def shown(shift: float, *, upwards: bool) -> float:
        found = 0
        for i in range(0, simulations, BLOCK):
            block = gaps[i : i + BLOCK] + shift
            p = sign_flip_p(block, seed=seed + i)
            found += int(((p <= ALPHA) & ((block.mean(axis=1) > 0) | (not upwards))).sum())
        return found / simulations

    return Figures(
        size=shown(0, upwards=False),
        cover_mean=covered(first, world.mean),
        cover_gap=covered(gaps, 0.0),
        power_1=shown(step, upwards=True),
        power_2=shown(2 * step, upwards=True),
    )


def failures(world: World, n: int, made: Figures) -> list[str]:
    """What misses its required figure."""
    missed = []
    if world.exchangeable and made.size > MOST_SIZE:
        missed.append(f"size {made.size:.3f} > {MOST_SIZE}")
    if world.normal:
        missed += [
            f"coverage of {what} {value:.1%} outside 93–97 %"
            for what, value in (("the mean", made.cover_mean), ("the gap", made.cover_gap))
            if not COVERAGE[0] <= value <= COVERAGE[1]
        ]
    return [f"{world.name}, n = {n}: {what}" for what in missed]


def claims(*, quick: bool = False) -> list[Claim]:
    """Size of the test wherever its null holds, coverage for normal data; ``quick``: a fifth of the simulations."""
    simulations = SIMULATIONS // 5 if quick else SIMULATIONS
    found = []
    for world in WORLDS:
        for n in (6, 12, 30) if world.exchangeable else ():
            made, where = measure(world, n, simulations), f"{world.name}, {n} sessions"
            why = f"{simulations:,} simulations; power at the minimum detectable gap {made.power_1:.0%}"
            found.append(at_most(f"size of the sign-flip test ({where})", MOST_SIZE, made.size, why=why))
            if world.normal:
                worst = max(made.cover_mean, made.cover_gap, key=lambda share: abs(share - 0.95))
                name = f"coverage of the 95 % interval: distance from 95 % ({where})"
                why = f"the mean {made.cover_mean:.1%}, the gap {made.cover_gap:.1%}; the figure is 93 to 97 %"
                found.append(at_most(name, 2, 100 * abs(worst - 0.95), "points", why=why))
    return found


def main() -> int:
    """Print the table."""
    start = time.perf_counter()
    print(
        "| session scores | n | least p | pairs Holm allows | test size | t covers mean | t covers gap "
        "| gap (sd) | power at gap | at 2 × gap | required |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    )
    missed: list[str] = []
    for world in WORLDS:
        for n in (6, 12, 30):
            made = measure(world, n)
            missed += (now := failures(world, n, made))
            needs = "size, coverage" if world.normal else "size" if world.exchangeable else "nothing"
            print(
                f"| {world.name} | {n} | {least_p(n):.2g} | {int(ALPHA / least_p(n))} | {made.size:.4f} "
                f"| {made.cover_mean:.1%} | {made.cover_gap:.1%} | {minimum_detectable_gap(1, n):.3f} "
                f"| {made.power_1:.0%} | {made.power_2:.0%} | {needs}{': MISSED' if now else ''} |",
                flush=True,
            )
    print(
        f"\n{SIMULATIONS:,} simulations a row, {time.perf_counter() - start:.0f} s. Size: share of true nulls with "
        f"p ≤ {ALPHA} in one comparison (must be ≤ {MOST_SIZE}; n = 6 can only have 0.031). Coverage of 95 % intervals "
        "(normal: must be 93–97 %). Gap: minimum detectable gap in sd of the session differences. The last three rows "
        "break the test's null on purpose: equal means, unequal shapes."
    )
    for line in missed:
        print(f"MISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
