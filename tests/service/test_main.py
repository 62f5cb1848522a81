"""How guardd ends: by its exit code the service manager knows whether trying again may help."""

import os
import subprocess
from pathlib import Path

import apsw
import pytest
from tests import fork_server
from tests.world import PROGRAMS, World, as_text

from guardd.errors import Exit, StoreBusy, StoreDamaged, StoreError, StoreFull, UsageError
from guardd.service.main import code_of
from guardd.store.database import Database


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFull("no space"), Exit.PARTIAL),
        (StoreBusy("in use"), Exit.PARTIAL),
        (StoreDamaged("damaged"), Exit.UNUSABLE),
        (StoreError("too new"), Exit.UNUSABLE),
        (UsageError("wrong"), Exit.USAGE),
    ],
)
def test_what_passes_by_itself_ends_with_a_code_after_which_a_manager_tries_again(error: StoreError, code: Exit) -> None:
    assert code_of(error) is code


def test_a_store_that_others_use_for_long_is_busy_and_still_unusable_for_a_command(tmp_path: Path) -> None:
    path = str(tmp_path / "guard.db")
    other = apsw.Connection(path)
    other.execute("CREATE TABLE a (b); BEGIN IMMEDIATE")
    database = Database(path, patience_s=0)
    with pytest.raises(StoreBusy, match="in use") as raised:
        database.run("BEGIN IMMEDIATE")
    assert raised.value.exit_code is Exit.UNUSABLE
    database.close()
    other.close()


@pytest.mark.parametrize("is_new", [True, False], ids=["a new store", "an old store"])
@pytest.mark.parametrize("what", ["room", "inodes"])
def test_a_disk_that_is_full_at_the_start_is_one_line_and_tried_again(world: World, what: str, is_new: bool) -> None:
    world.write("a.py")
    world.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m,nr_inodes=50,mode=700", "guardtest", str(world.state)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        if not is_new:
            world.start().stop()
            (world.state / "ballast").unlink()  # with it, guardd would start
        fill(world.state, what)
        command = [str(PROGRAMS / "guardd"), "--repo", str(world.root)]
        done = as_text(fork_server.Begun(command, world.env, world.root).finish(30))
    finally:
        subprocess.run(["umount", world.state], check=True)
    assert done.stderr.startswith("guardd: no space left")
    assert done.stderr.count("\n") == 1
    assert done.returncode == Exit.PARTIAL


@pytest.mark.promise("errors become a state", "the disk of the store is mounted read-only when guardd starts")
@pytest.mark.parametrize("is_open_to_others", [True, False])
def test_a_read_only_disk_at_the_start_is_one_line(world: World, is_open_to_others: bool) -> None:
    world.state.mkdir(mode=0o755 if is_open_to_others else 0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"ro,mode={'755' if is_open_to_others else '700'}", "guardtest", str(world.state)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        command = [str(PROGRAMS / "guardd"), "--repo", str(world.root)]
        done = as_text(fork_server.Begun(command, world.env, world.root).finish(30))
    finally:
        subprocess.run(["umount", world.state], check=True)
    assert done.stderr.startswith("guardd: the state dir")
    assert "Read-only" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == Exit.UNUSABLE


def fill(folder: Path, what: str) -> None:
    """Leave no room, or no inode, on a small disk."""
    room = os.statvfs(folder)
    if what == "room":
        (folder / "filler").write_bytes(b"\0" * (room.f_bavail * room.f_frsize))
    for number in range(room.f_favail if what == "inodes" else 0):
        (folder / f"filler{number}").touch()
