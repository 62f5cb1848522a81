"""The outbox: what people must be told, and how far it has come on its way to each target."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from guardd.model import Alert, Delivery, Incident, Severity, Stage
from guardd.store.database import Database, Row

_ALERTS = "SELECT a.id, a.thread, a.stage, a.severity, a.time_ns, a.repo_id, a.incident_id, a.settled, a.detail FROM alerts a"
_QUEUE = """
    INSERT INTO alerts (thread, stage, severity, time_ns, repo_id, incident_id, settled, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_UNASSIGNED = _ALERTS + " WHERE NOT a.assigned ORDER BY a.id"
_ASSIGN = "UPDATE alerts SET assigned = 1 WHERE id = ?"
_LAST_OF = _ALERTS + " WHERE a.thread GLOB ? ORDER BY a.id DESC LIMIT 1"
_LOSSES = """
    SELECT a.id, a.thread, a.stage, a.severity, a.time_ns, a.repo_id, a.incident_id, a.settled, a.detail FROM alerts a
    WHERE a.incident_id IS NULL AND a.assigned AND a.stage NOT IN ('resolved', 'test') AND a.thread NOT GLOB 'target-*'
        AND a.id = (SELECT max(b.id) FROM alerts b WHERE b.thread = a.thread)
"""
_DELIVERY = """
    SELECT d.id, d.target, d.stage, d.dedup_key, d.state, d.attempts, d.due_ns, d.sent_ns, d.answer,
        a.id, a.thread, a.stage, a.severity, a.time_ns, a.repo_id, a.incident_id, a.settled, a.detail
    FROM deliveries d JOIN alerts a ON a.id = d.alert_id
"""
_OF_THREAD = _DELIVERY + " WHERE a.thread = ? AND d.target = ? ORDER BY d.id"
_IN_ORDER = """
    WHERE d.target = ? AND d.state = 'pending' AND NOT EXISTS
        (SELECT 1 FROM deliveries e JOIN alerts b ON b.id = e.alert_id
         WHERE e.target = d.target AND e.state = 'pending' AND e.id < d.id AND b.thread = a.thread)
    ORDER BY d.due_ns, d.id LIMIT 1
"""
_NEXT = _DELIVERY + _IN_ORDER
_LIST = _DELIVERY + " ORDER BY d.id DESC LIMIT ?"
_OF_INCIDENT = _DELIVERY + " WHERE a.incident_id = ? ORDER BY d.id"
_SEND = """
    INSERT INTO deliveries (alert_id, target, stage, dedup_key, state, attempts, due_ns, answer)
    VALUES (?, ?, ?, ?, 'pending', 0, ?, '') ON CONFLICT (target, dedup_key) DO NOTHING
"""
_SENT = "UPDATE deliveries SET state = 'sent', attempts = attempts + ?, sent_ns = ?, answer = ? WHERE id = ?"
_FAILED = "UPDATE deliveries SET state = 'failed', attempts = attempts + ?, answer = ? WHERE id = ?"
_LATER = "UPDATE deliveries SET attempts = attempts + ?, due_ns = ?, answer = ? WHERE id = ? AND state = 'pending'"
_DROP = "UPDATE deliveries SET state = 'dropped', answer = ? WHERE id = ? AND state = 'pending'"
_SHIFT = "UPDATE deliveries SET due_ns = due_ns + ? WHERE state = 'pending' AND attempts > 0"
_DROP_ALL = "UPDATE deliveries SET state = 'dropped', answer = ? WHERE target = ? AND state = 'pending'"
_DUE = "SELECT min(due_ns) FROM deliveries WHERE state = 'pending'"
_PENDING = "SELECT target, count(*) FROM deliveries WHERE state = 'pending' GROUP BY target"
_FAILING = """
    INSERT INTO targets (name, failing_ns, told) VALUES (?, ?, 0)
    ON CONFLICT (name) DO UPDATE SET failing_ns = excluded.failing_ns WHERE failing_ns = 0
"""
_ANSWERS = "UPDATE targets SET failing_ns = 0, told = 0 WHERE name = ?"
_TELL = "UPDATE targets SET told = 1 WHERE name = ?"
_HEALTH = "SELECT name, failing_ns, told FROM targets WHERE failing_ns <> 0"
_HEALTH_OF = "SELECT name, failing_ns, told FROM targets WHERE name = ? AND failing_ns <> 0"
_OLD = """
    SELECT a.id FROM alerts a WHERE a.assigned AND a.time_ns < ?
        AND (SELECT b.stage FROM alerts b WHERE b.thread = a.thread ORDER BY b.id DESC LIMIT 1) IN ('resolved', 'test')
"""
_OLD_DELIVERIES = "DELETE FROM deliveries WHERE state <> 'pending' AND alert_id = ?"
_OLD_ALERT = "DELETE FROM alerts WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.alert_id = alerts.id)"


class Failing(NamedTuple):
    """A target that does not take what is sent to it: since when, and whether the other targets were told."""

    target: str
    since_ns: int
    told: bool


class Outbox:
    """The outbox of one open store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- queueing -----------------------------------------------------------------------------------------------

    def queue(self, alerts: Iterable[Alert]) -> None:
        """Queue alerts (their `id` is ignored); inside the transaction of what caused them."""
        rows = ((a.thread, a.stage, a.severity, a.time_ns, a.repo_id, a.incident_id, a.settled, a.detail) for a in alerts)
        self._db.run_many(_QUEUE, rows)

    def unassigned(self) -> list[Alert]:
        """The alerts that were not given to the targets yet, oldest first."""
        return [_alert(row) for row in self._db.rows(_UNASSIGNED)]

    def last(self, threads: str) -> Alert | None:
        """The newest alert of the threads that match a glob."""
        row = self._db.row(_LAST_OF, (threads,))
        return _alert(row) if row else None

    def losses(self) -> list[Alert]:
        """The newest alert of each loss of protection that is not over."""
        return [_alert(row) for row in self._db.rows(_LOSSES)]

    # -- deliveries ---------------------------------------------------------------------------------------------

    def of_thread(self, thread: str, target: str) -> list[Delivery]:
        """What a target was told, or is to be told, in one thread, oldest first."""
        return [_delivery(row) for row in self._db.rows(_OF_THREAD, (thread, target))]

    def of_incident(self, incident_id: int) -> list[Delivery]:
        """What was told, or is to be told, of an incident, oldest first."""
        return [_delivery(row) for row in self._db.rows(_OF_INCIDENT, (incident_id,))]

    def newest(self, limit: int) -> list[Delivery]:
        """The newest deliveries, newest first."""
        return [_delivery(row) for row in self._db.rows(_LIST, (limit,))]

    def assign(self, alert: Alert, deliveries: Sequence[Delivery], dropped: Sequence[tuple[Delivery, str]] = ()) -> None:
        """Give an alert to targets (the `id` of the deliveries is ignored), in one transaction.

        A key that is there stays as it is. What is `dropped`, with the reason, is not sent any more.
        """
        with self._db.transaction():
            self._db.run(_ASSIGN, (alert.id,))
            self._db.run_many(_DROP, ((reason, one.id) for one, reason in dropped))
            self._db.run_many(_SEND, ((one.alert.id, one.target, one.stage, one.dedup_key, one.due_ns) for one in deliveries))

    def next(self, target: str) -> Delivery | None:
        """The delivery to a target that is due first; those of one thread keep their order."""
        row = self._db.row(_NEXT, (target,))
        return _delivery(row) if row else None

    def due_ns(self) -> int | None:
        """When the first of all deliveries is due."""
        found: int | None = self._db.value(_DUE)
        return found

    def pending(self) -> dict[str, int]:
        """Target -> how many deliveries to it are not done."""
        return {str(target): int(count) for target, count in self._db.rows(_PENDING)}

    def shift(self, by_ns: int) -> None:
        """The wall clock was set by so much: what is to be tried again is so after the same wait as before."""
        with self._db.transaction():
            self._db.run(_SHIFT, (by_ns,))

    def drop_all(self, target: str, reason: str) -> None:
        """Give up what waits for a target that is gone."""
        with self._db.transaction():
            self._db.run(_DROP_ALL, (reason, target))
            self._db.run(_ANSWERS, (target,))

    # -- what became of them ------------------------------------------------------------------------------------

    def sent(self, delivery: Delivery, attempts: int, now_ns: int, answer: str) -> None:
        """The target took it, after so many attempts more: it is not failing, and if the others were told so, they hear of it."""
        with self._db.transaction():
            self._db.run(_SENT, (attempts, now_ns, answer, delivery.id))
            self._answers(delivery.target, now_ns)

    def answers(self, target: str, now_ns: int) -> None:
        """The target took a test: it is not failing."""
        with self._db.transaction():
            self._answers(target, now_ns)

    def _answers(self, target: str, now_ns: int) -> None:
        health = self._db.row(_HEALTH_OF, (target,))
        if health is not None and health[2]:
            self.queue([failing_alert(Failing(*health), Stage.RESOLVED, now_ns)])
        self._db.run(_ANSWERS, (target,))

    def refused(self, delivery: Delivery, attempts: int, answer: str, failing_ns: int) -> None:
        """The target will never take it; unless it takes another, it has been failing since `failing_ns` at the latest."""
        with self._db.transaction():
            self._db.run(_FAILED, (attempts, answer, delivery.id))
            self._db.run(_FAILING, (delivery.target, failing_ns))

    def postponed(self, delivery: Delivery, attempts: int, due_ns: int, answer: str, failing_ns: int) -> None:
        """It is to be tried again; the target has been failing since `failing_ns` at the latest."""
        with self._db.transaction():
            self._db.run(_LATER, (attempts, due_ns, answer, delivery.id))
            self._db.run(_FAILING, (delivery.target, failing_ns))

    def failing(self) -> list[Failing]:
        """The targets that do not take what is sent to them."""
        return [Failing(name, since, bool(told)) for name, since, told in self._db.rows(_HEALTH)]

    def tell_failing(self, one: Failing, now_ns: int) -> None:
        """Queue the alert that a target is dead."""
        with self._db.transaction():
            self._db.run(_TELL, (one.target,))
            self.queue([failing_alert(one, Stage.OPENED, now_ns)])

    def forget(self, before_ns: int) -> None:
        """Drop what was done with before this time; threads that are still open stay whole."""
        with self._db.transaction():
            old = self._db.rows(_OLD, (before_ns,))
            self._db.run_many(_OLD_DELIVERIES, old)
            self._db.run_many(_OLD_ALERT, old)


def failing_alert(one: Failing, stage: Stage, now_ns: int) -> Alert:
    """What the other targets are told of one that is dead, or works again."""
    from guardd.timespec import format_instant

    thread = f"target-{one.target}-{one.since_ns // 1_000_000_000}"
    away = f"undelivered: it takes no message since {format_instant(one.since_ns)}"
    return Alert(0, thread, stage, Severity.WARNING, now_ns, settled=True, detail=away)


def incident_thread(incident: Incident) -> str:
    """The thread of an incident; a store that is begun anew counts from 1, but not in the same second."""
    return f"incident-{incident.id}-{incident.opened_ns // 1_000_000_000}"


def news_of(before: Incident | None, after: Incident, now_ns: int) -> list[Alert]:
    """What is to be told of an incident that became `after`: opened (anew), worse or settled, escalated, resolved."""
    was_open = before is not None and before.state.is_open
    if not after.state.is_open:
        stage = Stage.RESOLVED if was_open else None
    elif before is None or not was_open:
        stage = Stage.OPENED
    elif after.state is not before.state:
        stage = Stage.ESCALATED
    else:
        is_worse = after.severity.rank > before.severity.rank
        stage = Stage.UPDATED if is_worse or (after.settled and not before.settled) else None
    if stage is None:
        return []
    return [Alert(0, incident_thread(after), stage, after.severity, now_ns, after.repo_id, after.id, after.settled, after.note)]


def _alert(row: Row) -> Alert:
    id_, thread, stage, severity, time_ns, repo_id, incident_id, settled, detail = row
    return Alert(id_, thread, Stage(stage), Severity(severity), time_ns, repo_id, incident_id, bool(settled), detail)


def _delivery(row: Row) -> Delivery:
    id_, target, stage, dedup_key, state, attempts, due_ns, sent_ns, answer, *alert = row
    return Delivery(id_, _alert(tuple(alert)), target, Stage(stage), dedup_key, state, attempts, due_ns, sent_ns, answer)
