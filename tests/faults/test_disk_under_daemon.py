"""The disk of the repo alone, or of the store alone, fails under a running daemon: it says so, and goes on when it is over."""

import subprocess
from pathlib import Path

import pytest

from guardd.store.soundness import check
from guardd.store.store import Store
from tests.e2e.test_daemon import world_status_elsewhere
from tests.e2e.test_full_disk import fill
from tests.faults.disks import disk, small_disk, unmount_anyhow
from tests.world import World, snapshot, wait_until

FILES = 20
AUTO_RESTORE = '[response]\nsettle = "0.1s"\nauto_restore = "all"\n'


def filled(world: World) -> dict[str, bytes]:
    for number in range(FILES):
        world.write(f"p{number % 4}/m{number}.py", f"def f{number}(x):\n    return x + {number}\n" * 300)
    return snapshot(world.root)


def damage(world: World) -> None:
    """In place and no longer than before: it goes on where the disk is full."""
    for path in sorted(world.root.rglob("m*.py")):
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write((b"# REMOVED_SYNTAX_ERROR: \n" * (len(content) // 25 + 1))[: len(content)])


@pytest.mark.promise("no false alarm", "the disk of the repo fails every call under the daemon, and comes back")
@pytest.mark.faults
def test_a_repo_whose_disk_fails_is_no_deletion_and_is_caught_up_with(tmp_path: Path) -> None:
    with disk(tmp_path) as failing:
        world = World(tmp_path / "world", root=failing.mounted_at / "repo")
        try:
            whole = filled(world)
            world.configure(AUTO_RESTORE)
            daemon = world.start_configured()
            subprocess.run(["sync", "-f", world.root], check=True)
            failing.cut_power()
            looked = world.ctl("snapshot", check=None)
            assert "Traceback" not in looked.stderr
            assert world.heads() == whole
            unmount_anyhow(failing.mounted_at)
            wait_until(lambda: "root-missing" in str(world_status_elsewhere(world)["reasons"]), 60, "it is said")
            assert failing.mount()
            world.write("p0/m0.py", "after = 1\n")
            wait_until(lambda: world.heads() == python_of(world), 60, "caught up")
            wait_until(lambda: world.status()["state"] == "protected", 60, "it recovers without a hand")
            assert world.json("incidents", "list") == []
            assert daemon.stop() == 0
        finally:
            world.close()


def python_of(world: World) -> dict[str, bytes]:
    return {path: content for path, content in snapshot(world.root).items() if path.endswith(".py")}


@pytest.mark.promise(
    "a restore leaves each file old or new", "the daemon restores into a repo without any room, which comes back"
)
@pytest.mark.faults
def test_an_auto_restore_without_room_tears_nothing_and_is_done_when_there_is_some(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as folder:
        world = World(tmp_path / "world", root=folder / "repo")
        try:
            whole = filled(world)
            world.configure(AUTO_RESTORE)
            daemon = world.start_configured()
            filler = fill(folder, 0)
            damage(world)
            damaged = snapshot(world.root)
            wait_until(lambda: "is full" in str(world.incidents()), what="it is said why nothing is restored")
            wait_until(lambda: world.status()["state"] == "degraded", what="and that something waits for room")
            [reason] = world.status()["reasons"]
            assert reason.startswith(f"auto-restore-waits: incident 1: the disk of {world.root} is full; free "), reason
            first = world.versions("p0/m0.py")[-1]["seq"]
            assert world.ctl_bytes("show", "p0/m0.py", "--version", str(first)) == whole["p0/m0.py"]
            assert all(content in (whole[path], damaged[path]) for path, content in snapshot(world.root).items())
            filler.unlink()
            wait_until(lambda: snapshot(world.root) == whole, 60, "it recovers without a hand")
            wait_until(lambda: daemon.events("auto-restored"))
            assert len(daemon.events("auto-restored")) == 1, "no round was spent in vain"
            wait_until(lambda: world.status()["state"] == "protected", what="nothing waits any more")
        finally:
            world.close()


@pytest.mark.promise("errors become a state", "the repo is mounted read-only while a restore is asked for")
@pytest.mark.faults
def test_a_restore_into_a_repo_that_is_read_only_says_so_and_works_when_it_is_not(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        world = World(tmp_path / "world", root=folder / "repo")
        try:
            whole = filled(world)
            world.configure("")
            daemon = world.start_configured()
            taken = world.json("snapshot")["id"]
            damage(world)
            damaged = snapshot(world.root)
            wait_until(lambda: world.heads() == damaged)
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            words = ("restore", "--at", f"snapshot:{taken}", "--yes")
            refused = world.ctl(*words, check=None)
            assert refused.returncode in (1, 2, 4), refused
            assert "read-only" in refused.stdout + refused.stderr
            assert "Traceback" not in refused.stderr
            assert snapshot(world.root) == damaged
            assert world.status()["state"] == "protected", "it can be read, so it is kept"
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
            world.ctl(*words)
            assert snapshot(world.root) == whole
            wait_until(lambda: world.heads() == whole)
            assert daemon.stop() == 0
        finally:
            world.close()


@pytest.mark.promise("errors become a state", "the disk of the store turns read-only, or fails every call, under the daemon")
@pytest.mark.faults
@pytest.mark.parametrize("fault", ["read-only", "EIO"])
def test_a_store_whose_disk_fails_is_never_green_and_the_next_daemon_makes_up_for_it(fault: str, tmp_path: Path) -> None:
    with disk(tmp_path) as failing:
        world = World(tmp_path / "world", state=failing.mounted_at / "state")
        try:
            whole = filled(world)
            world.configure("")
            daemon = world.start_configured()
            (failing.refuse_writes if fault == "read-only" else failing.cut_power)()
            damage(world)
            wait_until(
                lambda: daemon.process.poll() is not None or any(one["state"] == "degraded" for one in daemon.events("state")),
                60, "it says so, or ends",
            )  # fmt: skip
            status = world.ctl("status", check=None)
            assert status.returncode != 0, status
            assert "Traceback" not in status.stderr
            if fault == "read-only":
                assert world.ctl_bytes("show", "p0/m0.py", "--version", "1") in whole.values()
            daemon.process.send_signal(15)
            assert daemon.process.wait(15) in (0, 1, 4)
            unmount_anyhow(failing.mounted_at)
            assert failing.mount()
            with Store(str(world.state)) as store:
                assert list(check(store)) == []
            world.start_configured()
            wait_until(lambda: world.heads() == snapshot(world.root), what="caught up")
        finally:
            world.close()


@pytest.mark.promise("no acknowledged version is lost", "every file of the repo fails to open while it is captured")
@pytest.mark.faults
def test_what_a_failing_disk_does_not_give_is_neither_deleted_nor_empty(tmp_path: Path) -> None:
    with disk(tmp_path) as failing:
        world = World(tmp_path / "world", root=failing.mounted_at / "repo")
        world.configure("")
        whole = filled(world)
        world.ctl("init")
        world.ctl("snapshot")
        damage(world)
        changed = snapshot(world.root)
        failing.unmount()
        assert failing.mount()
        for path in world.root.rglob("*"):  # names and times are known by then, contents are not
            path.stat()
        failing.cut_power()
        said = world.ctl("snapshot", check=None)
        assert "Traceback" not in said.stderr
        assert said.stderr.startswith("guardctl: ")
        assert world.heads() == whole
        failing.unmount()
        assert failing.mount()
        assert snapshot(world.root) == changed
        world.ctl("snapshot")
        assert world.heads() == changed
        assert len(world.versions("p0/m0.py")) == 2, "no deletion in between"
        failing.unmount()
