"""The founding incident on real files: a script rewrites them, the daemon dies at once, and everything comes back."""

import subprocess
import time
from pathlib import Path

import pytest
from benchmarks.make_tree import copy_packages, copy_stdlib, make_tree
from tests.world import World, snapshot, some_of

PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "curses", "dbm", "email", "encodings", "html", "http", "importlib", "json",
    "logging", "multiprocessing", "re", "sqlite3", "tomllib", "unittest", "urllib", "wsgiref", "xml", "xmlrpc", "zoneinfo",
)  # fmt: skip


def damage(root: Path) -> None:
    """300 files rewritten by `sed -i`, 20 deleted, 10 born."""
    files = sorted(path for path, content in snapshot(root).items() if path.endswith(".py") and content)
    deleted = files[1 :: len(files) // 25][:20]
    rewritten = sorted(set(files) - set(deleted))[:: len(files) // 320][:300]
    script = "s/^\\(import\\|from\\|def\\|class\\)/# REMOVED_SYNTAX_ERROR: \\1/; $a # REMOVED_SYNTAX_ERROR"
    subprocess.run(["sed", "-i", script, *rewritten], cwd=root, check=True)
    for path in deleted:
        (root / path).unlink()
    for number in range(10):
        (root / f"born_{number}.py").write_text("born = True\n")


def strike_and_return(world: World, timeout_s: float) -> None:
    daemon = world.start(ready=False)
    daemon.wait_ready(timeout_s=timeout_s)
    before = snapshot(world.root)
    ready = f"@{time.time()}"
    damage(world.root)
    daemon.kill()
    after = snapshot(world.root)
    assert sum(before.get(path) != content for path, content in after.items()) == 310
    report = world.json("restore", "--at", ready, "--yes")
    assert snapshot(world.root) == before
    assert len(report["restored"]) == 320
    assert len(report["removed"]) == 10
    assert report["failed"] == report["skipped"] == []
    assert report["verify"]["hash_ok"]
    assert report["verify"]["markers_left"] == 0
    world.ctl("undo", "--yes", "--no-verify")
    assert snapshot(world.root) == after


@pytest.mark.parametrize("whole", some_of([True, False], False), ids=["whole", "a part"])
def test_standard_library_rewritten_and_the_daemon_killed_comes_back_byte_for_byte(world: World, whole: bool) -> None:
    assert copy_stdlib(world.root) > 1500 if whole else copy_packages(world.root, PACKAGES) > 330
    strike_and_return(world, 60)


@pytest.mark.long
def test_25000_files_rewritten_and_the_daemon_killed_come_back_byte_for_byte(world: World) -> None:
    make_tree(world.root, files=25_000, folders=2_600, mean_bytes=1_500, seed=1)
    strike_and_return(world, 120)


@pytest.mark.long
def test_25000_files_of_real_size_come_back_byte_for_byte(world: World) -> None:
    make_tree(world.root, files=25_000, folders=2_600, seed=1)
    strike_and_return(world, 240)
