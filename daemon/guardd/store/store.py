"""The open store: its place on disk, who may use it, and its parts."""

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from guardd.errors import StoreBusy, StoreError, StoreFull, unusable
from guardd.store import schema
from guardd.store.database import INDEX_BYTES, MENDED, Database

if TYPE_CHECKING:
    from guardd.store.adopted import AdoptedVersions
    from guardd.store.blobs import Blobs
    from guardd.store.checked import CheckedContents
    from guardd.store.facts import StoredFacts
    from guardd.store.incidents import Incidents
    from guardd.store.labels import Labels
    from guardd.store.log import Log
    from guardd.store.outbox import Outbox
    from guardd.store.repos import Repos
    from guardd.store.restores import Restores
    from guardd.store.runs import Runs

_DURABLE = "PRAGMA synchronous = FULL"  # NORMAL lost up to 182 acknowledged commits at a power loss, FULL none
_FLEETING = "PRAGMA synchronous = NORMAL"
_ALONE = "PRAGMA locking_mode = EXCLUSIVE"
"""Before the first access: the WAL's index is in memory then, and takes no room on the disk (SQLite, "Write-Ahead Logging")."""

_SMALL_CACHE = "PRAGMA cache_size = -4096"  # KiB: the daemon stays small
_LARGE_CACHE = "PRAGMA cache_size = -65536"


class StoreSize(NamedTuple):
    """The store on disk: bytes of its files (database, WAL) and number of blobs."""

    bytes: int
    blobs: int


class Store:
    """One connection to the store in `state_dir`; each thread opens its own. Its parts are imported when they are asked for.

    `create` makes what is missing; without it a missing store is a StoreError. With `durable` off, commits are not
    synced: for the daemon's live state, never for versions. `brief`: for a command that may take memory while it runs.
    `patience_s`: how long a transaction waits for those of others.
    """

    def __init__(
        self, state_dir: str, *, create: bool = False, durable: bool = True, brief: bool = False, patience_s: float = 30.0
    ) -> None:
        self.state_dir = state_dir
        self.path = os.path.join(state_dir, "guard.db")
        check_state_dir(state_dir, create=create)
        if os.path.exists(self.path + MENDED):
            from guardd.store import salvage

            salvage.go_on(state_dir)
        if create:
            _make(self.path)
        elif not os.path.exists(self.path):
            raise StoreError(f"there is no store in {state_dir}; run 'guardctl init' in a repo, then 'guardd'")
        self._file = _file_at(self.path)
        settings = (_DURABLE if durable else _FLEETING, _LARGE_CACHE if brief else _SMALL_CACHE)
        try:
            self.db = self._open(patience_s, settings, brief=brief)
        except StoreError as error:
            if self.is_there():
                raise
            raise self._was_replaced() from error
        if not self.is_there():  # its WAL was opened by a name that may be the new one's by now
            self.db.close()
            raise self._was_replaced()

    def _open(self, patience_s: float, settings: Sequence[str], *, brief: bool) -> Database:
        try:
            return _open(self.path, patience_s, settings)
        except StoreFull:
            if not brief or _has_index(self.path):
                raise
            return _open(self.path, patience_s, (_ALONE, *settings))

    def _was_replaced(self) -> StoreError:
        return StoreBusy(f"the store {self.path} was being repaired just now; try again")

    @cached_property
    def blobs(self) -> "Blobs":
        """The contents by their hash."""
        from guardd.store.blobs import Blobs

        return Blobs(self.db)

    @cached_property
    def log(self) -> "Log":
        """The versions of all repos, in order."""
        from guardd.store.log import Log

        return Log(self.db, self.blobs)

    @cached_property
    def outbox(self) -> "Outbox":
        """The alerts, and how far they are."""
        from guardd.store.outbox import Outbox

        return Outbox(self.db)

    @cached_property
    def repos(self) -> "Repos":
        """The repos, and what the daemon last said of each."""
        from guardd.store.repos import Repos

        return Repos(self.db, self.outbox)

    @cached_property
    def restores(self) -> "Restores":
        """The restores, and what each put where."""
        from guardd.store.restores import Restores

        return Restores(self.db, lambda: self.log, lambda: self.blobs)

    @cached_property
    def incidents(self) -> "Incidents":
        """The incidents, and what detection has to remember."""
        from guardd.store.incidents import Incidents

        return Incidents(self.db, self.outbox)

    @cached_property
    def runs(self) -> "Runs":
        """The bulk commands carried out as transactions."""
        from guardd.store.runs import Runs

        return Runs(self.db, self.incidents, self.state_dir)

    @cached_property
    def labels(self) -> "Labels":
        """The snapshots."""
        from guardd.store.labels import Labels

        return Labels(self.db)

    @cached_property
    def adopted(self) -> "AdoptedVersions":
        """The versions out of backup files."""
        from guardd.store.adopted import AdoptedVersions

        return AdoptedVersions(self.db, self.blobs)

    @cached_property
    def facts(self) -> "StoredFacts":
        """What analysis knows of contents."""
        from guardd.store.facts import StoredFacts

        return StoredFacts(self.db)

    @cached_property
    def checked(self) -> "CheckedContents":
        """What checks found in contents."""
        from guardd.store.checked import CheckedContents

        return CheckedContents(self.db)

    def size(self) -> StoreSize:
        """How much the store holds."""
        return StoreSize(self.bytes(), int(self.db.value("SELECT count(*) FROM blobs")))

    def bytes(self) -> int:
        """Bytes of the store's files (database, WAL)."""
        files = (self.path, self.path + "-wal")
        return sum(os.stat(path).st_size for path in files if os.path.exists(path))

    def is_there(self) -> bool:
        """Whether the file that this connection uses still has its name: it works without, and then all goes with it."""
        return _file_at(self.path) == self._file

    def bring_back(self) -> None:
        """Write the store anew after its file was removed, from what the kernel keeps of it for this connection.

        Others that had it open go on with what was removed. Raises StoreError, also where another store is in its place.
        """
        check_state_dir(self.state_dir, create=True)
        if os.path.lexists(self.path):
            raise StoreError(f"another store is in its place: {self.path}")
        fresh = f"{self.path}.{os.getpid()}.new"
        _make(fresh)
        try:
            copy = Database(fresh)
            try:
                self.db.copy_into(copy)
            finally:
                copy.close()
            for suffix in ("-wal", "-shm"):  # of the removed file, should they be left: no other may take them for its own
                with suppress(FileNotFoundError):
                    os.unlink(self.path + suffix)
            os.link(fresh, self.path)
        except OSError as error:
            raise unusable(self.state_dir, error) from error
        finally:
            with suppress(OSError):
                os.unlink(fresh)

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _has_index(path: str) -> bool:
    """Whether the index of the WAL lies beside the store: someone has it open, or it needs no room any more."""
    try:
        return os.stat(path + "-shm").st_size >= INDEX_BYTES
    except OSError:
        return False


def _open(path: str, patience_s: float, settings: Iterable[str]) -> Database:
    db = Database(path, patience_s=patience_s)
    try:
        for setting in settings:
            db.run(setting)
        schema.prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file has this name; None: there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make(path: str) -> None:
    """The database's file, if it is not there; the modes of an older one are put right.

    One that is there is not opened: to close it again would end the locks of every connection of this process (fcntl(2)).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise StoreError(f"{path} is no regular file; move it away") from None
        if mode & 0o077:
            os.chmod(path, 0o600)
    except OSError as error:
        raise unusable(os.path.dirname(path), error) from error


def make_private(folder: str) -> None:
    """Make a directory, and those above it that are missing, for us alone; where others could write above, they could swap it."""
    above = os.path.dirname(folder)
    if above and not os.path.isdir(above):
        make_private(above)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def check_state_dir(path: str, *, create: bool) -> None:
    """Make the state dir where it is to be created, or see that it can be used. Raises StoreError.

    Others must be able neither to read the copies of someone's source nor to plant some for a restore.
    """
    try:
        if create:
            make_private(path)
        found = os.stat(path)
    except FileNotFoundError as error:
        raise StoreError(f"there is no store in {path}; run 'guardctl init' in a repo, then 'guardd'") from error
    except OSError as error:
        raise unusable(path, error) from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"the state dir {path} is not a directory; set GUARD_STATE_DIR or state_dir in the config")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise StoreError(f"the state dir {path} belongs to another user; set GUARD_STATE_DIR to one of yours")
    if found.st_mode & 0o022:
        raise StoreError(f"others may write to the state dir {path}; run 'chmod 700 {path}'")
    if found.st_mode & 0o077 and create:  # made by hand, with the umask of every day
        try:
            os.chmod(path, 0o700)
        except OSError as error:
            raise unusable(path, error) from error
