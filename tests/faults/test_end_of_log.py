"""A damaged frame of the write-ahead log ends it for SQLite: the commits behind it are gone, but not without a word."""

import os
import random
import threading
from pathlib import Path

import apsw
import pytest

from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults import seeds
from tests.faults.damaging import PAGE, Template, make_template
from tests.faults.test_store_repair import NAMED
from tests.world import World

_FRAME = 24 + PAGE
SAID = "at the end of its log cannot be read"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


def said_of(state: Path) -> bool:
    with Store(str(state)) as store:
        return any(SAID in damage.what for damage in check(store))


@pytest.mark.promise(NAMED, "a bit of the content of a frame of the write-ahead log")
@pytest.mark.parametrize("seed", seeds(3, 60))
def test_commits_behind_a_damaged_frame_are_missed(template: Template, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    state = tmp_path / "state"
    template.copy(state)
    log = state / "guard.db-wal"
    content = bytearray(log.read_bytes())
    frames = (len(content) - 32) // _FRAME
    assert frames > 20
    frame = chance.randrange(frames)
    place = 32 + frame * _FRAME + chance.choice([chance.randrange(16, 24), chance.randrange(24, _FRAME)])
    content[place] ^= 1 << chance.randrange(8)
    log.write_bytes(content)
    with Store(str(state)) as store:
        found = [damage.what for damage in check(store)]
    assert any(SAID in what for what in found)
    assert not said_of(state), "what was lost is lost: it is said once"


@pytest.mark.promise("no false alarm", "a log of which the last transaction never ended, over an older and longer one")
@pytest.mark.parametrize("cut", seeds(2, 20))
def test_a_transaction_that_never_ended_is_no_damage(template: Template, tmp_path: Path, cut: int) -> None:
    state = tmp_path / "state"
    template.copy(state)
    assert not said_of(state)
    template_log = template.state / "guard.db-wal"
    log = state / "guard.db-wal"
    (state / "guard.db").write_bytes((template.state / "guard.db").read_bytes())
    log.write_bytes(template_log.read_bytes()[: -cut * _FRAME])
    assert not said_of(state)


@pytest.mark.promise("no false alarm", "a log whose last commit found no room on the disk but for its beginning")
def test_a_part_of_a_commit_is_none(template: Template, tmp_path: Path) -> None:
    state = tmp_path / "state"
    template.copy(state)
    log = state / "guard.db-wal"
    content = log.read_bytes()
    ends = range(32 + _FRAME, len(content) + 1, _FRAME)
    commit = next(end - _FRAME for end in reversed(ends) if any(content[end - _FRAME + 4 : end - _FRAME + 8]))
    log.write_bytes(content[: commit + 24 + 1000])
    assert not said_of(state)


class LongSync(apsw.VFS):
    """A file system on which the log is not synced before `may_end`."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        super().__init__("long-sync", "unix")

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return LongSyncFile(self, name, flags)


class LongSyncFile(apsw.VFSFile):
    def __init__(self, vfs: LongSync, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._vfs, self._is_log = vfs, bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._is_log and self.xFileSize() > PAGE:  # before that its header alone
            self._vfs.has_begun.set()
            assert self._vfs.may_end.wait(30)
        super().xSync(flags)


@pytest.mark.promise("no false alarm", "a commit of another process that is being synced while the log is looked at")
def test_a_commit_that_is_under_way_is_not_taken_for_one_that_is_lost(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    template.copy(state)
    assert not said_of(state)
    disk = LongSync()
    other = apsw.Connection(str(state / "guard.db"), vfs="long-sync")
    other.execute("PRAGMA synchronous = FULL")
    writer = threading.Thread(target=other.execute, args=("CREATE TABLE more (x)",))
    writer.start()
    assert disk.has_begun.wait(30)
    read = os.pread

    def looked(*values: int) -> bytes:
        disk.may_end.set()
        return read(*values)

    monkeypatch.setattr(os, "pread", looked)
    try:
        assert not said_of(state)
        assert disk.may_end.is_set(), "the frames of the commit were seen"
    finally:
        disk.may_end.set()
        writer.join()
        other.close()


@pytest.mark.promise(NAMED, "a bit of the write-ahead log that a killed daemon left")
def test_a_daemon_says_that_commits_are_lost(world: World) -> None:
    world.write("a.py")
    daemon = world.start()
    world.write("a.py", b"a = 2\n")
    world.wait_captured("a.py", b"a = 2\n")
    daemon.kill()
    log = world.state / "guard.db-wal"
    content = bytearray(log.read_bytes())
    ends = range(32 + _FRAME, len(content) + 1, _FRAME)
    live = sum(content[end - _FRAME + 8 : end - _FRAME + 16] == content[16:24] for end in ends)  # the rest is of an older log
    assert live > 8
    content[32 + (live - 4) * _FRAME + 100] ^= 1
    log.write_bytes(content)
    again = world.start()
    assert again.events("commits lost")
    again.stop()
    assert not world.start().events("commits lost")
