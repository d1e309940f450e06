"""transformers in the bench's child processes: ours with a log of its steps, and ``generate`` as it comes."""

from __future__ import annotations

from typing import Any

import torch

from llmhar.ask.engines.transformers import Row, TransformersBackend
from llmhar.ask.engines.worker import Emit, Inbox, Task
from tests.bench.engines_steps import StepLog


class TimedTransformers(TransformersBackend):
    """The library's backend; a step is what ``generate`` does in one too: a forward pass, and drawing the tokens.

    ``config["bench"]["steps"]`` is the log's path.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._bench = config["bench"]
        self._log = StepLog(self._bench["steps"])
        self._model.forward = self._log.timed(self._model.forward)
        self._next = self._log.timed(self._next)  # type: ignore[method-assign]


class BareTransformers(TimedTransformers):
    """``generate`` over the same batches, logged after its own steps; answers leave when a batch is done.

    ``config["bench"]["batch"]``: how many requests make a pass. All have the same sampling.
    """

    def run(self, inbox: Inbox, emit: Emit) -> None:
        tasks: list[Task] = []
        while True:
            tasks += inbox.poll(wait=True)
            if inbox.closed:
                return
            if len(tasks) == self._bench["batch"]:
                for task, answer in self._log.timed(self._generate)(tasks, emit):
                    emit(task, **answer)
                tasks = []

    def _generate(self, tasks: list[Task], emit: Emit) -> list[tuple[Task, dict[str, Any]]]:
        rows = [row for task in tasks if (row := self._prepare(task, emit))]
        rows.sort(key=lambda row: len(row.task.prompt))
        done = []
        for start in range(0, len(rows), self._batch):
            done += self._generate_batch(rows[start : start + self._batch])
        return done

    def _generate_batch(self, rows: list[Row]) -> list[tuple[Task, dict[str, Any]]]:
        wanted, pad = rows[0].task.request.sampling, min(self._ends)
        width = max(len(row.task.prompt) for row in rows)
        ids = torch.tensor([[pad] * (width - len(row.task.prompt)) + row.task.prompt for row in rows])
        mask = torch.tensor([[0] * (width - len(row.task.prompt)) + [1] * len(row.task.prompt) for row in rows])
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=wanted.temperature, top_p=wanted.top_p,
                top_k=wanted.top_k, max_new_tokens=wanted.max_tokens, pad_token_id=pad, eos_token_id=list(self._ends),
            )  # fmt: skip
        done = []
        for row, tokens in zip(rows, out[:, width:].tolist(), strict=True):
            end = next((n for n, token in enumerate(tokens) if token in self._ends), len(tokens) - 1)
            text = self._tokenizer.decode(tokens[: end + 1], skip_special_tokens=True)
            answer = {"text": text, "finish_reason": "length" if end == wanted.max_tokens - 1 else "stop",
                      "prompt_tokens": len(row.task.prompt), "output_tokens": end + 1}  # fmt: skip
            done.append((row.task, answer))
        return done
