"""The speed claims about engines and peers: each is seen to be missed on a planted fault. No model is loaded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from llmhar.ask.engines.registry import EngineError
from llmhar.ask.models import MODELS, Adapter
from llmhar.ask.store import Store
from llmhar.data import simulated
from llmhar.records import Fingerprint, Generation, Request, Sampling
from tests.bench import engines, engines_adapters, peers, peers_child
from tests.bench.engines import full_pass, gain_claim, overhead_claim, reuse_claim
from tests.bench.engines_steps import Pass, StepLog, covered, read_steps
from tests.bench.peers import Round, Run, cold_claims, rerun_claim

RULES = MODELS["rules"]  # needs no weights; who answers here are the engines below
BLOCK = 32


class Clockwork:
    """An engine that sleeps instead of computing, inside its steps and, as a fault, outside of them."""

    def __init__(
        self, *, step_s: float = 0.0, outside_s: float = 0.0, token_s: float = 0.0, cache: bool = True
    ) -> None:
        self.step_s, self.outside_s, self.token_s, self.cache = step_s, outside_s, token_s, cache
        self.engine, self.log, self.seen = self, [], set()

    def steps(self) -> list[tuple[float, float]]:
        return self.log

    def fingerprint(self) -> Fingerprint:
        return Fingerprint("clockwork", "1", "", "")

    def cached(self, request: Request) -> tuple[int, int]:
        """Prompt tokens, and how many of them lie in whole blocks that begin as an earlier prompt did."""
        tokens = re.findall(r"\w+|[^\w\s]", " ".join(m["content"] for m in request.messages))
        starts = [tuple(tokens[: n + BLOCK]) for n in range(0, len(tokens) - BLOCK, BLOCK)]
        hits = sum(start in self.seen for start in starts)
        if self.cache:
            self.seen.update(starts)
        return len(tokens), BLOCK * hits

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for request in requests:
            begun = time.perf_counter()
            prompt, hits = self.cached(request)
            time.sleep(self.step_s + self.token_s * (prompt - hits))
            self.log.append((begun, time.perf_counter()))
            time.sleep(self.outside_s)
            yield Generation(request.key, f"[] {request.adapter_path}", "stop", "", prompt, hits, 10)

    def close(self) -> None: ...

    def __enter__(self) -> Clockwork:
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "simulated"
    simulated.write(folder)
    return folder


@pytest.fixture
def measured(home, tmp_path):
    """Measure a pass of an engine over the first windows."""
    return lambda engine, n, task=None: full_pass(engine, task or peers.the_task(home, n), RULES, Sampling(), tmp_path)


def test_steps_are_laid_over_a_pass(tmp_path):
    steps = [(0.0, 2.0), (1.0, 3.0), (4.0, 5.0), (9.0, 12.0)]  # begun before, overlapping, whole, ended after
    assert covered(steps, 1.0, 10.0) == 4.0
    assert Pass(1.0, 10.0, tuple(steps), 1, 0, 1).outside == pytest.approx(100 * 5 / 9)
    log = StepLog(str(tmp_path / "steps"))
    assert [log.timed(lambda: time.sleep(0.01))() for _ in range(2)] == [None, None]
    (begun, ended), (later, _) = read_steps(tmp_path / "steps")
    assert 0.009 < ended - begun < 1 and later >= ended
    with pytest.raises(ZeroDivisionError):  # a step that fails is a step
        log.timed(lambda: 1 / 0)()
    assert len(read_steps(tmp_path / "steps")) == 3


def test_time_outside_the_engines_steps_is_seen(measured):
    good = Pass(0.0, 10.0, ((0.1, 9.9),), 1000, 0, 100)
    claim = overhead_claim("x", [good], [good])
    assert (claim.verdict, claim.measured) == ("met", "2 %") and "1.00 ×" in claim.why
    calm, slow = (measured(Clockwork(step_s=0.05, outside_s=s), 10) for s in (0.0, 0.02))
    assert slow.outside > calm.outside + 10
    missed = overhead_claim("x", [slow], [calm])
    assert missed.verdict == "missed" and "misses the figure by" in missed.why


def test_all_of_a_pass_is_in_it(measured, home):
    """Prompts, store and scores are outside the engine's steps, so they count."""
    one = measured(Clockwork(), 5)
    assert one.outside > 50 and len(one.steps) == 5 and one.output_tokens == 50
    with pytest.raises(RuntimeError, match="not answered"):
        broken = Clockwork()
        broken.stream = lambda requests: (Generation(r.key, error="no") for r in requests)  # type: ignore[method-assign]
        measured(broken, 5)


class WindowFirst:
    """A prompt with its turns the wrong way round."""

    def __init__(self, prompt) -> None:
        self.messages = lambda window: tuple(reversed(prompt.messages(window)))
        self.io_format = prompt.io_format


def test_a_prompt_with_the_window_first_shares_no_prefix(measured, home):
    task = peers.the_task(home, 100)
    assert reuse_claim(measured(Clockwork(), 100, task), 100).verdict == "met"
    wrong = replace(task, prompts={name: WindowFirst(prompt) for name, prompt in task.prompts.items()})
    claim = reuse_claim(measured(Clockwork(), 100, wrong), 100)
    assert claim.verdict == "missed" and float(claim.measured.split()[0]) < 20


def test_a_cache_that_keeps_nothing_gains_nothing(measured):
    on, off, broken = (measured(Clockwork(token_s=1e-4, cache=cache), 8) for cache in (True, False, False))
    assert on.seconds < broken.seconds
    claim = gain_claim([broken], [off], (on, off))
    assert claim.verdict == "missed" and "of one token" in claim.why
    assert gain_claim([replace(on, ended=on.begun + 1)], [replace(off, ended=off.begun + 2.5)]).verdict == "met"


def adapter_round(start_s: float, shared_s: float):
    """Engines that take ``start_s`` to start; one with several adapters takes ``shared_s`` for each answer."""

    def open_with(adapters):
        time.sleep(start_s)
        return Clockwork(step_s=shared_s if len(adapters) > 1 else 0.0)

    groups = {
        path: [Request("m", "r", "", ({"role": "user", "content": str(n)},), adapter_path=path and str(path),
                       adapter_sha256=path and str(path)) for n in range(2)]
        for path in (None, Path("a"), Path("b"), Path("c"))
    }  # fmt: skip
    return engines_adapters.one_round(open_with, groups)


def test_adapters_that_are_slower_together_are_seen():
    good = adapter_round(0.05, 0.0)
    assert good[2] == 4
    assert engines_adapters.adapter_claim([good], 8).verdict == "met"
    assert engines_adapters.adapter_claim([adapter_round(0.01, 0.1)], 8).verdict == "missed"


def test_random_adapters_are_in_pefts_form(smollm2, tmp_path):
    first, second = (engines_adapters.write_adapter(smollm2, seed, tmp_path) for seed in (0, 1))
    assert first.adapter.sha256 != second.adapter.sha256
    assert sorted(p.name for p in first.adapter.path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


class Forgetful(Store):
    """A store that keeps everything and says that it has nothing, so that all is asked anew."""

    def answered(self, keys, exactly=None, *, timed=False):
        return set()


def our_runs(home, folder, store_type=Store) -> tuple[Run, Run]:
    """Cold and again, in this process; whoever asks an engine again waits three seconds for it."""
    job = {"home": str(home), "n": 5, "model": "rules", "sampling": {"temperature": 0.6}, "threads": 1,
           "store": str(folder / "store.sqlite")}  # fmt: skip
    runs = []
    for step_s in (0.0, 0.6):
        begun = time.perf_counter()
        found = peers_child.ours(job, open_with=partial(Clockwork, step_s=step_s), store_type=store_type)
        runs.append(Run(time.perf_counter() - begun, **found))
    return runs[0], runs[1]


PEER = Run(wall=60.0, start=10.0, answering=30.0, answered=5, asked=5, prompt_tokens=1, output_tokens=1)


def test_a_store_that_forgets_is_seen(home, tmp_path):
    cold, again = our_runs(home, tmp_path)
    assert (cold.asked, again.asked, again.answered, again.start) == (5, 0, 5, 0.0)
    assert rerun_claim([Round(cold, PEER, again, PEER)]).verdict == "met"
    (tmp_path / "other").mkdir()
    cold, again = our_runs(home, tmp_path / "other", Forgetful)
    assert again.asked == 5
    claim = rerun_claim([Round(cold, PEER, again, PEER)])
    assert claim.verdict == "missed" and "5 and 5 requests" in claim.why


def test_a_peer_that_is_faster_is_seen():
    slow = replace(PEER, wall=75.0, answering=20.0)
    whole, inside = cold_claims([Round(slow, PEER, slow, PEER)])
    assert (whole.verdict, whole.measured, inside.verdict, inside.measured) == ("missed", "0.8 ×", "met", "1.5 ×")
    wordy = replace(PEER, output_tokens=2)  # twice the tokens in the same time
    whole, inside = cold_claims([Round(PEER, wordy, PEER, wordy)])
    assert (whole.measured, inside.measured, whole.verdict, inside.verdict) == ("0.5 ×", "0.5 ×", "missed", "missed")
    assert "1 and 2 output tokens" in whole.why
    claim = peers.defaults_claim([(PEER, replace(PEER, answering=29.0)), (PEER, replace(PEER, answering=60.0))])
    assert claim.verdict == "met" and "0.97 to 2.00 in 2 rounds" in claim.why
    assert peers.defaults_claim([(PEER, replace(PEER, answering=29.0))]).verdict == "missed"


GREEDY_AGAIN = replace(PEER, wall=2.0, asked=0, output_tokens=0)


@pytest.mark.parametrize("fails", [False, True])
def test_all_rounds_of_the_peer_are_run_and_its_defaults_may_fail_alone(monkeypatch, fails):
    """Three rounds of each kind in an order that changes; greedy re-runs of the peer are as quick as a cache is."""
    ran = []

    def run_side(side, job, folder, packages):
        ran.append((side, job["sampling"]["temperature"], job.get("engine_defaults", False)))
        if job.get("engine_defaults") and fails:
            raise peers.Unavailable("no compiler here")
        cached = ran[-1][:2] == ("lm-eval", 0.0) and ran.count(ran[-1]) % 2 == 0
        return GREEDY_AGAIN if cached else replace(PEER, dtype="float32" if side == "ours" else "bfloat16")

    monkeypatch.setattr(peers, "overlay", lambda: Path("nowhere"))
    monkeypatch.setattr(peers, "free_cores", lambda: 2)
    monkeypatch.setattr(peers, "make_job", lambda folder, n, most, threads, warm: {"sampling": {"temperature": warm}})
    monkeypatch.setattr(peers, "run_side", run_side)
    found = {claim.claim: claim for claim in peers.claims()}
    assert list(found) == list(peers.FIGURES) and len(ran) == 3 * 8 + (1 if fails else 3)
    assert [side for side, *_ in ran[:2]] == ["ours", "lm-eval"] and ran[4] == ("lm-eval", 0.6, True)
    assert found[peers.COLD_CLAIM].setting == "2 threads, bfloat16 and float32, 6 prompt and 6 output tokens"
    assert found[peers.DEFAULTS_CLAIM].verdict == ("not measured" if fails else "met")
    assert found[peers.RERUN_CLAIM].verdict == "missed"
    greedy = found[peers.GREEDY_CLAIM]
    assert greedy.verdict == "missed" and greedy.measured == "0.0333 ×" and "0 and 5 requests" in greedy.why


def test_what_cannot_be_had_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    (tmp_path / "bench.txt").write_text("lm-eval==0.4.13\n")  # no hash: refused before anything is fetched
    monkeypatch.setattr(peers, "REQUIREMENTS", tmp_path / "bench.txt")
    found = peers.claims(quick=True)
    assert {claim.verdict for claim in found} == {"not measured"} and "could not be installed" in found[0].why
    assert not list((tmp_path / "bench").iterdir())


@pytest.mark.parametrize(
    "error, verdict", [(EngineError("no such processor"), "not measured"), (RuntimeError("no answers"), "missed")]
)
def test_an_engine_that_is_not_there_is_no_excuse_for_one_that_fails(monkeypatch, error, verdict):
    def dead(*args, **kwargs):
        raise error

    monkeypatch.setattr(engines, "Timed", dead)
    monkeypatch.setattr(engines.Bench, "windows", lambda *args, **kwargs: None)
    monkeypatch.setattr(engines_adapters, "measure", dead)
    found = engines.claims(quick=True)
    assert [(claim.verdict, claim.why) for claim in found] == [(verdict, str(error))] * 5


def test_paired_engines_run_three_rounds_and_say_what_with(monkeypatch, tmp_path, home):
    """The rules stand in for the models; the real rounds are gone through, engines but sleep."""

    class Lent:
        def __init__(self, backend, model, bench, **own):
            clock = Clockwork(step_s=0.0 if own else 0.002)  # the cached side is the slow one
            self.engine, self.steps = bench.noted.watch(clock), clock.steps

        def __enter__(self):
            return self

        def __exit__(self, *exc): ...

    bench = engines.Bench(tmp_path, 2, 3)
    monkeypatch.setattr(engines.Bench, "home", lambda bench: home)
    monkeypatch.setattr(engines, "MODEL", "rules")
    monkeypatch.setattr(engines, "Timed", Lent)
    gain = engines.cache_gain(bench, 4)
    assert "in 3 rounds" in gain.why and gain.verdict == "missed" and "; tried: one prompt of a prefix" in gain.reason
    assert (bench.noted.dtypes, bench.noted.output_tokens) == ({""}, 2 * (3 * 4 + 2) * 10)

    def write_adapter(model, seed, folder):
        adapter = Adapter(path=folder / f"{seed}", sha256=f"{seed}")
        return model.model_copy(update={"name": f"a{seed}", "adapter": adapter})

    monkeypatch.setattr(engines_adapters, "MODEL", "rules")
    monkeypatch.setattr(engines_adapters, "write_adapter", write_adapter)
    monkeypatch.setattr(engines_adapters, "open_engine", lambda name, model, options: Clockwork())
    assert "in 3 rounds" in engines_adapters.measure(bench, 2).why


@pytest.mark.parametrize("side, verdict", [("lm-eval", "not measured"), ("ours", "missed")])
def test_a_side_that_fails(monkeypatch, side, verdict):
    class Failed:
        returncode = 1

        def communicate(self):
            return b"", None

    run = peers.run_side

    def failing(which, job, folder, packages):
        return run(which, job, folder, packages) if which == side else replace(PEER, answered=job["n"])

    monkeypatch.setattr(peers, "overlay", lambda: Path("nowhere"))
    monkeypatch.setattr(peers, "make_job", lambda *args: {"n": 6, "threads": 1})
    monkeypatch.setattr(peers.subprocess, "Popen", lambda *args, **kwargs: Failed())
    monkeypatch.setattr(peers, "run_side", failing)
    found = peers.claims(quick=True)
    assert {claim.verdict for claim in found} == {verdict} and f"{side} ended (1)" in found[0].why


def test_the_peers_packages_are_pinned_and_none_of_ours():
    root = peers.ROOT / "requirements"
    entries = re.split(r"(?m)^(?=[a-z0-9][a-z0-9._-]*==)", (root / "bench.txt").read_text())[1:]
    names = {entry.split("==")[0] for entry in entries}
    assert "lm-eval" in names and all("--hash=sha256:" in entry for entry in entries)
    assert not names & set(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==", (root / "cpu.lock").read_text()))
