"""The SQLite connection: its settings, its transactions, and SQLite's errors as guard's."""

import os
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from guardd import descriptors
from guardd.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, TooManyOpenFiles

Row = tuple[Any, ...]

SOUND_SQLITE = (3, 51, 3)
"""Older versions can corrupt a WAL database that two connections use (WAL-reset bug, 3.7.0 to 3.51.2)."""

MENDED = ".mended"
"""Of the name of a complete new database that is about to take a damaged one's place (`salvage`)."""

INDEX_BYTES = 32 * 1024
"""Of a region of the index that SQLite keeps for a WAL (-shm)."""

PATH_TEXT = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
"""How paths are decoded and encoded. os.fsdecode does so by the same, in twice the time: that counts for all paths of a tree."""

_BUSY_S = 30.0

_SIGNS_OF_DAMAGE = (
    "no such table", "no such column", "has no column named", "ON CONFLICT clause does not match", "unsupported file format",
    "integer overflow",
)  # fmt: skip
"""In SQLite's general error, which is that of any mistake in SQL, too: a part of the schema is gone, or sizes are none."""


class Database:
    """One connection; used by one thread at a time. Every error of SQLite leaves here as a `StoreError`.

    `patience_s`: how long a transaction waits for those of others.
    """

    def __init__(self, path: str, *, read_only: bool = False, patience_s: float = _BUSY_S) -> None:
        if sqlite_version() < SOUND_SQLITE:
            raise StoreError(f"SQLite {apsw.sqlite_lib_version()} can corrupt the store; run 'pip install -U apsw'")
        self.path = path
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        with _as_store_errors(path):
            self._db = apsw.Connection(path, flags=flags, statementcachesize=200)
            self._db.set_busy_timeout(int(patience_s * 1000))

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        with _as_store_errors(self.path):
            self._db.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        with _as_store_errors(self.path):
            return self._db.execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query one by one, for results that should not be held at once."""
        with _as_store_errors(self.path):
            yield from self._db.execute(sql, values)

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of a query, or None."""
        with _as_store_errors(self.path):
            found: Row | None = self._db.execute(sql, values).fetchone()
            return found

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, values)
        return None if row is None else row[0]

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; the number of rows it changed."""
        with _as_store_errors(self.path):
            self._db.execute(sql, values).fetchall()
            return self._db.changes()

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        """Carry out an insert; the new row's id."""
        with _as_store_errors(self.path):
            self._db.execute(sql, values)
            return self._db.last_insert_rowid()

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row of values."""
        with _as_store_errors(self.path):
            self._db.executemany(sql, rows)

    def copy_into(self, other: "Database") -> None:
        """Make another database what this one is now, page by page."""
        with _as_store_errors(other.path), other._db.backup("main", self._db, "main") as copying:
            copying.step()

    def foreign_commits(self) -> int:
        """A number that changes whenever another connection has committed; asking costs next to nothing."""
        return int(self.value("PRAGMA data_version"))

    def shrink(self) -> None:
        """Give back the memory of the page cache; the next query fills it again."""
        self.run("PRAGMA shrink_memory")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """An IMMEDIATE transaction: what is read in it stays true until it commits; an exception rolls it back."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite rolls back by itself on a full disk
                self.run("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads inside see one state of the store, whatever is written meanwhile; so they do in a transaction already."""
        if self._db.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("COMMIT")


def many(values: "Collection[bytes] | array[int]") -> object:
    """Values (at least one; integers as an array of type q) as one parameter of a query, which reads them `FROM carray(?)`."""
    return apsw.carray(values if isinstance(values, array) else tuple(values))


def sqlite_version() -> tuple[int, ...]:
    """The version of the SQLite in use, which apsw brings."""
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


def is_disk_full(folder: str) -> bool:
    """Whether the disk of a directory has no room for a region of the WAL's index, or no inode left."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < INDEX_BYTES or (room.f_files > 0 and room.f_favail == 0)


@contextmanager
def _as_store_errors(path: str) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _as_store_error(error, path) from error
    except UnicodeDecodeError as error:  # all text is written as UTF-8
        raise StoreDamaged(f"the store {path} is damaged ({error.reason}); run 'guardctl fsck --repair'") from error


def _as_store_error(error: apsw.Error, path: str) -> StoreError:
    folder = os.path.dirname(path)
    if isinstance(error, apsw.FullError):
        return StoreFull(f"no space left for the store {path}; free some space on its disk, or run 'guardctl gc'")
    if isinstance(error, apsw.BusyError):
        return StoreBusy(f"the store {path} is in use by others for long; try again")
    if _is_damage(error):
        return StoreDamaged(f"the store {path} is damaged ({error}); run 'guardctl fsck --repair'")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreError(f"the store {path} cannot be written ({error}); check its permissions and its disk")
    # No room for the WAL's index, no inode, no descriptor: SQLite says none of them by its name.
    if isinstance(error, apsw.CantOpenError | apsw.IOError):
        if is_disk_full(folder):
            return StoreFull(f"no space left for the store {path}; free some space on its disk")
        if descriptors.are_few():
            return TooManyOpenFiles(f"no file descriptor is left for the store {path}")
    if isinstance(error, apsw.IOError):
        return StoreError(f"the store {path} failed ({error}); see 'guardctl doctor'")
    if isinstance(error, apsw.CantOpenError):
        hint = "check the permissions of its directory" if os.path.isdir(folder) else "its directory is missing"
        return StoreError(f"the store {path} cannot be opened; {hint}")
    return StoreError(f"the store {path} failed ({type(error).__name__}: {error}); see 'guardctl doctor'")


def _is_damage(error: apsw.Error) -> bool:
    """Whether the file is not what SQLite wrote."""
    if isinstance(error, apsw.SQLError):
        return any(words in str(error) for words in _SIGNS_OF_DAMAGE)
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)
