"""The restores: what each was about to do, so that it can be finished after a crash, and undone."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from guardd.errors import StoreError
from guardd.model import Moment, Origin, RepoPath, StatKey
from guardd.selection import CANARY_PATHS
from guardd.store.database import Database, Row

if TYPE_CHECKING:
    from guardd.store.appending import Observation
    from guardd.store.blobs import Blobs
    from guardd.store.codec import Encoded
    from guardd.store.log import Log

_BEGIN = "INSERT INTO restores (repo_id, time_ns, command, undoes, state) VALUES (?, ?, ?, ?, 'applying')"
_ITEM = "INSERT INTO restore_items (restore_id, path_id, safety_seq, target_seq) VALUES (?, ?, ?, ?)"
_DONE = "UPDATE restores SET state = 'done' WHERE id = ?"
_ABSORBED = "UPDATE restores SET state = 'absorbed' WHERE id = ?"
_ALSO_UNDOES = "UPDATE restores SET undoes = coalesce(undoes, (SELECT undoes FROM restores WHERE id = ?)) WHERE id = ?"
_TAKE_OVER = """
    INSERT INTO restore_items (restore_id, path_id, safety_seq, target_seq)
    VALUES (?, (SELECT id FROM paths WHERE repo_id = ? AND path = ?), ?, ?)
    ON CONFLICT (restore_id, path_id) DO UPDATE SET safety_seq = excluded.safety_seq, target_seq = excluded.target_seq
"""
_SEEN = "UPDATE paths SET stat = ?, racy = 1 WHERE repo_id = ? AND path = ?"
_RESTORE = "SELECT id, repo_id, time_ns, command, undoes, state FROM restores"
_BY_ID = _RESTORE + " WHERE id = ?"
_OF_REPO = _RESTORE + " WHERE repo_id = ? ORDER BY id DESC LIMIT ?"
_UNDONE_BY = _RESTORE + " WHERE undoes = ? ORDER BY id DESC LIMIT 1"
_LAST_UNDOABLE = """
    SELECT id, repo_id, time_ns, command, undoes, state FROM restores AS r
    WHERE repo_id = ? AND undoes IS NULL AND state <> 'absorbed' AND NOT EXISTS (SELECT 1 FROM restores u WHERE u.undoes = r.id)
        AND NOT EXISTS (
            SELECT 1 FROM restore_items i JOIN paths p ON p.id = i.path_id
            WHERE i.restore_id = r.id AND CAST(p.path AS TEXT) GLOB ?)
    ORDER BY id DESC LIMIT 1
"""
_UNFINISHED = _RESTORE + " WHERE repo_id = ? AND state = 'applying' ORDER BY id"
_ITEMS = """
    SELECT p.path, i.safety_seq, i.target_seq FROM restore_items i JOIN paths p ON p.id = i.path_id
    WHERE i.restore_id = ? ORDER BY p.path
"""
_COUNT = "SELECT seq FROM sqlite_sequence WHERE name = 'restores'"


class Restore(NamedTuple):
    """One restore; `undoes` is the id of the restore that it takes back."""

    id: int
    repo_id: int
    time_ns: int
    command: str
    undoes: int | None
    state: str


class RestoreItem(NamedTuple):
    """One path of a restore: the version before it (0: none) and the one it made."""

    path: RepoPath
    safety_seq: int
    target_seq: int


class Restores:
    """The restores of one open store. Its log and its blobs are asked for when one begins: to tell of restores needs neither."""

    def __init__(self, db: Database, log: "Callable[[], Log]", blobs: "Callable[[], Blobs]") -> None:
        self._db = db
        self._log = log
        self._blobs = blobs

    def begin(
        self,
        repo_id: int,
        command: str,
        targets: "Iterable[Observation]",
        now: Moment,
        *,
        undoes: int | None = None,
        blobs: "Iterable[Encoded]" = (),
    ) -> tuple[int, list[RepoPath]]:
        """Commit the versions that a restore is about to write; its id, and the paths whose head had moved.

        `targets` carry the state to be written and the head that the plan was made on; moved ones are left out.
        """
        from guardd.store.blobs import StaleBlob

        moved: list[RepoPath] = []
        with self._db.transaction():
            self._blobs().add_all(list(blobs))
            restore_id = self._db.insert(_BEGIN, (repo_id, now.wall_ns, command, undoes))
            log = self._log()
            appending, items = log.appending(now), []
            targets = list(targets)
            heads = log.heads(repo_id, (target.path for target in targets))
            for target in targets:
                head = heads[target.path]
                if head.seq != target.head_seq:
                    moved.append(target.path)
                    continue
                seq, path_id = appending.add(repo_id, head, target, Origin.RESTORE, known_before=False)
                items.append((restore_id, path_id, head.seq, seq))
            try:
                appending.write()
            except StaleBlob as error:
                raise StoreError("gc has just removed an old content that was to be restored; run the restore again") from error
            self._db.run_many(_ITEM, items)
        return restore_id, moved

    def wrote(self, repo_id: int, keys: Iterable[tuple[RepoPath, StatKey | None]]) -> None:
        """What a restore wrote is on disk under these keys; the next scan still takes one look at it."""
        with self._db.transaction():
            rows = ((key.pack() if key else None, repo_id, os.fsencode(path)) for path, key in keys)
            self._db.run_many(_SEEN, rows)

    def finish(self, restore_id: int) -> None:
        """A restore is over: each of its files is written, or reported as failed."""
        with self._db.transaction():
            self._db.run(_DONE, (restore_id,))

    def absorb(self, restore_id: int, earlier: Restore, items: Iterable[RestoreItem]) -> None:
        """An interrupted restore was completed by this one, which takes over these items of it: undone, both are."""
        with self._db.transaction():
            rows = ((restore_id, earlier.repo_id, os.fsencode(one.path), one.safety_seq, one.target_seq) for one in items)
            self._db.run_many(_TAKE_OVER, rows)
            self._db.run(_ALSO_UNDOES, (earlier.id, restore_id))
            self._db.run(_ABSORBED, (earlier.id,))

    def count(self) -> int:
        """How many restores were ever begun; it never falls."""
        return int(self._db.value(_COUNT) or 0)

    def get(self, restore_id: int) -> Restore | None:
        """The restore with this id."""
        row = self._db.row(_BY_ID, (restore_id,))
        return _restore(row) if row else None

    def of_repo(self, repo_id: int, most: int) -> list[Restore]:
        """The newest restores of a repo, newest first."""
        return [_restore(row) for row in self._db.rows(_OF_REPO, (repo_id, most))]

    def undone_by(self, restore_id: int) -> Restore | None:
        """The last restore that took this one back."""
        row = self._db.row(_UNDONE_BY, (restore_id,))
        return _restore(row) if row else None

    def last_undoable(self, repo_id: int) -> Restore | None:
        """The newest restore of a repo that is no undo itself, was not undone, and is not the canary's."""
        row = self._db.row(_LAST_UNDOABLE, (repo_id, CANARY_PATHS))
        return _restore(row) if row else None

    def unfinished(self, repo_id: int) -> list[Restore]:
        """Restores that were interrupted (or are under way in another process), oldest first."""
        return [_restore(row) for row in self._db.rows(_UNFINISHED, (repo_id,))]

    def items(self, restore_id: int) -> list[RestoreItem]:
        """The paths of a restore."""
        return [RestoreItem(os.fsdecode(row[0]), row[1], row[2]) for row in self._db.each(_ITEMS, (restore_id,))]


def _restore(row: Row) -> Restore:
    return Restore(*row)
