"""Unpacking what a user downloaded by hand, which may be hostile. Knows no data set.

Only plain files and folders, only inside the target, at most :data:`MAX_FILES` of them and :data:`MAX_UNPACKED` bytes,
counted as they are read: what an archive says of its own size is not believed.
"""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from llmhar.data.load_report import DataError
from llmhar.data.reader import quoted

MAX_UNPACKED = 2**30
"""1 GiB; MARBLE with its inertial files is about half of that."""
MAX_FILES = 20_000
MAX_NESTED = 3
"""Most archives inside one another below the first."""
ARCHIVES = (".zip", ".tar.gz", ".tgz")
MAX_HEADER = 2**20
"""Bytes of a name, link or note in a tar, which are read whole: 1 MiB."""
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError)
_UNREADABLE = (*_BROKEN, ValueError, RuntimeError, OverflowError, IndexError)
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE)  # fmt: skip
_Named = tuple[str, IO[bytes] | None]
"""Name inside the archive; its content, None for a folder."""


@dataclass
class Spent:
    """What came out of an archive and of those inside it, all together."""

    n_bytes: int = 0
    n_files: int = 0
    max_bytes: int = field(default_factory=lambda: MAX_UNPACKED)


class _Capped:
    """A stream that fails after ``max_bytes``, over all the streams that share ``spent``."""

    def __init__(self, stream: Any, source: Path, spent: Spent):
        self.stream, self.source, self.spent = stream, source, spent

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.spent.n_bytes += len(data)
        if self.spent.n_bytes > self.spent.max_bytes:
            most = self.spent.max_bytes
            raise DataError(f"{self.source} holds more than {most:,} bytes: unpack by hand what is needed")
        return data


class _Entry(tarfile.TarInfo):
    """An entry of a tar; one with a name or notes of megabytes is refused, as tarfile would read them whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:  # where tarfile wants subclasses to step in
        if self.type in _HEADERS and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def unpack(source: Path, target: Path, spent: Spent) -> None:
    """Copy a folder, or unpack a .zip or .tar.gz, into the empty folder ``target``.

    Args:
        source: the folder or archive.
        target: the empty folder.
        spent: counts what comes out, against the caps.

    Raises:
        DataError: no such source, no archive, a broken or encrypted one, an entry that is a link or device or would
            lie outside ``target``, or more than the caps. ``target`` then holds a part: the caller removes it.
    """
    if not source.is_dir() and not source.is_file():
        raise DataError(f"{source} is not there: give a folder, a .zip or a .tar.gz")
    try:
        for name, stream in _entries(source, spent.max_bytes):
            spent.n_files += 1
            if spent.n_files > MAX_FILES:
                raise DataError(f"{source} holds more than {MAX_FILES:,} files: unpack by hand what is needed")
            place = _inside(target, name, source)
            if stream is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            capped = _Capped(stream, source, spent)
            with stream, open(place, "xb") as out:  # x: an entry named twice is an error, not an overwriting
                while chunk := capped.read(2**20):
                    out.write(chunk)
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{source} is no folder, .zip or .tar.gz that can be unpacked ({str(error)[:300]})") from error


def unpack_inner(folder: Path, spent: Spent) -> bool:
    """Unpack the archives that lie in a folder, each to a folder of its name in its place; whether there were any.

    Args:
        folder: where an archive was unpacked.
        spent: counts on.

    Raises:
        DataError: as :func:`unpack`.
    """
    files = [path for path in folder.rglob("*") if path.name.lower().endswith(ARCHIVES) and path.is_file()]
    # A Mac writes a small file beside each file into an archive, "__MACOSX/._NAME", which is no archive itself.
    inner = [path for path in files if not path.name.startswith(".")]
    for archive in inner:
        fresh = archive.with_name(f".{archive.name}.part")
        fresh.mkdir()
        unpack(archive, fresh, spent)
        archive.unlink()
        fresh.rename(archive)
    return bool(inner)


def _entries(source: Path, max_bytes: int) -> Iterator[_Named]:
    if source.is_dir():
        return _from_folder(source)
    return _from_zip(source) if zipfile.is_zipfile(source) else _from_tar(source, max_bytes)


def _special(source: Path, name: str) -> DataError:
    return DataError(f"{source}: {quoted(name)} is a link or a device; give an archive or folder of plain files")


def _from_folder(source: Path) -> Iterator[_Named]:
    for folder, names, files in os.walk(source):
        for name in (*names, *files):
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise _special(source, name)
            yield path.relative_to(source).as_posix(), None if path.is_dir() else FileIO(path)


def _from_zip(source: Path) -> Iterator[_Named]:
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(source, entry.filename)
            yield entry.filename, None if entry.is_dir() else archive.open(entry)


def _from_tar(source: Path, max_bytes: int) -> Iterator[_Named]:
    with gzip.open(source) as stream:
        # Counted here too: tar skips what is no plain file.
        capped = cast(IO[bytes], _Capped(stream, source, Spent(max_bytes=max_bytes)))
        with tarfile.open(fileobj=capped, mode="r|", tarinfo=_Entry) as archive:
            for entry in archive:
                if not (entry.isfile() or entry.isdir()):
                    raise _special(source, entry.name)
                yield entry.name, archive.extractfile(entry)


def _inside(target: Path, name: str, source: Path) -> Path:
    """Where an entry goes.

    Raises:
        DataError: outside ``target``.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or name.startswith(("/", "\\")) or any(":" in part for part in parts):
        told = "would lie outside the data set's folder; such archives are not unpacked"
        raise DataError(f"{source}: {quoted(name)} {told}")
    return target.joinpath(*parts)
