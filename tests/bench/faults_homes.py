"""Files for the loaders' claims, second part: CASAS in its layouts, Kasteren, homes of one's own, PAMAP2, USC-HAD.

Like :mod:`tests.bench.faults_files`, whose :class:`FileSet` it fills. A home's books must balance: of every file that
is parted into lines, each line that is not blank was read, or the file is named as left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import savemat

from llmhar import paths
from llmhar.data import registry
from llmhar.data.load_report import Loaded, LoadReport
from llmhar.data.own import make
from llmhar.data.own.make import Plan
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.manifest import load_manifest
from llmhar.fusion.clips.pamap2 import pamap2_clips
from llmhar.fusion.clips.usc_had import usc_had_clips
from tests.bench.faults_files import NOTHING, SETS, FileSet

START = datetime(2011, 6, 15, 8)
LAYOUTS = {
    "csv": "{date},{time},{room}A{thing},{value},{mark}",
    "classic": "{date} {time} M0{n:02} {value} {mark}",
    "al": "{date} {time} M0{n:02} {room} {value} {label}",
    "adlmr": "{date} {time} M0{n:02} {value} 1 {task}",
    "ann": "{date} {time} M0{n:02} {room} {room} {value} Motion {label}",
}
"""A line of each layout of CASAS."""


def check_books(report: LoadReport, files: dict[str, int]) -> None:
    """Refuse books that do not balance.

    Args:
        report: of a loading.
        files: name in the report -> lines that hold something, of files whose every line is a row.

    Raises:
        RuntimeError: rows that were read stand nowhere, or lines were not read.
    """
    if report.n_unaccounted:
        raise RuntimeError(f"{report.n_unaccounted} rows that were read stand nowhere in the books")
    left = {note.file for note in (*report.set_aside, *report.refused) if not note.line}
    headers = sum(report.counts.get(name, 0) for name in ("header lines", "trailer lines"))
    lines = sum(n for name, n in files.items() if name not in left)
    if report.rows_read + headers < lines:
        raise RuntimeError(f"{lines} lines, but {report.rows_read} rows and {headers} headers were read")


def lines_in(folder: Path) -> dict[str, int]:
    """Name of each file -> its lines that are not blank."""
    return {
        file.relative_to(folder).as_posix(): sum(bool(line.strip()) for line in file.read_bytes().split(b"\n"))
        for file in folder.rglob("*")
        if file.is_file()
    }


def load_booked(
    name: str, folder: Path, options: dict[str, object] | None = None, *, each_line: bool = False
) -> Loaded:
    """Load a data set and check its books.

    Args:
        name: of the data set.
        folder: its files.
        options: of its loader.
        each_line: whether every line of every file is a row.

    Raises:
        RuntimeError: the books do not balance.
    """
    loaded = registry.load(name, folder, options)
    check_books(loaded.report, lines_in(folder) if each_line else {})
    return loaded


def make_casas(folder: Path, layout: str) -> None:
    """Two days of a home."""
    lines = []
    for i in range(60):
        time = START + timedelta(minutes=29 * i)
        activity = ("Sleep", "Cook", "Other_Activity")[i // 20]
        mark = f'{activity}="{"begin" if i % 20 == 0 else "end"}"' if i % 20 in (0, 19) else ""
        if layout == "classic":
            mark = mark.replace('="', " ").replace('"', "")
        value = ("ON", "OFF", "21.5")[i % 3] if i % 7 else "OPEN"
        lines.append(LAYOUTS[layout].format(
            date=time.date(), time=f"{time:%H:%M:%S}.{i:06}", room=("Bedroom", "Kitchen")[i % 2], value=value, n=i % 9,
            thing=("Door", "Stove")[i % 2], mark=mark, label=activity, task=1 + i // 20,
        ))  # fmt: skip
    (folder / "home.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_kasteren(folder: Path) -> None:
    """House B's form: activations, activities, names of both."""
    day = "{d}-Jul-2009 {h:02}:{m:02}:00"
    spans = [(25 + i // 30, i % 24, i % 50) for i in range(40)]
    on, off = ([day.format(d=d, h=h, m=m + k) for d, h, m in spans] for k in (0, 5))
    write = {
        "s.csv": "".join(f"{a},{b},{5 + i % 3},1\n" for i, (a, b) in enumerate(zip(on, off))) + "Length: 40\n",
        "a.csv": "Start time\tEnd time\tID\n-----\n" + "".join(f"{a}\t{b}\t{1 + i % 2}\n" for i, (a, b) in
                                                            enumerate(zip(on[::5], off[::5]))),
        "one.txt": "5 BedRight BedroomUpstairs\n6 FrontDoor Hall\n7 Cupboard Kitchen\n",
        "two.txt": "1 LeaveHouse\n2 Use Toilet (NoInstance)\n",
    }  # fmt: skip
    for name, text in write.items():
        (folder / name).write_text(text, encoding="utf-8")


def make_csv(folder: Path) -> None:
    """A user's file of events and one of labels."""
    rows = [f"{START + timedelta(minutes=7 * i)},{('stove', 'front door', 'bed')[i % 3]},{('on', 'off')[i % 2]},"
            f"{('kitchen', 'hall', 'bedroom')[i % 3]},{('Cook', '', 'Sleep')[i % 3]}" for i in range(60)]  # fmt: skip
    (folder / "in.csv").write_text("time,sensor,state,room,activity\n" + "\n".join(rows) + "\n", encoding="utf-8")
    spans = [f"{START + timedelta(hours=i)},{START + timedelta(hours=i, minutes=30)},Read" for i in range(9)]
    (folder / "labels.csv").write_text("start,end,activity\n" + "\n".join(spans) + "\n", encoding="utf-8")


def make_recorder(folder: Path, *, n: int = 400) -> None:
    """Home Assistant's database, new schema."""
    entities = ("binary_sensor.kitchen_door", "light.hall", "person.anna", "sensor.plug_power", "sun.sun")
    with closing(sqlite3.connect(folder / "home-assistant_v2.db")) as db:
        db.execute("CREATE TABLE states_meta (metadata_id INTEGER PRIMARY KEY, entity_id TEXT)")
        db.execute("CREATE TABLE states (state_id INTEGER PRIMARY KEY, entity_id CHAR(0), state TEXT, last_changed "
                   "CHAR(0), last_updated_ts FLOAT, metadata_id INTEGER)")  # fmt: skip
        db.executemany("INSERT INTO states_meta VALUES (?, ?)", enumerate(entities))
        words = (("on", "off"), ("on", "off"), ("home", "not_home"), ("12.5", "unavailable"), ("above", "below"))
        db.executemany("INSERT INTO states VALUES (NULL, NULL, ?, NULL, ?, ?)",
                       [(words[i % 5][i // 5 % 2], 1.3e9 + 60.5 * i, i % 5) for i in range(n)])  # fmt: skip
        db.commit()


def add_own(folder: Path, files: tuple[str, ...] = (), labels: tuple[str, ...] = ()) -> object:
    """Make a home of files; nothing but the home may lie in the data folder, and nothing at all where it is refused."""
    os.environ["LLMHAR_DATA"] = str(folder / "data")
    plan = Plan(labels=[folder / name for name in labels], zone="Europe/Paris")
    before = lines_in(folder)
    home = paths.data() / "flat"
    try:
        made = make.make("flat", [folder / name for name in files], plan)
        report = registry.load("flat").report
        check_books(report, {})
        if report.rows_read != made.loaded.report.rows_read:
            raise RuntimeError("what was written is read otherwise than what was made")
        return made
    except Exception:
        if home.exists():
            raise RuntimeError(f"refused, but {home.name} was made") from None
        raise
    finally:
        if {name: n for name, n in lines_in(folder).items() if not name.startswith("data/")} != before:
            raise RuntimeError("the user's own file was changed")


def make_pamap2(folder: Path) -> None:
    """One person, 22 s of walking and a lost second."""
    (folder / "Protocol").mkdir()
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2300, 54))
    table[:, 0], table[:, 1], table[:, 2] = np.arange(2300) / 100, 4, np.nan
    table[::11, 2] = 90
    table[500:530, 4:7] = np.nan
    np.savetxt(folder / "Protocol" / "subject101.dat", table, fmt="%.5g")


def make_usc_had(folder: Path) -> None:
    """One person, two trials."""
    (folder / "Subject1").mkdir()
    for trial in (1, 2):
        readings = np.random.default_rng(trial).normal(size=(1200, 6))
        savemat(folder / "Subject1" / f"a1t{trial}.mat", {"sensor_readings": readings}, do_compression=trial == 2)


def read_all(clips: ClipSet) -> ClipSet:
    """Read every clip's motion and sound: loaders hand out what reads it later."""
    for clip in clips.clips:
        for read in filter(None, (clip.read_motion, clip.read_audio)):
            if not np.isfinite(read().samples).all():
                raise RuntimeError(f"{clip.clip_id} holds values that are no numbers")
    return clips


def _booked(name: str, each_line: bool = False, **options: object) -> Callable[[Path], object]:
    return partial(load_booked, name, options=options, each_line=each_line)


HOMES: dict[str, FileSet] = {
    **{f"CASAS, {name}": FileSet(partial(make_casas, layout=name), _booked("casas", each_line=True), ("home.txt",),
                                 names=(*NOTHING, "sensor events of CASAS is missing in")) for name in LAYOUTS},
    "Kasteren": FileSet(make_kasteren, _booked("kasteren", each_line=True), ("s.csv", "a.csv", "one.txt", "two.txt"),
                        names=(*NOTHING, "a file of activations")),
    "own CSV": FileSet(make_csv, partial(add_own, files=("in.csv",), labels=("labels.csv",)), ("in.csv", "labels.csv")),
    "Home Assistant": FileSet(make_recorder, partial(add_own, files=("home-assistant_v2.db",)),
                              ("home-assistant_v2.db",)),
    "PAMAP2": FileSet(make_pamap2, lambda f: read_all(pamap2_clips(f)), ("Protocol/subject101.dat",),
                      names=("PAMAP2 (hand): no labelled stretch",)),
    "USC-HAD": FileSet(make_usc_had, lambda f: read_all(usc_had_clips(f)), ("Subject1/a1t1.mat", "Subject1/a1t2.mat"),
                       names=("USC-HAD: no labelled stretch",)),
}  # fmt: skip
ALL = {
    **SETS,
    "MuRAL": SETS["MuRAL"]._replace(load=_booked("mural")),
    "MARBLE": SETS["MARBLE"]._replace(load=_booked("marble", locations=True)),
    "UCI ADL": SETS["UCI ADL"]._replace(load=_booked("uci_adl", home="A")),
    **{
        name: SETS[name]._replace(load=lambda f: read_all(load_manifest(f)))
        for name in SETS
        if name.startswith("clips")
    },
    **HOMES,
}
"""Every loader; of homes the books are checked too."""
