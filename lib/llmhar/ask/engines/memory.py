"""How much memory a process has taken at most, as the kernel keeps it. Knows nothing of engines."""

from __future__ import annotations

import re
from pathlib import Path


def high_water(pid: int | None) -> int | None:
    """Most resident bytes of a process since it began (Linux' VmHWM); None: not known, or no process."""
    try:
        line = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.M)
    except OSError:
        return None
    return int(line[1]) * 1024 if line else None
