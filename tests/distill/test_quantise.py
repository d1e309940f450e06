"""Quantised models: what is refused, what stands after a failure, how near int8 comes to the weights it was made of.

The engine that serves them meets the contract in tests/ask/engines/test_contract.py.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.child import child_environment
from llmhar.ask.engines.registry import EngineError, open_engine
from llmhar.ask.models import MODELS, Adapter, HubSource, Local, ModelError, ModelSpec
from llmhar.distill import quantise as module
from llmhar.distill.quantise import n_bytes, quantise
from llmhar.records import Generation, Request, Sampling
from llmhar.text.schema import answer_schema
from tests.conftest import children_running, need
from tests.memory import peak_memory

NAME = "smollm2-135m-l4"
PROMPTS = ("What is the capital of France?", "The stove in the kitchen is on.", "Write one sentence about a dog.")
needs_tool = pytest.mark.skipif(importlib.util.find_spec("onnxruntime_genai") is None, reason="no onnxruntime-genai")


def ask(said: str, **sampling) -> Request:
    chat = ({"role": "system", "content": "A home. " * 40}, {"role": "user", "content": said})
    return Request("m", "r", "t", chat, sampling=Sampling(**{"max_tokens": 3, **sampling}))


def bound(max_tokens: int, schema: dict) -> Request:
    return replace(ask("stove on", max_tokens=max_tokens), schema=schema)


def answers(engine: Engine, requests: list[Request]) -> list[Generation]:
    found = {g.request_key: g for g in engine.stream(requests)}
    return [found[r.key] for r in requests]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("LLMHAR_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def int8() -> ModelSpec:
    return quantise(need(NAME))


@pytest.fixture
def folder(tmp_path) -> Path:
    """As much of a model's folder as is looked at before the conversion."""
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path


def student(folder: Path, **more) -> ModelSpec:
    return ModelSpec(name="student", kind="llm", source=Local(path=folder), revision="1", **more)


# Without weights.


def test_an_adapter_must_be_merged_first(folder):
    with pytest.raises(ModelError, match="merge it"):
        quantise(student(folder, adapter=Adapter(path=folder, sha256="ab")))


def test_weights_must_be_here(tmp_path):
    with pytest.raises(ModelError, match="no weights"):
        quantise(student(tmp_path))
    with pytest.raises(ModelError, match="models fetch hubby"):
        quantise(ModelSpec(name="hubby", kind="llm", hub_id="a/b", source=HubSource(kind="hub")))
    with pytest.raises(ModelError, match="no weights"):
        n_bytes(MODELS["rules"])


def test_bytes_are_those_of_weights_and_adapter(folder):
    assert n_bytes(student(folder)) == 5
    (folder / "adapter_model.safetensors").write_bytes(b"123")
    (folder / "model.onnx").write_bytes(b"12")
    (folder / "model.onnx.data").write_bytes(b"1234")
    assert n_bytes(student(folder)) == 5 + 3 + 2 + 4
    lora = folder / "lora"
    lora.mkdir()
    (lora / "adapter_model.safetensors").write_bytes(b"1234567")
    assert n_bytes(student(folder, adapter=Adapter(path=lora, sha256="ab"))) == 14 + 7


def test_the_tool_may_be_absent(folder, monkeypatch):
    monkeypatch.setattr(module, "TOOL", "no-such-tool")
    with pytest.raises(ModelError, match="not installed"):
        quantise(student(folder))


@needs_tool
def test_a_failed_conversion_says_why_and_leaves_nothing(folder, home):
    with pytest.raises(ModelError, match=r"cannot quantise .* log: ") as caught:
        quantise(student(folder))
    assert "\n" not in str(caught.value)
    assert not [path for path in (home / "students").iterdir() if "student" in path.name or "quantise" in path.name]


def test_peak_memory_finds_a_peak():
    code = "import time; time.sleep(0.5); a = bytearray(80_000_000); time.sleep(0.5); del a; time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", code]) as process, peak_memory(process.pid) as peak:
        before = psutil.Process(process.pid).memory_info().rss
        process.wait()
    assert 78_000_000 < peak.bytes - before < 120_000_000
    if sys.platform == "linux":
        assert peak.since_start is not None and abs(peak.since_start - peak.bytes) < 5_000_000
    with peak_memory(2**22 + 1) as nobody:
        pass
    assert (nobody.bytes, nobody.since_start) == (0, None)


DRAWS = """
import numpy as np
from llmhar.ask.engines.onnx import choose
from llmhar.records import Sampling
logits = np.log(np.array([0.05, 0.4, 0.3, 0.15, 0.1], dtype=np.float32))
def shares(**wanted):
    random = np.random.default_rng(0)
    drawn = [choose(logits, Sampling(temperature=1.0, **wanted), random) for _ in range(20000)]
    return np.bincount(drawn, minlength=5) / len(drawn)
def near(found, expected):
    assert np.abs(found - np.array(expected)).max() < 0.015, found
near(shares(), [0.05, 0.4, 0.3, 0.15, 0.1])
near(shares(top_k=2), [0, 4 / 7, 3 / 7, 0, 0])
near(shares(top_p=0.6), [0, 4 / 7, 3 / 7, 0, 0])  # as vLLM: the token that crosses top_p is kept
near(shares(top_p=0.8), [0, 8 / 17, 6 / 17, 3 / 17, 0])
near(shares(top_p=1e-6), [0, 1, 0, 0, 0])
squares = logits * 2
assert choose(logits, Sampling(), np.random.default_rng(0)) == 1
cold = np.random.default_rng(0)
drawn = [choose(logits, Sampling(temperature=0.5), cold) for _ in range(20000)]
near(np.bincount(drawn, minlength=5) / 20000, np.exp(squares) / np.exp(squares).sum())
"""


@needs_tool
def test_the_sampler_draws_what_is_asked():
    environment = child_environment(hub=False, threads=1)
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    subprocess.run([sys.executable, "-c", DRAWS], env=environment, check=True, timeout=120)


STUCK = """
from types import SimpleNamespace
import numpy as np
from llmhar.ask.engines.onnx import OnnxBackend
from llmhar.records import Request
class Stuck:  # as llguidance: a matcher that cannot go on allows the end alone
    def compute_logit_bias(self): return bytes([0, 0, 200])
    def is_error(self): return True
    def get_error(self): return "no more room"
backend = object.__new__(OnnxBackend)
backend._ends = {2}
backend._generator = SimpleNamespace(get_logits=lambda: np.ones((1, 1, 3), dtype=np.float32))
try:
    print(backend._decode(Request("m", "r", "t", ()), Stuck(), 9, SimpleNamespace(interrupted=False)))
except ValueError as error:
    assert str(error) == "schema: no more room", error
else:
    raise AssertionError("an answer that could not go on is none")
"""


@needs_tool
def test_an_answer_that_its_schema_leaves_no_room_for_is_an_error():
    environment = child_environment(hub=False, threads=1)
    subprocess.run([sys.executable, "-c", STUCK], env=environment, check=True, timeout=120)


# With weights.


@pytest.mark.real
def test_int8_is_the_same_model_in_fewer_bytes(int8, home):
    parent = MODELS[NAME]
    assert (int8.name, int8.engine, int8.n_params) == (f"{NAME}-int8", "onnx", parent.n_params)
    assert re.fullmatch(re.escape(parent.revision) + r"\+int8:[0-9a-f]{12}", int8.revision)
    assert int8.tokenizer_sha256() == parent.tokenizer_sha256()
    assert n_bytes(parent) / parent.n_params == pytest.approx(2, rel=0.01)
    # 8 bits a weight, 32 / 32 for its scale, and 2 MB of rotary tables: 1.125 bytes a weight.
    assert 1.12 < n_bytes(int8) / parent.n_params < 1.2
    assert not list((home / "students").glob(".quantise-*"))


@pytest.mark.real
def test_what_stands_is_used_again(int8, monkeypatch):
    def never(*_args, **_more):
        raise AssertionError("converted twice")

    monkeypatch.setattr(module, "convert_to_bits", never)
    assert quantise(MODELS[NAME]) == int8
    with pytest.raises(AssertionError, match="twice"):
        quantise(MODELS[NAME], precision="int4")


@pytest.mark.real
def test_a_limit_among_tokens_that_a_schema_forces_is_kept(int8):
    schema = answer_schema(3, {1: "cooking a meal", 2: "sleeping"}, why=False)
    with open_engine("onnx", int8, {"threads": 1}) as engine:
        whole, *cut = answers(engine, [bound(n, schema) for n in (200, *range(1, 24))])
    assert [item["id"] for item in json.loads(whole.text)] == [0, 1, 2] and whole.finish_reason == "stop"
    assert [(one.output_tokens, one.finish_reason) for one in cut] == [(n, "length") for n in range(1, 24)]
    assert all(whole.text.startswith(one.text) for one in cut)


@pytest.mark.real
def test_a_killed_conversion_leaves_nothing_half(int8, home):
    """And what is made afterwards is, byte for byte, what others made."""
    spec = MODELS[NAME].model_copy(update={"name": "killed", "source": Local(path=Path(MODELS[NAME].locate()))})
    caught: list[Exception] = []

    def work() -> None:
        try:
            quantise(spec)
        except ModelError as error:
            caught.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    made = None
    while worker.is_alive() and not made:  # until weights are being written
        time.sleep(0.05)
        made = next((home / "students").glob(".quantise-*/model/*.data"), None)
    for child in children_running("llmhar.ask.engines.quantise_child"):
        child.kill()
    worker.join(60)
    assert "exit -9" in str(caught[0])
    assert not [path for path in (home / "students").iterdir() if "killed" in path.name or "quantise" in path.name]
    assert quantise(spec).revision == int8.revision


@pytest.mark.real
def test_int8_says_what_float32_says(int8, tmp_path):
    """Greedy, first three tokens. All 30 layers: KL to float32 0.004 nats a token, the same arg-max 62 times of 66."""
    requests = [ask(prompt) for prompt in PROMPTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        engine = open_engine("onnx", int8, {"threads": 1})
    with engine, peak_memory(engine.pid) as peak:
        found = answers(engine, requests)
        again = answers(engine, requests[::-1])[::-1]
        drawn = {g.text for g in answers(engine, [ask("x", temperature=1.0, seed=n) for n in range(4)])}
        mark = engine.fingerprint()
    assert (mark.engine, mark.dtype, mark.device) == ("onnx", "int8", "cpu")
    assert [g.text for g in found] == [g.text for g in again] and len(drawn) > 1
    assert found[0].cached_tokens == 0 and found[1].cached_tokens > 80 and again[0].cached_tokens > 80
    assert 60_000_000 < peak.bytes < 600_000_000  # measured: 261 MB, of which 136 are Python and the tokenizer
    # The wheels' telemetry would leave its device id and what it could not send in ~/.cache/Microsoft.
    assert not [path for path in tmp_path.rglob("*") if "microsoft" in path.name.lower()]
    with open_engine("transformers", MODELS[NAME], {"threads": 1}) as engine:
        exact = answers(engine, requests)
    assert [g.prompt_tokens for g in found] == [g.prompt_tokens for g in exact]
    assert sum(a.text == b.text for a, b in zip(found, exact)) >= 2, (found, exact)


@pytest.mark.real
def test_only_quantised_folders_are_served(int8):
    with pytest.raises(EngineError, match="holds no quantised model"):
        open_engine("onnx", need(NAME))
    with pytest.raises(EngineError, match="dtype is not offered"):
        open_engine("onnx", int8, {"dtype": "float32"})


@pytest.mark.real
def test_what_cannot_be_done_is_an_error_of_that_request(int8):
    refused = [
        Request("m", "r", "t", ask("a").messages, schema={"type": "nonsense"}),
        Request("m", "r", "t", ask("b").messages, adapter_sha256="ab", adapter_path="x"),
        ask("c", thinking_budget=3),
        ask("x " * 9000),
    ]
    with open_engine("onnx", int8, {"threads": 1, "max_model_len": 512}) as engine:
        *errors, fine = answers(engine, [*refused, ask("d")])
        cut = answers(engine, [ask("d", max_tokens=4096)])[0]
    assert fine.ok
    assert all(word in e.error for word, e in zip(("schema", "adapter", "budget", "context"), errors)), errors
    assert cut.ok and cut.prompt_tokens + cut.output_tokens <= 512
    assert json.loads((int8.source.path / "quantised.json").read_text())["precision"] == "int8"
