"""Salvage: a new database out of all that can still be read of a damaged one."""

import os
from typing import NamedTuple

from guardd.errors import StoreDamaged, StoreError
from guardd.store import schema
from guardd.store.codec import Codec
from guardd.store.database import MENDED, Database, Row
from guardd.store.lock import daemon_lock
from guardd.store.wreck import LARGEST_KEY, readable_rows

_KEYS = {"restore_items": "restore_id"}
"""What a table without rowids is walked by."""

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_COLUMNS = "SELECT name, type FROM pragma_table_info(?)"
_TYPES = {"INTEGER": int, "TEXT": str, "BLOB": bytes}
_PAST_ITS_DEFINITIONS = "PRAGMA writable_schema = ON"
"""Else a definition that cannot be parsed makes SQLite refuse all of the database; so only what it defines is missing."""

_HASHES = "SELECT id, hash, size FROM blobs WHERE id >= ? ORDER BY 1"
_KEEP_HASH = "INSERT OR IGNORE INTO blobs (id, hash, size, codec) VALUES (?, ?, ?, ?)"
_LOOK_AGAIN = "UPDATE paths SET stat = NULL WHERE head_seq IN (SELECT seq FROM versions WHERE blob_id = ?)"
_HASH_BYTES = 32
_MET_BEFORE = "UPDATE repos SET scanned = ''"
"""What the next scan meets and the store has lost was there before: a restore to an earlier moment must not remove it."""

_SEQUENCES = "SELECT name, seq FROM sqlite_sequence"
_RAISE_SEQUENCE = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
_INTO_ONE_FILE = "PRAGMA wal_checkpoint(TRUNCATE)"


class Salvaged(NamedTuple):
    """Rows that were taken over, and where the damaged database lies now."""

    rows: int
    kept_aside: str


def rebuild(state_dir: str) -> Salvaged:
    """Put a sound database in the place of the damaged one, which is kept aside. Raises StoreError while guardd runs.

    Killed before the new one is complete, it has changed nothing; later, `go_on` does the rest when the store is next opened.
    """
    lock = daemon_lock(state_dir)
    if not lock.try_acquire(1.0):
        raise StoreError(f"guardd (pid {lock.holder()}) uses the damaged store; stop it, then run 'guardctl fsck --repair'")
    path = os.path.join(state_dir, "guard.db")
    fresh = path + ".new"
    with lock:
        _remove(fresh)
        try:
            rows = _make(fresh, path)
        except BaseException:  # on a full disk above all, half a database must not stay
            _remove(fresh)
            raise
        os.rename(fresh, path + MENDED)
        return Salvaged(rows, _put_in_place(path))


def _make(fresh: str, path: str) -> int:
    """Copy all that can be read into a new database, in one file; how many rows it was."""
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    new = Database(fresh)
    try:
        schema.prepare(new)
        rows = _copy(path, new)
        if new.value(_INTO_ONE_FILE):  # a close tries that too, but does not say that a full disk kept it from it
            raise StoreError(f"another process uses {fresh}; run 'guardctl fsck --repair' again")
    finally:
        new.close()
    return rows


def go_on(state_dir: str) -> None:
    """Put a complete database in its place, where a `rebuild` was ended before it had. Raises StoreError while one is at it."""
    lock = daemon_lock(state_dir)
    is_ours = lock.holder() == os.getpid()  # the daemon's, which waited for it and is about to open the store
    if not is_ours and not lock.try_acquire(1.0):
        raise StoreError(f"the store in {state_dir} is being repaired (pid {lock.holder()}); try again in a moment")
    path = os.path.join(state_dir, "guard.db")
    with lock:
        if os.path.exists(path + MENDED):
            _put_in_place(path)


def _put_in_place(path: str) -> str:
    """Swap the mended database in; the name of the damaged one. Wherever this ends early, the same again completes it.

    The damaged one goes first: whoever finds it by its name after having opened its WAL has the WAL that belongs to it.
    """
    mended = path + MENDED
    aside = f"{path}.damaged-{int(os.stat(mended).st_mtime)}"
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.rename(path + suffix, aside + suffix)
    os.rename(mended, path)
    return aside


def _copy(path: str, new: Database) -> int:
    """Take over every readable row; rows that break a rule of the schema are damaged too, and stay behind."""
    rows = 0
    old = Database(path)
    try:
        old.run(_PAST_ITS_DEFINITIONS)
        for (table,) in new.rows(_TABLES):
            with new.transaction():
                rows += _copy_table(old, new, table)
        with new.transaction():
            _keep_hashes(old, new)
        new.run(_MET_BEFORE)
        with new.transaction():
            for name, seq in _sequences(old):  # a place in the log is never used twice
                new.run(_RAISE_SEQUENCE, (seq, name))
    except StoreDamaged:  # not even its first page can be read
        return rows
    finally:
        old.close()
    return rows


def _copy_table(old: Database, new: Database, table: str) -> int:
    """By the order of the columns, which outlives their names; an older schema has fewer. Names are from our own schema."""
    columns = new.rows(_COLUMNS, (table,))
    key = _KEYS.get(table, "rowid")
    rows = 0
    for _, *row in readable_rows(old, f"SELECT {key}, * FROM {table} WHERE {key} >= ? ORDER BY 1"):  # noqa: S608
        there = list(zip(columns, row, strict=False))
        if all(value is None or isinstance(value, _TYPES[kind]) for (_, kind), value in there):  # else it is of another table
            names = ", ".join(name for (name, _), _ in there)
            insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({', '.join('?' * len(there))})"  # noqa: S608
            rows += new.run(insert, [value for _, value in there])
    return rows


def _keep_hashes(old: Database, new: Database) -> None:
    """Of contents whose row cannot be taken over, or lies on several pages of which one is lost: versions go by the hash."""
    for id_, hash_, size in readable_rows(old, _HASHES):
        is_one = isinstance(hash_, bytes) and len(hash_) == _HASH_BYTES and isinstance(size, int)
        if is_one and new.run(_KEEP_HASH, (id_, hash_, size, Codec.UNKEPT)):
            new.run(_LOOK_AGAIN, (id_,))


def _sequences(old: Database) -> list[Row]:
    try:
        return [row for row in old.rows(_SEQUENCES) if isinstance(row[1], int) and 0 <= row[1] < LARGEST_KEY]
    except StoreDamaged:
        return []


def _remove(path: str) -> None:
    for suffix in ("-wal", "-shm", ""):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
