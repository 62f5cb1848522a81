"""Damaged rows of the store: no command gives out another file's content, or nothing, as if that had been the file's."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from guardd.store.store import Store
from tests.faults.test_store_repair import NAMED
from tests.world import World, snapshot

OLD_OR_NEW = "a restore leaves each file old or new"
_ONE_LINE = "guardctl fsck --repair"


@pytest.fixture
def stored(world: World) -> World:
    """Two versions of a.py, one of b.py, and a snapshot between."""
    world.write("a.py", b"first = 1\n")
    world.write("b.py", b"secret_of_b = 1\n")
    world.ctl("init")
    world.ctl("snapshot", "--label", "whole")
    world.write("a.py", b"second = 2\n")
    world.ctl("snapshot")
    return world


def spoil(world: World, statement: str) -> None:
    with closing(apsw.Connection(str(world.state / "guard.db"))) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(statement)
        assert db.changes()


def first_of_a(world: World) -> int:
    return int(world.versions("a.py")[-1]["seq"])


ANOTHER_FILE_S = """
    UPDATE versions SET blob_id = (SELECT h.blob_id FROM versions h JOIN paths p ON p.head_seq = h.seq WHERE p.path = x'622e7079')
    WHERE seq = {seq}
"""
ANOTHER_OF_ITS_OWN = """
    UPDATE versions SET blob_id = (SELECT h.blob_id FROM versions h JOIN paths p ON p.head_seq = h.seq WHERE p.path = x'612e7079')
    WHERE seq = {seq}
"""
NONE = "UPDATE versions SET blob_id = 1000000 WHERE seq = {seq}"


@pytest.mark.promise(NAMED, "a row that names another content than it did: show, diff and export")
@pytest.mark.parametrize("damage", [ANOTHER_FILE_S, ANOTHER_OF_ITS_OWN, NONE])
def test_what_a_damaged_row_names_is_not_given_out(stored: World, damage: str, tmp_path: Path) -> None:
    seq = first_of_a(stored)
    spoil(stored, damage.format(seq=seq))
    for words in (["show", "a.py", "--version", str(seq)], ["show", "a.py", "--at", "snapshot:1"]):
        refused = stored.ctl(*words, check=1)
        assert refused.stdout == ""
        assert _ONE_LINE in refused.stderr
        assert len([line for line in refused.stderr.splitlines() if line.startswith("guardctl:")]) == 1
    diff = stored.ctl("diff", "--since", "snapshot:1", check=1)
    assert "secret_of_b" not in diff.stdout
    assert "second" not in diff.stdout
    assert _ONE_LINE in diff.stderr
    target = tmp_path / "out"
    exported = stored.ctl("export", str(target), "--at", "snapshot:1", check=1)
    assert snapshot(target) == {"b.py": b"secret_of_b = 1\n"}
    assert _ONE_LINE in exported.stderr


@pytest.mark.promise(OLD_OR_NEW, "a row whose content is gone, or was another file's")
@pytest.mark.parametrize("damage", [ANOTHER_FILE_S, NONE])
def test_a_restore_neither_writes_nor_removes_by_a_damaged_row(stored: World, damage: str) -> None:
    spoil(stored, damage.format(seq=first_of_a(stored)))
    before = snapshot(stored.root)
    said = stored.json("restore", "--since", "snapshot:1", "--yes", "--no-verify", check=1)
    assert [one["path"] for one in said["skipped"]] == ["a.py"]
    assert snapshot(stored.root) == before


@pytest.mark.promise(OLD_OR_NEW, "a damaged row of an adopted version")
def test_what_a_damaged_row_of_a_backup_names_is_neither_shown_nor_restored(world: World) -> None:
    world.write("a.py", b"first = 1\n")
    world.write("b.py", b"secret_of_b = 1\n")
    world.write("a.py.bak", b"backup = 0\n")
    world.ctl("init")
    world.ctl("adopt", "--yes")
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        (seq,) = (one.version.seq for one in store.adopted.of_path(repo.id, "a.py"))
    assert world.ctl("show", "a.py", "--version", str(seq)).stdout == "backup = 0\n"
    spoil(world, f"UPDATE adopted SET blob_id = (SELECT max(blob_id) FROM versions) WHERE seq = {seq}")
    before = snapshot(world.root)
    assert _ONE_LINE in world.ctl("show", "a.py", "--version", str(seq), check=1).stderr
    world.json("restore", "a.py", "--version", str(seq), "--yes", "--no-verify", check=1)
    assert snapshot(world.root) == before
