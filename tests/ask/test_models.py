"""models.yaml and its checks."""

from __future__ import annotations

import pytest

from llmhar.ask.models import CONVERTED, MODELS, ModelError, load_models

QWEN3 = {  # hidden, feed-forward, layers, heads, kv heads, tied: config.json of each release; head size 128 in all
    "qwen3-0.6b": (1024, 3072, 28, 16, 8, True),
    "qwen3-1.7b": (2048, 6144, 28, 16, 8, True),
    "qwen3-4b": (2560, 9728, 36, 32, 8, True),
    "qwen3-8b": (4096, 12288, 36, 32, 8, False),
    "qwen3-14b": (5120, 17408, 40, 40, 8, False),
    "qwen3-32b": (5120, 25600, 64, 64, 8, False),
}


HUB = "b: {kind: llm, revision: r, source: {kind: hub}}"


def pruned_entry(parent: str, layers: str) -> str:
    return f"a: {{kind: llm, source: {{kind: pruned, parent: {parent}, layers: {layers}}}}}\n"


def quantised_entry(parent: str, more: str = "engine: onnx") -> str:
    return f"a: {{kind: llm, {more}, source: {{kind: quantised, parent: {parent}, precision: int8}}}}\n"


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


@pytest.mark.parametrize("n", [16, 8, 4])
def test_pruned_models_follow_from_their_parent(n):
    """Hidden 576, feed-forward 1536, 9 heads and 3 kv heads of size 64, vocabulary 49,152 tied to the output."""
    parent, spec = MODELS["smollm2-135m"], MODELS[f"smollm2-135m-l{n}"]
    layer = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576
    assert parent.n_params == 49152 * 576 + 30 * layer + 576
    assert spec.n_params == 49152 * 576 + n * layer + 576
    assert spec.source.layers == tuple(round(i * 29 / (n - 1)) for i in range(n))
    assert spec.revision.startswith(f"{parent.revision}+l{n}:0-") and spec.revision.endswith("-29")
    same = {"hub_id", "licence", "max_context", "sampling", "thinking", "template_args", "engine", "kind"}
    assert spec.model_dump(include=same) == parent.model_dump(include=same)


def test_a_quantised_model_is_its_parent_in_fewer_bits():
    parent, spec = MODELS["llmhar-home-135m"], MODELS["llmhar-home-135m-int8"]
    own = {"name", "engine", "revision", "source"}
    assert spec.model_dump(exclude=own) == parent.model_dump(exclude=own)
    assert spec.revision == f"{parent.revision}+int8.{CONVERTED}" and "+adapter:" in spec.revision


def test_models_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))  # no students
    assert {"rules", "smollm2-135m", "qwen3-tiny", *QWEN3} <= set(MODELS) and len(MODELS) == len(load_models())
    assert not any(name.startswith("x-") for name in MODELS)
    assert MODELS["rules"].kind == "rules" and MODELS["rules"].tokenizer_sha256() == ""
    assert "gpt" not in MODELS and MODELS.get("gpt") is None
    with pytest.raises(ModelError, match=r"no model is called 'gpt'; models.yaml has: rules, rules-plain, smol"):
        MODELS["gpt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {kind: llm, licence: MIT, colour: red}", r"a\.colour: Extra inputs"),
        ("a: {kind: robot}", r"a\.kind"),
        ("a: {kind: llm, source: {kind: wheel-gguf, package: p}}", r"a\.source\.wheel-gguf\.version"),
        ("a: {kind: llm, source: {kind: torrent}}", r"a\.source"),
        (pruned_entry("b", "[0]"), r"a\.source\.parent: 'b' is no model"),
        (pruned_entry("a", "[0]"), r"a\.source\.parent: 'a' is no model"),
        (pruned_entry("b", "[]"), r"a\.source\.pruned\.layers"),
        (pruned_entry("b", "[1, 0]") + HUB, r"a\.source\.layers: must rise"),
        (pruned_entry("b", "[0, 3]") + HUB, r"a\.revision: must be 'r\+l2:0-3'"),
        (quantised_entry("c") + HUB, r"a\.source\.parent: 'c' is no model"),
        (quantised_entry("a") + HUB, r"a\.source\.parent: 'a' is no model"),
        (quantised_entry("b", "engine: vllm") + HUB, r"a\.engine: must be 'onnx'"),
        (quantised_entry("b", "engine: onnx, revision: r") + HUB, r"a\.revision: follows from the parent's"),
        (quantised_entry("b").replace("int8", "int2") + HUB, r"a\.source\.quantised\.precision"),
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
