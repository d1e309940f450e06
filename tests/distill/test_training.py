"""Training with real (tiny) weights on the CPU: one contract over back ends, then what a trained student can do.

A training costs its child's start (about ten seconds), so fixtures share what is trained. One thread: then a training
repeats to the last bit.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from llmhar import paths
from llmhar.ask import inference, recorded_answers, trained
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.child import FREE_THREADS, child_environment
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import MODELS, Local, ModelError, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, narrow, prepare, training_task
from llmhar.ask.trained import students_home, weights_file
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.distill import child, merging, recorded, training
from llmhar.distill.audit import audit
from llmhar.distill.cards import CARD, NO_WEIGHTS, students_table, update_about
from llmhar.distill.examples import Example, data_hash, make_examples
from llmhar.distill.merging import merge
from llmhar.distill.recipe import BACKENDS, PROJECTIONS, Recipe
from llmhar.distill.students import Student
from llmhar.distill.traces import collect_traces
from llmhar.distill.train_child import IGNORED
from llmhar.distill.training import TrainingError, train_student
from llmhar.records import Fingerprint, Generation, Sampling
from llmhar.text.prompt import PromptForm
from tests.ask.engines.test_contract import template
from tests.conftest import children_running, need
from tests.opened import Opened

pytestmark = pytest.mark.real
TINY = Recipe(student="qwen3-tiny", rank=8, alpha=64, max_steps=6, batch_size=2, accumulate=2, learning_rate=2e-2,
              warmup_steps=1, dtype="float32", sort_by_length=False, save_every=2)  # fmt: skip
FULL = Recipe(student="smollm2-135m-l4", method="full", max_steps=3, batch_size=1, accumulate=1, learning_rate=1e-3,
              warmup_steps=0)  # fmt: skip
BY_HEART = Recipe(student="qwen3-tiny", method="full", max_steps=36, batch_size=2, accumulate=1, learning_rate=1e-2,
                  schedule="constant", warmup_steps=0, weight_decay=0.0)  # fmt: skip
"""The tiny model knows two examples after 30 steps of half a second; a pruned one takes 30 of two seconds."""
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Training windows of one event, with the shortest prompt."""
    test = prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=1, size=1),
        form=PromptForm(answer="name", wording="short", serializer="sentences", rules=False),
    )
    own = training_task(test, window_size=1, n_sessions=1)
    return narrow(own, {(w.session_id, w.index) for w in own.windows[:11]}, "11 windows")


@pytest.fixture(scope="module")
def examples(task: Task, tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    with Store(tmp_path_factory.mktemp("store") / "store.sqlite") as store:
        taught = collect_traces(task, MODELS["rules"], store, asking=Asking(progress=False))
    return make_examples(taught.traces, dict(task.prompts), test_sessions=[])


def train(recipe: Recipe, examples: list[Example], **how: Any) -> Student:
    return train_student(recipe, examples, progress=False, threads=1, **how)


@pytest.fixture(scope="module")
def tuned(examples: list[Example], qwen3_tiny: ModelSpec) -> dict[str, Student]:
    """Back end -> the same training by it."""
    return {
        backend: train(TINY.model_copy(update={"backend": backend}), examples, name=f"tiny-{backend}")
        for backend in BACKENDS
    }


@pytest.fixture(scope="module")
def whole(examples: list[Example]) -> Student:
    """All weights of a pruned SmolLM2 (its embeddings are tied), for three steps."""
    need("smollm2-135m-l4")
    return train(FULL, examples[:3], name="whole")


@pytest.fixture(scope="module")
def parrot(examples: list[Example], qwen3_tiny: ModelSpec) -> Student:
    """Trained on two examples until it knows them by heart."""
    other = next(e for e in examples if e.completion[-20:] != examples[0].completion[-20:])
    return train(BY_HEART, [examples[0], other], name="parrot")


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training may start; its folder is what the error says."""

    def refuse(module: str, folder: Path, **_: Any) -> dict[str, Any]:
        raise AssertionError(f"started in {folder}")

    monkeypatch.setattr(training, "run_child", refuse)


def ask(
    task: Task, models: list[ModelSpec], engine: Engine, tmp_path: Path, max_tokens: int = 200
) -> list[list[inference.Answer]]:
    """What each model answers, all through one engine."""
    found = []
    with Store(tmp_path / "store.sqlite") as store:
        for model in models:
            asks = inference.make_asks(task, model, asking=Asking(sampling=Sampling(max_tokens=max_tokens)))
            inference.run_asks(
                asks, model, store, asking=Asking(progress=False, open_with=lambda: contextlib.nullcontext(engine))
            )
            found.append(inference.collect(asks, store))
    return found


# The contract of back ends.


def test_back_ends_learn_the_same(tuned):
    curves = [student.losses for student in tuned.values()]
    assert [step for step, _ in curves[0]] == [1, 2, 3, 4, 5, 6]
    for other in curves[1:]:
        assert [loss for _, loss in other] == pytest.approx([loss for _, loss in curves[0]], rel=1e-3)
    assert curves[0][-1][1] < curves[0][0][1]


REPORTS = """
from types import SimpleNamespace
import torch
from llmhar.distill import train_child
train_child.CoresLeft = lambda: iter([2, 1, 1]).__next__
torch.set_num_threads(2)
reporter = train_child._reporter(lambda said: None, 60, None)
for step in range(1, 61):
    reporter.on_step_end(None, SimpleNamespace(global_step=step), None)
print(torch.get_num_threads(), train_child.span_words(reporter.threads))
"""


@pytest.mark.parametrize(("free", "said"), [({FREE_THREADS: "1"}, "1 1 to 2"), ({}, "2 2")])
def test_threads_follow_the_cores_that_are_left_unless_they_are_given(free, said):
    environment = child_environment(hub=False, threads=2) | free
    done = subprocess.run([sys.executable, "-c", REPORTS], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == said, done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_student_is_a_folder_that_says_what_made_it(tuned, examples, qwen3_tiny, backend):
    student = tuned[backend]
    record = json.loads((student.folder / "student.json").read_text())
    assert student.recipe == TINY.model_copy(update={"backend": backend})
    assert set(record["recipe"]) == set(Recipe.model_fields)  # the whole recipe, defaults too
    assert record["data_sha256"] == data_hash(examples) == data_hash(student.examples)
    assert (record["model_id"], record["revision"]) == (qwen3_tiny.hub_id, qwen3_tiny.revision)
    assert record["weights_sha256"] == paths.file_sha256(student.folder / "adapter" / "adapter_model.safetensors")
    assert record["train_sessions"] == [["simulated", examples[0].session_id]]
    assert (record["device"], record["dtype"], record["threads"], record["too_long"]) == ("cpu", "float32", 1, 0)
    assert record["packages"]["torch"] and record["packages"][backend]
    assert 0 < record["trainable"] < record["total"] and record["seconds"] > 0 and record["peak_rss"] > 1e8
    assert student.folder.parent == students_home() and student.spec.name == f"tiny-{backend}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_adapter_is_safetensors_without_this_machine_in_it(tuned, backend):
    folder = tuned[backend].folder
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {f.relative_to(folder).as_posix() for f in files} == {
        ".lock", "job.json", "student.json", "examples.jsonl", "batches.jsonl", "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }  # fmt: skip
    assert not [file for file in files if file.suffix in PICKLES]
    config = (folder / "adapter" / "adapter_config.json").read_text()
    for place in (paths.cache(), paths.home(), Path.home(), paths.root()):
        assert str(place) not in config and str(place) not in (folder / "student.json").read_text()
    settings = json.loads(config)
    assert (settings["r"], settings["lora_alpha"], sorted(settings["target_modules"])) == (8, 64, sorted(PROJECTIONS))
    with safe_open(folder / "adapter" / "adapter_model.safetensors", framework="np") as weights:
        names = list(weights.keys())
    assert len(names) == 2 * 7 * 2 and all("lora_" in name for name in names)  # A and B of seven maps in two layers


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_are_what_inference_sees_and_what_the_teacher_wrote(tuned, examples, qwen3_tiny, backend):
    """Written against the template and the tokenizer alone: none of the trainer's code is asked."""
    words = Tokenizer.from_file(str(qwen3_tiny.locate() / "tokenizer.json"))
    wanted = {
        (
            template("qwen3-tiny").render(messages=e.messages, add_generation_prompt=True, enable_thinking=True),
            f"{e.completion}<|im_end|>",
        )
        for e in examples
    }
    rows = [row for batch in tuned[backend].batches for row in zip(*(batch[k] for k in KEYS))]
    assert len(rows) == TINY.max_steps * TINY.examples_per_step
    seen = set()
    for ids, labels, mask in rows:
        ids = ids[: sum(mask)]
        assert mask == [1] * len(ids) + [0] * (len(mask) - len(ids)) and set(labels[len(ids) :]) <= {IGNORED}
        start = next(i for i, label in enumerate(labels) if label != IGNORED)
        assert labels[start : len(ids)] == ids[start:]
        seen.add(tuple(words.decode(part, skip_special_tokens=False) for part in (ids[:start], ids[start:])))
    assert seen == wanted


KEYS = ("input_ids", "labels", "attention_mask")


@pytest.mark.slow
def test_one_vllm_serves_all_students_of_a_base(tuned, task, qwen3_tiny, tmp_path):
    models = [student.spec for student in tuned.values()]
    assert all(model.revision == qwen3_tiny.revision for model in models)
    two = narrow(task, {(w.session_id, w.index) for w in task.windows[:2]}, "two windows")
    with open_engine("vllm", qwen3_tiny, {"adapters": [m.adapter.path for m in models], "threads": 1}) as engine:
        *own, base = ask(two, [*models, qwen3_tiny], engine, tmp_path)
    for student, answers in zip(tuned.values(), own):
        assert all(answer.stored is not None for answer in answers), answers
        assert {a.ask.request.adapter_sha256 for a in answers} == {student.record["weights_sha256"]}
    assert len({a.ask.request.key for answers in [*own, base] for a in answers}) == 2 * (len(models) + 1)
    said = [[a.stored.generation.text for a in answers] for answers in [*own, base]]
    assert said[0] != said[-1]  # the adapter is at work


# All weights.


@pytest.fixture(params=["parrot", pytest.param("whole", marks=pytest.mark.slow)])
def fully_tuned(request: pytest.FixtureRequest) -> Student:
    """A student whose weights were all tuned: a tiny one; the slow one is cut out of a real model."""
    return request.getfixturevalue(request.param)


def test_a_fully_tuned_student_is_a_model_of_its_own(fully_tuned):
    whole = fully_tuned
    spec, parent = whole.spec, whole.parent
    assert len(whole.losses) == whole.recipe.max_steps
    assert whole.record["trainable"] == whole.record["total"] == parent.n_params
    assert spec.source == Local(path=whole.folder / "model") and spec.adapter is None
    assert spec.name == ("whole" if whole.recipe == FULL else "parrot")
    assert spec.revision == f"{parent.revision}+tuned:{whole.record['weights_sha256'][:12]}"
    assert spec.tokenizer_sha256() == parent.tokenizer_sha256()
    assert not [file for file in whole.folder.rglob("*") if file.suffix in PICKLES]
    assert str(paths.cache()) not in (whole.folder / "model" / "config.json").read_text()


def test_its_weights_are_the_parents_moved(fully_tuned):
    whole = fully_tuned
    with (
        safe_open(whole.folder / "model" / "model.safetensors", framework="np") as new,
        safe_open(whole.parent.locate() / "model.safetensors", framework="np") as old,
    ):
        names = sorted(new.keys())
        assert names == sorted(old.keys())
        assert [new.get_slice(n).get_shape() for n in names] == [old.get_slice(n).get_shape() for n in names]
        assert {new.get_slice(name).get_dtype() for name in names} == {"BF16"}
    assert paths.file_sha256(whole.folder / "model" / "model.safetensors") == whole.record["weights_sha256"]


@pytest.mark.slow  # a tiny one answers below, word for word
def test_a_fully_tuned_student_answers(whole, task, tmp_path):
    one = narrow(task, {(w.session_id, w.index) for w in task.windows[:1]}, "a window")
    with open_engine("transformers", whole.spec, {"threads": 1}) as engine:
        ((answer,),) = ask(one, [whole.spec], engine, tmp_path, max_tokens=8)
    assert answer.stored and answer.stored.generation.output_tokens > 0, answer.error
    assert answer.ask.request.revision == whole.spec.revision and answer.ask.request.adapter_sha256 is None


def test_losses_fall_until_the_examples_are_known_by_heart(parrot):
    losses = [loss for _, loss in parrot.losses]
    assert len(losses) == BY_HEART.max_steps
    assert losses[11] < 0.3 * losses[0] and losses[-1] < 0.05


def test_a_student_that_knows_its_examples_says_what_the_teacher_wrote(parrot, task, tmp_path):
    """End to end: template, mask, end token, saved weights and serving agree, or not a character would be right."""
    known = {(e.session_id, e.window_index): e.completion for e in parrot.examples}
    with open_engine("transformers", parrot.spec, {"threads": 1}) as engine:
        (answers,) = ask(narrow(task, set(known), "two windows"), [parrot.spec], engine, tmp_path)
    made = {(a.ask.session_id, a.ask.window_index): a.stored.generation for a in answers if a.stored}
    assert {key: generation.text for key, generation in made.items()} == known
    assert {generation.finish_reason for generation in made.values()} == {"stop"}  # it learnt to end, too


# Going on, opening again, failing.


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the child when it has reported this step."""
    show = child._show

    def shown(bar: Any, message: dict[str, Any], title: str) -> None:
        show(bar, message, title)
        if message.get("step") == step:
            for child in children_running("llmhar.distill.train_child"):
                child.kill()

    monkeypatch.setattr(child, "_show", shown)


def test_a_killed_training_goes_on_and_ends_the_same(tuned, examples, tmp_path, monkeypatch):
    """kill -9 after the first checkpoint; another checkpoint is left half-written, as by a kill while it was saved."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        with pytest.raises(TrainingError, match=r"exit code -9.*\.log.*go on from the last checkpoint") as caught:
            train(TINY, examples)
    (folder,) = students_home().iterdir()
    assert folder.name == tuned["peft"].folder.name and str(folder) in str(caught.value)
    assert not (folder / "student.json").exists()
    saved = folder / "checkpoints" / "checkpoint-2"
    assert saved.is_dir()
    torn = saved.with_name("checkpoint-5")
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes((saved / "adapter_model.safetensors").read_bytes()[:1000])
    student, whole = train(TINY, examples), tuned["peft"]
    assert student.record["resumed_at"] in (2, 4) and whole.record["resumed_at"] == 0
    assert student.losses == whole.losses
    assert student.record["weights_sha256"] == whole.record["weights_sha256"]
    assert not (folder / "checkpoints").exists()


def test_the_same_inputs_open_the_student_again(tuned, examples, no_child):
    again = train(TINY, examples, name="another name")
    assert again.folder == tuned["peft"].folder and again.losses == tuned["peft"].losses
    assert (again.spec.name, again.spec.adapter) == ("another name", tuned["peft"].spec.adapter)
    assert train(TINY.model_copy(update={"save_every": 5}), examples).folder == again.folder


def test_anything_else_trains_another(tuned, examples, no_child):
    started = set()
    for recipe, data in (
        (TINY.model_copy(update={"seed": 1}), examples),
        (TINY.model_copy(update={"learning_rate": 1e-3}), examples),
        (TINY, examples[:-1]),
        (TINY, examples[::-1]),
    ):
        with pytest.raises(AssertionError, match="started in") as caught:
            train(recipe, data)
        started.add(str(caught.value))
    assert len(started) == 4 and not any(student.folder.name in s for s in started for student in tuned.values())


def test_a_student_whose_weights_are_gone_is_trained_again(tuned, examples, tmp_path, monkeypatch, no_child):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    folder = students_home() / tuned["peft"].folder.name
    folder.mkdir(parents=True)
    (folder / "student.json").write_bytes((tuned["peft"].folder / "student.json").read_bytes())
    with pytest.raises(AssertionError, match=f"started in .*{folder.name}"):
        train(TINY, examples)


def test_a_recorded_student_is_opened_instead_of_a_training(tuned, examples, tmp_path, monkeypatch, no_child):
    monkeypatch.setattr(paths, "record", lambda: tmp_path / "record")
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    shutil.copytree(tuned["peft"].folder, students_home() / tuned["peft"].folder.name)
    here = train(TINY, examples)
    merge(here, progress=False, threads=1)
    target = recorded.record_student(here)
    assert not (target / "examples.jsonl").exists() and not (target / "merged").exists()
    file = target / "adapter" / "adapter_model.safetensors"
    with safe_open(file, "np") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
    assert file.stat().st_size < 0.6 * weights_file(tuned["peft"].folder, "lora").stat().st_size
    again = train(TINY, examples)
    assert again.record["rounded_to"] == "bfloat16" and again.record["weights_sha256"] == paths.file_sha256(file)
    assert trained.merge_report(again.folder, again.record) is None, "merged before it was rounded"

    shutil.rmtree(students_home())  # another machine
    opened = train(TINY, examples)
    assert opened.record == again.record and opened.examples == examples and opened.batches == here.batches
    _, report = merge(opened, progress=False, threads=1)
    assert report["adapter_sha256"] == paths.file_sha256(file) and report["same_argmax_share"] > 0.99

    (students_home() / opened.folder.name / "student.json").unlink()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(AssertionError, match="started in"):
        train(TINY, examples)
    with pytest.raises(ModelError, match="not recorded"):
        recorded.record_student(replace(opened, round=2))


def test_a_student_recorded_without_its_weights_gives_its_recorded_answers_and_no_others(
    whole, examples, task, tmp_path, monkeypatch, no_child
):
    class Whole(Opened):
        in_flight = 4

        def fingerprint(self):
            return Fingerprint("vllm", "1", "bfloat16", "cpu")

        def stream(self, requests):
            return (Generation(each.key, "[]", "stop", output_tokens=1, seconds=0.1) for each in requests)

    asks = inference.make_asks(task, whole.spec)
    keys = [one.request.key for one in asks]
    monkeypatch.setattr(paths, "record", lambda: tmp_path / "record")
    target = recorded.record_student(whole)
    assert not list(target.rglob("*.safetensors"))
    with Store(tmp_path / "store.sqlite") as store:
        inference.run_asks(asks, whole.spec, store, Asking(progress=False, open_with=Whole))
        recorded_answers.write(store, keys[1:], tmp_path / "record" / recorded_answers.FILE)

    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))  # another machine
    with pytest.raises(AssertionError, match="started in"):
        train(FULL, examples[:3])
    monkeypatch.setenv(recorded_answers.VARIABLE, str(tmp_path / "record"))
    recorded_answers._read.cache_clear()
    opened = train(FULL, examples[:3], name="whole")
    assert (opened.spec.revision, opened.batches) == (whole.spec.revision, whole.batches)
    assert merge(opened) == (opened.spec, {})
    found = {check.name: check.passed for check in audit(opened, test_sessions={"simulated": []})}
    assert False not in found.values() and found["weights"] is None
    update_about(opened.folder, {"data": "made up"})
    assert NO_WEIGHTS in (opened.folder / CARD).read_text() and MODELS[opened.folder.name].source.answers_only
    assert [row["state"] for row in students_table()] == ["answers only"]
    with Store(tmp_path / "other.sqlite") as store:
        asks = inference.make_asks(task, opened.spec)
        assert [one.request.key for one in asks] == keys
        assert inference.run_asks(asks[1:], opened.spec, store, Asking(progress=False)).n_asked == 0
        with pytest.raises(ModelError, match="without --recorded"):
            inference.run_asks(asks, opened.spec, store, Asking(progress=False, engine="transformers"))
    recorded_answers._read.cache_clear()
    monkeypatch.setenv(recorded_answers.VARIABLE, "")
    with pytest.raises(AssertionError, match="started in"):
        train(FULL, examples[:3])


@pytest.mark.slow
def test_logits_of_the_answer_alone_change_nothing(tuned, examples):
    """Batches of two with padding, two batches a step: TRL's own loss is the reference."""
    slow = train(TINY.model_copy(update={"answer_logits_only": False}), examples)
    assert any(0 in row for batch in slow.batches for row in batch["attention_mask"])
    assert [loss for _, loss in slow.losses] == pytest.approx([loss for _, loss in tuned["peft"].losses], rel=1e-4)


LOSS = """
import sys
from types import SimpleNamespace as Space
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM
from llmhar.distill.train_child import IGNORED, _trainer_class
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
    num_attention_heads=4, num_key_value_heads=4, initializer_range=0.3, tie_word_embeddings=True))
model.get_input_embeddings().weight.requires_grad_(sys.argv[1] == "moving")
moving = [p for p in model.parameters() if p.requires_grad]
ids = torch.randint(0, 512, (2, 40))
labels, mask = ids.clone(), torch.ones_like(ids)
labels[:, :10] = IGNORED
labels[1, 30:], mask[1, 30:] = IGNORED, 0
n = (labels[:, 1:] != IGNORED).sum()
mixed = lambda: torch.autocast("cpu", torch.bfloat16)
def reference():
    with mixed():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
trainer = Space(accelerator=Space(unwrap_model=lambda m: m, autocast=mixed), args=Space(bf16=True), head=None)
compute = _trainer_class(answer_logits_only=True).compute_loss
batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
gradient = lambda loss: torch.cat([g.flatten() for g in torch.autograd.grad(loss, moving)])
def apart():
    ours, whole = compute(trainer, model, batch, num_items_in_batch=n), reference()
    near = abs(ours.item() / whole.item() - 1)
    a, b = gradient(ours), gradient(whole)
    return near, ((a - b).norm() / b.norm()).item()
first = apart()
optimizer = torch.optim.AdamW(moving, lr=3e-3)
for _ in range(800):
    optimizer.zero_grad(); loss = reference(); loss.backward(); optimizer.step()
    if loss.item() < 0.01: break
print(*first, loss.item(), *apart())
"""


@pytest.mark.parametrize("head", ["moving", "frozen"])
def test_loss_and_gradient_in_mixed_formats_are_those_of_all_logits_however_sure_the_model_is(head):
    done = subprocess.run([sys.executable, "-c", LOSS, head], env=child_environment(hub=False, threads=1),
                          capture_output=True, text=True, timeout=180)  # fmt: skip
    assert done.returncode == 0, done.stderr
    loss_apart, gradient_apart, last_loss, sure_loss_apart, sure_gradient_apart = map(float, done.stdout.split())
    assert last_loss < 0.01 and max(loss_apart, sure_loss_apart) < 0.01, done.stdout
    assert max(gradient_apart, sure_gradient_apart) < 0.03, done.stdout


def test_weights_in_few_bits_are_not_trained(examples, no_child):
    with pytest.raises(TrainingError, match="cannot be trained in few bits: train llmhar-home-135m"):
        train(TINY, examples, parent=MODELS["llmhar-home-135m-int8"])


def test_examples_that_are_all_too_long(examples, qwen3_tiny):
    with pytest.raises(TrainingError, match=r"no example has at most max_tokens=16 tokens \(longest: \d{3}\)"):
        train(TINY.model_copy(update={"max_tokens": 16}), examples)


# Merged weights, and a teacher's distribution.


def test_merged_weights_are_base_and_adapter(tuned, monkeypatch):
    student = tuned["peft"]
    spec, report = merge(student, progress=False, threads=1)
    assert report["n_prompts"] == 11 and report["max_abs_logit_diff"] < 1e-2 and report["same_argmax_share"] > 0.99
    assert spec.adapter is None and spec.name == "tiny-peft-merged" and "+merged:" in spec.revision
    assert spec.tokenizer_sha256() == student.parent.tokenizer_sha256()
    folder = spec.locate()
    with (
        safe_open(folder / "model.safetensors", framework="np") as new,
        safe_open(student.parent.locate() / "model.safetensors", framework="np") as old,
    ):
        assert sorted(new.keys()) == sorted(old.keys())
    before = student.parent.locate() / "model.safetensors"
    assert paths.file_sha256(folder / "model.safetensors") != paths.file_sha256(before)
    monkeypatch.setattr(merging, "run_child", None)  # the second call starts no child
    assert merge(student) == (spec, report)


@pytest.mark.slow
def test_a_model_has_nothing_to_learn_from_its_own_distribution(whole, examples):
    recipe = FULL.model_copy(update={"objective": "gkd", "on_policy": 0.5, "max_new_tokens": 8, "max_steps": 2})
    with pytest.raises(TrainingError, match="needs a teacher"):
        train(recipe, examples[:3])
    student = train(recipe, examples[:3], parent=whole.spec, teacher=whole.spec)
    assert abs(student.losses[0][1]) < 1e-4  # then Adam makes full steps of gradients that are rounding errors
    assert student.record["teacher"]["revision"] == whole.spec.revision
    other = train(recipe, examples[:3], parent=whole.spec, teacher=MODELS["smollm2-135m-l4"])
    assert other.losses[0][1] > 1e-3


def test_nothing_is_left_running(tuned):
    assert not children_running("llmhar.distill")
