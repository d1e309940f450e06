"""vLLM in the bench's child processes: ours with a log of its steps, and ``LLM.chat`` as it comes.

Run by :mod:`llmhar.ask.engines.worker` like any backend. Settings of the engine are the library's own in both, so the
difference is what the library does around it. Each pass begins with an empty prefix cache: rounds repeat each other.
"""

from __future__ import annotations

from typing import Any

from llmhar.ask.engines import vllm
from llmhar.ask.engines.vllm import PrefixGate, VllmBackend
from llmhar.ask.engines.worker import Emit, Inbox, Task
from tests.bench.engines_steps import StepLog


class OpenGate(PrefixGate):
    """Holds nobody back: without a prefix cache there is nothing to wait for."""

    def hashes(self, prompt: list[int], adapter: str | None) -> list[int]:
        return []


class TimedVllm(VllmBackend):
    """The library's backend; each step of vLLM is logged.

    ``config["bench"]``: "steps", the log's path, and "prefix_cache".
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._bench = config["bench"]
        if not self._bench["prefix_cache"]:
            vllm.LLM = lambda *args, **options: _LLM(*args, **{**options, "enable_prefix_caching": False})
        super().__init__(config)
        self._log = StepLog(self._bench["steps"])
        self._engine.step = self._log.timed(self._engine.step)
        self._forget()

    def _forget(self) -> None:
        self._engine.reset_prefix_cache()
        self._gate = PrefixGate(vllm.BLOCK) if self._bench["prefix_cache"] else OpenGate(vllm.BLOCK)

    def _prepare(self, task: Task, emit: Emit) -> None:
        if not self._running and not self._waiting:
            self._forget()
        super()._prepare(task, emit)


_LLM = vllm.LLM


class BareVllm(TimedVllm):
    """``LLM.chat`` over all messages at once, logged after its own steps; answers leave when all are done.

    ``config["bench"]["batch"]``: how many requests make a pass.
    """

    def run(self, inbox: Inbox, emit: Emit) -> None:
        tasks: list[Task] = []
        while True:
            tasks += inbox.poll(wait=True)
            if inbox.closed:
                return
            if len(tasks) == self._bench["batch"]:
                self._chat(tasks, emit)
                tasks = []

    def _chat(self, tasks: list[Task], emit: Emit) -> None:
        self._forget()
        chats = [[dict(message) for message in task.request.messages] for task in tasks]
        params = [self._params(task) for task in tasks]
        template = dict(tasks[0].request.template_args)
        outputs = self._log.timed(self._llm.chat)(chats, params, use_tqdm=False, chat_template_kwargs=template)
        for task, output in zip(tasks, outputs, strict=True):
            answer = output.outputs[0]
            emit(task, text=answer.text, finish_reason=answer.finish_reason, output_tokens=len(answer.token_ids),
                 prompt_tokens=len(output.prompt_token_ids), cached_tokens=output.num_cached_tokens or 0)  # fmt: skip
