"""The text of ``home.yaml``: written once with comments, and added to later without touching what a user wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from llmhar.settings import MAX_YAML

MAX_TEXT = MAX_YAML - 2**14
"""Bytes up to which sensors are entered: a longer file would not be read. Sensors without an entry are spoken of by
their id."""

_HEAD = """\
# Your home as llmhar reads and describes it. Edit it: every command reads it anew, and running `llmhar data new {name}`
# again keeps what you wrote.
name: {name}
kind: real
# Time zone in which stamps in UTC are shown ({zone_from}). Times with another offset, or none, keep their clock.
zone: {zone}
# First day for testing, e.g. 2026-03-15. Without it the last third of the days tests, at least.
split:
# Rows that say again what their sensor said last: `keep` them as events, or `drop` them{repeats_from}.
repeats: {repeats}
# A few lines that models are told of the home, e.g. "One person lives here."
rules: []
# Sensors that are no events; * stands for any characters.
leave_out: {leave_out}
# States in your files that llmhar does not know: on, off, open, closed, in, out, or ignore. E.g. {{heating: "on"}}
states: {{}}
# Room -> furniture and appliances without a sensor of their own, e.g. [table, sofa].
rooms:{rooms}
# What people do: activity in your files -> its name for models (two may share one name; null: not annotated).{common}
activities:{activities}
# Sensor in your files -> its room and name in plain words. `above: 5` makes events of numbers: on above 5, else off.
# `says: open/closed` (or on/off, in/out) puts other words to its two states.
sensors:{sensors}
"""


def scalar(text: str) -> str:
    """A text as one YAML word, quoted where it has to be."""
    if text.replace(" ", "").replace("_", "").isalnum() and text.isascii() and yaml.safe_load(text) == text:
        return text
    return yaml.safe_dump(text, default_style='"', width=10**6, allow_unicode=True).rstrip("\n")


def _flow(value: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{k}: {scalar(v) if isinstance(v, str) else v}" for k, v in value.items()) + "}"


def entry_line(name: str, value: Any, remark: str = "") -> str:
    """One line of a map, without its indentation."""
    shown = _flow(value) if isinstance(value, Mapping) else "[]" if value == [] else scalar(value)
    return f"{scalar(name)}: {shown}{f'  # {remark}' if remark else ''}"


def first_text(facts: Mapping[str, str], blocks: Mapping[str, Sequence[str]], leave_out: Iterable[str]) -> str:
    """A new home file.

    Args:
        facts: name, zone, repeats, and where these come from (``zone_from``, ``repeats_from``, ``common``).
        blocks: rooms, activities, sensors -> their lines.
        leave_out: patterns of sensors that are no events.
    """
    lines = {name: "".join(f"\n  {line}" for line in block) or " {}" for name, block in blocks.items()}
    patterns = "[" + ", ".join(map(scalar, leave_out)) + "]"
    return _HEAD.format(**{**facts, "name": scalar(facts["name"]), "zone": scalar(facts["zone"])}, **lines,
                        leave_out=patterns)  # fmt: skip


def extended(text: str, section: str, lines: Sequence[str]) -> str:
    """A home file's text with entries added to a section, everything else as it is.

    Args:
        text: of a file that is valid.
        section: "rooms", "activities" or "sensors".
        lines: as :func:`entry_line` makes them; of a list the names alone are taken.
    """
    if not lines:
        return text
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) and not root.flow_style else []
    value = next((value for key, value in pairs if key.value == section), None)
    if value is None:
        return text.rstrip("\n") + f"\n{section}:\n" + "".join(f"  {line}\n" for line in lines)
    is_list = isinstance(value, yaml.SequenceNode)
    if is_list:
        lines = [scalar(next(iter(yaml.safe_load(line)))) for line in lines]
    if not isinstance(value, yaml.CollectionNode) or (value.flow_style and not value.value):
        start, end = value.start_mark.index, value.end_mark.index
        dash = "- " if is_list else ""
        line_end = _line_end(text, end)
        remark = text[end:line_end].strip()
        added = "".join(f"\n  {dash}{line}" for line in lines)
        before = text[:start].rstrip(" ")
        return f"{before}{f'  {remark}' if remark else ''}{added}{text[line_end:]}"
    if value.flow_style:
        inner = text[: value.end_mark.index - 1].rstrip()
        added = ", ".join(line.partition("  # ")[0] for line in lines)
        return f"{inner}{' ' if inner.endswith(',') else ', '}{added}{text[value.end_mark.index - 1 :]}"
    last = value.value[-1] if is_list else value.value[-1][1]
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1] if isinstance(last, yaml.SequenceNode) else last.value[-1][1]
    indent = " " * value.start_mark.column + ("- " if is_list else "")
    at = _line_end(text, last.end_mark.index)
    return text[:at] + "".join(f"\n{indent}{line}" for line in lines) + text[at:]


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
