"""Derives notebooks/*.ipynb from notebooks/src/*.py: ``make notebooks``. The test beside it checks that they agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "notebooks" / "src"


def derive(source: Path) -> nbformat.NotebookNode:
    """The notebook that a source stands for: clean, with cell ids that depend on place and text alone."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for place, cell in enumerate(notebook.cells):
        # jupytext draws a new random id on each conversion; ours make the same bytes each time.
        cell["id"] = f"{place:02d}-{hashlib.sha256(cell.source.encode()).hexdigest()[:8]}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    return notebook


def target(source: Path) -> Path:
    """Where the derived notebook of a source lies."""
    return ROOT / "notebooks" / f"{source.stem}.ipynb"


if __name__ == "__main__":
    for file in sorted(SOURCES.glob("*.py")):
        target(file).write_text(nbformat.writes(derive(file)) + "\n", encoding="utf-8")
        print(f"{target(file).relative_to(ROOT)} from {file.relative_to(ROOT)}")
