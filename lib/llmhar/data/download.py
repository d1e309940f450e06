"""One download, checked: several addresses, one hash. Knows nothing of what is in the file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from llmhar import paths
from llmhar.data.load_report import DataError


def download(target: Path | str, digest: str, urls: Sequence[str], cure: str = "") -> Path:
    """Bring a file from the first address that gives it: it lies at its place whole and right, or not at all.

    A file of this hash that lies there already, put there by whomever, is taken without network.

    Args:
        target: where it is to lie; a plain name = in the cache's ``downloads``.
        digest: sha256 of its bytes; another content is never used. "md5:" before it where its source states that alone.
        urls: addresses, tried in order.
        cure: what else a user can do to have it; empty = put a copy of the file to its place.

    Raises:
        DataError: no address gave the file: names them, the last reason and the cure.
    """
    import pooch  # slow to import, and a download is rare

    pooch.get_logger().setLevel("ERROR")  # the caller says what happens
    place, reason = paths.cache() / "downloads" / target, "no address"
    known_hash = digest if ":" in digest else f"sha256:{digest}"
    with_bar = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
    for url in urls:
        try:
            return Path(pooch.retrieve(url, known_hash, place.name, place.parent, downloader=with_bar))
        except (ValueError, OSError) as error:  # wrong hash; requests' errors are OSErrors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if cure:
        raise DataError(f"{' or '.join(urls)} could not be fetched ({reason}): {cure}")
    raise DataError(
        f"{place.name} could not be fetched ({reason}): check the network, or download {' or '.join(urls)} elsewhere "
        f"and put it to {place} ({known_hash.replace(':', ' ')[:19]}…)"
    )
