"""Finds answer items, ``{"id": …, "why": …, "activity": …}``, anywhere in a text. Knows no labels, gives no verdicts.

One pass over braces, brackets and strings: an object inside another item is that item's, never an answer of its own;
objects without an id (``{"answers": [...]}``) are looked through. What was mended is counted, nothing is completed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmhar.records import unique_keys

MAX_TOKENS = 12_000
"""Braces, brackets and strings read of one answer; a megabyte of them is left unread behind these."""
MAX_REPAIRED_CHARS = 500
"""Longest item that is mended."""
_MAX_NESTED_TEXTS = 10
_ITEM_ID = re.compile(r"""["']?\bid["']?\s*[:：]\s*["']?(\d{1,9})["']?\s*(?:[,，}]|$)""", re.IGNORECASE)
_KEY_ID = re.compile(r"\bid\b", re.IGNORECASE)
_OUTSIDE = re.compile(r"[{}\[\]]")
# Possessive repeats: a string that is never closed is read once. A quote opens a string only if the string ends where
# one may end, or with the text: in `"eating}, {"id"` none does, and the quote is a token of its own. Each token begins
# with a character that is looked for by itself.
_INSIDE = re.compile(
    r"""\{|\}|\[|\]"""
    r"""|"(?:(?<!\\")[^"\\\n]*+(?:\\.[^"\\\n]*+)*+(?:"(?=\s*+(?:[,:}\]，：]|//|/\*|\#|$))|$(?!\n)))?+"""
    r"""|'(?:(?<=[\s{,:\[]')[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'(?=\s*+[,:}\]]))?+"""
    r"""|//[^\n]*|/\*|/"""
)
_COMMENT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|//[^\n]*|/\*.*?\*/|(?<=\s)#[^\n"]*', re.DOTALL)
_LEADING_ZEROS = re.compile(r"(:\s*)0+(?=\d+\s*[,}])")
_DELIMITERS = re.compile(r"""[\s"'`“”‘’{}\[\](),:;=]+""")
_ESCAPED = re.compile(r'(?<!\\)"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_ITEMS = re.compile(r"\W*\[\s*\]\W*|```(?:json)?\s*\[\s*\]\s*```")
_FULL_WIDTH = tuple(zip("｛｝［］：，＂“”", '{}[]:,"""'))


class Item(NamedTuple):
    """One answer item as found."""

    event: int
    """Its id."""
    value: Any
    """What it says of the activity."""
    group: int
    """Number of the list that it stands in: items with a bracket between them are in different ones."""
    why: str = ""
    """The reason that it gives for its activity, decoded; empty where it gives none, or none that is a text."""


@dataclass(slots=True)
class Items:
    """What a text holds."""

    found: list[Item] = field(default_factory=list)
    """In the text's order."""
    broken: set[int] = field(default_factory=set)
    """Ids of items that cannot be read."""
    open_id: int | None = None
    """Id of the item that the text ends in."""
    closed: bool = False
    """The last list was ended with its bracket."""
    truncated: bool = False
    """The text ends inside an item or a list."""
    n_tried: int = 0
    """Items handed to repair, mended or not."""
    n_repaired: int = 0
    empty: bool = False
    """A well-formed list without items."""


@dataclass(slots=True)
class _Open:
    """An object or list that was begun."""

    mark: str
    start: int
    own: list[str] = field(default_factory=list)
    """The object's text without the objects inside it."""
    inside: list[tuple[int, int, Item]] = field(default_factory=list)
    """Items inside it with their places in the text: (start, end, item); their groups are counted in the end."""
    has_objects: bool = False


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str, n: int) -> None:
        self.text, self.n, self.items = text, n, Items()
        self.stack: list[_Open] = [_Open("", 0)]
        self.objects = 0
        """Open objects on the stack."""

    def run(self) -> Items:
        """Read all tokens, then decide what is cut."""
        text, at, segment, finished = self.text, 0, 0, False
        for _ in range(MAX_TOKENS):
            token = (_INSIDE if self.objects else _OUTSIDE).search(text, at)
            if token is None:
                finished = True
                break
            at, mark = token.end(), token.group()
            if mark == "/*":
                end = text.find("*/", at)
                at = end + 2 if end >= 0 else at
            if mark not in ("{", "}", "[", "]"):
                continue
            if self.objects:
                self.stack[-1].own.append(text[segment : token.start()])
            segment = at
            self._take(mark, token.start(), at)
        if self.objects:
            self.stack[-1].own.append(text[segment:])
        self._finish(finished)
        return self.items

    def _take(self, mark: str, start: int, end: int) -> None:
        top = self.stack[-1]
        if mark == "[":
            self.stack.append(_Open("[", start))
        elif mark == "{":
            before = self.text[max(0, start - 200) : start].rstrip()[-1:]
            if top.mark == "{" and before not in (":", "："):
                self._abandon()  # `{"id": 0, "activity": 1, {"id": 1 …`: the first was never closed
            self.stack[-1].has_objects = True
            self.stack.append(_Open("{", start))
            self.objects += 1
        elif mark == "]":
            while self.stack[-1].mark == "{":  # `{"id": 1, "activity": 2]`
                self._abandon()
            if self.stack[-1].mark == "[":
                closed = self.stack.pop()
                self._up(closed)
        elif self.objects:
            while self.stack[-1].mark == "[":
                closed = self.stack.pop()
                self._up(closed)
            self._close(end)

    def _up(self, closed: _Open) -> None:
        """Hand what stands in a closed list, or in an object that is no item, to what is around it."""
        self.stack[-1].inside += closed.inside
        self.stack[-1].own += closed.own
        self.stack[-1].has_objects |= closed.has_objects

    def _abandon(self) -> None:
        """Give up an object that was never closed."""
        lost = self.stack.pop()
        self.objects -= 1
        self.items.broken.update(_ids("".join(lost.own)))
        self.stack[-1].inside += lost.inside

    def _close(self, end: int) -> None:
        """Read a closed object: an item of its own, or something to look through."""
        made = self.stack.pop()
        self.objects -= 1
        own = "".join(made.own)
        if made.has_objects and not _KEY_ID.search(own):
            self.stack[-1].inside += made.inside
            self.stack[-1].has_objects = True
            return
        span = self.text[made.start : end]
        item = _read_item(span, self.items, self.n)
        if item is not None:
            self.stack[-1].inside.append((made.start, end, item))

    def _finish(self, finished: bool) -> None:
        items, text = self.items, self.text
        innermost = next((part for part in reversed(self.stack) if part.mark == "{"), None)
        if finished and innermost is not None:
            items.truncated = True
            own = "".join(innermost.own)
            cut = _ITEM_ID.search(own[:200])
            items.open_id = int(cut.group(1)) if cut and cut.end() < len(own) else None
        placed = [one for part in self.stack for one in part.inside]
        group, last = 0, 0
        for start, end, item in placed:
            gap = text[last:start]
            group += last > 0 and ("[" in gap or "]" in gap)
            items.found.append(item._replace(group=group))
            last = end
        if finished:
            tail = text[max(last, 0) : innermost.start] if innermost else text[last:]
            items.truncated |= "]" not in tail and "[" in text
            items.closed = "]" in tail and bool(items.found)


def scan_items(answer: str, n: int) -> Items:
    """Find answer items anywhere in a text.

    Where there is none as the text stands, they are looked for with full-width punctuation read as ASCII, then in JSON
    that stands inside strings (arguments of a tool call).

    Args:
        answer: a text after its thinking block.
        n: events of the window; bounds how much is mended.
    """
    items = _one_list(answer) or _Scan(answer, n).run()
    if not items.found and not answer.isascii() and (plain := _plain(answer)) != answer:
        mended = _Scan(plain, n).run()
        if mended.found:
            mended.n_repaired = max(mended.n_repaired, len(mended.found))
            return mended
    if not items.found and '\\"' in answer:
        strings = [m.group() for m in _ESCAPED.finditer(answer[:200_000]) if '\\"' in m.group()]
        for string in strings[:_MAX_NESTED_TEXTS]:
            try:
                inner = json.loads(string)
            except ValueError:
                continue
            if (nested := scan_items(inner, n)).found:
                nested.n_repaired = max(nested.n_repaired, len(nested.found))
                return nested
    # Short answers only: on a megabyte of "[]" the pattern would try every place.
    items.empty = not items.found and len(answer) < 200 and _NO_ITEMS.fullmatch(answer) is not None
    return items


def _plain(text: str) -> str:
    """Text with full-width punctuation as ASCII; ``str.translate`` looks every character up, and is slow."""
    for wide, mark in _FULL_WIDTH:
        text = text.replace(wide, mark)
    return text


def _one_list(answer: str) -> Items | None:
    """The usual case, much faster: one well-formed list of items and no brace beside it; None for anything else."""
    start, end = answer.find("["), answer.rfind("]") + 1
    if not 0 <= start < end or "{" in answer[:start] or "{" in answer[end:]:
        return None
    try:
        values = decoder.decode(answer[start:end])
    except (ValueError, RecursionError):
        return None
    items = Items(closed=True)
    for value in values:
        event = as_id(value.get("id")) if isinstance(value, dict) else None
        if event is None or "activity" not in value or len({key.strip().casefold() for key in value}) < len(value):
            return None
        items.found.append(Item(event, value["activity"], 0, why_of(value)))
    return items if items.found else None


decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
"""Reads answers; an object with two equal keys is none."""


def why_of(item: Mapping[str, Any]) -> str:
    """The "why" of an item, whatever its key's case; empty where there is none, or anything but a text."""
    why = next((content for key, content in item.items() if key.strip().casefold() == "why"), None)
    return why.strip() if isinstance(why, str) else ""


def _ids(text: str) -> set[int]:
    return {int(match.group(1)) for match in _ITEM_ID.finditer(text[:2000])}


def _read_item(span: str, items: Items, n: int) -> Item | None:
    """The item that a closed object is, its group still to be counted; None where it is none."""
    value = _decode_item(span, items, n)
    if value is None:
        items.broken.update(_ids(span))
        return None
    folded = {key.strip().casefold(): content for key, content in value.items()}
    if len(folded) != len(value):  # "activity" and "Activity": which was meant cannot be known
        items.broken.update(_ids(span))
        return None
    number = as_id(folded.get("id"))
    if number is None or ("activity" not in folded and "event" in folded):
        return None  # the window's own items, copied back by a model that repeats its question
    if "activity" not in folded:
        items.broken.add(number)
        return None
    return Item(number, folded["activity"], 0, why_of(value))


def _decode_item(span: str, items: Items, n: int) -> dict[str, Any] | None:
    try:
        value = decoder.decode(span)
        return value if isinstance(value, dict) else None
    except (ValueError, RecursionError) as error:
        # Repair is for delimiters of complete, short items, and not without end.
        if str(error) == "duplicate key" or len(span) > MAX_REPAIRED_CHARS or not _KEY_ID.search(span):
            return None
    if items.n_tried >= 2 * n:
        return None
    items.n_tried += 1
    value = mended(span)
    items.n_repaired += value is not None
    return value


def mended(span: str) -> dict[str, Any] | None:
    """The object that a text with braces around it is once its delimiters are mended; None where that is not enough.

    Args:
        span: at most :data:`MAX_REPAIRED_CHARS` characters are mended.
    """
    if len(span) > MAX_REPAIRED_CHARS:
        return None
    plain = _COMMENT.sub(lambda part: part.group() if part.group()[0] == '"' else " ", span)
    plain = _LEADING_ZEROS.sub(r"\1", plain if plain.isascii() else _plain(plain))
    try:
        value = decoder.decode(plain)
    except (ValueError, RecursionError) as error:
        value = None if str(error) == "duplicate key" else _repaired(plain)
    return value if isinstance(value, dict) else None


def _repaired(span: str) -> dict[str, Any] | None:
    """The object with its delimiters mended; None where more than delimiters would have to change."""
    import json_repair  # only broken answers pay for it

    try:
        value = json_repair.loads(span)
    except Exception:  # a third party on hostile text: whatever it trips over, the item is unreadable
        return None
    if not isinstance(value, dict) or _substance(span) != _substance(" ".join(f"{k} {v}" for k, v in value.items())):
        return None
    empty = {key.strip().casefold() for key, content in value.items() if content == ""}
    return None if empty - {"why"} else value  # a reason may be left blank, an activity may not


def _substance(text: str) -> str:
    """Text without what repair may touch: json_repair also drops words (2 of "2 or 3") and the first of two keys."""
    return _DELIMITERS.sub("", text).casefold().replace("null", "none")


def as_id(value: Any) -> int | None:
    """The id that a value is, as a number or as digits; None for anything else."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) < 1e9 and value == int(value) else None
