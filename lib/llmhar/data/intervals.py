"""Which activity holds at a time, from intervals that may overlap or leave gaps. Knows no file and no clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from heapq import heappop, heappush


class Intervals:
    """Labelled intervals, both ends included; times are whole numbers of any one unit.

    Built in O(n log n), asked in O(log n) however the intervals overlap: the time line is cut where an interval
    starts or has ended, and each piece knows its label.
    """

    def __init__(self, rows: Iterable[tuple[int, int, int]]):
        """``rows`` of (start, end, label) with start <= end, in the file's order."""
        started = sorted(rows, key=lambda row: row[0])
        self._starts = [(start, label) for start, _, label in started]
        self._ends = sorted((end, order, label) for order, (_, end, label) in enumerate(started))
        self._cuts = sorted({cut for start, end, _ in started for cut in (start, end + 1)})
        self._labels: list[int | None] = []
        running: list[tuple[int, int, int]] = []  # a heap with the interval that started last on top
        order = 0
        for cut in self._cuts:
            while order < len(started) and started[order][0] <= cut:
                heappush(running, (-order, started[order][1], started[order][2]))
                order += 1
            while running and running[0][1] < cut:
                heappop(running)
            self._labels.append(running[0][2] if running else None)

    def at(self, time: int) -> int | None:
        """Label of the interval that contains ``time``; of several, the one that started last (ties: later row)."""
        piece = bisect_right(self._cuts, time) - 1
        return self._labels[piece] if piece >= 0 else None

    def near(self, time: int, within: int) -> int | None:
        """As :meth:`at`, else the label of the nearest interval at most ``within`` away (ties: the earlier one)."""
        label = self.at(time)
        if label is not None:
            return label
        before = bisect_right(self._ends, (time, len(self._ends), 0)) - 1
        after = bisect_right(self._starts, time, key=lambda row: row[0])
        gap = within + 1
        if before >= 0 and time - self._ends[before][0] < gap:
            gap, label = time - self._ends[before][0], self._ends[before][2]
        if after < len(self._starts) and self._starts[after][0] - time < gap:
            label = self._starts[after][1]
        return label
