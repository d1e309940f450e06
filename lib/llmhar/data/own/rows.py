"""Rows of a home's files, as written, and the Parquet file that keeps them. Knows neither states nor homes.

``events.parquet`` holds what the files say, not what it means: home.yaml says that, each time the home is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from llmhar import paths
from llmhar.data.load_report import DataError, LoadReport
from llmhar.data.reader import Reader

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["event", "interval", "mark", "refused", "mended", "dropped"]
"""A sensor's row; a labelled interval; begin or end of one; and notes of the reading: rows that could not be used, that
were repaired, and that are no events of this home."""
MAX_ROWS, MAX_BYTES = 20_000_000, 4 * 2**30
"""Most rows of a file, and most bytes that they may take once unpacked."""

_AT_ONCE = 100_000
"""Rows that are written at a time: it bounds the memory."""


class Row(NamedTuple):
    """One row. Texts are empty where the file has nothing."""

    kind: Kind
    file: str
    """Where it stands, for reports."""
    line: int
    """From 1, as an editor counts; Parquet: number of the row; SQLite: its state_id; 0 = the whole file."""
    time: str = ""
    """ISO, with the offset that the file has."""
    end: str = ""
    """Of an interval or of a sensor's activation."""
    sensor: str = ""
    state: str = ""
    """As written; of a note its reason."""
    room: str = ""
    """Beside the sensor, where the files have a column for it."""
    resident: str = ""
    activity: str = ""
    n: int = 1
    """Rows of the file that this one stands for; 0 where another of its rows is kept as well."""


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as Parquet, in one step: readers see the old file or the new one."""
    import pyarrow
    import pyarrow.parquet

    numbers = {"line": pyarrow.int64(), "n": pyarrow.int64()}
    schema = pyarrow.schema([(name, numbers.get(name, pyarrow.string())) for name in Row._fields])
    with (
        paths.replacing(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as file,
    ):
        for start in range(0, len(rows), _AT_ONCE):
            columns = zip(*rows[start : start + _AT_ONCE])
            file.write_table(pyarrow.table(list(map(list, columns)), schema=schema))


def read_rows(path: Path) -> list[Row]:
    """Rows that :func:`write_rows` wrote.

    Raises:
        DataError: no such file, or not one of ours.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: make it again with `llmhar data new {path.parent.name} --from FILE`")
    table = Reader(LoadReport("own", path.parent)).parquet(path, MAX_ROWS, MAX_BYTES)
    if list(table.columns) != list(Row._fields):
        raise DataError(f"{path} was not written by llmhar: make it again with `llmhar data new`")
    columns = [_values(table.pop(name)) for name in Row._fields]  # memory: one column twice at most
    strange = [name for name, column in zip(Row._fields, columns) for kind in {*map(type, column)} if kind is not
               (int if name in ("line", "n") else str)]  # fmt: skip
    if strange or set(columns[0]) - set(get_args(Kind)):
        raise DataError(f"{path}: column {(strange or ['kind'])[0]} holds something else: make it again")
    return list(map(Row._make, zip(*columns)))


def _values(column: pd.Series) -> list[Any]:
    """A column's values; equal texts are one object."""
    if column.dtype.name != "category":
        return list(column.tolist())
    texts = [*column.cat.categories.tolist(), None]  # code -1: no value
    return [texts[code] for code in column.cat.codes.tolist()]
