"""Child side of training: ``python -P -m llmhar.distill.train_child FOLDER PARENT_PID``. Asks nobody, scores nothing.

Reads ``job.json`` and ``examples.jsonl`` of the folder, trains by TRL's SFTTrainer (under Unsloth where the recipe says
so) and leaves the student's weights there. What is ours: tokens as inference sees them, an order of examples that a
resumed run repeats, and the loss computed from the answer's logits alone. One JSON line out a step.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.ask.engines.child import FREE_THREADS, CoresLeft
from llmhar.ask.engines.registry import multiplies_bfloat16
from llmhar.ask.engines.weights import copy_unchanged
from llmhar.ask.engines.worker import Say, do_job, render_prompt

IGNORED = -100
"""Label of a token that carries no loss (PyTorch's convention)."""

COMPILED_FROM = 800
"""Steps from which on layers are compiled."""
EAGER_TO = 1024
"""Tokens of a batch to which attention is computed as written where all weights move on a CPU: 1.2 x a step of 8 layers
of the 135M, none for its adapters, in memory that grows with the square of the tokens."""
THREADS_EVERY = 20
"""Steps after which threads are counted again."""
PARTS = 6
"""A long LoRA training keeps the adapter after each such part, for the curve of what more lessons bring."""


class Row(NamedTuple):
    """One example in tokens."""

    input_ids: list[int]
    labels: list[int]
    """The same, :data:`IGNORED` where the prompt is."""


def tokenize(tokenizer: Any, example: dict[str, Any], template_args: dict[str, Any]) -> Row:
    """Prompt as an engine renders it, then the teacher's text and the end-of-turn token.

    Prompt and answer are encoded apart, as in generation: joined text may merge tokens across the border.

    Raises:
        ValueError: the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer names no end token")
    prompt, opened = render_prompt(tokenizer, example["messages"], template_args)
    completion = example["completion"].removeprefix(opened)  # where the template opens the block itself
    answer = [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]
    return Row(prompt + answer, [IGNORED] * len(prompt) + answer)


def order(lengths: Sequence[int], n: int, batch: int, seed: int, *, by_length: bool) -> list[int]:
    """Indices of the examples that are seen, ``n`` in all, epoch after epoch.

    Each epoch is a shuffle of its own. ``by_length``: batches are filled with neighbours in length and then shuffled,
    so that little is padding. A function of its arguments alone: a resumed run sees what the killed one would have.
    """
    drawn: list[int] = []
    for epoch in range(-(-n // max(len(lengths), 1))):
        shuffler = random.Random(f"{seed}:{epoch}")
        indices = list(range(len(lengths)))
        shuffler.shuffle(indices)
        if by_length and batch > 1:
            indices.sort(key=lambda i: lengths[i])  # stable: equal lengths stay shuffled
            # The longest fill the batch that the epoch before left short, or all later batches would straddle two.
            rest = max(len(indices) - -len(drawn) % batch, 0)
            batches = [indices[start : min(start + batch, rest)] for start in range(0, rest, batch)]
            short = batches.pop() if rest % batch else []
            shuffler.shuffle(batches)
            indices = [*indices[rest:], *(i for one in batches for i in one), *short]
        drawn += indices
    return drawn[:n]


def number_format(wanted: str, *, gpu: bool) -> str:
    """What "auto" means here. A CPU without bfloat16 instructions emulates them, many times slower."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if gpu else "mixed" if multiplies_bfloat16() else "float32"


def arguments(folder: Path, recipe: dict[str, Any], *, gpu: bool, mixed: bool) -> dict[str, Any]:
    """The recipe in TRL's words."""
    return dict(
        output_dir=str(folder / "checkpoints"),
        max_steps=recipe["max_steps"],
        per_device_train_batch_size=recipe["batch_size"],
        gradient_accumulation_steps=recipe["accumulate"],
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type=recipe["schedule"],
        warmup_steps=min(recipe["warmup_steps"], recipe["max_steps"]),
        weight_decay=recipe["weight_decay"],
        gradient_checkpointing=recipe["gradient_checkpointing"],
        seed=recipe["seed"],
        data_seed=recipe["seed"],
        max_length=None,  # nothing is ever cut: rows that are too long were left out and counted
        packing=False,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
        bf16=mixed,
        fp16=False,
        use_cpu=not gpu,
        optim="adamw_torch_fused",
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="steps",
        save_steps=recipe["save_every"],
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
    )


def _make_trainer(job: dict[str, Any], common: dict[str, Any], settings: dict[str, Any]) -> Any:
    recipe = job["recipe"]
    if recipe["objective"] == "gkd":
        from llmhar.distill.onpolicy import make_trainer

        return make_trainer(job, common, settings)
    from trl import SFTConfig

    fast = recipe["answer_logits_only"] and recipe["backend"] == "peft"  # Unsloth has its own way
    return _trainer_class(answer_logits_only=fast)(args=SFTConfig(**settings), **common)


def _load(job: dict[str, Any], dtype: Any) -> tuple[Any, Any]:
    """Model and tokenizer, ready to train: adapters on, or all weights moving."""
    recipe, place, revision = job["recipe"], job["model"], job.get("hub_revision")
    if recipe["backend"] == "unsloth":
        return _load_unsloth(recipe, place, revision, dtype)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
    model = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=dtype, use_safetensors=True)
    if recipe["method"] == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=recipe["rank"], lora_alpha=recipe["alpha"], target_modules=list(recipe["targets"]), lora_dropout=0.0,
            bias="none", task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(model, config)
    elif not recipe["train_embeddings"]:
        model.get_input_embeddings().weight.requires_grad_(False)
    return model, tokenizer


def _load_unsloth(recipe: dict[str, Any], place: str, revision: str | None, dtype: Any) -> tuple[Any, Any]:
    from unsloth import FastLanguageModel

    model, tokenizer = FastLanguageModel.from_pretrained(
        place, revision=revision, max_seq_length=recipe["max_tokens"], load_in_4bit=False, dtype=dtype,
        full_finetuning=recipe["method"] == "full",
    )  # fmt: skip
    if recipe["method"] == "lora":
        model = FastLanguageModel.get_peft_model(
            model, r=recipe["rank"], lora_alpha=recipe["alpha"], target_modules=list(recipe["targets"]),
            lora_dropout=0.0, bias="none", random_state=recipe["seed"],
            use_gradient_checkpointing="unsloth" if recipe["gradient_checkpointing"] else False,
        )  # fmt: skip
    return model, tokenizer


def compile_layers(model: Any, recipe: dict[str, Any], *, gpu: bool) -> bool:
    """Compile the decoder's layers where that pays: 1.22 x a step of the 135M on two cores, after a minute's compiling.

    Only on a CPU that has a C++ compiler, for trainings of some length; the same mathematics in other roundings.
    """
    pays = recipe["max_steps"] >= COMPILED_FROM and recipe["objective"] == "sft" and recipe["backend"] == "peft"
    if gpu or not pays or shutil.which("g++") is None:
        return False
    for layer in next(module for name, module in model.named_modules() if name.endswith("layers")):
        layer.compile(dynamic=True)
    return True


def eager_pays(recipe: dict[str, Any], *, mixed: bool, gpu: bool) -> bool:
    """Whether attention as it is written is faster here than PyTorch's own, whose way back is slow on a CPU."""
    ours = (recipe["method"], recipe["objective"], recipe["backend"]) == ("full", "sft", "peft")
    return ours and mixed and not gpu and recipe["batch_size"] * recipe["max_tokens"] <= EAGER_TO


def _trainer_class(*, answer_logits_only: bool) -> Any:
    import torch
    from torch.nn.functional import cross_entropy, linear
    from trl import SFTTrainer

    if not answer_logits_only:
        return SFTTrainer

    class AnswerLossTrainer(SFTTrainer):
        """The same loss from fewer logits: vocabulary x prompt is most of a small model's work and carries none."""

        head: Any = None
        """The output embeddings in the format of the products, once for all steps where they are frozen."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            wanted = (labels[:, 1:] != IGNORED).any(0).nonzero().squeeze(1)  # a logit foretells the next token
            whole = self.accelerator.unwrap_model(model)
            with self.accelerator.autocast():
                states = whole.get_decoder()(
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
                ).last_hidden_state[:, wanted]
            weight = whole.get_output_embeddings().weight
            dtype = torch.bfloat16 if self.args.bf16 else weight.dtype
            if self.head is None or weight.requires_grad:
                self.head = weight.to(dtype)
            logits = linear(states.to(dtype), self.head).float()  # softmax in bfloat16 errs where tokens are near sure
            targets = labels[:, wanted + 1].flatten()
            loss = cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum")
            # As Trainer does: the mean over the answer tokens of the whole step, not of each batch.
            loss = loss / (num_items_in_batch if num_items_in_batch is not None else (labels[:, 1:] != IGNORED).sum())
            return (loss, {"logits": logits}) if return_outputs else loss

    return AnswerLossTrainer


def _reporter(say: Say, n_steps: int, milestones: Path | None) -> Any:
    import torch
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        """One line a step to the parent, as many threads as cores are left, and adapters on the way, where there is a
        folder for them.
        """

        def __init__(self) -> None:
            self.cores_left = CoresLeft() if FREE_THREADS in os.environ else torch.get_num_threads
            self.threads = {torch.get_num_threads()}

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
            if state.global_step % THREADS_EVERY == 0 and (n := self.cores_left()) != torch.get_num_threads():
                torch.set_num_threads(n)
                self.threads.add(n)
            if milestones is not None and state.global_step % (n_steps // PARTS) == 0 and state.global_step < n_steps:
                place = milestones / str(state.global_step)
                model.save_pretrained(place / "part", safe_serialization=True)
                shutil.rmtree(place / "adapter", ignore_errors=True)
                (place / "part").rename(place / "adapter")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            if logs and "loss" in logs:
                say({"step": state.global_step, "of": n_steps, "loss": float(logs["loss"])})

    return Reporter()


def span_words(numbers: Collection[int]) -> int | str:
    """One number as it is, several by their ends: "1 to 2"."""
    low, high = min(numbers), max(numbers)
    return low if low == high else f"{low} to {high}"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is what is written last."""
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            complete.append((json.loads((checkpoint / "trainer_state.json").read_text())["global_step"], checkpoint))
        except (OSError, ValueError, KeyError):
            continue
    return max(complete)[1] if complete else None


def train(folder: Path, say: Say) -> dict[str, Any]:
    """Train as the job says; a job that was killed goes on from its last checkpoint.

    Returns:
        Steps with their losses, tokens, seconds of this pass, where it resumed, the memory's peak in bytes.
    """
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe = job["recipe"]
    if recipe["backend"] == "unsloth":
        import unsloth  # noqa: F401  (before transformers: it patches what it finds)
    import torch
    from datasets import Dataset
    from transformers import set_seed

    gpu = torch.cuda.is_available()
    wanted = number_format(recipe["dtype"], gpu=gpu)
    set_seed(recipe["seed"])
    say({"stage": "loading"})
    model, tokenizer = _load(job, torch.bfloat16 if wanted == "bfloat16" else torch.float32)
    rows, too_long = _rows(folder, tokenizer, job)
    seen = order([len(r.input_ids) for r in rows], recipe["max_steps"] * recipe["batch_size"] * recipe["accumulate"],
                 recipe["batch_size"], recipe["seed"], by_length=recipe["sort_by_length"])  # fmt: skip
    data = Dataset.from_list([rows[i]._asdict() for i in seen])
    compiled = compile_layers(model, recipe, gpu=gpu)
    if not compiled and eager_pays(recipe, mixed=wanted == "mixed", gpu=gpu):
        model.set_attn_implementation("eager")
    long = recipe["method"] == "lora" and recipe["max_steps"] >= COMPILED_FROM
    reporter = _reporter(say, recipe["max_steps"], folder / "milestones" if long else None)
    common = {"model": model, "train_dataset": data, "processing_class": tokenizer, "callbacks": [reporter]}
    trainer = _make_trainer(job, common, arguments(folder, recipe, gpu=gpu, mixed=wanted != "float32"))
    _dump_batches(trainer, folder, recipe["max_steps"] * recipe["accumulate"], recipe["seed"])
    checkpoint = last_checkpoint(folder / "checkpoints")
    begun = time.perf_counter()
    say({"stage": "training"})
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - begun
    _save(trainer.accelerator.unwrap_model(trainer.model), recipe["method"], folder, job)
    history = [(int(e["step"]), float(e["loss"])) for e in trainer.state.log_history if "loss" in e]
    return {
        "losses": history, "seconds": seconds, "too_long": too_long, "device": _device(gpu), "dtype": wanted,
        "compiled": compiled,
        "resumed_at": int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
        "tokens": sum(len(rows[i].input_ids) for i in seen), "threads": span_words(reporter.threads),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "total": sum(p.numel() for p in model.parameters()),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def _rows(folder: Path, tokenizer: Any, job: dict[str, Any]) -> tuple[list[Row], int]:
    """All examples in tokens, without those that are too long.

    Raises:
        ValueError: none is left.
    """
    lines = (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    every = [tokenize(tokenizer, json.loads(line), job["template_args"]) for line in lines]
    rows = [row for row in every if len(row.input_ids) <= job["recipe"]["max_tokens"]]
    if not rows:
        longest = max((len(row.input_ids) for row in every), default=0)
        raise ValueError(f"no example has at most max_tokens={job['recipe']['max_tokens']} tokens (longest: {longest})")
    return rows, len(every) - len(rows)


def _dump_batches(trainer: Any, folder: Path, total: int, seed: int, n: int = 64) -> None:
    """Write batches as the model will get them, for the audit: a random sample of all.

    Args:
        trainer: Hugging Face's.
        folder: the student's.
        total: batches of the whole training.
        seed: of the draw, which is no part of the training's own random numbers.
        n: batches that are written.
    """
    drawn = sorted(random.Random(f"{seed}:audit").sample(range(total), min(n, total)))
    with open(folder / "batches.jsonl", "w", encoding="utf-8") as out:
        for number, batch in enumerate(islice(_batches(trainer), drawn[-1] + 1)):
            if number in drawn:
                kept = {name: batch[name].tolist() for name in ("input_ids", "labels", "attention_mask")}
                out.write(json.dumps({"batch": number, **kept}) + "\n")


def _batches(trainer: Any) -> Iterator[Any]:
    yield from trainer.get_train_dataloader()


def _device(gpu: bool) -> str:
    import torch

    return f"cuda:{torch.cuda.get_device_name()}" if gpu else "cpu"


def _save(model: Any, method: str, folder: Path, job: dict[str, Any]) -> None:
    """Write adapter or weights as safetensors; the parent's path on this machine stays out of them."""
    import torch

    if method == "lora":
        target = folder / "adapter.part"
        model.save_pretrained(target, safe_serialization=True)
        config = json.loads((target / "adapter_config.json").read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = job["model_id"]
        config["target_modules"] = sorted(config["target_modules"])  # a set: its order changes from run to run
        (target / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
        (target / "README.md").unlink(missing_ok=True)
        return
    target = folder / "model.part"
    model.to(torch.bfloat16).save_pretrained(target, safe_serialization=True)
    copy_unchanged(Path(job["model"]), target)


if __name__ == "__main__":
    do_job(train, sys.argv[1], int(sys.argv[2]))
