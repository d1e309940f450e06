"""Claims of "Speed" about engines: ``python -m tests.bench.engines`` prints them, ``make bench`` has them.

What the library adds around an engine, what the prefix cache saves, what one engine for several adapters saves. Pairs
of runs take turns in the same minutes, so that other load on the machine falls on both. Every claim is a function of
what was measured: tests/proof/test_bench_engines.py plants faults and sees each one missed.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.engines.child import ChildEngine, free_cores
from llmhar.ask.models import MODELS, ModelError, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import S1_FORM, WHOLE, Task, narrow, prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.score import tables
from llmhar.text.prompt import PromptForm
from tests.bench import engines_adapters
from tests.bench.engines_steps import Interval, Pass, read_steps, spread
from tests.bench.scale import Watched
from tests.bench.verdicts import Claim, at_least, at_most, not_measured, print_claims, setting

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m"
SMALL = "smollm2-135m-l4"
"""Where the speed of the model itself does not matter: the same prompts, tokens and cache blocks."""
OVERHEAD, REUSE, CACHE_GAIN = 3.0, 70.0, 2.0
"""Figures: issue "Proof". %, %, times."""
OVERHEAD_CLAIM = "own overhead over the bare engine, {}: time outside its steps over the wall time of a pass"
REUSE_CLAIM = "prefix reuse: prompt tokens served from vLLM's cache"
GAIN_CLAIM = "a no-thinking run with vLLM's prefix cache against the same run without"
VLLM, HF = "tests.bench.engines_vllm_child", "tests.bench.engines_hf_child"


@dataclass
class Noted:
    """What the engines of one measurement ran with."""

    dtypes: set[str] = field(default_factory=set)
    prompt_tokens: int = 0
    output_tokens: int = 0

    def watch(self, engine: Engine) -> Engine:
        """The same engine, of which number format and tokens are noted."""
        self.dtypes.add(engine.fingerprint().dtype)
        return _Counted(engine, self)


class _Counted:
    """An engine whose tokens are noted."""

    def __init__(self, engine: Engine, noted: Noted) -> None:
        self._engine, self._noted = engine, noted

    def fingerprint(self) -> Fingerprint:
        return self._engine.fingerprint()

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for generation in self._engine.stream(requests):
            self._noted.prompt_tokens += generation.prompt_tokens
            self._noted.output_tokens += generation.output_tokens
            yield generation

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class Bench:
    """What all measurements of this module share."""

    folder: Path
    threads: int
    rounds: int
    noted: Noted = field(default_factory=Noted)
    """Of the measurement that is under way."""

    def home(self) -> Path:
        """The simulated home, written once."""
        home = self.folder / "simulated"
        if not home.exists():
            simulated.write(home)
        return home

    def windows(self, n: int, form: PromptForm = S1_FORM, windowing: Windowing = WHOLE) -> Task:
        """The first n test windows, in the words of the library's default prompt."""
        task = prepare("simulated", self.home(), form, windowing)
        if n > len(task.windows):
            raise ValueError(f"the simulated home has {len(task.windows)} test windows, not {n}")
        return narrow(task, {(w.session_id, w.index) for w in task.windows[:n]}, f"the first {n} windows")


class Timed:
    """An engine in a child of its own, and the log of its steps."""

    def __init__(self, backend: str, model: ModelSpec, bench: Bench, **own: Any) -> None:
        self.log = bench.folder / f"steps-{perf_counter()}.txt"
        config = {"model": str(model.locate()), "thinking": model.thinking, "max_context": model.max_context,
                  "bench": {"steps": str(self.log), "prefix_cache": True, **own}}  # fmt: skip
        with _importable():
            self.engine: Engine = bench.noted.watch(ChildEngine(backend, config, threads=bench.threads))

    def steps(self) -> list[Interval]:
        """Of all passes so far."""
        return read_steps(self.log)

    def __enter__(self) -> Timed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.close()


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Children started in here find this package."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), before) if p)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def full_pass(
    timed: Any, task: Task, model: ModelSpec, sampling: Sampling, folder: Path, *, constrained: bool = False
) -> Pass:
    """All that a run does once its engine stands: build prompts, ask, store, look up, read, score.

    Args:
        timed: has an ``engine`` and ``steps()``.
        task: windows.
        model: whose answers they are.
        sampling: how tokens are drawn.
        folder: for a store of this pass's own.
        constrained: whether answers must be complete ones (JSON).

    Raises:
        RuntimeError: not every window was answered.
    """
    begun = perf_counter()
    with Store(folder / f"pass-{begun}.sqlite") as store:
        asks = inference.make_asks(task, model, asking=Asking(sampling=sampling, constrained=constrained))
        inference.run_asks(
            asks,
            model,
            store,
            asking=Asking(progress=False, open_with=lambda: Watched(timed.engine, lambda _number: None)),
        )
        result = tables.score_answers(task, model, inference.collect(asks, store))
    ended = perf_counter()
    failed = [answer.error for answer in result.answers if answer.stored is None]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(asks)} windows were not answered: {failed[0]}")
    return _as_pass(begun, ended, timed.steps(), result.generations)


def bare_pass(timed: Any, task: Task, model: ModelSpec, sampling: Sampling) -> Pass:
    """The same prompts through the engine's own call alone, timed where it is called.

    Raises:
        RuntimeError: not every window was answered.
    """
    requests = [ask.request for ask in inference.make_asks(task, model, asking=Asking(sampling=sampling))]
    generations = list(timed.engine.stream(requests))
    if len(generations) != len(requests) or not all(generation.ok for generation in generations):
        raise RuntimeError(f"not every window was answered: {[g.error for g in generations if not g.ok][:1]}")
    *steps, (begun, ended) = timed.steps()
    return _as_pass(begun, ended, steps, generations)


def _as_pass(begun: float, ended: float, steps: Sequence[Interval], generations: Sequence[Any]) -> Pass:
    own = tuple((start, stop) for start, stop in steps if stop > begun and start < ended)
    prompt, cached, output = (
        sum(getattr(g, name) for g in generations) for name in ("prompt_tokens", "cached_tokens", "output_tokens")
    )
    return Pass(begun, ended, own, prompt, cached, output)


def overhead_claim(engine: str, ours: Sequence[Pass], bare: Sequence[Pass]) -> Claim:
    """The share of our passes outside the engine's steps; beside it the bare engine's wall time, in pairs."""
    shares = [p.outside for p in ours]
    ratios = [o.seconds_a_token / b.seconds_a_token for o, b in zip(ours, bare, strict=True)]
    why = (
        f"{spread(shares)}; wall time a token, ours over bare: {statistics.median(ratios):.2f} × ({spread(ratios)}); "
        f"the bare call itself spends {statistics.median(p.outside for p in bare):.2f} % outside its steps; "
        f"{ours[0].output_tokens} tokens a pass"
    )
    return at_most(OVERHEAD_CLAIM.format(engine), OVERHEAD, statistics.median(shares), "%", why=why)


def reuse_claim(one: Pass, n: int) -> Claim:
    """The cached share of a pass that began with an empty cache."""
    share = 100 * one.cached_tokens / one.prompt_tokens
    why = f"{n} windows, {one.prompt_tokens / n:.0f} tokens each, cache empty at the start"
    return at_least(REUSE_CLAIM, REUSE, share, "%", why=why)


def gain_claim(cached: Sequence[Pass], uncached: Sequence[Pass], reading: tuple[Pass, Pass] | None = None) -> Claim:
    """Wall time without the cache over wall time with it, in pairs.

    Args:
        cached: passes with the cache.
        uncached: passes without.
        reading: one of each with answers of one token: what the cache saves where there is nothing else to do.
    """
    ratios = [off.seconds / on.seconds for on, off in zip(cached, uncached, strict=True)]
    off, on = (statistics.median(p.seconds for p in passes) for passes in (uncached, cached))
    why = (
        f"{spread(ratios)}; {off:.0f} s and {on:.0f} s; {cached[0].prompt_tokens} prompt and {cached[0].output_tokens} "
        "output tokens a run, complete answers, empty cache at the start; no cache saves what an answer itself takes"
    )
    if reading:
        why += f": with answers of one token {reading[1].seconds / reading[0].seconds:.1f} ×"
    tried = "one prompt of a prefix before the rest (cached share 0.76, 0.4 without), blocks of 32 tokens, not 128"
    return at_least(GAIN_CLAIM, CACHE_GAIN, statistics.median(ratios), "×", why=why, tried=tried)


def overhead(bench: Bench, engine: str, backends: tuple[str, str], task: Task, max_tokens: int) -> Claim:
    """Our whole pass and the bare call, in turns, after one of each that does not count."""
    model, sampling = MODELS[MODEL], Sampling(temperature=0.6, max_tokens=max_tokens)
    ours: list[Pass] = []
    bare: list[Pass] = []
    with Timed(backends[0], model, bench) as one, Timed(backends[1], model, bench, batch=len(task.windows)) as other:
        for number in range(bench.rounds + 1):
            measures = [
                lambda: ours.append(full_pass(one, task, model, sampling, bench.folder)),
                lambda: bare.append(bare_pass(other, task, model, sampling)),
            ]
            for measure in measures if number % 2 else measures[::-1]:
                measure()
    return overhead_claim(engine, ours[1:], bare[1:])


def prefix_reuse(bench: Bench, n: int) -> Claim:
    """Windows in the library's default prompt through vLLM."""
    model, task = MODELS[SMALL], bench.windows(n)
    with Timed(f"{VLLM}:TimedVllm", model, bench) as timed:
        return reuse_claim(full_pass(timed, task, model, Sampling(max_tokens=1), bench.folder), n)


def cache_gain(bench: Bench, n: int) -> Claim:
    """Complete answers without thinking, with the cache and without, in turns.

    A schema makes each answer name every event once, as a model that can do the task would: some 150 tokens. Fewer
    would flatter the cache, which saves nothing on them.
    """
    model, task, sampling = MODELS[MODEL], bench.windows(n), Sampling(max_tokens=200)
    cached: list[Pass] = []
    uncached: list[Pass] = []
    with (
        Timed(f"{VLLM}:TimedVllm", model, bench) as on,
        Timed(f"{VLLM}:TimedVllm", model, bench, prefix_cache=False) as off,
    ):
        for number in range(bench.rounds):
            sides = [(on, cached), (off, uncached)]
            for timed, passes in sides if number % 2 else sides[::-1]:
                passes.append(full_pass(timed, task, model, sampling, bench.folder, constrained=True))
        few, one = bench.windows(n // 2), Sampling(max_tokens=1)
        reading = [full_pass(timed, few, model, one, bench.folder) for timed in (on, off)]
    return gain_claim(cached, uncached, (reading[0], reading[1]))


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module.

    Args:
        quick: small sizes and one round, to see that everything runs; figures mean little.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        bench = Bench(Path(name), free_cores(), 1 if quick else 3)
        noted = bench.noted
        vllm, hf = (f"{VLLM}:TimedVllm", f"{VLLM}:BareVllm"), (f"{HF}:TimedTransformers", f"{HF}:BareTransformers")
        short = PromptForm("short", "sentences", "name", rules=False)
        five = lambda n: bench.windows(n, short, Windowing(size=5))  # noqa: E731
        wanted = [
            (OVERHEAD_CLAIM.format("vLLM LLM.chat"), f"≤ {OVERHEAD:g} %",
             lambda: overhead(bench, "vLLM LLM.chat", vllm, bench.windows(4 if quick else 12), 16 if quick else 48)),
            (OVERHEAD_CLAIM.format("transformers generate"), f"≤ {OVERHEAD:g} %",
             lambda: overhead(bench, "transformers generate", hf, five(3 if quick else 6), 32)),
            (REUSE_CLAIM, f"≥ {REUSE:g} %", lambda: prefix_reuse(bench, 40 if quick else 100)),
            (GAIN_CLAIM, f"≥ {CACHE_GAIN:g} ×", lambda: cache_gain(bench, 4 if quick else 16)),
            (engines_adapters.CLAIM, f"≥ {engines_adapters.FIGURE:g} ×",
             lambda: engines_adapters.measure(bench, n=4 if quick else 8)),
        ]  # fmt: skip
        for claim, figure, measure in wanted:
            started = perf_counter()
            noted.dtypes, noted.prompt_tokens, noted.output_tokens = set(), 0, 0
            try:
                made = measure()
                said = setting(bench.threads, noted.dtypes, noted.prompt_tokens, noted.output_tokens)
                found.append(replace(made, setting=said))
            except (EngineError, ModelError) as error:  # no such processor, no weights
                found.append(not_measured(claim, figure, str(error)))
            except RuntimeError as error:  # what answers wrongly is not excused, and the other claims go on
                found.append(Claim(claim, figure, "–", "missed", str(error)))
            print(f"{perf_counter() - started:.0f} s: {found[-1].claim}: {found[-1].measured}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(print_claims(claims, __doc__, "one round at small sizes"))
