"""Soundness: every blob and row held against its hash; repair that saves all that is whole."""

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from guardd.errors import GuardError, StoreDamaged
from guardd.model import RepoPath, Version
from guardd.store import schema
from guardd.store.adopted import adopted_checksum
from guardd.store.appending import row_checksum
from guardd.store.codec import Codec, OutOfMemory, digest, encode
from guardd.store.database import Database, Row, many
from guardd.store.space import overwrite
from guardd.store.store import Store
from guardd.store.wal import commits_behind_the_end
from guardd.store.wreck import readable_rows

_SCHEMA = "SELECT CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL"
_COMMENT = re.compile(rb"--[^\n]*")
_BLOBS = """
    SELECT hash FROM blobs WHERE NOT (codec = 3 AND data IS NULL AND frame_id IS NULL) AND typeof(hash) = 'blob'
    ORDER BY frame_id, place, base_id
"""
_IS_UNKEPT = "SELECT 1 FROM blobs WHERE hash = ? AND codec = 3 AND data IS NULL AND frame_id IS NULL"
_VERSIONS_OF_BLOB = """
    SELECT v.seq, p.path, r.path FROM versions v JOIN paths p ON p.id = v.path_id JOIN repos r ON r.id = p.repo_id
    JOIN blobs b ON b.id = v.blob_id WHERE b.hash = ?1
    UNION ALL
    SELECT a.seq, a.path, r.path FROM adopted a JOIN repos r ON r.id = a.repo_id JOIN blobs b ON b.id = a.blob_id
    WHERE b.hash = ?1
    ORDER BY 1
"""
_LOG = """
    SELECT v.seq, p.path, b.hash, v.kind, v.mode, v.mtime_ns, v.time_ns, v.origin, v.checksum
    FROM versions v LEFT JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id
"""
_ROWS = _LOG + "ORDER BY v.seq"
_ROWS_AT = _LOG + "WHERE v.seq IN carray(?)"
_ROWS_OF_BLOB = _LOG + "WHERE b.hash = ? ORDER BY v.seq"
_ROWS_OF_PATH = _LOG + "WHERE p.repo_id = ? AND p.path = ? AND +b.hash = ?"
"""`+`: by the path's history, not the content's; ten thousand empty files have the same."""

_BACKUPS = """
    SELECT a.seq, a.path, b.hash, a.mode, a.time_ns, a.adopted_ns, a.source, a.dated_by, a.checksum
    FROM adopted a LEFT JOIN blobs b ON b.id = a.blob_id
"""
_ADOPTED_ROWS = _BACKUPS + "ORDER BY a.seq"
_ADOPTED_ROWS_AT = _BACKUPS + "WHERE a.seq IN carray(?)"
_ADOPTED_ROWS_OF_BLOB = _BACKUPS + "WHERE b.hash = ?"
_ADOPTED_ROWS_OF_PATH = _BACKUPS + "WHERE a.repo_id = ? AND a.path = ? AND b.hash = ?"
_WRONG_HEADS = """
    SELECT p.id, p.path, p.head_seq, m.seq FROM paths p
    LEFT JOIN (SELECT path_id, max(seq) AS seq FROM versions GROUP BY path_id) m ON m.path_id = p.id
    WHERE p.head_seq <> coalesce(m.seq, 0)
"""
_LOSE_BLOB = "UPDATE blobs SET codec = ?, depth = 0, base_id = NULL, frame_id = NULL, place = NULL, data = NULL WHERE hash = ?"
_ID_OF_BLOB = "SELECT id FROM blobs WHERE hash = ?"
_DEPENDENTS = "SELECT hash FROM blobs WHERE base_id = (SELECT id FROM blobs WHERE hash = ?)"
_PUT_RIGHT = "UPDATE blobs SET hash = ?, size = ?, codec = ? WHERE hash = ?"
_TAKE_OVER = (
    "UPDATE versions SET blob_id = (SELECT id FROM blobs WHERE hash = ?) WHERE blob_id = (SELECT id FROM blobs WHERE hash = ?)",
    "UPDATE adopted SET blob_id = (SELECT id FROM blobs WHERE hash = ?) WHERE blob_id = (SELECT id FROM blobs WHERE hash = ?)",
    "UPDATE blobs SET base_id = (SELECT id FROM blobs WHERE hash = ?) WHERE base_id = (SELECT id FROM blobs WHERE hash = ?)",
)
_DROP_BLOB = "DELETE FROM blobs WHERE hash = ?"
_LOOK_AGAIN = """
    UPDATE paths SET stat = NULL WHERE head_seq IN
        (SELECT v.seq FROM versions v JOIN blobs b ON b.id = v.blob_id WHERE b.hash = ?)
"""
_DROP_ROW = "DELETE FROM versions WHERE seq = ?"
_DROP_ADOPTED = "DELETE FROM adopted WHERE seq = ?"
_SET_HEAD = """
    UPDATE paths SET head_seq = ?, stat = NULL,
        present = coalesce((SELECT kind <> 'absent' FROM versions WHERE seq = ?), 0)
    WHERE id = ?
"""

_SEQS = "SELECT seq FROM versions WHERE seq >= ? ORDER BY seq"
_ADOPTED_SEQS = "SELECT seq FROM adopted WHERE seq >= ? ORDER BY seq"
_AT_ONCE = 1000
_BLOB = 2
"""The column of the hash in the rows of both."""

DOUBTFUL = "what the store says of it is damaged; run 'guardctl fsck --repair'"


class Damage(NamedTuple):
    """One thing that is wrong in the store, and the versions it touches (seq, path).

    `structural`: the database itself is damaged, and has to be built anew (`salvage.rebuild`) before rows can be mended.
    """

    what: str
    versions: tuple[tuple[int, str], ...] = ()
    blob: bytes | None = None
    structural: bool = False


def check(store: Store) -> Iterator[Damage]:
    """Everything that is wrong, found by reading all of the store."""
    yield from _check_end_of_log(store)
    damages = list(_check_database(store))
    if not damages:
        try:
            yield from _check_blobs(store)
            yield from check_rows(store)
        except StoreDamaged as error:
            damages = [_refused(error)]
        else:
            return
    yield from damages
    yield from _check_each(store, "version", _SEQS, _ROWS_AT, _is_whole)
    yield from _check_each(store, "adopted version", _ADOPTED_SEQS, _ADOPTED_ROWS_AT, _is_whole_adopted)


def _check_end_of_log(store: Store) -> Iterator[Damage]:
    commits = commits_behind_the_end(store.db)
    if commits:
        yield Damage(f"database: {commits} commits at the end of its log cannot be read; the newest versions may be missing")


def _check_database(store: Store) -> Iterator[Damage]:
    try:
        for (verdict,) in store.db.rows("PRAGMA integrity_check(20)"):
            if verdict != "ok":
                yield Damage(f"database: {verdict}", structural=True)
        yield from _check_schema(store)
    except StoreDamaged as error:
        yield _refused(error)


def _refused(error: StoreDamaged) -> Damage:
    return Damage(f"database: {error.__cause__}", structural=True)


def _check_each(store: Store, what: str, seqs: str, rows: str, is_whole: Callable[[Row], bool]) -> Iterator[Damage]:
    """Version by version, past what cannot be read: which of them are touched where the database itself is damaged."""
    told: dict[bytes, bool] = {}
    numbers = (row[0] for row in readable_rows(store.db, seqs))
    while batch := list(islice(numbers, _AT_ONCE)):
        found = [(seq, _row_at(store, rows, seq)) for seq in batch]
        told |= _can_read(store, {row[_BLOB] for _, row in found if row and isinstance(row[_BLOB], bytes)} - told.keys())
        for seq, row in found:
            if row is None or not is_whole(row):
                yield _damaged(what, row or (seq, None))
            elif row[_BLOB] is not None and not told[row[_BLOB]]:
                yield Damage(
                    f"{what} {seq} of {os.fsdecode(row[1])!r}: its content cannot be read", ((seq, os.fsdecode(row[1])),)
                )


def _row_at(store: Store, rows: str, seq: int) -> Row | None:
    try:
        return store.db.row(rows, (many(array("q", [seq])),))
    except StoreDamaged:
        return None


def _can_read(store: Store, hashes: set[bytes]) -> dict[bytes, bool]:
    """Of each content whether it can be read, or is known not to be kept."""
    try:
        return {hash_: isinstance(read, bytes) or _is_unkept(store, hash_) for hash_, read in store.blobs.read_many(hashes)}
    except StoreDamaged:  # some of them cannot even be looked for: then one by one, by halves
        if len(hashes) <= 1:
            return dict.fromkeys(hashes, False)
        half = set(islice(hashes, len(hashes) // 2))
        return _can_read(store, half) | _can_read(store, hashes - half)


def _is_unkept(store: Store, hash_: bytes) -> bool:
    return store.db.value(_IS_UNKEPT, (hash_,)) is not None


def _check_schema(store: Store) -> Iterator[Damage]:
    whole = Database(":memory:")
    try:
        schema.prepare(whole)
        for name, _ in sorted(_definitions(whole) - _definitions(store.db)):
            yield Damage(f"database: {name.decode()} is not defined as it was", structural=True)
    finally:
        whole.close()


def _definitions(db: Database) -> set[tuple[bytes, bytes]]:
    """The names of tables and indexes with their definitions, without the comments: an older guard wrote others."""
    return {(name, _COMMENT.sub(b"", sql)) for name, sql in db.rows(_SCHEMA)}


def _check_blobs(store: Store) -> Iterator[Damage]:
    for hash_, read in store.blobs.read_many(row[0] for row in store.db.each(_BLOBS)):
        if isinstance(read, GuardError):
            touched = tuple((row[0], os.fsdecode(row[1])) for row in store.db.rows(_VERSIONS_OF_BLOB, (hash_,)))
            mendable = not isinstance(read, OutOfMemory)  # it may be whole: nothing of it is taken out
            yield Damage(f"blob {hash_.hex()[:12]}: {read}", touched, hash_ if mendable else None)


def check_rows(store: Store) -> Iterator[Damage]:
    """Each row that does not match its checksum."""
    for row in store.db.each(_ROWS):
        if not _is_whole(row):
            yield _damaged("version", row)
    for row in store.db.each(_ADOPTED_ROWS):
        if not _is_whole_adopted(row):
            yield _damaged("adopted version", row)
    for _, path, head, newest in store.db.rows(_WRONG_HEADS):
        yield Damage(f"the head of {os.fsdecode(path)!r} is {head} instead of {newest or 0}")


def _damaged(what: str, row: Row) -> Damage:
    seq, path = row[:2]
    name = os.fsdecode(path) if isinstance(path, bytes) else "?"
    return Damage(f"{what} {seq} of {name!r}: the row does not match its checksum", ((seq, name),))


def _is_whole(row: Row) -> bool:
    seq, path, blob, kind, *others, checksum = row
    is_complete = isinstance(path, bytes) and (blob is None) == (kind == "absent")
    return is_complete and row_checksum(seq, path, kind, blob or b"", *others) == checksum


def _is_whole_adopted(row: Row) -> bool:
    seq, path, blob, *others, checksum = row
    return isinstance(path, bytes) and blob is not None and adopted_checksum(seq, path, blob, *others) == checksum


def doubtful(store: Store, versions: Iterable[Version]) -> set[int]:
    """The numbers of those of these versions, of the log or adopted, whose rows do not match their checksums.

    A row of a damaged store may name a content that was another file's.
    """
    asked = array("q", (version.seq for version in versions))
    if not asked:
        return set()
    found = {row[0] for row in store.db.each(_ROWS_AT, (many(asked),)) if not _is_whole(row)}
    return found | {row[0] for row in store.db.each(_ADOPTED_ROWS_AT, (many(asked),)) if not _is_whole_adopted(row)}


def is_doubtful(store: Store, repo_id: int, path: RepoPath, blob: bytes) -> bool:
    """Whether the store says that a path had this content, but only by rows that do not match their checksums."""
    values = (repo_id, os.fsencode(path), blob)
    said = [_is_whole(row) for row in store.db.rows(_ROWS_OF_PATH, values)]
    said += [_is_whole_adopted(row) for row in store.db.rows(_ADOPTED_ROWS_OF_PATH, values)]
    return bool(said) and not any(said)


def repair(store: Store, damages: list[Damage]) -> int:
    """Take out what is damaged, keep the rest; how many versions were lost. Contents that are on disk come back with a scan."""
    store.db.run("PRAGMA secure_delete = ON")  # what is taken out may be what a purge had to leave
    with store.db.transaction():
        for hash_ in [damage.blob for damage in damages if damage.blob is not None]:
            if store.blobs.can_read(hash_) or _put_right(store, hash_):  # gc had just put it elsewhere; or only its row was wrong
                continue
            _keep_dependents_whole(store, hash_)
            store.db.run(_LOSE_BLOB, (Codec.UNKEPT, hash_))
            store.db.run(_LOOK_AGAIN, (hash_,))
        lost = {seq for damage in list(check_rows(store)) for seq, _ in damage.versions}
        for seq in lost:
            store.db.run(_DROP_ROW, (seq,))
            store.db.run(_DROP_ADOPTED, (seq,))
        for path_id, _, _, newest in store.db.rows(_WRONG_HEADS):
            store.db.run(_SET_HEAD, (newest or 0, newest or 0, path_id))
    overwrite(store)  # what is left of damaged frames is whole again, and nothing beside it that was forgotten
    return len(lost)


def _put_right(store: Store, hash_: bytes) -> bool:
    """Give a content that is whole its hash, size and codec back, where those in its row were damaged; whether it was so.

    Versions tell by their checksums which hash is its own, so a content that is damaged itself stays as it is.
    """
    found = store.blobs.unverified(hash_)
    if found is None:
        return False
    codec, content = found
    own = digest(content)
    if own != hash_ and not _is_vouched_for(store, hash_, own):
        return False
    if own != hash_ and store.db.value(_ID_OF_BLOB, (own,)):  # it was captured again, as if it were new
        store.blobs.keep_anew([encode(own, content)])  # whole: it may be a delta on what is a delta on the other
        for statement in _TAKE_OVER:
            store.db.run(statement, (own, hash_))
        store.db.run(_DROP_BLOB, (hash_,))
    else:
        store.db.run(_PUT_RIGHT, (own, len(content), codec, hash_))
    return True


def _is_vouched_for(store: Store, hash_: bytes, own: bytes) -> bool:
    """Whether the row of a version that has the content under `hash_` was made for one of the hash `own`."""
    log = (_is_whole((*row[:_BLOB], own, *row[_BLOB + 1 :])) for row in store.db.rows(_ROWS_OF_BLOB, (hash_,)))
    adopted = store.db.rows(_ADOPTED_ROWS_OF_BLOB, (hash_,))
    return any(log) or any(_is_whole_adopted((*row[:_BLOB], own, *row[_BLOB + 1 :])) for row in adopted)


def _keep_dependents_whole(store: Store, hash_: bytes) -> None:
    """Keep what still reads by a content that is about to be lost: where its hash is wrong, its data may be right."""
    dependents = [row[0] for row in store.db.rows(_DEPENDENTS, (hash_,))]
    read = store.blobs.read_many(dependents)
    store.blobs.keep_anew([encode(hash_, content) for hash_, content in read if isinstance(content, bytes)])
