"""How a student is trained: one frozen recipe for all back ends. Trains nothing.

The teaching "s1" of ``params/teachings.yaml`` is S1 §3.2 and §4.5: Unsloth, LoRA, 500 steps, learning rate 2e-4. S1
gives no rank and no batch; both follow from what it does give. Its added parameters, 3.25 % (0.6B) and 1.99 % (1.7B),
fit rank 32 on all seven projections within 0.03 points (:func:`added_share`); ranks 31 and 33 are off by up to 0.12,
the usual 8, 16 and 64 by 0.98 and more. 500 steps being 32 epochs of 126 windows and 8 of 544 make a batch of 8.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmhar.records import sha256_of

Method = Literal["lora", "full"]
METHODS: tuple[Method, ...] = ("lora", "full")
"""Low-rank adapters beside frozen weights, or all weights (pruned models heal only so)."""
Backend = Literal["peft", "unsloth"]
BACKENDS: tuple[Backend, ...] = ("peft", "unsloth")
"""TRL's SFTTrainer with PEFT on any device, or the same under Unsloth."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven linear maps of a layer."""


class Recipe(BaseModel):
    """Everything that decides what comes out of training, but for the examples and the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    student: str
    """Key into ``params/models.yaml``: whose weights training starts from."""
    method: Method = "lora"
    """Which weights move."""
    backend: Backend = "peft"
    """Which code loads and patches the model."""
    rank: int = Field(32, ge=1, le=512)
    """Width of LoRA's two factors."""
    alpha: int = Field(32, ge=1)
    """LoRA's scale is alpha / rank."""
    targets: tuple[str, ...] = PROJECTIONS
    """Linear maps that get an adapter."""
    max_steps: int = Field(500, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(2, ge=1)
    """Examples computed at once."""
    accumulate: int = Field(4, ge=1)
    """Batches a step: a step sees batch_size x accumulate examples."""
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(5, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    max_tokens: int = Field(8192, ge=16)
    """Longest prompt and answer together; longer examples are left out and counted, never cut."""
    seed: int = 0
    """Of the adapter's start values and of the order of examples."""
    dtype: Literal["auto", "float32", "mixed", "bfloat16"] = "auto"
    """Of the weights; "mixed" keeps them in float32 and multiplies in bfloat16 (autocast). auto: bfloat16 on a GPU;
    mixed on a CPU that multiplies bfloat16 itself (twice as fast), else float32. Pure bfloat16 is slow on CPUs."""
    train_embeddings: bool = True
    """method full only: whether the (tied) embeddings move too; half the weights of an 8-layer student."""
    gradient_checkpointing: bool = False
    """Less memory for a third more time."""
    answer_logits_only: bool = True
    """Compute the vocabulary's logits where the loss is, and nowhere else. Changes no result."""
    sort_by_length: bool = True
    """Batches of like length: less padding."""
    objective: Literal["sft", "gkd"] = "sft"
    """sft: the teacher's text, token by token (S1). gkd: the distribution of a teacher that shares the student's
    vocabulary, partly on what the student itself writes (Agarwal et al. 2306.13649)."""
    on_policy: float = Field(0.5, ge=0, le=1)
    """gkd: share of batches that the student writes itself (lambda)."""
    beta: float = Field(0.5, ge=0, le=1)
    """gkd: 0 = forward KL, 1 = reverse KL, between them the generalised Jensen-Shannon divergence."""
    max_new_tokens: int = Field(384, ge=1)
    """gkd: most tokens that the student writes."""
    save_every: int = Field(50, ge=1)
    """Steps between checkpoints."""

    @property
    def examples_per_step(self) -> int:
        """Examples that one optimizer step sees."""
        return self.batch_size * self.accumulate

    @property
    def sha256(self) -> str:
        """Names the recipe; how often a checkpoint is written does not change what comes out."""
        return sha256_of(self.model_dump(mode="json", exclude={"save_every"}))


def added_parameters(*, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, head_dim: int,
                     rank: int) -> int:  # fmt: skip
    """Weights that LoRA adds on all seven projections of a decoder: rank x (inputs + outputs) of each map.

    Source: Hu et al., LoRA (2106.09685) §4.1; widths from the model's config.json.
    """
    query, key = heads * head_dim, kv_heads * head_dim
    maps = [(hidden, query), (hidden, key), (hidden, key), (query, hidden)]
    maps += [(hidden, intermediate), (hidden, intermediate), (intermediate, hidden)]
    return layers * rank * sum(inputs + outputs for inputs, outputs in maps)


def added_share(added: int, base: int) -> float:
    """LoRA's weights in percent of base and adapter together, as PEFT prints them and S1 §4.5 gives them."""
    return 100 * added / (base + added)
