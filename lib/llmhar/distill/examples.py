"""Training examples: the student's own prompt, and what the teacher wrote. Knows no tokenizer and trains nothing.

Teacher and student may read different prompts (the demo's teacher gets labels and house rules, its student a line):
then the student also learns what its prompt no longer says (context distillation, 2209.15189). What a student is
trained on is what it is asked with later: both come from the same :class:`~llmhar.text.prompt.PromptSpec`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from llmhar import paths
from llmhar.distill.traces import Trace
from llmhar.records import sha256_of
from llmhar.text.parsing import offered_names
from llmhar.text.prompt import PromptSpec
from llmhar.text.schema import WHY_CHARS

Completion = Literal["reasoning", "answer", "items"]
"""How much of a trace is learnt: the teacher's whole text, what stands behind its reasoning, or its labels, each behind
its own line of reasoning, in the items of a bound answer."""
COMPLETIONS: tuple[Completion, ...] = ("reasoning", "answer")
"""Those that a study's arms choose between."""


@dataclass(frozen=True)
class Example:
    """One row of training data."""

    dataset: str
    session_id: str
    window_index: int
    messages: tuple[dict[str, str], ...]
    """The student's prompt, as it will be asked."""
    completion: str
    """The teacher's text, without end mark: the trainer adds the model's own."""
    request_key: str
    """Of the teacher's answer in the store."""


class LeakError(ValueError):
    """Test sessions among training examples."""


def completion_of(trace: Trace, completion: Completion) -> str:
    """What is learnt of a trace."""
    if completion == "items":
        reasons = reasons_of(trace.reading.reasoning, len(trace.window.events))
        return items_text(trace.labels, offered_names(trace.session.labels), reasons)
    return trace.text.strip() if completion == "reasoning" else trace.reading.answer


def reasons_of(reasoning: str, n: int) -> list[str]:
    """The reason for each of ``n`` events, as short as items take it, of lines such as "3: fridge, so cooking"."""
    lines = dict(re.findall(r"(?m)^(\d+): (.*?)(?:, so .*)?$", reasoning))
    return [lines.get(str(i), "")[:WHY_CHARS] for i in range(n)]


def items_text(labels: Sequence[int | None], names: Mapping[int, str], reasons: Sequence[str] | None) -> str:
    """An answer in items; an event without a label has none.

    Args:
        labels: of each event.
        names: number of an activity -> what it is called.
        reasons: of each event; None = items have no "why".
    """
    items = [
        {"id": i, **({"why": reasons[i]} if reasons else {}), "activity": names[label]}
        for i, label in enumerate(labels)
        if label is not None
    ]
    return json.dumps(items, ensure_ascii=False)


def make_examples(
    traces: Sequence[Trace],
    prompts: dict[str, PromptSpec],
    *,
    test_sessions: Sequence[str],
    completion: Completion = "reasoning",
) -> list[Example]:
    """Put each trace below the student's prompt.

    Args:
        traces: kept traces, in the order of sessions and windows.
        prompts: home -> the student's prompt.
        test_sessions: ids of the same data set that must not occur.
        completion: how much of each trace is learnt.

    Raises:
        LeakError: a trace belongs to a test session.
    """
    leaked = sorted({trace.window.session_id for trace in traces} & set(test_sessions))
    if leaked:
        raise LeakError(f"test sessions among the training traces: {', '.join(leaked)}")
    return [
        Example(
            dataset=trace.session.dataset,
            session_id=trace.window.session_id,
            window_index=trace.window.index,
            messages=prompts[trace.session.home].messages(trace.window),
            completion=completion_of(trace, completion),
            request_key=trace.request_key,
        )
        for trace in traces
    ]


def data_hash(examples: Sequence[Example]) -> str:
    """sha256 over messages and completions, in order: the same data give the same name wherever they came from."""
    return sha256_of([[list(example.messages), example.completion] for example in examples])


def write_examples(examples: Sequence[Example], file: Path) -> None:
    """Write JSON lines, in one step. ASCII: model text may hold U+2028, which ends a line for ``splitlines``."""
    paths.write_text(file, "".join(json.dumps(asdict(example)) + "\n" for example in examples))


def read_examples(file: Path) -> list[Example]:
    """Inverse of :func:`write_examples`."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Example(**{**row, "messages": tuple(row["messages"])}) for row in rows]
