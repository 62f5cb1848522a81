"""Who is told what, and when: pure decisions over an alert, a target's terms, and what the target was told before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardd.config.alerts import AlertSettings
from guardd.model import Alert, Delivery, Severity, Stage

_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What a target wants: from which severity on, when warnings must wait (minutes of the day), how often it is told again."""

    target: str
    min_severity: Severity
    quiet: tuple[int, int] | None
    update_every_ns: int
    repeat_after_ns: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What comes of an alert for one target: deliveries to make, and waiting ones that are not needed any more."""

    deliveries: tuple[Delivery, ...] = ()
    dropped: tuple[tuple[Delivery, str], ...] = ()


def terms_of(settings: AlertSettings) -> Terms:
    """The terms that a config sets."""
    quiet = None
    if settings.quiet_hours:
        begin, end = ((int(part[:2]) * 60 + int(part[3:])) for part in settings.quiet_hours.split("-"))
        quiet = (begin, end) if begin != end else None
    return Terms(settings.label, settings.min_severity, quiet, settings.update_every, settings.repeat_after)


def assign(alert: Alert, terms: Terms, told: Sequence[Delivery], now_ns: int) -> Assignment:
    """What a target is to be told because of an alert; `told` are its deliveries in the alert's thread, oldest first.

    A warning about an incident waits until it has settled: most of them are explained before anyone had to act.
    """
    if alert.stage is Stage.TEST:
        wanted = alert.detail == terms.target
    elif alert.thread.rpartition("-")[0] == f"target-{terms.target}":
        wanted = False  # who is dead need not be told so
    else:
        wanted = True
    if not wanted:
        return Assignment()
    current = _since_resolved(told)
    if alert.stage is Stage.RESOLVED:
        return _resolve(alert, terms, told, current, now_ns)
    if not current:
        if _RANKS[alert.severity] < _RANKS[terms.min_severity] and alert.stage is not Stage.TEST:
            return Assignment()
        if alert.incident_id is not None and not _is_urgent(alert.severity) and not alert.settled:
            return Assignment()
        stage = Stage.TEST if alert.stage is Stage.TEST else Stage.OPENED
        return _one(alert, terms, told, stage, now_ns)
    if alert.stage is Stage.ESCALATED:
        return _one(alert, terms, told, Stage.ESCALATED, now_ns)
    if alert.stage is Stage.REPEATED:
        is_due = not _pending(current) and _told_ns(current) + terms.repeat_after_ns <= now_ns
        return _one(alert, terms, told, Stage.REPEATED, now_ns) if is_due else Assignment()
    return _update(alert, terms, told, current, now_ns)


def wants_word(last_change_ns: int, terms: Terms, told: Sequence[Delivery], now_ns: int) -> Stage | None:
    """What a target should be told of a thread that is still open, without any news of it: nothing, an update, a repeat."""
    current = _since_resolved(told)
    if not current or _pending(current):
        return None
    last_ns = _told_ns(current)
    if last_change_ns > last_ns and last_ns + terms.update_every_ns <= now_ns:
        return Stage.UPDATED
    return Stage.REPEATED if last_ns + terms.repeat_after_ns <= now_ns else None


def after_quiet(due_ns: int, quiet: tuple[int, int] | None) -> int:
    """The instant itself, or the end (local time) of the quiet hours that it falls into."""
    if quiet is None:
        return due_ns
    begin, end = quiet
    local = datetime.fromtimestamp(due_ns / _SECOND_NS).astimezone()
    minute = local.hour * 60 + local.minute
    is_quiet = begin <= minute < end if begin < end else minute >= begin or minute < end
    if not is_quiet:
        return due_ns
    over = local.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0, tzinfo=None)
    if end <= minute:
        over += timedelta(days=1)
    return max(due_ns, int(over.timestamp()) * _SECOND_NS)  # a naive time is local, on either side of a change of the clocks


def next_try_s(attempts: int, retry_after_s: float | None, *, passing: bool, spread: float) -> float:
    """Seconds until a delivery that failed is tried again; `spread` (0 to 1) keeps many daemons apart.

    Doubling from 5 s to a minute, 5 minutes for what will hardly pass by itself (a webhook that was revoked).
    """
    wait = min(5.0 * 2 ** min(attempts // 4, 8), 60.0) if passing else 300.0
    return max(wait * (1 + spread / 4), retry_after_s or 0.0)


def _resolve(alert: Alert, terms: Terms, told: Sequence[Delivery], current: Sequence[Delivery], now_ns: int) -> Assignment:
    waiting = [one for one in current if one.state == "pending"]
    if not any(one.state != "pending" or one.attempts or one.due_ns <= now_ns for one in current):
        return Assignment(dropped=tuple((one, "over before it was to be told") for one in waiting))
    stale = tuple((one, "over") for one in waiting if one.stage in (Stage.UPDATED, Stage.REPEATED))
    return Assignment(_one(alert, terms, told, Stage.RESOLVED, now_ns).deliveries, stale)


def _update(alert: Alert, terms: Terms, told: Sequence[Delivery], current: Sequence[Delivery], now_ns: int) -> Assignment:
    """An update: at once when an incident has settled, or turned urgent; else as often as the target wants them at most."""
    waiting = next((one for one in current if one.state == "pending" and one.stage is Stage.UPDATED), None)
    turned_urgent = _is_urgent(alert.severity) and not any(_is_urgent(one.alert.severity) for one in current)
    updates = [one for one in current if one.stage is Stage.UPDATED and one is not waiting and one.alert.settled]
    at_once = turned_urgent or (alert.settled and not updates)
    due_ns = now_ns if at_once else max(now_ns, _told_ns(current) + terms.update_every_ns)
    if waiting is not None and waiting.due_ns <= due_ns and (waiting.alert.settled or not alert.settled):
        return Assignment()  # it is composed when it is sent, so it will say this too
    dropped = ((waiting, "a newer update"),) if waiting is not None else ()
    return Assignment(_one(alert, terms, told, Stage.UPDATED, due_ns).deliveries, dropped)


def _one(alert: Alert, terms: Terms, told: Sequence[Delivery], stage: Stage, due_ns: int) -> Assignment:
    number = 1 + sum(1 for one in told if one.stage is stage)
    key = f"{alert.thread}-{stage}" + (f"-{number}" if number > 1 else "")
    may_wait = not _is_urgent(alert.severity) and stage is not Stage.TEST
    due_ns = after_quiet(due_ns, terms.quiet) if may_wait else due_ns
    return Assignment((Delivery(0, alert, terms.target, stage, key, "pending", 0, due_ns),))


def _since_resolved(told: Sequence[Delivery]) -> list[Delivery]:
    current: list[Delivery] = []
    for one in told:
        if one.stage is Stage.RESOLVED:
            current = []
        elif one.state != "dropped":
            current.append(one)
    return current


def _pending(current: Sequence[Delivery]) -> bool:
    return any(one.state == "pending" for one in current)


def _told_ns(current: Sequence[Delivery]) -> int:
    return max(one.sent_ns or one.due_ns for one in current)


def _is_urgent(severity: Severity) -> bool:
    return _RANKS[severity] >= _RANKS[Severity.HIGH]
