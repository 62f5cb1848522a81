"""The package and its locks."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import guardd

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())


def test_the_wheel_holds_the_package_typed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=TOP, check=True, capture_output=True
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
        names = wheel.namelist()
        metadata = Parser().parsestr(wheel.read(next(name for name in names if name.endswith("METADATA"))).decode())
    assert "guardd/py.typed" in names
    release = f"guardd-{guardd.__version__}"
    assert {name.split("/")[0] for name in names} == {"guardd", f"{release}.dist-info", f"{release}.data"}
    shared = {name.removeprefix(f"{release}.data/data/") for name in names if name.startswith(f"{release}.data/")}
    pages = {"share/man/man1/guardctl.1", "share/man/man5/guardd.toml.5", "share/man/man8/guardd.8"}
    assert {name for name in shared if "/man/" in name} == pages
    assert metadata["Version"] == guardd.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    for unit in (TOP / "systemd").iterdir():
        assert (tmp_path / "installed" / "guardd" / "service" / "templates" / unit.name).read_text() == unit.read_text()
    command = [sys.executable, "-m", "guardd.cli", "service", "install", "--dry-run"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "XDG_CONFIG_HOME": str(tmp_path)}
    shown = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout
    assert f"ExecStart={Path(sys.executable).parent / 'guardd'} " in shown, "an installed package has its units with it"


def test_both_programs_are_installed() -> None:
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    assert callable(scripts["guardd"].load())
    assert callable(scripts["guardctl"].load())


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock"])
def test_a_lock_pins_and_hashes_every_dependency_and_names_no_index(name: str) -> None:
    text = (TOP / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    pinned = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)  # some twice: for older and for newer Pythons
    wanted = {re.split(r"[><=; ]", line)[0].replace(".", "-") for line in PROJECT["project"]["dependencies"]}
    assert wanted | {"hatchling", "editables"} <= set(pinned)
    assert len(re.findall(r"^[a-z0-9-]+==.*\\$", text, re.MULTILINE)) == len(pinned), "each has hashes"


def test_every_module_says_what_it_is_for() -> None:
    for path in (TOP / "daemon" / "guardd").rglob("*.py"):
        assert path.read_text().startswith('"""'), path
