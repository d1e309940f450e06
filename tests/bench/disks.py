"""Faults of disks and files that faults_store.py tries: full, read-only, damaged, cut. Counts nothing together.

Disks are real, small file systems in memory, which only root can mount. A check takes what it checks as an argument and
returns what was seen; :func:`judge` makes a claim of it.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from llmhar import paths
from llmhar.ask.store import Ask, Store, StoreError
from llmhar.records import Fingerprint, Generation, Request
from tests.bench.verdicts import Claim

CPU = Fingerprint("recorded", "1", "", "")
SHOWN_BY = "tests/proof/test_faults_store.py"
OpenStore = Callable[[Path], Store]


def request(number: int) -> Request:
    """The n-th question."""
    return Request("m", "r", "", ({"role": "user", "content": f"q{number}"},))


def asks(n: int) -> list[Ask]:
    """The first n windows."""
    return [Ask("data", "s", i, "m", request(i)) for i in range(n)]


def answer(number: int, size: int = 10) -> Generation:
    """To the n-th question."""
    return Generation(request(number).key, f"a{number} ".ljust(size, "."), "stop")


class Seen(NamedTuple):
    """What came of a fault."""

    said: str
    """The message; empty where there was no error."""
    lost: int
    """Things that were whole before and are not after the cure, or that cannot be done after it."""


class Fault(NamedTuple):
    """A fault, the file that the message must name, and the cure."""

    name: str
    file: str
    cure: str
    """Regular expression."""


def judge(fault: Fault, seen: Seen) -> Claim:
    """Met where the message names file and cure and nothing is lost."""
    misses = [
        *(["no error"] if not seen.said else []),
        *([f"the message does not name {fault.file}"] if seen.said and fault.file not in seen.said else []),
        *(["the message names no cure"] if seen.said and not re.search(fault.cure, seen.said) else []),
        *([f"{seen.lost} lost"] if seen.lost else []),
    ]
    why = f'says "{_short(seen.said)}" ({SHOWN_BY})'
    figure = "an error that names file and cure, 0 lost"
    if misses:
        return Claim(fault.name, figure, "; ".join(misses), "missed", why)
    return Claim(fault.name, figure, "file and cure named, 0 lost", "met", why)


def _short(text: str) -> str:
    """A message without this run's folders."""
    return re.sub(r"/[\w./-]*/(?=[\w.-]+)", "…/", " ".join(text.split()))[:260]


def error_of(work: Callable[[], object]) -> str:
    """The message of the error that a piece of work ends in; of a raw one its class's name alone is no use."""
    try:
        work()
    except Exception as error:
        return str(error)
    return ""


class Disk:
    """A small file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        """Grow it (``size=20m``), or make it read-only (``ro``) and writable again (``rw``)."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)

    def fill(self, left: int = 0) -> Path:
        """Write until no more than ``left`` bytes are free; returns the file to take away again."""
        junk, free = self.path / "junk", os.statvfs(self.path)
        with contextlib.suppress(OSError), open(junk, "wb") as out:
            out.write(b"\0" * max(0, free.f_bavail * free.f_bsize - left))
        return junk


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """Mount one.

    Raises:
        OSError: this machine does not let us.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if made.returncode:
            raise OSError(f"cannot mount a small file system: {made.stderr.strip()}")
        try:
            yield Disk(Path(folder))
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def store_on_full_disk(disk: Disk, open_store: OpenStore = Store, n: int = 400) -> Seen:
    """Answers come until the disk is full; after there is room again the same store goes on."""
    path = disk.path / "store.sqlite"
    with open_store(path) as store:
        store.note_asks(asks(n))
        done = 0

        def go_on() -> None:
            nonlocal done
            for number in range(done, n):
                store.add(answer(number, 5000), CPU)
                done += 1

        said = error_of(go_on)
        before = done
        lost = before - len(store.find([request(i).key for i in range(before)]))
        disk.remount("size=64m")
        lost += bool(error_of(go_on))
    with Store(path) as store:
        found = store.find([request(i).key for i in range(n)])
        lost += sum(found[request(i).key].generation != answer(i, 5000) if request(i).key in found else 1
                    for i in range(n))  # fmt: skip
        return Seen(said, lost + store.counts()["successes"] - len(found))


def many_asks_on_full_disk(disk: Disk, open_store: OpenStore = Store) -> Seen:
    """One transaction that is larger than the disk: all of it or nothing."""
    path = disk.path / "store.sqlite"
    many = [Ask("d", "s", i, "m", Request("m", "r", "", ({"role": "user", "content": f"{i} " * 4000},)))
            for i in range(500)]  # fmt: skip
    with open_store(path) as store:
        said = error_of(lambda: store.note_asks(many))
        lost = store.counts()["asks"] + store.counts()["requests"]
        disk.remount("size=128m")
        store.note_asks(many)
        return Seen(said, lost + len(many) - store.counts()["asks"])


def file_on_full_disk(disk: Disk, write: Callable[[Path, str], None] = paths.write_text) -> Seen:
    """A report replaces an older one: as long as there is no room the old one stays whole, and nothing else."""
    target = disk.path / "report.html"
    old, new = "old " * 50_000, "new " * 60_000
    write(target, old)
    junk = disk.fill(left=40_000)
    said = error_of(lambda: write(target, new))
    lost = (target.read_text() != old) + len(set(disk.path.iterdir()) - {target, junk})
    junk.unlink()
    write(target, new)
    return Seen(said, lost + (target.read_text() != new))


def read_only(disk: Disk, work: Callable[[Path], object], file: str) -> Seen:
    """The folder of a file becomes read-only; afterwards the work can be done there."""
    target = disk.path / file
    work(target)
    before = target.read_bytes()
    disk.remount("ro")
    said = error_of(lambda: work(target))
    disk.remount("rw")
    return Seen(said, (target.read_bytes() != before) + bool(error_of(lambda: work(target))))


def use_store(path: Path, open_store: OpenStore = Store, n: int = 300) -> None:
    """Open, write, read everything."""
    with open_store(path) as store:
        store.note_asks(asks(n))
        for number in range(n):
            store.add(answer(number, 500), CPU)
        keys = [request(i).key for i in range(n)]
        store.counts(), store.find(keys), store.failures(keys), store.notes(), store.costs(keys, CPU)
        if any(store.request(key) is None for key in keys):
            raise RuntimeError("a request is gone")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header overwritten": lambda whole: b"\0" * 100 + whole[100:],
    "first bytes overwritten": lambda whole: b"xxxx" + whole[4:],
    "middle overwritten": lambda whole: _overwrite(whole, len(whole) // 3, len(whole) // 3),
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "cut after 50 bytes": lambda whole: whole[:50],
    "a text file": lambda whole: b"id,activity\n" * 2000,
}  # fmt: skip


def _overwrite(whole: bytes, start: int, size: int) -> bytes:
    return whole[:start] + random.Random(0).randbytes(size) + whole[start + size :]


def damaged_store(folder: Path, how: Callable[[bytes], bytes], open_store: OpenStore = Store) -> Seen:
    """A store of which bytes are wrong: using it says so and leaves the file as it is for whoever can save it."""
    path = folder / "store.sqlite"
    use_store(path)
    path.write_bytes(how(path.read_bytes()))
    before = path.read_bytes()
    said = error_of(lambda: use_store(path, open_store))
    lost = path.read_bytes() != before if path.exists() else 1
    path.rename(folder / "moved-away.sqlite")  # the cure
    for rest in folder.glob("store.sqlite-*"):
        rest.unlink()
    return Seen(said, lost + bool(error_of(lambda: use_store(path, open_store))))


def flipped_bytes(
    folder: Path, n: int, open_store: OpenStore = Store, seed: int = 0
) -> tuple[int, int, int, list[str]]:
    """A byte of a store is changed, in turn within an answer's text and anywhere in the file; all is read, and what is
    missing is asked anew.

    Args:
        folder: an empty one.
        n: changed bytes, each in a fresh copy of one store.
        open_store: opens the store that is read.
        seed: of the draw of bytes.

    Returns:
        Answers that were read otherwise than they were stored; changes within an answer that nobody was told of;
        answers that were still missing after they had been asked anew; the first messages.
    """
    dice, path, n_asks = random.Random(seed), folder / "store.sqlite", 60
    use_store(path, n=n_asks)
    whole, keys = path.read_bytes(), [request(i).key for i in range(n_asks)]
    texts = [place for i in range(n_asks) if (place := whole.find(answer(i, 500).text.encode())) >= 0]
    true = {request(i).key: answer(i, 500) for i in range(n_asks)}
    other = untold = lost = 0
    said: list[str] = []
    for number in range(n):
        inside = number % 2 == 0
        place = dice.choice(texts) + dice.randrange(500) if inside else dice.randrange(len(whole))
        changed = bytearray(whole)
        changed[place] ^= dice.randrange(1, 256)
        path.write_bytes(changed)
        heard = io.StringIO()
        try:
            with contextlib.redirect_stderr(heard), open_store(path) as store:
                for _ in range(3):  # what is written beside damage may show more of it
                    found = {key: stored.generation for key, stored in store.find(keys).items()}
                    other += sum(true[key] != found[key] for key in found.keys() & true.keys())
                    for key in true.keys() - found.keys():
                        store.add(true[key], CPU)
                lost += len(true.keys() - store.find(keys).keys())
                store.failures(keys), store.attempts(keys), store.counts()
        except StoreError as error:  # names file and cure: the whole store is damaged
            heard.write(str(error))
        untold += inside and path.name not in heard.getvalue()
        said += [heard.getvalue()[:300]] * bool(heard.getvalue() and len(said) < 3)
        for rest in folder.glob("store.sqlite-*"):
            rest.unlink()
    return other, untold, lost, said
