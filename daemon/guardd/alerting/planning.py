"""Who is told what, and when: pure decisions over an alert, a target's terms, and what the target was told before."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from guardd.model import Alert, Delivery, Severity, Stage

if TYPE_CHECKING:
    from guardd.config.alerts import AlertSettings

_SECOND_NS = 1_000_000_000
_LONGEST_WAIT_NS = 25 * 3600 * _SECOND_NS
"""Quiet hours are the longest wait; an hour more for a change of the clocks."""


class Terms(NamedTuple):
    """What a target wants: from which severity on, when warnings must wait (minutes of the day), how often it is told again."""

    target: str
    min_severity: Severity
    quiet: tuple[int, int] | None
    update_every_ns: int
    repeat_after_ns: int


class Assignment(NamedTuple):
    """What comes of an alert for one target: deliveries to make, and waiting ones that are not needed any more."""

    deliveries: tuple[Delivery, ...] = ()
    dropped: tuple[tuple[Delivery, str], ...] = ()


def terms_of(settings: "AlertSettings") -> Terms:
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
        return _one(alert, terms, Stage.TEST, now_ns) if alert.detail == terms.target else Assignment()
    if alert.thread.rpartition("-")[0] == f"target-{terms.target}":
        return Assignment()  # who is dead need not be told so
    current = _since_resolved(told)
    if alert.stage is Stage.RESOLVED:
        return _resolve(alert, terms, current, now_ns)
    if not current:
        return _one(alert, terms, Stage.OPENED, now_ns) if _is_worth_opening(alert, terms) else Assignment()
    held = [one for one in current if one.state == "pending" and not one.attempts and one.due_ns > now_ns]
    if alert.severity.is_urgent and len(held) == len(current):  # a warning that waits for the end of quiet hours
        return Assignment(_one(alert, terms, Stage.OPENED, now_ns).deliveries, tuple((one, "turned urgent") for one in held))
    if alert.stage is Stage.ESCALATED:
        return _one(alert, terms, Stage.ESCALATED, now_ns)
    if alert.stage is Stage.REPEATED:
        is_due = not _pending(current) and _told_ns(current, now_ns) + terms.repeat_after_ns <= now_ns
        return _one(alert, terms, Stage.REPEATED, now_ns) if is_due else Assignment()
    return _update(alert, terms, current, now_ns) if alert.stage is Stage.UPDATED else Assignment()


def wants_word(alert: Alert, last_change_ns: int, terms: Terms, told: Sequence[Delivery], now_ns: int) -> Stage | None:
    """What a target should be told of an incident that is still open, without any news of it; `alert` is how it is now.

    Nothing, an update, a repeat; or that it is open, if the target does not know: it is new in the config, or was renamed.
    """
    current = _since_resolved(told)
    if not current:
        return Stage.OPENED if _is_worth_opening(alert, terms) else None
    if _pending(current):
        return None
    last_ns = _told_ns(current, now_ns)
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


def due_in_ns(due_ns: int, now_ns: int) -> int:
    """How long until a delivery is due; 0 if it is. What waits longer than anything may was queued under a wrong clock."""
    return 0 if due_ns - now_ns > _LONGEST_WAIT_NS else max(0, due_ns - now_ns)


def next_try_s(attempts: int, retry_after_s: float | None, *, passing: bool, spread: float) -> float:
    """Seconds until a delivery that failed is tried again; `spread` (0 to 1) keeps many daemons apart.

    Doubling from 5 s to a minute, 5 minutes for what will hardly pass by itself (a webhook that was revoked).
    """
    wait = min(5.0 * 2 ** min(attempts // 4, 8), 60.0) if passing else 300.0
    return max(wait * (1 + spread / 4), retry_after_s or 0.0)


def _is_worth_opening(alert: Alert, terms: Terms) -> bool:
    if alert.severity.rank < terms.min_severity.rank:
        return False
    return alert.incident_id is None or alert.severity.is_urgent or alert.settled


def _resolve(alert: Alert, terms: Terms, current: Sequence[Delivery], now_ns: int) -> Assignment:
    if not current:
        return Assignment()
    waiting = [one for one in current if one.state == "pending"]
    is_unheard = all(one.state == "pending" and not one.attempts and one.due_ns > now_ns for one in current)
    if is_unheard and alert.incident_id is not None:
        return Assignment(dropped=tuple((one, "over before it was to be told") for one in waiting))
    stale = tuple((one, "over") for one in waiting if one.stage in (Stage.UPDATED, Stage.REPEATED))
    return Assignment(_one(alert, terms, Stage.RESOLVED, now_ns).deliveries, stale)


def _update(alert: Alert, terms: Terms, current: Sequence[Delivery], now_ns: int) -> Assignment:
    """An update: at once when an incident has settled or turned urgent, and of lost protection; else as often as is wanted."""
    waiting = next((one for one in current if one.state == "pending" and one.stage is Stage.UPDATED), None)
    is_new = alert.incident_id is None  # its text is its own: no other message will say it
    turned_urgent = alert.severity.is_urgent and not any(one.alert.severity.is_urgent for one in current)
    settled = [one for one in current if one.stage is Stage.UPDATED and one is not waiting and one.alert.settled]
    at_once = is_new or turned_urgent or (alert.settled and not settled)
    due_ns = now_ns if at_once else max(now_ns, _told_ns(current, now_ns) + terms.update_every_ns)
    if not is_new and waiting is not None and waiting.due_ns <= due_ns and (waiting.alert.settled or not alert.settled):
        return Assignment()  # it is composed when it is sent, so it will say this too
    dropped = ((waiting, "a newer update"),) if waiting is not None else ()
    return Assignment(_one(alert, terms, Stage.UPDATED, due_ns).deliveries, dropped)


def _one(alert: Alert, terms: Terms, stage: Stage, due_ns: int) -> Assignment:
    """A delivery; its key is of this alert alone, so that giving an alert to a target twice makes one message."""
    may_wait = not alert.severity.is_urgent and stage is not Stage.TEST
    due_ns = after_quiet(due_ns, terms.quiet) if may_wait else due_ns
    return Assignment((Delivery(0, alert, terms.target, stage, f"{alert.thread}-{stage}-{alert.id}", "pending", 0, due_ns),))


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


def _told_ns(current: Sequence[Delivery], now_ns: int) -> int:
    """When it was told last; never in the future, whatever the clock was then."""
    return min(now_ns, max(one.sent_ns or one.due_ns for one in current))
