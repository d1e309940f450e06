"""Makes a report's page of an executed notebook, by nbconvert's lab template with our blocks. Runs nothing.

The finding comes first; code, settings and what a library said about itself are folded; parts that a profile does not
run are one line; contents, index and the other notebooks' reports are at hand. No script runs and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from llmhar import paths
from llmhar.run.table_html import TERMS, anchor, head_of
from llmhar.settings import read_parameters, without_grammar_of_addresses

with without_grammar_of_addresses():
    import nbformat
    from nbformat import NotebookNode

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
"""Content security policy of every page: no script runs, nothing is fetched."""

# What notebooks may show as HTML, beside text: everything else is escaped by nbconvert's sanitiser.
TAGS = [
    "h1", "h2", "h3", "h4", "p", "br", "hr", "b", "i", "em", "strong", "code", "pre", "ul", "ol", "li", "div", "span",
    "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "a", "wbr",
]  # fmt: skip
STYLES = [
    "background", "border", "border-collapse", "border-radius", "border-top", "color", "font-size", "font-weight",
    "margin", "margin-top", "max-height", "max-width", "overflow", "overflow-wrap", "padding", "padding-right",
    "table-layout", "text-align", "vertical-align", "white-space", "width",
]  # fmt: skip
_WORD_LINK = re.compile(r"#word-[a-z0-9-]+")
_NOT_RUN = re.compile(
    r"'?(not \w+( anew)? in this profile|no adapters here|no student here|nobody (was|is) taught( in this profile)?"
    r"|nothing is written in this profile)'?"
)
_CODED = [name for name in TERMS if "_" in name and head_of(name).term]
"""Terms that prose calls by their column's name."""
_NO_ROWS = "no rows"
_RECORDED = re.compile(r"\*\*What the recorded \w+ showed\*\*")
"""Begins a cell that stays where its part was not run."""
_HEADING = re.compile(r"^(#{1,3}) +(.+)$", re.MULTILINE)
_SENTENCE_ROW = re.compile(r"^\| ([^|]+) \| (.+) \|$", re.MULTILINE)


class Page(NamedTuple):
    """What a report says about its run, beside the notebook's own cells."""

    notebook: str
    title: str
    """In words."""
    finding: str = ""
    """What was found, in one sentence; empty where nothing is known."""
    figure_alt: str = ""
    """Words of the key figure, by which it is known among the others: the finding is put before them."""
    settings: Mapping[str, Any] = {}
    facts: Sequence[tuple[str, str]] = ()
    """What the run was: profile, time, commit …"""
    others: Sequence[str] = ()
    """Notebooks whose reports lie beside this one's folder, in order."""


class Heading(NamedTuple):
    """A heading of a report's contents."""

    level: int
    text: str
    anchor: str


def _links_inside(tag: str, name: str, value: str) -> bool:
    """Links of outputs go to this page's list of words and nowhere else: outputs hold what models wrote."""
    return name in ("class", "aria-label") or (name == "href" and bool(_WORD_LINK.fullmatch(value)))


ATTRIBUTES = {
    "*": ["style", "class", "aria-label", "scope", "colspan", "rowspan"],
    "details": ["open"],
    "a": _links_inside,
}


def to_html(notebook: NotebookNode, title: str, page: Page | None = None) -> str:
    """One self-contained page: images inside, no script, nothing fetched, HTML of outputs sanitised.

    Args:
        notebook: as executed.
        title: of the page, where ``page`` gives none.
        page: what the run was and found.
    """
    from jinja2 import PackageLoader
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    page = page or Page(title, title)
    settings = _settings_rows(notebook, page.settings)
    notebook = _folded(notebook)
    # Outputs only: markdown cells are our own reviewed text, and hold "<" in code spans.
    sanitiser = SanitizeHTML(tags=TAGS, attributes=ATTRIBUTES, styles=STYLES)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = sanitiser.sanitize_code_outputs(cell.outputs)
    exporter = HTMLExporter(
        template_name="lab", template_file="report.html.j2", extra_loaders=[PackageLoader("llmhar.run")],
        embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True, anchor_link_text="",
    )  # fmt: skip
    names = {"metadata": {"name": page.title or title}}
    parts = {"page": page, "contents": list(_headings(notebook)), "settings": settings, "csp": CSP,
             "words": _words_of(notebook)} | _neighbours(page)  # fmt: skip
    body, _ = exporter.from_notebook_node(notebook, resources=names | {"llmhar": parts})
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"<code>([\w-]+)</code>", lambda found: _linked(found[1], page), body)


def _linked(code: str, page: Page) -> str:
    """A word between backticks: another report's name is a link to its place, a term stands in words."""
    if code in page.others and code != page.notebook:
        return f'<a href="../index.html#{code}"><code>{code}</code></a>'
    if code not in _CODED:
        return f"<code>{code}</code>"
    return f"{head_of(code).words}{head_of(code).mark}"


def linked_to_reports(html: str, folder: Path, up: str) -> str:
    """A page whose links to other notebooks lead to their reports where they are, else to their place in the index.

    Args:
        html: as :func:`to_html` made it, or linked before.
        folder: of the profile.
        up: way from the page's folder to this one, "../" or more.
    """

    def target(found: re.Match[str]) -> str:
        name = found[1] or found[2] or ""
        place = f"{name}/report.html" if name and (folder / name / "report.html").is_file() else f"index.html#{name}"
        return f'href="{up}{place.removesuffix("#")}"'

    return re.sub(r'href="(?:\.\./)+(?:index\.html#?([\w-]*)|([\w-]+)/report\.html)"', target, html)


def _folded(notebook: NotebookNode) -> NotebookNode:
    """The notebook without its cells of settings, each part that a profile did not run folded into one line and what a
    recorded run showed of it.
    """
    kept: list[NotebookNode] = []
    for part in _parts(notebook.cells):
        code = [cell for cell in part if cell.cell_type == "code"]
        said = [_said(output) for cell in code for output in cell.outputs]
        reasons = [found[1] for text in said if (found := _NOT_RUN.fullmatch(text or ""))]
        if reasons and len(reasons) + said.count(_NO_ROWS) == len(said):
            title = next((found[2] for cell in part[:1] if (found := _HEADING.match(cell.source))), "This part")
            told = f": {reasons[0]}; where it has been run, `reports/record/results.md` holds its result."
            if kept and kept[-1].source.endswith(told):  # the parts before it neither: one line for all of them
                kept[-1].source = f"{kept[-1].source.removesuffix(told)}; **{title}**{told}"
            else:
                kept.append(nbformat.v4.new_markdown_cell(f"**{title}**{told}"))
            kept += [cell for cell in part if _RECORDED.match(cell.source)]
            continue
        for cell in part:
            if cell.cell_type == "code":
                shown = [o for o in cell.outputs if not _NOT_RUN.fullmatch(_said(o) or "")]
                cell.outputs = _said_once(shown)
            kept.append(cell)
    folded: NotebookNode = nbformat.from_dict(dict(notebook) | {"cells": kept})
    return folded


def _said_once(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """What libraries said in between, as one output behind the others: it comes in pieces."""
    said = [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    others = [o for o in outputs if not any(o is one for one in said)]
    text = "".join(o.text for o in said)
    return [*others, nbformat.v4.new_output("stream", name="stderr", text=text)] if text.strip() else others


def _parts(cells: Sequence[NotebookNode]) -> Iterator[list[NotebookNode]]:
    """Cells from one heading to the next; cells of settings are left out."""
    part: list[NotebookNode] = []
    for cell in cells:
        if {"parameters", "injected-parameters", "profile"} & set(cell.metadata.get("tags", [])):
            continue
        if cell.cell_type == "markdown" and _HEADING.match(cell.source) and part:
            yield part
            part = []
        part.append(cell)
    if part:
        yield part


def _said(output: NotebookNode) -> str | None:
    """An output's text; None where it is more than text."""
    if output.output_type == "stream":
        return str(output.text).strip() if output.name == "stdout" else None
    data = output.get("data", {})
    if f">{_NO_ROWS}<" in data.get("text/html", ""):
        return _NO_ROWS
    return str(data["text/plain"]).strip() if set(data) == {"text/plain"} else None


def _headings(notebook: NotebookNode) -> Iterator[Heading]:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if (found := _HEADING.match(line)) and len(found[1]) > 1:
                    text = re.sub(r"[`*]", "", found[2])
                    yield Heading(len(found[1]), text, quote(text.replace(" ", "-"), safe="?/:@!$&'()*+,;="))


def _settings_rows(notebook: NotebookNode, settings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each setting, as the cell of parameters tells them."""
    source = next((c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])), "")
    known = read_parameters(source) if source else {}
    values = {name: parameter.default for name, parameter in known.items()} | dict(settings)
    return [(name, _plain(value), known[name].help if name in known else "") for name, value in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return {None: "none", True: "yes", False: "no"}.get(value, str(value))


def _neighbours(page: Page) -> dict[str, str]:
    """Folders of the reports before and after this one; empty at the ends."""
    order = list(page.others)
    place = order.index(page.notebook) if page.notebook in order else -1
    after = order[place + 1] if 0 <= place < len(order) - 1 else ""
    return {"before": order[place - 1] if place > 0 else "", "after": after}


def glossary() -> dict[str, str]:
    """The words of docs/glossary.md with what they mean; none in a checkout that has no such page."""
    file = paths.root() / "docs" / "glossary.md"
    rows = _SENTENCE_ROW.findall(file.read_text(encoding="utf-8")) if file.is_file() else []
    return {word.strip(): meaning.strip() for word, meaning in rows[1:]}


def _words_of(notebook: NotebookNode) -> list[tuple[str, str, str]]:
    """Anchor, word and meaning of the words that tables of this notebook link to."""
    shown = "".join(o.get("data", {}).get("text/html", "") for c in notebook.cells for o in c.get("outputs", []))
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    linked = set(re.findall(r'href="#(word-[a-z0-9-]+)"', shown))
    linked |= {head_of(code).term for code in _CODED if f"`{code}`" in prose}
    return [(anchor(word), word, meaning) for word, meaning in glossary().items() if anchor(word) in linked]
