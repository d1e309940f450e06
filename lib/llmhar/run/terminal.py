"""What commands print: tables and lines for people, JSON for programs.

Names, labels and errors quote what a data set, an archive or a model wrote. Such text is shown and never obeyed: rich's
markup is not read in it, and characters by which a terminal is steered (colours, titles, hidden lines) are replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

WIDEST = 100_000
"""Columns of a table: nothing is folded or cut, the terminal wraps long lines."""


def printable(text: object) -> str:
    """Text without characters that a terminal would act upon; ends of lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def one_line(text: object) -> str:
    """Printable text in which ends of lines and tabs are blanks: it stays in its column."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def print_line(text: object, *, to_stderr: bool = False) -> None:
    """Print a line for people."""
    typer.echo(printable(text), err=to_stderr)


def print_json(value: Any) -> None:
    """Print one JSON document for programs."""
    json.dump(value, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows for people, numbers to the right.

    Args:
        rows: column -> value; a column that a row lacks is left empty.
        columns: which are shown, in order.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        is_number = all(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(Text(one_line(column)), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(one_line(row.get(column, ""))) for column in columns))
    console = Console(width=WIDEST)
    with console.capture() as shown:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))
