"""The runs: bulk commands that were carried out as transactions, from where to where in the log, and what became of each."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from guardd.errors import StoreError
from guardd.escaping import brief
from guardd.model import Incident, RepoPath, Suspect
from guardd.store.database import Database, Row
from guardd.store.incidents import Incidents
from guardd.store.lock import run_lock
from guardd.store.retention import Age

_LONGEST_COMMAND = 500
_BEGIN = """
    INSERT INTO runs (repo_id, command, pid, state, from_ns, from_seq)
    VALUES (?, ?, ?, 'running', ?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'versions'), 0))
"""
_DROP = "DELETE FROM runs WHERE id = ? AND state = 'running'"
_FINISH = """
    UPDATE runs SET state = ?, to_ns = ?, to_seq = ?, command_exit = ?, files = ?, reasons = ?, concurrent = ?, unrestored = ?,
        restore_id = ?, incident_id = ?, end_seq = (SELECT seq FROM sqlite_sequence WHERE name = 'versions')
    WHERE id = ?
"""
_INTERRUPT = """
    UPDATE runs SET state = 'interrupted', end_seq = (SELECT seq FROM sqlite_sequence WHERE name = 'versions')
    WHERE id = ? AND state = 'running'
"""
_SETTLE = "UPDATE runs SET state = ?, restore_id = coalesce(?, restore_id) WHERE id = ?"
_RUN = """
    SELECT id, repo_id, command, pid, state, from_ns, to_ns, from_seq, to_seq, end_seq, command_exit, files, reasons, concurrent,
        unrestored, restore_id, incident_id
    FROM runs
"""
_BY_ID = _RUN + " WHERE id = ?"
_OF_INCIDENT = _RUN + " WHERE incident_id = ?"
_OF_REPO = _RUN + " WHERE repo_id = ? ORDER BY id"
_AFTER = _RUN + " WHERE repo_id = ? AND (end_seq IS NULL OR end_seq > ?) ORDER BY id"
_RUNNING = _RUN + " WHERE repo_id = ? AND state = 'running' ORDER BY id"
_LAST = _RUN + " WHERE repo_id = ? ORDER BY id DESC LIMIT 1"
_ENDED = "SELECT id, from_seq, from_ns FROM runs WHERE state <> 'running'"
_DROP_OLD = "DELETE FROM runs WHERE id = ? AND state <> 'running'"


class RunState(StrEnum):
    """Where a run stands. An interrupted one lost its guardctl in the middle: whether its changes stay is for people to say."""

    RUNNING = "running"
    KEPT = "kept"
    ROLLED_BACK = "rolled-back"
    PARTLY = "partly-rolled-back"
    INTERRUPTED = "interrupted"


class Run(NamedTuple):
    """One run. Its changes are the versions in (`from_seq`, `to_seq`], those of the `concurrent` paths aside.

    `end_seq` is the place that the log had reached when all of it was over, a roll-back included. `unrestored` are the paths
    that a roll-back left as the command had made them. `command_exit` is as a shell's: 128 and more for a signal.
    """

    id: int
    repo_id: int
    command: str
    pid: int
    state: RunState
    from_ns: int
    to_ns: int | None
    from_seq: int
    to_seq: int | None
    end_seq: int | None
    command_exit: int | None
    files: int
    reasons: tuple[str, ...]
    concurrent: frozenset[RepoPath]
    unrestored: frozenset[RepoPath]
    restore_id: int | None
    incident_id: int | None

    def made(self, path: RepoPath, seq: int) -> bool:
        """Whether this version of a path is one of the run's."""
        return self.from_seq < seq <= (self.to_seq or 0) and path not in self.concurrent


class Outcome(NamedTuple):
    """What became of a run, to be written down: see Run."""

    state: RunState
    to_seq: int
    command_exit: int | None
    files: int
    reasons: Sequence[str] = ()
    concurrent: Sequence[RepoPath] = ()
    unrestored: Sequence[RepoPath] = ()
    restore_id: int | None = None


class Runs:
    """The runs of one open store."""

    def __init__(self, db: Database, incidents: Incidents, state_dir: str) -> None:
        self._db = db
        self._incidents = incidents
        self._state_dir = state_dir

    # -- writing ------------------------------------------------------------------------------------------------

    def begin(self, repo_id: int, command: str, pid: int, now_ns: int) -> Run:
        """A command is about to run; its caller holds the run lock. All that the log has by now was there before."""
        with self._db.transaction():
            row = self._db.row(_BY_ID, (self._db.insert(_BEGIN, (repo_id, brief(command, _LONGEST_COMMAND), pid, now_ns)),))
        if row is None:
            raise AssertionError(repo_id)
        return _run(row)

    def drop(self, run_id: int) -> None:
        """The command could not even be started: nothing happened."""
        with self._db.transaction():
            self._db.run(_DROP, (run_id,))

    def finish(self, run: Run, outcome: Outcome, now_ns: int, incident: tuple[Incident, Iterable[Suspect]] | None = None) -> Run:
        """All of a run is over; `incident` is what it did, where that was damage (closed, for it was rolled back)."""
        o = outcome
        with self._db.transaction():
            incident_id = None
            if incident is not None:
                incident_id = self._incidents.add_closed(*incident)
            values = (o.state, now_ns, o.to_seq, o.command_exit, o.files, json.dumps(o.reasons), json.dumps(sorted(o.concurrent)),
                      json.dumps(sorted(o.unrestored)), o.restore_id, incident_id, run.id)  # fmt: skip
            self._db.run(_FINISH, values)
        return self.get(run.id) or run

    def settle(self, run_id: int, state: RunState, restore_id: int | None = None) -> None:
        """A person has said what becomes of a run that was interrupted, or had been kept."""
        with self._db.transaction():
            self._db.run(_SETTLE, (state, restore_id, run_id))

    def prune(self, keep_ns: int, age: Age) -> int:
        """Forget the runs that began longer ago than this; how many."""
        with self._db.transaction():
            old = [(run_id,) for run_id, from_seq, from_ns in self._db.rows(_ENDED) if age(from_seq, from_ns) > keep_ns]
            return sum(self._db.run(_DROP_OLD, one) for one in old)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, run_id: int) -> Run | None:
        """The run with this number."""
        row = self._db.row(_BY_ID, (run_id,))
        return _run(row) if row else None

    def last(self, repo_id: int) -> Run | None:
        """The newest run of a repo."""
        row = self._db.row(_LAST, (repo_id,))
        return _run(row) if row else None

    def of_incident(self, incident_id: int) -> Run | None:
        """The run that an incident tells of."""
        row = self._db.row(_OF_INCIDENT, (incident_id,))
        return _run(row) if row else None

    def after(self, repo_id: int, seq: int) -> list[Run]:
        """The runs of a repo with something of theirs after a place in the log, oldest first."""
        return [_run(row) for row in self._db.rows(_AFTER, (repo_id, seq))]

    def finder(self, repo_id: int) -> "RunFinder":
        """Tells of each version of a repo which run made it."""
        return RunFinder([_run(row) for row in self._db.rows(_OF_REPO, (repo_id,))])

    def alive(self, repo_id: int) -> Run | None:
        """The run that is under way in a repo. One whose guardctl is gone is marked as interrupted on the way."""
        for row in self._db.rows(_RUNNING, (repo_id,)):
            if run_lock(self._state_dir, repo_id).holder() is not None:
                return _run(row)
            with suppress(StoreError):  # the next one to look notes it, if the disk is full now
                self.interrupt(row[0])  # nothing happens to one that was finished between the two looks
        return None

    def interrupt(self, run_id: int) -> None:
        """The guardctl of a run is gone, and it was not over."""
        with self._db.transaction():
            self._db.run(_INTERRUPT, (run_id,))

    def interrupt_all(self, repo_id: int) -> None:
        """The caller holds the run lock: whatever seems to run in the repo does not."""
        for row in self._db.rows(_RUNNING, (repo_id,)):
            self.interrupt(row[0])

    def interrupted(self, repo_id: int) -> Run | None:
        """The newest run of a repo, if it lost its guardctl in the middle and no one has said what becomes of it."""
        if self.alive(repo_id) is not None:
            return None
        last = self.last(repo_id)
        return last if last is not None and last.state in (RunState.INTERRUPTED, RunState.RUNNING) else None


class RunFinder:
    """Which run made a version: runs of one repo never overlap, so that their beginnings are in order."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._begins = [run.from_seq for run in runs]

    def of(self, path: RepoPath, seq: int) -> Run | None:
        """The run that made this version; None where no run did."""
        at = bisect_right(self._begins, seq - 1) - 1
        return self._runs[at] if at >= 0 and self._runs[at].made(path, seq) else None


def _run(row: Row) -> Run:
    id_, repo_id, command, pid, state, from_ns, to_ns, from_seq, to_seq, end_seq, code, files, *rest = row
    reasons, concurrent, unrestored, restore_id, incident_id = rest
    return Run(
        id_, repo_id, command, pid, RunState(state), from_ns, to_ns, from_seq, to_seq, end_seq, code, files,
        tuple(json.loads(reasons)), frozenset(json.loads(concurrent)), frozenset(json.loads(unrestored)), restore_id, incident_id,
    )  # fmt: skip
