"""Claims of "Faults", notebooks: a kernel killed, out of memory or past its limit; a kept engine killed.

Jupyter's kernel, papermill and an engine's process run for real; the engine loads no model. The helpers are those of
tests/run/test_report.py and tests/ask/engines/test_kept.py. ``python -m tests.bench.faults --only kernel`` prints it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llmhar.ask.engines import kept, registry
from llmhar.ask.models import ModelSpec
from llmhar.run import jobs, report
from tests.ask.engines.test_kept import FIXTURES, ask, gone, opened, pid_of_a_cell
from tests.bench.verdicts import Claim, exactly
from tests.run.test_report import failing_root

LIMIT_S, CELL_S = 10.0, 2.0
"""Most seconds until a run says what its kernel died of; and the limit of a cell here, which comes on top."""
KERNELS = {
    "killed": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "DeadKernelError: Kernel died (it was killed",
    ),
    "out of memory": ("held = bytearray(2**50)", "MemoryError"),
    "past its limit": ("import time; time.sleep(1000)", "CellTimeoutError: A cell timed out"),
}
"""What becomes of a kernel -> the code of a cell, and the words of its cause. Linux ends what is out of memory by the
same signal as "killed" does."""
KILLS = 5
SHOWN_BY = "tests/proof/test_faults_kernel.py"
Run = Callable[[Any], dict[str, Any]]


def run_job(job: Any) -> dict[str, Any]:
    """Run a notebook as ``llmhar run`` does; returns its record."""
    return dict(report.run_job(job, progress=False))


def kernel_claim(name: str, run: Run = run_job) -> Claim:
    """A kernel that ends in the third cell: one line of cause in time, and the copy with what was printed before."""
    code, cause = KERNELS[name]
    with tempfile.TemporaryDirectory() as scratch:
        stamp, folder = Path(scratch, "stamp"), Path(scratch)
        root = failing_root(folder, f"from pathlib import Path; Path({str(stamp)!r}).touch()\n{code}")
        places = {"LLMHAR_ROOT": root, "LLMHAR_REPORTS": folder / "reports", "LLMHAR_HOME": folder / "home"}
        with (
            patch.dict(os.environ, {key: str(place) for key, place in places.items()}),
            patch.dict(os.environ, {report.CELL_LIMIT: f"{CELL_S:g}"}),
        ):
            [job] = jobs.plan_jobs("smoke", [], {}, Path.cwd())
            record = run(job)
        seconds = time.time() - stamp.stat().st_mtime if stamp.exists() else LIMIT_S * 100
        copy = job.folder / "report.ipynb"
        said = str(record.get("cause", ""))
        wrong = {
            "not marked failed": record.get("status") != "failed",
            "another cause": cause not in said,
            "more than a line": "\n" in said,
            f"{seconds:.1f} s": seconds > LIMIT_S + CELL_S * (name == "past its limit"),
            "no partial copy": not copy.exists() or "before the fault" not in copy.read_text(encoding="utf-8"),
        }
    found = [words for words, is_so in wrong.items() if is_so]
    why = f'{seconds:.1f} s after the cell began: "{said[:120]}" ({SHOWN_BY})'
    return exactly(f"kernel {name}: one line of cause within {LIMIT_S:g} s, the partial copy kept", 0, len(found),
                   "faults", why="; ".join([*found, why]))  # fmt: skip


@contextlib.contextmanager
def lending() -> Iterator[kept.Host]:
    """A run that lends its engine, which is one without a model."""
    path = os.pathsep.join([str(FIXTURES), os.environ.get("PYTHONPATH", "")])
    with (patch.dict(registry.ENGINES, {"onnx": registry._child("fake_backend:Echo")}), kept.Host() as host,
          patch.dict(os.environ, {"PYTHONPATH": path, kept.VARIABLE: host.address}),
          patch.object(ModelSpec, "locate", lambda self: Path("/tmp", self.name))):  # fmt: skip
        yield host


def kept_claim(n: int = KILLS, cell: Callable[[], int] = pid_of_a_cell) -> Claim:
    """The engine that stays for the next cell is killed, while it waits and at work: the next cell has a new one.

    Args:
        n: kills of each kind.
        cell: asks one question, sees that it is answered and returns the engine's process.
    """
    wrong: list[str] = []
    with lending() as host:
        for _ in range(n):
            first = cell()
            os.kill(first, signal.SIGKILL)
            host._worker.wait(20)
            with opened() as engine:
                at_work, stream = engine.pid, engine.stream([ask("a"), ask("hang")])
                wrong += ["no answer of a new one"] * (not next(stream).ok or at_work == first)
                os.kill(at_work, signal.SIGKILL)
                lost = list(stream)
                wrong += ["a lost answer is not told"] * (len(lost) != 1 or "SIGKILL" not in lost[0].error)
            last = cell()
            wrong += ["a dead one is lent again"] * (last in (first, at_work))
            wrong += ["it runs on"] * (not gone(first) or not gone(at_work))
    return exactly("kept engine killed: answers of a dead one, lost in silence, or processes that run on", 0,
                   len(wrong), "faults", why="; ".join([f"{2 * n} kills ({SHOWN_BY})", *wrong[:3]]))  # fmt: skip


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of kernels and kept engines; ``quick``: one kernel, two kills."""
    return [*map(kernel_claim, list(KERNELS)[: 1 if quick else None]), kept_claim(1 if quick else KILLS)]
