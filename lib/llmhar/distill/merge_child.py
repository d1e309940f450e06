"""Child side of merging: ``python -P -m llmhar.distill.merge_child STUDENT_FOLDER PARENT_PID``."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

from llmhar.ask.engines.weights import save_merged
from llmhar.ask.engines.worker import Say, do_job
from llmhar.distill.train_child import tokenize

N_PROMPTS, N_TOKENS = 16, 512


def merge(folder: Path, _say: Say) -> dict[str, Any]:
    """Write ``merged.part`` in bfloat16; compare logits before and after on training rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = json.loads((folder / "merge.job.json").read_text(encoding="utf-8"))["base"]
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    revision = job.get("hub_revision")
    tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
    model = AutoModelForCausalLM.from_pretrained(base, revision=revision, dtype=torch.float32, use_safetensors=True)
    tuned = PeftModel.from_pretrained(model, folder / "adapter").eval()
    lines = (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()[:N_PROMPTS]
    rows = [tokenize(tokenizer, json.loads(line), job["template_args"]).input_ids[:N_TOKENS] for line in lines]
    merged = copy.deepcopy(tuned).merge_and_unload()
    worst, likeliest, of_merged = 0.0, [], []
    for row in rows:  # row by row: 512 tokens of logits over 150,000 words are 0.3 GB
        before, after = _logits(tuned, row), _logits(merged, row)
        worst = max(worst, float((before - after).abs().max()))
        likeliest.append(before.argmax(-1))
        of_merged.append(after.argmax(-1))
    del tuned, model
    rounded = save_merged(merged, Path(base), folder / "merged.part")
    saved = [_logits(rounded, row).argmax(-1) for row in rows]
    return {
        "max_abs_logit_diff": worst,
        "same_argmax_share": _agree(likeliest, of_merged),
        "same_argmax_share_bfloat16": _agree(likeliest, saved),
        "n_prompts": len(rows),
        "n_tokens": sum(map(len, rows)),
        "dtype": "float32",
    }


def _logits(model: Any, row: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([row], device=model.device)).logits[0].float()


def _agree(one: list[Any], other: list[Any]) -> float:
    same = sum(int((a == b).sum()) for a, b in zip(one, other))
    return same / sum(len(a) for a in one)


if __name__ == "__main__":
    do_job(merge, sys.argv[1], int(sys.argv[2]))
