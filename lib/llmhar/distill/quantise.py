"""Turns a model's weights into int8 or int4, for the engine "onnx": what a home gateway would hold.

Imports no model library: the conversion runs in a child process (:mod:`llmhar.ask.engines.quantise_child`). Measures
nothing: scores of a quantised model come from the store, like any other model's.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from llmhar import paths
from llmhar.ask.model_files import convert_to_bits, write_marker
from llmhar.ask.models import CONVERTED, Local, ModelError, ModelSpec, Precision, read_marker
from llmhar.records import sha256_of

TOOL = "onnxruntime-genai"
WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data")
"""What holds weights in a model's folder."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def quantise(spec: ModelSpec, *, precision: Precision = "int8") -> ModelSpec:
    """Quantise a model; what stands already (same weights, precision, tool) is re-used.

    Args:
        spec: a fetched model or a fully tuned student; llama or Qwen3 architecture.
        precision: bits of the weights in matrix products and embeddings.

    Returns:
        The same model under another name, folder and revision, served by the engine "onnx".

    Raises:
        ModelError: An adapter that is not merged, no local weights, or a conversion that failed; nothing half-written
            stands where a model should.
    """
    if spec.adapter is not None:
        raise ModelError(f"{spec.name} answers with an adapter: merge it into the weights first, then quantise")
    source = _local(spec)
    made_from: dict[str, Any] = {"layout": CONVERTED, "precision": precision, "tool": _tool(), "files": _hashes(source)}
    shown = re.sub(r"[^\w.-]+", "-", spec.name)
    target = paths.home() / "students" / f"{shown}-{precision}-{sha256_of(made_from)[:12]}"
    if read_marker(target) is None:
        _convert(source, target, precision, made_from)
    marker = read_marker(target)
    if marker is None:
        raise ModelError(f"{target} was changed while it was made; quantise {spec.name} again")
    weights = {name: known["sha256"] for name, known in marker["files"].items() if _matches(name, WEIGHTS)}
    changed = {
        "name": f"{spec.name}-{precision}",
        "engine": "onnx",
        "source": Local(path=target),
        "revision": f"{spec.revision}+{precision}:{sha256_of(weights)[:12]}",
    }
    return spec.model_copy(update=changed)


def n_bytes(spec: ModelSpec) -> int:
    """Bytes of the files that hold a local model's weights, its adapter's included.

    Raises:
        ModelError: No local weights.
    """
    files = _weight_files(_local(spec))
    if spec.adapter is not None:
        files.append(spec.adapter.path / "adapter_model.safetensors")
    return sum(file.stat().st_size for file in files)


def _local(spec: ModelSpec) -> Path:
    place = spec.locate()
    if not isinstance(place, Path):
        raise ModelError(f"{spec.name}'s weights are not here; run: llmhar models fetch {spec.name}")
    if not _weight_files(place):
        raise ModelError(f"{place} holds no weights ({', '.join(WEIGHTS)})")
    return place


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(Path(name).match(pattern) for pattern in patterns)


def _hashes(source: Path) -> dict[str, str]:
    """sha256 of everything that the conversion reads."""
    hashes = {}
    for file in [*_weight_files(source), *source.glob("*.json"), *source.glob("*.jinja")]:
        hashes[file.name] = paths.file_sha256(file)
    return hashes


def _tool() -> str:
    try:
        return f"{TOOL} {importlib.metadata.version(TOOL)}"
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"quantising needs {TOOL}, which is not installed; it is in requirements/cpu.lock") from None


def _convert(source: Path, target: Path, precision: Precision, made_from: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".quantise-", dir=target.parent) as scratch:
        made = Path(scratch, "model")
        made.mkdir()
        convert_to_bits(source, made, precision)
        write_marker(made, {"made_from": made_from})
        if read_marker(target) is None:  # else another process was faster: its folder is as good
            if target.exists():
                os.replace(target, Path(scratch, "damaged"))
            os.replace(made, target)
