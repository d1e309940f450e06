"""Looks at single traces: what a model was shown, what it thought, what it answered, and what was true.

One view (``static/explorer.js``) in two places: a widget in live notebooks (:func:`browse_traces`) and one file that
needs neither network nor Python (:func:`write_offline`). Reports, where no script may run, have a static twin.

All model text, sensor names and labels are untrusted: here they go through one auto-escaping template, in the view
through text nodes alone. Knows no store and no engine: asking again and keeping notes are functions handed in.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe
from IPython.display import HTML, display

from llmhar import paths
from llmhar.ask.stored import Note
from llmhar.data.events import Session, Window, true_activity
from llmhar.score.tables import KINDS, Result
from llmhar.traces.bundle import build_bundle, pack

if TYPE_CHECKING:  # anywidget is for live notebooks alone
    from llmhar.traces.widget import Reask, SaveNote


def templates_of(package: str) -> jinja2.Environment:
    """The templates of a chapter ("llmhar.traces"): every HTML page and snippet comes out of one, escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


templates = templates_of("llmhar.traces")
STATIC = Path(__file__).parent / "static"
"""Script and style sheet of the view, the same for widget and file."""
MAX_WHY = 160
"""Characters of an event's reason that a report's table shows."""


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
            "truth": session.truth_of(event),
        }
        for i, event in enumerate(window.events)
    ]
    return HTML(templates.get_template("window.html.j2").render(window=window, rows=rows))


def trace_html(results: Sequence[Result], position: int) -> HTML:
    """One window side by side for several models: events, truth, labels with their own reasons, reasoning, raw answer.

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
            "truth": session.truth_of(event) or "not annotated",
            "labels": [_label(r, position, i, session) | {"why": _why(r, position, i)} for r in results],
        }
        for i, event in enumerate(window.events)
    ]
    models = [_model(result, position) for result in results]
    page = templates.get_template("trace.html.j2")
    return HTML(page.render(window=window, data=task.data, events=events, models=models))


def _label(result: Result, position: int, event: int, session: Session) -> dict[str, str]:
    prediction = result.readings[position].predictions[event]
    activities = result.task.windows[position].events[event].activity_ids
    truth = true_activity(activities, session.labels, prediction.label)
    if prediction.label is None:
        return {"text": prediction.verdict.replace("_", " "), "css": "none", "mark": "–"}
    if truth is None:
        return {"text": session.activities[prediction.label], "css": "unscored", "mark": "?"}
    right = prediction.label == truth
    return {
        "text": session.activities[prediction.label],
        "css": "right" if right else "wrong",
        "mark": "✓" if right else "✗",
    }


def _why(result: Result, position: int, event: int) -> str:
    """The event's own reason, as far as a table has room."""
    why = result.readings[position].whys.get(event, "")
    return why if len(why) <= MAX_WHY else f"{why[:MAX_WHY]} […]"


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


def browse_traces(
    results: Sequence[Result],
    *,
    teacher: str | None = None,
    students: Sequence[str] = (),
    reask: Reask | None = None,
    notes: Iterable[Note | Mapping[str, Any]] = (),
    save_note: SaveNote | None = None,
    n_static: int = 2,
) -> None:
    """Show all traces to filter, compare and annotate; where no widget can live, the first windows as plain HTML.

    Args:
        results: of one or several models on one or several tasks.
        teacher, students: names of models, for "student broke what the teacher had".
        reask: makes one answer to a changed window; None = no such button.
        notes: those there are, from :meth:`llmhar.ask.store.Store.notes` or as JSON.
        save_note: keeps a note and returns it as kept; None = notes are only shown.
        n_static: windows that a report shows, of the first result's task.
    """
    if headless():
        task = results[0].task
        same = [result for result in results if result.task.windows == task.windows]  # prompts may be their own
        for position in range(min(n_static, len(task.windows))):
            display(trace_html(same, position))
        return
    from llmhar.traces.widget import TraceBrowser

    bundle = build_bundle(results, notes=notes, teacher=teacher, students=students)
    display(TraceBrowser(bundle, reask=reask, save_note=save_note))


def offline_html(bundle: Mapping[str, Any]) -> str:
    """The view with its data as one page that works from disk: no network, no Python, no script but ours.

    The page's policy names the sha256 of our style and script, so nothing else can run even if some text of a model
    became an element by a fault of ours. The data lie in base64, which cannot end the element that holds them.

    Args:
        bundle: what is shown, as :func:`llmhar.traces.bundle.build_bundle` makes it.
    """
    style = (STATIC / "explorer.css").read_text(encoding="utf-8")
    script = (STATIC / "explorer.js").read_text(encoding="utf-8") + "\nopenOffline();\n"
    policy = (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return templates.get_template("explorer.html.j2").render(
        csp=policy,
        title=bundle["title"],
        style=markupsafe.Markup(style),  # our own files
        script=markupsafe.Markup(script),
        data=base64.b64encode(pack(dict(bundle))).decode("ascii"),
    )


def _sha256(text: str) -> str:
    """As content security policies write it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def write_offline(bundle: Mapping[str, Any], path: Path) -> int:
    """Write :func:`offline_html` to a file; readers see the old one or the new one, never half.

    Returns:
        Its size in bytes.
    """
    page = offline_html(bundle)
    paths.write_text(path, page)
    return len(page.encode())
