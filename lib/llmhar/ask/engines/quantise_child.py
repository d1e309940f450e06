"""Makes int8 and int4 folders for the engine "onnx", in a child process.

``python -P -m llmhar.ask.engines.quantise_child SOURCE FOLDER PRECISION PARENT_PID``. ONNX Runtime GenAI's model
builder converts; our own part is that embeddings share the output layer's int8 values. Downloads nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np

from llmhar.ask.engines.weights import COPIED, copy_unchanged
from llmhar.ask.engines.worker import watch

BLOCK = 32
"""Weights that share one scale (float32): 9 and 5 bits a weight in all."""
GRAPH, DATA = "model.onnx", "model.onnx.data"
"""Weights lie beside the graph, so that they are mapped into memory and not read into it."""
IDS = "input_ids"


def convert(source: Path, folder: Path, precision: str) -> None:
    """Write a Hugging Face folder again as a graph with quantised weights, its tokenizer files byte for byte.

    Weights are rounded to the nearest of 256 (16) symmetric steps, a scale for each 32; activations are rounded to
    int8 as they come (``accuracy_level`` 4), which is what makes a processor fast. Norms and attention stay float32.
    """
    import onnxruntime_genai as og
    from transformers import AutoConfig

    og.disable_telemetry_events()
    _build(source, folder, precision)
    if precision == "int8" and AutoConfig.from_pretrained(source).tie_word_embeddings:
        share_embeddings(folder)
    for name in COPIED:  # the builder writes some of them anew, in other words
        (folder / name).unlink(missing_ok=True)
    copy_unchanged(source, folder)
    made = {"precision": precision, "block_size": BLOCK, "tool": f"onnxruntime-genai {og.__version__}"}
    (folder / "quantised.json").write_text(json.dumps(made, sort_keys=True) + "\n", encoding="utf-8")


def _build(source: Path, folder: Path, precision: str) -> None:
    from onnxruntime_genai.models import builder

    cache = folder / "cache"
    # prune_lm_head: else the first step computes logits for the whole prompt (570 tokens: 110 MB, 2.7 times the time).
    options = ["hf_token=false", f"block_size={BLOCK}", "accuracy_level=4", "prune_lm_head=true"]
    settings = builder.parse_extra_options(None, str(source), str(folder), precision, "cpu", str(cache), options)
    builder.create_model(None, str(source), str(folder), precision, "cpu", str(cache), **settings)
    shutil.rmtree(cache, ignore_errors=True)


def share_embeddings(folder: Path) -> None:
    """Let embeddings look their rows up in the output layer's int8 values; the model must tie the two.

    The builder (0.18.0) does so for int4 only and leaves int8 models a float32 table: 113 MB of SmolLM2's. The look-up
    takes the values in the shape that the output layer has them in: a reshaped copy would stay in memory beside them.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(folder / GRAPH))
    graph = model.graph
    head = next(node for node in graph.node if node.op_type == "MatMulNBits" and node.output[0] == "logits")
    place, lookup = next((n, g) for n, g in enumerate(graph.node) if g.op_type == "Gather" and IDS in g.input)
    initial = {tensor.name: tensor for tensor in graph.initializer}
    (table, ids), (values, scales) = lookup.input, head.input[1:3]
    rows, blocks, width = initial[values].dims
    shapes = {"shape_of_scales": [rows, blocks, 1], "shape_of_row": [0, 0, blocks * width]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, dtype=np.int64), k) for k, v in shapes.items())
    graph.initializer.remove(initial[table])
    graph.node.remove(lookup)
    name = lookup.name
    shared = [
        helper.make_node("Reshape", [scales, "shape_of_scales"], [f"{name}/scales"], name=f"{name}/scales"),
        helper.make_node("GatherBlockQuantized", [values, ids, f"{name}/scales"], [f"{name}/blocks"],
                         name=f"{name}/blocks", domain="com.microsoft", bits=8, block_size=width, gather_axis=0,
                         quantize_axis=2),
        helper.make_node("Reshape", [f"{name}/blocks", "shape_of_row"], [lookup.output[0]], name=f"{name}/row"),
    ]  # fmt: skip
    for n, node in enumerate(shared):
        graph.node.insert(place + n, node)
    (folder / DATA).unlink()
    onnx.save(model, str(folder / GRAPH), save_as_external_data=True, location=DATA)


def main(arguments: list[str]) -> None:
    """Entry point of the child."""
    source, folder, precision, parent = arguments
    threading.Thread(target=watch, args=(int(parent),), daemon=True).start()
    convert(Path(source), Path(folder), precision)


if __name__ == "__main__":
    main(sys.argv[1:])
