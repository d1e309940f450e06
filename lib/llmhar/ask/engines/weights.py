"""Makes model folders (safetensors, tokenizer, template) in a child process of :func:`llmhar.ask.model_files.fetch`.

``python -m llmhar.ask.engines.weights gguf FILE FOLDER | tiny-qwen3 SEED FOLDER | pruned PARENT LAYERS FOLDER |
merged PARENT ADAPTER FOLDER``.
Downloads nothing, checks no hashes.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QWEN3_CHAIN = ("\n", "<think>", " one", " two", " three", " four", " five", " six", " seven", " eight", "</think>",
               "[]", "<|im_end|>")  # fmt: skip
"""What the tiny Qwen3 says greedily after the generation prompt; all else in it is random."""


COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json", "vocab.json",
          "merges.txt", "special_tokens_map.json", "added_tokens.json", "generation_config.json")  # fmt: skip
"""What a model that is made from another takes over as it is, where the other has it."""


def from_gguf(file: Path, folder: Path) -> None:
    """Dequantise a llama-architecture GGUF into a Hugging Face folder in bfloat16.

    bfloat16 is what the original weights were published in. Against the dequantised fp32 values: relative error
    1.4e-3, the same arg-max at every position of a 90-token answer, KL 9e-5 nats; half the size.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = packed.config.to_dict()
    # save_pretrained refuses a model that says it is quantised, so its values move into a fresh one that does not.
    for key in ("quantization_config", "_name_or_path"):
        config.pop(key, None)
    config["dtype"] = "bfloat16"
    model = LlamaForCausalLM(type(packed.config).from_dict(config)).to(torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    end = model.config.eos_token_id
    model.generation_config.update(eos_token_id=end, pad_token_id=end, bos_token_id=model.config.bos_token_id)
    model.save_pretrained(folder)
    _save_smollm2_tokenizer(tokenizer, end, folder)


def _save_smollm2_tokenizer(tokenizer: Any, end: int, folder: Path) -> None:
    """Write tokenizer files by hand: the reader of GGUF guesses eos and decoder wrongly."""
    from tokenizers import decoders, pre_tokenizers

    fast = tokenizer.backend_tokenizer
    # As in SmolLM2's own tokenizer.json: digits one by one, byte-level both ways. The GGUF reader's decoder would
    # turn a literal "▁" into a space and joins all pieces before it can stream.
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    fast.decoder = decoders.ByteLevel()
    fast.save(str(folder / "tokenizer.json"))
    ends = fast.id_to_token(end)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, "bos_token": "<|im_start|>",
                "eos_token": ends, "pad_token": ends, "unk_token": "<|endoftext|>",
                "clean_up_tokenization_spaces": False}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def tiny_qwen3(seed: int, folder: Path) -> None:
    """Write a two-layer random Qwen3 beside tokenizer files that lie in ``folder`` already.

    Residual streams are dominated by the last token, so a few rows of the output matrix make it follow
    :data:`QWEN3_CHAIN` greedily: it opens a thinking block, closes it, answers and stops, as the real one does.
    Embeddings are not tied: a tied random model only repeats its last token.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    token = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id
    end, pad = token("<|im_end|>"), token("<|endoftext|>")
    config = Qwen3Config(
        vocab_size=151936, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0}, bos_token_id=pad, eos_token_id=end,
        dtype="bfloat16",
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(torch.float32)
    random = torch.Generator().manual_seed(seed)
    weights = model.state_dict()
    for name in sorted(weights):
        if not name.endswith("norm.weight"):
            spread = {"model.embed_tokens.weight": 1.0, "lm_head.weight": 0.5}.get(name, 0.05)
            weights[name].copy_(torch.randn(weights[name].shape, generator=random) * spread)
    embed, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    steps = [*itertools.pairwise(QWEN3_CHAIN), ("\n\n", "[]")]
    written: dict[Any, Any] = {}
    for before, after in steps:
        source, target = (token(t.replace(" ", "Ġ").replace("\n", "Ċ")) for t in (before, after))
        row = 4.0 * embed[source] / embed[source].norm()
        written[target] = written.get(target, 0) + row
    for target, row in written.items():
        head[target] = row
    model.load_state_dict(weights)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, bos_token_id=pad)
    model.to(torch.bfloat16).save_pretrained(folder)


def pruned(parent: Path, layers: Sequence[int], folder: Path) -> None:
    """Write the parent's folder again with only some of its layers: tensors are renamed, no model is built.

    Embeddings, final norm, tokenizer and templates stay the parent's, byte for byte.

    Raises:
        ValueError: The parent does not have such a layer.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    config = json.loads((parent / "config.json").read_text(encoding="utf-8"))
    if layers[-1] >= config["num_hidden_layers"]:
        raise ValueError(f"{parent.name} has {config['num_hidden_layers']} layers, none with index {layers[-1]}")
    config["num_hidden_layers"] = len(layers)
    if "layer_types" in config:  # one entry a layer, where a family mixes kinds of attention
        config["layer_types"] = [config["layer_types"][layer] for layer in layers]
    tensors = {}
    for file in sorted(parent.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  (no mapping)
                if new := _renumbered(name, layers):
                    tensors[new] = weights.get_tensor(name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    copy_unchanged(parent, folder)


def merged(parent: Path, adapter: Path, folder: Path) -> None:
    """Fold a LoRA adapter into its parent's weights; sums are made in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32, use_safetensors=True)
    save_merged(PeftModel.from_pretrained(model, adapter).merge_and_unload(), parent, folder)


def save_merged(model: Any, parent: Path, folder: Path) -> Any:
    """Write a merged model in bfloat16, its parent's tokenizer beside it; returns it as it was rounded."""
    import torch

    rounded = model.to(torch.bfloat16)
    rounded.save_pretrained(folder, safe_serialization=True)
    copy_unchanged(parent, folder)
    return rounded


def copy_unchanged(parent: Path, folder: Path) -> None:
    """Copy the files of :data:`COPIED` that a parent has into the folder of a model made from it, byte for byte."""
    for name in COPIED:
        if (parent / name).exists():
            shutil.copy(parent / name, folder)


def _renumbered(name: str, layers: Sequence[int]) -> str:
    """A tensor's name in the pruned model; empty where its layer is left out."""
    parts = re.fullmatch(r"(model\.layers\.)(\d+)(\..+)", name)
    if parts is None:
        return name
    before, layer, after = parts.groups()
    return f"{before}{layers.index(int(layer))}{after}" if int(layer) in layers else ""


def main(arguments: list[str]) -> None:
    """Entry point of the child."""
    kind, *what, folder = arguments
    if kind == "gguf":
        from_gguf(Path(what[0]), Path(folder))
    elif kind == "pruned":
        pruned(Path(what[0]), [int(layer) for layer in what[1].split(",")], Path(folder))
    elif kind == "merged":
        merged(Path(what[0]), Path(what[1]), Path(folder))
    else:
        tiny_qwen3(int(what[0]), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
