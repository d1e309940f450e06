"""Tables of the scaling study: ours beside S1's, four cost axes, error ledger, chance. Asks nobody, draws nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from llmhar.ask.models import ModelError
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.events import Window, true_activity
from llmhar.scaling.planner.roofline import Device, Layout, Load, PlanError, devices
from llmhar.score.cost import Point, pareto_front, points, row_name
from llmhar.score.evaluate import ThinkingPoint
from llmhar.score.f1 import score_events
from llmhar.score.ledger import CAUSES, learn_habits, session_ledger
from llmhar.score.published import DATASETS_IN_S1, published
from llmhar.score.stats import Pair, compare_pairs, t_interval, variance_split
from llmhar.score.tables import KINDS, NOT_RECORDED, Result, confusion_table, score_answers
from llmhar.score.token_tables import tokenizer_file
from llmhar.settings import choose
from llmhar.text.parsing import Reading
from llmhar.text.tokens import count_tokens


def axes_table(rows: Sequence[Point]) -> pd.DataFrame:
    """The four axes and F1, with the axes on whose Pareto front a model lies."""
    fronts = {axis: pareto_front(rows, axis) for axis in ("n_params", "tokens", "seconds", "joules")}
    table = [
        point._asdict()
        | {"on the front of": ", ".join(axis for axis, front in fronts.items() if point in front) or "–"}
        for point in rows
    ]
    shown = pd.DataFrame(table, columns=[*Point._fields, "on the front of"]).set_index("model")
    shown["threads"] = shown["threads"].replace("", NOT_RECORDED)
    shown = shown.astype({"n_params": "Int64"}).astype({"n_params": object, "joules": object})
    return shown.fillna({"n_params": "none", "joules": "not measured"})


def beside_published(results: Sequence[Result]) -> pd.DataFrame:
    """S1 Table 1 beside ours: F1 in percent, ours with interval; what was not run or not published stays empty."""
    table = published("table1").set_index("model")
    rows: dict[str, dict[str, object]] = {
        name.lower(): {"parameters": row["params_b"] * 1e9}
        | {f"S1 {dataset}, %": row[f"{dataset}_f1_pct"] for dataset in DATASETS_IN_S1}
        for name, row in table.iterrows()
    }
    for result in results:
        f1 = result.macro_f1
        row = rows.setdefault(result.model.name, {"parameters": result.model.n_params or None})
        interval = f" [{100 * f1.low:.1f}, {100 * f1.high:.1f}]" if f1.n > 1 else ""
        row[f"ours, {result.task.data}, %"] = f"{100 * f1.mean:.1f}{interval} (n = {f1.n})" if f1.n else None
        row["kind of ours"] = KINDS[result.model.kind]
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    table = table.astype({"parameters": "Int64"}).astype(object)
    return table.where(table.notna(), "")


def missed_table(results: Sequence[Result]) -> pd.DataFrame:
    """S1 Table 4 beside ours: missed events in percent, mean ± standard deviation over sessions."""
    rows: dict[str, dict[str, str]] = {}
    for _, row in published("table4").iterrows():
        rows[row["model"].lower()] = {
            f"S1 {d}": f"{row[f'{d}_mean']:.2f} ± {row[f'{d}_sd']:.2f}" for d in DATASETS_IN_S1
        }
    for result in results:
        overall = result.overall
        spread = f" ± {overall.missed_sd:.2f}" if overall.n_sessions > 1 else ""
        shown = f"{overall.missed_pct:.2f}{spread} (n = {overall.n_sessions})" if overall.n_sessions else "–"
        rows.setdefault(result.model.name, {})[f"ours, {result.task.data}"] = shown
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model, missed %").fillna("–")


def ledger_table(results: Sequence[Result]) -> pd.DataFrame:
    """Macro F1 points (0 … 100) that each cause cost: mean over sessions; with macro F1 a row adds up to 100."""
    rows = {}
    for result in results:
        task, habits = result.task, learn_habits(result.task.train.values())
        by_session: dict[str, list[int]] = {name: [] for name in task.sessions}
        for position, window in enumerate(task.windows):
            by_session[window.session_id].append(position)
        ledgers = [
            session_ledger(
                [task.windows[p].events for p in own], [result.readings[p] for p in own], session.labels, habits
            )
            for (name, session), own in zip(task.sessions.items(), by_session.values())
            if any(score.session == name and score.n_events for score in result.sessions)
        ]
        rows[row_name(result, results)] = {"macro F1": 100 * result.macro_f1.mean} | {
            cause: 100 * sum(ledger[cause] for ledger in ledgers) / max(1, len(ledgers)) for cause in CAUSES
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model, F1 points lost to")


def ledger_words(ledger: pd.DataFrame) -> str:
    """The first row of :func:`ledger_table`, added up in words; empty where nobody answered."""
    for name, row in ledger.iterrows():
        lost = ", ".join(f"{points:.1f} to {cause}" for cause, points in row.iloc[1:].items() if points >= 0.05)
        return f"{name}, of 100 points: {row.iloc[0]:.1f} reached; lost {lost or 'nothing'}; together {row.sum():.1f}."
    return ""


def policy_table(results: Sequence[Result]) -> pd.DataFrame:
    """How far the way of reading and counting alone moves macro F1, on the same answers."""
    rows = {}
    for result in results:
        if result.answers:
            strict = score_answers(result.task, result.model, result.answers, strict=True)
            answered = [_only_answered(result, score_of) for score_of in result.task.sessions]
            rows[row_name(result, results)] = {
                "flexible (the study's)": result.macro_f1.mean,
                "strict": strict.macro_f1.mean,
                "only answered events (misleading)": t_interval(answered).mean,
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _only_answered(result: Result, session: str) -> float:
    """Macro F1 of a session if unanswered events were left out instead of counted as wrong."""
    truth: list[tuple[int, ...]] = []
    guess: list[int | None] = []
    for window, reading in zip(result.task.windows, result.readings):
        if window.session_id == session:
            kept = [i for i in window.counted if reading.predictions[i].label is not None]
            truth += [window.events[i].activity_ids for i in kept]
            guess += [reading.predictions[i].label for i in kept]
    return score_events(session, truth, guess, result.task.sessions[session].labels).macro_f1


def compare_models(results: Sequence[Result]) -> dict[str, list[Pair]]:
    """Data set -> every pair of its models, macro F1 on the same sessions; Holm over the pairs of one data set."""
    scores: dict[str, dict[str, list[float]]] = {}
    for result in results:
        scores.setdefault(result.task.data, {})[result.model.name] = [score.macro_f1 for score in result.sessions]
    return {data: compare_pairs(own) for data, own in scores.items()}


def variance_table(samples: Sequence[Sequence[Result]]) -> pd.DataFrame:
    """Where the variance of window accuracy lies: between sessions, windows, or samples of one window.

    Args:
        samples: all samples of each model and task; those with a single sample are left out.
    """
    rows = {}
    for own in (own for own in samples if len(own) > 1):
        long = [
            (window.session_id, f"{window.session_id}/{window.index}", _share_right(result.task, window, reading))
            for result in own
            for window, reading in zip(result.task.windows, result.readings)
        ]
        name = row_name(own[0], [first for first, *_ in samples])
        split = variance_split([row[0] for row in long], [row[1] for row in long], [row[2] for row in long])
        rows[name] = split._asdict() | {f"{part}, share": share for part, share in split.shares.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _share_right(task: Task, window: Window, reading: Reading) -> float:
    """Share of a window's scored events that are right; NaN where none is scored."""
    labels = task.sessions[window.session_id].labels
    answers = [(window.events[i], reading.predictions[i].label) for i in window.counted]
    pairs = [(true_activity(event.activity_ids, labels, label), label) for event, label in answers]
    scored = [true == label for true, label in pairs if true is not None]
    return sum(scored) / len(scored) if scored else float("nan")


def confusion(result: Result) -> pd.DataFrame:
    """Events of each true activity (rows) by answered activity (columns), over all test sessions."""
    truth: list[str] = []
    answers: list[str | None] = []
    for window, reading in zip(result.task.windows, result.readings):
        labels = result.task.sessions[window.session_id].labels
        for event, prediction in [(window.events[i], reading.predictions[i]) for i in window.counted]:
            true = true_activity(event.activity_ids, labels, prediction.label)
            if true is not None:
                truth.append(labels[true])
                answers.append(labels[prediction.label] if prediction.label is not None else None)
    return confusion_table(truth, answers)


def roofline_seconds(results: Sequence[Result], device: str, n_gpus: int = 1) -> dict[str, float]:
    """Least seconds a window that a device's limits allow each model, for the very tokens it read and wrote.

    Models that a server answered for, or whose shape is not known, are left out: the device says nothing of them.

    Args:
        results: whose windows.
        device: key into ``params/devices.yaml``.
        n_gpus: cards that share one model.

    Raises:
        PlanError: no such device; names those there are.
    """
    card = _device(device)
    found = {}
    for result in results:
        load, n = _load(result)
        elsewhere = any(fingerprint.engine == "openai" for fingerprint in result.fingerprints)
        if load is not None and result.model.kind == "llm" and result.model.has_shape and not elsewhere:
            found[row_name(result, results)] = Layout(result.model, card, n_gpus).seconds(load, n) / n
    return found


def plan_against_actual(results: Sequence[Result], store: Store, device: str, n_gpus: int = 1) -> pd.DataFrame:
    """Planned and measured seconds a window, and the fraction of the roofline that was reached."""
    card, floor, rows = _device(device), roofline_seconds(results, device, n_gpus), {}
    for point in points(results, store):
        if point.model in floor:
            measured = point.seconds or float("nan")
            rows[point.model] = {
                "planned s / window": floor[point.model] * card.derate,
                "measured s / window": measured,
                "planned / measured": floor[point.model] * card.derate / measured,
                "fraction of roofline": floor[point.model] / measured,
                "threads": point.threads or NOT_RECORDED,
                "device": f"{n_gpus} × {device} ({card.derate_note})"
                if n_gpus > 1
                else f"{device} ({card.derate_note})",
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _device(name: str) -> Device:
    return choose(devices(), name, f"unknown device {name!r}; there are:", PlanError)


def _load(result: Result) -> tuple[Load | None, int]:
    """Mean tokens of a result's windows, and how many there are; None where nothing was answered."""
    made = result.generations
    if not made:
        return None, 0
    shared, prompt, output = (
        round(sum(getattr(g, name) for g in made) / len(made))
        for name in ("cached_tokens", "prompt_tokens", "output_tokens")
    )
    return Load(shared, prompt - shared, max(1, output)), len(made)


def item_fields(result: Result) -> str:
    """Fields of each item that the schema of a result's requests asks for, in order; "free" without a schema."""
    schema = next((answer.ask.request.schema for answer in result.answers), None)
    return ", ".join(schema["prefixItems"][0]["properties"]) if schema else "free"


def constrained_table(free: Sequence[Result], bound: Sequence[Result], store: Store) -> pd.DataFrame:
    """Free answers against answers bound to the schema: missed events, F1, tokens and time."""
    rows = []
    for name, results in (("free text", free), ("bound to the schema", bound)):
        for result, point in zip(results, points(results, store)):
            speed = point.tokens / point.seconds if point.tokens and point.seconds else float("nan")
            rows.append(
                {
                    "model": point.model,
                    "answers": name,
                    "an item holds": item_fields(result),
                    "missed %": result.overall.missed_pct,
                    "macro F1": result.macro_f1.mean,
                    "95 % low": result.macro_f1.low,
                    "95 % high": result.macro_f1.high,
                    "tokens / window": point.tokens,
                    "seconds / window": point.seconds,
                    "tokens / s": speed,
                    "threads": point.threads or NOT_RECORDED,
                }
            )
    return pd.DataFrame(rows).set_index(["model", "answers"]) if rows else pd.DataFrame()


def thinking_table(sweep: Sequence[ThinkingPoint], store: Store) -> pd.DataFrame:
    """Thinking as a factor: F1, missed events and seconds against thinking tokens a window (the model's own)."""
    rows = {}
    for name, result in sweep:
        point = points([result], store)[0]
        rows[name] = {
            "thinking tokens / window": _thinking_tokens(result),
            "tokens / window": point.tokens,
            "seconds / window": point.seconds,
            "threads": point.threads or NOT_RECORDED,
            "macro F1": result.macro_f1.mean,
            "95 % low": result.macro_f1.low,
            "95 % high": result.macro_f1.high,
            "missed %": result.overall.missed_pct,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("thinking")


def _thinking_tokens(result: Result) -> float:
    """Mean thinking tokens a window; where only a server has the tokenizer, by the thinking's share of the text."""
    reasoning = [reading.reasoning for reading in result.readings]
    try:
        counts: Sequence[float] = count_tokens(reasoning, tokenizer_file(result.model.name)).counts
    except ModelError:
        made = [answer.stored.generation if answer.stored else None for answer in result.answers]
        counts = [g.output_tokens * len(r) / max(1, len(g.text)) if g else 0.0 for g, r in zip(made, reasoning)]
    return sum(counts) / max(1, len(reasoning))


def schema_numbers(table: pd.DataFrame) -> dict[str, float]:
    """Key numbers of the constrained run: missed events and tokens a second, free and bound.

    Where there are several models or data sets, each name says which.
    """
    found: dict[str, float] = {}
    names = [] if table.empty else list(dict.fromkeys(table.index.get_level_values("model")))
    for name in names:
        own = table.loc[name]
        suffix = f"_{name.replace(' ', '_')}" if len(names) > 1 else ""
        for answers, short in (("free text", "free"), ("bound to the schema", "schema")):
            if answers in own.index:
                found[f"missed_pct_{short}{suffix}"] = float(own.loc[answers, "missed %"])
                found[f"tokens_per_s_{short}{suffix}"] = float(own.loc[answers, "tokens / s"])
    return found


def result_numbers(results: Sequence[Result]) -> dict[str, float]:
    """Key numbers of each result: macro F1 and missed events."""
    names = [row_name(result, results).replace(" ", "_") for result in results]
    return {f"macro_f1_{name}": r.macro_f1.mean for name, r in zip(names, results)} | {
        f"missed_pct_{name}": r.overall.missed_pct for name, r in zip(names, results)
    }
