"""The blobs: contents by their hash, each kept once, many as deltas against an earlier one."""

from collections.abc import Iterable, Iterator

from guardd.errors import GuardError
from guardd.store.codec import MAX_DEPTH, BrokenBlob, Codec, Encoded, decode, digest
from guardd.store.database import Database

_BY_HASH = "SELECT id, size, codec, depth, base_id, data FROM blobs WHERE hash = ?"
_BY_ID = "SELECT id, size, codec, depth, base_id, data FROM blobs WHERE id = ?"
_ID_AND_DEPTH = "SELECT id, depth, codec FROM blobs WHERE hash = ?"
_INSERT = "INSERT INTO blobs (hash, size, codec, depth, base_id, data) VALUES (?, ?, ?, ?, ?, ?)"
_FILL = "UPDATE blobs SET codec = ?, depth = ?, base_id = ?, data = ? WHERE id = ?"


class MissingBlob(GuardError):
    """The content is not in the store: never was (only its hash is kept), or was lost."""


class StaleBlob(Exception):
    """A blob that an observation builds on went meanwhile (gc in another process): encode the content again, whole."""


class Blobs:
    """The blobs of one open store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def read(self, hash_: bytes) -> bytes:
        """The content with this hash, verified against it. Raises MissingBlob, BrokenBlob."""
        row = self._db.row(_BY_HASH, (hash_,))
        if row is None:
            raise MissingBlob(f"the store has no blob {hash_.hex()[:12]}; run 'guardctl fsck'")
        try:
            content = self._decoded(row)
        except (ValueError, TypeError) as error:  # a codec or a size that is none: the row itself is damaged
            raise BrokenBlob(f"blob {hash_.hex()[:12]} is damaged in the store; run 'guardctl fsck --repair'") from error
        if digest(content) != hash_:
            raise BrokenBlob(f"blob {hash_.hex()[:12]} is damaged in the store; run 'guardctl fsck --repair'")
        return content

    def read_many(self, hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
        """Each of these contents once, in an order of its own, verified; or what keeps it from being read."""
        for hash_ in dict.fromkeys(hashes):
            try:
                yield hash_, self.read(hash_)
            except GuardError as error:
                yield hash_, error

    def base_for(self, hash_: bytes) -> tuple[bytes, bytes] | None:
        """The (hash, content) of a blob that a next version may be kept as a delta of, or None where it may not."""
        row = self._db.row(_ID_AND_DEPTH, (hash_,))
        if row is None or row[1] >= MAX_DEPTH or row[2] == Codec.UNKEPT:
            return None
        try:
            return hash_, self.read(hash_)
        except (BrokenBlob, MissingBlob):  # fsck reports it; a new version must not build on it
            return None

    def holds(self, hash_: bytes) -> bool:
        """Whether the content with this hash is in the store."""
        row = self._db.row(_ID_AND_DEPTH, (hash_,))
        return row is not None and row[2] != Codec.UNKEPT

    def add(self, blob: Encoded) -> int:
        """Keep a blob, unless it is there; its id. Inside a transaction. Raises StaleBlob."""
        known = self._db.row(_ID_AND_DEPTH, (blob.hash,))
        if known is not None and (known[2] != Codec.UNKEPT or blob.codec is Codec.UNKEPT):
            return int(known[0])
        depth, base_id = 0, None
        if blob.codec is Codec.DELTA:
            base = self._db.row(_ID_AND_DEPTH, (blob.base,))
            if base is None or base[1] >= MAX_DEPTH or base[2] == Codec.UNKEPT:
                raise StaleBlob
            base_id, depth = base[0], base[1] + 1
        if known is not None:
            self._db.run(_FILL, (blob.codec, depth, base_id, blob.data, known[0]))
            return int(known[0])
        return self._db.insert(_INSERT, (blob.hash, blob.size, blob.codec, depth, base_id, blob.data))

    def id_of(self, hash_: bytes) -> int:
        """The id of a blob that should be there. Raises StaleBlob."""
        row = self._db.row(_ID_AND_DEPTH, (hash_,))
        if row is None:
            raise StaleBlob
        return int(row[0])

    def _decoded(self, row: tuple[int, int, int, int, int | None, bytes | None]) -> bytes:
        chain = [row]
        while row[4] is not None:
            if len(chain) > MAX_DEPTH + 1:
                raise BrokenBlob("a chain of stored deltas does not end; run 'guardctl fsck --repair'")
            base = self._db.row(_BY_ID, (row[4],))
            if base is None:
                raise BrokenBlob("the base of a stored delta is gone; run 'guardctl fsck --repair'")
            chain.append(row := base)
        content = b""
        for _, size, codec, _, _, data in reversed(chain):
            if data is None:
                raise MissingBlob("only the hash of this content is kept (the file is over max_file_size)")
            content = decode(Codec(codec), data, size, content)
        return content
