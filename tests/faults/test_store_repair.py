"""What counts as damage of the store, what a repair may take out of it, and what a kill in its midst leaves."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardd.errors import StoreBusy, StoreDamaged, StoreError
from guardd.model import FileState, Kind, Origin
from guardd.store import space
from guardd.store.appending import Observation
from guardd.store.codec import Codec, digest, encode, pack
from guardd.store.database import Row
from guardd.store.retention import DAY_NS, Policy
from guardd.store.salvage import rebuild
from guardd.store.soundness import check, is_doubtful, repair
from guardd.store.space import collect, purge
from guardd.store.store import Store
from tests.store.test_adopted import NOW, Kept

NAMED = "the store is sound or says what is damaged"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = Kept(tmp_path / "state")
    yield made
    made.store.close()


# -- what is damage --------------------------------------------------------------------------------------------------


@pytest.mark.promise(NAMED, "a table, a column or an index that is gone from the database")
@pytest.mark.parametrize(
    "loss",
    [
        "DROP TABLE versions",
        "ALTER TABLE versions RENAME COLUMN kind TO kjnd",
        "ALTER TABLE paths RENAME COLUMN head_seq TO head_seg",
    ],
)
def test_a_part_of_the_schema_that_is_gone_is_damage(kept: Kept, loss: str) -> None:
    assert list(check(kept.store)) == []
    kept.store.db.run(loss)
    with pytest.raises(StoreDamaged, match="fsck --repair"):
        _read_all(kept)
    assert any(damage.structural for damage in check(kept.store))


def _read_all(kept: Kept) -> None:
    kept.write("y.py", b"y = 1\n")
    is_doubtful(kept.store, kept.repo.id, "x.py", kept.store.log.head(kept.repo.id, "x.py").state.blob)


@pytest.mark.promise(NAMED, "an index that is gone from the database")
def test_an_index_that_is_gone_is_damage(kept: Kept) -> None:
    kept.store.db.run("DROP INDEX versions_by_path")
    assert any(damage.structural for damage in check(kept.store))


@pytest.mark.promise(NAMED, "a store of which an older guard wrote other comments into the schema")
def test_another_comment_in_a_definition_is_no_damage(kept: Kept) -> None:
    kept.store.db.run("PRAGMA writable_schema = ON")
    assert kept.store.db.run("UPDATE sqlite_schema SET sql = replace(sql, 'absorbed', 'and so on') WHERE name = 'restores'")
    assert list(check(kept.store)) == []
    kept.store.db.run("UPDATE sqlite_schema SET sql = replace(sql, 'undoes', 'undo__') WHERE name = 'restores'")
    assert any(damage.structural for damage in check(kept.store))


@pytest.mark.promise("errors become a state", "SQL that is wrong, a transaction in another")
@pytest.mark.parametrize("mistake", ["SELEC 1", "BEGIN", "SELECT unheard_of(1)"])
def test_a_mistake_in_sql_is_not_taken_for_damage(kept: Kept, mistake: str) -> None:
    with kept.store.db.transaction(), pytest.raises(StoreError) as raised:
        kept.store.db.run(mistake)
    assert not isinstance(raised.value, StoreDamaged)
    assert "--repair" not in str(raised.value)


@pytest.mark.promise("errors become a state", "a store that another process holds for itself")
def test_a_store_that_others_hold_is_busy_and_not_damaged(kept: Kept) -> None:
    with Store(kept.store.state_dir, patience_s=0.0) as other:
        kept.store.close()
        other.db.run("PRAGMA locking_mode = EXCLUSIVE")
        with other.db.transaction():
            other.db.run("UPDATE live SET dirty = 0")
        with pytest.raises(StoreBusy, match="in use by others"), Store(other.state_dir, patience_s=0.0) as waiting:
            list(check(waiting))


# -- what a repair may take out --------------------------------------------------------------------------------------

WRONG = bytes(range(32))


def mended(kept: Kept) -> None:
    repair(kept.store, list(check(kept.store)))
    assert list(check(kept.store)) == []


@pytest.mark.promise(NAMED, "the hash of a stored content, of adopted versions alone too")
@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_content_under_a_wrong_hash_gets_its_own_back(kept: Kept, is_adopted: bool) -> None:
    seq = kept.adopt("x.py", b"backup\n", 1) if is_adopted else kept.write("x.py", b"backup\n") or kept.store.log.last_seq()
    kept.store.db.run("UPDATE blobs SET hash = ? WHERE hash = ?", (WRONG, digest(b"backup\n")))
    mended(kept)
    assert kept.read(seq) == b"backup\n"


@pytest.mark.promise("no acknowledged version is lost", "the row of a content that cannot be taken over into a new database")
def test_a_version_outlives_the_row_of_its_content(kept: Kept) -> None:
    kept.write("x.py", b"x = 1\n")
    version = kept.store.log.version(kept.store.log.last_seq())
    kept.store.db.run("UPDATE blobs SET data = 1, size = size + 8192 WHERE hash = ?", (digest(b"x = 1\n"),))
    kept.store.close()
    rebuild(kept.store.state_dir)
    kept.store = Store(kept.store.state_dir)
    mended(kept)
    assert version is not None
    found = kept.store.log.version(version.seq)
    assert found is not None
    assert found.state.blob == version.state.blob
    kept.store.log.record(
        kept.repo.id,
        [Observation("x.py", version.seq, version.state, None, content=encode(version.state.blob, b"x = 1\n"))],
        Origin.SCAN,
        NOW,
    )
    assert kept.read(version.seq) == b"x = 1\n", "the content that is there again also says how long it is"


ONCE = b"once\n" * 50
MORE = ONCE + b"more\n"


def edit(kept: Kept, path: str, content: bytes, base: bytes) -> int:
    """A version that is kept as a delta; its number."""
    state = FileState(Kind.FILE, digest(content), len(content), 0o644)
    made = encode(state.blob, content, (digest(base), base))
    assert made.codec is Codec.DELTA
    head = kept.store.log.head(kept.repo.id, path).seq
    kept.store.log.record(kept.repo.id, [Observation(path, head, state, None, content=made)], Origin.WATCH, NOW)
    return kept.store.log.last_seq()


@pytest.mark.promise(NAMED, "the hash of a stored content that was captured again meanwhile")
@pytest.mark.parametrize("is_lost_again", [False, True])
def test_two_rows_of_one_content_become_one(kept: Kept, is_lost_again: bool) -> None:
    kept.write("x.py", ONCE)
    first = kept.store.log.last_seq()
    adopted = kept.adopt("y.py", ONCE, 1)
    second = edit(kept, "x.py", MORE, ONCE)
    kept.store.db.run("UPDATE blobs SET hash = ? WHERE hash = ?", (WRONG, digest(ONCE)))
    kept.write("z.py", ONCE)
    third = kept.store.log.last_seq()
    if is_lost_again:
        kept.store.db.run("UPDATE blobs SET data = x'00' WHERE hash = ?", (digest(ONCE),))
    mended(kept)
    assert [kept.read(seq) for seq in (first, adopted, third)] == [ONCE] * 3
    assert kept.read(second) == MORE
    assert kept.store.db.value("SELECT count(*) FROM blobs WHERE hash = ?", (WRONG,)) == 0


@pytest.mark.promise(NAMED, "the hash of a stored content that was captured again as a delta on its own delta")
def test_two_rows_of_one_content_of_which_each_is_needed_for_the_other_become_one(kept: Kept) -> None:
    kept.write("x.py", ONCE)
    first = kept.store.log.last_seq()
    second = edit(kept, "x.py", MORE, ONCE)
    kept.store.db.run("UPDATE blobs SET hash = ? WHERE hash = ?", (WRONG, digest(ONCE)))
    third = edit(kept, "x.py", ONCE, MORE)
    mended(kept)
    assert [kept.read(seq) for seq in (first, second, third)] == [ONCE, MORE, ONCE]


@pytest.mark.promise(NAMED, "the hash of a stored content that only deltas need")
def test_what_is_made_of_a_content_that_is_lost_by_its_name_alone_stays(kept: Kept) -> None:
    kept.write("x.py", ONCE)
    first = kept.store.log.last_seq()
    second = edit(kept, "x.py", MORE, ONCE)
    kept.store.db.run("UPDATE blobs SET hash = ? WHERE hash = ?", (WRONG, digest(ONCE)))
    kept.store.db.run("DELETE FROM versions WHERE seq = ?", (first,))
    mended(kept)
    assert kept.read(second) == MORE


@pytest.mark.promise(NAMED, "the size of a stored content, by itself or in a frame")
@pytest.mark.parametrize("path", ["alone.py", "first.py", "middle.py", "last.py"])
@pytest.mark.parametrize(
    "size", [pytest.param(0, marks=pytest.mark.faults), 3, pytest.param(1000, marks=pytest.mark.faults), -1, 1 << 40]
)
def test_a_content_of_a_wrong_size_is_named_and_not_lost(kept: Kept, path: str, size: int) -> None:
    contents = {name: f"{name} = 1\n".encode() for name in ("alone.py", "first.py", "middle.py", "last.py")}
    kept.write("alone.py", contents["alone.py"])
    packed = pack([(digest(content), content) for name, content in contents.items() if name != "alone.py"])
    seen = [
        Observation(name, 0, FileState(Kind.FILE, one.hash, one.size, 0o644), None, content=one)
        for name, one in zip(["first.py", "middle.py", "last.py"], packed, strict=True)
    ]
    kept.store.log.record(kept.repo.id, seen, Origin.WATCH, NOW)
    kept.store.db.run("UPDATE blobs SET size = ? WHERE hash = ?", (size, digest(contents[path])))
    (found,) = check(kept.store)
    assert [name for _, name in found.versions] == [path]
    mended(kept)
    heads = kept.store.log.heads(kept.repo.id, contents)
    assert {name: kept.store.blobs.read(head.state.blob) for name, head in heads.items()} == contents
    assert {name: head.state.size for name, head in heads.items()} == {name: len(content) for name, content in contents.items()}


@pytest.mark.promise(NAMED, "the codec of a stored content")
@pytest.mark.parametrize("codec", range(8))
def test_a_content_of_a_wrong_codec_is_named_and_not_lost(kept: Kept, codec: int) -> None:
    raw, line = bytes(range(1, 100)), b"line = 1\n"
    contents = {"raw.py": raw, "zstd.py": line * 100, "frame.py": line * 90}
    for path in ("raw.py", "zstd.py"):
        kept.write(path, contents[path])
    (framed,) = pack([(digest(line * 90), line * 90)])
    seen = Observation("frame.py", 0, FileState(Kind.FILE, framed.hash, framed.size, 0o644), None, content=framed)
    kept.store.log.record(kept.repo.id, [seen], Origin.WATCH, NOW)
    edit(kept, "zstd.py", line * 100 + b"more\n", line * 100)
    before = dict(kept.store.db.rows("SELECT hash, codec FROM blobs"))
    assert set(before.values()) == set(Codec) - {Codec.UNKEPT}
    for hash_, right in before.items():
        kept.store.db.run("UPDATE blobs SET codec = ? WHERE hash = ?", (codec, hash_))
        if codec != right:
            assert list(check(kept.store))
            mended(kept)
        assert dict(kept.store.db.rows("SELECT hash, codec FROM blobs")) == before


# -- a database that is built anew -----------------------------------------------------------------------------------


def contents_by_place(store: Store) -> dict[int, bytes]:
    with store.db.snapshot():
        return {seq: store.blobs.read(hash_) for seq, hash_ in store.db.rows(_NAMED_CONTENTS)}


_NAMED_CONTENTS = "SELECT v.seq, b.hash FROM versions v JOIN blobs b ON b.id = v.blob_id"


_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def all_rows(store: Store) -> dict[str, set[Row]]:
    return {name: set(store.db.rows(f"SELECT * FROM {name}")) for (name,) in store.db.rows(_TABLES)}


def built_anew(kept: Kept) -> Store:
    kept.store.close()
    rebuild(kept.store.state_dir)
    kept.store = Store(kept.store.state_dir)
    assert list(check(kept.store)) == []
    return kept.store


@pytest.mark.promise(NAMED, "a database built anew after a restore of many files")
def test_all_that_a_restore_did_is_in_a_database_built_anew(kept: Kept) -> None:
    targets = []
    for number in range(30):
        path, content = f"m{number}.py", b"m = %d\n" % number
        kept.write(path, content)
        state = FileState(Kind.FILE, digest(content), len(content), 0o600)
        targets.append(Observation(path, kept.store.log.head(kept.repo.id, path).seq, state))
    id_, moved = kept.store.restores.begin(kept.repo.id, "restore", targets, NOW)
    assert not moved
    items = kept.store.restores.items(id_)
    assert len(items) == 30
    kept.store.db.run("UPDATE repos SET scanned = ''")  # as what is built anew has it: what a scan meets was there before
    before = all_rows(kept.store)
    assert built_anew(kept).restores.items(id_) == items
    assert all_rows(kept.store) == before


@pytest.mark.promise(NAMED, "a bit of the text that defines a table or an index")
@pytest.mark.parametrize("name", ["blobs_by_hash", "runs_by_repo", "checked", "facts"])
def test_a_definition_that_cannot_be_read_costs_at_most_what_it_defines(kept: Kept, name: str) -> None:
    kept.write("y.py", ONCE)
    before = contents_by_place(kept.store)
    kept.store.db.run("PRAGMA wal_checkpoint(TRUNCATE)")
    path = Path(kept.store.path)
    kept.store.close()
    content = path.read_bytes()
    spoiled = re.sub(rb"C(REATE (TABLE|INDEX|UNIQUE INDEX) %b )" % name.encode(), rb"K\1", content)
    assert spoiled != content
    path.write_bytes(spoiled)
    with pytest.raises(StoreDamaged):
        Store(kept.store.state_dir)
    assert contents_by_place(built_anew(kept)) == before


@pytest.mark.promise(NAMED, "a database of an older schema built anew")
def test_a_database_of_an_older_schema_built_anew_has_all_of_it(kept: Kept) -> None:
    kept.write("y.py", ONCE)
    before = contents_by_place(kept.store)
    for statement in (
        "DROP INDEX blobs_by_frame", "DROP TABLE frames", "DROP TABLE checked", "DROP TABLE purging",
        "ALTER TABLE blobs DROP COLUMN frame_id", "ALTER TABLE blobs DROP COLUMN place", "PRAGMA user_version = 3",
    ):  # fmt: skip
        kept.store.db.run(statement)
    assert contents_by_place(built_anew(kept)) == before


@pytest.mark.promise(NAMED, "a text of the store that is no UTF-8")
@pytest.mark.parametrize("column", ["kind", "origin"])
def test_a_text_that_is_none_costs_its_row_alone(kept: Kept, column: str) -> None:
    kept.write("y.py", ONCE)
    kept.write("z.py", MORE)
    seq = kept.store.log.head(kept.repo.id, "y.py").seq
    before = contents_by_place(kept.store)
    kept.store.db.run(f"UPDATE versions SET {column} = CAST(x'a06c' AS TEXT) WHERE seq = ?", (seq,))
    with pytest.raises(StoreDamaged):
        kept.store.log.version(seq)
    found = list(check(kept.store))
    assert seq in {place for one in found for place, _ in one.versions}
    assert any(one.structural for one in found)
    del before[seq]
    kept.store.close()
    rebuild(kept.store.state_dir)
    kept.store = Store(kept.store.state_dir)
    mended(kept)
    assert contents_by_place(kept.store) == before


@pytest.mark.promise(NAMED, "the name of a column that is no UTF-8")
def test_a_name_that_is_no_text_does_not_keep_a_repair_from_the_rest(kept: Kept) -> None:
    before = contents_by_place(kept.store)
    kept.store.db.run("PRAGMA wal_checkpoint(TRUNCATE)")
    path = Path(kept.store.path)
    kept.store.close()
    content = path.read_bytes()
    spoiled = content.replace(b"attempts  INTEGER", b"att\xa0mpts  INTEGER")
    assert spoiled != content
    path.write_bytes(spoiled)
    assert contents_by_place(built_anew(kept)) == before


# -- a purge that was killed -----------------------------------------------------------------------------------------

POLICY = Policy(3 * DAY_NS, 30 * DAY_NS, 365 * DAY_NS, 1 << 40)


class Killed(BaseException):
    """In the place of SIGKILL: nothing in the product handles it."""


def killed(*_: object) -> Any:
    raise Killed


@pytest.mark.promise("the past is what it was", "a purge that is killed after it forgot: gc overwrites the bytes")
@pytest.mark.parametrize("step", ["_drop_orphans", "repack", "_give_back"])
def test_gc_finishes_a_purge_that_was_killed(kept: Kept, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = random.Random(5).randbytes(3000)
    contents = {"a.py": b"a" * 3000, "secret.py": secret, "z.py": b"z" * 9000}
    packed = pack([(digest(content), content) for content in contents.values()])
    seen = [
        Observation(path, 0, FileState(Kind.FILE, one.hash, one.size, 0o644), None, content=one)
        for path, one in zip(contents, packed, strict=True)
    ]
    kept.store.log.record(kept.repo.id, seen, Origin.WATCH, NOW)
    kept.write("secret.py", secret[::-1])
    with monkeypatch.context() as patched:
        patched.setattr(space, step, killed)
        with pytest.raises(Killed):
            purge(kept.store, kept.repo.id, ["secret.py"])
    with Store(kept.store.state_dir) as store:  # the one that was at it is gone with its process
        kept.store.close()
        collect(store, POLICY, NOW)
        kept.store = store
        for file in Path(store.state_dir).iterdir():
            found = file.read_bytes()
            assert secret[100:200] not in found, file
            assert secret[::-1][100:200] not in found, file
        heads = store.log.heads(kept.repo.id, ["a.py", "z.py"])
        assert {path: store.blobs.read(head.state.blob) for path, head in heads.items()} == {
            path: content for path, content in contents.items() if path != "secret.py"
        }
        assert list(check(store)) == []
        assert not collect(store, POLICY, NOW).blobs
        assert not store.db.rows("SELECT * FROM purging")


def _beside_a_delta(kept: Kept, secret: bytes) -> None:
    """A secret that a content of another path is a delta of, which is damaged."""
    kept.write("secret.py", secret)
    more = secret + b"more"
    edit(kept, "z.py", more, secret)
    kept.store.db.run("UPDATE blobs SET data = x'00' WHERE hash = ?", (digest(more),))


def _in_a_frame(kept: Kept, secret: bytes) -> None:
    """A secret in a frame of which the rest is damaged."""
    contents = {"secret.py": secret, "z.py": random.Random(6).randbytes(3000)}
    packed = pack([(digest(content), content) for content in contents.values()])
    seen = [
        Observation(path, 0, FileState(Kind.FILE, one.hash, one.size, 0o644), None, content=one)
        for path, one in zip(contents, packed, strict=True)
    ]
    kept.store.log.record(kept.repo.id, seen, Origin.WATCH, NOW)
    kept.store.db.run("UPDATE frames SET data = substr(data, 1, 4000)")


@pytest.mark.promise("the past is what it was", "a purge of what lies in a damaged part of the store")
@pytest.mark.parametrize("lay", [_beside_a_delta, _in_a_frame])
def test_a_purge_beside_damage_is_finished_by_a_repair_and_keeps_gc_from_nothing(kept: Kept, lay: Callable[..., None]) -> None:
    secret = random.Random(5).randbytes(3000)
    lay(kept, secret)
    with pytest.raises(StoreError, match="fsck --repair"):
        purge(kept.store, kept.repo.id, ["secret.py"])
    kept.store.checked.put({b"x" * 32: "[]"}, 1)
    collect(kept.store, POLICY, NOW)
    assert kept.store.checked.get([b"x" * 32], 1), "gc does not begin with it again and again"
    mended(kept)
    kept.store.close()
    for file in Path(kept.store.state_dir).iterdir():
        assert secret[100:200] not in file.read_bytes(), file
