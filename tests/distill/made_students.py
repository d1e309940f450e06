"""Students' folders without any training: what a training leaves, written by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from llmhar import paths
from llmhar.ask.models import FUSION_MODEL, HOME_MODEL, MODELS, AskedAs
from llmhar.ask.trained import students_home, weights_file
from llmhar.distill.cards import update_about
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student, open_by_name
from llmhar.text.prompt import FORMS

PROMPT = (
    "Name the home activity behind each sensor event. Think in one short line per event, then answer with a JSON list."
)
WINDOW = "Events:\nmorning\n0 07:30:00 kitchen fridge contact OPENED"


def make_student(folder: str, base: str = "smollm2-135m-l4", *, method: str = "full", weights: Path | None = None,
                 merged: bool = False, **record: Any) -> Path:  # fmt: skip
    """A whole student.

    Args:
        folder: its name below ``LLMHAR_HOME/students``.
        base: key into models.yaml.
        method: full or lora.
        weights: folder of a model whose files are its own (or merged) weights; None = a few bytes.
        merged: whether a LoRA student was merged.
        record: other values of ``student.json``.
    """
    home, model = students_home() / folder, MODELS[base]
    for part in {"adapter" if method == "lora" else "model", *(["merged"] if merged else [])}:
        if weights and part != "adapter":
            shutil.copytree(weights, home / part)
        else:
            (home / part).mkdir(parents=True)
            (home / part / "model.safetensors").write_bytes(part.encode())
    if method == "lora":
        weights_file(home, method).write_bytes(b"adapter")
    own = paths.file_sha256(weights_file(home, method))
    if merged:
        report = {"weights_sha256": "cd" * 32, "adapter_sha256": own}
        (home / "merged.json").write_text(json.dumps(report))
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": WINDOW}]
    example = {"dataset": "simulated", "session_id": "01", "window_index": 0, "messages": messages,
               "completion": "<think>\n0: fridge\n</think>\n\n[]", "request_key": "ab"}  # fmt: skip
    (home / "examples.jsonl").write_text(json.dumps(example) + "\n")
    job = {"model_id": model.hub_id, "revision": model.revision, "template_args": {}, "data_sha256": "ef" * 32,
           "n_examples": 1, "recipe": Recipe(student=base, method=method).model_dump(mode="json")}  # fmt: skip
    (home / "job.json").write_text(json.dumps(job | {"model": "/nowhere/model"} | record))
    whole = job | {"name": f"{base}-distilled", "parent": base, "weights_sha256": own, "losses": [[1, 0.5]],
                   "weights_bytes": weights_file(home, method).stat().st_size, "device": "cpu", "dtype": "float32",
                   "train_sessions": [["simulated", "01"], ["simulated", "02"]]}  # fmt: skip
    (home / "student.json").write_text(json.dumps(whole | record))
    return home


def make_checkout(folder: Path) -> Path:
    """The settings of this checkout, whose shipped students have the tiny random Qwen3 for parent and no adapter yet.

    Returns:
        The folder to take for ``paths.params()``.
    """
    made, real = folder / "params", paths.params()
    made.mkdir()
    for part in real.iterdir():
        if part.name not in ("models.yaml", "students"):
            (made / part.name).symlink_to(part)
    entries = yaml.safe_load((real / "models.yaml").read_text())
    tiny = entries["qwen3-tiny"]
    for name in (HOME_MODEL, FUSION_MODEL):
        shipped = entries[name] | {"template_args": {"enable_thinking": False}}
        shipped |= {field: tiny[field] for field in ("hub_id", "n_params", "shape", "max_context")}
        entries[name] = shipped | {"source": shipped["source"] | {"parent": "qwen3-tiny"}}
    (made / "models.yaml").write_text(yaml.safe_dump(entries))
    return made


def make_adapter(folder: Path, *, scale: float = 0.3) -> None:
    """A LoRA adapter of rank 4 for the tiny Qwen3, as training leaves it.

    Args:
        folder: of the student; its adapter's weights are replaced.
        scale: spread of the weights.
    """
    random = np.random.default_rng(0)
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, scale, (4, 128)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = random.normal(0, scale, (64, 4)).astype("float32")
    save_file(tensors, folder / "adapter" / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["down_proj"],
                "bias": "none", "lora_dropout": 0.0, "use_dora": False, "layers_pattern": None, "rank_pattern": {},
                "base_model_name_or_path": "/root/.cache/llmhar/models/qwen3-tiny-1"}  # fmt: skip
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    record, weights = json.loads((folder / "student.json").read_text()), weights_file(folder, "lora")
    record |= {"weights_sha256": paths.file_sha256(weights), "weights_bytes": weights.stat().st_size}
    (folder / "student.json").write_text(json.dumps(record))


def without_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without adapters and a home without students, in place of this one's; returns its ``params``."""
    made = make_checkout(tmp_path)
    monkeypatch.setattr(paths, "params", lambda: made)
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    return made


def make_shippable(n_examples: int) -> Student:
    """A LoRA student of the tiny Qwen3 that was taught with the prompt of shipped ones, opened."""
    folder = make_student("taught", "qwen3-tiny", method="lora", n_examples=n_examples)
    make_adapter(folder)
    update_about(folder, {"prompt": FORMS["listed"], "asked": AskedAs(constrained=True, why=True)})
    return open_by_name("taught")
