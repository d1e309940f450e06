"""The one call by which a notebook says what it found: key numbers, key table, key figure and their provenance.

The payload travels inside the executed notebook as an output of its own media type; :mod:`.report` reads it from
there into ``run.json`` and the index. Nothing is scraped from printed text.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from llmhar.ask.models import MODELS
from llmhar.ask.spending import cost_of, spent_here
from llmhar.run.table_html import show_tables
from llmhar.score.tables import KINDS, Result

MEDIA_TYPE = "application/vnd.llmhar.results+json"
show_tables()  # every notebook imports this module, and all its tables are written one way from then on


def publish(
    key_numbers: Mapping[str, float | int | str | None],
    *,
    table: pd.DataFrame | Mapping[str, pd.DataFrame | None] | None = None,
    figure: Figure | None = None,
    results: Sequence[Result] = (),
    datasets: Sequence[str] = (),
    kinds: Sequence[str] = (),
    engines: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Publish a notebook's results to the index and to ``run.json``.

    Args:
        key_numbers: name -> number; NaN becomes None (missing stays missing, never zero).
        table: key table; the index shows at most its first 12 rows. Or several by name, the key table first:
            ``run.json`` keeps them whole, but for those that were not made (None).
        figure: key figure.
        results: their models, engines, data and kinds are added to the provenance.
        datasets: further data sets that were shown, "name (kind)".
        kinds: further kinds: "rules", "published", "simulated" ….
        engines: further answerers and what made their answers, "name: engine version".

    Returns:
        In a notebook None, for what is published is its output; elsewhere what would have been published, JSON-ready.
    """
    from IPython import get_ipython
    from IPython.display import display

    tables = table if isinstance(table, Mapping) else {}
    table = next(iter(tables.values()), None) if isinstance(table, Mapping) else table
    payload = {
        "key_numbers": {name: _json_number(value) for name, value in key_numbers.items()},
        "engines": sorted({f"{r.model.name}: {r.made_by}" for r in results} | set(engines)),
        "models": {r.model.name: {"id": r.model.hub_id, "revision": r.asked_revision} for r in results},
        "datasets": sorted({f"{r.task.data}, {r.task.subset}" for r in results} | set(datasets)),
        "kinds": sorted({KINDS[r.model.kind] for r in results} | {f"{r.task.kind} data" for r in results} | set(kinds)),
        "scores": [score_row(result) for result in results],
        "costs": cost_rows(results),
        "table": None if table is None else _table(table.head(12)),
        "tables": {name: _table(own) for name, own in tables.items() if own is not None},
        "figure_png": None if figure is None else _png(figure),
        "figure_alt": getattr(figure, "alt", ""),
        "torch_in_kernel": "torch" in sys.modules,
    }
    if get_ipython() is None:
        return payload
    numbers = ", ".join(f"{name} = {_short(_json_number(value))}" for name, value in key_numbers.items())
    display({MEDIA_TYPE: payload, "text/plain": f"Published: {numbers}"}, raw=True)
    return None


def score_row(result: Result) -> dict[str, Any]:
    """A result's scores with all that a table of them needs, JSON-ready; intervals are 95 % t over sessions."""
    macro, weighted = result.macro_f1, result.weighted_f1
    numbers = {
        "macro_f1": macro.mean, "macro_f1_low": macro.low, "macro_f1_high": macro.high, "weighted_f1": weighted.mean,
        "weighted_f1_low": weighted.low, "weighted_f1_high": weighted.high, "missed_pct": result.overall.missed_pct,
    }  # fmt: skip
    return {
        "model": result.model.name,
        "kind": KINDS[result.model.kind],
        "engine": result.made_by,
        "revision": result.revision,
        "data": result.task.data,
        "subset": result.task.subset,
        "n_sessions": macro.n,
        "n_events": result.overall.n_events,
        **{name: _json_number(value) for name, value in numbers.items()},
        **({"strict_macro_f1": _json_number(result.overall.strict_macro_f1)} if result.n_joint else {}),
    }


def cost_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What servers' answers cost, one row a model: those shown, whenever they were asked, and those asked by this run.

    ``usd`` is None where the model's entry has no prices.
    """
    shown, now = dict[str, dict[str, Any]](), spent_here()
    for result in results:
        if any(fingerprint.engine == "openai" for fingerprint in result.fingerprints):
            own = shown.setdefault(result.model.name, {"prices": result.model.prices, "made": {}})
            own["made"] |= {made.request_key: made for made in result.generations}
    rows = []
    for name in dict.fromkeys([*shown, *now]):
        known = MODELS[name].prices if name in MODELS else None  # a model of no file has no known price
        prices = shown[name]["prices"] if name in shown else known
        of_shown, of_now = cost_of(shown[name]["made"].values() if name in shown else (), prices), now.get(name)
        price = "prices not known" if prices is None else f"${of_shown.usd:.4f} at prices of {prices.as_of}"
        asked = "none asked now" if of_now is None else f"{of_now.n_requests} asked now"
        paid = f" for ${of_now.usd:.4f}" if of_now and of_now.usd is not None else ""
        counts = {f"{kind}_tokens": getattr(of_shown, f"{kind}_tokens") for kind in ("prompt", "cached", "output")}
        rows.append({"model": name, "answers": of_shown.n_requests, **counts, "usd": of_shown.usd,
                     "answers_now": of_now.n_requests if of_now else 0, "usd_now": of_now.usd if of_now else 0.0,
                     "words": f"{name}: {of_shown.n_requests} answers, {price}; {asked}{paid}"})  # fmt: skip
    return rows


def _json_number(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(table: pd.DataFrame) -> dict[str, Any]:
    shown = table.reset_index()
    names = [", ".join(filter(None, name)) if isinstance(name, tuple) else str(name) for name in shown.columns]
    return {"columns": names, "rows": [[_json_number(value) for value in row] for row in shown.itertuples(index=False)]}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    # No software version and date in the file: the same store gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
