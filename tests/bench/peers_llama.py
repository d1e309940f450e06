"""Claims of "Peers" against llama.cpp; ``python -m tests.bench.peers_llama`` prints them.

The student that the repository has, on windows of the simulated home: one, as a gateway would ask (8 bits a weight on
both sides, our ONNX engine), and many (16 bits, vLLM). llama.cpp is given the very tokens that ours reads, and the file
that the writer of ``llmhar students export`` makes; it runs by its server or its Python package, whichever is installed
(the server, where both are: it answers several at once). Neither side is held to a schema; both take the likeliest
token. Whole processes are timed, for 1,000 output tokens: numbers are rounded otherwise, so answers need not be equally
long.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.child import free_cores
from llmhar.ask.engines.worker import render_prompt
from llmhar.ask.models import MODELS, ModelError
from llmhar.data import simulated
from llmhar.distill.gguf_writer import GgufType, write_gguf
from llmhar.records import Sampling
from tests.bench import peers
from tests.bench.engines_steps import spread
from tests.bench.peers import Run, Unavailable
from tests.bench.verdicts import Claim, at_least, not_measured, print_claims

STUDENT = "llmhar-home-135m"
SLOTS, CONTEXT = 8, 2048
"""Requests that llama-server has under way at once, and tokens of room for each."""
FASTER = 1.0
"""Figure: no slower than the peer. The issue names none."""
SIDES = ("ours", "llama.cpp")


class Load(NamedTuple):
    """One comparison."""

    claim: str
    n: int
    """Windows."""
    max_tokens: int
    model: str
    """Ours."""
    engine: str
    gguf_type: GgufType


LOADS = (
    Load("against llama.cpp, one window, whole process: its time a token over ours", 1, 300,
         f"{STUDENT}-int8", "onnx", "q8_0"),
    Load("against llama.cpp, 32 windows, whole process: its time a token over ours", 32, 128, STUDENT, "vllm", "f16"),
)  # fmt: skip


def peer() -> tuple[str, str]:
    """How llama.cpp is here: path of its server, empty for its Python package; name and version.

    Raises:
        Unavailable: neither is installed.
    """
    if server := shutil.which("llama-server"):
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
        lines = [line for line in f"{said.stdout}\n{said.stderr}".splitlines() if line.startswith("version")]
        return server, f"llama-server {lines[0] if lines else 'of unknown version'}"
    if importlib.util.find_spec("llama_cpp"):
        return "", f"llama-cpp-python {importlib.metadata.version('llama_cpp_python')}"
    raise Unavailable("neither llama-server nor llama-cpp-python is installed (building it takes some ten minutes)")


def make_job(load: Load, folder: Path, server: str, threads: int) -> dict[str, Any]:
    """What both sides are told: windows, model, file, the prompts' tokens.

    Raises:
        ModelError: the student's weights are not here.
    """
    model = MODELS[load.model].model_copy(update={"asked": None})
    home = folder / "simulated"
    if not home.exists():
        simulated.write(home)
    sampling = {"temperature": 0.0, "max_tokens": load.max_tokens}
    asks = inference.make_asks(peers.the_task(home, load.n), model, asking=Asking(sampling=Sampling(**sampling)))
    weights, file = MODELS[STUDENT], folder / f"{load.gguf_type}.gguf"
    write_gguf(Path(weights.locate()), file, load.gguf_type, name=STUDENT, licence=weights.licence)
    return {"home": str(home), "n": load.n, "model": load.model, "unbound": True, "sampling": sampling,
            "engine": load.engine, "options": {"threads": threads}, "threads": threads, "gguf_type": load.gguf_type,
            "file": str(file), "server": server, "at_once": min(SLOTS, load.n),
            "context": CONTEXT, "prompts": tokens_of(asks)}  # fmt: skip


def tokens_of(asks: Sequence[Any]) -> list[list[int]]:
    """The prompts as our engines render them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS[STUDENT].locate())
    return [render_prompt(tokenizer, ask.request.messages, ask.request.template_args)[0] for ask in asks]


def one_round(job: dict[str, Any], *, peer_first: bool) -> dict[str, Run]:
    """Both sides from nothing, in an order that changes from round to round.

    Raises:
        Unavailable, RuntimeError: as :func:`tests.bench.peers.run_side` raises them, or the prompts differ.
    """
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        order = SIDES[::-1] if peer_first else SIDES
        runs = {side: peers.run_side(side, job, Path(name), Path(name)) for side in order}
    peers.refuse_other_prompts(runs["ours"], runs["llama.cpp"])
    return runs


def time_claim(load: Load, rounds: Sequence[dict[str, Run]], threads: int, version: str) -> Claim:
    """Seconds a token of whole processes, in pairs; without the engines' starts in words."""
    pairs = [(runs["ours"], runs["llama.cpp"]) for runs in rounds]
    whole, inside = ([b.a_token[place] / a.a_token[place] for a, b in pairs] for place in (0, 1))
    ours, theirs = pairs[0]
    why = (
        f"{spread(whole)}; without the engines' starts {statistics.median(inside):.2f} × ({spread(inside)}); "
        f"{theirs.wall:.1f} s ({theirs.start:.1f} s its start) and {ours.wall:.1f} s ({ours.start:.1f} s); "
        f"{ours.output_tokens} and {theirs.output_tokens} output tokens; {version}, the file as students export writes "
        f"it, ours {load.engine}; ours reads raw data, stores, parses and scores"
    )
    claim = at_least(load.claim, FASTER, statistics.median(whole), "×", why=why)
    return peers.told(claim, threads, [run for pair in pairs for run in pair])


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module.

    Args:
        quick: few windows and one round, to see that everything runs; figures mean little.
    """
    found = []
    for load in LOADS:
        small = load._replace(n=min(load.n, 3), max_tokens=16) if quick else load
        try:
            found.append(measure(small, 1 if quick else 3))
        except (Unavailable, ModelError, EngineError) as error:
            found.append(not_measured(load.claim, f"≥ {FASTER:g} ×", str(error)))
        except RuntimeError as error:
            found.append(Claim(load.claim, f"≥ {FASTER:g} ×", "–", "missed", str(error)))
    return found


def measure(load: Load, n_rounds: int) -> Claim:
    """All rounds of one comparison.

    Raises:
        Unavailable: llama.cpp is not here or failed.
        RuntimeError: we did.
        ModelError: the student's weights are not here.
    """
    server, version = peer()
    threads = free_cores()
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        job = make_job(load, Path(name), server, threads)
        rounds = [one_round(job, peer_first=bool(number % 2)) for number in range(n_rounds)]
    return time_claim(load, rounds, threads, version)


if __name__ == "__main__":
    sys.exit(print_claims(claims, __doc__, "one round with few windows"))
