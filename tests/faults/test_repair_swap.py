"""A repair puts another database in the place of the damaged one: killed at each step, with others just about to open it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from guardd.errors import StoreBusy
from guardd.store import salvage
from guardd.store.database import Database
from guardd.store.lock import daemon_lock
from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults.test_store_repair import NAMED, Killed, contents_by_place
from tests.store.test_adopted import Kept
from tests.world import World, snapshot, wait_until

LAST = b"in the log alone = 1\n"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A store as a kill leaves it, its newest version in the WAL alone; its files hold each version once."""
    (tmp_path / "live").mkdir(mode=0o700)
    made = Kept(tmp_path / "live")
    made.store.db.run("PRAGMA wal_checkpoint(TRUNCATE)")
    made.write("y.py", LAST)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name in ("guard.db", "guard.db-wal"):
        shutil.copy2(tmp_path / "live" / name, state / name)
    made.store.close()
    return state


@pytest.fixture
def before(left: Path, tmp_path: Path) -> dict[int, bytes]:
    shutil.copytree(left, tmp_path / "copy")
    with Store(str(tmp_path / "copy")) as store:
        found = contents_by_place(store)
    assert LAST in found.values()
    return found


def renaming(monkeypatch: pytest.MonkeyPatch, at: int, what: Any) -> Iterator[int]:
    """Do something before the rename with this number; the numbers as they come."""
    count = 0
    rename = os.rename

    def counted(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            what()
        rename(source, target)

    monkeypatch.setattr(salvage.os, "rename", counted)
    while True:
        yield count


def kill() -> None:
    raise Killed


@pytest.mark.promise(NAMED, "a repair killed before each rename of its swap, a WAL beside the database")
@pytest.mark.parametrize("step", range(1, 6))
def test_a_swap_that_is_killed_is_completed_and_no_wal_meets_another_database(
    left: Path, before: dict[int, bytes], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "close", _leaving_the_wal(Database.close, left))
    with monkeypatch.context() as patched:
        count = renaming(patched, step, kill)
        next(count)
        try:
            salvage.rebuild(str(left))
        except Killed:
            pass
        else:
            assert step > next(count), "it was not killed because it has fewer steps"
    with Store(str(left)) as store:
        assert contents_by_place(store) == before
        assert list(check(store)) == []
    asides = [path for path in left.iterdir() if ".damaged-" in path.name and not path.name.endswith(("-wal", "-shm"))]
    assert len(asides) == (step > 1)
    for aside in asides:
        assert aside.with_name(aside.name + "-wal").exists()
        database = apsw.Connection(str(aside))
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {seq for (seq,) in database.execute("SELECT seq FROM versions")}
        database.close()
        assert found == set(before)


def _leaving_the_wal(close: Any, state: Path) -> Any:
    """The last connection takes the WAL with it; another one, from before a repair closes its own, keeps it there."""
    others = []

    def closing(self: Database) -> None:
        if self.path == str(state / "guard.db") and not others:
            other = apsw.Connection(self.path)
            other.execute("SELECT count(*) FROM versions").fetchall()
            others.append(other)
        close(self)

    return closing


@pytest.mark.promise(NAMED, "a repair swaps databases while another process has opened the one and not yet its WAL")
@pytest.mark.parametrize("has_wal", [pytest.param(False, marks=pytest.mark.faults), True])
@pytest.mark.parametrize("step", range(1, 6))
def test_who_opens_the_store_in_the_midst_of_a_swap_does_not_write_into_the_new_one(
    left: Path, before: dict[int, bytes], step: int, has_wal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_wal:
        monkeypatch.setattr(Database, "close", _leaving_the_wal(Database.close, left))
    run = Database.run
    swapped = []

    def swapping(self: Database, sql: str, values: Any = ()) -> int:
        """The first statement on it opens the WAL, by its name."""
        if self.path == str(left / "guard.db") and not swapped:
            swapped.append(True)
            with monkeypatch.context() as patched:
                patched.setattr(Database, "run", run)
                next(renaming(patched, step + 1, kill))
                with suppress(Killed):  # after so many renames, or at the end
                    salvage.rebuild(str(left))
        return run(self, sql, values)

    monkeypatch.setattr(Database, "run", swapping)
    try:
        store = Store(str(left))
    except StoreBusy:
        pass
    else:
        assert step == 1, "nothing but the name of the new one was changed so far"
        store.close()
    assert swapped
    with Store(str(left)) as store:
        assert contents_by_place(store) == before
        assert list(check(store)) == []


@pytest.mark.promise("errors become a state", "a daemon waits for a repair that is killed in mid-swap")
@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.faults), 3, pytest.param(9, marks=pytest.mark.faults)])
def test_a_daemon_that_waited_for_a_repair_completes_it(world: World, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the new database is being made, when all is still in its old place."""
    world.write("a.py", b"a = 1\n")
    world.ctl("init")
    world.ctl("snapshot")
    world.write("a.py", b"a = 2\n")
    world.ctl("snapshot")
    started = []
    copy = salvage._copy

    def copying(path: str, new: Database) -> int:
        rows = copy(path, new)
        daemon = world.start(ready=False)
        started.append(daemon)
        lock = daemon_lock(str(world.state)).path
        wait_until(lambda: lock in _open_files(daemon.process.pid), what="the daemon waits for the lock")
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(salvage, "_copy", copying)
        next(renaming(patched, step, kill))
        with suppress(Killed):
            salvage.rebuild(str(world.state))
    (daemon,) = started
    daemon.wait_ready()
    world.write("a.py", b"a = 3\n")
    world.wait_captured("a.py", b"a = 3\n")
    assert len(world.versions("a.py")) == 3
    assert world.heads() == snapshot(world.root)
    assert world.status()["state"] == "protected"


def _open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found
