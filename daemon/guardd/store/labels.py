"""The snapshots: places in the log that were labelled right before something acted."""

from collections.abc import Iterator
from typing import NamedTuple

from guardd.escaping import brief
from guardd.store.database import Database
from guardd.store.retention import Age

_LONGEST = 200
_ADD = """
    INSERT INTO labels (repo_id, seq, time_ns, label)
    VALUES (?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'versions'), 0), ?, ?)
"""
_LABEL = "SELECT id, repo_id, seq, time_ns, label FROM labels"
_BY_ID = _LABEL + " WHERE id = ?"
_OF_REPO = _LABEL + " WHERE repo_id = ? AND seq >= ? AND seq <= ? ORDER BY id DESC"
_PLACES = "SELECT id, seq, time_ns FROM labels"
_OLD = "DELETE FROM labels WHERE id = ?"
_EMPTY = """
    DELETE FROM labels WHERE id = ? AND NOT EXISTS (
        SELECT 1 FROM versions v JOIN paths p ON p.id = v.path_id
        WHERE p.repo_id = labels.repo_id AND v.seq <= labels.seq AND v.seq > coalesce(
            (SELECT w.seq FROM labels w WHERE w.repo_id = labels.repo_id AND w.id < labels.id ORDER BY w.id DESC LIMIT 1), 0))
"""


class Label(NamedTuple):
    """One snapshot: everything up to `seq` had been captured when it was taken. `label` is one harmless line."""

    id: int
    repo_id: int
    seq: int
    time_ns: int
    label: str


class Labels:
    """The snapshots of one open store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, repo_id: int, label: str, now_ns: int) -> Label:
        """Label the place that the log has reached. The label is escaped, and cut where it is long."""
        with self._db.transaction():
            id_ = self._db.insert(_ADD, (repo_id, now_ns, brief(label, _LONGEST)))
            row = self._db.row(_BY_ID, (id_,))
        return Label(*row) if row else _gone(id_)

    def get(self, id_: int) -> Label | None:
        """The snapshot with this number."""
        row = self._db.row(_BY_ID, (id_,))
        return Label(*row) if row else None

    def of_repo(self, repo_id: int, after: int = 0, until: int | None = None) -> Iterator[Label]:
        """The snapshots of a repo at places in [after, until], newest first."""
        return (Label(*row) for row in self._db.each(_OF_REPO, (repo_id, after, (1 << 62) if until is None else until)))

    def prune(self, keep_all_ns: int, keep_daily_ns: int, age: Age) -> int:
        """Forget the snapshots that say nothing any more, after retention has removed versions; how many.

        All stay as long as every version does. From then on one stays while a version is kept that came between the snapshot
        before it and itself: without any, both are the same place. None outlives the daily versions.
        """
        with self._db.transaction():
            found = [(id_, age(seq, time_ns)) for id_, seq, time_ns in self._db.rows(_PLACES)]
            old = [(id_,) for id_, ns in found if ns > keep_daily_ns]
            thinned = [(id_,) for id_, ns in found if keep_all_ns < ns <= keep_daily_ns]
            return sum(self._db.run(_OLD, one) for one in old) + sum(self._db.run(_EMPTY, one) for one in thinned)


def _gone(id_: int) -> Label:
    raise AssertionError(id_)
