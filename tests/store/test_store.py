"""The store: nothing acknowledged is lost, order is by sequence, space comes back, secrets go."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import clock
from guardd.errors import StoreError
from guardd.model import ABSENT, FileState, Kind, Moment, Origin
from guardd.selection import SelectionRules
from guardd.store import ballast
from guardd.store.appending import Observation
from guardd.store.codec import MAX_DEPTH, BrokenBlob, Codec, decode, digest, encode
from guardd.store.lock import acquire_daemon_lock, daemon_lock
from guardd.store.log import Knowledge
from guardd.store.repos import Repo
from guardd.store.retention import DAY_NS, Policy
from guardd.store.runs import RunState
from guardd.store.schema import VERSION
from guardd.store.soundness import check, repair
from guardd.store.space import collect, purge
from guardd.store.store import Store

SECOND = 1_000_000_000
START = Moment(1_750_000_000 * SECOND, 5_000 * SECOND, "boot-1")


class Kept:
    """A store with one repo, and a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder), create=True)
        self.repo: Repo = self.store.repos.add("/repo", SelectionRules())
        self.now = START

    def pass_time(self, seconds: float, *, step_clock_by: float = 0.0, boot_id: str | None = None) -> None:
        ns = int(seconds * SECOND)
        boot = boot_id or self.now.boot_id
        self.now = Moment(
            self.now.wall_ns + ns + int(step_clock_by * SECOND), (self.now.boot_ns if boot == self.now.boot_id else 0) + ns, boot
        )

    def write(self, path: str, content: bytes | None, origin: Origin = Origin.WATCH, *, known_before: bool = False) -> int:
        head = self.store.log.head(self.repo.id, path)
        state, blob = ABSENT, None
        if content is not None:
            state = FileState(Kind.FILE, digest(content), len(content), 0o644)
            blob = encode(state.blob, content, self.store.blobs.base_for(head.state.blob) if head.state.present else None)
        seen = Observation(path, head.seq, state, None, content=blob)
        recorded = self.store.log.record(self.repo.id, [seen], origin, self.now, known_before=known_before)
        assert not recorded.stale
        return self.store.log.last_seq()

    def at(self, path: str, place: int) -> bytes | None:
        passage = self.store.log.passage(self.repo.id, path, place)
        assert passage
        return self.store.blobs.read(passage.then.state.blob) if passage.then and passage.then.state.present else None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = Kept(tmp_path / "state")
    yield made
    made.store.close()


def policy(quota: int = 1 << 40) -> Policy:
    return Policy(3 * DAY_NS, 30 * DAY_NS, 365 * DAY_NS, quota)


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_what_is_encoded_is_decoded_with_and_without_a_base(content: bytes, base: bytes) -> None:
    encoded = encode(digest(content), content, (digest(base), base))
    assert encoded.data is not None
    assert decode(encoded.codec, encoded.data, encoded.size, base if encoded.codec is Codec.DELTA else b"") == content


@pytest.mark.promise("errors become a state", "a zstd bomb under sizes that are none of its own")
def test_a_bomb_or_a_lying_size_is_refused_before_it_unpacks() -> None:
    bomb = encode(b"", b"\0" * 50_000_000).data
    assert bomb is not None
    assert len(bomb) < 10_000
    for size in (-2, 0, 10, 1000):
        with pytest.raises(BrokenBlob):
            decode(Codec.ZSTD, bomb, size)
    with pytest.raises(BrokenBlob):
        decode(Codec.ZSTD, b"not zstd at all", 10)


def test_one_line_edits_cost_some_hundred_bytes_and_every_version_reads_back(kept: Kept) -> None:
    chance = random.Random(1)
    lines = [f"    value_{number} = compute({chance.random()})\n" for number in range(300)]
    states = []
    for number in range(3 * MAX_DEPTH):
        lines[number] = f"    edited_{number} = {chance.random()}\n"
        content = "".join(lines).encode()
        states.append((kept.write("a.py", content), content))
    for seq, content in states:
        assert kept.at("a.py", seq) == content
    stored = kept.store.db.value("SELECT sum(length(data)) FROM blobs")
    assert stored < len(states) * 500
    assert kept.store.db.value("SELECT max(depth) FROM blobs") <= MAX_DEPTH


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("is_born", [True, False])
def test_a_head_that_moved_meanwhile_makes_an_observation_stale_and_appends_nothing(
    kept: Kept, is_given: bool, is_born: bool
) -> None:
    if not is_born:
        kept.write("a.py", b"one\n")
    heads = kept.store.log.heads(kept.repo.id, ["a.py"])
    kept.write("a.py", b"two\n")
    late = Observation(
        "a.py", heads["a.py"].seq, FileState(Kind.FILE, digest(b"one\n"), 4, 0o644), content=encode(digest(b"one\n"), b"one\n")
    )
    recorded = kept.store.log.record(kept.repo.id, [late], Origin.SCAN, kept.now, heads=heads if is_given else None)
    assert recorded.stale == ["a.py"]
    assert recorded.written == []
    assert kept.at("a.py", kept.store.log.last_seq()) == b"two\n"


def test_since_counts_elapsed_time_also_when_the_wall_clock_jumps_back_or_ahead(kept: Kept) -> None:
    places = []
    for step in (0.0, -3600.0, 0.0, 365 * 86_400.0, -365 * 86_400.0, 0.0):
        kept.pass_time(600, step_clock_by=step)
        places.append(kept.write("a.py", f"at {len(places)}\n".encode()))
    for back, place in enumerate(reversed(places)):
        assert kept.store.log.place_before((back * 600 + 1) * SECOND, kept.now) == place - 1
        assert kept.store.log.place_before(back * 600 * SECOND, kept.now) == place


def test_since_reaches_over_a_reboot_by_the_wall_clock(kept: Kept) -> None:
    first = kept.write("a.py", b"one\n")
    kept.pass_time(3600, boot_id="boot-2")
    second = kept.write("a.py", b"two\n")
    kept.pass_time(60)
    assert kept.store.log.place_before(30 * SECOND, kept.now) == second
    assert kept.store.log.place_before(1800 * SECOND, kept.now) == first
    assert kept.store.log.place_before(7200 * SECOND, kept.now) == 0


def test_a_moment_finds_its_place_among_many_with_gaps(kept: Kept) -> None:
    times = {}
    for number in range(200):
        kept.pass_time(10)
        times[kept.write("a.py", f"{number}\n".encode())] = kept.now.wall_ns
    for seq in list(times)[10:150:3]:
        kept.store.db.run("DELETE FROM versions WHERE seq = ?", (seq,))
        del times[seq]
    for seq, time_ns in times.items():
        assert kept.store.log.place_at(time_ns) == seq
        assert kept.store.log.place_at(time_ns + 5 * SECOND) == seq
    assert kept.store.log.place_at(START.wall_ns - 1) == 0


def test_what_was_there_before_guard_is_never_taken_for_born(kept: Kept) -> None:
    kept.write("old.py", b"old\n", Origin.BASELINE, known_before=True)
    kept.write("new.py", b"new\n")
    passages = {passage.path: passage for passage in kept.store.log.passages(kept.repo.id, 0)}
    assert passages["old.py"].knowledge is Knowledge.FIRST_SEEN
    assert passages["old.py"].then is not None
    assert (passages["new.py"].knowledge, passages["new.py"].then) == (Knowledge.KNOWN, None)


def test_gc_of_a_store_in_which_nothing_was_recorded_frees_nothing(kept: Kept) -> None:
    freed = collect(kept.store, policy(), kept.now)
    assert (freed.versions, freed.blobs) == (0, 0)


def test_what_retention_removed_is_forgotten_not_absent(kept: Kept) -> None:
    first = kept.write("a.py", b"one\n")
    kept.pass_time(400 * 86_400)
    kept.write("a.py", b"two\n")
    kept.pass_time(400 * 86_400)
    kept.write("a.py", b"three\n")
    collect(kept.store, policy(), kept.now)
    passage = kept.store.log.passage(kept.repo.id, "a.py", first)
    assert passage
    assert passage.knowledge is Knowledge.FORGOTTEN


def test_gc_thins_keeps_what_deltas_need_and_gives_the_space_back(kept: Kept) -> None:
    chance = random.Random(2)
    content = chance.randbytes(200_000)
    for _ in range(60):
        kept.pass_time(3600)
        content = content[:50_000] + chance.randbytes(20_000) + content[70_000:]
        kept.write("a.py", content)
    kept.store.db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    before = os.path.getsize(kept.store.path)
    kept.pass_time(100 * 86_400)
    freed = collect(kept.store, policy(), kept.now)
    assert freed.versions > 50
    assert os.path.getsize(kept.store.path) < before - freed.bytes * 0.9
    assert os.path.getsize(kept.store.path) < before * 0.6
    assert kept.at("a.py", kept.store.log.last_seq()) == content
    assert list(check(kept.store)) == []
    assert collect(kept.store, policy(), kept.now).versions == 0


def test_what_an_interrupted_run_can_be_rolled_back_to_stays_until_someone_has_decided(kept: Kept) -> None:
    kept.pass_time(3601)  # off the full hours, which retention keeps by itself
    before = kept.write("a.py", b"before")
    run = kept.store.runs.begin(kept.repo.id, "codemod", 1, kept.now.wall_ns)
    kept.write("a.py", b"after")
    kept.store.runs.interrupt(run.id)
    kept.pass_time(40 * 86_400)
    assert collect(kept.store, policy(), kept.now).versions == 0
    assert kept.at("a.py", before) == b"before"
    kept.store.runs.settle(run.id, RunState.KEPT)
    assert collect(kept.store, policy(), kept.now).versions == 1


def test_the_quota_takes_the_oldest_and_never_the_newest(kept: Kept) -> None:
    chance = random.Random(3)
    last = {}
    for number in range(60):
        kept.pass_time(60)
        path = f"{number % 3}.py"
        last[path] = chance.randbytes(50_000)
        kept.write(path, last[path])
    collect(kept.store, policy(quota=1_000_000), kept.now)
    assert os.path.getsize(kept.store.path) < 1_100_000
    for path, content in last.items():
        assert kept.at(path, kept.store.log.last_seq()) == content
    collect(kept.store, policy(quota=1), kept.now)
    for path, content in last.items():
        assert kept.at(path, kept.store.log.last_seq()) == content


@pytest.mark.promise("nobody else reads the store", "a secret that was purged is looked for in every file of the store")
def test_purge_leaves_no_byte_of_the_secret_in_any_file_of_the_store(kept: Kept) -> None:
    secret = random.Random(4).randbytes(3000)
    kept.write("config.py", b"x = 1\n" * 500)
    kept.write("config.py", secret)
    kept.write("config.py", b"y = 2\n" * 500)
    kept.write("other.py", b"other\n")
    kept.write("copy.py", secret)
    freed, shared = purge(kept.store, kept.repo.id, ["config.py"])
    assert freed.versions == 3
    assert shared == {"config.py": ["copy.py"]}
    purge(kept.store, kept.repo.id, ["copy.py"])
    for name in os.listdir(kept.store.state_dir):
        assert secret[100:200] not in Path(kept.store.state_dir, name).read_bytes(), name
    assert kept.at("other.py", kept.store.log.last_seq()) == b"other\n"
    assert list(check(kept.store)) == []
    kept.write("config.py", b"clean\n")
    passage = kept.store.log.passage(kept.repo.id, "config.py", 0)
    assert passage
    assert passage.knowledge is Knowledge.FIRST_SEEN


@pytest.mark.promise("the store is sound or says what is damaged", "contents, rows and heads damaged")
def test_fsck_names_every_damaged_version_and_repair_saves_the_rest(kept: Kept) -> None:
    for number in range(20):
        kept.write(f"{number}.py", b"content %d\n" % number * 50)
    victim = kept.write("victim.py", b"victim\n" * 100)
    rower = kept.write("row.py", b"row\n")
    kept.store.db.run("UPDATE blobs SET data = x'00' WHERE hash = ?", (digest(b"victim\n" * 100),))
    kept.store.db.run("UPDATE versions SET mode = 511 WHERE seq = ?", (rower,))
    damages = list(check(kept.store))
    assert {seq for damage in damages for seq, _ in damage.versions} == {victim, rower}
    with pytest.raises(BrokenBlob):
        kept.at("victim.py", victim)
    repair(kept.store, damages)
    assert list(check(kept.store)) == []
    for number in range(20):
        assert kept.at(f"{number}.py", kept.store.log.last_seq()) == b"content %d\n" % number * 50
    content = b"victim\n" * 100
    state = FileState(Kind.FILE, digest(content), len(content), 0o644)
    seen = Observation("victim.py", victim, state, content=encode(state.blob, content))
    kept.store.log.record(kept.repo.id, [seen], Origin.SCAN, kept.now)
    assert kept.at("victim.py", victim) == content, "what is still on disk comes back with the next look"


def test_a_newer_schema_is_refused_and_a_foreign_file_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    Store(str(tmp_path), create=True).close()
    with apsw.Connection(str(tmp_path / "guard.db")) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StoreError, match="newer guard"):
        Store(str(tmp_path))
    (tmp_path / "guard.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        Store(str(tmp_path))


def test_an_older_store_does_not_tell_since_when_its_rules_were_watched(kept: Kept) -> None:
    """They may have been changed since its last complete scan."""
    kept.store.repos.mark_scanned(kept.repo, kept.now.wall_ns, complete=True)
    kept.store.repos.add(kept.repo.path, SelectionRules(exclude=("gen/",)))
    kept.store.db.run("DROP TABLE watched")
    kept.store.db.run("DROP TABLE purging")
    kept.store.db.run("PRAGMA user_version = 5")
    with Store(kept.store.state_dir) as store:
        assert store.repos.watched_at(kept.repo.id, kept.now.wall_ns + 1) is None


def test_gc_forgets_what_was_watched_longer_ago_than_daily_versions_stay(kept: Kept) -> None:
    begun = []
    for number in range(3):
        kept.write("a.py", b"x = %d\n" % number)
        begun.append(kept.now.wall_ns)
        kept.store.repos.mark_scanned(kept.repo, kept.now.wall_ns, complete=True, ignoring=str(number))
        kept.pass_time(200 * 86_400)
    kept.pass_time(0, step_clock_by=10_000 * 86_400)
    collect(kept.store, policy(), kept.now)
    assert [kept.store.repos.watched_at(kept.repo.id, when) is not None for when in begun] == [False, True, True]
    kept.pass_time(10_000 * 86_400)
    collect(kept.store, policy(), kept.now)
    assert kept.store.repos.watched_at(kept.repo.id, begun[1]) is None
    assert kept.store.repos.watched_at(kept.repo.id, begun[2]) is not None, "what goes on stays"


def test_commits_are_durable(kept: Kept) -> None:
    assert kept.store.db.value("PRAGMA synchronous") == 2
    assert kept.store.db.value("PRAGMA journal_mode") == "wal"


def test_the_daemon_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    assert daemon_lock(str(tmp_path)).holder() is None
    with acquire_daemon_lock(str(tmp_path)):
        assert daemon_lock(str(tmp_path)).holder() == os.getpid()
        with pytest.raises(StoreError, match=f"pid {os.getpid()}"):
            acquire_daemon_lock(str(tmp_path))
    assert daemon_lock(str(tmp_path)).holder() is None


def test_the_ballast_is_laid_once_and_dropped_once(tmp_path: Path) -> None:
    assert ballast.lay(str(tmp_path))
    assert (tmp_path / "ballast").stat().st_size == ballast.SIZE
    assert ballast.lay(str(tmp_path))
    assert ballast.drop(str(tmp_path))
    assert not ballast.drop(str(tmp_path))


def test_the_clock_reads_wall_and_boot_time_together() -> None:
    first, second = clock.now(), clock.now()
    assert first.boot_id == second.boot_id
    assert second.boot_ns >= first.boot_ns


def test_what_checks_found_makes_room_for_versions_and_goes_with_a_secret(kept: Kept) -> None:
    place = kept.write("a.py", b"secret = 1\n")
    store = kept.store
    store.checked.put({b"git's id": "{}", digest(b"secret = 1\n"): "{}"}, 1)
    assert store.checked.get([b"git's id", b"other"], 1) == {b"git's id": b"{}"}
    assert store.checked.get([b"git's id"], 2) == {}

    collect(store, Policy(DAY_NS, DAY_NS, DAY_NS, 2**30), kept.now)
    assert store.db.value("SELECT count(*) FROM checked") == 2

    collect(store, Policy(DAY_NS, DAY_NS, DAY_NS, 1), kept.now)  # over the quota
    assert store.db.value("SELECT count(*) FROM checked") == 0
    assert kept.at("a.py", place) == b"secret = 1\n"

    store.checked.put({digest(b"secret = 1\n"): "{}"}, 1)
    purge(store, kept.repo.id, ["a.py"])
    assert store.db.value("SELECT count(*) FROM checked") == 0
