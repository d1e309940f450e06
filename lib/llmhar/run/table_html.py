"""Writes tables for people, one way in notebooks, reports and index: a data frame in, escaped HTML out.

No NaN (a dash and why), counts whole, other numbers to three significant digits, intervals as [low, high], parameters
as 135M, a column that says the same in every row once in the caption, terms in words with a link to the glossary, and
nothing cut. Computes nothing and knows no notebook.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from llmhar.traces.view import templates_of

ROWS, FEW = 15, 3
"""Rows that are seen at once; the others stand folded below them, where they are more than a few."""
WIDE = 9
"""Columns beyond which a table is set narrower."""
# Column or row name -> in words, and the glossary's word (docs/glossary.md); names without an entry lose "_" alone.
TERMS = {
    "p_holm": ("p, corrected (Holm)", "Holm"),
    "p_least": ("least p possible", "least p"),
    "least_gap": ("least gap that could show", "least gap"),
    "verdict if planned alone": ("verdict if this were the only comparison", "Holm"),
    "alone": ("verdict if this were the only comparison", "Holm"),
    "missed %": ("events without a label, %", "verdict"),
    "missed sd": ("… and its standard deviation", "verdict"),
    "silenced %": ("label lost, %", "silenced"),
    "starved": ("too little room", "starved"),
    "KV room, tokens": ("room for context, tokens", "KV room"),
    "roofline tokens/s": ("roofline tokens/s", "roofline"),
    "fraction of roofline": ("fraction of roofline", "roofline"),
    "derate": ("share of the roofline assumed", "roofline"),
    "n_params": ("parameters", ""),
    "f1": ("macro F1", "macro F1"),
    "macro F1": ("macro F1", "macro F1"),
    "weighted F1": ("weighted F1", "weighted F1"),
    "kappa": ("agreement beyond chance (kappa)", "kappa"),
    "clusters": ("independent groups", "cluster"),
    "share": ("share (Shapley)", "Shapley share"),
    "flip %": ("label flipped, %", "flip"),
    "n": ("pairs", ""),
}
_ENDS = re.compile(r"^(.*?)[ _]?(low|high)$")
_PARAMETERS = re.compile(r"parameters$|^n_params$")
_SCORE = re.compile(r"(?<!of teacher's )(F1|f1|accuracy)( %|, %)?$")
_P = re.compile(r"(^|, )p($|_)")
_SAME = {"sessions", "clusters", "clips", "events", "windows", "threads", "n", "people"}
"""Counts that go to the caption where every row has the same; texts go there whatever they are called."""
_RESULT = re.compile(r"[+-]?\d[\d.]* ?(\[|$)")
"""A text that is a number, with or without its interval."""
_KEPT = re.compile(r"verdict|role|step|passed|changed|alone")
"""Columns that stay in the table even so: what they say is the result."""


class Head(NamedTuple):
    """A column's or row's name as people read it."""

    words: str
    term: str
    """Anchor of the glossary's entry; empty where the words need none."""

    @property
    def mark(self) -> Markup:
        """The link to that entry, or nothing."""
        link = Markup('<a class="term" href="#{}" aria-label="what this means">?</a>')
        return link.format(self.term) if self.term else Markup("")


def table_html(table: pd.DataFrame, why_empty: str = "not measured") -> str:
    """A data frame as escaped HTML.

    Args:
        table: numbers and texts of any source; names may be of several levels.
        why_empty: what a dash means here, said once below the table.
    """
    if not len(table) or not len(table.columns):
        return templates_of("llmhar.run").get_template("table.html.j2").render(empty=True)
    flat, n_names = _flat(table)
    columns = _merge_intervals([(str(name), list(flat.iloc[:, i])) for i, name in enumerate(flat.columns)])
    columns, same = _split_same(columns, n_names)
    cells = [[cell_text(name, value) for value in values] for name, values in columns]
    rows = list(zip(*cells))
    page = templates_of("llmhar.run").get_template("table.html.j2")
    heads = [head_of(name) for name, _ in columns]
    numeric = [_is_numeric(values) for _, values in columns]
    dashes = any(cell.startswith("–") for row in rows for cell in row)
    return page.render(empty=False, heads=heads, rows=rows, n_names=n_names, same=same, numeric=numeric, wide=WIDE,
                       shown=ROWS if len(rows) > ROWS + FEW else len(rows),
                       note=f"–: {why_empty}" if dashes else "")  # fmt: skip


def show_tables() -> None:
    """Show every data frame of this kernel by :func:`table_html`; elsewhere than in a notebook nothing happens."""
    from IPython import get_ipython

    if (shell := get_ipython()) is not None and shell.display_formatter is not None:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, table_html)


def head_of(name: str) -> Head:
    """A name in words, also behind whose it is ("against trees, p_least"); several levels are joined by a dot."""
    whose, comma, p = name.rpartition(", p_")
    words, term = TERMS.get(f"p_{p}" if comma else name, (name, ""))
    words = f"{whose}, {words}" if comma and term else words
    return Head(words.replace("_", " "), anchor(term) if term else "")


def anchor(word: str) -> str:
    """The place of a word in a page's list of words."""
    return "word-" + re.sub(r"\W+", "-", word.lower()).strip("-")


def number_text(value: float) -> str:
    """A number to three significant digits; whole numbers whole, thousands apart."""
    if value == round(value) or abs(value) >= 1000:
        return f"{round(value):,}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1 else f"{float(f'{value:.3g}'):.10g}"


def size_text(n: float) -> str:
    """A number of parameters as people say it: 135M, 1.7B."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= unit:
            return f"{float(f'{n / unit:.3g}'):g}{letter}"
    return f"{n:g}"


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, NaT, or an empty text."""
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    return (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and value.strip() in ("", "nan"))


def cell_text(name: str, value: Any) -> str:
    """One cell as text.

    Args:
        name: its column's name, which tells p-values and numbers of parameters.
        value: anything that a data frame holds.
    """
    if isinstance(value, _Interval):
        return value.text()
    if is_missing(value):
        return "–"
    if isinstance(value, list | tuple | set):
        return ", ".join(cell_text(name, part) for part in value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return " ".join(str(value).split())
    if _PARAMETERS.search(name):
        return size_text(float(value))
    if _P.search(name) and float(value) < 0.001:
        return "< 0.001"
    return number_text(float(value))


class _Interval(NamedTuple):
    """Both ends of an interval."""

    low: Any
    high: Any
    top: float
    """The most that a score can be; infinite for what is no score."""

    def text(self) -> str:
        if is_missing(self.low) or is_missing(self.high):
            return "–"
        low, high = float(self.low), float(self.high)
        if math.isfinite(self.top):
            low, high = max(0.0, low), min(self.top, high)
        return f"[{number_text(low)}, {number_text(high)}]"


def _flat(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table with its row names as first columns, and how many these are; names are single texts."""
    plain = isinstance(table.index, pd.RangeIndex) and table.index.name is None
    names = 0 if plain else table.index.nlevels
    flat = table.copy()
    flat.columns = pd.Index([_joined(name) for name in table.columns])
    if names:
        index = table.index.to_frame(index=False)
        index.columns = pd.Index([str(name or "") for name in table.index.names])
        flat = pd.concat([index, flat.reset_index(drop=True)], axis=1)
    return flat, names


def _joined(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return " · ".join(str(part) for part in parts if str(part) != "")


def _merge_intervals(columns: Sequence[tuple[str, list[Any]]]) -> list[tuple[str, list[Any]]]:
    """Each pair of columns "X low", "X high" becomes one of intervals, next to the number that it belongs to."""
    names = [name for name, _ in columns]
    merged: list[tuple[str, list[Any]]] = []
    for place, (name, values) in enumerate(columns):
        found = _ENDS.match(name)
        twin = f"{name[: -len(found[2])]}{'high' if found[2] == 'low' else 'low'}" if found else ""
        if not found or twin not in names:
            merged.append((name, values))
        elif found[2] == "low":
            highs = columns[names.index(twin)][1]
            of = found[1] if found[1] in names else next((n for n in reversed(names[:place]) if not _ENDS.match(n)), "")
            score = _SCORE.search(of)
            top = math.inf if not score else 100.0 if score[2] else 1.0
            what = found[1].strip(" _")
            told = "95 % interval" if what in ("", "95 %") else f"{what}: 95 % interval"
            merged.append((told, [_Interval(low, high, top) for low, high in zip(values, highs)]))
    return merged


def _split_same(
    columns: list[tuple[str, list[Any]]], n_names: int
) -> tuple[list[tuple[str, list[Any]]], list[tuple[Head, str]]]:
    """Take out of a wide table the columns that say the same in every row; returns what stays and what they say."""
    if len(columns) - n_names < 5 or len(columns[0][1]) < 2:
        return columns, []
    left, same = [], []
    for place, (name, values) in enumerate(columns):
        texts = {cell_text(name, value) for value in values}
        told = name in _SAME or all(isinstance(value, str) and not _RESULT.match(value) for value in values)
        if place >= max(n_names, 1) and len(texts) == 1 and told and not _KEPT.search(name) and texts != {"–"}:
            same.append((head_of(name), texts.pop()))
        else:
            left.append((name, values))
    return left, same


def _is_numeric(values: Iterable[Any]) -> bool:
    kept = [value for value in values if not is_missing(value)]
    return bool(kept) and all(isinstance(value, Real | _Interval) and not isinstance(value, bool) for value in kept)
