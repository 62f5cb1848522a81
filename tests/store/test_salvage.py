"""A database that SQLite itself refuses: fsck --repair builds it anew from all that can be read."""

import os
import random
from pathlib import Path

import apsw
import pytest
from benchmarks.make_tree import copy_packages
from tests.world import World, snapshot

from guardd.store.lock import acquire_daemon_lock


@pytest.fixture
def stored(world: World) -> World:
    assert copy_packages(world.root) > 100
    world.start().stop()
    for path in sorted(world.root.rglob("*.py"))[:100]:
        path.write_bytes(path.read_bytes() + b"\nedited = True\n")
    world.json("log", "--limit", "1")
    return world


def scribble(database: Path, seed: int, *, where: str) -> None:
    """Overwrite the start of some pages in use with noise (the middle of a page may be free space, which harms nobody)."""
    with apsw.Connection(str(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the log may hold sound copies of those pages
        used = [number for (number,) in db.execute("SELECT pageno FROM dbstat WHERE pageno > 1 ORDER BY pageno")]
    chance = random.Random(seed)
    pages = [1] if where == "header" else chance.sample(used[:30] if where == "tables" else used, 4)
    with database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(chance.randbytes(64 + chance.randrange(0, 100)))


@pytest.mark.parametrize(
    ("where", "seed"),
    [
        ("anywhere", 1),
        pytest.param("anywhere", 2, marks=pytest.mark.long),
        ("anywhere", 3),
        pytest.param("anywhere", 4, marks=pytest.mark.long),
        ("tables", 5),
        pytest.param("tables", 6, marks=pytest.mark.long),
        pytest.param("tables", 7, marks=pytest.mark.long),
        ("header", 8),
    ],
)
def test_a_scribbled_database_is_built_anew_and_guards_again(stored: World, where: str, seed: int) -> None:
    scribble(stored.state / "guard.db", seed, where=where)
    assert "fsck --repair" in stored.ctl("fsck", check=1).stdout
    repaired = stored.ctl("fsck", "--repair", check=0).stdout
    assert "repaired" in repaired
    assert "is sound" in stored.ctl("fsck").stdout
    if "built anew" in repaired:
        assert list(stored.state.glob("guard.db.damaged-*")), "what was damaged is kept aside, never thrown away"
    stored.start().stop()  # what was lost and is still on disk comes back with the next scan
    assert stored.heads() == snapshot(stored.root)
    if where == "anywhere":
        assert stored.status()["versions"] > 120, "most of it was whole"


def test_what_comes_back_after_its_names_were_lost_is_nothing_that_a_restore_removes(stored: World) -> None:
    database = stored.state / "guard.db"
    with apsw.Connection(str(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = [page for (page,) in db.execute("SELECT pageno FROM dbstat WHERE name = 'paths'")]
    with database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)
    repaired = stored.ctl("fsck", "--repair").stdout
    assert "versions could not be saved" in repaired
    assert len(repaired.splitlines()) < 60, "the first of them are named, all with -v"
    stored.start().stop()
    assert stored.heads() == snapshot(stored.root)
    before = snapshot(stored.root)
    stored.ctl("restore", "--since", "1h", "--yes")
    assert snapshot(stored.root) == before


def test_a_database_is_not_built_anew_under_a_running_daemon(stored: World) -> None:
    scribble(stored.state / "guard.db", 6, where="tables")
    with acquire_daemon_lock(str(stored.state)):
        refused = stored.ctl("fsck", "--repair", check=4).stderr
    assert f"pid {os.getpid()}" in refused
    assert "stop it" in refused
