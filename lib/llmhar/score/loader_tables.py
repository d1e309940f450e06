"""Tables of the home with faults: what its loader made of each faulty line, and its books before and after the cure."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from llmhar.data import faulty_home
from llmhar.data.load_report import Loaded


def fault_table(loaded: Loaded) -> pd.DataFrame:
    """What became of each faulty line of the home with faults, the loader's reason, and the cure.

    Args:
        loaded: :func:`llmhar.data.faulty_home.load`.
    """
    rows = [row._asdict() | {"line": row.line or "whole file"} for row in faulty_home.faults(loaded)]
    return pd.DataFrame(rows).rename(columns={"written": "as written", "outcome": "became"}).set_index("file")


def books_table(readings: Mapping[str, Loaded]) -> pd.DataFrame:
    """The books of several readings side by side: rows read and used, notes of each kind, events.

    Args:
        readings: name of the column -> what was read.
    """
    columns = {}
    for name, (_, report) in readings.items():
        books = {"mended": report.mended, "refused": report.refused, "set aside": report.set_aside}
        counts = {"rows read": report.rows_read, "rows used": report.rows_used}
        columns[name] = counts | {book: len(notes) for book, notes in books.items()} | {"events": report.n_events}
    return pd.DataFrame(columns).rename_axis("books")
