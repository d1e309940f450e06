"""Child side of an engine: ``python -m llmhar.ask.engines.worker BACKEND PARENT_PID``.

First line in: the start configuration. Then one line a request, or {"cancel": true}. First line out: {"ready"} or
{"fatal"}; then one line a result, as each finishes. End of input ends the process. Model code is in the backends.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llmhar.ask.engines.logprobs import of_tokens
from llmhar.records import Request
from llmhar.text.schema import is_spaced

BACKENDS = {
    "vllm": "llmhar.ask.engines.vllm:VllmBackend",
    "transformers": "llmhar.ask.engines.transformers:TransformersBackend",
    "onnx": "llmhar.ask.engines.onnx:OnnxBackend",
    # encoders of sound and motion (llmhar.fusion): their requests name samples by hash
    "yamnet": "llmhar.fusion.encoders.yamnet:YamnetBackend",
    "vggish": "llmhar.fusion.encoders.vggish:VggishBackend",
    "clap": "llmhar.fusion.encoders.clap:ClapBackend",
    "imu-cnn": "llmhar.fusion.encoders.motion:MotionBackend",
}
Say = Callable[[dict[str, Any]], None]
"""Sends one message to the parent."""
Emit = Callable[..., None]
"""``emit(task, **fields of Generation)``."""
THINK = "<think>"


@dataclass
class Task:
    """A request on its way through a backend."""

    id: int
    request: Request
    prompt: list[int] = field(default_factory=list)
    opened: str = ""
    """The thinking mark that the prompt ends with, where the chat template opens the block itself."""
    started: float = 0.0


class Inbox:
    """What the parent sent, read by a thread of its own so that the parent never waits for a full pipe."""

    GRACE = 5.0
    """Seconds that a backend has to leave its loop once the input has ended."""

    def __init__(self, stream: Any) -> None:
        self.closed = False
        self.cancelled = False
        self.interrupted = False
        """Set at once when a cancel or the end of input has arrived, before ``poll`` comes to it."""
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            message = json.loads(line)
            self.interrupted |= "cancel" in message
            self._lines.put(message)
        self.interrupted = True
        self._lines.put(None)
        time.sleep(self.GRACE)
        os._exit(0)

    def poll(self, *, wait: bool) -> list[Task]:
        """All tasks that arrived; with ``wait`` at least one message. Sets ``closed`` and ``cancelled``."""
        tasks: list[Task] = []
        self.cancelled = False
        while (wait and not tasks and not self.cancelled) or not self._lines.empty():
            message = self._lines.get()
            if message is None:
                self.closed = True
                return []
            if "cancel" in message:
                tasks, self.cancelled, self.interrupted = [], True, False
            else:
                tasks.append(Task(message["id"], Request.from_json(message["request"])))
        return tasks


class Backend(Protocol):
    """What a backend module offers; ``__init__`` takes the start configuration and loads the model."""

    def info(self) -> dict[str, Any]:
        """``version``, ``dtype``, ``device``, ``max_model_len``, ``in_flight``."""
        ...

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Answer until the inbox is closed; end processes of one's own before returning."""
        ...


def answer_in_turn(inbox: Inbox, answer: Callable[[Task], None]) -> None:
    """Answer one task after another until the inbox is closed; what is cancelled is dropped unanswered."""
    waiting: deque[Task] = deque()
    while True:
        tasks = inbox.poll(wait=not waiting)
        if inbox.closed:
            return
        if inbox.cancelled:
            waiting.clear()
        waiting += tasks
        if waiting:
            answer(waiting.popleft())


def render_prompt(
    tokenizer: Any, messages: Iterable[Mapping[str, str]], template_args: Mapping[str, Any]
) -> tuple[list[int], str]:
    """A chat by the tokenizer's own template, ready for the answer; for inference and training alike.

    The tokenizer of transformers is loaded wherever this runs, and models from the hub have no folder that
    :mod:`llmhar.text.chat` could read; a test compares the two.

    Args:
        tokenizer: of transformers.
        messages: chat turns.
        template_args: arguments of the template.

    Returns:
        Token ids, and the thinking mark that the prompt ends with, where the template opens the block itself (else "").
    """
    turns = [dict(message) for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **template_args)
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    return ids, THINK if text.rstrip().endswith(THINK) else ""


def render(tokenizer: Any, task: Task) -> None:
    """Set a task's prompt."""
    task.prompt, task.opened = render_prompt(tokenizer, task.request.messages, task.request.template_args)


def reply(task: Task, fields: dict[str, Any]) -> dict[str, Any]:
    """The line that answers a task.

    A block that the prompt opened is opened in the text: cut thinking without any mark would be read as an answer.
    """
    if task.opened and "text" in fields:
        fields = {**fields, "text": task.opened + fields["text"]}
    return {"id": task.id, **fields}


def logprobs_of(
    tokenizer: Any, task: Task, tokens: Sequence[int], likely: Sequence[Mapping[int, float]], text: str
) -> dict[str, str]:
    """The field of a generation that says how likely its tokens were; nothing where the request does not ask for it.

    Args:
        tokenizer: of transformers.
        task: with the mark that its prompt opened, which :func:`reply` puts in front of the text.
        tokens: that were generated.
        likely: for each of them the likeliest ones at its place, itself among them -> natural logarithm.
        text: what they say, special tokens left out.
    """
    if not task.request.logprobs:
        return {}
    decode = partial(tokenizer.decode, skip_special_tokens=True)
    return {"logprobs": of_tokens(decode, tokens, likely, text, len(task.opened))}


def seed_of(request: Request) -> int:
    """Seed of the request's random stream: the k-th sample of a question draws from a stream of its own."""
    return (request.sampling.seed + 1_000_003 * request.sample_index) % 2**31


def separators(schema: Mapping[str, Any]) -> tuple[str, str]:
    """What parts items, and keys from values, in answers of a schema; there is no other white space.

    Small models get lost in white space: none stands there, but where the schema's ``$comment`` is ``SPACED``: as
    ``json.dumps`` writes, which students learnt.
    """
    return (", ", ": ") if is_spaced(schema) else (",", ":")


def too_long(prompt: list[int], limit: int) -> str:
    """The error of a prompt that leaves no room for an answer, else nothing."""
    return f"the prompt has {len(prompt)} tokens, the context {limit}" if len(prompt) >= limit else ""


def sentence(error: BaseException) -> str:
    """An exception as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def protect_stdout() -> Any:
    """Take the protocol's stream away and point fd 1 at stderr: whatever prints now prints into the log."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return protocol


def watch(parent: int) -> None:
    """Leave when the parent is gone, even where a fork of it still holds our input open."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(0)


def speak(parent: int) -> Say:
    """Begin as a child of the process ``parent``: leave when that is gone, and keep stdout for messages.

    Returns:
        What sends one message to the parent, as a line of JSON.
    """
    protocol = protect_stdout()

    def say(message: dict[str, Any]) -> None:
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    threading.Thread(target=watch, args=(parent,), daemon=True).start()
    return say


def do_job(work: Callable[[Path, Say], Any], folder: str, parent: int) -> None:
    """Entry point of a child that does one job and ends; :func:`llmhar.distill.child.run_child` is its parent.

    Args:
        work: takes the job's folder and a function that sends a message; returns what goes into {"done"}.
        folder: the job.
        parent: its process id; the child ends when that is gone.
    """
    say = speak(parent)
    try:
        done = work(Path(folder), say)
    except Exception as error:
        say({"fatal": sentence(error)})
        raise
    say({"done": done})
    os._exit(0)


def main(backend: str, parent: int) -> None:
    """Load the backend and answer until the input ends."""
    say = speak(parent)
    config = json.loads(sys.stdin.buffer.readline() or "{}")
    inbox = Inbox(sys.stdin.buffer)
    try:
        module, _, name = BACKENDS.get(backend, backend).partition(":")
        engine: Backend = getattr(importlib.import_module(module), name)(config)
    except Exception as error:
        say({"fatal": sentence(error)})
        raise
    say({"ready": engine.info()})
    engine.run(inbox, lambda task, **fields: say(reply(task, fields)))
    os._exit(0)  # taking model libraries down in good order costs seconds and frees nothing more


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
