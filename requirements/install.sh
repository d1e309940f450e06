#!/usr/bin/env bash
# Makes the virtual environment and installs a lock into it, hashes checked. Does nothing where that stands already.
#   requirements/install.sh [VENV] [LOCK]      PYTHON=/path/to/python3.11 chooses the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv} lock=${2:-requirements/cpu.lock}

python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "llmhar needs Python 3.11, found '${python:-none}': set PYTHON=/path/to/python3.11" >&2
  exit 1
fi

want=$(cat "$lock" requirements/install.sh pyproject.toml | sha256sum | cut -c1-64)
if [ "$(cat "$venv/.installed" 2>/dev/null || true)" = "$want" ]; then
  exit 0
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

sync=("$venv/bin/uv" pip sync --python "$venv/bin/python" --require-hashes "$lock")
# torch's CPU build is not on PyPI. First choice: a find-links folder that pip is configured with; else PyTorch's own.
links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
if [ "$(basename "$lock")" != cpu.lock ]; then  # CUDA's torch is on PyPI
  "${sync[@]}"
  echo "installed $lock"
elif [ -n "$links" ] && UV_FIND_LINKS=$(echo $links | tr ' ' ',') "${sync[@]}"; then
  echo "installed $lock (torch from pip's find-links folder)"
else
  "${sync[@]}" --torch-backend=cpu
  echo "installed $lock (torch from PyTorch's CPU builds)"
fi
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e . 2>/dev/null ||
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps -e .
echo "$want" > "$venv/.installed"
