"""How many examples hypothesis makes: `make test` is to end within minutes, `make test SLOW=1` takes all."""

import os

ALL = "LLMHAR_ALL_EXAMPLES"


def examples(n: int) -> int:
    """A fifth of ``n``, at least 100; all where the environment says so. With ``derandomize`` always the same ones."""
    return n if os.environ.get(ALL) else min(n, max(100, n // 5))
