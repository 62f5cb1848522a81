"""How a blob's bytes are kept: zstd, against the path's previous version where that is smaller, new files together. Pure."""

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, cast

from blake3 import blake3

from guardd.errors import GuardError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 3
"""Of 31 MB of standard library, level 3 makes 7.5 MB in 0.12 s, level 1 7.9 MB in 0.11 s."""

MAX_DEPTH = 24
"""The most deltas that a read has to undo; a one-line edit costs 50 bytes as a delta and some 3,000 whole."""

_LARGEST_TEXT = 64 * 1024 * 1024

FRAME_BYTES = 3 * 1024 * 1024
"""About so many bytes of neighbouring files are compressed together. Of 274 MB in 12,568 files level 3 makes 83.1 MB file by
file, 75.5 MB by 256 KiB, 70.4 MB by 1 MiB, 66.8 MB by 2 MiB, 64.1 MB by 3 MiB, 61.9 MB by 4 MiB, all in about the same time;
reading one file decompresses half a frame in the mean, 3 ms."""

QUICK, DENSE = 1, 6
"""The levels of a frame when it is made, and once there was time: 7.15 MB in 0.19 s and 5.80 MB in 0.98 s out of 31 MB of
standard library (level 3: 6.59 MB in 0.34 s, level 9: 5.64 MB in 1.31 s)."""

_STEP = 1 << 16
"""So many bytes of a frame are decompressed in one go, and kept apart: growing one buffer took as long as decompressing."""
_FRAME_WINDOW = 22
_DEFAULT_WINDOW = 1 << 21
_SHORTEST_PREFIX = 8
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""What a frame begins with, RFC 8878; no text does."""


class BrokenBlob(GuardError):
    """A blob's bytes are not those that its hash was made of."""


class OutOfMemory(BrokenBlob):
    """A blob says that it is larger than there is memory: a lie of the store, or true on a machine that has little left."""

    def __init__(self, size: int) -> None:
        super().__init__(f"there is no memory for a stored blob of {size:,} bytes; end other programs, and try again")


class Codec(IntEnum):
    """How a blob's `data` is to be read."""

    RAW = 0
    ZSTD = 1
    DELTA = 2
    """zstd with the base's content as prefix."""
    UNKEPT = 3
    """Only the hash is kept: the file is over `max_file_size`."""
    FRAME = 4
    """A part of a frame, from its `place` on."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Contents compressed together: the size of all of them in bytes, the level of the compression, and their zstd."""

    size: int
    level: int
    data: bytes


class Encoded(NamedTuple):
    """A blob ready for the store; `base` is the hash of the blob that a delta needs, else empty; `place` is that in `frame`."""

    hash: bytes
    size: int
    codec: Codec
    data: bytes | None
    base: bytes = b""
    frame: Frame | None = None
    place: int = 0


def digest(content: bytes) -> bytes:
    """The blob address of a content: BLAKE3, 32 bytes (13 ms for 31 MB in 1,790 files; SHA-256 takes 20)."""
    return blake3(content).digest()


def encode(hash_: bytes, content: bytes, base: tuple[bytes, bytes] | None = None) -> Encoded:
    """The smallest form of `content`; `base` is the (hash, content) of the version before, if a delta may be made."""
    best = Encoded(hash_, len(content), Codec.RAW, content)
    if base is not None and len(base[1]) >= _SHORTEST_PREFIX:
        delta = zstd.compress(content, options=_options(len(content) + len(base[1])), zstd_dict=_prefix(base[1]))
        if len(delta) < len(content):
            best = Encoded(hash_, len(content), Codec.DELTA, delta, base[0])
            if len(delta) * 8 < len(content):
                return best  # no whole form of source text comes near
    whole = zstd.compress(content, LEVEL)
    return Encoded(hash_, len(content), Codec.ZSTD, whole) if len(whole) < len(cast(bytes, best.data)) else best


def pack(contents: Sequence[tuple[bytes, bytes]]) -> list[Encoded]:
    """One frame out of these (hash, content)s: `divide` says how many go together well."""
    together = b"".join(content for _, content in contents)
    frame = _frame(together, QUICK)
    packed, place = [], 0
    for hash_, content in contents:
        packed.append(Encoded(hash_, len(content), Codec.FRAME, None, frame=frame, place=place))
        place += len(content)
    return packed


def denser(frame: Frame) -> Frame | None:
    """The same contents compressed densely; None where they cannot be had out of the frame."""
    try:
        together = FrameReader(frame).part(0, frame.size)
        made = _frame(together, DENSE)
        is_whole = len(together) == frame.size and FrameReader(made).part(0, frame.size) == together
    except OutOfMemory:
        return None
    return made if is_whole else None


def _frame(together: bytes, level: int) -> Frame:
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: level, parameter.window_log: _FRAME_WINDOW}
    return Frame(len(together), level, zstd.compress(together, options=options))


class FrameReader:
    """The contents of a frame, decompressed as far as they were asked for, and never beyond the frame's `size`.

    Of a damaged frame all that lies before the damage can be had.
    """

    def __init__(self, frame: Frame) -> None:
        self._size = frame.size
        self._left = frame.data
        self._decompressor = zstd.ZstdDecompressor()
        self._steps: list[bytes] = []
        self._ends: list[int] = []

    def part(self, place: int, size: int) -> bytes:
        """So many bytes from a place on; fewer, where there are no more or they are damaged.

        Raises OutOfMemory; the reader is of no more use then.
        """
        end = min(place + size, self._size)
        try:
            with suppress(zstd.ZstdError):
                self._go_on_to(end)
            return b"".join(self._pieces(place, end))
        except MemoryError as error:
            self._steps.clear()
            raise OutOfMemory(size) from error

    def _go_on_to(self, end: int) -> None:
        done = self._ends[-1] if self._ends else 0
        while done < end and not self._decompressor.eof:
            step = self._decompressor.decompress(self._left, max_length=min(_STEP, self._size - done))
            self._left = b""
            if not step and self._decompressor.needs_input:  # it was cut off
                break
            done += len(step)
            self._steps.append(step)
            self._ends.append(done)

    def _pieces(self, place: int, end: int) -> Iterator[bytes]:
        for at in range(bisect_right(self._ends, place), len(self._ends)):
            step = self._steps[at]
            begin = self._ends[at] - len(step)
            if begin >= end:
                break
            yield step[max(0, place - begin) : end - begin]


def divide(contents: Sequence[tuple[bytes, bytes]]) -> list[Sequence[tuple[bytes, bytes]]]:
    """These (hash, content)s, in their order, in parts of one frame each: of about `FRAME_BYTES`, and alike in size."""
    total = sum(len(content) for _, content in contents)
    count = max(1, round(total / FRAME_BYTES))
    parts: list[Sequence[tuple[bytes, bytes]]] = []
    begin, size = 0, 0
    for end, (_, content) in enumerate(contents, 1):
        size += len(content)
        is_full = size * count >= total * (len(parts) + 1)
        if end == len(contents) or (is_full and len(parts) + 1 < count):
            parts.append(contents[begin:end])
            begin = end
    return parts


def unkept(hash_: bytes, size: int) -> Encoded:
    """A blob of which only the hash is kept."""
    return Encoded(hash_, size, Codec.UNKEPT, None)


def decode(codec: Codec, data: bytes, size: int, base: bytes = b"") -> bytes:
    """The content, never more than `size` bytes of it, whatever the frame says of itself. Raises BrokenBlob."""
    if size < 0:  # zstd would take it for no bound at all
        raise BrokenBlob("a stored blob has a size below zero; run 'guardctl fsck'")
    if codec is Codec.RAW:
        content = data
    else:
        # The frame header's own size is not to be trusted: only the bounded, streaming form limits memory.
        decompressor = zstd.ZstdDecompressor(zstd_dict=_prefix(base) if codec is Codec.DELTA else None)
        try:
            content = decompressor.decompress(data, max_length=size + 1)
        except MemoryError as error:
            raise OutOfMemory(size) from error
        except zstd.ZstdError as error:
            raise BrokenBlob(f"a stored blob does not decompress ({error}); run 'guardctl fsck'") from error
    if len(content) != size:
        raise BrokenBlob(f"a stored blob has {len(content)} bytes instead of {size}; run 'guardctl fsck'")
    return content


def codec_of(data: bytes, *, has_base: bool) -> Codec:
    """How the data of a blob outside of a frame are to be read, by themselves."""
    if has_base:
        return Codec.DELTA
    return Codec.ZSTD if data.startswith(_ZSTD_MAGIC) else Codec.RAW


def size_of(codec: Codec, data: bytes) -> int:
    """How long a content is by what is kept of it alone. Raises BrokenBlob, also for more than 64 MiB."""
    if codec is Codec.RAW:
        return len(data)
    try:
        size = zstd.get_frame_info(data).decompressed_size
    except zstd.ZstdError as error:
        raise BrokenBlob(f"a stored blob is no zstd ({error})") from error
    if size is None or size > _LARGEST_TEXT:
        raise BrokenBlob("a stored blob does not say its size, or a far too large one")
    return size


def expand(data: bytes) -> bytes:
    """What was compressed by itself, as facts are. Raises BrokenBlob, also for more than 64 MiB."""
    decompressor = zstd.ZstdDecompressor()
    try:
        text = decompressor.decompress(data, max_length=_LARGEST_TEXT)
    except zstd.ZstdError as error:
        raise BrokenBlob(f"what is stored does not decompress ({error})") from error
    if not decompressor.eof:
        raise BrokenBlob("what is stored is cut off, or far too long")
    return text


def _prefix(base: bytes) -> "tuple[zstd.ZstdDict, int]":
    return zstd.ZstdDict(base, is_raw=True).as_prefix


def _options(span: int) -> dict[int, int]:
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: LEVEL}
    if span > _DEFAULT_WINDOW:  # else the far end of the base is out of the window's reach
        options[parameter.window_log] = min(span.bit_length(), 27)
        options[parameter.enable_long_distance_matching] = 1
    return options
