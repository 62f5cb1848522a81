"""Moments on the command line: a time expression, resolved to a place in the log and an absolute time."""

from dataclasses import dataclass

from guardd.cli.context import Context
from guardd.errors import UsageError
from guardd.timespec import BeforeIncident, Elapsed, Instant, parse


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the log: everything up to `seq` had happened at `time_ns`."""

    seq: int
    time_ns: int


def place(context: Context, text: str) -> Place:
    """The place in the log that a time expression names. Raises UsageError."""
    now = context.now
    match parse(text, now.wall_ns):
        case Elapsed(ns):
            return Place(context.store.log.place_before(ns, now), now.wall_ns - ns)
        case Instant(ns):
            return Place(context.store.log.place_at(ns), ns)
        case BeforeIncident(incident):
            raise UsageError(f"there is no incident {incident}")
