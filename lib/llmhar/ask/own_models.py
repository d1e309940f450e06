"""Enters models into the user's own file (``LLMHAR_MODELS``), beside which the built-in ones stay as they are.

What stands in the file stays, comments and all: an entry is added behind it, or takes the place of the old one. No key
ever goes there. Asks nobody.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmhar import paths
from llmhar.ask.engines.child import SECRET_NAMES
from llmhar.ask.models import NAME, NAME_RULE, ModelError, ModelSpec, built_in, load_models, read_entries, read_spec

HEADER = """\
# Models of your own, beside those of params/models.yaml; the same fields. `llmhar models add` writes here; so may you.
# Keys never stand here: they are read from the environment (LLMHAR_OPENAI_API_KEY, or what server.key_variable names).
"""


def add_model(name: str, entry: Mapping[str, Any], *, replace: bool = False) -> ModelSpec:
    """Enter a model, checked as it will be read.

    Args:
        name: by which it is asked for; no built-in model's.
        entry: fields of :class:`llmhar.ask.models.ModelSpec` but the name.
        replace: whether an entry of this name that stands there goes.

    Raises:
        ModelError: a name that is taken or that no model can have, a field that does not fit, a key among the fields,
            or a file that cannot be mended by adding lines; nothing was written.
    """
    file = paths.own_models()
    if not NAME.fullmatch(name):
        raise ModelError(f"{name[:100]!r}: a name has {NAME_RULE}")
    load_models()  # a file that is wrong already says so
    if name in load_models(built_in()):
        raise ModelError(f"{name}: params/models.yaml has a model of this name; give yours another one")
    spec, block = read_spec(file, name, entry), yaml.safe_dump({name: dict(entry)}, sort_keys=False, allow_unicode=True)
    _refuse_keys(block)
    with paths.locked(file.with_name(f".{file.name}.lock")):
        there = file.exists()
        old = read_entries(file) if there else {}
        if name in old and not replace:
            raise ModelError(f"{file}: {name} stands there already; --replace puts the new entry in its place")
        text = _with_block(file.read_text(encoding="utf-8") if there else HEADER, name, block)
        _check(file, text, {**old, name: dict(entry)}, block)
        paths.write_text(file, text)
    return spec


def _refuse_keys(block: str) -> None:
    for variable, value in os.environ.items():
        if SECRET_NAMES.search(variable.upper()) and len(value) >= 8 and value in block:
            raise ModelError(f"the value of {variable} is among these fields: keys stay in the environment")


def _with_block(text: str, name: str, block: str) -> str:
    """The text with the block in the place of the entry of this name, or behind all others."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    starts = [key.start_mark.line for key, _ in pairs] + [len(lines)]
    for (key, _), start, end in zip(pairs, starts, starts[1:]):
        if key.value == name:
            while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
                end -= 1  # blank lines and comments before the next entry are its own
            return "".join([*lines[:start], block, *lines[end:]])
    return "".join([*lines, block])


def _check(file: Path, text: str, wanted: Mapping[str, Any], block: str) -> None:
    """Read the new text as it will be read, before it is written."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, file.name)
        trial.write_text(text, encoding="utf-8")
        try:
            if read_entries(trial) == wanted:
                load_models(built_in(), trial)
                return
            problem = "other entries would change"
        except ModelError as error:
            problem = str(error).replace(str(trial), "with it")
    why = " ".join(problem.split())
    raise ModelError(f"{file} was left as it is, for it cannot take the entry ({why}); enter by hand:\n{block}")
