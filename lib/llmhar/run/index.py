"""Writes the index of a profile's reports: a card a notebook, its finding first. Runs nothing.

Cards come from the reports' run.json files alone; notebooks that have not run are named at the end.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from llmhar import paths
from llmhar.run import aside
from llmhar.run.findings import MOST, TITLES, Run, finding_of, key_numbers
from llmhar.run.page import CSP, Page, glossary, linked_to_reports
from llmhar.run.table_html import anchor, table_html
from llmhar.settings import notebook_names
from llmhar.traces.view import templates_of


def page_of(run: Run) -> Page:
    """What a report says about its run.

    Args:
        run: its record, as in run.json.
    """
    facts = [("notebook", run["notebook"]), ("profile", run["profile"]), ("trial", run.get("trial", "")),
             ("data", "; ".join(run["datasets"])), ("kinds", "; ".join(run["kinds"])), ("commit", _commit(run)),
             ("finished", str(run.get("finished_utc", ""))[:16].replace("T", " "))]  # fmt: skip
    return Page(
        notebook=run["notebook"],
        title=TITLES.get(str(run["notebook"]), str(run["notebook"])),
        finding=finding_of(run),
        figure_alt=run.get("figure_alt", ""),
        settings=run["params"],
        facts=[(name, text) for name, text in facts if text],
        others=notebook_names(),
    )


def write_index(folder: Path) -> Path:
    """Write ``index.html`` over all reports of a profile, from their run.json files."""
    cards = [_card(file) for file in sorted(folder.glob("*/run.json"))]
    there = {card["place"] for card in cards}
    page = templates_of("llmhar.run").get_template("index.html.j2")
    text = page.render(
        profile=folder.name,
        cards=cards,
        not_run=[(name, TITLES.get(name, name)) for name in notebook_names() if name not in there],
        words=[(anchor(word), word, meaning) for word, meaning in glossary().items()],
        csp=CSP,
    )
    paths.write_text(folder / "index.html", text)
    return folder / "index.html"


def link_reports(folder: Path) -> None:
    """Lead the links of a profile's reports to the reports that are there now."""
    for file in [*folder.glob("*/report.html"), *folder.glob(f"*/{aside.ASIDE}/report.html")]:
        old = file.read_text(encoding="utf-8")
        new = linked_to_reports(old, folder, "../" * (len(file.relative_to(folder).parts) - 1))
        if new != old:
            paths.write_text(file, new)


def _card(file: Path) -> dict[str, Any]:
    figure = file.with_name("figure.png")
    run = {"trial": "", "figure_alt": ""} | json.loads(file.read_text(encoding="utf-8"))  # older runs lack them
    notebook, trial = run["notebook"], run["trial"]
    numbers, finding = list(key_numbers(run)), finding_of(run)
    table = run["table"] and pd.DataFrame(run["table"]["rows"], columns=run["table"]["columns"], dtype=object)
    return {
        "run": run,
        "place": f"{notebook}@{trial}" if trial else notebook,
        "title": TITLES.get(notebook, notebook),
        "name": f"{notebook} · {trial}" if trial else notebook,
        "link": f"{file.parent.name}/report.html" if file.with_name("report.html").is_file() else "",
        "finding": finding,
        "numbers": numbers[:MOST],
        "more": numbers[MOST:],
        "commit": _commit(run),
        "later": aside.later_run(file.parent),
        "stands": aside.stands_since(file.parent),
        "alt": f"{finding} {run['figure_alt']}".strip() or f"Key figure of {notebook}",
        "figure": base64.b64encode(figure.read_bytes()).decode("ascii") if figure.is_file() else None,
        "table": None if table is None else Markup(table_html(table)),  # escaped by its template
    }


def _commit(run: Run) -> str:
    """The commit, short, with a word where files were changed since."""
    name, _, changed = str(run.get("commit", "")).partition("+")
    return name[:10] + (" and changes" if changed else "")
