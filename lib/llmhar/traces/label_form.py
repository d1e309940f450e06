"""A form in which people label one window before they see its truth. Asks no model and keeps nothing.

In a live notebook it holds a menu an event (ipywidgets); where no widget can live, in a report, its twin is a table
with an empty column to write into and each truth folded away. Sensor and activity names are untrusted: they go through
auto-escaping templates, or into menus, which show text as text.
"""

from __future__ import annotations

from typing import Any

from IPython.display import HTML, display

from llmhar.data.events import Session, Window
from llmhar.text.serialize import clean_text
from llmhar.traces.lesson import activity_names, check_guess
from llmhar.traces.view import headless, templates

NO_IDEA = "?"
"""The label of who has no idea."""


class LabelForm:
    """One choice an event of a window; shows itself where a notebook's cell returns it."""

    def __init__(self, window: Window, session: Session) -> None:
        """Ask for a label of each event.

        Args:
            window: whose events are shown.
            session: its session, which knows the names that may be chosen and the truth.
        """
        self.window, self.session = window, session
        self.labels: list[str] = [NO_IDEA] * len(window.events)
        """A label an event, as chosen so far; "?" where none is."""

    def truth_html(self) -> HTML:
        """The labels beside the truth, with the number that is right."""
        table = check_guess(self.window, self.session, self.labels)
        page = templates.get_template("guesses.html.j2")
        scored = table[table["right"] != "–"]
        return HTML(page.render(rows=table.itertuples(), right=sum(scored["right"] == "yes"), scored=len(scored)))

    def static_html(self) -> HTML:
        """The form for a page without widgets: events, an empty column, truths to unfold, and the names."""
        rows = [(f"{e.time:%H:%M:%S}", e.text, self.session.truth_of(e) or "not annotated") for e in self.window.events]
        page = templates.get_template("label_form.html.j2")
        return HTML(page.render(rows=rows, names=activity_names(self.session)))

    def widget(self) -> Any:
        """The form as one widget: a menu an event, and a button that shows the truth once all of them are set."""
        import ipywidgets

        names = [("choose …", ""), ("? (no idea)", NO_IDEA)]
        names += [(clean_text(name), name) for name in activity_names(self.session)]
        wide = ipywidgets.Layout(width="auto", min_width="300px", flex="0 1 420px")
        texts = [clean_text(f"{event.time:%H:%M:%S} {event.text}") for event in self.window.events]
        page = templates.get_template("event.html.j2")
        shown = [ipywidgets.HTML(page.render(place=i, text=text), layout=wide) for i, text in enumerate(texts)]
        menus = [ipywidgets.Dropdown(options=names, tooltip=f"label of event {i}: {t}") for i, t in enumerate(texts)]
        button = ipywidgets.Button(description="Show the truth", disabled=True)
        told, result = ipywidgets.HTML(_left(len(menus), len(menus))), ipywidgets.HTML()

        def choose(_: object) -> None:
            left = sum(not menu.value for menu in menus)
            self.labels = [menu.value or NO_IDEA for menu in menus]
            button.disabled, told.value, result.value = left > 0, _left(left, len(menus)), ""

        for menu in menus:
            menu.observe(choose, "value")
        button.on_click(lambda _: setattr(result, "value", self.truth_html().data))
        rows = [ipywidgets.HBox(pair) for pair in zip(shown, menus, strict=True)]
        return ipywidgets.VBox([*rows, ipywidgets.HBox([button, told]), result])

    def _ipython_display_(self) -> None:
        display(self.static_html() if headless() else self.widget())


def _left(left: int, n: int) -> str:
    """How many events still want a label; numbers and our own words alone."""
    return f"{left} of {n} events want a label" if left else "all labelled"
