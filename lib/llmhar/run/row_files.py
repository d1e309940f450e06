"""Reads the files that ``llmhar parse`` and ``llmhar score`` are given; errors name file, line and cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmhar.score.f1 import ScoreError


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        ScoreError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: no UTF-8 text at byte {error.start}; save it as UTF-8") from error


def read_names(path: Path) -> dict[int, str]:
    """Names by line, from 0; a blank line has a number and no name."""
    lines = enumerate(read_text(path).split("\n"))
    return {number: line.strip() for number, line in lines if line.strip()}


def read_jsonl(path: Path) -> list[dict[str, Any] | None]:
    """One object a line, None for a blank line, so that places in the list are lines of the file.

    Raises:
        ScoreError: a line is not JSON, or no object.
    """
    rows: list[dict[str, Any] | None] = []
    # Not splitlines(): JSON strings may hold U+2028 and other line ends that are none here.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise ScoreError(f"{path}, line {number}: not JSON ({error}); write one object a line") from error
        if row is not None and not isinstance(row, dict):
            raise ScoreError(f"{path}, line {number}: need an object, got {line:.60}")
        rows.append(row)
    return rows
