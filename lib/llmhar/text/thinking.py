"""Thinking marks of all model families, and where reasoning ends and the answer begins. Reads no answer.

Models mark their reasoning in many ways; a server may pass the marks on, in any case, with blanks or attributes inside.
:data:`MARKS` is the one table of them.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Literal, NamedTuple

Thinking = Literal["absent", "closed", "unclosed"]

_WORD = r"(?:[a-z]{1,12}\s*:\s*)?(?:think|thinking|thoughts?|reasoning|analysis|scratchpad)"
MARKS: tuple[tuple[str, str], ...] = (
    (rf"<\s*{_WORD}(?:\s[^<>\n]{{0,200}})?>", rf"<\s*/\s*{_WORD}\s*>"),  # Qwen3, DeepSeek-R1, Seed-OSS
    (r"\[\s*think(?:ing)?\s*\]", r"\[\s*/\s*think(?:ing)?\s*\]"),  # Magistral
    (r"◁\s*think(?:ing)?\s*▷", r"◁\s*/\s*think(?:ing)?\s*▷"),  # Kimi
    (r"<\|\s*begin_of_(?:thought|thinking)\s*\|>", r"<\|\s*end_of_(?:thought|thinking)\s*\|>"),  # OpenThinker, Sky-T1
    (r"<\|\s*(?:start_)?think(?:ing)?\s*\|>", r"<\|\s*(?:/|end_)\s*think(?:ing)?\s*\|>"),
    (r"<\|channel>\s*thought\b", r"<channel\|>"),  # Gemma
    (  # gpt-oss: each message names its channel, and only the last one is the answer
        r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)[^<]{0,200}<\|message\|>",
        r"(?:<\|end\|>\s*)?(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final(?:(?!<\|message\|>).){0,200}<\|message\|>|<\|end\|>",
    ),
)
"""Opening and closing mark of each family, as patterns without regard to case."""
_OPENS, _CLOSES = ("|".join(marks) for marks in zip(*MARKS))
# The first character is looked for by itself: an alternation of patterns would be tried at every letter of a text.
_MARK = re.compile(
    rf"[<\[◁](?:(?<=(?=(?P<open>{_OPENS})).)|(?<=(?=(?P<close>{_CLOSES})).)|(?<=<)\|(?:end|return|start|message)\|>)",
    re.IGNORECASE,
)
_HINTS = ("think", "thought", "reasoning", "analysis", "scratchpad", "channel")
"""Every mark holds one of these words; texts without them need no search."""
MAX_MARKS = 2_000
"""Marks that are looked at; what stands behind them belongs to where they leave the text."""


class SplitText(NamedTuple):
    """Reasoning and answer of one raw text."""

    reasoning: str
    answer: str
    thinking: Thinking


def split_reasoning(text: str) -> SplitText:
    """Split raw text at its thinking marks, whatever model family they are of.

    - A closing mark without an opening one counts: some templates open the block in the prompt. Where the text before
      it ends in a list and nothing follows, the mark came after the answer and deletes nothing.
    - Later closing marks without an opening one delete nothing either.
    - Whatever follows a mark that is never closed is reasoning: an answer inside it is no answer.
    """
    folded = text.casefold()
    if not any(hint in folded for hint in _HINTS):
        return SplitText("", text.strip(), "absent")
    before, closed, after = text.partition("</think>")
    if closed and "<" not in after and "[/" not in after and folded.count("think>") == 2 and before[:7] == "<think>":
        return SplitText(before[7:].strip(), after.strip(), "closed")  # the usual case, much faster
    reasoning: list[str] = []
    answer: list[str] = []
    is_open, was_closed, last = False, False, 0
    for mark in islice(_MARK.finditer(text), MAX_MARKS):
        opening, closing = mark.group("open"), mark.group("close")
        if mark.start() < last:  # inside the mark before it
            continue
        (reasoning if is_open else answer).append(text[last : mark.start()])
        last = mark.start() + len(opening or closing or mark.group())
        if opening:
            is_open = True
        elif closing:
            before_answer = not is_open and not was_closed and not _came_after_answer(answer, text[last:])
            if before_answer:  # everything so far was thinking that the prompt had opened
                reasoning += answer
                answer.clear()
            was_closed = was_closed or is_open or before_answer
            is_open = False
    (reasoning if is_open else answer).append(text[last:])
    state: Thinking = "unclosed" if is_open else "closed" if was_closed else "absent"
    # A line break between answers around a thinking block: "2<think>…</think>5" must not read as 25.
    return SplitText("".join(reasoning).strip(), "\n".join(part for part in answer if part).strip(), state)


def _came_after_answer(answer: list[str], rest: str) -> bool:
    """Whether a closing mark stands behind a list, with nothing but marks after it."""
    said = "".join(answer).rstrip().removesuffix("```").rstrip()
    return said.endswith("]") and not _MARK.sub("", rest).strip()
