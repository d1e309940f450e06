"""Students' folders without any training: what a training leaves, written by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.models import MODELS
from llmhar.ask.trained import students_home, weights_file
from llmhar.distill.recipe import Recipe

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
