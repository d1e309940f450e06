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
from llmhar.ask.models import Local, ModelSpec
from llmhar.distill.child import run_child
from llmhar.distill.students import Student

MERGED = "merged.json"


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
        report = _earlier_report(student)
        if report is None:
            report = _merge(student, progress, threads)
    spec = student.parent.model_copy(update={
        "name": f"{student.spec.name}-merged",
        "source": Local(path=folder / "merged"),
        "revision": f"{student.parent.revision}+merged:{report['weights_sha256'][:12]}",
    })  # fmt: skip
    return spec, report


def _earlier_report(student: Student) -> dict[str, Any] | None:
    """The report of an earlier merge of this very adapter, if its weights are still there."""
    try:
        report: dict[str, Any] = json.loads((student.folder / MERGED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = report.get("adapter_sha256") == student.record["weights_sha256"]
    return report if same and (student.folder / "merged" / "model.safetensors").exists() else None


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
