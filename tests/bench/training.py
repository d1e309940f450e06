"""Our trainer against TRL's SFTTrainer on the same examples: ``make bench ONLY=training``. Exit 1: a figure is missed.

Every variant is a process of its own, and they go in lockstep: one step of one, then the same step (the same example)
of the next, whose turn is first changing from step to step. So ratios are paired step by step, and other load on the
machine, which changes within seconds, falls on all alike. The first steps are not counted. Loss curves are compared: a
faster trainer that computes something else would be no faster trainer. Figures: issue "Distillation".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmhar.ask.asking import Asking
from llmhar.ask.engines.child import child_environment, free_cores, last_words
from llmhar.ask.engines.worker import Say, protect_stdout
from llmhar.ask.model_files import fetch
from llmhar.ask.models import MODELS, ModelError
from llmhar.ask.store import Store
from llmhar.ask.task import prepare, training_task
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.distill import train_child, training
from llmhar.distill.examples import Example, make_examples, write_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.traces import collect_traces
from llmhar.records import canonical_json
from llmhar.text.prompt import PromptForm
from tests.bench.verdicts import Claim, at_least, at_most, not_measured

ROOT = Path(__file__).parents[2]
N_EXAMPLES = 48
WARM = 2
"""Steps at the start of each child that no rate counts."""
TRL_LENGTH = 1024
"""TRL's default max_length: longer examples would be cut there and not here."""
VARIANTS = {
    "ours": "this library's trainer",
    "trl": "TRL SFTTrainer as it comes",
    "trl-tuned": "TRL SFTTrainer, gradient_checkpointing=False",
}
CLAIMS = {"trl": 1.2, "trl-tuned": 0.95}
"""Variant -> least ratio of our examples per second to its own."""
SAME_LOSS = {"float32": 1e-3, "mixed": 3e-2}
"""Most relative difference of two losses at the same step. Rounding to bfloat16 differs from the first step on (3e-4)
and the curves drift apart with it; mixed and float32 are further apart than that."""


@dataclass(frozen=True)
class Step:
    """One step of one variant: one example."""

    variant: str
    round: int
    number: int
    """From 1."""
    seconds: float
    """From its being allowed to begin to its loss being logged."""
    loss: float
    tokens: int = 0
    """Of its example; 0 where the variant does not say: the others train on the same."""


# The child.


def run_ours(folder: Path, say: Say) -> None:
    """The trainer as the library starts it."""
    train_child.train(folder, say)


def run_trl(folder: Path, say: Say, *, tuned: bool) -> None:
    """TRL from prompt and completion texts, all else as it comes but for what makes the curves comparable.

    Given are: steps, batch, learning rate and schedule, the order of examples, the number format, and the adapter's
    start values (made by the same calls after the same seed). The optimizer is TRL's own default.
    """
    import torch
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    job = json.loads((folder / "job.json").read_text())
    recipe = job["recipe"]
    mixed = train_child.number_format(recipe["dtype"], gpu=False) == "mixed"
    set_seed(recipe["seed"])
    model, tokenizer = train_child._load(job, torch.float32)
    rows, too_long = train_child._rows(folder, tokenizer, job)
    assert not too_long, "TRL would cut these"
    seen = train_child.order([len(r.input_ids) for r in rows], recipe["max_steps"], 1, recipe["seed"], by_length=True)
    texts = [as_text(tokenizer, json.loads(line)) for line in (folder / "examples.jsonl").open()]
    own = {"gradient_checkpointing": False} if tuned else {}
    settings = SFTConfig(
        output_dir=str(folder / "checkpoints"), max_steps=recipe["max_steps"], per_device_train_batch_size=1,
        learning_rate=recipe["learning_rate"], lr_scheduler_type=recipe["schedule"], seed=recipe["seed"],
        warmup_steps=recipe["warmup_steps"], weight_decay=recipe["weight_decay"], bf16=mixed, use_cpu=True,
        train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, **own,
    )  # fmt: skip
    made = SFTTrainer(
        model=model, args=settings, train_dataset=Dataset.from_list([texts[i] for i in seen]),
        processing_class=tokenizer, callbacks=[train_child._reporter(say, recipe["max_steps"], None)],
    )  # fmt: skip
    for got, i in zip(made.train_dataset, seen, strict=True):
        assert list(got["input_ids"]) == rows[i].input_ids, "TRL trains on other tokens"
    assert settings.gradient_checkpointing is not tuned
    say({"stage": "training", "tokens": [len(rows[i].input_ids) for i in seen]})
    made.train()


def as_text(tokenizer: Any, example: dict[str, Any]) -> dict[str, str]:
    """An example as TRL takes it: rendered prompt and completion; TRL adds the end token."""
    prompt = tokenizer.apply_chat_template(example["messages"], tokenize=False, add_generation_prompt=True)
    return {"prompt": prompt, "completion": example["completion"]}


RUN: dict[str, Callable[[Path, Say], None]] = {
    "ours": run_ours,
    "trl": lambda folder, say: run_trl(folder, say, tuned=False),
    "trl-tuned": lambda folder, say: run_trl(folder, say, tuned=True),
}


def child(variant: str, folder: Path) -> None:
    """Train; after each report wait for the parent. Lines: {"ready"}, {"seconds", "loss", "tokens"}, {"peak_rss"}."""
    protocol = protect_stdout()
    tokens: list[int] = []
    n_steps = json.loads((folder / "job.json").read_text())["recipe"]["max_steps"]
    begun = 0.0

    def tell(message: dict[str, Any]) -> None:
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    def say(message: dict[str, Any]) -> None:
        nonlocal begun
        ended = time.perf_counter()
        if message.get("stage") == "training":
            tokens.extend(message.get("tokens", [0] * n_steps))
            tell({"ready": True})
        elif "step" in message:
            tell({"seconds": ended - begun, "loss": message["loss"], "tokens": tokens[message["step"] - 1]})
        if message.get("stage") == "training" or message.get("step", n_steps) < n_steps:
            if not sys.stdin.readline():  # the parent is gone
                os._exit(1)
            begun = time.perf_counter()

    RUN[variant](folder, say)
    tell({"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
    os._exit(0)


# The parent.


def make_examples_of_the_simulated_home(scratch: Path, n: int = N_EXAMPLES) -> list[Example]:
    """What the rules engine says of five-event windows, spread over the training sessions."""
    test = prepare(
        "simulated",
        simulated.write(scratch / "data"),
        windowing=Windowing(n=1, size=5),
        form=PromptForm(answer="name", wording="short", serializer="sentences", rules=False),
    )
    task = training_task(test, window_size=5)
    with Store(scratch / "store.sqlite") as store:
        traces = collect_traces(task, MODELS["rules"], store, asking=Asking(progress=False)).traces
    return make_examples(traces[:: len(traces) // n][:n], dict(test.prompts), test_sessions=list(test.sessions))


class Runner:
    """A variant's process, as the parent holds it."""

    def __init__(self, variant: str, recipe: Recipe, examples: Sequence[Example], folder: Path, threads: int) -> None:
        folder.mkdir()
        model = MODELS[recipe.student]
        write_examples(examples, folder / "examples.jsonl")
        job = training.make_job(recipe, examples, model) | {"model": str(model.locate()), "hub_revision": None}
        (folder / "job.json").write_text(canonical_json(job))
        self.variant, self._log = variant, folder / "log.txt"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.training", "--child", variant, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True,
                env=child_environment(hub=False, threads=threads),
            )  # fmt: skip

    def read(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: it ended; its last words.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.variant} ended ({self._process.wait()}): {last_words(self._log)}")
        message: dict[str, Any] = json.loads(line)
        return message

    def step(self) -> dict[str, Any]:
        """Let it make one step."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


def run_round(
    number: int, recipe: Recipe, examples: Sequence[Example], scratch: Path, threads: int
) -> tuple[list[Step], dict[str, int]]:
    """All variants in lockstep; their steps, and their peak memory in bytes."""
    runners: list[Runner] = []
    steps = []
    try:
        for variant in VARIANTS:  # loaded one after the other
            runners.append(Runner(variant, recipe, examples, scratch / f"{number}-{variant}", threads))
            runners[-1].read()
        for k in range(1, recipe.max_steps + 1):
            turn = k % len(runners)
            for runner in runners[turn:] + runners[:turn]:
                steps.append(Step(runner.variant, number, k, **runner.step()))
                print(f"round {number + 1}, step {k}, {runner.variant}: {steps[-1].seconds:.2f} s", file=sys.stderr)
        return steps, {runner.variant: runner.read()["peak_rss"] for runner in runners}
    finally:
        for runner in runners:
            runner.close()


def run_rounds(recipe: Recipe, rounds: int, threads: int) -> tuple[list[Step], dict[str, int]]:
    """All rounds, each with other examples and start values."""
    steps: list[Step] = []
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        scratch = Path(name)
        os.environ["LLMHAR_HOME"] = str(scratch / "home")
        examples = make_examples_of_the_simulated_home(scratch)
        for number in range(rounds):
            found, own = run_round(number, recipe.model_copy(update={"seed": number}), examples, scratch, threads)
            steps += found
            peaks = {variant: max(peak, peaks.get(variant, 0)) for variant, peak in own.items()}
    return steps, peaks


def counted(steps: Sequence[Step], variant: str) -> dict[tuple[int, int], float]:
    """(round, step) -> seconds, without the first steps."""
    return {(s.round, s.number): s.seconds for s in steps if s.variant == variant and s.number > WARM}


def ratios(steps: Sequence[Step], other: str) -> list[float]:
    """Our rate over another variant's at each step."""
    ours, theirs = counted(steps, "ours"), counted(steps, other)
    return [theirs[which] / ours[which] for which in ours]


def loss_difference(steps: Sequence[Step], other: str) -> float:
    """The largest relative difference between our losses and another variant's at the same step."""
    losses = {(s.variant, s.round, s.number): s.loss for s in steps}
    pairs = [(loss, losses[other, *which]) for (variant, *which), loss in losses.items() if variant == "ours"]
    return max(abs(ours - theirs) / theirs for ours, theirs in pairs)


def verdicts(steps: Sequence[Step], tolerance: float) -> list[tuple[str, str, str, bool]]:
    """Claim, figure, measured, met: of each comparison."""
    rows = []
    for other, least in CLAIMS.items():
        found = ratios(steps, other)
        middle = statistics.median(found)
        spread = f"{middle:.2f} ({min(found):.2f} to {max(found):.2f})"
        rows.append((f"examples/s, ours / {VARIANTS[other]}", f">= {least}", spread, middle >= least))
        apart = loss_difference(steps, other)
        rows.append(
            (f"losses apart, ours / {VARIANTS[other]}", f"<= {tolerance:g}", f"{apart:.1e}", apart <= tolerance)
        )
    return rows


def report(steps: Sequence[Step], peaks: dict[str, int], setting: str, tolerance: float) -> str:
    """Both tables in Markdown."""
    n = len(counted(steps, "ours"))
    lines = [
        setting,
        "",
        "| claim | figure | measured: median (min to max) | verdict | n |",
        "|---|---:|---:|---|---:|",
    ]
    for claim, figure, measured, met in verdicts(steps, tolerance):
        lines.append(f"| {claim} | {figure} | {measured} | {'met' if met else 'missed'} | {n} |")
    lines += ["", "| variant | examples/s | s a step, median (min to max) | peak RSS, GB |", "|---|---:|---:|---:|"]
    for variant, shown in VARIANTS.items():
        seconds = list(counted(steps, variant).values())
        lines.append(
            f"| {shown} | {len(seconds) / sum(seconds):.3f} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to "
            f"{max(seconds):.2f}) | {peaks[variant] / 1e9:.2f} |"
        )
    return "\n".join(lines)


def claims(*, quick: bool = False) -> list[Claim]:
    """Rates and losses beside TRL's, in float32 and as the product trains; ``quick``: one short round instead of three.

    On a processor without instructions for bfloat16 the product trains in float32: "mixed" is not measured there.
    """
    rounds, n_steps = (1, WARM + 2) if quick else (3, 8)
    product, threads, found = train_child.number_format("auto", gpu=False), free_cores(), list[Claim]()
    for dtype in SAME_LOSS:
        faster = {other: f"our examples a second against {VARIANTS[other]}, {dtype}" for other in CLAIMS}
        problem = "" if dtype in ("float32", product) else "this processor multiplies no bfloat16: it trains in float32"
        try:
            fetch("smollm2-135m")
        except ModelError as error:
            problem = str(error)
        if problem:
            found += [not_measured(faster[other], f"≥ {least:g} ×", problem) for other, least in CLAIMS.items()]
            continue
        steps, peaks = run_rounds(bench_recipe("smollm2-135m", dtype, n_steps), rounds, threads)
        read = sum(step.tokens for step in steps if step.variant == "trl" and step.number > WARM)
        said = f"{threads} threads, {dtype}, {read:,} tokens of prompt and answer trained on by each side"
        found += [replace(claim, setting=said) for claim in claims_of(steps, peaks, dtype, faster)]
    return found


def claims_of(steps: Sequence[Step], peaks: dict[str, int], dtype: str, faster: dict[str, str]) -> list[Claim]:
    """Rates and losses of one number format.

    Args:
        steps: of all rounds.
        peaks: variant -> bytes.
        dtype: key into :data:`SAME_LOSS`.
        faster: variant -> the claim of its rate.
    """
    rounds = 1 + max(step.round for step in steps)
    found = []
    for other, least in CLAIMS.items():
        own = ratios(steps, other)
        spread = (
            f"median of {len(own)} paired steps, {min(own):.2f} to {max(own):.2f}; {rounds} rounds, of each the first "
            f"{WARM} steps not counted; TRL's own optimizer; memory peak {peaks['ours'] / 1e9:.2f} GB, "
            f"theirs {peaks[other] / 1e9:.2f} GB"
        )
        found.append(at_least(faster[other], least, statistics.median(own), "×", why=spread))
        apart = f"losses of the same step apart, ours and {VARIANTS[other]}, {dtype}"
        found.append(at_most(apart, SAME_LOSS[dtype], loss_difference(steps, other), why="largest, relative"))
    return found


def bench_recipe(model: str, dtype: str, n_steps: int) -> Recipe:
    """What all variants train."""
    return Recipe(student=model, rank=32, alpha=32, max_steps=n_steps, batch_size=1, accumulate=1, warmup_steps=1,
                  dtype=dtype, max_tokens=TRL_LENGTH)  # fmt: skip


def machine() -> str:
    """Processor, cores, memory."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help=f"steps a round, the first {WARM} not counted")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32", choices=("float32", "mixed", "auto"), help="for all variants")
    parser.add_argument("--threads", type=int, help="None = the cores that are free now")
    parser.add_argument("--json", type=Path, help="write every step into this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        child(given.child[0], Path(given.child[1]))
    if given.steps <= WARM:
        parser.error(f"--steps must be more than {WARM}")
    fetch(given.model)
    dtype = train_child.number_format(given.dtype, gpu=False)
    threads = given.threads or free_cores()
    recipe = bench_recipe(given.model, dtype, given.steps)
    steps, peaks = run_rounds(recipe, given.rounds, threads)
    tolerance = SAME_LOSS[dtype]
    setting = (
        f"{given.model}, LoRA r={recipe.rank}, batch 1, {dtype}, {threads} threads; {N_EXAMPLES} examples of the "
        f"simulated home; {given.rounds} rounds of {given.steps} steps, the first {WARM} not counted. {machine()}; "
        f"load {os.getloadavg()[1]:.1f} in the last 5 minutes."
    )
    print(report(steps, peaks, setting, tolerance))
    if given.json:
        given.json.write_text(json.dumps({"setting": setting, "peaks": peaks, "steps": [asdict(s) for s in steps]}))
    return int(not all(met for *_, met in verdicts(steps, tolerance)))


if __name__ == "__main__":
    sys.exit(main())
