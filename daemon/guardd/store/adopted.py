"""The adopted versions: contents that backup files held, each a version of its file at the time of the backup.

They have numbers of the log, and no place in it: what guard saw for itself is the log's alone, so that heads, moments and
detection never meet what was only said of the past.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardd.model import FileState, Kind, Moment, Origin, RepoPath, Version
from guardd.store.appending import row_checksum
from guardd.store.blobs import Blobs
from guardd.store.clocks import note
from guardd.store.codec import Codec, Encoded
from guardd.store.database import Database, Row

_ADOPTED = """
    SELECT a.seq, a.path, b.hash, b.size, a.mode, b.codec, a.time_ns, a.adopted_ns, a.source, a.dated_by
    FROM adopted a JOIN blobs b ON b.id = a.blob_id
"""
_BY_SEQ = _ADOPTED + "WHERE a.seq = ? AND a.repo_id = ?"
_OF_REPO = _ADOPTED + "WHERE a.repo_id = ? ORDER BY a.time_ns DESC, a.seq DESC"
_OF_PATH = _ADOPTED + "WHERE a.repo_id = ? AND a.path = ? ORDER BY a.time_ns DESC, a.seq DESC"
_AT = _ADOPTED + "WHERE a.repo_id = ? AND a.path = ? AND a.time_ns <= ? ORDER BY a.time_ns DESC, a.seq DESC LIMIT 1"
_ALL_AT = _ADOPTED + "WHERE a.repo_id = ? AND a.time_ns <= ? ORDER BY a.time_ns, a.seq"
_PATHS = "SELECT DISTINCT path FROM adopted WHERE repo_id = ? ORDER BY path"
_LOGGED = """
    SELECT b.hash, min(v.seq) FROM paths p JOIN versions v ON v.path_id = p.id JOIN blobs b ON b.id = v.blob_id
    WHERE p.repo_id = ? AND p.path = ? AND v.kind = 'file' GROUP BY b.hash
"""
_NEXT_NUMBER = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'versions'"
_FIRST_NUMBER = "INSERT INTO sqlite_sequence (name, seq) VALUES ('versions', 1)"
_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'versions'"
_FIND = "SELECT seq FROM adopted WHERE repo_id = ? AND path = ? AND time_ns = ? AND blob_id = ?"
_ADD = """
    INSERT INTO adopted (seq, repo_id, path, blob_id, mode, time_ns, adopted_ns, source, dated_by, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class Adopted(NamedTuple):
    """One adopted version. `source` is the backup file (relative to the repo, or absolute), `dated_by` where its time is from."""

    version: Version
    adopted_ns: int
    source: str
    dated_by: str


class Backup(NamedTuple):
    """A backup file's content, ready to be adopted as a version of `path`."""

    path: RepoPath
    state: FileState
    content: Encoded
    time_ns: int
    source: str
    dated_by: str


class AdoptedVersions:
    """The adopted versions of one open store."""

    def __init__(self, db: Database, blobs: Blobs) -> None:
        self._db = db
        self._blobs = blobs

    def add(self, repo_id: int, backups: Iterable[Backup], now: Moment) -> list[int]:
        """Keep these, in one durable transaction; their numbers. What is there already keeps its own. Raises StaleBlob."""
        with self._db.transaction():
            note(self._db, int(self._db.value(_NUMBER) or 0) + 1, now)
            return [self._add(repo_id, one, now.wall_ns) for one in backups]

    def _add(self, repo_id: int, one: Backup, now_ns: int) -> int:
        path, source = os.fsencode(one.path), os.fsencode(one.source)
        blob_id = self._blobs.add(one.content)
        there = self._db.value(_FIND, (repo_id, path, one.time_ns, blob_id))
        if there is not None:
            return int(there)
        if not self._db.run(_NEXT_NUMBER):
            self._db.run(_FIRST_NUMBER)
        seq = int(self._db.value(_NUMBER))
        checksum = adopted_checksum(seq, path, one.state.blob, one.state.mode, one.time_ns, now_ns, source, one.dated_by)
        row = (seq, repo_id, path, blob_id, one.state.mode, one.time_ns, now_ns, source, one.dated_by, checksum)
        self._db.run(_ADD, row)
        return seq

    def get(self, repo_id: int, seq: int) -> Adopted | None:
        """The adopted version of a repo with this number."""
        row = self._db.row(_BY_SEQ, (seq, repo_id))
        return _adopted(row) if row else None

    def at(self, repo_id: int, path: RepoPath, time_ns: int) -> Adopted | None:
        """The newest adopted version of a path that is not later than this."""
        row = self._db.row(_AT, (repo_id, os.fsencode(path), time_ns))
        return _adopted(row) if row else None

    def all_at(self, repo_id: int, time_ns: int) -> dict[RepoPath, Adopted]:
        """For each path of a repo the newest adopted version that is not later than this."""
        return {one.version.path: one for one in map(_adopted, self._db.each(_ALL_AT, (repo_id, time_ns)))}

    def of_path(self, repo_id: int, path: RepoPath) -> list[Adopted]:
        """The adopted versions of a path, latest first."""
        return [_adopted(row) for row in self._db.rows(_OF_PATH, (repo_id, os.fsencode(path)))]

    def of_repo(self, repo_id: int) -> Iterator[Adopted]:
        """The adopted versions of a repo, latest first."""
        return map(_adopted, self._db.each(_OF_REPO, (repo_id,)))

    def paths(self, repo_id: int) -> list[RepoPath]:
        """Every path that has adopted versions."""
        return [os.fsdecode(row[0]) for row in self._db.rows(_PATHS, (repo_id,))]

    def logged(self, repo_id: int, path: RepoPath) -> dict[bytes, int]:
        """The contents that the log itself has of a path, and the first place of each."""
        return dict(self._db.rows(_LOGGED, (repo_id, os.fsencode(path))))


def adopted_checksum(*fields: int | str | bytes) -> int:
    """The checksum of an adopted version's row; never that of a row of the log."""
    return row_checksum("adopted", *fields)


def _adopted(row: Row) -> Adopted:
    seq, path, blob, size, mode, codec, time_ns, adopted_ns, source, dated_by = row
    state = FileState(Kind.FILE, blob, size, mode, codec != Codec.UNKEPT)
    version = Version(seq, os.fsdecode(path), state, time_ns, time_ns, Origin.ADOPT)
    return Adopted(version, adopted_ns, os.fsdecode(source), dated_by)
