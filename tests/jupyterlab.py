"""JupyterLab on loopback, for tests of the widget and for pictures of notebooks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

QUIET = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
"""Settings that everybody has: nothing is fetched, nothing pops up."""


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def jupyterlab(
    folder: Path, work: Path, environment: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[str]:
    """JupyterLab, until the ``with`` is left; yields its address.

    Args:
        folder: where settings, workspaces and the log lie.
        work: what it shows, and where it runs.
        environment: beside this process's own.
        settings: of extensions ("notebook-extension/tracker"), beside :data:`QUIET`.
    """
    for name, said in (QUIET | dict(settings or {})).items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said))
    port = free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--IdentityProvider.token=", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(command, env={**os.environ, **environment}, cwd=work, stdout=log, stderr=log) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.5)
            yield address
        finally:
            server.terminate()  # ends its kernels too
