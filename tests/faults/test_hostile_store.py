"""A store that someone made to lead a restore out of the repo, or to take all memory; and who may look into a real one."""

import os
import stat
from contextlib import closing

import apsw
import pytest

from guardd.store.appending import row_checksum
from guardd.store.codec import BrokenBlob, expand
from guardd.store.codec import zstd as compression
from tests.fork_server import PROGRAMS
from tests.world import World, snapshot

_ROW = """
    SELECT v.seq, v.kind, b.hash, v.mode, v.mtime_ns, v.time_ns, v.origin
    FROM versions v JOIN paths p ON p.id = v.path_id JOIN blobs b ON b.id = v.blob_id WHERE p.path = ?
"""


@pytest.mark.promise("only inside the repo is written", "a store with a path that leads out, its checksum right")
@pytest.mark.parametrize("path", ["../outside.py", "pkg/../../outside.py", "{outside}", "a\0.py", "", ".", "pkg//a.py"])
def test_a_path_that_leads_out_of_the_repo_is_neither_restored_nor_exported(world: World, path: str) -> None:
    world.write("a.py", b"planted = 1\n")
    world.write("b.py", b"b = 1\n")
    world.start().stop()
    world.ctl("snapshot")
    world.write("a.py", b"edited = 1\n")
    outside = world.root.parent / "outside.py"
    name = os.fsencode(path.format(outside=outside))
    with closing(apsw.Connection(str(world.state / "guard.db"))) as db:
        seq, *fields = db.execute(_ROW, (b"a.py",)).fetchone()
        db.execute("UPDATE paths SET path = ? WHERE path = ?", (name, b"a.py"))
        checksum = row_checksum(seq, name, *fields)
        db.execute("UPDATE versions SET checksum = ? WHERE seq = ?", (checksum, seq))
    before = snapshot(world.root.parent / "repo")
    beside = set(os.listdir(world.root.parent))
    target = world.root.parent / "exported"
    for words in (
        ["restore", "--at", "snapshot:1", "--keep-new", "--yes"],
        ["export", str(target), "--at", "1s"],
        ["log"],
        ["diff", "--since", "1h"],
    ):
        done = world.ctl(*words, check=None)
        assert "Traceback" not in done.stderr, (words, done.stderr)
    assert snapshot(world.root) == before
    assert set(os.listdir(world.root.parent)) <= beside | {"exported"}
    assert not outside.exists()
    exported = {file for file in target.rglob("*") if file.is_file()} if target.exists() else set()
    assert {str(file.relative_to(target)) for file in exported} <= {"a.py", "b.py"}


@pytest.mark.promise("errors become a state", "facts that expand to a quarter of a gigabyte")
def test_a_bomb_among_the_facts_is_given_up_early() -> None:
    bomb = compression.compress(b"\0" * (1 << 28))
    assert len(bomb) < 1 << 16
    with pytest.raises(BrokenBlob, match="far too long"):
        expand(bomb)
    with pytest.raises(BrokenBlob, match="cut off"):
        expand(compression.compress(b"whole")[:-1])


@pytest.mark.promise("nobody else reads the store", "a umask of 000")
def test_nobody_else_can_look_into_the_state_dir_or_swap_it(world: World) -> None:
    world.state = world.root.parent / "made" / "by" / "guard"
    world.env["GUARD_STATE_DIR"] = str(world.state)
    world.write("a.py")
    daemon = world.start_command(["sh", "-c", f"umask 000; exec {PROGRAMS}/guardd --repo {world.root}"])
    world.write("a.py", b"x = 2\n")
    world.wait_captured("a.py", b"x = 2\n")
    found = [world.root.parent / "made", world.root.parent / "made" / "by", world.state, *world.state.rglob("*")]
    open_to_others = [path for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    daemon.stop()
    assert len(found) > 5
    assert open_to_others == []
