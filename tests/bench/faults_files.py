"""Files for the loaders' claims: small sound sets of every kind, and what hurts them. Reads nothing and checks nothing.

A :class:`FileSet` is what one loader reads; :data:`DAMAGE` is what happens to bytes by accident, each kind drawn from a
seed. Files that somebody made to hurt are :mod:`tests.bench.faults_hostile`'s.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import soundfile

from llmhar import paths
from llmhar.ask.models import ModelError, load_models
from llmhar.data import fetch
from llmhar.data import registry as datasets
from llmhar.data.registry import DataError
from llmhar.fusion.clips import hapt
from llmhar.fusion.clips.clip import CHANNELS
from llmhar.fusion.clips.manifest import load_manifest
from llmhar.settings import SettingsError, read_parameters, read_profile, resolve
from llmhar.text.prompt import PromptError, load_home
from tests.data.test_marble import FIXTURE as MARBLE
from tests.data.test_mural import FIXTURE as MURAL
from tests.data.test_uci_adl import ADLS_HEAD, SENSORS_HEAD
from tests.test_settings import CELL
from tests.text.test_prompt import SMALL

Load = Callable[[Path], object]
PARAMETERS = read_parameters(CELL)


class FileSet(NamedTuple):
    """What one loader reads."""

    make: Callable[[Path], object]
    """Writes a sound set into an empty folder."""
    load: Load
    """Reads that folder."""
    hurt: tuple[str, ...]
    """The files that are damaged, in turn."""
    error: type[Exception] = DataError
    """The loader's own error."""
    names: tuple[str, ...] = ()
    """Words that stand for a file's name in a clear error."""

    def is_named(self, message: str) -> bool:
        """Whether an error says which file it is about."""
        return any(word in message for word in (*self.names, *[Path(name).name for name in self.hurt]))


# Sound sets.
def make_uci(folder: Path) -> None:
    """One home, a day and a half."""
    rows = "".join(f"2011-11-28 {h:02d}:00:00\t\t2011-11-28 {h:02d}:05:00\tBed \t\tPressure\tBedroom\t\t\r\n"
                   for h in range(20))  # fmt: skip
    rows += "2011-11-28 23:00:00\t2011-11-29 00:10:00\tCaf\xe9\tMagnetic\tKitchen\r\n"
    spans = "2011-11-28 00:00:00\t\t2011-11-28 07:20:00\tSleeping\r\n"
    spans += "2011-11-28 08:00:00\t2011-11-28 19:00:00\tSnack\r\n"
    (folder / "OrdonezA_Sensors.txt").write_bytes((SENSORS_HEAD + rows).encode("latin-1"))
    (folder / "OrdonezA_ADLs.txt").write_bytes((ADLS_HEAD + spans).encode("latin-1"))


ROWS = """clip_id,audio,imu,start,end,label,person,recording,context:heart rate zone
a,one.wav,imu.{kind},0,2,cooking,p1,r1,light
b,one.wav,,1,3,eating,p1,r1,
c,,imu.{kind},0.5,4,reading a book,p2,,vigorous
"""


def make_clips(folder: Path, kind: str = "csv") -> None:
    """A manifest, a sound and a motion file; ``kind``: "csv" or "parquet", of the manifest and of the motion."""
    soundfile.write(folder / "one.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 4 * 4000), 4000)
    motion = pd.DataFrame({"t": np.arange(101) / 25, **dict.fromkeys(CHANNELS, 0.0)}).assign(acc_z=1.0)
    manifest = pd.read_csv(io.StringIO(ROWS.format(kind=kind)))
    for frame, name in ((motion, "imu"), (manifest, "manifest")):
        if kind == "csv":
            frame.to_csv(folder / f"{name}.csv", index=False)
        else:
            frame.to_parquet(folder / f"{name}.parquet")


def make_zip(folder: Path, extra: Mapping[Any, bytes] | None = None, *, how: int = zipfile.ZIP_DEFLATED) -> None:
    """MuRAL in ``home.zip``, with further entries."""
    files = {p.relative_to(MURAL).as_posix(): p.read_bytes() for p in sorted(MURAL.rglob("*")) if p.is_file()}
    with zipfile.ZipFile(folder / "home.zip", "w", how) as out:
        for name, content in (files | dict(extra or {})).items():
            out.writestr(name, content)


def make_tar(folder: Path, *extra: tarfile.TarInfo) -> None:
    """MuRAL in ``home.tar.gz``, with further entries; those with a size hold zeros."""
    with tarfile.open(folder / "home.tar.gz", "w:gz", compresslevel=1) as out:
        out.add(MURAL, "MuRAL")
        for info in extra:
            out.addfile(info, _Zeros(info.size) if info.size else None)


class _Zeros(io.RawIOBase):
    """So many zeros, never held at once."""

    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, size: int = -1) -> bytes:
        n = min(size if size >= 0 else self.left, self.left)
        self.left -= n
        return bytes(n)


def add_archive(name: str) -> Load:
    """Take an archive in as data set; nothing of it may lie anywhere but in the data set's folder."""

    def load(folder: Path) -> object:
        os.environ |= {"LLMHAR_DATA": str(folder / "data"), "LLMHAR_CACHE": str(folder / "cache")}
        try:
            return fetch.add("mural", folder / name, replace=True)
        finally:
            strange = {p.name for p in (*folder.iterdir(), *paths.data().glob("*"))} - {name, "data", "mural"}
            strange |= {p.name for p in (folder.parent / "evil.txt", Path("/tmp/evil.txt")) if p.exists()}
            if strange:
                raise RuntimeError(f"left outside the data set's folder: {sorted(strange)}")

    return load


# HAPT's pickle, written by hand: pandas and NumPy no longer have all the names that its file uses.
class _Named(NamedTuple):
    module: str
    name: str


class _Made(NamedTuple):
    """An object: a callable, its arguments, the state that it is then given."""

    what: _Named
    arguments: tuple[Any, ...]
    state: Any = None


def _opcodes(value: Any) -> bytes:
    """Pickle opcodes that leave ``value`` on the stack."""
    if isinstance(value, _Named):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, _Made):
        state = b"" if value.state is None else _opcodes(value.state) + b"b"
        return _opcodes(value.what) + _opcodes(value.arguments) + b"R" + state
    if isinstance(value, dict):
        return b"}" + b"".join(_opcodes(key) + _opcodes(content) + b"s" for key, content in value.items())
    if isinstance(value, list | tuple):
        parts = [_opcodes(item) for item in value]
        return b"(" + b"".join(parts) + b"t" if isinstance(value, tuple) else b"]" + b"".join(p + b"a" for p in parts)
    if isinstance(value, bool) or value is None:
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    content = value.encode() if isinstance(value, str) else value
    return (b"X" if isinstance(value, str) else b"B") + len(content).to_bytes(4, "little") + content


def hapt_pickle(n: int = 30) -> bytes:
    """Two people, a recording each, as HAPT's file holds them."""
    manager, core = "pandas.core.internals.managers", "numpy.core.multiarray"
    new = _Named("copy_reg", "_reconstructor"), _Named("__builtin__", "object")

    def made(module: str, name: str, state: Any) -> _Made:
        return _Made(new[0], (_Named(module, name), new[1], None), state)

    def array(kind: str, shape: tuple[int, ...], content: Any) -> _Made:
        dtype = _Made(_Named("numpy", "dtype"), (kind, 0, 1), (3, "<", None, None, None, -1, -1, 0))
        return _Made(_Named(core, "_reconstruct"), (_Named("numpy", "ndarray"), (0,), b"b"),
                     (1, shape, dtype, False, content))  # fmt: skip

    columns = {"data": array("O8", (8,), list(hapt._COLUMNS))}
    index = "pandas.core.indexes.base"
    names = _Made(_Named(index, "_new_Index"), (_Named(index, "Index"), columns))
    cut = _Named("__builtin__", "slice")
    blocks = [
        {"values": array("f8", (6, n), np.ones((6, n)).tobytes()), "mgr_locs": _Made(cut, (0, 6, 1))},
        {"values": array("i8", (2, n), np.ones((2, n), np.int64).tobytes()), "mgr_locs": _Made(cut, (6, 8, 1))},
    ]
    parts = {"axes": [names], "blocks": blocks}
    held = made(manager, "BlockManager", (1, 2, 3, {"0.14.1": parts}))
    frame = made("pandas.core.frame", "DataFrame", {"_data": held})
    return b"\x80\x03" + _opcodes({1: [frame], 2: [frame, frame]}) + b"."


# The loaders.
def _load_home(folder: Path) -> object:
    with patch.dict(os.environ, {"LLMHAR_ROOT": str(folder)}):  # later loaders read home files of the checkout
        load_home.cache_clear()
        return load_home("test")


def _make_home(folder: Path) -> None:
    (folder / "params" / "homes").mkdir(parents=True)
    (folder / "params" / "homes" / "test.yaml").write_text(SMALL, encoding="utf-8")


def _load_settings(file: Path) -> object:
    return resolve(PARAMETERS, read_profile(file, [NOTEBOOK]).get(NOTEBOOK, {}), {}, str(file))


NOTEBOOK = "02_prompting"
SETTINGS = f"""{NOTEBOOK}:
  dataset: "mural"
  models: [rules, smollm2-135m]
  level: 2.5
  n_windows: null
  rules: false
  bits: 4
"""
TEXTS = {
    "MuRAL": ("01/data.csv", "activities.json", "sensors.json", "01/context.json"),
    "MARBLE": ("A2a/instance1/environmental.csv", "A2a/instance1/subject-21/labels.csv",
               "A2a/instance1/subject-21/smartphone.csv", "A2a/instance1/subject-21/locations.csv"),
}  # fmt: skip
# Where nothing is wrong with any one file but that all hold nothing, the folder is named.
NOTHING = ("no usable sensor event in",)
SETS: dict[str, FileSet] = {
    "MuRAL": FileSet(lambda f: shutil.copytree(MURAL, f, dirs_exist_ok=True), lambda f: datasets.load("mural", f),
                     TEXTS["MuRAL"], names=NOTHING),
    "MARBLE": FileSet(lambda f: shutil.copytree(MARBLE, f, dirs_exist_ok=True),
                      lambda f: datasets.load("marble", f, {"locations": True}), TEXTS["MARBLE"],
                      names=NOTHING),
    "UCI ADL": FileSet(make_uci, lambda f: datasets.load("uci_adl", f, {"home": "A"}),
                       ("OrdonezA_Sensors.txt", "OrdonezA_ADLs.txt"), names=NOTHING),
    "clips, CSV": FileSet(make_clips, load_manifest, ("manifest.csv", "one.wav", "imu.csv")),
    "clips, Parquet": FileSet(lambda f: make_clips(f, "parquet"), load_manifest, ("manifest.parquet", "imu.parquet")),
    "zip": FileSet(make_zip, add_archive("home.zip"), ("home.zip",)),
    "tar.gz": FileSet(make_tar, add_archive("home.tar.gz"), ("home.tar.gz",)),
    "HAPT's pickle": FileSet(lambda f: (f / "hapt.pkl").write_bytes(hapt_pickle()),
                             lambda f: hapt.read_frames((f / "hapt.pkl").read_bytes()), ("hapt.pkl",),
                             names=("HAPT",)),  # bytes of a file that is checked by hash before: it has no name
    "home YAML": FileSet(_make_home, _load_home, ("params/homes/test.yaml",), PromptError),
    "settings YAML": FileSet(
        lambda f: (f / "demo.yaml").write_text(SETTINGS, encoding="utf-8"),
        lambda f: _load_settings(f / "demo.yaml"),
        ("demo.yaml",), SettingsError,
    ),
    "models YAML": FileSet(lambda f: shutil.copy(Path(__file__).parents[2] / "params" / "models.yaml", f),
                           lambda f: load_models(f / "models.yaml"), ("models.yaml",), ModelError),
}  # fmt: skip


# Accidents.
def _at(random: Random, content: bytes) -> int:
    return random.randrange(len(content) + 1)


def _put(random: Random, content: bytes, piece: bytes) -> bytes:
    at = _at(random, content)
    return content[:at] + piece + content[at:]


def _flip(random: Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        made[random.randrange(len(made))] = random.randrange(256)
    return bytes(made)


def _moved(random: Random, content: bytes) -> bytes:
    """A piece left out, doubled, or put elsewhere."""
    first, last = sorted((_at(random, content), _at(random, content)))
    rest, piece = content[:first] + content[last:], content[first:last]
    return random.choice((rest, content + piece, _put(random, rest, piece), piece + rest))


def _recoded(random: Random, content: bytes) -> bytes:
    text = _put(random, content, "é€ü".encode()).decode("utf-8", "replace")
    return text.encode(random.choice(("utf-16", "utf-32", "cp1252", "utf-16-be", "latin-1", "utf-7")), "replace")


def _number(random: Random, content: bytes) -> bytes:
    """Some digits replaced by a number that nobody expects."""
    digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57] or [0]
    at = random.choice(digits)
    piece = random.choice((b"-1", b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"0x10", b"1_0", "٣".encode(), b"", b"-0",
                           b"99999999999999", b"1e308", b"2001-99-99", b"12:30:00", b"0.1e-300"))  # fmt: skip
    return content[:at] + piece + content[at + 1 :]


_PIECES = (b"\0", b"\0" * 500, b'"', b'"' * 999, b"\r", b"\n\n\n", b"\xff\xfe", b"\xed\xa0\x80",
           "\u2028\u202e".encode(), b",,,,,,", b"[[[[{{{{", b"]}", b"\x1b[2J", b"{}", b": ", b"&a [*a]", b"\t",
           b"!!python/object:os.system ",
           b"\xef\xbb\xbf", b"'", b"\\", b"<<: *x", b"- ", b"!!timestamp x", b"!!bool x", b"!!int ''")  # fmt: skip
LARGEST = 2**26
"""Bytes up to which a file is repeated, 64 MiB; memory is tried by single files that are larger, among the hostile."""
DAMAGE: dict[str, Callable[[Random, bytes], bytes]] = {
    "bytes flipped": _flip,
    "cut off": lambda random, content: content[: _at(random, content)],
    "moved": _moved,
    "a piece put in": lambda random, content: _put(random, content, random.choice(_PIECES)),
    "another encoding": _recoded,
    "another number": _number,
    "a huge field": lambda random, content: _put(random, content, random.choice((b"x", b"9", b'"', b" ", b"\xc3\xa9"))
                                                 * random.choice((70_000, 300_000))),
    "nested deeply": lambda random, content: _put(random, content, random.choice((b"[", b'{"a":', b"(", b"[{", b"- "))
                                                  * random.choice((200, 3000, 100_000))),
    "many times": lambda random, content: content * min(random.choice((2, 50, 400)), max(2, LARGEST // len(content))),
    "noise": lambda random, content: random.randbytes(random.choice((0, 1, 100, 5000))),
}  # fmt: skip
"""Kind -> what becomes of a file's bytes. Compressed sets are damaged as they lie on disk."""
