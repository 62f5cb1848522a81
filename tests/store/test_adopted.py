"""Adopted versions: kept beside the log, which never meets them; gone when retention, purge or repair say so."""

import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from guardd.model import ABSENT, FileState, Kind, Moment, Origin, Version
from guardd.recovery.past import numbered, passages_since, reaching_back
from guardd.selection import SelectionRules
from guardd.store.adopted import Adopted, Backup
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.lock import daemon_lock
from guardd.store.log import Knowledge, Passage
from guardd.store.repos import Repo
from guardd.store.retention import DAY_NS, Age, Policy, Taken, expired_adopted, over_quota
from guardd.store.salvage import rebuild
from guardd.store.soundness import check, repair
from guardd.store.space import collect
from guardd.store.store import Store

SECOND = 10**9
NOW = Moment(1_750_000_000 * SECOND, 5_000 * SECOND, "boot-1")
POLICY = Policy(3 * DAY_NS, 30 * DAY_NS, 365 * DAY_NS, 1 << 40)


def later(days: int) -> Moment:
    return NOW._replace(wall_ns=NOW.wall_ns + days * DAY_NS, boot_ns=NOW.boot_ns + days * DAY_NS)


class Kept:
    """A store with one repo that has seen x.py once, in its baseline."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(_template().name, folder, dirs_exist_ok=True)
        self.store = Store(str(folder))
        found = self.store.repos.find("/repo")
        assert found
        self.repo: Repo = found

    def write(self, path: str, content: bytes, origin: Origin = Origin.WATCH) -> None:
        head = self.store.log.head(self.repo.id, path)
        state = FileState(Kind.FILE, digest(content), len(content), 0o644)
        seen = Observation(path, head.seq, state, None, content=encode(state.blob, content))
        self.store.log.record(self.repo.id, [seen], origin, NOW)

    def adopt(self, path: str, content: bytes, time_ns: int) -> int:
        state = FileState(Kind.FILE, digest(content), len(content), 0o644)
        backup = Backup(path, state, encode(state.blob, content), time_ns, path + ".bak", "name")
        return self.store.adopted.add(self.repo.id, [backup], NOW)[0]

    def read(self, seq: int) -> bytes | None:
        version = numbered(self.store, self.repo, seq)
        return self.store.blobs.read(version.state.blob) if version else None


@cache
def _template() -> "tempfile.TemporaryDirectory[str]":
    """Made once: to make a store takes eight times as long as to copy one, and on a disk twenty times."""
    folder = tempfile.TemporaryDirectory(prefix="guard-kept-")
    with Store(folder.name, create=True) as store:
        repo = store.repos.add("/repo", SelectionRules())
        content = b"damaged\n"
        state = FileState(Kind.FILE, digest(content), len(content), 0o644)
        seen = Observation("x.py", 0, state, None, content=encode(state.blob, content))
        store.log.record(repo.id, [seen], Origin.BASELINE, NOW, known_before=True)
        store.repos.mark_scanned(repo, NOW.wall_ns, complete=True)
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = Kept(tmp_path / "state")
    yield made
    made.store.close()


def test_an_adopted_version_has_a_number_of_its_own_and_no_place_in_the_log(kept: Kept) -> None:
    log, repo = kept.store.log, kept.repo
    head, before = log.head(repo.id, "x.py"), [one.seq for one in log.versions(repo.id)]
    seq = kept.adopt("x.py", b"whole\n", 5)
    gone = kept.adopt("gone.py", b"gone\n", 6)
    assert kept.read(seq) == b"whole\n"
    assert log.head(repo.id, "x.py") == head
    assert [one.seq for one in log.versions(repo.id)] == before
    assert log.paths(repo.id) == ["x.py"]
    assert log.next_versions(repo.id, before[0], 10) == []
    assert log.place_at(NOW.wall_ns) == before[0]
    kept.write("x.py", b"next\n")
    numbers = {seq, gone, *before, log.head(repo.id, "x.py").seq}
    assert len(numbers) == 4
    newest = log.newest()
    assert newest is not None
    assert newest.seq == log.head(repo.id, "x.py").seq
    assert list(check(kept.store)) == []


def test_the_same_backup_twice_is_one_version(kept: Kept) -> None:
    first = kept.adopt("x.py", b"whole\n", 5)
    assert kept.adopt("x.py", b"whole\n", 5) == first
    assert kept.adopt("x.py", b"whole\n", 6) != first
    assert len(kept.store.adopted.of_path(kept.repo.id, "x.py")) == 2


def test_gc_keeps_adopted_versions_by_the_time_of_their_adoption(kept: Kept) -> None:
    seq = kept.adopt("x.py", b"whole\n" * 99, 5)  # the backup is ancient, and may be deleted right after
    hope = kept.adopt("gone.py", b"the only one\n", 5)
    collect(kept.store, POLICY, later(364))
    assert kept.read(seq) == b"whole\n" * 99
    collect(kept.store, POLICY, later(366))
    assert kept.read(seq) is None
    assert kept.read(hope) == b"the only one\n"  # no newer version of it is anywhere
    assert list(check(kept.store)) == []
    assert kept.store.size().blobs == 2


def test_a_full_store_gives_up_what_was_adopted_longest_ago() -> None:
    taken = [Taken(1, 0, 100, last_hope=False), Taken(2, 5, 100, last_hope=False), Taken(3, 0, 100, last_hope=True)]

    def at(now_ns: int) -> Age:
        return lambda seq, time_ns: now_ns - time_ns

    assert list(over_quota([], 100, at(9 * DAY_NS), adopted=taken)) == [1]
    assert list(over_quota([], 999, at(9 * DAY_NS), adopted=taken)) == [1, 2]
    assert list(over_quota([], 999, at(DAY_NS // 2), adopted=taken)) == []  # not what came in the last day
    assert list(expired_adopted(taken, POLICY, at(365 * DAY_NS + 3))) == [1]


def test_fsck_finds_and_takes_out_a_damaged_row_of_an_adopted_version(kept: Kept) -> None:
    seq, other = kept.adopt("x.py", b"whole\n", 5), kept.adopt("x.py", b"other\n", 7)
    kept.store.db.run("UPDATE adopted SET time_ns = 6 WHERE seq = ?", (seq,))
    damages = list(check(kept.store))
    assert [one.versions for one in damages] == [((seq, "x.py"),)]
    repair(kept.store, damages)
    assert list(check(kept.store)) == []
    assert (kept.read(seq), kept.read(other)) == (None, b"other\n")


def test_salvage_takes_adopted_versions_over(kept: Kept) -> None:
    seq = kept.adopt("x.py", b"whole\n", 5)
    kept.store.close()
    assert daemon_lock(kept.store.state_dir).holder() is None
    rebuild(kept.store.state_dir)
    kept.store = Store(kept.store.state_dir)
    assert kept.read(seq) == b"whole\n"
    assert list(check(kept.store)) == []
    assert kept.adopt("x.py", b"later\n", 6) > seq


def test_before_guard_first_saw_a_file_the_newest_backup_until_then_tells(kept: Kept) -> None:
    early, late = kept.adopt("x.py", b"early\n", 100), kept.adopt("x.py", b"late\n", 200)
    kept.adopt("gone.py", b"gone\n", 150)

    def then(time_ns: int) -> dict[str, int]:
        found = passages_since(kept.store, kept.repo, kept.store.log.place_at(time_ns), time_ns)
        return {one.path: one.then.seq if one.then else 0 for one in found}

    assert then(99) == {"x.py": kept.store.log.head(kept.repo.id, "x.py").seq}  # as it was first seen
    assert then(100) == {"x.py": early}
    assert then(199)["x.py"] == early
    assert then(200)["x.py"] == late
    assert "gone.py" in then(150)


def test_a_backup_is_offered_for_moments_at_which_something_was_out_of_sight(kept: Kept) -> None:
    kept.adopt("gone.py", b"gone\n", 100)

    def is_offered(time_ns: int) -> bool:
        return any(one.path == "gone.py" for one in passages_since(kept.store, kept.repo, 1, time_ns))

    assert (is_offered(NOW.wall_ns - 1), is_offered(NOW.wall_ns)) == (True, False)
    kept.store.repos.mark_scanned(kept.repo, NOW.wall_ns + 10, complete=False)
    kept.store.repos.mark_scanned(kept.repo, NOW.wall_ns + 20, complete=True)
    assert [is_offered(NOW.wall_ns + later) for later in (9, 10, 19, 20, 10**9)] == [False, True, True, False, False]


def _version(seq: int, time_ns: int, mtime_ns: int = 0, origin: Origin = Origin.WATCH) -> Version:
    return Version(seq, "x.py", FileState(Kind.FILE, bytes([seq]) * 32), mtime_ns, time_ns, origin)


ADOPTED = Adopted(_version(9, 100, origin=Origin.ADOPT), 1000, "x.py.bak", "name")
HEAD = _version(3, 900)
NOTHING = Version(4, "x.py", ABSENT, 900, 900, Origin.WATCH)


@pytest.mark.parametrize(
    ("then", "knowledge", "time_ns", "expected"),
    [
        (_version(1, 500, mtime_ns=450), Knowledge.FIRST_SEEN, 300, 9),
        (_version(1, 500, mtime_ns=250), Knowledge.FIRST_SEEN, 300, 1),  # its own mtime: it was so by then
        (_version(1, 500, mtime_ns=50), Knowledge.FIRST_SEEN, 300, 9),  # older than the backup: a copied mtime
        (_version(1, 500), Knowledge.KNOWN, 600, 1),  # guard saw it for itself
        (NOTHING, Knowledge.KNOWN, 600, 4),
        (None, Knowledge.KNOWN, 300, 9),
        (None, Knowledge.FORGOTTEN, 300, 9),
        (None, Knowledge.KNOWN, 600, None),  # guard was there, the file was not
        (None, Knowledge.FORGOTTEN, 600, None),
    ],
)
def test_a_backup_never_overrules_what_guard_saw(
    then: Version | None, knowledge: Knowledge, time_ns: int, expected: int | None
) -> None:
    found = reaching_back(Passage("x.py", then, knowledge, None, HEAD), ADOPTED, time_ns, lambda version: time_ns >= 500)
    assert (found.then.seq if found.then else None) == expected
    if expected == 9:
        assert found.knowledge is Knowledge.KNOWN
