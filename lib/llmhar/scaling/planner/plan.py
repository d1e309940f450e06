"""Plans a study before it runs: windows, tokens, hours, cost and bottleneck of each job; then plan against actual.

Starts no engine and loads no weights. :mod:`.roofline` holds the physics, :mod:`.workload` what
is asked: S1 as published for the profile ``paper``, else a profile's settings of ``03_scaling`` (or ``02_prompting``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from llmhar import paths, settings
from llmhar.ask.models import MODELS
from llmhar.scaling.planner.roofline import MIN_SEQUENCES, Device, Layout, Load, PlanError, Precision, Step, devices
from llmhar.scaling.planner.runs import run_jobs
from llmhar.scaling.planner.workload import MFU, TRAIN_BATCH, Job, paper_jobs, profile_jobs
from llmhar.settings import choose

__all__ = [
    "Device", "Layout", "Load", "Plan", "PlanError", "PlanRow", "Step", "device_of", "devices", "make_plan",
    "plan_table", "refuse_if_starved",
]  # fmt: skip


@dataclass(frozen=True)
class PlanRow:
    """One job on its cards. Hours are planned unless called roofline; a GPU-hour is one card for one hour."""

    job: str
    model: str
    dataset: str
    windows: int
    runs: int
    windows_from: str
    prompt_tokens: int
    """Of one window, shared prefix included."""
    shared_prefix_share: float
    """Share of ``prompt_tokens`` that all windows of a home have in common."""
    tokens_by: str
    output_tokens: int
    """Of one window."""
    output_tokens_total: int
    tensor_parallel: int
    """Cards that hold one copy of the model."""
    replicas: int
    """Copies that share the windows."""
    kv_bytes_per_token: int
    kv_room_tokens: int
    """One copy's KV cache; negative: the weights alone do not fit."""
    concurrency: int
    """Windows at once in one copy; training: examples a step."""
    roofline_tokens_per_s: float
    """Generated (training: read) tokens a second of all copies, prefill included."""
    planned_tokens_per_s: float
    roofline_gpu_hours: float | None
    gpu_hours: float | None
    """None: does not fit."""
    hours: float | None
    """By the clock."""
    cost_usd: float | None
    """None: the device has no price, or it does not fit."""
    bottleneck: str
    """"bandwidth", "compute", "KV room" or "host"."""
    starved: bool
    reason: str
    """Why it is starved, and the cure."""


@dataclass(frozen=True)
class Plan:
    """All rows of a profile on a device."""

    profile: str
    device: Device
    n_gpus: int
    weights: Precision
    kv: Precision
    rows: tuple[PlanRow, ...]
    assumptions: tuple[str, ...]
    """Sentences: what the numbers rest on."""
    run_rows: tuple[PlanRow, ...] = ()
    """What ``llmhar run`` of this profile asks and trains, on the cards that its notebooks name."""

    def total(self, what: Literal["gpu_hours", "roofline_gpu_hours", "hours", "cost_usd"]) -> float:
        """Sum over the rows that fit."""
        return math.fsum(getattr(row, what) or 0.0 for row in self.rows)

    @property
    def gpu_hours_total(self) -> float:
        """Planned GPU-hours of all rows that fit."""
        return self.total("gpu_hours")

    @property
    def reasons(self) -> list[str]:
        """Why rows are starved, or do not fit, and the cure: a sentence a model and reason."""
        return list(dict.fromkeys(f"{row.model}: {row.reason}" for row in self.rows if row.reason))

    @property
    def gpu_hours_run(self) -> float:
        """Planned GPU-hours of ``llmhar run`` of this profile, as far as its models fit."""
        return math.fsum(row.gpu_hours or 0.0 for row in self.run_rows)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "gpu_hours_run": self.gpu_hours_run,
            **{name: getattr(self, name) for name in ("profile", "n_gpus", "weights", "kv", "gpu_hours_total")},
            "device": self.device.name,
            "hours_total": self.total("hours"),
            "roofline_gpu_hours_total": self.total("roofline_gpu_hours"),
            "cost_usd_total": self.total("cost_usd") if self.device.usd_per_hour is not None else None,
            "starved": sorted({row.model for row in self.rows if row.starved}),
            "rows": [asdict(row) for row in self.rows],
            "rows_run": [asdict(row) for row in self.run_rows],
            "assumptions": list(self.assumptions),
            "device_table": self.device.model_dump(),
        }


def device_of(profile: str) -> str:
    """The machine that a profile is meant for: what its ``03_scaling`` names.

    Raises:
        PlanError: no such profile.
        SettingsError: its settings are wrong.
    """
    choose(dict.fromkeys(settings.PROFILES), profile, f"unknown profile {profile!r}; there are:", PlanError)
    sections = settings.read_profile(paths.profile_file(profile), settings.notebook_names())
    return str(settings.with_defaults("03_scaling", sections.get("03_scaling", {}))["device"])


def make_plan(
    profile: str,
    device: str,
    *,
    output_tokens: int = 3000,
    n_gpus: int = 1,
    weights: Precision = "bf16",
    kv: Precision = "bf16",
) -> Plan:
    """Plan a profile on a device.

    Args:
        profile: one of ``settings.PROFILES``; "paper" is S1 as published with K = 1, its training included.
        device: key into ``params/devices.yaml``.
        output_tokens: mean generated tokens a window, thinking included; a profile's ``max_tokens`` caps it.
        n_gpus: cards at hand: a model takes as few (1, 2, 4, …) as do not starve it, the rest hold further copies.
        weights: precision of the weights; training is always planned in bf16.
        kv: precision of the KV cache.

    Raises:
        PlanError: an unknown name (lists those there are), or a number out of range.
        SettingsError: the profile's settings are wrong.
    """
    card = choose(devices(), device, f"unknown device {device!r}; there are:", PlanError)
    choose(dict.fromkeys(settings.PROFILES), profile, f"unknown profile {profile!r}; there are:", PlanError)
    for precision in (weights, kv):
        precisions = dict.fromkeys(get_args(Precision))
        choose(precisions, precision, f"unknown precision {precision!r}; there are:", PlanError)
    if output_tokens < 1 or n_gpus < 1:
        raise PlanError(f"need at least 1 output token and 1 card, got {output_tokens} and {n_gpus}")
    jobs, notes = paper_jobs(output_tokens) if profile == "paper" else profile_jobs(profile, output_tokens)
    rows = _rows(jobs, card, n_gpus, weights, kv)
    jobs_run, notes_run = run_jobs(profile, output_tokens)
    rows_run = _rows(jobs_run, card, n_gpus, weights, kv)
    lost = sorted({row.model for row in rows if row.gpu_hours is None})
    notes += [f"not in the totals, for they do not fit: {', '.join(lost)}"] if lost else []
    return Plan(profile, card, n_gpus, weights, kv, rows, (*notes, *_assumptions(card), *notes_run), rows_run)


def _rows(jobs: Sequence[Job], card: Device, n_gpus: int, weights: Precision, kv: Precision) -> tuple[PlanRow, ...]:
    """A row a job; jobs of one model and engine wait together."""
    pooled = Counter[tuple[str, str]]()
    for job in jobs:
        pooled[job.model.name, job.engine] += job.windows if job.job != "training" else 0
    return tuple(
        _training_row(job, card, n_gpus)
        if job.job == "training"
        else _row(job, card, n_gpus, weights, kv, pooled[job.model.name, job.engine])
        for job in jobs
    )


def _assumptions(card: Device) -> list[str]:
    price = f"{card.usd_per_hour} USD a card and hour ({card.price_note})" if card.usd_per_hour else "no price: no cost"
    return [
        f"plan = roofline × {card.derate} on {card.name} ({card.derate_note}); its figures: {card.source}",
        "roofline: matrix products at 0.8 of the bandwidth or 0.5 of the peak, attention at 0.6 of the bandwidth, "
        f"{card.host_ms:g} ms of host a step, at most {card.max_sequences} windows at once",
        "all jobs of a model wait in one engine (adapters as LoRA requests); its start, minutes on a GPU, is left out",
        f"starved: room for fewer than {MIN_SEQUENCES} windows at once, or than there are",
        price,
    ]


def _row(job: Job, card: Device, n_gpus: int, weights: Precision, kv: Precision, pooled: int) -> PlanRow:
    sizes = [job.cards] if job.cards else [2**i for i in range(n_gpus.bit_length())]
    layouts = [Layout(job.model, card, size, weights, kv) for size in sizes]
    layout = next((each for each in layouts if not each.starved(job.load, pooled)), layouts[-1])
    copies = 1 if job.cards else max(1, min(n_gpus // layout.n_gpus, job.windows))
    own = math.ceil(pooled / copies)
    seconds = layout.seconds(job.load, job.windows, own) / copies  # by the clock, at the roofline
    fits, reason = math.isfinite(seconds), layout.starved(job.load, own)
    ideal = seconds * layout.n_gpus * copies / 3600 if fits else None
    return PlanRow(
        **_priced(job, card, ideal, card.derate, layout.n_gpus * copies, job.windows * job.load.output),
        tensor_parallel=layout.n_gpus,
        replicas=copies,
        kv_bytes_per_token=layout.kv_bytes,
        kv_room_tokens=layout.kv_room,
        concurrency=layout.at_once(job.load, own),
        bottleneck=layout.bottleneck(job.load, own),
        starved=bool(reason),
        reason=reason,
    )


def _training_row(job: Job, card: Device, n_gpus: int) -> PlanRow:
    layout, copies, tokens = Layout(job.model, card), min(n_gpus, job.runs), job.windows * sum(job.load)
    ideal = 6 * job.model.n_params * tokens / layout.flops / 3600
    return PlanRow(
        **_priced(job, card, ideal, 1 / MFU, copies, tokens),
        tensor_parallel=1,
        replicas=copies,
        kv_bytes_per_token=layout.kv_bytes,
        kv_room_tokens=layout.kv_room,
        concurrency=TRAIN_BATCH,
        bottleneck="compute",
        starved=False,
        reason="",
    )


def _priced(job: Job, card: Device, ideal: float | None, derate: float, cards: int, tokens: int) -> dict[str, Any]:
    """The fields of a row that follow from the job and from the roofline's GPU-hours."""
    planned = ideal * derate if ideal is not None else None
    rate = tokens / (ideal / cards * 3600) if ideal else 0.0
    read = job.load.shared + job.load.private
    return {
        **{name: getattr(job, name) for name in ("job", "dataset", "windows", "runs", "windows_from", "tokens_by")},
        "model": job.model.name,
        "prompt_tokens": read,
        "shared_prefix_share": job.load.shared / read,
        "output_tokens": job.load.output,
        "output_tokens_total": job.windows * job.load.output,
        "roofline_tokens_per_s": rate,
        "planned_tokens_per_s": rate / derate,
        "roofline_gpu_hours": ideal,
        "gpu_hours": planned,
        "hours": planned / cards if planned is not None else None,
        "cost_usd": None if planned is None or card.usd_per_hour is None else planned * card.usd_per_hour,
    }


def plan_table(plan: Plan) -> list[dict[str, Any]]:
    """Rows for a table, rounded, units in the headings; the last one is the sum. :attr:`Plan.reasons` says why what is
    starved is so.
    """

    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    rows: list[dict[str, Any]] = [
        {
            "job": row.job if row.runs == 1 else f"{row.job} × {row.runs}", "model": row.model, "data": row.dataset,
            "windows": row.windows, "prompt tokens": row.prompt_tokens,
            "shared %": round(100 * row.shared_prefix_share), "output tokens": row.output_tokens,
            "cards": f"{row.replicas} × {row.tensor_parallel}", "KV room, tokens": row.kv_room_tokens,
            "at once": row.concurrency, "roofline tokens/s": round(row.roofline_tokens_per_s),
            "GPU-hours": rounded(row.gpu_hours, 2), "hours": rounded(row.hours, 2), "USD": rounded(row.cost_usd, 2),
            "bottleneck": row.bottleneck, "starved": "yes" if row.reason else "no",
        }
        for row in plan.rows
    ]  # fmt: skip
    total = {"job": "total", "GPU-hours": round(plan.gpu_hours_total, 2), "hours": round(plan.total("hours"), 2)}
    total |= {"USD": rounded(plan.to_json()["cost_usd_total"], 2)}
    return [*rows, {column: total.get(column) for column in rows[0]} if rows else total]


def refuse_if_starved(
    model: str,
    device: str,
    load: Load | None = None,
    *,
    windows: int | None = None,
    n_gpus: int = 1,
    weights: Precision = "bf16",
) -> None:
    """Stop a run whose layout is starved on a GPU; a processor is only slow, and what has no shape cannot be judged.

    Args:
        model: key into ``params/models.yaml``.
        device: key into ``params/devices.yaml``.
        load: tokens of one window; None = S1's prompt and 3,000 generated tokens.
        windows: how many there are; None = enough to fill the engine.
        n_gpus: cards, tensor parallel.
        weights: precision of the weights.

    Raises:
        PlanError: it is starved, or a name is unknown; the message names reason and cure.
    """
    card = choose(devices(), device, f"unknown device {device!r}; there are:", PlanError)
    chosen = choose(MODELS, model, f"unknown model {model!r}; there are:", PlanError)
    layout = Layout(chosen, card, n_gpus, weights)
    judged = chosen.kind == "llm" and card.is_gpu and chosen.has_shape
    if judged and (reason := layout.starved(load or Load(), windows)):
        raise PlanError(f"{model} is not run: {reason}")
