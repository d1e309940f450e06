"""Folds a student's adapter into its base weights, and checks that nothing else changed. Loads no weights here.

Adapters are what is trained and kept; merged weights are what a gateway or a quantiser wants. Both are the same model
only as far as rounding allows: vLLM users saw greedy answers differ between the two, so the difference is measured.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from llmhar import paths
from llmhar.ask.models import ModelSpec
from llmhar.ask.trained import MERGED, merge_report, merged_model
from llmhar.distill.child import run_child
from llmhar.distill.students import Student


def merge(student: Student, *, progress: bool = True, threads: int | None = None) -> tuple[ModelSpec, dict[str, Any]]:
    """Merged weights of a LoRA student as a model of its own, made once.

    Args:
        student: trained by LoRA; one with weights of its own comes back as it is, unchecked.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now.

    Returns:
        The model, and how far it is from base and adapter: largest absolute difference of logits in float32, share of
        tokens with the same likeliest token (also after rounding to bfloat16, the form that is saved), prompts
        compared.

    Raises:
        TrainingError: the child ended early.
    """
    if student.recipe.method != "lora":
        return student.spec, {}
    folder = student.folder
    with paths.locked(folder / ".lock"):
        report = merge_report(folder, student.record)
        if report is None:
            report = _merge(student, progress, threads)
    return merged_model(f"{student.spec.name}-merged", student.parent, folder, report), report


def _merge(student: Student, progress: bool, threads: int | None) -> dict[str, Any]:
    folder = student.folder
    paths.write_text(folder / "merge.job.json", json.dumps({"base": str(student.parent.locate())}))
    done = run_child("llmhar.distill.merge_child", folder, title=f"merging {student.spec.name}",
                     progress=progress, threads=threads)  # fmt: skip
    shutil.rmtree(folder / "merged", ignore_errors=True)
    os.replace(folder / "merged.part", folder / "merged")
    done["weights_sha256"] = paths.file_sha256(folder / "merged" / "model.safetensors")
    done["adapter_sha256"] = student.record["weights_sha256"]
    paths.write_text(folder / MERGED, json.dumps(done, indent=1))
    return done
