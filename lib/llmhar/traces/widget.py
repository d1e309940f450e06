"""The explorer as a Jupyter widget: hands a bundle to ``static/explorer.js`` and answers its two questions.

The questions, "ask again with these events" and "keep this note", go to functions that the caller handed in: this
module knows no store and no engine. What the functions raise becomes a sentence in the view. The view's code comes
with the package: nothing is fetched. Imported in live notebooks only (anywidget).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import anywidget
import traitlets

from llmhar.settings import choose
from llmhar.text.prompt import PROMPTS
from llmhar.traces.bundle import pack
from llmhar.traces.counterfactual import Order

_STATIC = Path(__file__).parent / "static"


Reask = Callable[[Order], Mapping[str, Any]]
"""Makes one answer, in the form that ``windows[].a`` of a bundle has."""
SaveNote = Callable[[str, list[str], str], Mapping[str, Any]]
"""(key of the trace, tags, comment) -> the note as kept, in the form that ``notes`` of a bundle has."""


class TraceBrowser(anywidget.AnyWidget):
    """Filter, compare, ask again and annotate the traces of one bundle."""

    _esm = _STATIC / "explorer.js"
    _css = _STATIC / "explorer.css"
    packed = traitlets.Bytes().tag(sync=True)
    """The bundle as compressed JSON (:func:`llmhar.traces.bundle.pack`)."""
    can_reask = traitlets.Bool().tag(sync=True)
    can_note = traitlets.Bool().tag(sync=True)
    wordings = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """Ways to word the prompt that asking again offers."""

    def __init__(
        self, bundle: Mapping[str, Any], *, reask: Reask | None = None, save_note: SaveNote | None = None
    ) -> None:
        """Show ``bundle``; without ``reask`` or ``save_note`` the view has no buttons for it."""
        self._bundle, self._reask, self._save_note = bundle, reask, save_note
        super().__init__(
            packed=pack(dict(bundle)),
            can_reask=reask is not None,
            can_note=save_note is not None,
            wordings=list(PROMPTS),
        )
        self.on_msg(self._hear)

    def _hear(self, _: object, message: Any, __: object) -> None:
        self.send(self.answer(message))

    def answer(self, message: Any) -> dict[str, Any]:
        """What the view is told: "reasked", "noted", or "failed" with one sentence; never raises.

        Args:
            message: the view's; its "type" is "reask" (a changed window) or "note" (a comment to keep).
        """
        try:
            kind = message.get("type") if isinstance(message, Mapping) else None
            if kind == "reask" and self._reask:
                order = read_order(message, self._bundle)
                reply = self._reask(order)
                asked = [list(event) for event in order.events]
                return {
                    "type": "reasked",
                    "window": order.window,
                    "model": order.model,
                    "answer": dict(reply),
                    "events": asked,
                }
            if kind == "note" and self._save_note:
                return {"type": "noted", "note": dict(self._save_note(*_read_note(message)))}
            raise ValueError(f"this view cannot do {kind!r}")
        except Exception as error:  # whatever goes wrong belongs in front of who asked, not in the server's log
            return {"type": "failed", "text": f"{type(error).__name__}: {error}"}


def read_order(message: Mapping[str, Any], bundle: Mapping[str, Any]) -> Order:
    """Check an order to ask again.

    Args:
        message: {"window", "model", "events": [[clock, room, sensor, state], …], "wording", "temperature"}.
        bundle: what the view shows.

    Raises:
        ValueError: no such window, model or wording, no events, or a temperature outside 0 … 2.
    """
    n, m, events = message.get("window"), message.get("model"), message.get("events")
    wording, temperature = message.get("wording"), message.get("temperature", 0.0)
    if not _is_index(n, bundle["windows"]) or not _is_index(m, bundle["models"]):
        raise ValueError(f"there is no window {n!r} or no model {m!r} here")
    if not isinstance(events, list) or not events or not all(_is_event(event) for event in events):
        raise ValueError("need at least one event, each with clock, room, sensor and state")
    if wording is not None:
        choose(PROMPTS, wording, f"unknown wording {wording!r}; there are:", ValueError)
    # "not <=" also refuses what is no number
    if (
        isinstance(temperature, bool)
        or not isinstance(temperature, int | float)
        or not 0 <= temperature <= 2
        or not math.isfinite(temperature)
    ):
        raise ValueError(f"temperature {temperature!r}: need a number from 0 to 2")
    window = bundle["windows"][n]
    return Order(
        window=n,
        dataset=bundle["datasets"][window["d"]]["name"],
        session=window["s"],
        index=window["i"],
        model=m,
        model_name=bundle["models"][m]["name"],
        events=tuple((event[0], event[1], event[2], event[3]) for event in events),
        labels=tuple(bundle["labels"]),
        wording=wording,
        temperature=float(temperature),
    )


def _is_index(value: Any, things: Sequence[Any]) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(things)


def _is_event(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(part, str) for part in value)


def _read_note(message: Mapping[str, Any]) -> tuple[str, list[str], str]:
    key, tags, text = message.get("k"), message.get("tags"), message.get("text")
    if not isinstance(key, str) or not isinstance(text, str) or not isinstance(tags, list):
        raise ValueError("a note needs a key, tags and a text")
    return key, [str(tag) for tag in tags], text
