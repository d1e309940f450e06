"""The audit: a sound student passes every check; each planted fault fails exactly the check that is there for it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llmhar import paths
from llmhar.ask.models import Local, ModelSpec
from llmhar.ask.trained import RECORD
from llmhar.data.events import SensorEvent, Session, Window
from llmhar.distill.audit import CHECKS, IGNORED, AuditError, audit, prompt_sha256, refuse
from llmhar.distill.examples import Example, data_hash, write_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student
from llmhar.distill.traces import Trace
from llmhar.distill.train_child import _dump_batches, tokenize
from llmhar.records import Fingerprint

EVENT = SensorEvent(0, datetime(2000, 1, 3), "kitchen", "fridge", "OPENED")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if opens %}<think>{% endif %}{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<pad>")
ANSWER = '[{"id": 0, "activity": "Küche – prepared"}]'
THOUGHT = f"<think>\n0: fridge near the kettle, cooking\n</think>\n\n{ANSWER}"
MERGED = {"max_abs_logit_diff": 1e-4, "n_prompts": 16, "same_argmax_share": 1.0, "dtype": "float32"}
N_SHOWN = 4
"""Examples that the recorded batches hold; there is one more."""


def byte_tokenizer() -> Tokenizer:
    """One token a byte, marks of ChatML and of thinking as tokens of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    made.add_tokens(["<think>", "</think>"])
    return made


class Rendering:
    """What trainer.tokenize needs of a transformers tokenizer, written without the audit's code."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.eos_token_id = tokenizer, tokenizer.token_to_id("<|im_end|>")

    def apply_chat_template(self, messages: Any, opens: bool = False, enable_thinking: bool = True, **_: Any) -> str:
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        block = "" if enable_thinking else "<think>\n\n</think>\n\n"
        return f"{turns}<|im_start|>assistant\n{'<think>' if opens else ''}{block}"

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)


def example(i: int, completion: str, session: str = "01") -> Example:
    messages = (
        {"role": "system", "content": "Name the activity."},
        {"role": "user", "content": f"Events:\n{i} kitchen fridge {'x' * i}"},
    )
    return Example("mural", session, i, messages, completion, f"key-{i}")


def trace(one: Example) -> Trace:
    window = Window(one.session_id, one.window_index, (EVENT,))
    session = Session(one.dataset, one.session_id, "mural", {1: "Cooking"}, (EVENT,))
    text = f"{one.completion}\n"
    return Trace(window, session, text, "stop", 0, one.request_key, "rules", Fingerprint("rules", "1", "", ""))


class Made:
    """A student's folder with all that an audit compares it with."""

    def __init__(
        self, home: Path, *, text: str = THOUGHT, sessions: tuple[str, ...] = ("01", "02"), method: str = "lora",
        template_args: dict[str, Any] | None = None, cut: int = 0,
    ) -> None:  # fmt: skip
        self.place, self.folder = home / "parent", home / "student"
        tokenizer = byte_tokenizer()
        for folder in (self.place, self.folder / "model"):
            folder.mkdir(parents=True)
            tokenizer.save(str(folder / "tokenizer.json"))
            config = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<pad>", "chat_template": CHATML}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        parent = ModelSpec(name="bytes", kind="llm", source=Local(path=self.place), template_args=template_args or {})
        self.examples = [example(i, text, sessions[i % len(sessions)]) for i in range(N_SHOWN + 1)]
        self.traces = [trace(one) for one in self.examples]
        self.arguments: dict[str, Any] = {"test_sessions": {"mural": {"09"}}, "merged": MERGED, "test_prompts": ["f"]}
        rows = [tokenize(Rendering(tokenizer), asdict(e), template_args or {}) for e in self.examples[:N_SHOWN]]
        self.batches = [batch(rows[k : k + 2], tokenizer.token_to_id("<pad>"), cut) for k in range(0, N_SHOWN, 2)]
        recipe = Recipe(student="bytes", method=method, rank=8, alpha=16)  # type: ignore[arg-type]
        weights = self.folder / ("adapter/adapter_model" if method == "lora" else "model/model")
        self.weights = weights.with_suffix(".safetensors")
        self.weights.parent.mkdir(exist_ok=True)
        self.weights.write_bytes(b"weights")
        self.adapter = {"r": 8, "lora_alpha": 16, "target_modules": sorted(recipe.targets)}
        record = {
            "name": "bytes-distilled", "recipe": recipe.model_dump(mode="json"), "template_args": template_args or {},
            "data_sha256": data_hash(self.examples), "weights_sha256": paths.file_sha256(self.weights),
            "tokenizer_sha256": parent.tokenizer_sha256(),
        }  # fmt: skip
        (self.folder / RECORD).write_text(json.dumps(record))
        self.student = Student(self.folder, parent, record)

    def checks(self) -> dict[str, bool | None]:
        write_examples(self.examples, self.folder / "examples.jsonl")
        lines = [json.dumps({"batch": i, **one}) for i, one in enumerate(self.batches)]
        (self.folder / "batches.jsonl").write_text("\n".join(lines))
        if self.student.recipe.method == "lora":
            (self.folder / "adapter" / "adapter_config.json").write_text(json.dumps(self.adapter))
        self.found = audit(self.student, traces=self.traces, **self.arguments)
        return {check.name: check.passed for check in self.found}

    def row(self) -> tuple[list[int], list[int], int, int]:
        """Ids, labels, first answer token and length of the first row, which is the shorter one of its batch."""
        ids, labels, mask = (self.batches[0][name][0] for name in ("input_ids", "labels", "attention_mask"))
        assert mask[-1] == 0
        return ids, labels, labels.index(next(x for x in labels if x != IGNORED)), sum(mask)


def batch(rows: list[Any], pad: int, cut: int) -> dict[str, Any]:
    """Right padding, as TRL's collator does; ``cut`` tokens are missing at each row's end."""
    kept = [(row.input_ids[: len(row.input_ids) - cut], row.labels[: len(row.labels) - cut]) for row in rows]
    width = max(len(ids) for ids, _ in kept)
    return {
        "input_ids": [ids + [pad] * (width - len(ids)) for ids, _ in kept],
        "labels": [labels + [IGNORED] * (width - len(labels)) for _, labels in kept],
        "attention_mask": [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in kept],
    }


def test_a_sound_student_passes_everything(tmp_path):
    made = Made(tmp_path)
    assert made.checks() == dict.fromkeys(CHECKS, True), made.found
    refuse(made.found)
    assert made.found[0].detail.startswith("4 rows, and 1 of examples in no recorded batch: ")
    assert "5 examples" in made.found[5].detail


@pytest.mark.parametrize(
    ("completion", "failed"),
    [
        (f"<think>never closed\n{ANSWER}", "thinking"),
        (f"{THOUGHT}<|im_end|> and more", "labels"),
        (f"<think>one</think><think>two</think>{ANSWER}", "thinking"),
    ],
)
def test_a_fault_beyond_the_recorded_batches_is_found(tmp_path, completion, failed):
    """The trainings of before recorded their first batches alone: what stands in none of them is put together anew."""
    made = Made(tmp_path)
    made.examples[-1] = replace(made.examples[-1], completion=completion)
    made.traces[-1] = trace(made.examples[-1])
    made.student.record["data_sha256"] = data_hash(made.examples)
    found = made.checks()
    assert [name for name, passed in found.items() if passed is False] == [failed], made.found
    (check,) = [check for check in made.found if check.name == failed]
    assert "1 wrong, the first: mural 01 window 4" in check.detail


def test_examples_that_were_too_long_to_be_trained_on_are_left_out(tmp_path):
    made = Made(tmp_path)
    made.examples[-1] = replace(made.examples[-1], completion=THOUGHT + "x" * 9_000)
    made.traces[-1] = trace(made.examples[-1])
    made.student.record["data_sha256"] = data_hash(made.examples)
    assert made.checks() == dict.fromkeys(CHECKS, True), made.found
    assert made.found[0].detail.startswith("4 rows: ")


class Tensor:
    def __init__(self, value: int) -> None:
        self.value = value

    def tolist(self) -> list[list[int]]:
        return [[self.value]]


def test_the_trainer_records_batches_of_its_whole_training(tmp_path):
    class Trainer:
        def get_train_dataloader(self) -> list[dict[str, Tensor]]:
            return [dict.fromkeys(("input_ids", "labels", "attention_mask"), Tensor(i)) for i in range(1900)]

    state = random.getstate()
    for _ in range(2):  # a resumed training records the same ones
        _dump_batches(Trainer(), tmp_path, 1900, 0)
        rows = [json.loads(line) for line in (tmp_path / "batches.jsonl").read_text().splitlines()]
        numbers = [row["batch"] for row in rows]
        assert len(set(numbers)) == 64 and numbers == sorted(numbers) and max(numbers) < 1900
        assert [row["input_ids"] for row in rows] == [[[n]] for n in numbers]
        quarters = [sum(n // 475 == quarter for n in numbers) for quarter in range(4)]
        assert min(quarters) >= 8, "drawn from all of it"
    assert random.getstate() == state, "the training's own random numbers are left alone"
    _dump_batches(Trainer(), tmp_path, 5, 0)
    assert len((tmp_path / "batches.jsonl").read_text().splitlines()) == 5


# Each fault: the check that must fail, alone, and how the fault is planted.


def shift_labels(made: Made) -> None:
    """The labels of the answer stand one place too far right."""
    _, labels, start, end = made.row()
    labels[start:end] = [labels[start], *labels[start : end - 1]]


def teach_other_words(made: Made) -> None:
    """The row's answer is one letter off, in inputs and labels alike."""
    ids, labels, start, _ = made.row()
    ids[start + 3] = labels[start + 3] = ids[start + 4]


def row_of_nobody(made: Made) -> None:
    """A row whose prompt is no example's."""
    ids, _, _, _ = made.row()
    ids[20] = ids[21]


def train_prompt(made: Made) -> None:
    ids, labels, start, _ = made.row()
    labels[start - 1] = ids[start - 1]


def train_whole_prompt(made: Made) -> None:
    ids, labels, start, _ = made.row()
    labels[:start] = ids[:start]


def train_padding(made: Made) -> None:
    ids, labels, _, end = made.row()
    labels[end] = ids[end]


def pad_left(made: Made) -> None:
    made.batches[0]["attention_mask"][0].reverse()


def ignore_row(made: Made) -> None:
    _, labels, _, _ = made.row()
    labels[:] = [IGNORED] * len(labels)


def lose_text(made: Made) -> None:
    made.traces[2] = replace(made.traces[2], text=THOUGHT.replace("cooking", "eating"))


def unknown_key(made: Made) -> None:
    del made.traces[1]


def show_test_prompt(made: Made) -> None:
    made.arguments["test_prompts"] = [prompt_sha256(made.examples[-1].messages)]


def touch_tokenizer(made: Made) -> None:
    with open(made.place / "tokenizer_config.json", "a") as out:
        out.write("\n")


def other_arguments(made: Made) -> None:
    made.student.record["template_args"] = {"enable_thinking": True}


def touch_weights(made: Made) -> None:
    made.weights.write_bytes(b"Weights")


def change_data(made: Made) -> None:
    """The last example, which is in none of the recorded batches, asks for something else."""
    asked = ({"role": "user", "content": "another window"},)
    made.examples[-1] = replace(made.examples[-1], messages=asked)


def swap_data(made: Made) -> None:
    made.examples[0], made.examples[1] = made.examples[1], made.examples[0]


def set_adapter(name: str, value: Any) -> Callable[[Made], None]:
    return lambda made: made.adapter.update({name: value})


def set_merged(**values: float) -> Callable[[Made], None]:
    return lambda made: made.arguments.update(merged=MERGED | values)


def nothing(_: Made) -> None:
    """The fault is in how the student was made."""


FAULTS: dict[str, tuple[str, Callable[[Made], None], dict[str, Any]]] = {
    "label shifted by one": ("labels", shift_labels, {}),
    "other words in a row": ("labels", teach_other_words, {}),
    "row of no example": ("labels", row_of_nobody, {}),
    "end token missing": ("labels", nothing, {"cut": 1}),
    "end token in the middle": ("labels", nothing, {"text": THOUGHT.replace("cooking", "<|im_end|>")}),
    "prompt token in the loss": ("mask", train_prompt, {}),
    "whole prompt in the loss": ("mask", train_whole_prompt, {}),
    "padding in the loss": ("mask", train_padding, {}),
    "row without loss": ("loss", ignore_row, {}),
    "second thinking block": ("thinking", nothing, {"text": f"<think>again</think>\n{THOUGHT}"}),
    "second opening mark": ("thinking", nothing, {"text": f"<think>\n{THOUGHT}"}),
    "marks in the wrong order": ("thinking", nothing, {"text": f"</think>so<think>{ANSWER}"}),
    "block in the template and in the answer": ("thinking", nothing, {"template_args": {"enable_thinking": False}}),
    "template opens a block that nobody closes": (
        "thinking", nothing, {"text": ANSWER, "template_args": {"opens": True}},
    ),
    "text differs from the store": ("traces", lose_text, {}),
    "text not in the store": ("traces", unknown_key, {}),
    "test session among the examples": ("sessions", nothing, {"sessions": ("01", "09")}),
    "test sessions of another data set": (
        "sessions", lambda made: made.arguments.update(test_sessions={"marble": {"01"}}), {},
    ),
    "test prompt among the examples": ("prompts", show_test_prompt, {}),
    "tokenizer's file changed": ("tokenizer", touch_tokenizer, {}),
    "template arguments changed": ("tokenizer", other_arguments, {}),
    "weights changed": ("weights", touch_weights, {}),
    "weights of a fully tuned student changed": ("weights", touch_weights, {"method": "full"}),
    "rank changed": ("adapter", set_adapter("r", 16), {}),
    "alpha changed": ("adapter", set_adapter("lora_alpha", 8), {}),
    "targets changed": ("adapter", set_adapter("target_modules", ["q_proj"]), {}),
    "data line changed": ("data", change_data, {}),
    "data lines swapped": ("data", swap_data, {}),
    "merged weights differ": ("merged", set_merged(max_abs_logit_diff=0.01), {}),
    "merged weights give NaN": ("merged", set_merged(max_abs_logit_diff=float("nan")), {}),
    "merged weights hardly compared": ("merged", set_merged(n_prompts=4), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_its_check_and_no_other(tmp_path, name):
    intended, plant, how = FAULTS[name]
    made = Made(tmp_path, **how)
    plant(made)
    found = made.checks()
    assert [check for check, passed in found.items() if passed is False] == [intended], made.found
    with pytest.raises(AuditError, match=rf"audit: {intended} \("):
        refuse(made.found)


def test_padding_at_the_left_is_no_padding_that_the_audit_can_vouch_for(tmp_path):
    made = Made(tmp_path)
    pad_left(made)
    assert made.checks()["mask"] is False


def test_every_check_has_a_fault_that_fails_it():
    assert {intended for intended, _, _ in FAULTS.values()} == set(CHECKS)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        (ANSWER, {}),
        (ANSWER, {"enable_thinking": False}),
        (THOUGHT, {"opens": True}),
        (THOUGHT.removeprefix("<think>").strip(), {"opens": True}),
    ],
    ids=["no reasoning", "empty block of the template", "template opens the block", "teacher's template opened it too"],
)
def test_thinking_is_counted_as_the_template_writes_it(tmp_path, text, args):
    made = Made(tmp_path, text=text, template_args=args)
    assert set(made.checks().values()) == {True}, made.found


def test_several_answers_to_one_prompt_are_told_apart(tmp_path):
    made = Made(tmp_path)
    second = replace(made.examples[0], completion=ANSWER, request_key="key-0-second")
    made.examples.append(second)
    made.traces.append(trace(second))
    made.student.record["data_sha256"] = data_hash(made.examples)
    assert set(made.checks().values()) == {True}, made.found


def test_what_cannot_be_compared_is_not_run_and_not_refused(tmp_path):
    made = Made(tmp_path, method="full")
    made.traces, made.arguments = [], {"test_sessions": {"mural": ()}}
    not_run = {name for name, passed in made.checks().items() if passed is None}
    assert not_run == {"traces", "prompts", "adapter", "merged"}
    refuse(made.found)


@pytest.mark.parametrize("gone", ["batches.jsonl", "examples.jsonl", "adapter/adapter_config.json"])
def test_missing_files_are_failed_checks_and_no_exception(tmp_path, gone):
    made = Made(tmp_path)
    made.checks()
    (made.folder / gone).unlink()
    found = {check.name: check for check in audit(made.student, test_sessions={"mural": ()})}
    name = {"batches.jsonl": "labels", "examples.jsonl": "sessions"}.get(gone, "adapter")
    assert found[name].passed is False and "cannot be checked: FileNotFoundError" in found[name].detail
    assert found["weights"].passed is True


def test_no_recorded_batch_proves_nothing(tmp_path):
    made = Made(tmp_path)
    made.batches = []
    found = made.checks()
    assert [name for name, passed in found.items() if passed is False] == ["labels", "mask", "loss", "thinking"]
    made = Made(tmp_path / "again")
    made.arguments["n_batches"] = 1
    made.checks()
    assert made.found[0].detail.startswith("2 rows")


@pytest.mark.real
@pytest.mark.parametrize("fixture", ["qwen3_tiny", "smollm2"])
def test_real_tokenizers_render_and_spell_as_transformers_does(tmp_path, fixture, request):
    """Rows made by transformers are recognized; one token of the prompt in the loss is found."""
    transformers = pytest.importorskip("transformers")
    parent = request.getfixturevalue(fixture)
    tokenizer = transformers.AutoTokenizer.from_pretrained(parent.locate())
    made = Made(tmp_path)
    made.student = Student(made.folder, parent, made.student.record)
    made.student.record.update({
        "template_args": dict(parent.template_args), "tokenizer_sha256": parent.tokenizer_sha256(),
    })  # fmt: skip
    rows = [tokenize(tokenizer, asdict(e), dict(parent.template_args)) for e in made.examples[:N_SHOWN]]
    made.batches = [batch(rows, tokenizer.pad_token_id, 0)]
    assert set(made.checks().values()) == {True}, made.found
    ids, labels = made.batches[0]["input_ids"][0], made.batches[0]["labels"][0]
    start = labels.index(next(label for label in labels if label != IGNORED))
    labels[start - 1] = ids[start - 1]
    assert [name for name, passed in made.checks().items() if not passed] == ["mask"]
