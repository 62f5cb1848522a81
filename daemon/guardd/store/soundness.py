"""Soundness: every blob and row held against its hash; repair that saves all that is whole."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from guardd.errors import GuardError, StoreDamaged
from guardd.store import schema
from guardd.store.adopted import adopted_checksum
from guardd.store.appending import row_checksum
from guardd.store.codec import Codec, OutOfMemory
from guardd.store.database import Database
from guardd.store.space import repack
from guardd.store.store import Store

_SCHEMA = "SELECT CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL"
_BLOBS = "SELECT hash FROM blobs WHERE codec <> 3 AND typeof(hash) = 'blob' ORDER BY frame_id, place, base_id"
_VERSIONS_OF_BLOB = """
    SELECT v.seq, p.path, r.path FROM versions v JOIN paths p ON p.id = v.path_id JOIN repos r ON r.id = p.repo_id
    JOIN blobs b ON b.id = v.blob_id WHERE b.hash = ?1
    UNION ALL
    SELECT a.seq, a.path, r.path FROM adopted a JOIN repos r ON r.id = a.repo_id JOIN blobs b ON b.id = a.blob_id
    WHERE b.hash = ?1
    ORDER BY 1
"""
_ROWS = """
    SELECT v.seq, p.path, v.kind, b.hash, v.mode, v.mtime_ns, v.time_ns, v.origin, v.checksum
    FROM versions v LEFT JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id ORDER BY v.seq
"""
_ROWS_OF_BLOB = _ROWS.replace("ORDER BY", "WHERE b.hash = ? ORDER BY")
_ADOPTED_ROWS = """
    SELECT a.seq, a.path, b.hash, a.mode, a.time_ns, a.adopted_ns, a.source, a.dated_by, a.checksum
    FROM adopted a LEFT JOIN blobs b ON b.id = a.blob_id ORDER BY a.seq
"""
_WRONG_HEADS = """
    SELECT p.id, p.path, p.head_seq, m.seq FROM paths p
    LEFT JOIN (SELECT path_id, max(seq) AS seq FROM versions GROUP BY path_id) m ON m.path_id = p.id
    WHERE p.head_seq <> coalesce(m.seq, 0)
"""
_LOSE_BLOB = "UPDATE blobs SET codec = ?, depth = 0, base_id = NULL, frame_id = NULL, place = NULL, data = NULL WHERE hash = ?"
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


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong in the store, and the versions it touches (seq, path).

    `structural`: the database itself is damaged, and has to be built anew (`salvage.rebuild`) before rows can be mended.
    """

    what: str
    versions: tuple[tuple[int, str], ...] = ()
    blob: bytes | None = None
    structural: bool = False


def check(store: Store) -> Iterator[Damage]:
    """Everything that is wrong, found by reading all of the store."""
    try:
        for (verdict,) in store.db.rows("PRAGMA integrity_check(20)"):
            if verdict != "ok":
                yield Damage(f"database: {verdict}", structural=True)
        yield from _check_schema(store)
        yield from _check_blobs(store)
        yield from _check_rows(store)
    except StoreDamaged as error:
        yield Damage(f"database: {error.__cause__}", structural=True)


def _check_schema(store: Store) -> Iterator[Damage]:
    whole = Database(":memory:")
    try:
        schema.prepare(whole)
        for name, _ in sorted(set(whole.rows(_SCHEMA)) - set(store.db.rows(_SCHEMA))):
            yield Damage(f"database: {name.decode()} is not defined as it was", structural=True)
    finally:
        whole.close()


def _check_blobs(store: Store) -> Iterator[Damage]:
    for hash_, read in store.blobs.read_many(row[0] for row in store.db.each(_BLOBS)):
        if isinstance(read, GuardError):
            touched = tuple((row[0], os.fsdecode(row[1])) for row in store.db.rows(_VERSIONS_OF_BLOB, (hash_,)))
            mendable = not isinstance(read, OutOfMemory)  # it may be whole: nothing of it is taken out
            yield Damage(f"blob {hash_.hex()[:12]}: {read}", touched, hash_ if mendable else None)


def _check_rows(store: Store) -> Iterator[Damage]:
    for seq, path, kind, blob, mode, mtime_ns, time_ns, origin, checksum in store.db.each(_ROWS):
        name = os.fsdecode(path) if isinstance(path, bytes) else "?"
        fields = (seq, path or b"", kind, blob or b"", mode, mtime_ns, time_ns, origin)
        if not isinstance(path, bytes) or (blob is None) != (kind == "absent") or row_checksum(*fields) != checksum:
            yield Damage(f"version {seq} of {name!r}: the row does not match its checksum", ((seq, name),))
    for seq, path, blob, *others, checksum in store.db.each(_ADOPTED_ROWS):
        if blob is None or adopted_checksum(seq, path, blob, *others) != checksum:
            name = os.fsdecode(path) if isinstance(path, bytes) else "?"
            yield Damage(f"adopted version {seq} of {name!r}: the row does not match its checksum", ((seq, name),))
    for _, path, head, newest in store.db.rows(_WRONG_HEADS):
        yield Damage(f"the head of {os.fsdecode(path)!r} is {head} instead of {newest or 0}")


def repair(store: Store, damages: list[Damage]) -> None:
    """Take out what is damaged, keep the rest. Contents that are still on disk come back with the next scan."""
    with store.db.transaction():
        for hash_ in [damage.blob for damage in damages if damage.blob is not None]:
            if store.blobs.can_read(hash_) or _rename(store, hash_):  # gc had just put it elsewhere; or only its name was wrong
                continue
            store.db.run(_LOSE_BLOB, (Codec.UNKEPT, hash_))
            store.db.run(_LOOK_AGAIN, (hash_,))
        for damage in list(_check_rows(store)):
            for seq, _ in damage.versions:
                store.db.run(_DROP_ROW, (seq,))
                store.db.run(_DROP_ADOPTED, (seq,))
        for path_id, _, _, newest in store.db.rows(_WRONG_HEADS):
            store.db.run(_SET_HEAD, (newest or 0, newest or 0, path_id))
    repack(store, 1.0)  # what is left of damaged frames is whole again, and nothing beside it that was forgotten


def _rename(store: Store, hash_: bytes) -> bool:
    """Give a content back the hash that is its own, where it was the hash in its row that was damaged; whether it was.

    Versions tell by their checksums, so a content that is damaged itself stays as it is.
    """
    own = store.blobs.hash_of(hash_)
    if own is None or store.db.value("SELECT 1 FROM blobs WHERE hash = ?", (own,)):
        return False
    for seq, path, kind, blob, *others, checksum in store.db.rows(_ROWS_OF_BLOB, (hash_,)):
        if row_checksum(seq, path, kind, own, *others) == checksum:
            store.db.run("UPDATE blobs SET hash = ? WHERE hash = ?", (own, blob))
            return True
    return False
