"""Writes a model's folder (safetensors, tokenizer) as one GGUF file, for llama.cpp, Ollama, OpenVINO and the like.

The package gguf (llama.cpp's own) names tensors, packs numbers and reads merges and special tokens; header and
vocabulary come from the folder's own config and tokenizer. Imports no torch, runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llmhar.ask.models import ModelError

GgufType = Literal["f16", "q8_0"]
GGUF_TYPES: tuple[GgufType, ...] = ("f16", "q8_0")
"""Numbers of the matrices: 16 bits, or 8 bits with a 16-bit scale for each 32. Norms stay in 32 bits."""
ARCHITECTURES = ("llama", "qwen3")
"""``model_type`` of config.json, and name of the same architecture in GGUF."""
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PIECES: dict[str, list[Mapping[str, Any]]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "use_regex": True}],
    "qwen2": [
        {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "use_regex": False},
    ],
}
"""llama.cpp's name of a way to cut text into pieces before byte pairs are merged -> the same in tokenizer.json."""
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


def write_gguf(source: Path, target: Path, gguf_type: GgufType, *, name: str, licence: str = "") -> None:
    """Write a model's folder as GGUF.

    Args:
        source: config.json, tokenizer files and weights in safetensors.
        target: the file.
        gguf_type: numbers of the matrices.
        name: what the file calls itself.
        licence: of the weights.

    Raises:
        ModelError: an architecture, a tokenizer, rotary embeddings or a tensor that this writer does not know.
    """
    import gguf

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelError(f"GGUF is written for {' and '.join(ARCHITECTURES)} models, and {source.name} is {kind!r}")
    writer = gguf.GGUFWriter(target, kind)
    try:
        _add_header(writer, config, source, name, licence)
        writer.add_file_type(int(getattr(gguf.LlamaFileType, f"MOSTLY_{gguf_type.upper()}")))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_vocabulary(writer, config, source)
        names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), config["num_hidden_layers"])
        for tensor, values in _tensors(source):
            new = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
            if new is None:
                raise ModelError(f"{source.name}: GGUF has no place for the tensor {tensor}")
            if kind == "llama":
                values = _interleaved(tensor, values, config)
            wanted = _type_of(values, gguf_type)
            writer.add_tensor(new, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _add_header(writer: Any, config: Mapping[str, Any], source: Path, name: str, licence: str) -> None:
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    scaled = config.get("rope_scaling") or rope
    if scaled.get("rope_type", "default") != "default":
        raise ModelError(f"{source.name}: GGUF is written for plain rotary embeddings, not {scaled['rope_type']!r}")
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_type("model")
    writer.add_name(name)
    if licence:
        writer.add_license(licence.casefold())
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_vocabulary(writer: Any, config: Mapping[str, Any], source: Path) -> None:
    import gguf
    from tokenizers import Tokenizer

    settings = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = _pieces_of(settings)
    if settings["model"]["type"] != "BPE" or pieces is None:
        raise ModelError(f"{source.name}: GGUF is written for the tokenizers {' and '.join(_PIECES)}, this is another")
    added = {token["id"]: token for token in settings["added_tokens"]}
    by_number = {number: word for word, number in settings["model"]["vocab"].items()}
    by_number |= {number: token["content"] for number, token in added.items()}
    words, kinds = [], []
    for number in range(config["vocab_size"]):
        words.append(by_number.get(number, f"[PAD{number}]"))
        kind = _NORMAL if number in by_number else _UNUSED
        if number in added:
            kind = _CONTROL if added[number]["special"] else _USER_DEFINED
        kinds.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pieces)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    special = gguf.SpecialVocab(source, load_merges=True, n_vocab=len(words))
    encode = Tokenizer.from_file(str(source / "tokenizer.json")).encode
    special.add_special_token["bos"] = len(encode("a").ids) > len(encode("a", add_special_tokens=False).ids)
    special.add_to_gguf(writer, quiet=True)
    writer.add_add_space_prefix(False)


def _pieces_of(settings: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for the way in which a tokenizer cuts text; None where it is none that is known here."""
    before = settings.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    for name, known in _PIECES.items():
        if len(steps) == len(known) and all(wanted.items() <= step.items() for wanted, step in zip(known, steps)):
            return name
    return None


def _tensors(source: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor in 32 bits. NumPy has no bfloat16: its bits are the upper half of a float32's."""
    from safetensors import deserialize

    for file in sorted(source.glob("*.safetensors")):
        for name, tensor in sorted(deserialize(file.read_bytes()), key=lambda each: each[0]):  # its order is by chance
            if tensor["dtype"] == "BF16":
                halves = np.frombuffer(tensor["data"], dtype=np.uint16).astype(np.uint32)
                values = (halves << 16).view(np.float32)
            else:
                of = {"F32": np.float32, "F16": np.float16}[tensor["dtype"]]
                values = np.frombuffer(tensor["data"], dtype=of).astype(np.float32)
            yield name, values.reshape(tensor["shape"])


def _interleaved(name: str, values: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order: it rotates neighbours, where transformers rotates the two halves
    of a head.
    """
    part = name.split(".")[-2]
    if part not in ("q_proj", "k_proj"):
        return values
    heads = config["num_attention_heads"]
    if part == "k_proj":
        heads = config.get("num_key_value_heads") or heads
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _type_of(values: np.ndarray, gguf_type: GgufType) -> Any:
    """Matrices as wanted (in 16 bits where their rows are no multiple of 32), all else in 32 bits."""
    import gguf

    if values.ndim < 2:
        return gguf.GGMLQuantizationType.F32
    if gguf_type == "q8_0" and values.shape[-1] % 32:
        gguf_type = "f16"
    return getattr(gguf.GGMLQuantizationType, gguf_type.upper())
