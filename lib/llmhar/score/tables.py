"""Tables of the study, each derived from the store's answers and the truth. Asks nobody, draws nothing.

Every table that holds a score also says n, interval, engine, model revision, data and kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from llmhar.ask.inference import Answer
from llmhar.ask.models import ModelSpec
from llmhar.ask.pages import Paged, PagedAnswers
from llmhar.ask.store import Stored
from llmhar.ask.task import Task
from llmhar.data.events import Session, Window
from llmhar.records import VERDICTS, Fingerprint, Generation, Prediction
from llmhar.score.f1 import Overall, SessionScore, average, score_events
from llmhar.score.stats import Interval, Pair, t_interval, verdict
from llmhar.text.parsing import Contradictions, Reading, parse_answer

pd.set_option("display.max_colwidth", 160)  # reasons and file names are shown whole

SCORES = ("macro_f1", "weighted_f1", "union_f1", "accuracy", "missed_pct")
"""Fields of a session's score that are averaged over samples."""
KINDS = {
    "llm": "LLM",
    "rules": "rules, not an LLM",
    "recorded": "recorded replies",
    "chance": "chance",
    "encoder": "encoder",
    "baseline": "baseline, no LLM",
    "published": "published (S2)",
}
"""How tables, at home and of fusion, name what answered."""
NOT_RECORDED = "not recorded"
"""Threads of work that was done before they were kept, or by nobody here."""
STRICT_JOINT = "macro F1, joint events by their first activity"
"""Column that stands beside macro F1 where some event has several activities."""
NO_ANSWER = "no answer"
"""Column of a confusion table for answers that name no activity."""


@dataclass(frozen=True)
class Result:
    """One model's answers on one task, read and scored."""

    model: ModelSpec
    task: Task
    answers: Sequence[Answer]
    """In the order of ``task.windows``, one sample each."""
    readings: Sequence[Reading]
    sessions: tuple[SessionScore, ...]
    verdicts: Mapping[str, int]
    """Verdict -> number of events, labelled or not."""
    n_failed: int
    """Windows whose every attempt failed; their events count as missing."""
    fingerprints: tuple[Fingerprint, ...]
    """All engines that made these answers; more than one is a mixture and is said."""

    @property
    def overall(self) -> Overall:
        """Means over sessions."""
        return average(self.sessions)

    @property
    def macro_f1(self) -> Interval:
        """Macro F1 with t interval over sessions, cut at 0 and 1, which no F1 can pass."""
        return t_interval([score.macro_f1 for score in self.sessions if score.n_events]).within

    @property
    def weighted_f1(self) -> Interval:
        """Weighted F1, as :attr:`macro_f1`."""
        return t_interval([score.weighted_f1 for score in self.sessions if score.n_events]).within

    @property
    def n_joint(self) -> int:
        """Scored events with several activities."""
        return sum(score.n_joint for score in self.sessions)

    @property
    def generations(self) -> list[Generation]:
        """What was generated, window by window; windows whose every attempt failed are left out."""
        return [answer.stored.generation for answer in self.answers if answer.stored]

    @property
    def asked_revision(self) -> str:
        """The revision that requests name: the model's pinned one, or what is known of a server's."""
        return self.answers[0].ask.request.revision if self.answers else self.model.revision

    @property
    def revision(self) -> str:
        """The model's revision, short; what was done to its parent (pruned, tuned) stays visible."""
        commit, *changes = self.asked_revision.split("+")
        # of layers the number is enough ("l8"); weights that were tuned, merged or quantised differ by their hash alone
        parts = [change.partition(":") for change in changes]
        marks = [what if "-" in which or not which else f"{what}:{which[:8]}" for what, _, which in parts]
        marks += [f"lora {self.model.adapter.sha256[:8]}"] if self.model.adapter else []
        return "+".join([commit[:8], *marks])

    @property
    def made_by(self) -> str:
        """Engine and version, all of them where several made the answers."""
        names = sorted(set(map(str, self.fingerprints)))
        return (" + ".join(names) + (" (mixed engines)" if len(names) > 1 else "")) or "no answers"


def score_answers(task: Task, model: ModelSpec, answers: Sequence[Answer], *, strict: bool = False) -> Result:
    """Read and score one model's answers.

    Args:
        task: the windows that were asked, with truth.
        model: who answered.
        answers: one for each of ``task.windows`` in any order (one sample).
        strict: the strict reading instead of the flexible one.

    Raises:
        ValueError: answers to other windows than the task's, or two for one.
    """
    by_window = {(a.ask.session_id, a.ask.window_index): a for a in answers}
    windows = {(w.session_id, w.index) for w in task.windows}
    if len(by_window) != len(answers) or set(by_window) != windows:
        raise ValueError(f"{len(answers)} answers do not match the task's {len(windows)} windows one to one")
    ordered = tuple(by_window[w.session_id, w.index] for w in task.windows)
    labels = {name: session.labels for name, session in task.sessions.items()}
    readings = tuple(
        read_answer(answer, len(window.events), labels[window.session_id], strict)
        for answer, window in zip(ordered, task.windows)
    )
    return _result(task, model, ordered, readings, [answer.stored for answer in ordered])


def score_paged(task: Task, model: ModelSpec, paged: PagedAnswers) -> Result:
    """As :func:`score_answers`, of answers that are read page by page: only one page of texts and readings is held.

    Args:
        task: the windows that were asked, with truth.
        model: who answered.
        paged: its answers, one sample of each of ``task.windows``.
    """
    labels = {name: session.labels for name, session in task.sessions.items()}

    def read(start: int, stop: int) -> list[Reading]:
        own = zip(task.windows[start:stop], paged.stored[start:stop])
        return [read_stored(stored, len(window.events), labels[window.session_id]) for window, (stored, _) in own]

    readings = Paged(len(task.windows), read)
    return _result(task, model, paged.answers, readings, (stored for stored, _ in paged.stored))


def _result(
    task: Task,
    model: ModelSpec,
    answers: Sequence[Answer],
    readings: Sequence[Reading],
    stored: Iterable[Stored | None],
) -> Result:
    """Everything that one walk through the readings counts."""
    verdicts, fingerprints, n_failed = Counter[str](), set[Fingerprint](), 0

    def walk() -> Iterator[list[int | None]]:
        nonlocal n_failed
        for window, reading, made in zip(task.windows, readings, stored):
            predictions = reading.predictions
            verdicts.update([predictions[i].verdict for i in window.counted])
            n_failed += made is None
            if made:
                fingerprints.add(made.fingerprint)
            yield [prediction.label for prediction in predictions]

    sessions = score_labels(task, walk())
    return Result(model, task, answers, readings, sessions, verdicts, n_failed, tuple(sorted(fingerprints, key=str)))


def average_samples(samples: Sequence[Result]) -> Result:
    """The first sample's result with each session's scores averaged over all samples of the same windows."""
    if len(samples) == 1:
        return samples[0]
    sessions = []
    for same in zip(*[result.sessions for result in samples]):
        names = (*SCORES, *(["strict_macro_f1"] if same[0].n_joint else []))
        means = {name: sum(getattr(one, name) for one in same) / len(same) for name in names}
        sessions.append(replace(same[0], **means))
    return replace(samples[0], sessions=tuple(sessions))


def score_readings(task: Task, readings: Sequence[Reading]) -> tuple[SessionScore, ...]:
    """Score of each test session, from one reading a window in the order of ``task.windows``."""
    return score_labels(task, [[prediction.label for prediction in reading.predictions] for reading in readings])


def score_labels(task: Task, labels: Iterable[Sequence[int | None]]) -> tuple[SessionScore, ...]:
    """Score of each test session; an event is scored in the one window that counts it.

    Args:
        task: windows and truth.
        labels: a list for each of ``task.windows``, a label for each of its events, None where there is none.
    """
    windows: dict[str, list[Window]] = {session_id: [] for session_id in task.sessions}
    guess: dict[str, list[int | None]] = {session_id: [] for session_id in task.sessions}
    for window, own in zip(task.windows, labels):
        windows[window.session_id].append(window)
        guess[window.session_id] += own[window.n_context :]
    scores = []
    for name, session in task.sessions.items():
        truth = [event.activity_ids for window in windows[name] for event in window.events[window.n_context :]]
        scores.append(score_events(name, truth, guess[name], session.labels))
    return tuple(scores)


def count_verdicts(task: Task, readings: Sequence[Reading]) -> Counter[str]:
    """Verdict -> events, labelled or not, each in the one window that counts it."""
    pairs = zip(task.windows, readings)
    return Counter(reading.predictions[i].verdict for window, reading in pairs for i in window.counted)


def read_answer(
    answer: Answer, n: int, labels: Mapping[int, str], strict: bool = False, contradictions: Contradictions = "none"
) -> Reading:
    """What an answer says of each event; all are missing where there is none.

    Args:
        answer: what the store has.
        n: events in its window.
        labels: the label set.
        strict: the strict reading instead of the flexible one.
        contradictions: which of an event's different labels counts.
    """
    return read_stored(answer.stored, n, labels, strict, contradictions)


def read_stored(
    stored: Stored | None,
    n: int,
    labels: Mapping[int, str],
    strict: bool = False,
    contradictions: Contradictions = "none",
) -> Reading:
    """What an answer says of each event; all are missing where there is none.

    Args:
        stored: the answer; None = there is none.
        n: events in its window.
        labels: the label set.
        strict: the strict reading instead of the flexible one.
        contradictions: which of an event's different labels counts.
    """
    if stored is None:
        return Reading(tuple(Prediction(i, "missing", None) for i in range(n)), "", "", "absent")
    made = stored.generation
    reason = made.finish_reason
    return parse_answer(made.text, n, labels, strict=strict, finish_reason=reason, contradictions=contradictions)


def score_table(results: Sequence[Result]) -> pd.DataFrame:
    """One row a model: macro F1 with interval, weighted F1, missed events, and where the numbers come from.

    Over the union of labels, an activity that is only predicted counts as a class with F1 0. Where some event has
    several activities, macro F1 by the first ones alone stands beside it.
    """
    rows, joint = [], any(result.n_joint for result in results)
    for result in results:
        overall, f1 = result.overall, result.macro_f1
        rows.append(
            {
                "model": result.model.name,
                "kind": KINDS[result.model.kind],
                "macro F1": f1.mean,
                "95 % low": f1.low,
                "95 % high": f1.high,
                "sessions": f1.n,
                "events": overall.n_events,
                "weighted F1": overall.weighted_f1,
                "macro F1, union of labels": overall.union_f1,
                **({STRICT_JOINT: overall.strict_macro_f1} if joint else {}),
                "missed %": overall.missed_pct,
                "missed sd": overall.missed_sd,
                "failed windows": result.n_failed,
                "engine": result.made_by,
                "revision": result.revision,
                "data": result.task.data,
            }
        )
    return pd.DataFrame(rows).set_index("model")


def session_table(results: Sequence[Result]) -> pd.DataFrame:
    """Macro F1 of each session (rows) and model (columns), with the number of scored events."""
    columns: dict[str, Any] = {}
    for result in results:
        columns.setdefault("events", {score.session: score.n_events for score in result.sessions})
        columns[result.model.name] = {score.session: score.macro_f1 for score in result.sessions}
    return pd.DataFrame(columns).rename_axis("session")


def verdict_table(results: Sequence[Result]) -> pd.DataFrame:
    """Share of events with each verdict, in percent, and what else is odd about the answers; a row a model (S1 §4.9).

    The last columns count: answers that begin with the prompt's own example, answers whose ids run from 1 (every label
    may be one event off), items about events that the window does not have, and items drafted before the last list.
    """
    rows = {
        result.model.name: {
            "events": sum(result.verdicts.values()),
            **{v: 100 * result.verdicts.get(v, 0) / max(1, sum(result.verdicts.values())) for v in VERDICTS},
            "answers that copy the example": copied_examples(result),
            "answers counted from 1": sum(reading.from_one for reading in result.readings),
            "surplus items": sum(reading.n_extra for reading in result.readings),
            "draft items": sum(reading.n_drafts for reading in result.readings),
        }
        for result in results
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def copied_examples(result: Result) -> int:
    """Answers that begin with the answer of the prompt's own example, blanks aside."""
    copied = 0
    for window, reading in zip(result.task.windows, result.readings):
        example = "".join(result.task.prompt_of(window).example_answer.split()).removesuffix("]")
        said = "".join(reading.answer.partition("[")[1:])
        copied += bool(example) and "".join(said.split()).startswith(example)
    return copied


def agreement_table(first: Result, second: Result) -> pd.DataFrame:
    """How far two sets of answers to the same windows agree: texts, verdicts and labels.

    Raises:
        ValueError: the two are of different windows.
    """
    if [a.ask[:3] for a in first.answers] != [a.ask[:3] for a in second.answers]:
        raise ValueError("agreement needs the same windows in both results")
    texts = [
        a.stored is not None and b.stored is not None and a.stored.generation.text == b.stored.generation.text
        for a, b in zip(first.answers, second.answers)
    ]
    pairs = [(p, q) for a, b in zip(first.readings, second.readings) for p, q in zip(a.predictions, b.predictions)]
    rows = {
        "windows": (len(texts), len(texts)),
        "same text": (sum(texts), len(texts)),
        "same verdict": (sum(p.verdict == q.verdict for p, q in pairs), len(pairs)),
        "same label": (sum(p.label == q.label for p, q in pairs), len(pairs)),
    }
    return pd.DataFrame(
        [{"what": what, "agree": a, "of": n, "%": 100 * a / n if n else float("nan")} for what, (a, n) in rows.items()]
    ).set_index("what")


def pair_table(by_data: Mapping[str, Sequence[Pair]], units: str = "n", values: str | None = None) -> pd.DataFrame:
    """Comparisons with gap, interval, sign-flip p, Holm and the verdict in words; "not shown" never means "equal".

    ``p_least`` is the smallest ``p_holm`` that these sessions (or clusters) can give over these pairs: above 0.05, "not
    shown" was certain beforehand. The last column is the verdict that a pair would have had as the one planned
    comparison.

    Args:
        by_data: data set -> its pairs, adjusted for each other.
        units: name of the column with the number of units of inference.
        values: name of the column with the number of values behind a gap (clips); None = not shown, where each unit has
            one.
    """
    rows = [
        {"data": data, **pair._asdict(), "verdict if planned alone": verdict(pair.p, pair.gap)}
        for data, pairs in by_data.items()
        for pair in pairs
    ]
    table = pd.DataFrame(rows).rename(columns={"n": units, "n_values": values or "n_values"})
    return table if values else table.drop(columns="n_values", errors="ignore")


def confusion_table(
    truth: Sequence[str], answers: Sequence[str | None], labels: Sequence[str] | None = None
) -> pd.DataFrame:
    """How often each true activity (rows) was answered by which (columns), :data:`NO_ANSWER` last.

    Args:
        truth: activity of each event or clip.
        answers: what was answered of each, in the same order; None where there is no valid answer.
        labels: activities in the order of the table: rows are those that occur in the truth, columns all, and other
            answers count as none. None = rows by frequency, columns alike, then answers that are never true.
    """
    support = Counter(truth)
    if labels is None:
        rows = sorted(support, key=lambda name: -support[name])
        columns = [*rows, *sorted({answer for answer in answers if answer is not None} - set(rows))]
    else:
        rows, columns = [label for label in labels if label in support], list(labels)
    counts = Counter(zip(truth, (answer if answer in columns else NO_ANSWER for answer in answers)))
    columns.append(NO_ANSWER)
    table = [[counts[true, answer] for answer in columns] for true in rows]
    shown = pd.DataFrame(table, index=rows, columns=columns, dtype=int)
    return shown.rename_axis("true").rename_axis("answered", axis=1)


def commonest_activity(sessions: Sequence[Session]) -> str:
    """One sentence: the most frequent activity, its share of annotated events, and how many activities there are."""
    counts = Counter(
        session.activities[activity]
        for session in sessions
        for event in session.events
        for activity in event.activity_ids
        if activity in session.labels
    )
    if not counts:
        return "No event is annotated."
    (name, n), total = counts.most_common(1)[0], sum(session.n_scored for session in sessions)
    said = f"{name} is the most frequent of {len(counts)} activities, with {100 * n / total:.0f} % of {total} events"
    return f"{said}: whoever always says so has that accuracy."


def load_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """A loader's report as rows: what was read, kept, mended, refused and set aside."""
    counts = {key: value if not isinstance(value, list) else len(value) for key, value in results.items()}
    whole = {name: count for name, count in counts.items() if isinstance(count, int)}
    return pd.DataFrame({"count": whole}).rename_axis("rows and events")


def note_table(notes: Sequence[Mapping[str, Any]], most: int = 20) -> pd.DataFrame:
    """The first ``most`` row notes of a loader: file, line, reason; says so where there is none."""
    none = [{"file": "–", "line": "–", "reason": "none"}]
    shown = [dict(note) for note in notes[:most]] or none
    if len(notes) > most:
        shown.append(
            {"file": "…", "line": "…", "reason": f"and {len(notes) - most} more: llmhar data report lists all"}
        )
    return pd.DataFrame(shown, columns=["file", "line", "reason"])


def reading_table(results: Sequence[Result]) -> pd.DataFrame:
    """Macro F1 and missed events under the flexible and the strict reading of the same answers.

    "first" and "last" count a label of an event with several different ones, drafts included; the study counts none
    (``parse_answer``, contradictions).
    """
    rows = {}
    for result in results:
        strict = score_answers(result.task, result.model, result.answers, strict=True)
        rows[result.model.name] = {
            "macro F1 flexible": result.macro_f1.mean,
            "macro F1 strict": strict.macro_f1.mean,
            **{f"macro F1 {which}": _contradicting(result, which).macro_f1 for which in CONTRADICTING},
            "missed % flexible": result.overall.missed_pct,
            "missed % strict": strict.overall.missed_pct,
            "items mended": sum(reading.n_repaired for reading in result.readings),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


CONTRADICTING: tuple[Contradictions, ...] = ("first", "last")
"""Other ways to read an event with different labels than the study's own."""


def _contradicting(result: Result, which: Contradictions) -> Overall:
    readings = tuple(
        read_answer(answer, len(window.events), result.task.sessions[window.session_id].labels, False, which)
        for window, answer in zip(result.task.windows, result.answers)
    )
    return average(score_readings(result.task, readings))
