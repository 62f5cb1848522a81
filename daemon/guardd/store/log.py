"""The log: the append-only sequence of versions, the heads, and what was in force at a place in it."""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from typing import NamedTuple

from guardd.errors import StoreError
from guardd.model import ABSENT, FileState, Kind, Moment, Origin, RepoPath, StatKey, Version
from guardd.store.appending import NO_HEAD, Appending, Head, Observation
from guardd.store.blobs import Blobs
from guardd.store.clocks import note
from guardd.store.codec import Codec
from guardd.store.database import PATH_TEXT, Database, Row, many

_VERSION = """
    SELECT v.seq, p.path, v.kind, b.hash, b.size, v.mode, b.codec, v.mtime_ns, v.time_ns, v.origin
    FROM versions v JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id
"""
_AT_SEQ = _VERSION + "WHERE v.seq = ?"
_STATES = """
    SELECT v.seq, v.kind, b.hash, b.size, v.mode, b.codec
    FROM carray(?) c CROSS JOIN versions v ON v.seq = c.value LEFT JOIN blobs b ON b.id = v.blob_id
"""
_IN_FORCE = _VERSION + "WHERE v.path_id = ? AND v.seq <= ? ORDER BY v.seq DESC LIMIT 1"
_NEXT = _VERSION + "WHERE v.path_id = ? AND v.seq > ? ORDER BY v.seq LIMIT 1"
_WALK = """
    SELECT v.seq, p.path, v.kind, b.hash, b.size, v.mode, b.codec, v.mtime_ns, v.time_ns, v.origin
    FROM versions v CROSS JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id
"""
"""Along the log (CROSS JOIN: in this order), 1 ms for the first; path by path, all of 1,000,000 were sorted before it: 9 s."""

_OF_REPO = _WALK + "WHERE p.repo_id = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq DESC"
_HAS_NEWER = "SELECT 1 FROM paths WHERE repo_id = ? AND head_seq > ? LIMIT 1"
_NEXT_OF_REPO = _WALK + "WHERE v.seq > ? AND p.repo_id = ? ORDER BY v.seq LIMIT ?"
_BEFORE = """
    SELECT max(w.seq) FROM versions w WHERE w.path_id = (SELECT path_id FROM versions WHERE seq = ?) AND w.seq < ?
"""
_EARLIER_ALIKE = """
    SELECT w.seq, w.time_ns, w.origin, (SELECT n.time_ns FROM versions n WHERE n.path_id = w.path_id AND n.seq > w.seq
                                        ORDER BY n.seq LIMIT 1)
    FROM versions w WHERE w.blob_id = (SELECT blob_id FROM versions WHERE seq = ?)
        AND w.path_id = (SELECT path_id FROM versions WHERE seq = ?) AND w.seq < ?
"""
_CHANGES = """
    SELECT v.seq, p.path, v.kind, b.hash, b.size, v.mode, b.codec, v.mtime_ns, v.time_ns, v.origin,
        coalesce((SELECT w.kind = 'absent' FROM versions w WHERE w.path_id = v.path_id AND w.seq < v.seq
                  ORDER BY w.seq DESC LIMIT 1), v.seq = p.first_seq)
    FROM versions v CROSS JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id
    WHERE p.repo_id = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq DESC
"""
_OF_PATH = _VERSION + "WHERE v.path_id = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq DESC"
_WAS_BORN = """
    SELECT coalesce(
        (SELECT w.kind = 'absent' FROM versions w WHERE w.path_id = v.path_id AND w.seq < v.seq ORDER BY w.seq DESC LIMIT 1),
        v.seq = p.first_seq)
    FROM versions v JOIN paths p ON p.id = v.path_id WHERE v.seq = ?
"""
_HEADS = """
    SELECT p.path, p.id, p.head_seq, p.stat, v.kind, b.hash, b.size, v.mode, b.codec, v.origin, p.racy
    FROM carray(?) c CROSS JOIN paths p ON p.repo_id = ? AND p.path = c.value
    LEFT JOIN versions v ON v.seq = p.head_seq LEFT JOIN blobs b ON b.id = v.blob_id
"""
_PLACES = "SELECT id, head_seq FROM paths WHERE id IN carray(?)"
_KEYS = "SELECT path, stat, racy FROM paths NOT INDEXED WHERE repo_id = ? AND present"
"""In the order of the table: by an index each row is looked up on its own (225 ms for 100,000 edited paths, 81 ms without)."""

_KEYS_BELOW = "SELECT path, stat, racy FROM paths WHERE repo_id = ? AND present AND path >= ? AND path < ?"
_PATH_ROW = "SELECT id, path, first_seq, known_before, head_seq FROM paths"
_PATH = _PATH_ROW + " WHERE repo_id = ? AND path = ?"
_ALL_PATHS = "SELECT path FROM paths NOT INDEXED WHERE repo_id = ? AND head_seq > 0 ORDER BY path"
_FORGOTTEN = "SELECT path FROM paths WHERE repo_id = ? AND head_seq = 0"
_PASSAGES = """
    SELECT p.id, p.first_seq, p.known_before,
        h.seq, p.path, h.kind, hb.hash, hb.size, h.mode, hb.codec, h.mtime_ns, h.time_ns, h.origin,
        t.seq, p.path, t.kind, tb.hash, tb.size, t.mode, tb.codec, t.mtime_ns, t.time_ns, t.origin,
        a.seq, p.path, a.kind, ab.hash, ab.size, a.mode, ab.codec, a.mtime_ns, a.time_ns, a.origin
    FROM paths p
    LEFT JOIN versions h ON h.seq = p.head_seq LEFT JOIN blobs hb ON hb.id = h.blob_id
    LEFT JOIN versions t ON p.head_seq > ?2
        AND t.seq = (SELECT max(w.seq) FROM versions w WHERE w.path_id = p.id AND w.seq <= ?2)
    LEFT JOIN blobs tb ON tb.id = t.blob_id
    LEFT JOIN versions a ON p.head_seq > ?2
        AND a.seq = (SELECT min(w.seq) FROM versions w WHERE w.path_id = p.id AND w.seq > ?2)
    LEFT JOIN blobs ab ON ab.id = a.blob_id
"""
"""Each path with its newest version and, if that is after a place (?2), the one in force there and the first after it."""

_PASSAGES_OF_ALL = _PASSAGES + "WHERE p.repo_id = ?1 AND p.head_seq > ?3 ORDER BY p.path"
_PASSAGE = _PASSAGES + "WHERE p.repo_id = ?1 AND p.path = ?3 AND p.head_seq > 0"
_LAST_SEQ = "SELECT seq FROM sqlite_sequence WHERE name = 'versions'"
_NOTE_KNOWN = """
    INSERT OR IGNORE INTO paths (repo_id, path, first_seq, known_before, head_seq, present) VALUES (?, ?, 0, 1, 0, 0)
"""
_SEEN = "UPDATE paths SET stat = ?, racy = ? WHERE id = ?"
_NEWEST = _VERSION + "ORDER BY v.seq DESC LIMIT 1"
_CLOCKS = "SELECT first_seq, boot_id, offset_ns FROM clocks ORDER BY first_seq DESC"
_LAST_TIME = "SELECT time_ns FROM versions WHERE seq >= ? ORDER BY seq DESC LIMIT 1"
_AT_OR_AFTER = "SELECT seq, time_ns FROM versions WHERE seq >= ? ORDER BY seq LIMIT 1"

_KINDS = {kind.value: kind for kind in Kind}
_ORIGINS = {origin.value: origin for origin in Origin}
_UNKEPT = Codec.UNKEPT.value
"""Of each row looked up here first: an enum takes 2 us to find its member."""


class Recorded(NamedTuple):
    """What became of observations: paths with a new version, and those whose head had moved (look at them again)."""

    written: list[RepoPath]
    stale: list[RepoPath]


class Change(StrEnum):
    """What a version did to its path."""

    CREATED = "created"
    MODIFIED = "modified"
    DELETED = "deleted"


class Knowledge(Enum):
    """What the log can say of a path at a place before its head."""

    KNOWN = "known"
    FIRST_SEEN = "first seen later; there before guard was"
    FORGOTTEN = "removed by retention"


class Passage(NamedTuple):
    """One path between a place in the log and now: in force then, first change after it, newest version.

    `then` is None where nothing was there (KNOWN), or where the log no longer says (FORGOTTEN).
    """

    path: RepoPath
    then: Version | None
    knowledge: Knowledge
    first_after: Version | None
    head: Version


class Log:
    """The log of one open store, over all repos."""

    def __init__(self, db: Database, blobs: Blobs) -> None:
        self._db = db
        self._blobs = blobs

    # -- appending ----------------------------------------------------------------------------------------------

    def record(
        self,
        repo_id: int,
        seen: Iterable[Observation],
        origin: Origin,
        now: Moment,
        *,
        known_before: bool = False,
        heads: Mapping[RepoPath, Head] | None = None,
    ) -> Recorded:
        """Append a version for each observation that differs from its head, in one durable transaction; each path once.

        `known_before`: paths that guard meets for the first time were there before (a baseline). `heads` are those that the
        caller was given, of every path, so that only what moved since is read again. Raises StaleBlob.
        """
        recorded = Recorded([], [])
        seen = list(seen)
        looked_at = []
        with self._db.transaction():
            appending = self.appending(now)
            heads = self._by_now(repo_id, heads) if heads else self.heads(repo_id, (one.path for one in seen))
            for one in seen:
                head = heads[one.path]
                if head.seq != one.head_seq and head.state != one.state:
                    recorded.stale.append(one.path)
                elif head.state == one.state:
                    if one.content and not head.state.stored:  # it may be kept by now, or was lost and is here again
                        appending.keep(one.content)
                    if head.path_id:
                        looked_at.append((one.key.pack() if one.key else None, one.racy, head.path_id))
                else:
                    appending.add(repo_id, head, one, origin, known_before=known_before)
                    recorded.written.append(one.path)
            appending.write()
            self._db.run_many(_SEEN, looked_at)
        return recorded

    def note_known_before(self, repo_id: int, paths: Iterable[RepoPath]) -> None:
        """Remember paths that are there but cannot be read yet, so that they are not taken for new once they can."""
        with self._db.transaction():
            self._db.run_many(_NOTE_KNOWN, ((repo_id, os.fsencode(path)) for path in paths))

    def appending(self, now: Moment) -> "Appending":
        """Begin to append; inside a transaction."""
        next_seq = (self._db.value(_LAST_SEQ) or 0) + 1
        begun = note(self._db, next_seq, now)
        floor = (self._db.value(_LAST_TIME, (begun,)) or 0) if begun is not None else 0
        return Appending(self._db, self._blobs, next_seq, floor, now.wall_ns)

    # -- heads --------------------------------------------------------------------------------------------------

    def head(self, repo_id: int, path: RepoPath) -> Head:
        """The head of a path; NO_HEAD where guard does not know it."""
        return self.heads(repo_id, [path])[path]

    def keys(self, repo_id: int, folder: RepoPath = "") -> dict[RepoPath, bytes | None]:
        """The packed StatKey of every present head below `folder`; a racy one is longer by a byte, so that none equals it."""
        if not folder:
            rows = self._db.each(_KEYS, (repo_id,))
        else:
            below = os.fsencode(folder)
            rows = self._db.each(_KEYS_BELOW, (repo_id, below + b"/", below + b"0"))
        return {path.decode(*PATH_TEXT): stat + b"\0" if racy and stat else stat for path, stat, racy in rows}

    def last_seq(self) -> int:
        """The place of the newest version in the log; 0 while it is empty."""
        return int(self._db.value(_LAST_SEQ) or 0)

    def heads(self, repo_id: int, paths: Iterable[RepoPath]) -> dict[RepoPath, Head]:
        """The heads of these paths; NO_HEAD of those that guard does not know."""
        found: dict[RepoPath, Head] = dict.fromkeys(paths, NO_HEAD)
        if found:
            asked = many([path.encode(*PATH_TEXT) for path in found])
            for path, *head in self._db.rows(_HEADS, (asked, repo_id)):
                found[path.decode(*PATH_TEXT)] = _head(*head)
        return found

    def _by_now(self, repo_id: int, heads: Mapping[RepoPath, Head]) -> dict[RepoPath, Head]:
        """These heads, and anew those that have moved since they were read."""
        ids = array("q", (head.path_id for head in heads.values() if head.path_id is not None))
        places: dict[int | None, int] = dict(self._db.rows(_PLACES, (many(ids),))) if ids else {}
        moved = [path for path, head in heads.items() if places.get(head.path_id) != head.seq]
        return {**heads, **self.heads(repo_id, moved)}

    # -- looking back -------------------------------------------------------------------------------------------

    def place_at(self, time_ns: int) -> int:
        """The newest place in the log that was reached by this wall time; 0 where it is before all of them."""
        end = self.last_seq()
        for first_seq, _, _ in self._db.rows(_CLOCKS):
            place = self._last_until(first_seq, end, time_ns)
            if place:
                return place
            end = first_seq - 1
        return 0

    def place_before(self, elapsed_ns: int, now: Moment) -> int:
        """The newest place in the log that was reached `elapsed_ns` ago, whatever the wall clock did since boot."""
        end = self.last_seq()
        for first_seq, boot_id, offset in self._db.rows(_CLOCKS):
            here = now.boot_ns + offset if boot_id == now.boot_id else now.wall_ns
            place = self._last_until(first_seq, end, here - elapsed_ns)
            if place:
                return place
            end = first_seq - 1
        return 0

    def version(self, seq: int) -> Version | None:
        """The version at this place."""
        row = self._db.row(_AT_SEQ, (seq,))
        return _version(row) if row else None

    def states(self, places: Iterable[int]) -> dict[int, FileState]:
        """What the versions at these places recorded, of those that are there."""
        asked = array("q", places)
        rows = self._db.rows(_STATES, (many(asked),)) if asked else []
        return {seq: _state(*state) for seq, *state in rows}

    def newest(self) -> Version | None:
        """The version at the end of the log; `last_seq` may be the number of an adopted one, which is not in it."""
        row = self._db.row(_NEWEST)
        return _version(row) if row else None

    def next_versions(self, repo_id: int, after: int, limit: int) -> list[Version]:
        """The next versions of a repo after a place in the log, oldest first."""
        if self._db.row(_HAS_NEWER, (repo_id, after)) is None:  # else what others write would be walked past each time
            return []
        return [_version(row) for row in self._db.rows(_NEXT_OF_REPO, (after, repo_id, limit))]

    def before(self, seq: int) -> Version | None:
        """The version of the same path right before this one."""
        found = self._db.value(_BEFORE, (seq, seq))
        return self.version(found) if found else None

    def was_in_force(self, seq: int, least_ns: int) -> bool:
        """Whether the path had this version's content before: from the start, by a restore, or for at least so long."""
        return any(
            origin in (Origin.BASELINE, Origin.RESTORE) or (until_ns is not None and until_ns - from_ns >= least_ns)
            for _, from_ns, origin, until_ns in self._db.rows(_EARLIER_ALIKE, (seq, seq, seq))
        )

    def repo_of(self, seq: int) -> int | None:
        """The repo that the version at this place belongs to."""
        found: int | None = self._db.value(
            "SELECT p.repo_id FROM versions v JOIN paths p ON p.id = v.path_id WHERE v.seq = ?", (seq,)
        )
        return found

    def versions(self, repo_id: int, after: int = 0, until: int | None = None) -> Iterator[Version]:
        """The versions of a repo in (after, until], newest first."""
        return map(_version, self._db.each(_OF_REPO, (repo_id, after, _bound(until))))

    def changes(self, repo_id: int, after: int = 0, until: int | None = None) -> Iterator[tuple[Version, Change]]:
        """The same, each with what it did to its path."""
        for *row, was_born in self._db.each(_CHANGES, (repo_id, after, _bound(until))):
            version = _version(tuple(row))
            yield version, _change(version, was_born=was_born)

    def versions_of(self, repo_id: int, path: RepoPath, after: int = 0, until: int | None = None) -> Iterator[Version]:
        """The versions of one path in (after, until], newest first."""
        row = self._db.row(_PATH, (repo_id, os.fsencode(path)))
        if row is not None:
            yield from map(_version, self._db.each(_OF_PATH, (row[0], after, _bound(until))))

    def change_of(self, version: Version) -> Change:
        """What this version did to its path, against the one before it."""
        return _change(version, was_born=version.state.present and self._db.value(_WAS_BORN, (version.seq,)))

    def paths(self, repo_id: int) -> list[RepoPath]:
        """Every path of the repo that has versions, present or not."""
        return [path.decode(*PATH_TEXT) for (path,) in self._db.each(_ALL_PATHS, (repo_id,))]

    def forgotten(self, repo_id: int) -> list[RepoPath]:
        """Paths of which no version is left, or never was one: purged, or never readable."""
        return [path.decode(*PATH_TEXT) for (path,) in self._db.each(_FORGOTTEN, (repo_id,))]

    def passages(self, repo_id: int, place: int, *, changed_only: bool = True) -> list[Passage]:
        """What became of each path since a place in the log: of the changed ones, or of all."""
        with self._db.snapshot():
            rows = self._db.each(_PASSAGES_OF_ALL, (repo_id, place, place if changed_only else 0))
            return [self._passage(row, place) for row in rows]

    def passage(self, repo_id: int, path: RepoPath, place: int) -> Passage | None:
        """What became of one path since a place in the log."""
        row = self._db.row(_PASSAGE, (repo_id, place, os.fsencode(path)))
        return self._passage(row, place) if row else None

    def _passage(self, row: Row, place: int) -> Passage:
        path_id, first_seq, known_before, head_seq = row[:4]
        path = row[4].decode(*PATH_TEXT)
        if head_seq is None:
            raise StoreError(f"the newest version of {path!r} is missing in the store; run 'guardctl fsck --repair'")
        head = _version(row[3:13])
        if head_seq <= place:
            return Passage(path, head, Knowledge.KNOWN, None, head)
        then = _version(row[13:23]) if row[13] else None
        after = _version(row[23:]) if row[23] != head_seq else head
        if then is not None or not (known_before or place >= first_seq):
            return Passage(path, then, Knowledge.KNOWN, after, head)
        if known_before and after.seq == first_seq:
            return Passage(path, after, Knowledge.FIRST_SEEN, self._found(_NEXT, (path_id, after.seq)), head)
        return Passage(path, None, Knowledge.FORGOTTEN, after, head)

    def _found(self, sql: str, values: Sequence[int]) -> Version | None:
        row = self._db.row(sql, values)
        return _version(row) if row else None

    def _last_until(self, low: int, high: int, time_ns: int) -> int:
        """The last place in [low, high], where times never fall, with a time <= time_ns; 0 if there is none."""
        found = 0
        while low <= high:
            middle = (low + high) // 2
            row = self._db.row(_AT_OR_AFTER, (middle,))
            if row is None or row[0] > high:  # only gaps from here up: retention was there
                high = middle - 1
            elif row[1] <= time_ns:
                found = row[0]
                low = row[0] + 1
            else:
                high = middle - 1
        return found


def _change(version: Version, *, was_born: bool) -> Change:
    if not version.state.present:
        return Change.DELETED
    return Change.CREATED if was_born else Change.MODIFIED


def _bound(until: int | None) -> int:
    return (1 << 62) if until is None else until


def _state(kind: str | None, blob: bytes | None, size: int | None, mode: int, codec: int | None) -> FileState:
    if kind is None or kind == Kind.ABSENT:
        return ABSENT
    known = _KINDS.get(kind) or Kind(kind)
    if blob is None or size is None:  # a damaged row: the file was there, whatever was in it
        return FileState(known, mode=mode, stored=False)
    return FileState(known, blob, size, mode, codec != _UNKEPT)


def _head(
    path_id: int, seq: int, stat: bytes | None, kind: str | None, blob: bytes | None, size: int | None, mode: int,
    codec: int | None, origin: str, racy: int,
) -> Head:  # fmt: skip
    if not seq:
        return NO_HEAD._replace(path_id=path_id)
    key = StatKey.unpack(stat) if stat else None
    return Head(seq, _state(kind, blob, size, mode, codec), key, _ORIGINS.get(origin) or Origin(origin), bool(racy), path_id)


def _version(row: Row) -> Version:
    seq, path, kind, blob, size, mode, codec, mtime_ns, time_ns, origin = row
    state = _state(kind, blob, size, mode, codec)
    return Version(seq, path.decode(*PATH_TEXT), state, mtime_ns, time_ns, _ORIGINS.get(origin) or Origin(origin))
