"""The end of the write-ahead log: SQLite takes a frame that is damaged for it, and says nothing of the commits that lie behind.

The layout is that of SQLite's "WAL-mode File Format": a header of 32 bytes, frames with one of 24 each; an index beside it.
"""

import os
import struct
from contextlib import suppress

from guardd.errors import StoreError
from guardd.store.database import Database

_LOG_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZES = {1 << power for power in range(9, 17)}


def commits_behind_the_end(db: Database) -> int:
    """How many commits of the present log lie behind the place at which SQLite ends it; 0 also where that cannot be told.

    A process that was killed leaves frames there, but no commit. After a power loss there may be some that were never synced.
    """
    with suppress(StoreError), db.transaction():  # no one writes on
        return _commits_behind_the_end(db.path)
    return 0


def _commits_behind_the_end(path: str) -> int:
    try:
        with open(path + "-shm", "rb") as index, open(path + "-wal", "rb") as log:
            (end,) = struct.unpack_from("=I", index.read(_FRAME_HEADER), 16)
            header = log.read(_LOG_HEADER)
            (page_size,) = struct.unpack_from(">I", header, 8)
            if page_size not in _PAGE_SIZES:
                return 0
            frame_size = _FRAME_HEADER + page_size
            places = range(_LOG_HEADER + end * frame_size, os.fstat(log.fileno()).st_size, frame_size)
            frames = (os.pread(log.fileno(), _FRAME_HEADER, place) for place in places)
            return sum(frame[8:16] == header[16:24] and any(frame[4:8]) for frame in frames)
    except (FileNotFoundError, struct.error):  # all of it is in the database
        return 0
