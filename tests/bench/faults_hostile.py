"""Files made to hurt: bombs, slips, links, endless nesting, files that are larger inside than outside.

Each is written over a sound set of :mod:`tests.bench.faults_files`. Some may be read (a large file is not a wrong one),
those of :data:`REFUSED` never.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from llmhar.data import archives
from llmhar.fusion.clips.clip import CHANNELS
from tests.bench.faults_files import ADLS_HEAD, SENSORS_HEAD, hapt_pickle, make_tar, make_zip
from tests.data.test_mural import HEADER

MIB = 2**20


class Hostile(NamedTuple):
    """One hostile file."""

    kind: str
    """Key into ``SETS``, or into ``HOMES``."""
    write: Callable[[Path], object]
    """Writes it over a sound set."""
    is_refused: bool = True
    """Whether it must be refused; else it may be read as well."""


def _content(kind: str, file: str, content: bytes | Callable[[], bytes], *, is_refused: bool = True) -> Hostile:
    """A file with this content, made when it is needed."""
    return Hostile(kind, lambda f: (f / file).write_bytes(content if isinstance(content, bytes) else content()),
                   is_refused)  # fmt: skip


def _rows(n: int) -> bytes:
    """Well-formed MuRAL rows."""
    row = '{},{:02d}:{:02d}:{:02d},kitchen s{} mov,turned ON,"A, B","x, y",5\n'
    return (HEADER + "".join(row.format(i, i // 3600 % 24, i // 60 % 60, i % 60, i % 23) for i in range(n))).encode()


SECTION = b"02_prompting:\n  models: "


def _laughs(first: str, last: str) -> bytes:
    """YAML whose aliases stand for 9 ** 9 words."""
    lines = [f"{first}: [&a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f", &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    return ("\n  ".join(lines) + "]\n" + last).encode()


# Parquet: a column of one value takes a few bytes, however long it is.


def _parquet(folder: Path, name: str, columns: dict[str, object]) -> None:
    pyarrow.parquet.write_table(pa.table(columns), folder / name, compression="zstd")


def _constant(value: object, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([value]))


def _samples(folder: Path, n: int) -> None:
    _parquet(folder, "imu.parquet", dict.fromkeys(("t", *CHANNELS[:3]), pa.array(np.zeros(n))))


def _clips(folder: Path, n: int, clip_id: str) -> None:
    cells = {"clip_id": clip_id, "imu": "imu.parquet", "start": 0.0, "end": 1.0, "label": "cooking"}
    _parquet(folder, "manifest.parquet", {name: _constant(value, n) for name, value in cells.items()})


def _large_page(folder: Path) -> None:
    values = {name: pa.array(["0" * (400 * MIB)] if name == "acc_x" else [0.0]) for name in ("t", *CHANNELS[:3])}
    _parquet(folder, "imu.parquet", values)


def _odd_columns(folder: Path) -> None:
    nested = pa.array([[{"a": [1]}]] * 3)
    _parquet(folder, "imu.parquet", dict.fromkeys(("t", *CHANNELS), nested))


def _wide(folder: Path) -> None:
    _parquet(folder, "manifest.parquet", {f"context:{i}": pa.array(["x"]) for i in range(5000)})


def _nanoseconds(folder: Path) -> None:
    """Most samples a nanosecond apart: on an even grid of that step 4 s would be four thousand million samples."""
    t = np.sort(np.concatenate([np.arange(0, 4.2, 0.1), 1 + np.arange(500) * 1e-9]))
    frame = pd.DataFrame({"t": t, **dict.fromkeys(CHANNELS, 0.0)}).assign(acc_z=1.0)
    frame.to_csv(folder / "imu.csv", index=False)


def _wav(folder: Path, channels: int, size: int) -> None:
    """A header that claims what is not there."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, 4000, 0, "NONE", ""))
        out.writeframes(bytes(32_000))
    content = bytearray(buffer.getvalue())
    struct.pack_into("<H", content, 22, channels)
    struct.pack_into("<I", content, 40, size)
    (folder / "one.wav").write_bytes(bytes(content))


# Archives.


def _entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def _link(folder: Path) -> None:
    link = zipfile.ZipInfo("MuRAL/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_zip(folder, {link: b"/etc/passwd"})


def _zip_bomb(folder: Path, size: int) -> None:
    with zipfile.ZipFile(folder / "home.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out, \
            out.open("bomb", "w", force_zip64=True) as stream:  # fmt: skip
        for _ in range(size // MIB):
            stream.write(bytes(MIB))


def _long_directory(folder: Path, n: int) -> None:
    """One file and a directory that names it again and again, each time otherwise."""
    with zipfile.ZipFile(folder / "home.zip", "w") as out:
        out.writestr("000000", b"")
    content = (folder / "home.zip").read_bytes()
    at = content.find(b"PK\x01\x02")
    entry = content[at : at + 46]
    directory = b"".join(entry + b"%06d" % i for i in range(n))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n % 65535, n % 65535, len(directory), at, 0)
    (folder / "home.zip").write_bytes(content[:at] + directory + end)


def _patched_zip(folder: Path, offset: int, piece: bytes) -> None:
    """Bytes written over the local header and the directory entry of the first file (at ``offset`` of the latter)."""
    make_zip(folder)
    content = bytearray((folder / "home.zip").read_bytes())
    at = content.find(b"PK\x01\x02") + offset
    content[at : at + len(piece)] = piece
    (folder / "home.zip").write_bytes(bytes(content))


_SLIPS = ("../evil.txt", "MuRAL/../../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:/evil.txt")
_BOMB = archives.MAX_UNPACKED + 64 * MIB
ARCHIVES = {
    **{f"zip: entry {name}": Hostile("zip", lambda f, name=name: make_zip(f, {name: b"x"})) for name in _SLIPS},
    **{f"tar: entry {name}": Hostile("tar.gz", lambda f, name=name: make_tar(f, _entry(name))) for name in _SLIPS},
    "zip: link": Hostile("zip", _link),
    **{f"tar: {what}": Hostile("tar.gz", lambda f, kind=kind: make_tar(f, _entry("MuRAL/x", kind, link="/etc/passwd")))
       for what, kind in (("symbolic link", tarfile.SYMTYPE), ("hard link", tarfile.LNKTYPE),
                          ("pipe", tarfile.FIFOTYPE), ("device", tarfile.CHRTYPE))},
    "zip: 1.06 GiB of zeros": Hostile("zip", lambda f: _zip_bomb(f, _BOMB)),
    "tar: 1.06 GiB of zeros": Hostile("tar.gz", lambda f: make_tar(f, _entry("bomb", size=_BOMB))),
    "tar: a name of 400 MiB": Hostile(
        "tar.gz", lambda f: make_tar(f, _entry("name", tarfile.GNUTYPE_LONGNAME, 400 * MIB), _entry("b"))),
    "zip: 20,100 entries": Hostile("zip", lambda f: make_zip(f, {f"e/{i}": b"" for i in range(20_100)})),
    "tar: 20,100 entries": Hostile("tar.gz", lambda f: make_tar(f, *[_entry(f"e/{i}") for i in range(20_100)])),
    "zip: a directory of 500,000 entries": Hostile("zip", lambda f: _long_directory(f, 500_000)),
    "zip: encrypted": Hostile("zip", lambda f: _patched_zip(f, 8, b"\x01\x00")),
    "zip: unknown compression": Hostile("zip", lambda f: _patched_zip(f, 10, b"\x63\x00")),
    "zip: a size that is not true": Hostile("zip", lambda f: _patched_zip(f, 20, b"\xfe\xff\xff\xff" * 2), False),
    "zip: a folder that is a file as well": Hostile("zip", lambda f: make_zip(f, {"a": b"x", "a/b": b"y"})),
    "zip: a name of 5,000 characters": Hostile("zip", lambda f: make_zip(f, {"x" * 5000: b""})),
    "zip: 1,000 folders deep": Hostile("zip", lambda f: make_zip(f, {"d/" * 2500 + "x": b""})),
    "tar: a gzip that ends early": Hostile(
        "tar.gz", lambda f: (make_tar(f), (f / "home.tar.gz").write_bytes((f / "home.tar.gz").read_bytes()[:-20]))),
}  # fmt: skip


def _long_pamap2(folder: Path, times: int = 400) -> None:
    """375 MiB of PAMAP2's rows: read whole instead of in parts, they take 832 MiB of memory."""
    file = folder / "Protocol" / "subject101.dat"
    rows = file.read_bytes()
    with open(file, "wb") as out:
        for _ in range(times):
            out.write(rows)


FILES = {
    "JSON: 4 Mi brackets": _content("MuRAL", "activities.json", b"[" * 4 * MIB),
    "JSON: a number of 4 Mi digits": _content("MuRAL", "activities.json", b"9" * 4 * MIB),
    "JSON: 300,000 objects": _content("MuRAL", "activities.json", b"[" + b'{"id":1},' * 300_000 + b"{}]"),
    "CSV: one line of 64 MiB": _content("MuRAL", "01/data.csv", lambda: HEADER.encode() + b"1,7," + b"x" * 64 * MIB,
                                        is_refused=False),
    "CSV: 4 Mi quotes": _content("MuRAL", "01/data.csv", HEADER.encode() + b'1,"\n' * MIB, is_refused=False),
    "CSV: a header of 500,000 columns": _content("MuRAL", "01/data.csv", b"a," * 500_000 + b"\n"),
    "CSV: 300,000 rows": _content("MuRAL", "01/data.csv", lambda: _rows(300_000), is_refused=False),
    "text: 4 Mi tabs in a row": _content(
        "UCI ADL", "OrdonezA_Sensors.txt", lambda: (SENSORS_HEAD + "\t" * 4 * MIB).encode()),
    "text: 50,000 intervals, one in the other": _content(
        "UCI ADL", "OrdonezA_ADLs.txt", lambda: (ADLS_HEAD + "".join(
            f"20{10 + i // 3600:02d}-01-01 00:{i // 60 % 60:02d}:{i % 60:02d}\t2049-01-01 00:00:00\tSnack\n"
            for i in range(50_000))).encode(), is_refused=False),
    "motion: 920,000 rows of PAMAP2": Hostile("PAMAP2", _long_pamap2, False),
    "motion: samples a nanosecond apart": Hostile("clips, CSV", _nanoseconds, False),
    "Parquet: 20,000,000 samples": Hostile("clips, Parquet", lambda f: _samples(f, 20_000_000), False),
    "Parquet: 990,000 samples": Hostile("clips, Parquet", lambda f: _samples(f, 990_000), False),
    "Parquet: 5,000,000 clips": Hostile("clips, Parquet", lambda f: _clips(f, 5_000_000, "a")),
    "Parquet: 90,000 names of 20,000 characters": Hostile(
        "clips, Parquet", lambda f: _clips(f, 90_000, "x" * 20_000), False),
    "Parquet: a cell of 400 MiB": Hostile("clips, Parquet", _large_page, False),
    "Parquet: lists of objects of lists": Hostile("clips, Parquet", _odd_columns, False),
    "Parquet: 5,000 columns, none of ours": Hostile("clips, Parquet", _wide),
    "wav: 65,535 channels": Hostile("clips, CSV", lambda f: _wav(f, 65_535, 32_000), False),
    "wav: 4 GiB that are not there": Hostile("clips, CSV", lambda f: _wav(f, 1, 2**32 - 1), False),
    "pickle: a list without end": _content("HAPT's pickle", "hapt.pkl", b"(" * 4 * MIB + b"t."),
    "pickle: a memo of 67 million": _content("HAPT's pickle", "hapt.pkl", b"\x80\x03K\x01r\xff\xff\xff\x03."),
    "pickle: a text of 2 EiB": _content("HAPT's pickle", "hapt.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 2**61)),
    "pickle: os.system": _content("HAPT's pickle", "hapt.pkl", b"cos\nsystem\n(S'touch /tmp/evil.txt'\ntR."),
    "pickle: getattr": _content("HAPT's pickle", "hapt.pkl",
                                b"c__builtin__\ngetattr\n(c__builtin__\nobject\nX\1\0\0\0atR."),
    "pickle: an array larger than its bytes": _content(
        "HAPT's pickle", "hapt.pkl", lambda: hapt_pickle().replace((30).to_bytes(4, "little"), b"\xff\xff\xff\x7f")),
    "YAML: 9 ** 9 words by alias": _content("settings YAML", "demo.yaml", _laughs("02_prompting", "")),
    "YAML: 200,000 brackets": _content("settings YAML", "demo.yaml", SECTION + b"[" * 200_000),
    "YAML: 2,000 mappings deep": _content(
        "settings YAML", "demo.yaml", "\n".join(" " * i + "a:" for i in range(2000)).encode()),
    "YAML: 4 MiB": _content("settings YAML", "demo.yaml", SECTION + b"[" + b"a, " * (4 * MIB // 3) + b"b]"),
    "YAML: a Python object": _content(
        "settings YAML", "demo.yaml", SECTION + b"!!python/object/apply:os.system [true]"),
    "YAML: home with 9 ** 9 words by alias": _content(
        "home YAML", "params/homes/test.yaml", _laughs("rules", "name: x\n")),
    "YAML: home of 200,000 brackets": _content("home YAML", "params/homes/test.yaml", b"rules: " + b"[" * 200_000),
}  # fmt: skip
HOSTILE: dict[str, Hostile] = FILES | ARCHIVES
QUICK = tuple(name for name in HOSTILE if not re.search(r"GiB of zeros|5,000,000|PAMAP2", name))
"""Those that take less than seconds to make and to unpack."""
