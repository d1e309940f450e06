"""Which rows of the proof's tables are older than their code: ``python -m tests.bench.ages`` says so, and marks them.

A row names the commit, the module that measured it and a hash over all files of the repository that this module
imports or names (as ``python -m`` of a child and pytest of a test do), directly or not, what lies beside them that is
no Python (SQL, pages), the files of ``params/`` that any of them names by its own or its folder's name, the notebooks
that a test or bench names (of benches with what they import), and the locked packages. Where these files differ today,
the row was measured of another code. What is on disk counts, committed or not. Left out: the packages that are
installed (the lock stands for them), weights and data, the Makefile, the machine.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path

from llmhar import paths, settings

ROOT = Path(__file__).parents[2]
PLACES = {"llmhar": ROOT / "lib", "tests": ROOT}
"""Package -> the folder that it lies in."""
BESIDE = {".css", ".j2", ".js", ".sql"}
"""Files of the library that are no Python."""
LOCK = "requirements/cpu.lock"
OLD = "older than its code"
_MADE = re.compile(r"`(?P<commit>\S{1,40}) (?P<module>[\w.]+) (?P<hash>[0-9a-f]{12})`")
_NAMED = re.compile(r"(llmhar|tests)([./]\w+)+")
_HEAD = "| claim | figure | measured | verdict |"


def _file(module: str) -> Path | None:
    """The file of a module of this repository."""
    folder = PLACES.get(module.partition(".")[0])
    place = folder.joinpath(*module.split(".")) if folder else None
    found = (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()) if place else ()
    return next(iter(found), None)


@lru_cache(maxsize=4096)
def _imports(file: Path) -> frozenset[str]:
    """Modules that a file imports or names anywhere: "tests.bench.growth:claims", "tests/score/test_f1.py::test_x"."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = node.value.partition(":")[0].removesuffix(".py")
            names |= {named.replace("/", ".")} if _NAMED.fullmatch(named) else set()
    return frozenset(names)


@lru_cache(maxsize=4096)
def _words(file: Path) -> frozenset[str]:
    """Texts in a file that could name another file or a folder."""
    texts = (node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(node, ast.Constant) and isinstance(node.value, str))  # fmt: skip
    return frozenset(text for text in texts if len(text) < 100)


def _settings(files: Collection[Path]) -> Iterator[Path]:
    """Files of ``params/`` that any of these files names by its own or its folder's name, notebooks that those of
    ``tests`` name, and the lock.
    """
    said = frozenset[str]().union(*map(_words, files))
    by_tests = frozenset[str]().union(*(_words(file) for file in files if ROOT / "tests" in file.parents))
    params = ROOT / "params"
    for file in params.rglob("*"):
        if file.is_file() and said & {file.name, *file.relative_to(params).parts[:-1]}:
            yield file
    yield from (file for file in (ROOT / "notebooks").glob("*.ipynb") if file.stem in by_tests)
    yield from (file for file in [ROOT / LOCK] if file.is_file())


def depends_on(module: str) -> list[Path]:
    """Files that a module consists of: its own, all that it imports or names, directly or not, what lies beside, and
    the settings that they read.
    """
    sources = {source.stem: source for source in (ROOT / "notebooks" / "src").glob("*.py")}
    waiting, files = [_file(module)], set[Path]()
    while waiting:
        file = waiting.pop()
        if file and file not in files:
            files.add(file)
            waiting += map(_file, _imports(file))
            if ROOT / "tests" / "bench" in file.parents:  # what a notebook imports runs where a bench runs it
                waiting += [sources[name] for name in sources.keys() & _words(file)]
    folders = {file.parent for file in files if PLACES.get("llmhar") in file.parents}
    near = (other for folder in folders for pattern in ("*", "*/*") for other in folder.glob(pattern))
    own = (other for other in near if other.parent in folders or not (other.parent / "__init__.py").exists())
    beside = {other for other in own if other.suffix in BESIDE}
    return sorted({*files, *beside, *_settings(files)})


@lru_cache(maxsize=256)
def code_hash(module: str) -> str:
    """Hash over names and contents of :func:`depends_on`; the same on every machine."""
    total = hashlib.sha256()
    for file in depends_on(module):
        total.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def commit() -> str:
    """The checkout's, as rows name it: ten digits, "+dirty" behind them where files differ from it."""
    whole, dirty, _ = settings.commit().partition("+")
    return whole[:10] + ("+dirty" if dirty else "")


def commit_of(made: str) -> str:
    """The commit that a row names."""
    found = _MADE.search(made)
    return found["commit"] if found else ""


def stamp(module: str) -> str:
    """What a row says of its origin: commit, module, hash."""
    return f"`{commit()} {module} {code_hash(module)}`"


def rows(text: str) -> Iterator[tuple[int, str]]:
    """Place among the lines, and text, of each row of the tables of claims."""
    inside = False
    for number, line in enumerate(text.split("\n")):
        if line.startswith(_HEAD):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            yield number, line


def is_old(row: str, now: Callable[[str], str] | None = None) -> bool:
    """Whether a row was measured of other code than today's, or does not say of which.

    Args:
        row: of a table, or what :func:`stamp` gave.
        now: module -> its hash; None = today's.
    """
    made = _MADE.search(row)
    return made is None or (now or code_hash)(made["module"]) != made["hash"]


def marked(text: str, now: Callable[[str], str] | None = None) -> tuple[str, int, int]:
    """A page whose rows say that they are older than their code where they are; how many are; how many rows it has."""
    lines, n_old, n = text.split("\n"), 0, 0
    for number, row in rows(text):
        bare, old = row.replace(f" ({OLD})", ""), is_old(row, now)
        n, n_old = n + 1, n_old + old
        lines[number] = f"{bare.rstrip().removesuffix('|').rstrip()} ({OLD}) |" if old else bare
    return "\n".join(lines), n_old, n


def mark_all(folder: Path | None = None) -> dict[str, tuple[int, int]]:
    """Mark the tables of a folder; None = ``reports/record/proof``. Returns file -> (old rows, rows)."""
    found = {}
    for file in sorted((folder or paths.record() / "proof").glob("*.md")):
        text, n_old, n = marked(before := file.read_text(encoding="utf-8"))
        if text != before:
            paths.write_text(file, text)
        found[file.name] = (n_old, n)
    return found


if __name__ == "__main__":
    for name, (n_old, n) in mark_all().items():
        print(f"{name}: {n_old} of {n} rows {OLD}")
