"""Licences of everything that is locked, and its known vulnerabilities. Reads installed metadata; pip-audit asks OSV.

Licences come from each package's own metadata (License-Expression, classifiers, License, in this order): what an author
declares, else what the text of its licence file is; no legal advice. pip-audit runs apart (uvx) and asks the
vulnerability database OSV, not the package registry; where it cannot be reached the claim is "not measured".
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from llmhar import paths
from llmhar.ask.models import load_models

COPYLEFT = re.compile(r"GPL|GNU|MPL|Mozilla|EPL|EUPL|CDDL|CC-BY-SA|CC-BY-NC|SSPL|Eclipse|copyleft", re.IGNORECASE)
AUDITOR = "pip-audit==2.10.1"
NO_NETWORK = "no network here"
_OFFLINE = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|dns error|error sending request|Failed to fetch"
                      r"|resolve host|Connection refused|unreachable|no route", re.IGNORECASE)  # fmt: skip
"""What the auditor, and uvx that brings it, say where nothing outside can be reached."""
EXCEPTIONS_FILE = "requirements/audit-exceptions.toml"
_TEXTS = {
    "GNU AFFERO GENERAL PUBLIC LICENSE": "AGPL-3.0", "GNU LESSER GENERAL PUBLIC LICENSE": "LGPL",
    "GNU GENERAL PUBLIC LICENSE": "GPL", "Apache License Version 2.0": "Apache-2.0",
    "Permission is hereby granted, free of charge": "MIT", "Redistribution and use in source and binary": "BSD",
}  # fmt: skip
"""Opening words of a licence's text -> its name, the strictest first."""
_AFFERO = re.compile(rb"GNU Affero General Public License|AGPL-3", re.IGNORECASE)


class Licence(NamedTuple):
    """One locked package."""

    name: str
    version: str
    licence: str
    """As its metadata says; "unknown" where it says nothing; "not installed" where it is for other systems."""


def locked(lock: Path | None = None) -> dict[str, str]:
    """Name -> version of each line of a lock."""
    text = (lock or paths.root() / "requirements" / "cpu.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text, flags=re.MULTILINE))


def licence_of(name: str) -> str:
    """What an installed package's metadata declares, in one short line."""
    try:
        found: Any = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    if found.get("License-Expression"):
        return str(found["License-Expression"])
    kinds = [str(c).rpartition(" :: ")[2] for c in found.get_all("Classifier") or [] if str(c).startswith("License ::")]
    kinds = [kind for kind in kinds if kind != "OSI Approved"]
    lines = [line.strip() for line in str(found.get("License") or "").splitlines() if line.strip()]
    said = "; ".join(kinds) or (lines[0][:60] if lines else "")
    return said if said and said.upper() != "UNKNOWN" else _by_file(name)


def _by_file(name: str) -> str:
    """The licence that a package's own licence file is, by its opening words."""
    named = [f for f in importlib.metadata.files(name) or [] if re.match(r"(?i)LICEN[CS]E|COPYING", f.name)]
    for file in named:
        place = Path(str(file.locate()))
        text = " ".join(place.read_text(encoding="utf-8", errors="replace")[:3000].split()) if place.is_file() else ""
        for words, licence in _TEXTS.items():
            if words in text:
                return f"{licence} (by its file)"
    return "unknown"


def list_licences(lock: Path | None = None) -> list[Licence]:
    """All packages of the lock."""
    return [Licence(name, version, licence_of(name)) for name, version in sorted(locked(lock).items())]


def licence_counts(licences: list[Licence]) -> Counter[str]:
    """Packages by licence, spellings of one licence together."""
    return Counter(_family(one.licence) for one in licences)


def _family(licence: str) -> str:
    for pattern, family in ((r"Affero|AGPL", "AGPL"), (r"Lesser|LGPL", "LGPL"), (r"GPL|General Public", "GPL"),
                            (r"Mozilla|MPL", "MPL-2.0"), (r" AND | OR |;", "several"), (r"Apache", "Apache-2.0"),
                            (r"BSD", "BSD"), (r"MIT|Expat", "MIT"), (r"Python|PSF", "PSF-2.0"), (r"ISC", "ISC"),
                            (r"NVIDIA|Proprietary", "proprietary")):  # fmt: skip
        if re.search(pattern, licence, re.IGNORECASE):
            return family
    return licence


def affero_files(package: str) -> int:
    """Python files of an installed package whose first lines put them under AGPL-3.0."""
    files = importlib.metadata.files(package) or []
    here = [Path(str(file.locate())) for file in files if file.suffix == ".py"]
    return sum(bool(_AFFERO.search(file.read_bytes()[:2500])) for file in here if file.is_file())


def model_licences() -> list[tuple[str, str]]:
    """(model, licence) of params/models.yaml and of fusion's encoders."""
    from llmhar.fusion.encoders.weights_files import WEIGHTS

    models = {name: spec.licence for name, spec in load_models().items() if spec.kind in ("llm", "encoder")}
    models |= {name: weights.licence for name, weights in WEIGHTS.items()}
    return [(name, licence or "unknown") for name, licence in models.items()]


class Exceptions(NamedTuple):
    """The dated list of vulnerabilities that are accepted for a while."""

    open: dict[str, str]
    """Id -> reason, still valid."""
    expired: list[str]


def read_exceptions(file: Path | None = None, today: datetime.date | None = None) -> Exceptions:
    """Read the exception list.

    Raises:
        ValueError: an entry without id, package, reason or date, or more than half a year ahead.
    """
    file, today = file or paths.root() / EXCEPTIONS_FILE, today or datetime.date.today()
    valid, expired = {}, []
    for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("exception", []):
        if set(entry) != {"id", "package", "reason", "until"} or not isinstance(entry["until"], datetime.date):
            raise ValueError(f"{file}: need id, package, reason and until (a date) in each entry, got {entry}")
        if entry["until"] > today + datetime.timedelta(days=184):
            raise ValueError(f"{file}: {entry['id']} is excepted until {entry['until']}: at most half a year")
        if entry["until"] < today:
            expired.append(f"{entry['id']} ({entry['package']}, until {entry['until']})")
        else:
            valid[entry["id"]] = entry["reason"]
    return Exceptions(valid, expired)


class Audit(NamedTuple):
    """What pip-audit found."""

    n_packages: int | None
    """None: it could not run."""
    found: list[str]
    """"package version: id" of each vulnerability that no exception covers."""
    why: str = ""


def audit(lock: Path | None = None, exceptions: Exceptions | None = None) -> Audit:
    """Ask OSV about every locked package."""
    runner = shutil.which("uvx") or str(Path(sys.executable).with_name("uvx"))
    file = str(lock or paths.root() / "requirements" / "cpu.lock")
    command = [runner, AUDITOR, "-s", "osv", "--disable-pip", "--progress-spinner", "off", "-f", "json",
               "--timeout", "15", "-r", file]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Audit(None, [], f"{AUDITOR} cannot run: {error}"[:200])
    known = exceptions or read_exceptions()
    online = read_audit(done.stdout, done.stderr, known)
    return online if online.n_packages is not None else (local_audit(locked(lock), known) or online)


def local_audit(packages: Mapping[str, str], exceptions: Exceptions, name: str = "safety_db") -> Audit | None:
    """The same by the advisories that an installed package holds, whose date the row names; None where there is none.

    Args:
        packages: name -> version.
        exceptions: what may be there.
        name: of the package, with ``insecure_full.json`` in it.
    """
    spec = importlib.util.find_spec(name)
    file = Path(spec.origin).with_name("insecure_full.json") if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    known = {canonicalize_name(key): rows for key, rows in json.loads(file.read_text(encoding="utf-8")).items()}
    found = [
        f"{package} {version}: {row['cve'] or row['id']}"
        for package, version in packages.items()
        for row in known.get(canonicalize_name(package), ())
        if any(SpecifierSet(versions).contains(version, prereleases=True) for versions in row["specs"])
        and not {row["id"], row["cve"]} & set(exceptions.open)
    ]
    return Audit(len(packages), found, f"{NO_NETWORK}: by the advisories of {name} {importlib.metadata.version(name)}")


def read_audit(stdout: str, stderr: str, exceptions: Exceptions) -> Audit:
    """pip-audit's JSON, without what the exceptions cover; skipped packages are no clean ones and are not counted."""
    try:
        rows = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = [line for line in stderr.splitlines() if line.strip()] or ["no output"]
        last = " ".join(lines[-1].split())[:200]
        return Audit(None, [], f"{NO_NETWORK}: {last}" if _OFFLINE.search(stderr) else last)
    asked = [row for row in rows if "vulns" in row]
    found = [
        f"{row['name']} {row['version']}: {vulnerability['id']}"
        for row in asked
        for vulnerability in row["vulns"]
        if not {vulnerability["id"], *vulnerability.get("aliases", [])} & set(exceptions.open)
    ]
    skipped = [row["name"] for row in rows if "vulns" not in row]
    return Audit(len(asked), found, f"skipped: {', '.join(skipped)}" if skipped else "")
