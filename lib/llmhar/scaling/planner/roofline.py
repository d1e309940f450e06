"""The roofline: what fits on a card, and how fast a model can be there at best. Arithmetic alone.

Time is bytes over bandwidth and operations over peak, each at the share that is reached in practice. Multiplied by a
device's ``derate`` it is a plan: 2.1 on A100 and 3 on H100 lie between this roofline and throughput that others
published (GPUStack's performance lab, vLLM 0.11, Qwen3-14B and 32B, ShareGPT; half of its total taken as output).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmhar import paths
from llmhar.ask.models import MODELS, ModelSpec, Pruned, Shape
from llmhar.settings import SettingsError, read_yaml

Precision = Literal["bf16", "fp8"]
BYTES: Mapping[Precision, int] = {"bf16": 2, "fp8": 1}
UTILISATION = 0.92
"""Share of a card's memory that the engine takes (vLLM's ``gpu_memory_utilization``)."""
GEMM_BANDWIDTH, GEMM_PEAK, ATTENTION_BANDWIDTH = 0.8, 0.5, 0.6
"""Shares of bandwidth and peak that matrix products and attention reach."""
HELD, READ = 0.6, 0.5
"""Share of an answer that a running window holds when room is counted (lengths vary), and that a mean step reads."""
MIN_SEQUENCES = 32
"""Starved = room for fewer windows at once (or than there are): each reading of the weights then serves few tokens.
On an A100 reading bf16 weights and computing on them balance at some 100 windows; at 32 computing takes a third."""
S1_PROMPT = (1500, 450)
"""Tokens of S1's prompt (same for all windows of a home; the window's own), where nothing can be counted."""


class PlanError(ValueError):
    """A plan that cannot be made, or a layout that must not run; the message is one sentence with the cure."""


class Device(BaseModel):
    """One entry of ``params/devices.yaml``: one card, or one machine without any."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    memory_gib: float = Field(gt=0)
    """GiB, as the driver shows it."""
    bandwidth_gbs: float = Field(gt=0)
    """Memory bandwidth, 10^9 bytes a second."""
    bf16_tflops: float = Field(gt=0)
    """Dense peak, 10^12 operations a second."""
    fp8_tflops: float | None = None
    """None: no FP8 units; FP8 weights then compute at bf16's rate."""
    derate: float = Field(ge=1)
    """Planned time = roofline time × this."""
    derate_note: str
    """Where the derate is from, or "assumed: …"."""
    reserve_gb: float = 3.0
    """Activations and runtime of the engine, 10^9 bytes a card."""
    host_ms: float = 4.0
    """Scheduling and sampling of one step, milliseconds."""
    max_sequences: int = 256
    """Most windows that our engine's child runs at once (vLLM's ``max_num_seqs``)."""
    kv_gib: float | None = None
    """KV cache of a fixed size, GiB; None: whatever memory is left."""
    usd_per_hour: float | None = None
    """Assumed price of one card, see ``price_note``."""
    price_note: str = ""
    source: str

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card; a processor's KV cache has the size that its engine asks for."""
        return self.kv_gib is None


class Load(NamedTuple):
    """Tokens of one window."""

    shared: int = S1_PROMPT[0]
    """Prompt tokens that all windows of a home share; the prefix cache holds them once."""
    private: int = S1_PROMPT[1]
    """Prompt tokens of its own."""
    output: int = 3000
    """Generated tokens, thinking included."""


class Step(NamedTuple):
    """Seconds of one decode step: max(weights, gemm) + attention + host."""

    weights: float
    gemm: float
    attention: float
    host: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return max(self.weights, self.gemm) + self.attention + self.host


def devices() -> dict[str, Device]:
    """Read ``params/devices.yaml``; keys that begin with x- are shared blocks.

    Raises:
        PlanError: not readable, not YAML, an unknown field or a wrong type: names file, device and field.
    """
    file = paths.params() / "devices.yaml"
    try:
        state = file.stat()
    except OSError as error:
        raise PlanError(f"cannot read {file}: {error.strerror}") from error
    return dict(_devices(file, (state.st_mtime_ns, state.st_size)))


@lru_cache(2)
def _devices(file: Path, _: tuple[int, int]) -> dict[str, Device]:
    current = ""
    try:
        raw = read_yaml(file)
        entries = {k: v for k, v in raw.items() if not k.startswith("x-")}
        found = {}
        for current, entry in entries.items():
            found[current] = Device.model_validate({"name": current, **entry})
        return found
    except ValidationError as error:
        first = error.errors()[0]
        raise PlanError(f"{file}: {current}.{first['loc'][0]}: {first['msg']}") from error
    except (SettingsError, AttributeError, TypeError) as error:
        raise PlanError(f"{file}: not a YAML mapping of devices: {error}") from error


@dataclass(frozen=True)
class Layout:
    """A model on cards: what fits, and how fast it can be at best."""

    model: ModelSpec
    device: Device
    n_gpus: int = 1
    """Cards that hold the model together (tensor parallel)."""
    weights: Precision = "bf16"
    kv: Precision = "bf16"

    @property
    def shape(self) -> Shape:
        """The model's shape; a pruned model's is its parent's with fewer layers."""
        source = self.model.source
        if isinstance(source, Pruned) and not self.model.shape:
            return Layout(MODELS[source.parent], self.device).shape.model_copy(update={"layers": len(source.layers)})
        if self.model.shape is None:
            raise PlanError(f"{self.model.name} cannot be planned: enter its `shape` in params/models.yaml")
        return self.model.shape

    @property
    def weight_bytes(self) -> int:
        """W = parameters × bytes."""
        return self.model.n_params * BYTES[self.weights]

    @property
    def kv_bytes(self) -> int:
        """Bytes a token: 2 (key, value) × layers × KV heads × head size × bytes. Qwen3-0.6B in bf16: 112 KiB."""
        return 2 * self.shape.layers * self.shape.kv_heads * self.shape.head_dim * BYTES[self.kv]

    @property
    def kv_room(self) -> int:
        """Tokens that fit: (utilisation × memory - W - 3 GB a card) / KV; below 0: the weights alone do not fit."""
        left = self.n_gpus * (UTILISATION * self.device.memory_gib * 2**30 - self.device.reserve_gb * 1e9)
        left -= self.weight_bytes
        if self.device.kv_gib is not None:
            left = min(left, self.device.kv_gib * 2**30)
        return math.floor(left / self.kv_bytes)

    @property
    def flops(self) -> float:
        """Peak of all cards in the weights' precision, operations a second."""
        fp8 = self.device.fp8_tflops if self.weights == "fp8" else None
        return self.n_gpus * (fp8 or self.device.bf16_tflops) * 1e12

    def concurrency(self, load: Load) -> int:
        """Windows that fit at once; the shared prefix is held once, a running answer to 0.6 of its length."""
        return max(0, math.floor((self.kv_room - load.shared) / (load.private + HELD * load.output)))

    def step(self, load: Load, n: int) -> Step:
        """One decode step of ``n`` windows: max(W/BW, 2·P·n/F) + n·context·KV/BW + 4 ms, at the shares reached."""
        bandwidth = self.n_gpus * self.device.bandwidth_gbs * 1e9
        context = load.shared + load.private + READ * load.output
        return Step(
            weights=self.weight_bytes / (GEMM_BANDWIDTH * bandwidth),
            gemm=2 * self.model.n_params * n / (GEMM_PEAK * self.flops),
            attention=n * context * self.kv_bytes / (ATTENTION_BANDWIDTH * bandwidth),
            host=self.device.host_ms / 1e3,
        )

    def tokens_per_s(self, load: Load, windows: int | None = None) -> float:
        """Roofline of decoding, generated tokens a second of all cards: n / step. 0: nothing fits."""
        n = self.at_once(load, windows)
        return n / self.step(load, n).seconds if n else 0.0

    def at_once(self, load: Load, windows: int | None = None) -> int:
        """Windows that run at once: as many as fit, as the engine takes, as there are."""
        return min(self.concurrency(load), self.device.max_sequences, windows or self.device.max_sequences)

    def prefill_flops(self, load: Load, cached: bool = True) -> float:
        """Operations to read a prompt: 2·P·fresh tokens; attention: 4·layers·heads·head size·fresh·context."""
        shape, context = self.shape, load.shared + load.private
        fresh = load.private if cached else context
        return 2 * self.model.n_params * fresh + 4 * shape.layers * shape.heads * shape.head_dim * fresh * context

    def seconds(self, load: Load, windows: int, pooled: int | None = None) -> float:
        """Roofline time of ``windows``, while ``pooled`` wait in the engine: prefill and decode. Infinite: no fit."""
        rate = self.tokens_per_s(load, pooled or windows)
        fresh = (windows - 1) * self.prefill_flops(load) + self.prefill_flops(load, cached=False)
        return fresh / (GEMM_PEAK * self.flops) + windows * load.output / rate if rate and windows else math.inf

    def bottleneck(self, load: Load, windows: int) -> str:
        """What takes most of the time: "KV room" (starved), "bandwidth", "compute" or "host"."""
        if self.starved(load, windows):
            return "KV room"
        n = self.at_once(load, windows)
        step = self.step(load, n)
        prefill = n * self.prefill_flops(load) / (GEMM_PEAK * self.flops) / load.output
        memory_bound = step.weights > step.gemm
        shares = {
            "bandwidth": step.attention + (step.weights if memory_bound else 0),
            "compute": prefill + (0 if memory_bound else step.gemm),
            "host": step.host,
        }
        return max(shares, key=shares.__getitem__)

    def starved(self, load: Load, windows: int | None = None) -> str:
        """Why this layout wastes its cards (``MIN_SEQUENCES``), and cures that were checked; empty: it does not."""
        wanted, room = min(MIN_SEQUENCES, windows or MIN_SEQUENCES), self.concurrency(load)
        if room >= wanted:
            return ""
        weights, cards = (
            f"{self.weight_bytes / 1e9:.1f} GB of {self.weights} weights",
            f"{self.n_gpus} × {self.device.name}",
        )
        why = f"{weights} leave room for {room} windows at once on {cards}, {wanted} are wanted"
        if self.kv_room <= 0:
            why = f"{weights} do not fit on {cards}"
        return f"{why}; use {self._cures(load, wanted) or 'a smaller model'}"

    def _cures(self, load: Load, wanted: int) -> str:
        more = replace(self, n_gpus=2 * self.n_gpus)
        ways = [(f"tensor parallel over {more.n_gpus} cards", more), ("FP8 weights", replace(self, weights="fp8"))]
        good = [way for way, layout in ways if layout.concurrency(load) >= wanted]
        for device in sorted(devices().values(), key=lambda device: device.memory_gib):
            if device.is_gpu and replace(self, device=device).concurrency(load) >= wanted:
                good.append(f"a {device.memory_gib:.0f} GB card ({device.name})")
                break
        return ", or ".join(good)
