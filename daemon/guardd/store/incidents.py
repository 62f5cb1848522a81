"""The incidents and their members, what detection remembers between two of its rounds, and announced pauses."""

import json
import os
from collections.abc import Container, Iterable
from typing import NamedTuple

from guardd.model import Actor, Certainty, Finding, Incident, IncidentState, RepoPath, Severity, Suspect
from guardd.selection import CANARY_PATHS
from guardd.store.database import Database, Row
from guardd.store.outbox import Outbox, news_of

_INCIDENT = """
    SELECT id, repo_id, state, severity, opened_ns, closed_ns, first_seq, last_ns, rules, files, damaged, summary,
        certainty, pid, command, settled, rounds, note, slow
    FROM incidents
"""
_BY_ID = _INCIDENT + " WHERE id = ?"
_OF_REPO = _INCIDENT + " WHERE repo_id = ? ORDER BY id DESC"
_ALL = _INCIDENT + " ORDER BY id DESC"
_NOT_CANARY = """
    NOT EXISTS (
        SELECT 1 FROM members m JOIN paths p ON p.id = m.path_id
        WHERE m.incident_id = incidents.id AND CAST(p.path AS TEXT) GLOB ?)
"""
_LAST = _INCIDENT + " WHERE repo_id = ? AND " + _NOT_CANARY + " ORDER BY id DESC LIMIT 1"
_OPEN = _INCIDENT + " WHERE repo_id = ? AND state IN ('open', 'escalated') ORDER BY id"
_COUNT_OPEN = "SELECT count(*) FROM incidents WHERE state IN ('open', 'escalated')"
_ADD = """
    INSERT INTO incidents (repo_id, state, severity, opened_ns, closed_ns, first_seq, last_ns, rules, files, damaged, summary,
        certainty, pid, command, settled, rounds, note, slow)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GROW = """
    UPDATE incidents SET state = ?, severity = ?, closed_ns = ?, first_seq = ?, last_ns = ?, rules = ?, files = ?, damaged = ?,
        summary = ?, certainty = ?, pid = ?, command = ?, settled = ?, note = ?
    WHERE id = ? AND state = ?
"""
_CLOSE = "UPDATE incidents SET state = ?, closed_ns = ?, note = ? WHERE id = ? AND state IN ('open', 'escalated')"
_ESCALATE = "UPDATE incidents SET state = 'escalated', note = ? WHERE id = ? AND state = 'open'"
_ROUND = "UPDATE incidents SET rounds = rounds + 1 WHERE id = ?"
_NOTE = "UPDATE incidents SET note = ? WHERE id = ?"
_PUT_MEMBER = """
    INSERT INTO members (incident_id, path_id, before_seq, after_seq, time_ns, findings, edit, gone, damaged, returned)
    VALUES (?, (SELECT id FROM paths WHERE repo_id = ? AND path = ?), ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (incident_id, path_id) DO UPDATE SET
        before_seq = excluded.before_seq, after_seq = excluded.after_seq, time_ns = excluded.time_ns,
        findings = excluded.findings, edit = excluded.edit, gone = excluded.gone, damaged = excluded.damaged,
        returned = excluded.returned
"""
_MEMBERS = """
    SELECT p.path, m.before_seq, m.after_seq, m.time_ns, m.findings, m.edit, m.gone, m.returned
    FROM members m JOIN paths p ON p.id = m.path_id WHERE m.incident_id = ? ORDER BY p.path
"""
_ANY_UNDO = "SELECT EXISTS (SELECT 1 FROM restores WHERE repo_id = ? AND undoes IS NOT NULL)"
_BROUGHT_BACK = """
    SELECT count(*) FROM restores r JOIN restore_items i ON i.restore_id = r.id
        JOIN paths p ON p.id = i.path_id AND p.head_seq = i.target_seq
        JOIN members m ON m.incident_id = ? AND m.path_id = p.id AND m.damaged
        JOIN versions then_ ON then_.seq = m.after_seq JOIN versions now_ ON now_.seq = p.head_seq
    WHERE r.repo_id = ? AND r.undoes IS NOT NULL AND then_.blob_id IS now_.blob_id
"""
_INCIDENTS_OF_PATH = """
    SELECT m.incident_id, m.before_seq, m.after_seq FROM members m JOIN paths p ON p.id = m.path_id
    WHERE p.repo_id = ? AND p.path = ? ORDER BY m.incident_id
"""
_KNOWN_DAMAGE = """
    WITH seen AS (
        SELECT v.blob_id, m.damaged, n.state IN ('approved', 'dismissed') AS wanted
        FROM incidents n JOIN members m ON m.incident_id = n.id JOIN versions v ON v.seq = m.after_seq
        WHERE n.repo_id = ? AND v.blob_id IS NOT NULL
    )
    SELECT DISTINCT b.hash FROM seen JOIN blobs b ON b.id = seen.blob_id
    WHERE damaged AND NOT wanted AND blob_id NOT IN (SELECT blob_id FROM seen WHERE wanted)
"""
_SUSPECTS = """
    SELECT p.path, s.before_seq, s.after_seq, s.time_ns, s.findings, s.edit, s.gone, 0
    FROM suspects s JOIN paths p ON p.id = s.path_id WHERE p.repo_id = ?
"""
_PUT_SUSPECT = """
    INSERT INTO suspects (path_id, before_seq, after_seq, time_ns, findings, edit, gone)
    VALUES ((SELECT id FROM paths WHERE repo_id = ? AND path = ?), ?, ?, ?, ?, ?, ?)
    ON CONFLICT (path_id) DO UPDATE SET
        before_seq = excluded.before_seq, after_seq = excluded.after_seq, time_ns = excluded.time_ns,
        findings = excluded.findings, edit = excluded.edit, gone = excluded.gone
"""
_DROP_SUSPECT = "DELETE FROM suspects WHERE path_id = (SELECT id FROM paths WHERE repo_id = ? AND path = ?)"
_CURSOR = "SELECT seq FROM cursors WHERE repo_id = ?"
_MOVE_CURSOR = "INSERT INTO cursors (repo_id, seq) VALUES (?, ?) ON CONFLICT (repo_id) DO UPDATE SET seq = excluded.seq"
_PAUSE = "INSERT INTO pauses (repo_id, from_ns, to_ns, reason) VALUES (?, ?, ?, ?)"
_RESUME = "UPDATE pauses SET to_ns = ? WHERE repo_id = ? AND to_ns > ?"
_PAUSES = "SELECT from_ns, to_ns, reason FROM pauses WHERE repo_id = ? AND to_ns > ? ORDER BY from_ns"

_PAUSE_AT = """
    SELECT from_ns, to_ns, reason FROM pauses WHERE repo_id = ? AND from_ns <= ? AND to_ns > ? ORDER BY to_ns DESC LIMIT 1
"""


class Pause(NamedTuple):
    """Bulk work that was announced for a repo."""

    from_ns: int
    to_ns: int
    reason: str


class Relapse(NamedTuple):
    """The damage of an incident that was put right is back, in so many files."""

    incident_id: int
    files: int


class Incidents:
    """The incidents of one open store."""

    def __init__(self, db: Database, outbox: Outbox) -> None:
        self._db = db
        self._outbox = outbox

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, id_: int) -> Incident | None:
        """The incident with this number."""
        row = self._db.row(_BY_ID, (id_,))
        return _incident(row) if row else None

    def all(self, repo_id: int | None = None) -> list[Incident]:
        """The incidents of a repo, or of all, newest first."""
        return [_incident(row) for row in (self._db.rows(_ALL) if repo_id is None else self._db.rows(_OF_REPO, (repo_id,)))]

    def last(self, repo_id: int) -> Incident | None:
        """The newest incident of a repo, the canary's aside: those are nobody's business."""
        row = self._db.row(_LAST, (repo_id, CANARY_PATHS))
        return _incident(row) if row else None

    def open(self, repo_id: int) -> list[Incident]:
        """The incidents of a repo that wait for an answer, oldest first."""
        return [_incident(row) for row in self._db.rows(_OPEN, (repo_id,))]

    def count_open(self) -> int:
        """How many incidents wait for an answer, over all repos."""
        return int(self._db.value(_COUNT_OPEN))

    def members(self, id_: int) -> list[Suspect]:
        """The members of an incident, by path."""
        return [_suspect(row) for row in self._db.rows(_MEMBERS, (id_,))]

    def relapse(self, repo_id: int) -> Relapse | None:
        """What of the last incident of a repo, which was put right, an undo has brought back."""
        if not self._db.value(_ANY_UNDO, (repo_id,)):  # few ever undo, and an incident may have many members
            return None
        last = self.last(repo_id)
        if last is None or last.state is not IncidentState.RESTORED:
            return None
        files = int(self._db.value(_BROUGHT_BACK, (last.id, repo_id)))
        return Relapse(last.id, files) if files else None

    def of_version(self, repo_id: int, path: RepoPath, seq: int) -> int | None:
        """The incident that this version of a path is part of."""
        rows = self._db.rows(_INCIDENTS_OF_PATH, (repo_id, os.fsencode(path)))
        return next((id_ for id_, before, after in rows if seq == after or 0 < before < seq <= after), None)

    # -- detection's memory -------------------------------------------------------------------------------------

    def cursor(self, repo_id: int) -> int | None:
        """How far detection has read the log of a repo; None: not begun."""
        found: int | None = self._db.value(_CURSOR, (repo_id,))
        return found

    def move_cursor(self, repo_id: int, seq: int) -> None:
        """Detection has read the log up to here; inside a transaction."""
        self._db.run(_MOVE_CURSOR, (repo_id, seq))

    def suspects(self, repo_id: int) -> list[Suspect]:
        """The changes of late that nothing explains."""
        return [_suspect(row) for row in self._db.rows(_SUSPECTS, (repo_id,))]

    def put_suspects(self, repo_id: int, suspects: Iterable[Suspect], gone: Iterable[RepoPath]) -> None:
        """Remember suspects, forget those of the `gone` paths; inside a transaction."""
        rows = (
            (repo_id, os.fsencode(s.path), s.before_seq, s.after_seq, s.time_ns, _packed(s.findings), s.edit, s.gone)
            for s in suspects
        )
        self._db.run_many(_DROP_SUSPECT, ((repo_id, os.fsencode(path)) for path in gone))
        self._db.run_many(_PUT_SUSPECT, rows)

    def known_damage(self, repo_id: int) -> set[bytes]:
        """The hashes of contents that were damage in incidents, and in none that anyone has approved or dismissed."""
        return {row[0] for row in self._db.rows(_KNOWN_DAMAGE, (repo_id,))}

    # -- writing ------------------------------------------------------------------------------------------------

    def add(self, incident: Incident) -> int:
        """Open an incident (its `id` is ignored); its number. Inside a transaction."""
        id_ = self._db.insert(_ADD, _row(incident)[1:])
        self._outbox.queue(news_of(None, incident._replace(id=id_), incident.last_ns))
        return id_

    def add_closed(self, incident: Incident, members: Iterable[Suspect]) -> int:
        """Write down an incident that was over before anyone had to hear of it; its number. Inside a transaction."""
        id_ = self._db.insert(_ADD, _row(incident)[1:])
        self.put_members(incident._replace(id=id_), members)
        return id_

    def grow(self, incident: Incident, was: IncidentState) -> bool:
        """Write what has become of an incident; False if someone moved it from the state it `was` in. Inside a transaction."""
        i, actor = incident, incident.actor
        values = (i.state, i.severity, i.closed_ns, i.first_seq, i.last_ns, json.dumps(i.rules), i.files, i.damaged, i.summary,
                  actor.certainty, actor.pid, actor.command, i.settled, i.note, i.id, was)  # fmt: skip
        before = self.get(i.id)
        if not self._db.run(_GROW, values):
            return False
        self._outbox.queue(news_of(before, i, i.closed_ns or i.last_ns))
        return True

    def put_members(self, incident: Incident, members: Iterable[Suspect]) -> None:
        """Add members, or write what has become of them; inside a transaction."""
        rows = (
            (incident.id, incident.repo_id, os.fsencode(m.path), m.before_seq, m.after_seq, m.time_ns, _packed(m.findings),
             m.edit, m.gone, m.damaged, m.returned)
            for m in members
        )  # fmt: skip
        self._db.run_many(_PUT_MEMBER, rows)

    def close(self, id_: int, state: IncidentState, now_ns: int, note: str) -> bool:
        """Close an open incident; False if it was closed before."""
        with self._db.transaction():
            return self._close(id_, state, now_ns, note)

    def _close(self, id_: int, state: IncidentState, now_ns: int, note: str) -> bool:
        before = self.get(id_)
        if before is None or not self._db.run(_CLOSE, (state, now_ns, note, id_)):
            return False
        self._outbox.queue(news_of(before, before._replace(state=state, closed_ns=now_ns, note=note), now_ns))
        return True

    def close_restored(self, id_: int, paths: Container[RepoPath], now_ns: int, note: str) -> int:
        """Close an open incident as restored if these paths were all that was damaged in it; else how many are left."""
        with self._db.transaction():
            members = self.members(id_)
            wrong = [one for one in members if one.damaged] or members
            left = sum(1 for one in wrong if not one.returned and one.path not in paths)
            if not left:
                self._close(id_, IncidentState.RESTORED, now_ns, note)
        return left

    def escalate(self, id_: int, now_ns: int, note: str) -> None:
        """Leave an incident to people."""
        with self._db.transaction():
            before = self.get(id_)
            if before is not None and self._db.run(_ESCALATE, (note, id_)):
                self._outbox.queue(news_of(before, before._replace(state=IncidentState.ESCALATED, note=note), now_ns))

    def begin_round(self, id_: int) -> None:
        """Guard restores this incident by itself, once more."""
        with self._db.transaction():
            self._db.run(_ROUND, (id_,))

    def note(self, id_: int, note: str) -> None:
        """Leave word of what guard did."""
        with self._db.transaction():
            self._db.run(_NOTE, (note, id_))

    # -- pauses -------------------------------------------------------------------------------------------------

    def pause(self, repo_id: int, from_ns: int, to_ns: int, reason: str) -> None:
        """Announce bulk work: what changes in between is no incident."""
        with self._db.transaction():
            self._db.run(_PAUSE, (repo_id, from_ns, to_ns, reason))

    def resume(self, repo_id: int, now_ns: int) -> int:
        """End the pauses of a repo; how many there were."""
        with self._db.transaction():
            return self._db.run(_RESUME, (now_ns, repo_id, now_ns))

    def pause_at(self, repo_id: int, now_ns: int) -> Pause | None:
        """The pause of a repo at this time: of several, the one that ends last."""
        row = self._db.row(_PAUSE_AT, (repo_id, now_ns, now_ns))
        return Pause(*row) if row else None

    def pauses(self, repo_id: int, after_ns: int) -> list[tuple[int, int, str]]:
        """(from, to, reason) of the pauses that end after this time."""
        return [(row[0], row[1], row[2]) for row in self._db.rows(_PAUSES, (repo_id, after_ns))]


def _row(i: Incident) -> Row:
    actor = i.actor
    return (i.id, i.repo_id, i.state, i.severity, i.opened_ns, i.closed_ns, i.first_seq, i.last_ns, json.dumps(i.rules), i.files,
            i.damaged, i.summary, actor.certainty, actor.pid, actor.command, i.settled, i.rounds, i.note, i.slow)  # fmt: skip


def _incident(row: Row) -> Incident:
    id_, repo_id, state, severity, opened, closed, first, last, rules, files, damaged, summary, *rest = row
    certainty, pid, command, settled, rounds, note, slow = rest
    return Incident(
        id_, repo_id, IncidentState(state), Severity(severity), opened, closed, first, last, tuple(json.loads(rules)), files,
        damaged, summary, Actor(Certainty(certainty), pid, command), bool(settled), rounds, note, bool(slow),
    )  # fmt: skip


def _packed(findings: Iterable[Finding]) -> str:
    return json.dumps(list(findings))


def _suspect(row: Row) -> Suspect:
    path, before_seq, after_seq, time_ns, findings, edit, gone, returned = row
    found = tuple(Finding(*one) for one in json.loads(findings))
    return Suspect(os.fsdecode(path), before_seq, after_seq, time_ns, found, edit, bool(gone), bool(returned))
