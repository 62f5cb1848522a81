"""The blobs: contents by their hash, each kept once, many as deltas against an earlier one, or in a frame with others."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from guardd.errors import GuardError, StoreDamaged
from guardd.store.codec import MAX_DEPTH, BrokenBlob, Codec, Encoded, Frame, decode, digest, unpack
from guardd.store.database import Database, many

_COLUMNS = "SELECT hash, size, codec, base_id, frame_id, place, data FROM blobs "
_BY_HASH = _COLUMNS + "WHERE hash = ?"
_BY_ID = _COLUMNS + "WHERE id = ?"
_BY_HASHES = _COLUMNS + "WHERE hash IN carray(?) ORDER BY frame_id, place"
_KNOWN = "SELECT hash, id, depth, codec FROM blobs WHERE hash IN (SELECT value FROM carray(?))"
_FRAME = "SELECT size, data FROM frames WHERE id = ?"
_ADD_FRAME = "INSERT INTO frames (size, data) VALUES (?, ?)"
_LAST_ID = "SELECT max(id) FROM blobs"
_KEEP = """
    INSERT INTO blobs (id, hash, size, codec, depth, base_id, frame_id, place, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET codec = excluded.codec, depth = excluded.depth, base_id = excluded.base_id,
        frame_id = excluded.frame_id, place = excluded.place, data = excluded.data
"""
_AT_ONCE = 256
"""Blobs that are read with one query: their contents may be in memory together, compressed."""

_FRAMES_AT_HAND = 2
"""Frames that are kept as they were last decompressed: who reads one file reads its neighbours next."""


_T = TypeVar("_T")


class MissingBlob(GuardError):
    """The content is not in the store: never was (only its hash is kept), or was lost."""


class StaleBlob(Exception):
    """A blob that an observation builds on went meanwhile (gc in another process): encode the content again, whole."""


class _Row(NamedTuple):
    hash: bytes
    size: int
    codec: int
    base_id: int | None
    frame_id: int | None
    place: int | None
    data: bytes | None


class _Known(NamedTuple):
    id: int
    depth: int
    codec: int

    @property
    def is_kept(self) -> bool:
        return self.codec != Codec.UNKEPT

    @property
    def is_base(self) -> bool:
        """Whether a delta may be made against it."""
        return self.is_kept and self.depth < MAX_DEPTH


def _is_there(known: _Known | None, blob: Encoded) -> bool:
    return known is not None and (known.is_kept or blob.codec is Codec.UNKEPT)


class Blobs:
    """The blobs of one open store."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._frames: OrderedDict[int, bytes] = OrderedDict()

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, hash_: bytes) -> bytes:
        """The content with this hash, verified against it. Raises MissingBlob, BrokenBlob."""
        row = self._db.row(_BY_HASH, (hash_,))
        if row is None:
            raise MissingBlob(f"the store has no blob {hash_.hex()[:12]}; run 'guardctl fsck'")
        return self._verified(_Row(*row))

    def read_many(self, hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
        """The (hash, content) of each of these, verified, or why it cannot be read; in the order that is quick to read."""
        todo = iter(dict.fromkeys(hashes))
        while batch := list(islice(todo, _AT_ONCE)):
            try:
                rows = [_Row(*row) for row in self._db.rows(_BY_HASHES, (many(batch),))]
            except StoreDamaged:  # some of them can be read all the same
                rows = []
            for row in rows:
                yield row.hash, self._or_why_not(self._verified, row)
            for hash_ in set(batch) - {row.hash for row in rows}:
                yield hash_, self._or_why_not(self.read, hash_)

    def bases(self, hashes: Iterable[bytes]) -> dict[bytes, bytes]:
        """The contents of those of these blobs that a next version may be kept as a delta of.

        What cannot be read is left out: fsck reports it, and a new version must not build on it.
        """
        usable = [hash_ for hash_, known in self._known(set(hashes)).items() if known.is_base]
        return {hash_: content for hash_, content in self.read_many(usable) if isinstance(content, bytes)}

    def base_for(self, hash_: bytes) -> tuple[bytes, bytes] | None:
        """The (hash, content) of a blob that a next version may be kept as a delta of, or None where it may not."""
        content = self.bases([hash_]).get(hash_)
        return None if content is None else (hash_, content)

    def holds(self, hash_: bytes) -> bool:
        """Whether the content with this hash is in the store."""
        return bool(self.held([hash_]))

    def held(self, hashes: Iterable[bytes]) -> set[bytes]:
        """Those of these hashes whose content is in the store."""
        return {hash_ for hash_, known in self._known(set(hashes)).items() if known.is_kept}

    def let_go(self) -> None:
        """Give back the memory of what is kept at hand."""
        self._frames.clear()

    # -- keeping ------------------------------------------------------------------------------------------------

    def add(self, blob: Encoded) -> int:
        """Keep a blob, unless it is there; its id. Inside a transaction. Raises StaleBlob."""
        return self.add_all([blob])[blob.hash]

    def add_all(self, blobs: Collection[Encoded], others: Collection[bytes] = ()) -> dict[bytes, int]:
        """Keep these, unless they are there; the ids of them and of `others`, which should be there, by hash.

        Inside a transaction. Raises StaleBlob.
        """
        known = self._known({blob.hash for blob in blobs} | {blob.base for blob in blobs if blob.base} | set(others))
        self._keep((blob for blob in blobs if not _is_there(known.get(blob.hash), blob)), known)
        if not known.keys() >= set(others):
            raise StaleBlob
        return {hash_: one.id for hash_, one in known.items()}

    def keep_anew(self, blobs: Collection[Encoded]) -> None:
        """Keep contents that are there in these forms from now on. Inside a transaction; none of them is a delta."""
        self._keep(blobs, self._known({blob.hash for blob in blobs}))

    def _keep(self, blobs: Iterable[Encoded], known: dict[bytes, _Known]) -> None:
        """Write the rows of blobs; `known` is what is there, and learns of them as they come."""
        next_id = (self._db.value(_LAST_ID) or 0) + 1
        frames: dict[Frame, int] = {}
        rows = []
        for blob in blobs:
            depth, base_id, frame_id, place = 0, None, None, None
            if blob.codec is Codec.DELTA:
                base = known.get(blob.base)
                if base is None or not base.is_base:
                    raise StaleBlob
                base_id, depth = base.id, base.depth + 1
            elif blob.frame is not None:
                if blob.frame not in frames:
                    frames[blob.frame] = self._db.insert(_ADD_FRAME, (blob.frame.size, blob.frame.data))
                frame_id, place = frames[blob.frame], blob.place
            here = known.get(blob.hash)
            if here is None:
                id_, next_id = next_id, next_id + 1
            else:
                id_ = here.id
            known[blob.hash] = _Known(id_, depth, blob.codec)
            rows.append((id_, blob.hash, blob.size, blob.codec, depth, base_id, frame_id, place, blob.data))
        self._db.run_many(_KEEP, rows)

    def _known(self, hashes: Collection[bytes]) -> dict[bytes, _Known]:
        return {row[0]: _Known(*row[1:]) for row in self._db.rows(_KNOWN, (many(hashes),))} if hashes else {}

    # -- decoding -----------------------------------------------------------------------------------------------

    @staticmethod
    def _or_why_not(read: Callable[[_T], bytes], what: _T) -> bytes | GuardError:
        try:
            return read(what)
        except GuardError as error:
            return error

    def _verified(self, row: _Row) -> bytes:
        damaged = f"blob {row.hash.hex()[:12]} is damaged in the store; run 'guardctl fsck --repair'"
        try:
            content = self._decoded(row)
        except (ValueError, TypeError) as error:  # a codec or a size that is none: the row itself is damaged
            raise BrokenBlob(damaged) from error
        if digest(content) != row.hash:
            raise BrokenBlob(damaged)
        return content

    def _decoded(self, row: _Row) -> bytes:
        chain = [row]
        while row.base_id is not None:
            if len(chain) > MAX_DEPTH + 1:
                raise BrokenBlob("a chain of stored deltas does not end; run 'guardctl fsck --repair'")
            base = self._db.row(_BY_ID, (row.base_id,))
            if base is None:
                raise BrokenBlob("the base of a stored delta is gone; run 'guardctl fsck --repair'")
            chain.append(row := _Row(*base))
        content = b""
        for one in reversed(chain):
            if one.codec == Codec.FRAME:
                content = self._part(one)
            elif one.data is None:
                raise MissingBlob("only the hash of this content is kept (the file is over max_file_size)")
            else:
                content = decode(Codec(one.codec), one.data, one.size, content)
        return content

    def _part(self, row: _Row) -> bytes:
        if row.frame_id is None or row.place is None or row.place < 0:
            raise BrokenBlob("the row of a stored blob does not say where its frame is; run 'guardctl fsck --repair'")
        return self._frame(row.frame_id)[row.place : row.place + row.size]

    def _frame(self, frame_id: int) -> bytes:
        content = self._frames.get(frame_id)
        if content is None:
            row = self._db.row(_FRAME, (frame_id,))
            if row is None:
                raise BrokenBlob("the frame of a stored blob is gone; run 'guardctl fsck --repair'")
            content = unpack(Frame(*row))
            self._frames[frame_id] = content
            if len(self._frames) > _FRAMES_AT_HAND:
                self._frames.popitem(last=False)
        self._frames.move_to_end(frame_id)
        return content
