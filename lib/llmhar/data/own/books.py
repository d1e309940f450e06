"""The books of one loading of an own home: refused rows one by one, rows that are no events by their number."""

from __future__ import annotations

import re
from collections import Counter

from llmhar.data.load_report import DroppedRows, LoadReport, RowNote
from llmhar.data.own.rows import Row

MAX_NOTES = 20
"""Rows of a file mended for one reason that are named one by one; more are counted."""


class Books:
    """Enters rows into a report."""

    def __init__(self, report: LoadReport):
        self.report = report
        self.reasons: Counter[str] = Counter()
        """Why rows are no events -> number of rows."""
        self._dropped: dict[tuple[str, str], tuple[int, int]] = {}
        self._mended: Counter[tuple[str, str]] = Counter()

    def refused(self, row: Row, reason: str) -> None:
        """Enter a row that cannot be used."""
        self.report.refused.append(RowNote(row.file, row.line, reason))
        self.reasons[re.sub(r"'.*?'", "'…'", reason)] += row.n

    def dropped(self, row: Row, reason: str) -> None:
        """Enter a row that is well-formed and no event."""
        self.reasons[reason] += row.n
        line, n = self._dropped.get((row.file, reason), (row.line, 0))
        self._dropped[row.file, reason] = line, n + row.n

    def mended(self, row: Row, reason: str) -> None:
        """Enter a row that is kept after a repair, or a remark on it."""
        self._mended[row.file, reason] += 1
        if self._mended[row.file, reason] <= MAX_NOTES:
            self.report.mended.append(RowNote(row.file, row.line, reason))

    def close(self) -> None:
        """Enter what was counted."""
        self.report.dropped += [DroppedRows(file, line, why, n) for (file, why), (line, n) in self._dropped.items()]
        for (file, reason), n in self._mended.items():
            if n > MAX_NOTES:
                self.report.mended.append(RowNote(file, 0, f"{n - MAX_NOTES:,} more rows: {reason}"))

    def why_nothing(self) -> str:
        """The most frequent reasons why rows are no events, with numbers of rows."""
        return "; ".join(f"{n:,}: {reason}" for reason, n in self.reasons.most_common(5)) or "the files have no rows"
