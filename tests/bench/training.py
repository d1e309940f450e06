"""Our trainer against TRL's SFTTrainer on the same examples: ``python -m tests.bench.training``. Exit code 1 if missed.

Every variant is a process of its own; a round runs all of them one after the other on the same examples in the same
order, so a round's ratios are paired, and the order of variants turns from round to round. Rates leave out the first
steps. Loss curves are compared: a faster trainer that computes something else would be no faster trainer. Figures:
issue "Distillation".
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmhar.distill import trainer, training
from llmhar.distill.examples import Example, make_examples, write_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.traces import collect_traces
from llmhar.engines.child import child_environment, free_cores, last_words
from llmhar.models import MODELS, fetch
from llmhar.records import canonical_json
from llmhar.store import Store
from llmhar.tasks import prepare, training_task

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
SAME_LOSS = 1e-3
"""Most relative difference of two losses at the same step; bfloat16 products make it ten times that."""


@dataclass(frozen=True)
class Pass:
    """One child: what a variant did in one round."""

    variant: str
    round: int
    seconds: list[float]
    """Of each step after the first ones."""
    losses: list[float]
    peak_rss: int
    """Bytes."""

    @property
    def rate(self) -> float:
        """Examples per second; a step is one example."""
        return len(self.seconds) / sum(self.seconds)


# The child.


def run_ours(folder: Path, say: trainer.Say) -> None:
    """The trainer as the library starts it."""
    trainer.train(folder, say)


def run_trl(folder: Path, say: trainer.Say, *, tuned: bool) -> None:
    """TRL from prompt and completion texts, all else as it comes but for what makes the curves comparable.

    Given are: steps, batch, learning rate and schedule, the order of examples, the number format, and the adapter's
    start values (made by the same calls after the same seed).
    """
    import torch
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    job = json.loads((folder / "job.json").read_text())
    recipe = job["recipe"]
    mixed = trainer.number_format(recipe["dtype"], gpu=False) == "mixed"
    set_seed(recipe["seed"])
    model, tokenizer = trainer._load(job, torch.float32)
    rows, _ = trainer._rows(folder, tokenizer, job)
    seen = trainer.order([len(r.input_ids) for r in rows], recipe["max_steps"], 1, recipe["seed"], by_length=True)
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
        processing_class=tokenizer, callbacks=[trainer._reporter(say, recipe["max_steps"])],
    )  # fmt: skip
    for got, i in zip(made.train_dataset, seen, strict=True):
        assert list(got["input_ids"]) == rows[i].input_ids, "TRL trains on other tokens"
    assert settings.gradient_checkpointing is not tuned
    made.train()


def as_text(tokenizer: Any, example: dict[str, Any]) -> dict[str, str]:
    """An example as TRL takes it: rendered prompt and completion; TRL adds the end token."""
    prompt = tokenizer.apply_chat_template(example["messages"], tokenize=False, add_generation_prompt=True)
    return {"prompt": prompt, "completion": example["completion"]}


RUN: dict[str, Callable[[Path, trainer.Say], None]] = {
    "ours": run_ours,
    "trl": lambda folder, say: run_trl(folder, say, tuned=False),
    "trl-tuned": lambda folder, say: run_trl(folder, say, tuned=True),
}


def child(variant: str, folder: Path) -> None:
    """Train, write down when each step was logged, and leave."""
    steps: list[tuple[float, float]] = []

    def say(message: dict[str, Any]) -> None:
        if "step" in message:
            steps.append((time.perf_counter(), message["loss"]))

    RUN[variant](folder, say)
    times = [now for now, _ in steps]
    found = {
        "seconds": [b - a for a, b in zip(times[WARM - 1 :], times[WARM:])],
        "losses": [loss for _, loss in steps],
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (folder / "found.json").write_text(json.dumps(found))
    os._exit(0)


# The parent.


def make_examples_of_the_simulated_home(scratch: Path, n: int = N_EXAMPLES) -> list[Example]:
    """What the rules engine says of five-event windows, spread over the training sessions."""
    test = prepare("simulated", scratch / "data", n_windows=1, window_size=5, answer="name", wording="short",
                   serializer="sentences", rules=False)  # fmt: skip
    task = training_task(test, window_size=5)
    with Store(scratch / "store.sqlite") as store:
        traces = collect_traces(task, MODELS["rules"], store, progress=False).traces
    return make_examples(traces[:: len(traces) // n][:n], dict(test.prompts), test_sessions=list(test.sessions))


def run_pass(
    variant: str, number: int, recipe: Recipe, examples: Sequence[Example], scratch: Path, threads: int
) -> Pass:
    """One child, waited for.

    Raises:
        RuntimeError: it failed; its last words.
    """
    model = MODELS[recipe.student]
    folder = scratch / f"{number}-{variant}"
    folder.mkdir()
    write_examples(examples, folder / "examples.jsonl")
    job = training.make_job(recipe, examples, model) | {"model": str(model.locate()), "hub_revision": None}
    (folder / "job.json").write_text(canonical_json(job))
    log = folder / "log.txt"
    with open(log, "wb") as stream:
        command = [sys.executable, "-m", "tests.bench.training", "--child", variant, str(folder)]
        environment = child_environment(hub=False, threads=threads)
        code = subprocess.run(command, env=environment, stdout=stream, stderr=stream, cwd=ROOT, check=False).returncode
    if code:
        raise RuntimeError(f"{variant} ended with exit code {code}: {last_words(log)}")
    return Pass(variant, number, **json.loads((folder / "found.json").read_text()))


def run_rounds(recipe: Recipe, rounds: int, threads: int) -> list[Pass]:
    """All variants in all rounds, interleaved; one line to stderr a pass."""
    found = []
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        scratch = Path(name)
        os.environ["LLMHAR_HOME"] = str(scratch / "home")
        examples = make_examples_of_the_simulated_home(scratch)
        names = list(VARIANTS)
        for number in range(rounds):
            own = recipe.model_copy(update={"seed": number})  # other examples, other start values
            turn = number % len(names)
            for variant in names[turn:] + names[:turn]:
                found.append(run_pass(variant, number, own, examples, scratch, threads))
                print(f"round {number + 1}, {variant}: {found[-1].rate:.3f} examples/s", file=sys.stderr, flush=True)
    return found


def ratios(passes: Sequence[Pass], other: str) -> list[float]:
    """Our rate over another variant's, of each round."""
    rate = {(p.variant, p.round): p.rate for p in passes}
    return [rate["ours", number] / rate[other, number] for number in sorted({p.round for p in passes})]


def loss_difference(passes: Sequence[Pass], other: str) -> float:
    """The largest relative difference between our losses and another variant's at the same step of the same round."""
    curves = {(p.variant, p.round): p.losses for p in passes}
    pairs = [(curves["ours", n], curves[other, n]) for n in {p.round for p in passes}]
    return max(abs(a - b) / b for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def verdicts(passes: Sequence[Pass], tolerance: float) -> list[tuple[str, str, str, bool]]:
    """Claim, figure, measured, met: of each comparison."""
    rows = []
    for other, least in CLAIMS.items():
        found = ratios(passes, other)
        spread = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        rows.append((f"examples/s, ours / {VARIANTS[other]}", f">= {least}", spread, statistics.median(found) >= least))
        apart = loss_difference(passes, other)
        rows.append(
            (f"losses apart, ours / {VARIANTS[other]}", f"<= {tolerance:g}", f"{apart:.1e}", apart <= tolerance)
        )
    return rows


def report(passes: Sequence[Pass], recipe: Recipe, dtype: str, threads: int, tolerance: float) -> str:
    """Both tables in Markdown."""
    rounds = len({p.round for p in passes})
    lines = [
        f"{recipe.student}, LoRA r={recipe.rank}, batch 1, {dtype}, {threads} threads; {N_EXAMPLES} examples of the "
        f"simulated home; {rounds} rounds of {recipe.max_steps} steps, the first {WARM} not counted. {machine()}; load "
        f"{os.getloadavg()[1]:.1f} in the last 5 minutes.",
        "", "| claim | figure | measured: median (min to max) | verdict | n |", "|---|---:|---:|---|---:|",
    ]  # fmt: skip
    for claim, figure, measured, met in verdicts(passes, tolerance):
        lines.append(f"| {claim} | {figure} | {measured} | {'met' if met else 'missed'} | {rounds} |")
    lines += ["", "| variant | examples/s, median (min to max) | s a step | peak RSS, GB |", "|---|---:|---:|---:|"]
    for variant, shown in VARIANTS.items():
        own = [p for p in passes if p.variant == variant]
        rates = [p.rate for p in own]
        lines.append(
            f"| {shown} | {statistics.median(rates):.3f} ({min(rates):.3f} to {max(rates):.3f}) "
            f"| {1 / statistics.median(rates):.2f} | {max(p.peak_rss for p in own) / 1e9:.2f} |"
        )
    return "\n".join(lines)


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help=f"steps a pass, the first {WARM} not counted")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32", choices=("float32", "mixed", "auto"), help="for all variants")
    parser.add_argument("--threads", type=int, help="None = the cores that are free now")
    parser.add_argument("--json", type=Path, help="write every pass into this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        child(given.child[0], Path(given.child[1]))
    if given.steps <= WARM:
        parser.error(f"--steps must be more than {WARM}")
    fetch(given.model)
    dtype = trainer.number_format(given.dtype, gpu=False)
    threads = given.threads or free_cores()
    recipe = Recipe(student=given.model, rank=32, alpha=32, max_steps=given.steps, batch_size=1, accumulate=1,
                    warmup_steps=1, dtype=dtype, max_tokens=TRL_LENGTH)  # fmt: skip
    passes = run_rounds(recipe, given.rounds, threads)
    tolerance = SAME_LOSS * (10 if dtype == "mixed" else 1)
    print(report(passes, recipe, dtype, threads, tolerance))
    if given.json:
        given.json.write_text(json.dumps([asdict(p) for p in passes], indent=1))
    return int(not all(met for *_, met in verdicts(passes, tolerance)))


if __name__ == "__main__":
    sys.exit(main())
