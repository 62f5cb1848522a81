"""The blobs: contents by their hash, each kept once, many as deltas against an earlier one, or in a frame with others."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from guardd.errors import GuardError, StoreError
from guardd.store.codec import (
    MAX_DEPTH,
    BrokenBlob,
    Codec,
    Encoded,
    Frame,
    FrameReader,
    OutOfMemory,
    codec_of,
    decode,
    digest,
    size_of,
)  # fmt: skip
from guardd.store.database import Database, many

_COLUMNS = "SELECT hash, size, codec, base_id, frame_id, place, data FROM blobs "
_BY_HASH = _COLUMNS + "WHERE hash = ?"
_BY_ID = _COLUMNS + "WHERE id = ?"
_BY_HASHES = _COLUMNS + "WHERE hash IN carray(?)"
_SIZES = """
    SELECT hash, coalesce(length(data), 0) FROM blobs WHERE hash IN carray(?) ORDER BY frame_id, place, base_id
"""
_KNOWN = "SELECT hash, id, depth, codec FROM blobs WHERE hash IN (SELECT value FROM carray(?))"
_FRAMES_OF = """
    SELECT b.hash, b.size, b.frame_id, f.size FROM blobs b JOIN frames f ON f.id = b.frame_id WHERE b.hash IN carray(?)
"""
_FRAME = "SELECT size, level, data FROM frames WHERE id = ?"
_NEXT_PLACE = "SELECT min(place) FROM blobs WHERE frame_id = ? AND place > ?"
_ADD_FRAME = "INSERT INTO frames (size, level, data) VALUES (?, ?, ?)"
_LAST_ID = "SELECT max(id) FROM blobs"
_KEEP = """
    INSERT INTO blobs (id, hash, size, codec, depth, base_id, frame_id, place, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET size = excluded.size, codec = excluded.codec, depth = excluded.depth,
        base_id = excluded.base_id, frame_id = excluded.frame_id, place = excluded.place, data = excluded.data
"""
_AT_ONCE = 512
_AT_ONCE_BYTES = 16 * 1024 * 1024
"""Blobs that are read with one query, and so many bytes of them: they are in memory together, compressed."""

_FRAMES_AT_HAND = 2
"""Frames that are kept as far as they were decompressed: who reads one file reads its neighbours next."""


_THRIFT = 8
"""At least one part in so many must be asked for of a frame to be worth its decompression; anew it takes a file less."""


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
        self._frames: OrderedDict[int, FrameReader] = OrderedDict()

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, hash_: bytes) -> bytes:
        """The content with this hash, verified against it. Raises MissingBlob, BrokenBlob."""
        try:
            return self._read(hash_)
        except GuardError:  # gc in another process may have put it, its base or its frame elsewhere between two of our looks
            with self._db.snapshot():
                return self._read(hash_)

    def read_many(self, hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
        """The (hash, content) of each of these, verified, or why it cannot be read; in the order that is quick to read."""
        todo = iter(dict.fromkeys(hashes))
        while batch := list(islice(todo, _AT_ONCE)):
            for some in self._in_order(batch):
                for hash_, row in self._rows(some):
                    try:
                        yield hash_, self._verified(row) if row else self.read(hash_)
                    except GuardError:
                        yield hash_, self._or_why_not(hash_)

    def bases(self, hashes: Iterable[bytes], *, thrifty: bool = False) -> dict[bytes, bytes]:
        """The contents of those of these blobs that a next version may be kept as a delta of.

        What cannot be read is left out: fsck reports it, and a new version must not build on it. `thrifty` leaves out what
        takes long to read, too: frames of which little is asked for.
        """
        wanted = set(hashes)
        usable = {hash_ for hash_, known in self._known(wanted).items() if known.is_base}
        if thrifty:
            usable -= self._costly(usable)
        return {hash_: content for hash_, content in self.read_many(usable) if isinstance(content, bytes)}

    def _costly(self, hashes: set[bytes]) -> set[bytes]:
        members: dict[int, list[tuple[bytes, int]]] = {}
        frame_bytes: dict[int, int] = {}
        for hash_, size, frame_id, frame_size in self._db.rows(_FRAMES_OF, (many(hashes),)) if hashes else ():
            members.setdefault(frame_id, []).append((hash_, size))
            frame_bytes[frame_id] = frame_size
        return {
            hash_
            for frame_id, those in members.items()
            if frame_id not in self._frames and sum(size for _, size in those) * _THRIFT < frame_bytes[frame_id]
            for hash_, _ in those
        }

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

    def can_read(self, hash_: bytes) -> bool:
        """Whether the content with this hash is in the store, and whole."""
        return isinstance(self._or_why_not(hash_), bytes)

    def unverified(self, hash_: bytes) -> tuple[Codec, bytes] | None:
        """What is kept under this hash, whatever its row says of hash, size and codec; None where nothing can be had."""
        found = self._db.row(_BY_HASH, (hash_,))
        try:
            row = None if found is None else self._as_it_lies(_Row(*found))
            return None if row is None else (Codec(row.codec), self._decoded(row))
        except (GuardError, ValueError, TypeError, OverflowError):  # damaged beyond that
            return None

    def _as_it_lies(self, row: _Row) -> _Row | None:
        """The row with codec and size told from the rest of it; None where nothing is kept."""
        if row.frame_id is not None:
            end = self._db.value(_NEXT_PLACE, (row.frame_id, row.place)) or self._db.value(_FRAME, (row.frame_id,))
            return row._replace(codec=Codec.FRAME, size=int(end) - int(row.place or 0))
        if row.data is None:
            return None
        codec = codec_of(row.data, has_base=row.base_id is not None)
        return row._replace(codec=codec, size=size_of(codec, row.data))

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
                    frames[blob.frame] = self._db.insert(_ADD_FRAME, (blob.frame.size, blob.frame.level, blob.frame.data))
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

    def _in_order(self, hashes: Sequence[bytes]) -> Iterator[list[bytes]]:
        """These in the order in which they lie in the store, as many at once as there is memory for."""
        sizes: dict[bytes, int] = {}
        with suppress(StoreError):  # some of them can be read all the same
            sizes.update(self._db.rows(_SIZES, (many(hashes),)))
        some: list[bytes] = []
        room = _AT_ONCE_BYTES
        for hash_ in dict.fromkeys((*sizes, *hashes)):
            size = sizes.get(hash_, 0)
            if some and size > room:
                yield some
                some, room = [], _AT_ONCE_BYTES
            some.append(hash_)
            room -= size
        yield some

    def _rows(self, hashes: Sequence[bytes]) -> list[tuple[bytes, _Row | None]]:
        found: dict[bytes, _Row] = {}
        with suppress(StoreError):
            found.update((row[0], _Row(*row)) for row in self._db.rows(_BY_HASHES, (many(hashes),)))
        return [(hash_, found.get(hash_)) for hash_ in hashes]

    def _or_why_not(self, hash_: bytes) -> bytes | GuardError:
        try:
            return self.read(hash_)
        except GuardError as error:
            return error

    def _read(self, hash_: bytes) -> bytes:
        row = self._db.row(_BY_HASH, (hash_,))
        if row is None:
            raise MissingBlob(f"the store has no blob {hash_.hex()[:12]}; run 'guardctl fsck'")
        return self._verified(_Row(*row))

    def _verified(self, row: _Row) -> bytes:
        damaged = f"blob {row.hash.hex()[:12]} is damaged in the store; run 'guardctl fsck --repair'"
        try:
            content = self._decoded(row)
        except (ValueError, TypeError, OverflowError) as error:  # a codec or a size that is none: the row itself is damaged
            raise BrokenBlob(damaged) from error
        if digest(content) != row.hash or len(content) != row.size:
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
            elif one.data is None or one.codec == Codec.UNKEPT:
                raise MissingBlob(
                    "only the hash of this content is kept: the file was over max_file_size, or the content was lost by damage"
                )
            else:
                content = decode(Codec(one.codec), one.data, one.size, content)
        return content

    def _part(self, row: _Row) -> bytes:
        if row.frame_id is None or row.place is None or row.place < 0:
            raise BrokenBlob("the row of a stored blob does not say where its frame is; run 'guardctl fsck --repair'")
        try:
            return self._frame(row.frame_id).part(row.place, row.size)
        except OutOfMemory:
            del self._frames[row.frame_id]
            raise

    def _frame(self, frame_id: int) -> FrameReader:
        reader = self._frames.get(frame_id)
        if reader is None:
            row = self._db.row(_FRAME, (frame_id,))
            if row is None:
                raise BrokenBlob("the frame of a stored blob is gone; run 'guardctl fsck --repair'")
            reader = self._frames[frame_id] = FrameReader(Frame(*row))
            if len(self._frames) > _FRAMES_AT_HAND:
                self._frames.popitem(last=False)
        self._frames.move_to_end(frame_id)
        return reader
