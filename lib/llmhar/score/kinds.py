"""Losses by kind: which activities a model loses, by how often they are done and by whether people keep still in them.

Frequency is that of the asked data: the activities of a data set, ranked by their scored events, in thirds. Stillness
follows the grammar of made-up homes (``params/grammar.yaml``): its list ``still`` names what motion sensors see little
of, and its wordings say by which words people call that. Asks nobody, draws no figure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from llmhar.data.events import true_activity
from llmhar.data.grammar import bare_name, grammar
from llmhar.score.stats import Floats, Interval, resampled_interval
from llmhar.score.tables import Result

Kind = Literal["static", "moving", "other"]
KINDS: tuple[Kind, ...] = ("static", "moving", "other")
FREQUENCIES = ("frequent", "middling", "rare")
"""Thirds of a data set's activities, ranked by their scored events."""
WORDS: Mapping[str, str] = {
    "relax": "rest", "relaxation": "rest", "bed": "sleep", "asleep": "sleep", "lie": "sleep", "pc": "computer",
    "work": "computer", "study": "computer", "homework": "computer", "meditate": "pray", "film": "tv",
    "exercise": "sport", "meds": "pills", "transition": "toilet", "restroom": "toilet", "shave": "groom",
    "bathe": "shower", "housekeep": "clean", "chores": "clean", "wander": "leave", "arrive": "enter",
}  # fmt: skip
"""Words of labels that the grammar's wordings do not have, or use in passing, -> its activity."""
_EMPTY = re.compile(
    r"(?:an?|the|to|in|at|on|of|or|and|by|with|for|from|up|out|into|off|down|be|being|is|go|going|get|getting|ha(?:ve|ving)|"
    r"tak(?:e|ing)|mak(?:e|ing)|do|doing|us(?:e|ing)|put|putting|set|time|some\w*|before|after|while|between|whole|ones?|me|"
    r"others?|else|activit(?:y|ies)|house|home|room|morning|noon|midday|afternoon|evening|night|day|today|again)"
)
"""Words that tell no activity from another."""


def kind_of(activity: str) -> Kind:
    """Whether people keep still in an activity, by its name; "other" where no word of it is known.

    A name that is a wording of the grammar is what that wording means: static if half of it or more is in the list
    ``still``. Any other name is taken by its words, each a vote of the activities of the grammar that are called by
    it; a word that few are called by counts more, and static is what most votes say. "Other" means no activity.
    """
    wordings, words = _vocabulary()
    if (meant := wordings.get(bare_name(activity))) is not None:
        return "other" if not meant else "static" if _still_share(meant) >= 0.5 else "moving"
    votes = [(_still_share(words[word]), 1 / len(words[word])) for word in _words(activity) if word in words]
    if not votes:
        return "other"
    share = sum(still * weight for still, weight in votes) / sum(weight for _, weight in votes)
    return "static" if share > 0.5 else "moving"


def _still_share(activities: frozenset[str]) -> float:
    return len(activities.intersection(grammar()["still"])) / len(activities)


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """Wording without case and marks, and single word, -> activities of the grammar that are called so."""
    tables = grammar()
    wordings: dict[str, frozenset[str]] = {bare_name(name): frozenset() for name in tables["others"]}
    words: dict[str, frozenset[str]] = {}
    for entry in tables["merges"].values():
        for form in (0, 1):
            wordings |= {bare_name(_form(name, form)): frozenset(entry["of"]) for name in entry["names"]}
    for key, entry in tables["activities"].items():
        own = frozenset([entry.get("variant_of", key)])
        for name in (_form(name, form) for name in [key, *entry["names"], entry["says"]] for form in (0, 1)):
            wordings[bare_name(name)] = own
            words |= {word: words.get(word, frozenset()) | own for word in _words(name)}
    words |= {_stem(word): frozenset([key]) for word, key in WORDS.items()}
    return wordings, words


def _form(name: str, form: int) -> str:
    """A wording of the grammar in one of its two forms: "a/b c" is "a c" or "b c"."""
    return re.sub(r"([\w-]+)/([\w-]+)", lambda found: found[1 + form], name)


def _words(name: str) -> list[str]:
    """Telling words of a label in any style, as stems: "Watch_TV", "watchTV", "watching TV" -> "watch", "tv"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [_stem(word) for word in re.findall(r"[^\W\d_]+", apart.casefold()) if not _EMPTY.fullmatch(word)]


def _stem(word: str) -> str:
    """A word without its ending, so that "bathing", "bathe" and "baths" are one."""
    for ending in ("ings", "ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    word = word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
    return word.removesuffix("e") if len(word) > 3 else word


class Losses(NamedTuple):
    """What one model made of each activity, counted by session."""

    model: str
    activities: tuple[tuple[str, str], ...]
    """(data, activity), those that occur in the truth."""
    sessions: tuple[tuple[str, str], ...]
    """(data, session), those of one data set side by side."""
    hits: Floats
    """Events of each activity that were answered as it, shape (n_sessions, n_activities)."""
    support: Floats
    """Scored events of each activity."""
    predicted: Floats
    """Scored events that were answered as it."""


def count_losses(results: Sequence[Result]) -> list[Losses]:
    """Counts of each model over all the data sets it was asked about.

    Args:
        results: models on tasks, each pair once; all models on the same tasks.

    Raises:
        ValueError: a model was not asked about the same events as the first, or twice about one data set.
    """
    tallies: dict[str, _Tallies] = {}
    for result in sorted(results, key=lambda result: result.task.data):
        known = tallies.setdefault(result.model.name, _Tallies({}, Counter(), Counter(), Counter()))
        if result.task.data in known.events:
            raise ValueError(f"{result.model.name} has two results on {result.task.data}")
        _tally(result, known)
    first = next(iter(results), None)
    order = list(dict.fromkeys(result.model.name for result in results))
    for name in order:
        if first and tallies[name].events != tallies[first.model.name].events:
            raise ValueError(f"{name} was not asked about the same events as {first.model.name}")
    pairs = list(dict.fromkeys(pair for name in order for pair in tallies[name].support))
    sessions, activities = (sorted(dict.fromkeys(pair[i] for pair in pairs), key=lambda own: own[0]) for i in (0, 1))
    return [
        Losses(
            name,
            tuple(activities),
            tuple(sessions),
            *(np.array([[tally[s, a] for a in activities] for s in sessions], float) for tally in tallies[name][1:]),
        )
        for name in order
    ]


_Pair = tuple[tuple[str, str], tuple[str, str]]
"""(data, session), (data, activity)."""


class _Tallies(NamedTuple):
    """One model's counts."""

    events: dict[str, set[tuple[str, int]]]
    """Data -> its scored events that the model was asked about."""
    hits: Counter[_Pair]
    support: Counter[_Pair]
    predicted: Counter[_Pair]


def _tally(result: Result, tallies: _Tallies) -> None:
    data = result.task.data
    tallies.events[data] = set(result.task.scored_events())
    for window, reading in zip(result.task.windows, result.readings):
        session, labels = (data, window.session_id), result.task.sessions[window.session_id].labels
        for i in window.counted:
            label = reading.predictions[i].label
            true = true_activity(window.events[i].activity_ids, labels, label)
            if true is not None:
                tallies.support[session, (data, labels[true])] += 1
                tallies.hits[session, (data, labels[true])] += true == label
                if label is not None:
                    tallies.predicted[session, (data, labels[label])] += 1


def frequencies(losses: Losses) -> list[str]:
    """Which third of its data set each activity is in, in the order of ``losses.activities``."""
    n_events, found = losses.support.sum(axis=0), dict[tuple[str, str], str]()
    for data in dict.fromkeys(data for data, _ in losses.activities):
        own = [i for i, activity in enumerate(losses.activities) if activity[0] == data]
        ranked = sorted(own, key=lambda i: (-n_events[i], losses.activities[i]))
        found |= {losses.activities[i]: FREQUENCIES[3 * place // len(own)] for place, i in enumerate(ranked)}
    return [found[activity] for activity in losses.activities]


def kind_table(results: Sequence[Result]) -> pd.DataFrame:
    """Recall and F1 of each group of activities under each model; a row a group and model, "all" first.

    F1 is the mean over a group's activities of all data sets, each over all its sessions; recall the share of the
    group's events that were answered rightly. Intervals resample sessions within their data set.

    Args:
        results: models on the same tasks, the largest model first: of all others the last columns give what is lost
            against it.
    """
    counts = count_losses(results)
    if not counts:
        return pd.DataFrame()
    thirds, kinds = frequencies(counts[0]), [kind_of(name) for _, name in counts[0].activities]
    groups = [("all", list(range(len(kinds))))]
    for names, of_each in ((FREQUENCIES, thirds), (KINDS, kinds)):
        groups += [(name, [i for i, own in enumerate(of_each) if own == name]) for name in names]
    rows = [{"activities": name} | row for name, chosen in groups if chosen for row in _rows(counts, chosen)]
    return pd.DataFrame(rows).set_index(["activities", "model"])


def _rows(counts: Sequence[Losses], chosen: Sequence[int]) -> list[dict[str, object]]:
    """One row a model over some activities."""
    rows = []
    for losses in counts:
        row: dict[str, object] = {"model": losses.model, "n activities": len(chosen)}
        seen = losses.support[:, chosen]
        row |= {"n events": int(seen.sum()), "n sessions": int((seen.sum(axis=1) > 0).sum())}
        for what, measure in (("recall", _recall), ("F1", _macro_f1)):
            row |= _bounds(what, _interval(losses, measure(losses, chosen)))
        if losses is not counts[0]:
            row |= _bounds("F1 lost", _interval(losses, _gap(counts[0], losses, chosen), signed=True))
        rows.append(row)
    return rows


Statistic = Callable[[Floats], Floats]
"""How often each session is taken, (n_draws, n_sessions) -> the statistic of each draw, (n_draws,)."""


def _recall(losses: Losses, chosen: Sequence[int]) -> Statistic:
    hits, support = losses.hits[:, chosen].sum(axis=1), losses.support[:, chosen].sum(axis=1)
    return lambda times: times @ hits / np.maximum(times @ support, 1)


def _macro_f1(losses: Losses, chosen: Sequence[int]) -> Statistic:
    hits, support = losses.hits[:, chosen], losses.support[:, chosen]
    both = support + losses.predicted[:, chosen]

    def score(times: Floats) -> Floats:
        seen = times @ support > 0
        f1 = 2 * (times @ hits) / np.maximum(times @ both, 1)
        return np.asarray((f1 * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1))

    return score


def _gap(first: Losses, second: Losses, chosen: Sequence[int]) -> Statistic:
    before, after = _macro_f1(first, chosen), _macro_f1(second, chosen)
    return lambda times: before(times) - after(times)


def _interval(losses: Losses, statistic: Statistic, *, signed: bool = False) -> Interval:
    """Interval over sessions, resampled within their data set; ``signed``: of a gap, -1 … 1."""
    sizes = [len(list(own)) for _, own in groupby(losses.sessions, key=lambda session: session[0])]
    shown = (lambda times: (1 + statistic(times)) / 2) if signed else statistic
    found = resampled_interval(shown, len(losses.sessions), int(losses.support.sum()), strata=sizes)
    return found._replace(**{f: 2 * getattr(found, f) - 1 for f in ("mean", "low", "high")}) if signed else found


def _bounds(what: str, interval: Interval) -> dict[str, object]:
    return {what: interval.mean, f"{what}, 95 % low": interval.low, f"{what}, 95 % high": interval.high}
