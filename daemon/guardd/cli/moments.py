"""Moments on the command line: a time expression, resolved to a place in the log and an absolute time."""

from typing import NamedTuple

from guardd.cli.context import Context
from guardd.cli.output import when
from guardd.errors import UsageError
from guardd.timespec import AtSnapshot, BeforeIncident, Elapsed, Instant, TimeSpec, parse

_SHOWN_NS = 1000
"""Times are shown to the microsecond, rounded up."""


class Place(NamedTuple):
    """A place in the log: everything up to `seq` had happened at `time_ns`."""

    seq: int
    time_ns: int


def before_incident(context: Context, id_: int) -> Place:
    """The place in the log right before an incident's first change. Raises UsageError."""
    found = context.store.incidents.get(id_)
    if found is None or found.repo_id != context.repo.id:
        raise UsageError(f"there is no incident {id_} in {context.repo.path}; see 'guardctl incidents'")
    first = context.store.log.version(found.first_seq)
    return Place(found.first_seq - 1, first.time_ns if first else found.opened_ns)


def at_snapshot(context: Context, id_: int) -> Place:
    """The place in the log that a snapshot labelled. Raises UsageError."""
    found = context.store.labels.get(id_)
    if found is None or found.repo_id != context.repo.id:
        raise UsageError(f"there is no snapshot {id_} in {context.repo.path}; see 'guardctl snapshot --list'")
    return Place(found.seq, found.time_ns)


def moment(context: Context, text: str) -> TimeSpec:
    """What a time expression means, as of when the command was given. Raises UsageError."""
    return parse(text, context.now.wall_ns)


def place(context: Context, spec: TimeSpec, *, since: bool = False) -> Place:
    """The place in the log of a moment. Raises UsageError.

    `since`: what is shown as of that very time comes after it, for it is what the moment was named by; else it is part of it.
    Capture first: what changed while the daemon was off takes its place in the log by when it changed, not by when we look.
    """
    now = context.now
    match spec:
        case Elapsed(ns):
            return Place(context.store.log.place_before(ns, now), now.wall_ns - ns)
        case Instant(ns):
            return Place(context.store.log.place_at(ns - _SHOWN_NS if since else ns), ns)
        case BeforeIncident(incident):
            return before_incident(context, incident)
        case AtSnapshot(snapshot):
            return at_snapshot(context, snapshot)


def past(context: Context, spec: TimeSpec, *, since: bool = False) -> Place:
    """The place of a moment that a command goes back to. Raises UsageError.

    Where guard did not know the repo yet, that is said in the end (`Context.afterthought`).
    """
    found = place(context, spec, since=since)
    repo = context.store.repos.find(context.repo.path) or context.repo  # as the capture right before this left it
    if found.time_ns < repo.baseline_ns:
        begin = when(repo.baseline_ns)
        context.afterthought = f"guard has known {repo.path} only since {begin}; what was different before that it cannot tell"
    return found
