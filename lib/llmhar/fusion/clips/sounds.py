"""Real sounds for composed scenes: from two Debian packages, downloaded and unpacked without installing them.

- ``scratch`` 1.4.0.6~dfsg1-6.1, ``Media/Sounds``: (c) 2011 Massachusetts Institute of Technology, CC-BY-SA-3.0.
- ``sonic-pi-samples`` 3.2.2~repack-8: recordings from freesound.org, CC0.

Package files are checked by sha256 before they are opened, and only their sounds are kept, each with its own sha256.
Knows nothing of what a sound is used for.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from llmhar import paths
from llmhar.data.download import download
from llmhar.data.load_report import DataError
from llmhar.records import canonical_json


class Package(NamedTuple):
    """A Debian package with sounds in it."""

    name: str
    version: str
    sha256: str
    pool: str
    """Folder below Debian's ``pool/main``."""
    sha1: str
    """Under which snapshot.debian.org keeps the file for ever."""
    folder: str
    """Where its sounds lie in the package."""
    prefixes: tuple[str, ...]
    """What the kept files' names (below ``folder``) begin with."""
    licence: str

    @property
    def file(self) -> str:
        """Name of the package's file."""
        return f"{self.name}_{self.version}_all.deb"

    @property
    def urls(self) -> tuple[str, ...]:
        """Debian's mirror network (while a release holds this version), then its archive."""
        return (
            f"https://deb.debian.org/debian/pool/main/{self.pool}/{self.file}",
            f"https://snapshot.debian.org/file/{self.sha1}",
        )


PACKAGES = (
    Package(
        name="scratch",
        version="1.4.0.6~dfsg1-6.1",
        sha256="36c582eb93110f64f06c4e685c41e933ccba2fa68db12f79b10bfe840b21fc10",
        pool="s/scratch",
        sha1="3894a6ff4afbe831adac5a645c1e7af37cae43bb",
        folder="./usr/share/scratch/Media/Sounds",
        prefixes=("Animal/", "Effects/", "Electronic/", "Human/", "Instruments/", "Music Loops/", "Vocals/"),
        licence="CC-BY-SA-3.0, (c) 2011 Massachusetts Institute of Technology",
    ),
    Package(
        name="sonic-pi-samples",
        version="3.2.2~repack-8",
        sha256="25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
        pool="s/sonic-pi",
        sha1="94ecb2b513353cae6151e4ca6c7c01ebf8577497",
        folder="./usr/share/sonic-pi/samples",
        prefixes=("guit_", "misc_crow", "drum_roll", "loop_tabla"),
        licence="CC0, freesound.org",
    ),
)
SUFFIXES = (".wav", ".mp3", ".flac")
MARKER = "sounds.json"
"""Written last: package -> {file: sha256}."""


class Recording(NamedTuple):
    """One sound that is here."""

    name: str
    """"scratch/Effects/WaterRunning.mp3"."""
    path: Path
    sha256: str
    licence: str


def folder() -> Path:
    """Where the sounds lie, or will lie; its name changes with the packages."""
    return paths.cache() / "sounds" / "-".join(package.sha256[:8] for package in PACKAGES)


def sounds_here() -> bool:
    """Whether the sounds are in the cache, whole."""
    return _books() is not None


def fetch_sounds() -> Path:
    """Bring the sounds into the cache: 48 MB of packages, of which 8 MB are kept. At once where they are here.

    Raises:
        DataError: no network, or a content other than the pinned one; nothing half-unpacked stays.
    """
    target = folder()
    if sounds_here():
        return target
    with paths.locked(target.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        if not sounds_here():
            made = Path(scratch, "sounds")
            books = {package.name: _unpack(_bring(package, Path(scratch)), package, made) for package in PACKAGES}
            paths.write_text(made / MARKER, canonical_json(books))
            if target.exists():  # a file of it is gone or cut
                os.replace(target, Path(scratch, "damaged"))
            os.replace(made, target)
    return target


def recordings() -> dict[str, Recording]:
    """Name -> sound, of all that are here.

    Raises:
        DataError: they are not here.
    """
    books = _books()
    if books is None:
        raise DataError("the recordings of the composed scenes are not here; run: llmhar data fetch scenes")
    licences = {package.name: package.licence for package in PACKAGES}
    return {
        f"{package}/{name}": Recording(f"{package}/{name}", folder() / package / name, sha256, licences[package])
        for package, files in books.items()
        for name, sha256 in files.items()
    }


def _books() -> dict[str, dict[str, str]] | None:
    try:
        books: dict[str, dict[str, str]] = json.loads((folder() / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = all((folder() / package / name).is_file() for package, files in books.items() for name in files)
    return books if whole else None


def _bring(package: Package, scratch: Path) -> Path:
    """The package's file, checked: by apt, which knows the machine's own mirror, else from Debian's addresses."""
    apt = shutil.which("apt-get")
    if apt is not None:
        command = [apt, "download", "-q", f"{package.name}={package.version}"]
        # Another release, no lists, no network: then the addresses below say what is wrong.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, cwd=scratch, capture_output=True, timeout=600, check=True)
        for file in scratch.glob(f"{package.name}_*.deb"):
            if paths.file_sha256(file) == package.sha256:
                return file
    return download(package.file, package.sha256, package.urls)


def _unpack(file: Path, package: Package, target: Path) -> dict[str, str]:
    """Copy the wanted sounds to ``target/<package>``; returns file -> sha256."""
    kept = {}
    with tarfile.open(fileobj=_data_member(file), mode="r:xz") as archive:
        for entry in archive:
            name = _wanted(entry, package)
            if name is None:
                continue
            stream = archive.extractfile(entry)
            assert stream is not None
            place = target / package.name / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(stream.read())
            kept[name] = paths.file_sha256(place)
    if not kept:
        raise DataError(f"{file} holds no sounds below {package.folder}")
    return dict(sorted(kept.items()))


def _wanted(entry: tarfile.TarInfo, package: Package) -> str | None:
    """Its name below the package's folder of sounds; None for what is not kept."""
    path = PurePosixPath(entry.name)
    inside = path.is_relative_to(package.folder) and ".." not in path.parts
    if not (entry.isfile() and inside and path.suffix.lower() in SUFFIXES):
        return None
    name = path.relative_to(package.folder).as_posix()
    return name if name.startswith(package.prefixes) else None


def _data_member(file: Path) -> io.BytesIO:
    """``data.tar.xz`` of a .deb, which is an ``ar`` archive: 8 bytes, then headers of 60 bytes and padded contents."""
    for name, content in _members(file.read_bytes()):
        if name == "data.tar.xz":
            return io.BytesIO(content)
    raise DataError(f"{file} is no Debian package with a data.tar.xz")


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(b"!<arch>\n")
    while at + 60 <= len(content):
        header, at = content[at : at + 60], at + 60
        try:
            size = int(header[48:58])
        except ValueError:
            return
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), content[at : at + size]
        at += size + size % 2
