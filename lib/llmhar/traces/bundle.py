"""Packs traces for the explorer: windows, truth, what each model thought and said, and which events its words cite.

A bundle is plain JSON; its layout, field by field, is in ``CONTRIBUTING.md`` ("The explorer's bundle"). The same bundle
goes to the widget and into the offline file. Texts are untrusted and stay texts; they are only made fit for any JSON
reader: no lone surrogates, no control or direction marks. Asks nobody, draws nothing.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from llmhar.ask.inference import PAGE, Answer
from llmhar.ask.stored import SHORT_KEY, Note
from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent, Session, Window
from llmhar.records import VERDICTS
from llmhar.score.tables import KINDS, Result
from llmhar.text.mentions import find_mentions
from llmhar.text.parsing import Reading
from llmhar.text.prompt import PromptError, home_of

VERSION = 1
MAX_BYTES = 1 << 30
"""Largest bundle that :func:`unpack` opens."""
_LEVEL = 9  # a tenth smaller than 6 and a second slower on 10,000 traces
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

T = TypeVar("T")


class _Table(Generic[T]):
    """Things in the order in which they were first seen, each once."""

    def __init__(self) -> None:
        self.things: list[T] = []
        self._places: dict[Any, int] = {}

    def place(self, thing: T, key: Any = None) -> int:
        key = thing if key is None else key
        if key not in self._places:
            self._places[key] = len(self.things)
            self.things.append(thing)
        return self._places[key]


def clean(text: str) -> str:
    """Text that any JSON reader takes and that shows as it is: marks that it may not have become U+FFFD."""
    return _UNFIT.sub("\ufffd", text.replace("\r\n", "\n"))


def build_bundle(
    results: Sequence[Result],
    *,
    notes: Iterable[Note | Mapping[str, Any]] = (),
    teacher: str | None = None,
    students: Sequence[str] = (),
) -> dict[str, Any]:
    """All traces of some results in one JSON-ready dictionary.

    Results on the same windows stand side by side; a model that was not asked about a window has null there. A model
    with several results on the same windows (other prompt, other sampling) gets a column for each.

    Args:
        results: of one or several models, on one or several tasks.
        notes: from :meth:`llmhar.ask.store.Store.notes`, or as JSON; those on other traces are left out.
        teacher: name of the model that the students learnt from.
        students: names of models.

    Raises:
        ValueError: no results, or a teacher or student that none of them is of.
    """
    if not results:
        raise ValueError("nothing to show: no results")
    columns, models = columns_of(results)
    packer = _Packer(len(models))
    for result, column in zip(results, columns):
        packer.add(result, column)
    packer.link()
    names = [result.model.name for result in results]
    for name in (*students, *([] if teacher is None else [teacher])):
        if name not in names:
            raise ValueError(f"{name} is not among the results; there are: {', '.join(dict.fromkeys(names))}")
    place = lambda name: columns[names.index(name)]  # noqa: E731
    windows = list(packer.windows.values())
    shown_keys = {answer["k"] for window in windows for answer in window["a"] if answer}
    all_notes = [note.to_json() if isinstance(note, Note) else dict(note) for note in notes]
    datasets = [dataset["name"] for dataset in packer.datasets.things]
    return {
        "version": VERSION,
        "title": clean(f"{', '.join(datasets)}: {_count(models, 'model')} on {_count(windows, 'window')}"),
        "provenance": _provenance(results, models),
        "models": models,
        "datasets": packer.datasets.things,
        "homes": packer.homes.things,
        "labels": packer.labels.things,
        "prompts": packer.prompts.things,
        "windows": windows,
        "verdicts": list(VERDICTS),
        "teacher": None if teacher is None else place(teacher),
        "students": [place(name) for name in dict.fromkeys(students)],
        "notes": [_note(note) for note in all_notes if note["k"] in shown_keys],
    }


def columns_of(results: Sequence[Result]) -> tuple[list[int], list[dict[str, str]]]:
    """Column of each result, and the bundle's "models": one entry a column."""
    columns: list[int] = []
    models: list[dict[str, str]] = []
    owners: list[tuple[tuple[str, str], set[Any]]] = []
    for result in results:
        identity, windows = (result.model.name, result.model.revision), {_key(result, w) for w in result.task.windows}
        same = [i for i, (owner, _) in enumerate(owners) if owner == identity]
        column = next((i for i in same if not owners[i][1] & windows), None)
        if column is None:
            column = len(owners)
            owners.append((identity, set()))
            name = clean(result.model.name) + (f" #{len(same) + 1}" if same else "")
            models.append({"name": name, "kind": KINDS[result.model.kind], "engine": "", "revision": result.revision})
        owners[column][1].update(windows)
        engines = dict.fromkeys([*filter(None, models[column]["engine"].split(" | ")), clean(result.made_by)])
        models[column]["engine"] = " | ".join(engines)
        columns.append(column)
    return columns, models


def _key(result: Result, window: Window) -> tuple[Any, ...]:
    return (result.task.data, window.session_id, window.index, tuple(event.event_id for event in window.events))


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _provenance(results: Sequence[Result], models: Sequence[Mapping[str, str]]) -> list[str]:
    """One line each data set and model."""
    lines = [clean(f"{result.task.data}: {result.task.subset}") for result in results]
    lines += [f"{m['name']} ({m['kind']}): {m['engine']}, revision {m['revision'] or 'none'}" for m in models]
    return list(dict.fromkeys(lines))


def _note(note: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "k": note["k"],
        "tags": [clean(str(tag)) for tag in note["tags"]],
        "text": clean(str(note["text"])),
        "at": str(note["at"]),
    }


class _Packer:
    """Tables that fill while results are added."""

    def __init__(self, n_models: int) -> None:
        self._n = n_models
        self.datasets: _Table[dict[str, Any]] = _Table()
        self.homes: _Table[dict[str, Any]] = _Table()
        self.labels: _Table[str] = _Table()
        self.prompts: _Table[dict[str, Any]] = _Table()
        self.windows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._events: dict[tuple[Any, ...], Sequence[SensorEvent]] = {}

    def add(self, result: Result, column: int) -> None:
        """One result's windows in its column."""
        task = result.task
        of_window = {(w.session_id, w.index): task.prompt_of(w) for w in task.windows}
        for window, answer, reading in zip(task.windows, result.answers, result.readings):
            session = task.sessions[window.session_id]
            key = _key(result, window)
            if key not in self.windows:
                self.windows[key] = self._window(task, session, window)
                self._events[key] = window.events
            entry = self.windows[key]
            prompt = of_window[window.session_id, window.index]
            asked = self.prompts.place(
                {"parts": {k: clean(v) for k, v in prompt.parts.items()}, "system_only": True}, prompt.sha256
            )
            entry["p"] = _prompt_places(entry["p"], column, asked, self._n)
            entry["a"][column] = pack_answer(answer, reading, partial(self._label, session))

    def link(self) -> None:
        """Find what each reasoning cites: window by window, for the names in a window are looked up once."""
        for key, window in self.windows.items():
            for answer in filter(None, window["a"]):
                link_answer(answer, self._events[key])

    def _window(self, task: Task, session: Session, window: Window) -> dict[str, Any]:
        return {
            "d": self.datasets.place({"name": clean(task.data)}, task.data),
            "h": self.homes.place(_home(session), session.home),
            "s": clean(window.session_id),
            "i": window.index,
            "p": None,
            "e": [
                [
                    event.time.strftime("%H:%M:%S"),
                    clean(event.room),
                    clean(event.sensor),
                    clean(event.state),
                    *self._truths(session, event),
                ]
                for event in window.events
            ],
            "a": [None] * self._n,
        }

    def _truths(self, session: Session, event: SensorEvent) -> list[int]:
        """Labels of an event's scored activities; -1 alone where it has none."""
        labels = session.labels
        return [self._label(session, activity) for activity in event.activity_ids if activity in labels] or [-1]

    def _label(self, session: Session, number: int | None) -> int:
        return -1 if number is None else self.labels.place(clean(session.activities[number]))


def pack_answer(answer: Answer, reading: Reading, place: Callable[[int | None], int]) -> dict[str, Any]:
    """One entry of a window's "a", its mentions ("m", and those in "w") still to be found (:func:`link_answer`).

    Args:
        answer: what the store has.
        reading: of it.
        place: number of an activity -> index into the bundle's labels; -1 for None.
    """
    made = answer.stored.generation if answer.stored else None
    return {
        "r": clean(reading.reasoning),
        "x": clean(reading.answer or answer.error),
        "l": [place(prediction.label) for prediction in reading.predictions],
        "v": [VERDICTS.index(prediction.verdict) for prediction in reading.predictions],
        "t": made.output_tokens if made else 0,
        "c": round(made.seconds, 3) if made and math.isfinite(made.seconds) else 0,
        "f": clean(made.finish_reason) if made else "failed",
        "k": answer.ask.request.key[:SHORT_KEY],
        "m": [],
        "w": [[clean(reading.whys.get(i, "")), []] for i in range(len(reading.predictions))] if reading.whys else [],
    }


def link_answer(packed: dict[str, Any], events: Sequence[SensorEvent]) -> None:
    """Find which events the reasoning of an answer cites, and each event's own reason.

    Args:
        packed: from :func:`pack_answer`; is changed in place.
        events: the window's.
    """
    packed["m"] = pack_mentions(packed["r"], events)
    packed["w"] = [[why, pack_mentions(why, events)] for why, _ in packed["w"]]


def pack_mentions(reasoning: str, events: Sequence[SensorEvent]) -> list[list[Any]]:
    """The mentions in a text: [start, end, [event ids], kind], in UTF-16 code units of the cleaned text.

    JavaScript counts in these: characters beyond the first plane count twice.
    """
    astral = [] if reasoning.isascii() else [match.start() for match in _ASTRAL.finditer(reasoning)]
    units = lambda at: at + bisect_left(astral, at)  # noqa: E731
    return [[units(m.start), units(m.end), list(m.events), m.kind] for m in find_mentions(reasoning, events)]


def _prompt_places(old: int | list[int | None] | None, column: int, asked: int, n: int) -> int | list[int | None]:
    """One number where all models that were asked had the same prompt, else one for each model."""
    if old is None or old == asked:
        return asked
    every: list[int | None] = [old] * n if isinstance(old, int) else list(old)
    every[column] = asked
    return every


def _home(session: Session) -> dict[str, Any]:
    """Name, rooms, activities and sketch; of a home without a file, the rooms that its events name."""
    activities = list(map(clean, session.labels.values()))
    try:
        home = home_of(session)
    except PromptError:
        rooms = [clean(room) for room in dict.fromkeys(event.room for event in session.events if event.room)]
        return {"name": clean(session.home), "rooms": rooms, "activities": activities, "plan": None}
    plan = {clean(room): list(box) for room, box in home.plan.items()} if home.plan else None
    return {"name": home.name, "rooms": list(map(clean, home.rooms)), "activities": activities, "plan": plan}


def pack(bundle: Mapping[str, Any]) -> bytes:
    """Compress a bundle (deflate with zlib's header: browsers open it with ``DecompressionStream("deflate")``).

    Raises:
        ValueError: NaN or infinity, which JSON has no word for.
    """
    packer = zlib.compressobj(_LEVEL)
    packed = [packer.compress(text.encode("utf-8", "replace")) for text in _json_parts(bundle)]
    return b"".join([*packed, packer.flush()])


def _json_parts(bundle: Mapping[str, Any]) -> Iterator[str]:
    """The bundle as JSON in parts, its windows page by page: the whole text is never held."""
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
    for number, (name, value) in enumerate(bundle.items()):
        yield f"{',' if number else '{'}{encode(name)}:"
        if name != "windows":
            yield encode(value)
            continue
        for start in range(0, len(value), PAGE):
            yield ("," if start else "[") + encode(value[start : start + PAGE])[1:-1]
        yield "]" if value else "[]"
    yield "}"


def unpack(packed: bytes) -> dict[str, Any]:
    """Inverse of :func:`pack`.

    Raises:
        ValueError: no packed bundle, one of another version, or one beyond :data:`MAX_BYTES`.
    """
    opener = zlib.decompressobj()
    try:
        text = opener.decompress(packed, MAX_BYTES)
        bundle = json.loads(text)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"no bundle of traces: {error}") from error
    if opener.unconsumed_tail or not isinstance(bundle, dict) or bundle.get("version") != VERSION:
        raise ValueError(f"no bundle of version {VERSION}")
    return bundle
