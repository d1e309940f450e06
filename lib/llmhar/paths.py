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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in _CURES:
            raise
        # The system's own words name no file where a write fails, and else the temporary one.
        said = f"{error.strerror}; what was there before is whole; {_CURES[error.errno]} and run again"
        raise OSError(error.errno, said, str(target)) from error
    finally:
        with suppress(OSError):  # a read-only folder: there is nothing to take away
            temporary.unlink(missing_ok=True)


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
