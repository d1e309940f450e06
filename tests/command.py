"""The command line in this process: what a call of ``llmhar`` does, without the seconds that a new process imports."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from llmhar import cli


def user_of(folder: Path) -> dict[str, str]:
    """The environment of somebody whose checkout, store and reports lie in a folder of their own, and nothing else."""
    root = Path(__file__).parents[1]
    for shared in ("params", "notebooks", "CITATION.cff"):
        (folder / shared).symlink_to(root / shared)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMHAR_")}
    places = {"LLMHAR_HOME": str(folder / "home"), "LLMHAR_REPORTS": str(folder / "reports")}
    return environment | places | {"PYTHONPATH": str(root / "lib"), "TZ": "UTC"}


def call(
    *arguments: object, stdin: str = "", cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``llmhar`` with these arguments; an error that nobody expected is raised, where a process shows a traceback.

    Args:
        arguments: as text, behind the program's name.
        stdin: what it reads.
        cwd: None = the folder of this process.
        env: its whole environment; None = that of this process, which stays as it was in any case.
    """
    words = ["llmhar", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.dict(os.environ, env if env is not None else {}, clear=env is not None),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
