"""Text as cells of tables that leave the house: what UTF-8 can hold, and no spreadsheet takes for a formula.

Names of sensors and activities come from files and models: a cell ``=HYPERLINK(…)`` would run where it is opened.
"""

from __future__ import annotations

import re

_RISKY = re.compile(r"'*[ \n]*[=+\-@\t\r]")
"""What spreadsheets take for a formula, or strip before one; apostrophes in front, so that none is taken for ours."""


def fit(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def harmless(cell: str) -> str:
    """A cell of a CSV: with an apostrophe in front where a spreadsheet would take it for a formula."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def as_written(cell: str) -> str:
    """Inverse of :func:`harmless`: tables that were made harmless still join with what they came from."""
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell) else cell
