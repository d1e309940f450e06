"""Data sets by name: load one, split it, know where it comes from. Downloads nothing (``fetch.py`` does).

A new data set is one module with ``load`` and ``split`` and one entry in :data:`BUILT_IN`. Homes of a user's own
(``llmhar data new``) are found in ``paths.data()`` by their files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from llmhar import paths
from llmhar.data import casas, kasteren, marble, mural, simulated_homes, uci_adl
from llmhar.data.days import split_days
from llmhar.data.events import Session
from llmhar.data.grammar import Words
from llmhar.data.load_report import DataError, Loaded, LoadReport, RowNote, Split, WrongCall
from llmhar.data.own import loader as own
from llmhar.data.own.home import EVENTS_FILE, HOME_FILE
from llmhar.settings import check_options, choose

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "LoadReport",
    "Loaded",
    "RowNote",
    "Split",
    "WrongCall",
    "dataset",
    "load",
    "split",
]


@dataclass(frozen=True)
class Archive:
    """Where an archive can be downloaded, and how it is known to be the right one."""

    url: str
    n_bytes: int
    md5: str
    """As its source states it; nobody has fetched it from here."""
    max_unpacked: int
    """Most bytes that may come out of it."""


@dataclass(frozen=True)
class Dataset:
    """What is known of one data set before it is read."""

    name: str
    """Key into :data:`DATASETS`, and its folder's name below ``paths.data()``."""
    title: str
    kind: Literal["real", "simulated"]
    """Shown wherever a number of this data set is."""
    licence: str
    """One sentence."""
    source: str
    """One sentence: where to get it."""
    citation: str
    homes: tuple[str, ...]
    """Names of home files, ``params/homes/<name>.yaml``."""
    load: Callable[..., Loaded]
    """``load(path, **options)``: reads a folder that is there."""
    split: Callable[[Sequence[Session]], Split]
    """Call it through :func:`split`, which checks the result."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Option of ``load`` -> its default."""
    archive: Archive | None = None
    """What ``llmhar data fetch`` downloads; None = it is got by hand."""
    check: Callable[[Path], object] | None = None
    """Raises DataError where a folder is not this data set, without reading all of it; None = ``load`` does."""
    write: Callable[[Path], object] | None = None
    """Made-up homes: writes what ``load`` needs into a folder that is not there yet."""
    further: int = 0
    """Simulated homes: training sessions beyond MuRAL's 21."""
    seed: int = 0
    """Simulated homes: what its people do is drawn from it."""
    is_own: bool = False
    """Whether a user made it of files of their own."""

    @property
    def cure(self) -> str:
        """How to bring it, as an error message ends."""
        if self.is_own:
            return f"make it with `llmhar data new {self.name} --from FILE`"
        if self.kind == "simulated":
            return f"give no path, then it is written to {paths.data() / self.name}, or the path of one that is there"
        if self.archive:
            size = f"{self.archive.n_bytes / 1e6:,.0f} MB"
            return f"run `llmhar data fetch {self.name}` ({size}), or `llmhar data add {self.name} FILE`"
        return f"get it by hand ({self.source.rstrip('.')}), then `llmhar data add {self.name} FILE`"


def _simulated(name: str, title: str, *, further: int = 0, seed: int = 0, further_tests: int = 0) -> Dataset:
    """A simulated home: what its loader reads is MuRAL's format; the last ``further_tests`` sessions test too."""
    return Dataset(
        name=name,
        title=title,
        kind="simulated",
        licence="Made by llmhar itself: Apache-2.0.",
        source="Written on this machine by llmhar, from a seed.",
        citation=f"llmhar, llmhar.data.simulated, seed {seed}.",
        homes=("simulated",),
        load=partial(mural.load, dataset=name, home="simulated", seed=seed),
        split=partial(mural.split, further_tests=further_tests),
        further=further,
        seed=seed,
    )


def _made_up(name: str, title: str, words: Words, n: int) -> Dataset:
    """A day in each of many made-up homes, all for testing: what is learnt from others is drawn apart."""
    return Dataset(
        name=name,
        title=title,
        kind="simulated",
        licence="Made by llmhar itself: Apache-2.0.",
        source="Made on this machine by llmhar, from a seed and params/grammar.yaml.",
        citation=f"llmhar, llmhar.data.simulated_homes, seed {name}, {n} homes.",
        homes=(),
        load=partial(simulated_homes.load, dataset=name),
        split=lambda sessions: Split([], [session.session_id for session in sessions]),
        write=partial(simulated_homes.write, seed=name, words=words, n=n),
    )


_CASAS = Dataset(
    name="casas",
    title="A CASAS home (any layout)",
    kind="real",
    licence="Differs by home, mostly not stated with the files; the READMEs of Aruba and Cairo forbid passing on.",
    source="The CASAS laboratory, Washington State University: https://casas.wsu.edu/datasets and Zenodo.",
    citation="Cook, Crandall, Thomas, Krishnan: CASAS: A smart home in a box, Computer 2013, 46(7), 62-69.",
    homes=(),
    load=casas.load,
    split=split_days,
    options={"days": "", "other": False, "home": "", "analog": "", "files": ""},
    check=casas.check,
)

_ALL = (
    Dataset(
        name="mural",
        title="MuRAL",
        kind="real",
        licence="No licence is stated with the files: use it for research, do not pass it on.",
        source="MuRAL.zip (0.86 MB) from its authors' page, https://mural.imag.fr.",
        citation="Chen, Cumin, Ramparany, Vaufreydaz: MuRAL: A multi-resident ambient sensor dataset annotated with "
        "natural language for activities of daily living, 2025, arXiv 2504.20505.",
        homes=("mural",),
        load=mural.load,
        split=mural.split,
    ),
    Dataset(
        name="marble",
        title="MARBLE",
        kind="real",
        licence="No licence is stated with the files: use it for research, do not pass it on.",
        source="The MARBLE archive from its authors (EveryWare Lab, University of Milan).",
        citation="Arrotta, Bettini, Civitarese: The MARBLE dataset: Multi-inhabitant activities of daily living "
        "combining wearable and environmental sensors data, MobiQuitous 2021, pp. 451-468.",
        homes=("marble",),
        load=marble.load,
        split=marble.split,
        options={"locations": False},
    ),
    Dataset(
        name="uci_adl",
        title="UCI ADL binary sensors (Ordonez A and B)",
        kind="real",
        licence="Its README forbids any commercial use and asks to be cited; the UCI page is said to state CC BY 4.0.",
        source="The archive of UCI data set 271, https://archive.ics.uci.edu/dataset/271.",
        citation="Ordonez, de Toledo, Sanchis: Activity Recognition Using Hybrid Generative/Discriminative Models on "
        "Home Environments Using Binary Sensors, Sensors 2013, 13, 5460-5477.",
        homes=("uci_adl_a", "uci_adl_b"),
        load=uci_adl.load,
        split=split_days,
        options={"home": "both"},
    ),
    _CASAS,
    replace(
        _CASAS,
        name="casas2025",
        title="CASAS homes, release of 2025",
        licence="Users of it state CC BY 4.0: check its own page.",
        source="labeled_data.zip (236 MB) of https://zenodo.org/records/15708568.",
        citation=_CASAS.citation.removesuffix(".") + "; Zenodo record 15708568, 2025.",
        load=partial(casas.load, dataset="casas2025"),
        archive=Archive(
            url="https://zenodo.org/records/15708568/files/labeled_data.zip?download=1",
            n_bytes=236_037_656,
            md5="ec37d679e85a6ae39e84994888afd514",
            max_unpacked=2**33,
        ),
    ),
    Dataset(
        name="kasteren",
        title="Kasteren's houses (A, B, C)",
        kind="real",
        licence="No licence is stated with the files: use it for research, do not pass it on.",
        source="Tim van Kasteren's page, https://sites.google.com/site/tim0306, or a copy of its text files.",
        citation="van Kasteren, Noulas, Englebienne, Krose: Accurate activity recognition in a home setting, "
        "UbiComp 2008, pp. 1-9.",
        homes=("kasteren_a",),
        load=kasteren.load,
        split=split_days,
    ),
    _simulated("simulated", "Simulated home (MuRAL's format)"),
    _simulated("simulated_long", "Simulated home with 120 further sessions to train on", further=120),
    _simulated("simulated_other", "Simulated home, other days: nothing was chosen by looking at them", seed=1),
    _simulated(
        "simulated_final",
        "Simulated home, a new seed: written when every choice was made, for final numbers",
        further=126,
        seed=2,
        further_tests=6,
    ),
    _made_up("simulated_homes", "Made-up homes, a day in each, in words that students may learn", "train", 40),
    _made_up("validation_homes", "Made-up homes in words of their own: what choices are made on", "validation", 40),
    _made_up("odd_homes", "Made-up homes whose sensors have rare names, abbreviations, entity ids", "odd", 40),
)

BUILT_IN: dict[str, Dataset] = {each.name: each for each in _ALL}
"""Data sets that every llmhar knows; no home of a user's own may bear one of their names."""


def _own(name: str) -> Dataset:
    """A home that ``llmhar data new`` made. Its files are not looked at: a broken one is an error when it is loaded."""
    return Dataset(
        name=name,
        title=f"Your home {name}",
        kind="real",
        licence="Your own data: you decide.",
        source="Made on this machine of your files by `llmhar data new`.",
        citation="Not published.",
        homes=(name,),
        load=partial(own.load, dataset=name),
        split=own.split,
        is_own=True,
    )


class _DataSets(MutableMapping[str, Dataset]):
    """The built-in data sets, then the homes in ``paths.data()`` as they are now."""

    def __getitem__(self, name: str) -> Dataset:
        if name not in BUILT_IN and name in self._own_names():
            return _own(name)
        return BUILT_IN[name]

    def __setitem__(self, name: str, entry: Dataset) -> None:
        BUILT_IN[name] = entry

    def __delitem__(self, name: str) -> None:
        del BUILT_IN[name]

    def __iter__(self) -> Iterator[str]:
        yield from (*BUILT_IN, *(name for name in self._own_names() if name not in BUILT_IN))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @staticmethod
    def _own_names() -> list[str]:
        """Folders with one of the two files, sorted: where the other is missing, loading says so."""
        try:
            folders = [each for each in paths.data().iterdir() if not each.name.startswith(".")]
        except OSError:
            return []
        return sorted(each.name for each in folders if any((each / f).is_file() for f in (HOME_FILE, EVENTS_FILE)))


DATASETS: MutableMapping[str, Dataset] = _DataSets()
"""Every data set; the names in parameters and on the command line are its keys."""


def list_entries(
    entries: Mapping[str, Any], place: Callable[[str], Path | None], is_here: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """What ``llmhar data list`` shows: one dictionary an entry.

    Args:
        entries: name -> what is known of it: title, kind, licence, source.
        place: where the entry of a name lies, or would lie; None = it comes by itself when it is used.
        is_here: whether it is there.
    """
    return [
        {
            "name": name,
            "title": entry.title,
            "kind": entry.kind,
            "licence": entry.licence,
            "source": entry.source,
            "path": str(place(name) or ""),
            "present": is_here(name),
        }
        for name, entry in entries.items()
    ]


def dataset(name: str) -> Dataset:
    """The entry ``name``.

    Raises:
        DataError: there is none; the message lists those there are.
    """
    return choose(DATASETS, name, f"no data set {name!r}: choose one of", WrongCall)


def load(name: str, path: Path | None = None, options: Mapping[str, Any] | None = None) -> Loaded:
    """Read a data set. In ``paths.data()`` a simulated home is written first where it is not there yet, or not whole.

    Args:
        name: key into :data:`DATASETS`.
        path: its folder, which is only read; "~" is the user's home. None = ``paths.data() / name``.
        options: name -> value, of ``Dataset.options``; what is not named has its default.

    Raises:
        DataError: unknown name or option, missing folder, or content that cannot be read.
    """
    entry = dataset(name)
    options = options or {}
    check_options(options, entry.options, f"data set {name}", WrongCall)
    folder = paths.data() / name if path is None else paths.given(path)
    try:
        if path is None and entry.kind == "simulated" and (not folder.exists() or _is_short(folder, entry.further)):
            _write_simulated(folder, entry)
        if not folder.exists():
            raise DataError(f"{entry.title} is not at {folder}: {entry.cure}")
        if not folder.is_dir():
            raise DataError(f"{folder} is a file, not a folder: unpack it with `llmhar data add {name} {folder}`")
        return entry.load(folder, **options)
    except OSError as error:
        raise DataError(f"{folder} cannot be read or written: {error}") from error


def _is_short(folder: Path, further: int) -> bool:
    """Whether an earlier llmhar wrote this home, when it had fewer sessions."""
    from llmhar.data import simulated

    last = len(simulated.SESSIONS) + further
    return (folder / mural.MARK).is_file() and not (folder / f"{last:02}").is_dir()


def _write_simulated(folder: Path, entry: Dataset) -> None:
    from llmhar.data import simulated  # its tables are needed here alone

    folder.parent.mkdir(parents=True, exist_ok=True)
    if entry.write:
        entry.write(folder)
    else:
        simulated.write(folder, entry.seed, entry.further)


def split(name: str, sessions: Sequence[Session]) -> Split:
    """Session ids to train on and to test on: each session in exactly one of them.

    Raises:
        DataError: unknown name, or a session would be in both, in none, or twice.
    """
    parts = dataset(name).split(sessions)
    if Counter([*parts.train, *parts.test]) != Counter({session.session_id: 1 for session in sessions}):
        raise DataError(f"the split of {name} does not put every session into exactly one of train and test")
    return parts
