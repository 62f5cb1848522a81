"""The facts of contents, by hash, so that none is parsed twice. They can be computed anew at any time."""

import sys
from collections.abc import Iterable

from guardd.store.codec import BrokenBlob, expand
from guardd.store.database import Database

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GET = "SELECT data FROM facts WHERE hash = ? AND version = ?"
_PUT = """
    INSERT INTO facts (hash, version, data) VALUES (?, ?, ?)
    ON CONFLICT (hash) DO UPDATE SET version = excluded.version, data = excluded.data
"""


class StoredFacts:
    """The facts in one open store, as the JSON that analysis wrote."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, hash_: bytes, version: int) -> bytes | None:
        """The facts of the content with this hash, found by this version of the analysis."""
        data = self._db.value(_GET, (hash_, version))
        try:
            return expand(data) if data is not None else None
        except BrokenBlob:  # damaged: computed anew
            return None

    def get_many(self, hashes: Iterable[bytes], version: int) -> dict[bytes, bytes]:
        """The same of many contents; those that are not known are left out."""
        with self._db.snapshot():  # one read transaction for all
            found = ((hash_, self.get(hash_, version)) for hash_ in hashes)
            return {hash_: text for hash_, text in found if text is not None}

    def put(self, found: dict[bytes, str], version: int) -> None:
        """Keep facts by hash; inside a transaction."""
        self._db.run_many(_PUT, ((hash_, version, zstd.compress(text.encode())) for hash_, text in found.items()))
