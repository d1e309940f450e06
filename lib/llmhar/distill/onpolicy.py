"""On-policy distillation in the training child: TRL's GKDTrainer on rows that are tokens already.

A student trained on its teacher's texts alone never sees its own mistakes. Here part of the batches are what the
student writes, and the loss is the distance between its distribution and the teacher's at every token of them (Agarwal
et al., 2306.13649). Teacher and student must share a vocabulary: the distilled 135M model teaches its pruned copies.
"""

from __future__ import annotations

from typing import Any

from llmhar.distill.train_child import IGNORED


def collate(rows: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """What GKDTrainer reads: whole rows padded on the right; prompts, to generate from, padded on the left."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def right(values: list[list[int]], fill: int) -> Any:
        return pad_sequence([torch.tensor(v) for v in values], batch_first=True, padding_value=fill)

    ids = [row["input_ids"] for row in rows]
    prompts = [[t for t, label in zip(row["input_ids"], row["labels"]) if label == IGNORED] for row in rows]
    width = max(map(len, prompts))
    return {
        "input_ids": right(ids, pad),
        "attention_mask": right([[1] * len(tokens) for tokens in ids], 0),
        "labels": right([row["labels"] for row in rows], IGNORED),
        "prompts": torch.tensor([[pad] * (width - len(tokens)) + tokens for tokens in prompts]),
        "prompt_attention_mask": torch.tensor([[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in prompts]),
    }


def make_trainer(job: dict[str, Any], common: dict[str, Any], settings: dict[str, Any]) -> Any:
    """A GKDTrainer for the job; the teacher's weights are loaded here, in the format of the student's.

    Raises:
        ValueError: teacher and student do not share a vocabulary (from TRL).
    """
    from transformers import AutoModelForCausalLM
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    recipe, tokenizer = job["recipe"], common["processing_class"]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    teacher = AutoModelForCausalLM.from_pretrained(
        job["teacher_model"], dtype=common["model"].dtype, use_safetensors=True
    )
    config = GKDConfig(
        **settings, lmbda=recipe["on_policy"], beta=recipe["beta"], max_new_tokens=recipe["max_new_tokens"]
    )
    return GKDTrainer(teacher_model=teacher, args=config, data_collator=lambda rows: collate(rows, pad), **common)
