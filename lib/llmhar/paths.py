"""Where things lie: the one module that knows folders. Creates nothing unless asked for a file inside.

Places that one environment variable each can move:

- the checkout (``params/``, ``notebooks/``, ``reports/``): ``LLMHAR_ROOT``, else the folder above ``lib``;
- the store and logs: ``LLMHAR_HOME``, else ``.llmhar`` in the checkout;
- a user's own models: ``LLMHAR_MODELS``, a file, else ``models.yaml`` in the store's folder;
- data sets: ``LLMHAR_DATA``, else ``data`` in the store's folder;
- downloads and converted weights: ``LLMHAR_CACHE``, else the user's cache folder (shared by checkouts).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import platformdirs


def _from_env(name: str, default: Path) -> Path:
    value = os.environ.get(name)
    return Path(value).expanduser().absolute() if value else default


def given(path: Path | str) -> Path:
    """A path as a user wrote it: "~" and "~name" are home folders where there are such, as a shell reads them.

    A relative path stays relative to the folder of the call.
    """
    return Path(os.path.expanduser(path))


def root() -> Path:
    """The checkout: the folder that holds ``params`` and ``notebooks``."""
    return _from_env("LLMHAR_ROOT", Path(__file__).absolute().parents[2])


def home() -> Path:
    """Folder of the store and of the engines' logs."""
    return _from_env("LLMHAR_HOME", root() / ".llmhar")


def own_models() -> Path:
    """File of the user's own models, which need not be there."""
    return _from_env("LLMHAR_MODELS", home() / "models.yaml")


def data() -> Path:
    """Folder with one sub-folder per data set."""
    return _from_env("LLMHAR_DATA", home() / "data")


def cache() -> Path:
    """Folder of downloads and converted weights, outside the tree."""
    return _from_env("LLMHAR_CACHE", Path(platformdirs.user_cache_dir("llmhar")))


def params() -> Path:
    """Folder of the YAML settings."""
    return root() / "params"


def profile_file(profile: str) -> Path:
    """Settings of a profile: a section a notebook."""
    return params() / "profiles" / f"{profile}.yaml"


def notebook_file(name: str) -> Path:
    """A notebook by its name, "02_prompting"."""
    return root() / "notebooks" / f"{name}.ipynb"


def reports() -> Path:
    """Folder of the generated reports, one sub-folder a profile; git ignores it."""
    return _from_env("LLMHAR_REPORTS", root() / "reports")


def record() -> Path:
    """Folder of the reports that git tracks: diary, proofs and runs recorded on purpose. No run writes into it."""
    return root() / "reports" / "record"


def file_sha256(file: Path) -> str:
    """Hash of a file's bytes, 64 hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_SPACE, _WRITABLE = "free some space", "make the folder writable, or name another one"
_CURES: dict[int | None, str] = {
    errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.EFBIG: _SPACE,
    errno.EROFS: _WRITABLE, errno.EACCES: _WRITABLE, errno.EPERM: _WRITABLE,
}  # fmt: skip


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success it takes the target's place in one step.

    Whoever is killed in between leaves the old file whole. On an error the temporary file goes.

    Raises:
        OSError: a full disk or a folder that cannot be written; names the target and the cure.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in _CURES:
            raise
        raise _explained(error, target) from error
    finally:
        with suppress(OSError):  # a read-only folder: there is nothing to take away
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder, alone in a hidden one beside ``target``; on success it takes the target's place.

    What was there before goes when the new one stands; after a kill between the two the next call puts it back.

    Raises:
        OSError: a full disk or a folder that cannot be written; names the target and the cure.
    """
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=f".{os.getpid()}.part", dir=target.parent))
        (work / "fresh").mkdir()
        yield work / "fresh"
        if target.exists():
            os.replace(target, work / _BEFORE)
        os.replace(work / "fresh", target)
    except OSError as error:
        if error.errno not in _CURES:
            raise
        raise _explained(error, target) from error
    finally:
        if work:
            _take_away(work, target)


STALE_S = 60.0
"""Seconds without a change after which a temporary file of a process that is not here is taken for a killed one's."""
_BEFORE = "before"


def _explained(error: OSError, target: Path) -> OSError:
    """The error in words that name ``target`` and the cure."""
    # The system's own words name no file where a write fails, and else the temporary one.
    said = f"{error.strerror}; what was there before is whole; {_CURES[error.errno]} and run again"
    return OSError(error.errno, said, str(target))


def _sweep(target: Path) -> None:
    """Take away temporary files of ``target`` that killed processes left; on a shared disk others may still write."""
    for left in target.parent.glob(f".{escape(target.name)}.*.part"):
        pid = left.name.removesuffix(".part").rpartition(".")[2]
        try:
            changed = max(file.stat().st_mtime for file in (left, *left.rglob("*")))
            if pid.isdecimal() and time.time() - changed > STALE_S:
                os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            _take_away(left, target)
        except OSError:
            continue  # it has gone, or the process is another user's


def _take_away(left: Path, target: Path) -> None:
    """Delete a temporary file or folder; where a kill came between two moves, what was there before is put back."""
    if not left.is_dir():
        left.unlink(missing_ok=True)
        return
    is_ours = left.name.count(".") == target.name.count(".") + 4  # not another target's whose name begins as this one's
    if is_ours and not target.exists() and (left / _BEFORE).exists():
        os.replace(left / _BEFORE, target)
    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file: whoever else wants it waits. It goes with the process that holds it, however that ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def write_text(target: Path, text: str) -> None:
    """Write ``text`` (UTF-8) so that readers see the old file or the new one, never half."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
