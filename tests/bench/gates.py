"""Gates: ways of loading and running that no module may use. Reads syntax trees, so spelling and aliases do not matter.

Each gate has a reason: pickles, unsafe YAML and `torch.load` run code from files (CVE-2025-32434), `trust_remote_code`
runs code from a hub, `shell=True` and `eval` run code from strings, `verify=False` lets anybody answer for a server.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIB = ROOT / "lib" / "llmhar"
GATES = ("pickle", "joblib", "yaml", "torch.load", "trust_remote_code", "eval", "shell", "verify")
EXCEPTIONS: frozenset[tuple[str, str]] = frozenset({("lib/llmhar/fusion/clips/hapt.py", "pickle")})
"""(file, gate) pairs that may fail. HAPT is published as a pickle: its reader admits a dozen names and runs none of
their code (tests/fusion/clips/test_motion_data.py sends it hostile ones)."""

_MODULES = {
    **dict.fromkeys(("pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "shelve", "marshal",
                     "jsonpickle"), "pickle"),
    "joblib": "joblib",
}  # fmt: skip
_CALLS = {
    **dict.fromkeys(("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
                     "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader"), "yaml"),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
                     "asyncio.create_subprocess_shell"), "shell"),
    **dict.fromkeys(("ssl._create_unverified_context", "ssl.CERT_NONE"), "verify"),
    **dict.fromkeys(("eval", "exec", "builtins.eval", "builtins.exec"), "eval"),
    **dict.fromkeys(("pandas.read_pickle", "numpy.lib.format.read_array_header_2_0"), "pickle"),
}  # fmt: skip
"""Whole names that are refused wherever they stand, called or passed on."""
_SAFE_YAML = {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.BaseLoader", "yaml.CBaseLoader"}


class Found(NamedTuple):
    """One place that a gate refuses."""

    line: int
    gate: str
    code: str


def find_unsafe(source: str) -> list[Found]:
    """Everything in a module that a gate refuses, by line."""
    tree = ast.parse(source)
    names = _names(tree)
    # Docstrings may name what is forbidden; a call that stands alone is no docstring.
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in docs:
            continue
        for gate in _refused(node, names):
            found.add(Found(getattr(node, "lineno", 0), gate, ast.unparse(node)[:100]))
    return sorted(found)


def check_files(
    files: Iterable[Path] | None = None, root: Path = ROOT, exceptions: frozenset[tuple[str, str]] = EXCEPTIONS
) -> list[tuple[str, Found]]:
    """All findings of the library, the notebooks and the benches that are no named exception, as (file, finding)."""
    if files is None:
        files = [*LIB.rglob("*.py"), *(root / "notebooks/src").glob("*.py"), *(root / "tests/bench").glob("*.py")]
        files = [file for file in files if file != Path(__file__)]  # it spells out what it looks for
    found = []
    for file in sorted(files):
        name = str(file.relative_to(root))
        every = find_unsafe(file.read_text(encoding="utf-8"))
        found += [(name, one) for one in every if (name, one.gate) not in exceptions]
    return found


def _names(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for: imports under any alias, and plain re-naming (``load = torch.load``)."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                stands_for = alias.name if alias.asname else alias.name.split(".")[0]
                names[alias.asname or stands_for] = stands_for
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            whole = _whole(node.value, names)
            if whole and whole.split(".")[0] in {"torch", "yaml", "numpy", "pandas", "subprocess", "os"}:
                names[node.targets[0].id] = whole
    return names


def _whole(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name that an expression stands for; ``getattr(a, "b")`` reads as ``a.b``."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _whole(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call) and _whole(node.func, {}) == "getattr" and len(node.args) > 1:
        named = node.args[1]
        return f"{_whole(node.args[0], names)}.{named.value}" if isinstance(named, ast.Constant) else ""
    return ""


def _refused(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Gates that refuse this node."""
    if isinstance(node, ast.Import):
        yield from (_MODULES[a.name.split(".")[0]] for a in node.names if a.name.split(".")[0] in _MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module:
        if (root := node.module.split(".")[0]) in _MODULES:
            yield _MODULES[root]
        yield from (_CALLS[w] for a in node.names if (w := f"{node.module}.{a.name}") in _CALLS)
    elif isinstance(node, ast.Name | ast.Attribute):
        if gate := _CALLS.get(_whole(node, names)):
            yield gate
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if node.value.replace("-", "_").lower().lstrip("_") in ("trust_remote_code", "hf_trust_remote_code"):
            yield "trust_remote_code"  # a key of **options, an argument of a command, setattr
    elif isinstance(node, ast.Call):
        yield from _refused_call(node, names)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr == "check_hostname" and _is(node.value, False):
                yield "verify"
            if isinstance(target, ast.Attribute) and target.attr == "trust_remote_code" and not _is(node.value, False):
                yield "trust_remote_code"


def _refused_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    whole = _whole(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
    if whole in ("__import__", "importlib.import_module") and str(first).split(".")[0] in _MODULES:
        yield _MODULES[str(first).split(".")[0]]
    if whole in ("torch.load", "torch.serialization.load") and not _is(given.get("weights_only"), True):
        yield "torch.load"
    if whole in ("yaml.load", "yaml.load_all"):
        loader = given.get("Loader", node.args[1] if len(node.args) > 1 else None)
        if loader is None or _whole(loader, names) not in _SAFE_YAML:
            yield "yaml"
    if _is(given.get("typ"), "unsafe"):  # ruamel.yaml
        yield "yaml"
    if "allow_pickle" in given and not _is(given["allow_pickle"], False):
        yield "pickle"
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
        yield "trust_remote_code"
    if "shell" in given and not _is(given["shell"], False):
        yield "shell"
    if "verify" in given and isinstance(given["verify"], ast.Constant) and not given["verify"].value:
        yield "verify"
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("eval", "exec") and node.args:
        yield "eval"  # DataFrame.eval and its like; a module's eval() takes no argument


def _is(node: ast.AST | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value
