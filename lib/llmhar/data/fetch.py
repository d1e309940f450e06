"""Bringing data sets to ``paths.data()``: write, or take in what a user downloaded by hand; and list them.

Whatever happens, ``paths.data() / name`` is absent, the old data set whole, or the new one whole and readable. Does
not judge a licence: it shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from llmhar import paths
from llmhar.data import archives
from llmhar.data.download import download
from llmhar.data.load_report import DataError, MissingFile
from llmhar.data.registry import DATASETS, Archive, dataset, list_entries, load


def fetch(name: str) -> Path:
    """Bring a data set to ``paths.data() / name``: write the simulated home, download, or say how to get it by hand.

    The 2025 release of CASAS is downloaded and held against the size and MD5 that its page states (never run here).
    The others have no address here: nobody has yet seen the archives of MuRAL, MARBLE and UCI ADL from here, and a
    hash that was not computed from the file is worth nothing. A data set that is there already is left as it is.

    Raises:
        DataError: unknown name, a real data set that is not there, or a download that fails or is not the right file.
    """
    entry = dataset(name)
    target = paths.data() / name
    if target.exists():
        return target
    if entry.archive:
        return add(name, _downloaded(name, entry.archive))
    if entry.kind != "simulated":
        raise DataError(f"{entry.title} cannot be downloaded by llmhar, no address with a known sha256: {entry.cure}")
    load(name)  # writes it first
    return target


def add(name: str, path: Path, replace: bool = False) -> Path:
    """Take a folder or an archive (.zip, .tar.gz) that lies on this machine in as data set ``name``.

    Args:
        name: key into DATASETS.
        path: the folder or archive; it is copied and stays where it is.
        replace: whether a data set that is there already gives way.

    Raises:
        DataError: unknown name, a data set already there, an archive that is broken or hostile or too large, or
            content that the loader does not read. Then nothing has changed.
    """
    entry = dataset(name)
    max_bytes = entry.archive.max_unpacked if entry.archive else None
    return install(name, entry, path, replace=replace, max_bytes=max_bytes, check=entry.check)


def _downloaded(name: str, archive: Archive) -> Path:
    """The archive, whole and right.

    Raises:
        DataError: it cannot be had, or its size is another than its source states.
    """
    cure = f"download {archive.url} elsewhere, then `llmhar data add {name} FILE`"
    place = download(f"{name}.zip", f"md5:{archive.md5}", [archive.url], cure)
    if place.stat().st_size != archive.n_bytes:
        raise DataError(f"{place} has {place.stat().st_size:,} bytes, not {archive.n_bytes:,} as its source states")
    return place


class Entry(Protocol):
    """What a registry knows of something that a user brings."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def source(self) -> str:
        """One sentence: where to get it."""

    @property
    def load(self) -> Callable[..., Any]:
        """``load(path)`` reads a folder, and raises DataError where it cannot."""


def install(
    name: str,
    entry: Entry,
    path: Path,
    *,
    replace: bool = False,
    max_bytes: int | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Unpack a folder or archive to ``paths.data() / name``, after the entry's own loader has read it there.

    Archives inside the archive are opened where the loader does not find its files without them.

    Args:
        name: of the folder.
        entry: what is known of it.
        path: the folder or archive; it is copied and stays where it is.
        replace: whether what is there already gives way.
        max_bytes: most bytes that may come out of it; None = ``archives.MAX_UNPACKED``.
        check: raises DataError where a folder cannot be read, without reading it whole; None = the entry's loader does.

    Raises:
        DataError: something is there already, an archive that is broken or hostile or too large, or content that the
            loader does not read. Then nothing has changed.
    """
    source, target = paths.given(path), paths.data() / name
    if target.exists() and not replace:
        raise DataError(f"{entry.title} is already at {target}: add it with --replace, or remove that folder")
    spent = archives.Spent(max_bytes=max_bytes or archives.MAX_UNPACKED)
    with _installing(target) as fresh:
        archives.unpack(source, fresh, spent)
        try:
            _load_unpacked(entry, check or entry.load, fresh, spent)
        except DataError as error:
            raise DataError(f"{path} was not added as {name}: {str(error).replace(str(fresh), str(path))}") from error
    return target


def _load_unpacked(entry: Entry, check: Callable[[Path], object], fresh: Path, spent: archives.Spent) -> None:
    """Read a folder once, and again with the archives in it opened, as long as its files are not found."""
    for depth in range(archives.MAX_NESTED + 1):
        try:
            check(fresh)
            return
        except MissingFile as error:
            if depth < archives.MAX_NESTED and archives.unpack_inner(fresh, spent):
                continue
            cure = f"give the archive or the whole folder of {entry.title} ({entry.source.rstrip('.')})"
            raise DataError(f"{error.said}, whatever archives in it are opened: {cure}") from error


def listing() -> list[dict[str, Any]]:
    """The data sets' part of ``llmhar data list``; ``present`` = the folder is there."""
    return list_entries(DATASETS, lambda name: paths.data() / name, lambda name: (paths.data() / name).is_dir())


@contextmanager
def _installing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that takes its place at the end; on an error both are as before.

    Raises:
        DataError: the folders cannot be written.
    """
    try:
        with paths.replacing_folder(target) as fresh:
            yield fresh
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error
