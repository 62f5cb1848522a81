"""Appending to the log: what was seen at a path, the head it is held against, and the rows of new versions."""

from typing import NamedTuple

from blake3 import blake3

from guardd.model import ABSENT, FileState, Origin, RepoPath, StatKey
from guardd.store.blobs import Blobs
from guardd.store.codec import Encoded
from guardd.store.database import PATH_TEXT, Database, Row

_LAST_PATH_ID = "SELECT max(id) FROM paths"
_ADD_PATH = """
    INSERT INTO paths (id, repo_id, path, first_seq, known_before, head_seq, present, stat, racy)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MOVE_HEAD = "UPDATE paths SET head_seq = ?, present = ?, stat = ?, racy = ? WHERE id = ?"
_BEGIN_ANEW = "UPDATE paths SET first_seq = ?, known_before = 1 WHERE id = ?"
_ADD_VERSION = """
    INSERT INTO versions (seq, path_id, kind, blob_id, mode, mtime_ns, time_ns, origin, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_FIELDS = b"%d\0%b\0%b\0%b\0%d\0%d\0%d\0%b"
"""What `row_checksum` makes of a row of the log, in one go."""


class Head(NamedTuple):
    """The newest version of a path, as far as a next version needs it.

    `key` is None where the disk must be looked at; a `racy` one does not prove that the content is still the same.
    `path_id` is the id of the path's row; None: guard never saw it.
    """

    seq: int
    state: FileState
    key: StatKey | None
    origin: Origin | None
    racy: bool = False
    path_id: int | None = None


NO_HEAD = Head(0, ABSENT, None, None)


class Observation(NamedTuple):
    """What a verified read found at a path, for a caller who knew the head as `head_seq` (0: none).

    `racy`: too soon after the last change for `key` to be trusted. `content` may be left out where the blob is in the
    store. `time_ns` is the estimated time of the change, where that is known better than "now".
    """

    path: RepoPath
    head_seq: int
    state: FileState
    key: StatKey | None = None
    racy: bool = False
    content: Encoded | None = None
    time_ns: int | None = None


class Appending:
    """Versions being appended inside a transaction; their times never fall within a stretch of the clock.

    `add` gives each its place, `write` writes them all.
    """

    def __init__(self, db: Database, blobs: Blobs, next_seq: int, floor_ns: int, now_ns: int) -> None:
        self._db = db
        self._blobs = blobs
        self._seq = next_seq
        self._next_path_id = (db.value(_LAST_PATH_ID) or 0) + 1
        self._floor_ns = floor_ns
        self._now_ns = now_ns
        self._born: list[Row] = []
        self._moved: list[Row] = []
        self._begun_anew: list[Row] = []
        self._versions: list[tuple[int, int, bytes, FileState, int, int, Origin]] = []
        self._contents: list[Encoded] = []

    def add(self, repo_id: int, head: Head, one: Observation, origin: Origin, *, known_before: bool) -> tuple[int, int]:
        """Append one version and move the head to it; its place in the log, and the id of its path's row."""
        seq, self._seq = self._seq, self._seq + 1
        time_ns = self._now_ns if one.time_ns is None else min(one.time_ns, self._now_ns)
        self._floor_ns = time_ns = max(time_ns, self._floor_ns)
        state, path = one.state, one.path.encode(*PATH_TEXT)
        stat = one.key.pack() if one.key else None
        path_id = head.path_id
        if path_id is None:
            path_id, self._next_path_id = self._next_path_id, self._next_path_id + 1
            self._born.append((path_id, repo_id, path, seq, known_before, seq, state.present, stat, one.racy))
        else:
            if not head.seq:  # purged, or unreadable so far: what is seen now is not newly born
                self._begun_anew.append((seq, path_id))
            self._moved.append((seq, state.present, stat, one.racy, path_id))
        if one.content is not None and state.present:
            self._contents.append(one.content)
        mtime_ns = one.key.mtime_ns if one.key else time_ns
        self._versions.append((seq, path_id, path, state, mtime_ns, time_ns, origin))
        return seq, path_id

    def keep(self, content: Encoded) -> None:
        """Have a content kept for a version that is there already."""
        self._contents.append(content)

    def write(self) -> None:
        """Write what was added. Raises StaleBlob."""
        blob_ids = self._blobs.add_all(self._contents, {version[3].blob for version in self._versions if version[3].present})
        self._db.run_many(_ADD_PATH, self._born)
        self._db.run_many(_BEGIN_ANEW, self._begun_anew)
        self._db.run_many(_MOVE_HEAD, self._moved)
        self._db.run_many(_ADD_VERSION, (_version_row(blob_ids, *version) for version in self._versions))


def _version_row(
    blob_ids: dict[bytes, int], seq: int, path_id: int, path: bytes, state: FileState, mtime_ns: int, time_ns: int, origin: Origin
) -> Row:
    kind, blob = state.kind, state.blob
    checksum = _checksum(_FIELDS % (seq, path, kind.encode(), blob, state.mode, mtime_ns, time_ns, origin.encode()))
    blob_id = blob_ids[blob] if blob else None
    return seq, path_id, kind, blob_id, state.mode, mtime_ns, time_ns, origin, checksum


def row_checksum(*fields: int | str | bytes) -> int:
    """The checksum of a version's row: 63 bits of BLAKE3 over its fields, so that a flipped bit is found."""
    return _checksum(b"\0".join(field if isinstance(field, bytes) else str(field).encode() for field in fields))


def _checksum(packed: bytes) -> int:
    return int.from_bytes(blake3(packed).digest(8)) >> 1
