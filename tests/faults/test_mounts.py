"""Mounts that come and go over and below a running repo: no deletion, no restore into the empty mount point."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_daemon import world_status_elsewhere
from tests.faults.disks import unmount_anyhow
from tests.world import Daemon, World, snapshot, wait_until

FILES = 40


@contextmanager
def mounted(*words: str | Path, at: Path) -> Iterator[None]:
    """Something mounted for as long as the block goes on; the test is skipped where that may not be."""
    if subprocess.run(["mount", *words, at], check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        unmount_anyhow(at)


def filled(world: World, folder: str = "") -> None:
    for number in range(FILES):
        world.write(f"{folder}p{number % 5}/m{number}.py", f"def f{number}(x):\n    return x + {number}\n" * 5)


def wait_hidden(world: World) -> None:
    """Until the daemon says that it does not see the files; its word is the same from elsewhere, the root may be no repo now."""
    wait_until(lambda: "unmounted" in str(world_status_elsewhere(world)["reasons"]), what="it is said")
    assert world_status_elsewhere(world)["state"] == "degraded", [one.lines[-6:] for one in world.daemons]


def refuses_to_restore(world: World) -> None:
    refused = world.ctl("restore", "--since", "1h", "--yes", check=2, cwd=world.root)
    assert "mount it" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def caught_up(world: World, daemon: Daemon) -> None:
    world.write("after.py", "after = 1\n")
    wait_until(lambda: world.heads() == {path: text for path, text in snapshot(world.root).items() if path.endswith(".py")})
    wait_until(lambda: world.status()["state"] == "protected", what="protected again")
    assert world.json("incidents", "list") == []
    assert not daemon.events("incident opened"), daemon.events("incident opened")


@pytest.mark.promise(
    "no false alarm", "an empty file system, or an empty directory, is mounted over a running repo, and unmounted"
)
@pytest.mark.parametrize("kind", [pytest.param("tmpfs", marks=pytest.mark.faults), "bind"])
def test_a_mount_over_a_running_repo_deletes_nothing(world: World, kind: str, tmp_path: Path) -> None:
    filled(world)
    whole = snapshot(world.root)
    world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\n')
    daemon = world.start_configured()
    empty = tmp_path / "empty"
    empty.mkdir()
    words = ("-t", "tmpfs", "guardtest") if kind == "tmpfs" else ("--bind", empty)
    with mounted(*words, at=world.root):
        wait_hidden(world)
        refuses_to_restore(world)
        assert list(world.root.iterdir()) == []
        assert world.heads() == whole
        subprocess.run(["umount", world.root], check=True)
        caught_up(world, daemon)
    assert len(world.versions("p0/m0.py")) == 1


@pytest.mark.faults
@pytest.mark.promise("no false alarm", "a bind mount that is a running repo is unmounted and mounted again")
def test_a_repo_that_is_a_bind_mount_and_is_unmounted_is_not_deleted(world: World, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    with mounted("--bind", real, at=world.root):
        filled(world)
        whole = snapshot(world.root)
        world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\n')
        daemon = world.start_configured()
        subprocess.run(["umount", world.root], check=True)
        wait_hidden(world)
        refuses_to_restore(world)
        assert list(world.root.iterdir()) == []
        assert world.heads() == whole
        (real / "p0/m0.py").write_bytes(b"elsewhere = 1\n")
        with mounted("--bind", real, at=world.root):
            caught_up(world, daemon)
            assert world.heads()["p0/m0.py"] == b"elsewhere = 1\n"


@pytest.mark.promise("no false alarm", "a bind mount in a running repo is unmounted and mounted again, of which no event tells")
@pytest.mark.faults
def test_a_folder_that_is_a_bind_mount_and_is_unmounted_is_not_deleted(world: World, tmp_path: Path) -> None:
    """The kernel says nothing of it as long as the file system is mounted elsewhere: the next scan meets it."""
    real = tmp_path / "real"
    real.mkdir()
    at = world.root / "vendored"
    at.mkdir()
    with mounted("--bind", real, at=at):
        filled(world, "vendored/")
        whole = snapshot(world.root)
        world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\n', about_repo="respect_gitignore = true")
        daemon = world.start_configured()
        subprocess.run(["umount", at], check=True)
        refuses_to_restore(world)
        (world.root / ".gitignore").write_text("# a scan of all\n")
        wait_hidden(world)
        assert list(at.iterdir()) == []
        assert world.heads() == whole
        (real / "p0/m0.py").write_bytes(b"elsewhere = 1\n")
        with mounted("--bind", real, at=at):
            (world.root / ".gitignore").write_text("# another one\n")
            caught_up(world, daemon)
            assert world.heads()["vendored/p0/m0.py"] == b"elsewhere = 1\n"
