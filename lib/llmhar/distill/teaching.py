"""How students are taught, as one record: which traces, which recipe, a second round. Trains nothing.

Teachings with names are in ``params/teachings.yaml``. A :class:`~llmhar.distill.recipe.Recipe` is what follows from a
teaching for one student.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from llmhar import paths
from llmhar.ask.models import MODELS, Pruned
from llmhar.distill.examples import COMPLETIONS, Completion
from llmhar.distill.recipe import Backend, Recipe
from llmhar.distill.traces import FILTERS
from llmhar.settings import SettingsError, choose, read_yaml


def _known_filter(name: str) -> str:
    choose(FILTERS, name, f"unknown filter {name!r}; there are:", ValueError)
    return name


Filter = Annotated[str, AfterValidator(_known_filter)]
"""Key into ``FILTERS``."""
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SecondRound(_Strict):
    """The first student is taught once more on the first course, from where it stands, at half the learning rate."""

    trace_filter: Filter = "none"
    """Which traces are learnt now; the shares that a filter asks for are those of the first round."""
    n_sessions: Count | None = None
    """So many training sessions that the first round did not see; None = the same sessions."""
    n_examples: Count | None = None
    """So many of those traces, the teacher's rare labels before others; None = all."""
    max_steps: Count = 300
    """Optimizer steps."""


class Teaching(_Strict):
    """Everything that a student's lessons depend on, but for teacher, data and prompts."""

    trace_filter: Filter = "none"
    """Which traces are learnt: none (S1: all of them), correct, consistent, both."""
    least_correct: float = Field(default=1.0, ge=0, le=1)
    """Filter correct: share of a window's events that must be right."""
    least_agreement: float = Field(default=0.6, ge=0, le=1)
    """Filter consistent: share of a window's samples that must agree."""
    completion: Completion = "reasoning"
    """What is learnt of a trace: the teacher's whole text, its answer alone (the control that says what reasoning
    adds: same windows, same steps), or items, each with its reason, for students that answer so."""
    n_samples: Count = 1
    """The teacher's samples of each training window; the filter consistent needs several."""
    n_sessions: Count | None = None
    """Training sessions that are learnt; None = all."""
    skip_sessions: int = Field(default=0, ge=0)
    """Training sessions that are passed over before those."""
    n_examples: Count | None = None
    """So many traces are learnt, drawn so that the teacher's rare labels come more often; None = all (S1)."""
    step: Count | None = None
    """Events between the starts of two training windows; None = no overlap (S1)."""
    backend: Backend = "peft"
    """peft (TRL and PEFT, any device) or unsloth."""
    method: Literal["auto", "lora", "full"] = "auto"
    """lora, full (all weights), or auto: full for pruned models, which heal only so, LoRA for the rest."""
    rank: Count = 32
    """LoRA's rank, on all seven projections."""
    alpha: Count = 32
    """LoRA's scale is alpha / rank."""
    max_steps: Count = 500
    """Optimizer steps."""
    max_epochs: Count | None = None
    """And every example at most so often; None = no bound."""
    batch_size: Count = 2
    """Examples computed at once."""
    accumulate: Count = 4
    """Batches a step."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Highest, after warm-up."""
    full_steps: Count | None = None
    """Steps where all weights are tuned; None = ``max_steps``."""
    full_learning_rate: float | None = Field(default=None, gt=0)
    """Learning rate where all weights are tuned; None = ``learning_rate``."""
    train_embeddings: bool = True
    """Whether embeddings move where all weights are tuned."""
    longest_example: int = Field(default=8192, ge=16)
    """Tokens of prompt and answer; longer examples are left out and counted."""
    save_every: Count = 50
    """Steps between checkpoints."""
    second_round: SecondRound | None = None
    """None = no second round."""
    seed: int = 0
    """Of the examples drawn, of the adapter's start values and of the order of examples."""

    def changed(self, values: Mapping[str, Any]) -> Teaching:
        """The same teaching with other values in some fields, checked like the rest."""
        return Teaching.model_validate({**self.model_dump(), **values})

    def next_round(self, n_seen: int) -> Teaching:
        """Which traces the second round learns; ``n_seen``: training sessions that the first round took."""
        again = self.second_round
        assert again is not None
        values = again.model_dump(include={"trace_filter", "n_sessions", "n_examples"})
        same_sessions = again.n_sessions is None
        sessions = {"n_sessions": n_seen} if same_sessions else {"skip_sessions": n_seen}
        return self.changed(values | sessions | {"second_round": None})


class Arm(NamedTuple):
    """One variant of a study's first student: all else is the study's."""

    completion: Completion = "reasoning"
    seed: int = 0

    @property
    def key(self) -> str:
        """What its key numbers begin with: student, answer_only, student_seed_1."""
        return ("answer_only" if self.completion == "answer" else "student") + (
            f"_seed_{self.seed}" if self.seed else ""
        )

    @property
    def words(self) -> str:
        """How the student's name ends."""
        only = ", answers only" if self.completion == "answer" else ""
        return only + (f", seed {self.seed}" if self.seed else "")


def read_arm(text: str) -> Arm:
    """An arm as parameters name it: "answer", "reasoning:1", "answer:1"; the number is the seed.

    Raises:
        SettingsError: another form.
    """
    completion, _, seed = text.partition(":")
    if completion not in COMPLETIONS or not (seed or "0").isdecimal():
        raise SettingsError(f"arms: {text!r} is none; write {' or '.join(COMPLETIONS)}, with a seed as in answer:1")
    return Arm(completion, int(seed or 0))


def recipe_for(student: str, teaching: Teaching) -> Recipe:
    """The recipe of one student.

    Args:
        student: key into models.yaml.
        teaching: its method "auto" becomes "full" for a pruned model, "lora" for the rest.

    Raises:
        UnknownModel, ValidationError: no such model, a value that no recipe takes.
    """
    pruned = isinstance(MODELS[student].source, Pruned)
    method = teaching.method if teaching.method != "auto" else "full" if pruned else "lora"
    values = teaching.model_dump(include=set(Recipe.model_fields))
    values |= {"student": student, "method": method, "max_tokens": teaching.longest_example}
    if method == "full":
        values["max_steps"] = teaching.full_steps or teaching.max_steps
        values["learning_rate"] = teaching.full_learning_rate or teaching.learning_rate
    return Recipe.model_validate(values)


def load_teachings(path: Path | None = None) -> dict[str, Teaching]:
    """Read params/teachings.yaml.

    Raises:
        SettingsError: not YAML, an unknown field, or a wrong value: names file, teaching and field.
    """
    path = path or paths.params() / "teachings.yaml"
    try:
        return TypeAdapter(dict[str, Teaching]).validate_python(read_yaml(path) or {}, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {where[:100]}: {first['msg'][:300]}") from error


def load_teaching(
    name: str,
    *,
    max_steps: int | None = None,
    n_sessions: int | None = None,
    trace_filter: str | None = None,
    seed: int = 0,
) -> Teaching:
    """One teaching of params/teachings.yaml, with what a run changes of it.

    Args:
        name: which.
        max_steps: optimizer steps of the first round, whichever weights are tuned; None = as the teaching says.
        n_sessions: training sessions that are learnt; None = as the teaching says.
        trace_filter: key into ``FILTERS``; None = as the teaching says.
        seed: of the examples drawn and of training.

    Raises:
        SettingsError: no such teaching, or one that cannot be read.
        ValidationError: a value that no teaching takes.
    """
    teaching = choose(load_teachings(), name, f"unknown teaching {name!r}; there are:")
    given = {"max_steps": max_steps, "n_sessions": n_sessions, "trace_filter": trace_filter, "seed": seed}
    values: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    return teaching.changed(values | ({} if max_steps is None else {"full_steps": None}))
