"""One download, checked: several addresses, one sha256. Knows nothing of what is in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from llmhar import paths
from llmhar.data.load_report import DataError


def sha256_of_file(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_checked(name: str, sha256: str, urls: Sequence[str]) -> Path:
    """A file in the cache's ``downloads``, brought from the first address that gives it.

    A file of that name and hash that lies there already, put there by whomever, is taken without network.

    Args:
        name: of the file, plain.
        sha256: of its bytes; another content is never used.
        urls: addresses, tried in order.

    Raises:
        DataError: no address gave the file: names them, the last reason and the cure.
    """
    import pooch  # slow to import, and a download is rare

    pooch.get_logger().setLevel("ERROR")  # the caller says what happens
    folder = paths.cache() / "downloads"
    reason = "no address"
    for url in urls:
        try:
            return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=name, path=folder))
        except (ValueError, OSError) as error:  # wrong hash; requests' errors are OSErrors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    raise DataError(
        f"{name} could not be fetched ({reason}): check the network, or download {' or '.join(urls)} elsewhere "
        f"and put it to {folder / name} (sha256 {sha256[:12]}…)"
    )
