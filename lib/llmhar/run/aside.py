"""Where a run writes until it has succeeded: beside the report that stands, which it replaces only then.

A run that fails or is killed leaves the last good report whole. Its own copy and cause stay in the aside folder, and
the card of the good one says so. Runs nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ASIDE = "attempt"
"""Folder inside a report's own."""
RECORD = "run.json"
PAGES = ("report.ipynb", "report.html", "figure.png")
MADE_FROM, STANDS = "made_from", "stands"
"""What a report was made from, and when it was last found to stand (:mod:`llmhar.run.standing`)."""


def aside(folder: Path) -> Path:
    """Where a run of the report in ``folder`` writes."""
    return folder / ASIDE


def begin(folder: Path) -> None:
    """Clear the place of an earlier attempt."""
    shutil.rmtree(aside(folder), ignore_errors=True)
    aside(folder).mkdir(parents=True)


def later_run(folder: Path) -> dict[str, Any] | None:
    """The record of a run that began after the report in ``folder`` and did not succeed; None where there is none."""
    return _record(aside(folder))


def stands_since(folder: Path) -> str:
    """When the report in ``folder`` was last found to stand (ISO, UTC); empty where no run found it so."""
    file = folder / STANDS
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def settle(folder: Path, hide_card: Callable[[], object]) -> bool:
    """Move what a finished run wrote to its place, unless it failed and a good report stands there.

    Args:
        folder: of the report.
        hide_card: writes the index anew: between two records no page may pass for another run's.

    Returns:
        Whether the run's own files are the report now.
    """
    new, old = _record(aside(folder)) or {}, _record(folder) or {}
    if new.get("status") != "ok" and old.get("status") == "ok":
        return False
    (folder / RECORD).unlink(missing_ok=True)
    hide_card()
    for name in (*PAGES, MADE_FROM, STANDS, RECORD):
        if (aside(folder) / name).is_file():
            os.replace(aside(folder) / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(aside(folder), ignore_errors=True)
    return True


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record
