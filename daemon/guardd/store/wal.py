"""The end of the write-ahead log: SQLite takes a frame that is damaged for it, and says nothing of the commits that lie behind.

The layout is that of SQLite's "WAL-mode File Format": a header of 32 bytes, frames with one of 24 each. Neither the database nor
the index of its log (`-shm`) may be opened here: to close any descriptor of a file ends all locks that the process has on it
(fcntl(2)), and with them those of its connections. On the log itself SQLite has none.
"""

import os
import struct

from guardd.errors import StoreBusy, StoreError
from guardd.store.database import Database

_LOG_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZES = {1 << power for power in range(9, 17)}
_END = "PRAGMA wal_checkpoint(PASSIVE)"
"""Moves what it can into the database, and tells how many frames the log has."""

_TRIES = 3


def commits_behind_the_end(db: Database) -> int:
    """How many commits of the present log lie behind the place at which SQLite ends it; 0 also where that cannot be told.

    A process that was killed leaves frames there, but no commit. After a power loss there may be some that were never synced.
    """
    end = _end(db)
    for _ in range(_TRIES):
        found = _commits_behind(db.path + "-wal", end)
        if found and not _has_been_alone(db):
            return 0
        before, end = end, _end(db)
        if end == before >= 0:  # no one has written on meanwhile
            return found
    return 0


def _has_been_alone(db: Database) -> bool:
    """Wait out a commit that is under way: its frames are there, but the log does not end behind them until they are synced."""
    try:
        with db.transaction():
            return True
    except StoreBusy:
        return False
    except StoreError:  # read-only: then no one writes
        return True


def _end(db: Database) -> int:
    """How many frames the log has; -1: another process is at it just now."""
    row = db.row(_END)
    return int(row[1]) if row is not None else -1


def _commits_behind(path: str, end: int) -> int:
    """How many frames from the one at `end` on belong to the present log, and end a transaction."""
    try:
        with open(path, "rb") as log:
            header = log.read(_LOG_HEADER)
            (page_size,) = struct.unpack_from(">I", header, 8)
            if page_size not in _PAGE_SIZES:
                return 0
            frame_size = _FRAME_HEADER + page_size
            last = os.fstat(log.fileno()).st_size - frame_size  # a commit that found no room may have left a part of one
            places = range(_LOG_HEADER + max(end, 0) * frame_size, last + 1, frame_size)
            frames = (os.pread(log.fileno(), _FRAME_HEADER, place) for place in places)
            return sum(frame[8:16] == header[16:24] and any(frame[4:8]) for frame in frames)
    except (FileNotFoundError, struct.error):  # all of it is in the database
        return 0
