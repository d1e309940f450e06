"""What checksums cost: ``python -m tests.bench.checksums [N]`` looks up N stored answers with and without them.

A pair is two look-ups by :meth:`llmhar.ask.store.Store.find` of all answers in one warm store, in an order that changes
from pair to pair; "without" is the same method in a store that seems to have no table of checksums. Processor time is
what is compared: other work on the machine is not the checksums'.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import zlib
from pathlib import Path
from time import process_time

from llmhar.ask import stored
from llmhar.ask.store import Ask, Store
from llmhar.records import Fingerprint, Generation, Request, canonical_json
from tests.bench.engines_steps import spread
from tests.bench.verdicts import Claim, at_most, exit_code, table_text

MOST = 5.0
"""Figure: percent of a look-up without checksums."""
CLAIM = "checksums: what they add to the look-up of stored answers"
ENGINE = Fingerprint("bench", "1", "float32", "cpu")


class Unsummed(Store):
    """A store that looks no checksum up."""

    def _has(self, table: str) -> bool:
        return table != "sums" and super()._has(table)


def answer(number: int) -> Generation:
    """An answer of 1,500 characters, its own."""
    key = f"{number:064x}"
    return Generation(key, f"{number} because the door was opened at night; " * 30, "stop", "", 1200, 900, 240, 1.5)


def fill(store: Store, n: int) -> list[str]:
    """Keep so many answers in one transaction; their keys."""
    request = Request("m", "r", "", ({"role": "user", "content": "x"},))
    store.note_asks([Ask("bench", "s", 0, "m", request)])
    store.add(Generation(request.key, "the first answer makes the table of checksums"), ENGINE)
    engine, made = canonical_json(ENGINE.to_json()), [answer(number) for number in range(n)]
    rows = [(g.request_key, engine, g.text, g.finish_reason, "", g.prompt_tokens, g.cached_tokens, g.output_tokens,
             g.seconds) for g in made]  # fmt: skip
    with store._transaction():
        for row in rows:
            insert = "INSERT INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,NULL,0,0)"
            number = store._db.execute(insert, row).lastrowid
            store._db.execute("INSERT INTO sums VALUES (?, ?)", (number, stored.checksum_of(row, "")))
    return [g.request_key for g in made]


def look_up(store: Store, keys: list[str]) -> float:
    """Seconds of processor time of one look-up of all."""
    gc.collect()
    begun = process_time()
    found = store.find(keys)
    taken = process_time() - begun
    if len(found) != len(keys):
        raise RuntimeError(f"{len(found)} of {len(keys)} answers were found")
    return taken


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module; ``quick``: a tenth of the answers, three pairs."""
    return compare(10_000, 3) if quick else compare(100_000, 9)


def compare(n: int, n_pairs: int, summed: type[Store] = Store, plain: type[Store] = Unsummed) -> list[Claim]:
    """The look-up with checksums against the one without.

    Args:
        n: stored answers.
        n_pairs: how often each is timed.
        summed: the store with checksums.
        plain: the one without.
    """
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as name:
        path = Path(name, "store.sqlite")
        with Store(path) as store:
            keys = fill(store, n)
        with summed(path) as own, plain(path) as bare:
            for store in (own, bare):
                look_up(store, keys)  # both caches are warm
            pairs = []
            for number in range(n_pairs):
                taken = {store: look_up(store, keys) for store in ((own, bare) if number % 2 else (bare, own))}
                pairs.append((taken[own], taken[bare]))
    added = [100 * (a / b - 1) for a, b in pairs]
    texts = [answer(number).text.encode() for number in range(min(n, 10_000))]
    begun = process_time()
    for text in texts:
        zlib.crc32(text)
    alone = (process_time() - begun) / len(texts) * 1e6
    why = (
        f"median of {n_pairs} pairs, processor time: {spread(added, 1)}; {n:,} answers of 1,400 bytes, "
        f"{min(a for a, _ in pairs):.2f} s with, {min(b for _, b in pairs):.2f} s without; CRC-32 alone {alone:.2f} µs "
        "an answer"
    )
    tried = "a join in place of a sub-query, and no call of its own (20 % before)"
    return [at_most(CLAIM, MOST, statistics.median(added), "%", why=why, tried=tried)]


if __name__ == "__main__":
    shown = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, 9)
    print(table_text(shown))
    sys.exit(exit_code(shown))
