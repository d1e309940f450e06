"""One download, checked: several addresses, one sha256. Knows nothing of what is in the file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from llmhar import paths
from llmhar.data.load_report import DataError


def download(target: Path | str, sha256: str, urls: Sequence[str], cure: str = "") -> Path:
    """Bring a file from the first address that gives it: it lies at its place whole and right, or not at all.

    A file of this hash that lies there already, put there by whomever, is taken without network.

    Args:
        target: where it is to lie; a plain name = in the cache's ``downloads``.
        sha256: of its bytes; another content is never used.
        urls: addresses, tried in order.
        cure: what else a user can do to have it; empty = put a copy of the file to its place.

    Raises:
        DataError: no address gave the file: names them, the last reason and the cure.
    """
    import pooch  # slow to import, and a download is rare

    pooch.get_logger().setLevel("ERROR")  # the caller says what happens
    place, reason = paths.cache() / "downloads" / target, "no address"
    with_bar = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
    for url in urls:
        try:
            return Path(pooch.retrieve(url, f"sha256:{sha256}", place.name, place.parent, downloader=with_bar))
        except (ValueError, OSError) as error:  # wrong hash; requests' errors are OSErrors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if cure:
        raise DataError(f"{' or '.join(urls)} could not be fetched ({reason}): {cure}")
    raise DataError(
        f"{place.name} could not be fetched ({reason}): check the network, or download {' or '.join(urls)} elsewhere "
        f"and put it to {place} (sha256 {sha256[:12]}…)"
    )
