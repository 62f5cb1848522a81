"""What a hostile tree puts where guard reads about it: nothing there stops capture, detection or a restore."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guardd.detection.benign.git import GitEvidence, Held
from guardd.regular import read_regular
from tests.world import World, wait_until

PLACES = (".gitignore", ".git", ".git/info/exclude", ".git/index", ".gitattributes", "pyproject.toml")


@pytest.mark.promise("errors become a state", "a FIFO where guard reads about the tree")
@pytest.mark.parametrize("place", [p if p in PLACES[:1] else pytest.param(p, marks=pytest.mark.faults) for p in PLACES])
def test_a_fifo_where_guard_reads_about_the_tree_stops_nothing(world: World, place: str) -> None:
    subprocess.run(["git", "init", "-q"], cwd=world.root, check=True)
    target = world.root / place
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    target.parent.mkdir(exist_ok=True)
    os.mkfifo(target)
    whole = b"def f():\n    return 1\n\n\nx = f()\n"
    for number in range(10):
        world.write(f"m{number}.py", whole)
    world.configure("", "respect_gitignore = true")
    daemon = world.start_configured()
    for number in range(10):
        world.write(f"m{number}.py", b"# REMOVED_SYNTAX_ERROR: def f():\n")
    wait_until(lambda: daemon.events("incident opened"), what="the incident is seen")
    world.ctl("restore", "m1.py", "--since", "1m", "--yes", "--no-verify")
    assert (world.root / "m1.py").read_bytes() == whole


@pytest.mark.promise("errors become a state", "alternates of git that lead in a circle")
def test_alternates_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    objects = tmp_path / ".git/objects"
    rings = [objects, *(tmp_path / f"ring{number}" for number in range(8))]
    for ring in rings:
        (ring / "info").mkdir(parents=True, exist_ok=True)
        (ring / "info/alternates").write_text("".join(f"{one}\n" for one in rings))
    assert GitEvidence(str(tmp_path)).holds("a.py", lambda: b"x = 1\n", 0, 6) is Held.NO


@pytest.mark.promise("errors become a state", "a device, and a file without an end")
def test_only_the_beginning_of_a_regular_file_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "endless", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert len(read_regular(str(tmp_path / "endless"), 5000)) == 5000
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(str(tmp_path / "zero"), 5000)


@pytest.mark.promise("bad input gets one clear line", "FIFOs and endless files where hooks are to be installed")
@pytest.mark.parametrize("place", [".claude/settings.json", ".pre-commit-config.yaml", ".git/hooks/pre-commit"])
def test_a_fifo_where_a_hook_is_to_be_added_is_told_in_one_line(world: World, place: str) -> None:
    subprocess.run(["git", "init", "-q"], cwd=world.root, check=True)
    world.ctl("init")
    target = world.root / place
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    os.mkfifo(target)
    kind = {".claude": "claude-code", ".git": "git"}.get(Path(place).parts[0], "pre-commit")
    for option in ("--install", "--uninstall"):
        done = world.ctl("hook", kind, option, check=None)
        assert (done.returncode == 2 and "not a regular file" in done.stderr) if kind != "git" else done.returncode in (0, 1)
        assert len(done.stderr.splitlines()) <= 1
    if kind != "git":
        target.unlink()
        with open(target, "wb") as file:
            file.truncate(1 << 33)
        assert "larger than" in world.ctl("hook", kind, "--install", check=2).stderr
        assert target.stat().st_size == 1 << 33, "and stays as it is"
