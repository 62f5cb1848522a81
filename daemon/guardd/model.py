"""The nouns of guard: frozen data and pure functions, no I/O; imports nothing of ours.

Paths are relative to the repo, `/`-separated, surrogateescape text (`os.fsdecode`); times are ns since the epoch, UTC.
"""

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

RepoPath = str


class Kind(StrEnum):
    """What is at a path."""

    FILE = "file"
    LINK = "link"
    ABSENT = "absent"


class Origin(StrEnum):
    """Why a version exists."""

    BASELINE = "baseline"
    WATCH = "watch"
    SCAN = "scan"
    OFFLINE = "offline"
    RESTORE = "restore"
    RUN = "run"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class FileState:
    """What a path is: kind, content (`blob`, its BLAKE3 hash, 32 bytes, empty when absent), size in bytes, permission bits.

    Of a link the content is its target. `stored` is false where only the hash is kept (over `max_file_size`).
    """

    kind: Kind
    blob: bytes = b""
    size: int = 0
    mode: int = 0
    stored: bool = field(default=True, compare=False)

    @property
    def present(self) -> bool:
        """Whether there is anything at the path."""
        return self.kind is not Kind.ABSENT


ABSENT = FileState(Kind.ABSENT)


@dataclass(frozen=True, slots=True)
class StatKey:
    """The key of a file state on disk: equal keys mean an unchanged file, once it is no longer racily clean."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    _PACKED = struct.Struct("<QQqqq")

    def pack(self) -> bytes:
        """The key as 40 bytes, as the store keeps it."""
        return self._PACKED.pack(self.dev, self.ino, self.size, self.mtime_ns, self.ctime_ns)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The key that `pack` made these bytes of; what follows them is passed over."""
        return cls(*cls._PACKED.unpack_from(packed))


@dataclass(frozen=True, slots=True)
class Version:
    """One observed state of one path; `seq` is its place in the log, and the only order there is."""

    seq: int
    path: RepoPath
    state: FileState
    mtime_ns: int
    time_ns: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of the clocks: wall time, and time since boot, which no one can set."""

    wall_ns: int
    boot_ns: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a repo is not fully protected, and what to do about it."""

    code: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}; {self.cure}"


class RepoState(StrEnum):
    """How well a repo is protected at this moment."""

    STARTING = "starting"
    PROTECTED = "protected"
    DEGRADED = "degraded"
    DESYNCED = "desynced"
    STOPPED = "stopped"
