"""Derives notebooks/*.ipynb from notebooks/src/*.py: ``make notebooks``. The test beside it checks that they agree.

A source with cells tagged ``solution`` or ``speaker`` gives a second notebook for the class, ``notebooks/class/``, in
which solutions are blank and speaker's notes are gone: one source, two faces.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parents[2]
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


TO_FILL_IN = {"code": "# your answer", "markdown": "*Your explanation:*"}


def for_class(source: Path) -> nbformat.NotebookNode | None:
    """The notebook without solutions and speaker's notes; None where a source has neither."""
    notebook = derive(source)
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    if not any(own & {"solution", "speaker"} for own in tags):
        return None
    for cell, own in zip(notebook.cells, tags):
        if "solution" in own:
            cell.source = TO_FILL_IN[cell.cell_type]
            cell["id"] = f"{cell['id'][:3]}answer"
    notebook.cells = [cell for cell, own in zip(notebook.cells, tags) if "speaker" not in own]
    return notebook


def class_target(source: Path) -> Path:
    """Where the class's notebook of a source lies."""
    return ROOT / "notebooks" / "class" / f"{source.stem}.ipynb"


if __name__ == "__main__":
    for file in sorted(SOURCES.glob("*.py")):
        target(file).write_text(nbformat.writes(derive(file)) + "\n", encoding="utf-8")
        print(f"{target(file).relative_to(ROOT)} from {file.relative_to(ROOT)}")
        if (exercise := for_class(file)) is not None:
            class_target(file).parent.mkdir(exist_ok=True)
            class_target(file).write_text(nbformat.writes(exercise) + "\n", encoding="utf-8")
            print(f"{class_target(file).relative_to(ROOT)} from {file.relative_to(ROOT)}")
