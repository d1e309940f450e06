"""Looks at single traces: what a model was shown, what it thought, what it answered, and what was true.

All model text, sensor names and labels go through one auto-escaping template; nothing here writes HTML by hand. Each
view is plain HTML; in a live notebook a widget steps through the same views, in a report the first ones stand alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jinja2
from IPython.display import HTML, display

from llmhar.events import Session, Window
from llmhar.tables import KINDS, Result

templates = jinja2.Environment(
    loader=jinja2.PackageLoader("llmhar"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)
"""Every HTML page and snippet of the project comes out of here, escaped."""


def headless() -> bool:
    """Whether this kernel runs for a report (papermill), where no widget can live."""
    return bool(os.environ.get("LLMHAR_HEADLESS"))


def window_html(window: Window, session: Session) -> HTML:
    """The raw events of one window with the truth that models do not see."""
    rows = [
        {
            "id": i,
            "time": event.time.strftime("%H:%M:%S"),
            "room": event.room,
            "sensor": event.sensor,
            "state": event.state,
            "residents": ", ".join(event.residents),
            "truth": "" if event.activity_id is None else session.activities[event.activity_id],
        }
        for i, event in enumerate(window.events)
    ]
    return HTML(templates.get_template("window.html.j2").render(window=window, rows=rows))


def trace_html(results: Sequence[Result], position: int) -> HTML:
    """One window side by side for several models: events, truth, each model's labels, reasoning and raw answer.

    Args:
        results: results on the same task.
        position: index into ``task.windows``.
    """
    task = results[0].task
    window = task.windows[position]
    session = task.sessions[window.session_id]
    events = [
        {
            "id": i,
            "time": event.time.strftime("%H:%M:%S"),
            "text": event.text,
            "truth": "not annotated" if event.activity_id is None else session.activities[event.activity_id],
            "labels": [_label(result, position, i, event.activity_id, session) for result in results],
        }
        for i, event in enumerate(window.events)
    ]
    models = [_model(result, position) for result in results]
    page = templates.get_template("trace.html.j2")
    return HTML(page.render(window=window, data=task.data, events=events, models=models))


def _label(result: Result, position: int, event: int, truth: int | None, session: Session) -> dict[str, str]:
    found = result.readings[position].predictions[event]
    if found.label is None:
        return {"text": found.verdict.replace("_", " "), "css": "none", "mark": "–"}
    if truth is None or truth not in session.labels:
        return {"text": session.activities[found.label], "css": "unscored", "mark": "?"}
    right = found.label == truth
    return {
        "text": session.activities[found.label],
        "css": "right" if right else "wrong",
        "mark": "✓" if right else "✗",
    }


def _model(result: Result, position: int) -> dict[str, Any]:
    answer, reading = result.answers[position], result.readings[position]
    made = answer.stored.generation if answer.stored else None
    return {
        "name": result.model.name,
        "kind": KINDS[result.model.kind],
        "engine": result.made_by,
        "reasoning": reading.reasoning,
        "answer": reading.answer or answer.error,
        "tokens": made.output_tokens if made else 0,
        "seconds": made.seconds if made else 0.0,
        "finish": made.finish_reason if made else "failed",
    }


def show_traces(results: Sequence[Result], n_static: int = 2) -> None:
    """Show traces: a widget that steps through all windows where one can live, else the first ``n_static`` windows."""
    n = len(results[0].task.windows)
    if headless():
        for position in range(min(n_static, n)):
            display(trace_html(results, position))
        return
    import ipywidgets

    slider = ipywidgets.IntSlider(0, 0, max(0, n - 1), description="window", continuous_update=False)
    ipywidgets.interact(lambda position: display(trace_html(results, position)), position=slider)
