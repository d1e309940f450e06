"""Files for the loaders' claims, second part: CASAS in its layouts, Kasteren, homes of one's own, PAMAP2, USC-HAD.

Like :mod:`tests.bench.faults_files`, whose :class:`FileSet` it fills; HAPT as clips beside them. Books must balance,
line by line (:mod:`tests.bench.faults_books`).
"""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat, savemat

from llmhar import paths
from llmhar.data import registry
from llmhar.data.load_report import DataError, Loaded
from llmhar.data.own import make
from llmhar.data.own.home import EVENTS_FILE
from llmhar.data.own.make import Plan
from llmhar.data.own.rows import read_rows
from llmhar.fusion.clips import hapt
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.manifest import load_manifest
from llmhar.fusion.clips.pamap2 import pamap2_clips
from llmhar.fusion.clips.usc_had import usc_had_clips
from tests.bench.faults_books import (
    CASAS_FILE,
    FORMS,
    check_books,
    check_lines,
    check_manifest,
    check_own,
    check_samples,
    entering,
)
from tests.bench.faults_files import NOTHING, SETS, FileSet, hapt_pickle

START = datetime(2011, 6, 15, 8)
LAYOUTS = {
    "csv": "{date},{time},{room}A{thing},{value},{mark}",
    "classic": "{date} {time} M0{n:02} {value} {mark}",
    "al": "{date} {time} M0{n:02} {room} {value} {label}",
    "adlmr": "{date} {time} M0{n:02} {value} 1 {task}",
    "ann": "{date} {time} M0{n:02} {room} {room} {value} Motion {label}",
}
"""A line of each layout of CASAS."""


def lines_in(folder: Path) -> dict[str, int]:
    """Name of each file -> its lines that are not blank."""
    return {
        file.relative_to(folder).as_posix(): sum(bool(line.strip()) for line in file.read_bytes().split(b"\n"))
        for file in folder.rglob("*")
        if file.is_file()
    }


def load_booked(name: str, folder: Path, options: dict[str, object] | None = None) -> Loaded:
    """Load a data set and check its books: their sums, and each line of its files.

    Args:
        name: of the data set.
        folder: its files.
        options: of its loader.

    Raises:
        RuntimeError: the books do not balance.
    """
    with entering() as entered:
        loaded = registry.load(name, folder, options)
    report = loaded.report
    check_books(report)
    check_lines(entered, (*report.refused, *report.set_aside), report.mended, folder, FORMS[name])
    return loaded


def load_clips(folder: Path) -> ClipSet:
    """Load a manifest's clips and check each line of it, and of its motion file."""
    with entering() as entered:
        clips = load_manifest(folder)
    check_manifest(clips, entered, folder)
    return read_all(clips)


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
    (folder / CASAS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


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


def make_own(folder: Path, kind: str = "csv") -> None:
    """A user's file of events and one of labels; ``kind``: "csv" or "parquet"."""
    rows = [f"{START + timedelta(minutes=7 * i)},{('stove', 'front door', 'bed')[i % 3]},{('on', 'off')[i % 2]},"
            f"{('kitchen', 'hall', 'bedroom')[i % 3]},{('Cook', '', 'Sleep')[i % 3]}" for i in range(60)]  # fmt: skip
    spans = [f"{START + timedelta(hours=i)},{START + timedelta(hours=i, minutes=30)},Read" for i in range(9)]
    for name, head, lines in (("in", "time,sensor,state,room,activity", rows), ("labels", "start,end,activity", spans)):
        text = "\n".join((head, *lines)) + "\n"
        if kind == "csv":
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        else:
            pd.read_csv(io.StringIO(text)).to_parquet(folder / f"{name}.parquet")


WORDS = (("on", "off"), ("on", "off"), ("home", "not_home"), ("12.5", "unavailable"), ("above", "below"))
ENTITIES = ("binary_sensor.kitchen_door", "light.hall", "person.anna", "sensor.plug_power", "sun.sun")


def make_recorder(folder: Path, *, n: int = 400, is_old: bool = False) -> None:
    """Home Assistant's database; ``is_old``: as it was before 2023, names and times as text in each row."""
    states = "state_id INTEGER PRIMARY KEY, entity_id CHAR(0), state TEXT, last_changed CHAR(0)"
    old = "state_id INTEGER PRIMARY KEY, domain TEXT, entity_id TEXT, state TEXT, last_changed DATETIME"
    with closing(sqlite3.connect(folder / "home-assistant_v2.db")) as db:
        if is_old:
            db.execute(f"CREATE TABLE states ({old}, last_updated DATETIME)")
        else:
            db.execute("CREATE TABLE states_meta (metadata_id INTEGER PRIMARY KEY, entity_id TEXT)")
            db.execute(f"CREATE TABLE states ({states}, last_updated_ts FLOAT, metadata_id INTEGER)")
            db.executemany("INSERT INTO states_meta VALUES (?, ?)", enumerate(ENTITIES))
        for i in range(n):
            entity, word, stamp = ENTITIES[i % 5], WORDS[i % 5][i // 5 % 2], 1.3e9 + 60.5 * i
            time = f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d %H:%M:%S.%f}"
            row = (entity.partition(".")[0], entity, word, None, time) if is_old else (None, word, None, stamp, i % 5)
            db.execute(f"INSERT INTO states VALUES (NULL{', ?' * len(row)})", row)
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
        check_books(report)
        for name in (*files, *labels):
            check_own(read_rows(home / EVENTS_FILE), folder / name)
        if report.rows_read != made.loaded.report.rows_read:
            raise RuntimeError("what was written is read otherwise than what was made")
        return made
    except DataError:
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


def load_pamap2(folder: Path) -> ClipSet:
    """PAMAP2's clips; each row is in one, or counted."""
    clips = pamap2_clips(folder)
    n_rows = 0
    for file in folder.rglob("*.dat"):
        with open(file, "rb") as lines:  # one at a time: what this takes counts as the loader's
            n_rows += sum(bool(part.strip()) for line in lines for part in line.split(b"\r"))
    check_samples(clips, n_rows)
    return read_all(clips)


def load_usc_had(folder: Path) -> ClipSet:
    """USC-HAD's clips; each row of a file that is not refused is in one, or counted."""
    clips = usc_had_clips(folder)
    left = {note.file for note in clips.refused}
    files = [file for file in folder.rglob("*.mat") if file.relative_to(folder).as_posix() not in left]
    n_rows = sum(len(loadmat(file, variable_names=["sensor_readings"])["sensor_readings"]) for file in files)
    check_samples(clips, n_rows, n_joins=len(files) - 1)  # all are trials of one person and activity
    return read_all(clips)


HAPT = f"hapt/{hapt.converted().name}"


def make_hapt(folder: Path) -> None:
    """What is kept of HAPT's pickle: two people, 24 s a recording."""
    (folder / "hapt").mkdir()
    np.savez(folder / HAPT, **hapt._flatten(hapt.read_frames(hapt_pickle(1200)))._asdict())


def load_hapt(folder: Path) -> ClipSet:
    """HAPT's clips; each row is in one, or counted."""
    os.environ["LLMHAR_CACHE"] = str(folder)
    clips, runs = hapt.hapt_clips(), hapt.load_hapt().runs
    with np.load(folder / HAPT) as held:
        check_samples(clips, len(held["label"]), n_joins=len(runs) - len({(run.person, run.label) for run in runs}))
    return read_all(clips)


def _booked(name: str, **options: object) -> Callable[[Path], object]:
    return partial(load_booked, name, options=options)


def _own(make: Callable[[Path], object], files: tuple[str, ...], labels: tuple[str, ...] = ()) -> FileSet:
    return FileSet(make, partial(add_own, files=files, labels=labels), (*files, *labels))


HOMES: dict[str, FileSet] = {
    **{f"CASAS, {name}": FileSet(partial(make_casas, layout=name), _booked("casas"), (CASAS_FILE,),
                                 names=(*NOTHING, "sensor events of CASAS is missing in")) for name in LAYOUTS},
    "Kasteren": FileSet(make_kasteren, _booked("kasteren"), ("s.csv", "a.csv", "one.txt", "two.txt"),
                        names=(*NOTHING, "a file of activations")),
    "own CSV": _own(make_own, ("in.csv",), ("labels.csv",)),
    "own Parquet": _own(partial(make_own, kind="parquet"), ("in.parquet",), ("labels.parquet",)),
    "Home Assistant": _own(make_recorder, ("home-assistant_v2.db",)),
    "Home Assistant before 2023": _own(partial(make_recorder, is_old=True), ("home-assistant_v2.db",)),
    "PAMAP2": FileSet(make_pamap2, load_pamap2, ("Protocol/subject101.dat",),
                      names=("PAMAP2 (hand): no labelled stretch",)),
    "USC-HAD": FileSet(make_usc_had, load_usc_had, ("Subject1/a1t1.mat", "Subject1/a1t2.mat"),
                       names=("USC-HAD: no labelled stretch",)),
    "HAPT, clips": FileSet(make_hapt, load_hapt, (HAPT,), names=("UCI HAPT: no labelled stretch",)),
}  # fmt: skip
ALL = {
    **SETS,
    "MuRAL": SETS["MuRAL"]._replace(load=_booked("mural")),
    "MARBLE": SETS["MARBLE"]._replace(load=_booked("marble", locations=True)),
    "UCI ADL": SETS["UCI ADL"]._replace(load=_booked("uci_adl", home="A")),
    **{name: SETS[name]._replace(load=load_clips) for name in SETS if name.startswith("clips")},
    **HOMES,
}
"""Every loader; the books are checked too."""
