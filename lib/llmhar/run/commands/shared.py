"""What several groups of commands share: options, and how ``name=value`` is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
Folder = Annotated[Path | None, typer.Option("--path", help="Folder of the data set; default LLMHAR_DATA/NAME.")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="Loader option, name=value (repeatable).")]


def pairs_of(options: Sequence[str] | None) -> dict[str, str]:
    """``name=value`` options by name.

    Raises:
        typer.BadParameter: an option without "=", or without a name.
    """
    pairs: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option!r}: write name=value")
        pairs[name.strip()] = value
    return pairs


def numbers_of(options: Sequence[str] | None, option: str) -> dict[str, float]:
    """``name=number`` options by name.

    Args:
        options: as given.
        option: what they are called, for the error.

    Raises:
        typer.BadParameter: no number behind the "=".
    """
    try:
        return {name: float(value) for name, value in pairs_of(options).items()}
    except ValueError as error:
        raise typer.BadParameter(f"{option}: write NAME=NUMBER ({error})") from error


def values_of(options: Sequence[str] | None) -> dict[str, Any]:
    """Loader options by name, with whole numbers and true/false read as such."""
    words: dict[str, Any] = {"true": True, "false": False}
    return {k: int(v) if v.isdecimal() else words.get(v.casefold(), v) for k, v in pairs_of(options).items()}
