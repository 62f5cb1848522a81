"""A store that someone made to lead a restore out of the repo, or to take all memory; and who may look into a real one."""

import json
import os
import resource
import stat
from contextlib import closing
from itertools import product

import apsw
import pytest

from guardd.store.adopted import adopted_checksum
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


_ALL_OF = """
    SELECT v.seq, v.kind, coalesce(b.hash, x''), v.mode, v.mtime_ns, v.time_ns, v.origin
    FROM versions v JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id WHERE p.path = ?
"""
_ADOPTED = """
    SELECT a.seq, b.hash, a.mode, a.time_ns, a.adopted_ns, a.source, a.dated_by
    FROM adopted a JOIN blobs b ON b.id = a.blob_id WHERE a.path = ?
"""


def lead_out(world: World, path: bytes, name: bytes) -> None:
    """Have all rows of a path name another one, their checksums right."""
    with closing(apsw.Connection(str(world.state / "guard.db"))) as db:
        for seq, *fields in list(db.execute(_ALL_OF, (path,))):
            db.execute("UPDATE versions SET checksum = ? WHERE seq = ?", (row_checksum(seq, name, *fields), seq))
        for seq, *fields in list(db.execute(_ADOPTED, (path,))):
            checksum = adopted_checksum(seq, name, *fields)
            db.execute("UPDATE adopted SET path = ?, checksum = ? WHERE seq = ?", (name, checksum, seq))
        db.execute("UPDATE paths SET path = ? WHERE path = ?", (name, path))
        db.execute("UPDATE runs SET unrestored = ?", (json.dumps([os.fsdecode(name)]),))


def a_restore(world: World) -> None:
    """One that changed a.py, and made c.py."""
    world.write("c.py", b"c = 1\n")
    world.ctl("snapshot")
    world.write("a.py", b"edited = 1\n")
    (world.root / "c.py").unlink()
    world.ctl("restore", "--since", "snapshot:1", "--yes")


def a_restore_that_was_cut_short(world: World) -> None:
    a_restore(world)
    world.write("a.py", b"edited = 1\n")
    (world.root / "c.py").unlink()
    with closing(apsw.Connection(str(world.state / "guard.db"))) as db:
        db.execute("UPDATE restores SET state = 'applying'")


def a_run(world: World) -> None:
    world.ctl("run", "--", "sh", "-c", "echo edited = 1 > a.py; echo c = 1 > c.py")


def two_backups(world: World) -> None:
    """Of files that are gone, or damaged."""
    world.write("c.py.bak", b"c = 1\n")
    world.write("a.py.bak", b"planted = 1\n")
    world.write("a.py", b"edited = (\n")
    world.ctl("adopt", "--yes")


PUTS_BACK = {
    "undo": (a_restore, ("undo", "--yes")),
    "restore --resume": (a_restore_that_was_cut_short, ("restore", "--resume", "--yes")),
    "run --rollback": (a_run, ("run", "--rollback", "1")),
    "restore --best": (two_backups, ("restore", "--best", "--yes")),
}
"""What is done first, and the command that would then write where the store says."""

_EVERYDAY = {("undo", "../{name}", True), ("restore --best", "../{name}", False)}


@pytest.mark.promise(
    "only inside the repo is written", "rows of restores, runs and adopted versions that lead out, checksums right"
)
@pytest.mark.parametrize(
    ("command", "path", "is_there"),
    [
        one if one in _EVERYDAY else pytest.param(*one, marks=pytest.mark.faults)
        for one in product(PUTS_BACK, ("../{name}", "pkg/../../{name}", "{outside}"), (True, False))
    ],
)
def test_what_would_put_back_a_path_that_leads_out_neither_writes_nor_removes_it(
    world: World, command: str, path: str, is_there: bool
) -> None:
    world.write("a.py", b"planted = 1\n")
    world.write("pkg/b.py", b"b = 1\n")
    world.ctl("init")
    begin, words = PUTS_BACK[command]
    begin(world)
    for name in ("a.py", "c.py"):
        outside = world.root.parent / f"outside_{name}"
        if is_there:
            outside.write_bytes(b"c = 1\n")
        lead_out(world, name.encode(), os.fsencode(path.format(name=outside.name, outside=outside)))
    before = beside(world)
    done = world.ctl(*words, check=None)
    assert "Traceback" not in done.stderr
    assert done.returncode in (1, 2, 3) or "may be older than the disk" in done.stderr, "it says that nothing could be put back"
    assert beside(world) == before


def beside(world: World) -> dict[str, bytes]:
    """What is next to the repo, the store aside."""
    return {path: text for path, text in snapshot(world.root.parent).items() if not path.startswith(("repo/", "state/"))}


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


_TERABYTE = 1 << 40
_ROOM = 512 << 20


def _zeros(count: int) -> bytes:
    """A bomb: so many zero bytes, compressed."""
    compressor = compression.ZstdCompressor()
    part = bytes(1 << 24)
    return b"".join(compressor.compress(part) for _ in range(count >> 24)) + compressor.flush()


LIES = {
    "a bomb under the size of the file": ("codec = 1, frame_id = NULL, data = :bomb", 1 << 28),
    "a bomb that says its size": ("codec = 1, frame_id = NULL, size = 4294967296, data = :bomb", 1 << 32),
    "a bomb that says another size": ("codec = 1, frame_id = NULL, size = 4294967290, data = :bomb", 1 << 32),
    "a bomb as the base of its own delta": ("codec = 2, frame_id = NULL, size = 4294967296, base_id = id, data = :bomb", 1 << 28),
    "a terabyte that is not there": (f"codec = 1, frame_id = NULL, size = {_TERABYTE}", 0),
    "a terabyte of raw bytes": (f"codec = 0, frame_id = NULL, data = x'00', size = {_TERABYTE}", 0),
    "a size below zero, which is no bound": ("codec = 1, frame_id = NULL, size = -2, data = :bomb", 1 << 32),
    "a place a terabyte into its frame": (f"place = {_TERABYTE}", 0),
    "a size of a terabyte within its frame": (f"size = {_TERABYTE}", 0),
    "a bomb for a frame": ("size = 4294967296, place = 0", 1 << 32),
}
"""What is written into the row of a stored content, and how large the bomb is."""


def _lie(world: World, lie: str) -> None:
    change, size = LIES[lie]
    with closing(apsw.Connection(str(world.state / "guard.db"))) as db:
        _, _, hash_, *_ = db.execute(_ROW + "ORDER BY v.seq", (b"a.py",)).fetchone()
        if "frame" in lie:
            assert db.execute("SELECT count(*) FROM blobs WHERE codec = 4 AND hash = ?", (hash_,)).fetchone() == (1,)
        values = {"bomb": _zeros(size), "hash": hash_}
        db.execute(f"UPDATE blobs SET {change} WHERE hash = :hash", values)
        if lie == "a bomb for a frame":
            db.execute("UPDATE frames SET size = 4294967296, data = :bomb", values)


@pytest.mark.promise("errors become a state", "zstd bombs and lying sizes in the store, with 512 MiB of address space")
@pytest.mark.parametrize(
    "lie",
    [one if one == "a size of a terabyte within its frame" else pytest.param(one, marks=pytest.mark.faults) for one in LIES],
)
def test_a_bomb_in_the_store_costs_its_own_content_only(world: World, lie: str) -> None:
    for name in ("a.py", "b.py", *(f"more{number}.py" for number in range(40 * ("frame" in lie)))):
        world.write(name, f"{name[:-3]} = 1\n".encode() * 1000)
    world.ctl("init")
    world.ctl("snapshot")
    for name in ("a.py", "b.py"):
        world.write(name, b"edited = 1\n")
    world.ctl("snapshot")
    _lie(world, lie)
    for words in (
        ["show", "a.py", "--at", "snapshot:1"], ["diff", "--since", "snapshot:1"], ["restore", "--at", "snapshot:1", "--yes"],
        ["export", str(world.root.parent / "exported"), "--at", "snapshot:1"], ["gc"], ["fsck"], ["fsck", "--repair"],
    ):  # fmt: skip
        begun = world.begin_ctl(*words)
        resource.prlimit(begun.pid, resource.RLIMIT_AS, (_ROOM, _ROOM))
        done = begun.finish()
        assert done.returncode in (0, 1), (words, done.returncode, done.stderr)
        assert b"Traceback" not in done.stderr, (words, done.stderr)
    found = snapshot(world.root)
    assert found["a.py"] == b"edited = 1\n"
    assert found["b.py"] == (b"edited = 1\n" if lie == "a bomb for a frame" else b"b = 1\n" * 1000)
