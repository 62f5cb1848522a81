"""What checks found in contents, by hash: also of contents that the store does not hold. It can be computed anew at any time."""

import sys
from collections.abc import Iterable, Mapping

from guardd.store.codec import BrokenBlob, expand
from guardd.store.database import Database

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST = 50_000
"""So many contents are remembered, the newest: some 300 bytes each."""

_GET = "SELECT data FROM checked WHERE hash = ? AND version = ?"
_PUT = "INSERT OR REPLACE INTO checked (hash, version, data) VALUES (?, ?, ?)"
_ADD = "INSERT OR IGNORE INTO checked (hash, version, data) VALUES (?, ?, ?)"
_PRUNE = "DELETE FROM checked WHERE id <= (SELECT max(id) FROM checked) - ?"
_CLEAR = "DELETE FROM checked"


class CheckedContents:
    """What checks found, in one open store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, hashes: Iterable[bytes], version: int) -> dict[bytes, bytes]:
        """What was found in each of these contents by these rules, as JSON; contents not known yet are left out."""
        found: dict[bytes, bytes] = {}
        with self._db.snapshot():  # one read transaction for all: 5,000 of their own take twice as long
            for hash_ in hashes:
                data = self._db.value(_GET, (hash_, version))
                if data is not None:
                    try:
                        found[hash_] = expand(data)
                    except BrokenBlob:  # damaged: found anew
                        continue
        return found

    def put(self, found: Mapping[bytes, str], version: int) -> None:
        """Keep what was found; in a transaction of its own."""
        with self._db.transaction():
            self._db.run_many(_PUT, ((hash_, version, zstd.compress(text.encode())) for hash_, text in found.items()))

    def add(self, found: Mapping[bytes, str], version: int) -> None:
        """Keep what was found in contents of which nothing is kept; in a transaction of its own."""
        with self._db.transaction():
            self._db.run_many(_ADD, ((hash_, version, zstd.compress(text.encode())) for hash_, text in found.items()))

    def prune(self, most: int = MOST) -> None:
        """Keep the newest ones only."""
        self._db.run(_PRUNE, (most,))

    def clear(self) -> None:
        """Forget all of it: it may tell of a content that is to be forgotten, and it is had again for some seconds of work."""
        self._db.run(_CLEAR)
