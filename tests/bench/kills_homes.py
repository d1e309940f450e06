"""Works that faults_kill.py kills: a home being made of a user's file (``llmhar data new``), over an older one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from llmhar import paths
from llmhar.data import registry
from llmhar.data.load_report import DataError
from llmhar.data.own import make
from llmhar.data.own.home import EVENTS_FILE, HOME_FILE
from llmhar.data.own.make import Plan
from tests.bench.kills import Tally, digest

FILES = (HOME_FILE, EVENTS_FILE)


class Making:
    """A home of some thousand rows replaces one of few; both files are old or new, and the home loads."""

    def __init__(self, scratch: Path, *, n: int = 4000, do: Callable[..., object] = make.make) -> None:
        self.do, self.n = do, n
        self.old, self.new = self._rows(40), self._rows(n)
        self.states: dict[str, set[str]] = {}

    @staticmethod
    def _rows(n: int) -> str:
        start = datetime(2026, 3, 2)
        rows = [f"{start + timedelta(minutes=i)},sensor {i % 5 if n < 100 else i % 9},{('on', 'off')[i % 2]},kitchen"
                for i in range(n)]  # fmt: skip
        return "time,sensor,state,room\n" + "\n".join(rows) + "\n"

    def _make(self, folder: Path, do: Callable[..., object]) -> None:
        with patch.dict(os.environ, {"LLMHAR_DATA": str(folder / "data")}), patch.object(paths, "STALE_S", -1.0):
            do("flat", [folder / "in.csv"], Plan(zone="UTC"))

    def begin(self, folder: Path) -> None:
        (folder / "in.csv").write_text(self.old, encoding="utf-8")
        self._make(folder, make.make)
        (folder / "in.csv").write_text(self.new, encoding="utf-8")
        self._see(folder)

    def run(self, folder: Path) -> None:
        self._make(folder, self.do)

    def _see(self, folder: Path) -> None:
        for name in FILES:
            self.states.setdefault(name, set()).add(digest(folder / "data" / "flat" / name))

    def look(self, folder: Path, tally: Tally) -> None:
        home = folder / "data" / "flat"
        tally.half += [name for name in FILES if digest(home / name) not in self.states[name]]
        try:
            with patch.dict(os.environ, {"LLMHAR_DATA": str(folder / "data")}):
                registry.load("flat")
        except DataError as error:
            tally.broken.append(str(error)[:200])

    def result(self, folder: Path, tally: Tally) -> bytes:
        self._see(folder)  # of the undisturbed run: what is new
        home = folder / "data" / "flat"
        left = [file.name for file in home.iterdir() if file.name not in FILES]
        tally.half += [f"{name} is left" for name in left]
        return b"\n".join((home / name).read_bytes() for name in FILES)
