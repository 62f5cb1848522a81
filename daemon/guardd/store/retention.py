"""Retention: which versions may go. Pure.

A version is in force from its time until the next one's of its path. Every moment of the last `keep_all`, every full hour
back to `keep_hourly` and every full day (UTC) back to `keep_daily` is a kept instant: what was in force at a kept instant
stays. So age counts from when a version was superseded: one made two years ago and in force until yesterday is needed.
How long ago that was is not told by the wall clock alone (`clocks.Ages`).
"""

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS

Age = Callable[[int, int], int]
"""(place in the log, time) -> how long ago that was, in ns."""


class Policy(NamedTuple):
    """How long versions stay (ns back from now), and how many bytes the store may take."""

    keep_all_ns: int
    keep_hourly_ns: int
    keep_daily_ns: int
    quota_bytes: int


class Aged(NamedTuple):
    """A version as retention sees it; `bytes` is what its content takes in the store."""

    seq: int
    path_id: int
    time_ns: int
    bytes: int


class Taken(NamedTuple):
    """An adopted version as retention sees it. `last_hope`: the newest one of a path that the log has no version of."""

    seq: int
    adopted_ns: int
    bytes: int
    last_hope: bool


def expired(versions: Iterable[Aged], policy: Policy, age: Age, pinned: Container[int] = frozenset()) -> Iterator[int]:
    """The places in the log of what may go. `versions` come path by path, in the order of the log.

    The clock may have been wrong: a version counts as in force from the earliest time that the ones around it allow, so that a
    wrong clock makes guard keep more, never less. A full hour is one by the clock of a version, or by that of its successor,
    which is another one when those between the two are gone.
    """
    for _, history in groupby(versions, key=attrgetter("path_id")):
        aged = ((version, age(version.seq, version.time_ns)) for version in history)
        for (version, since), (successor, since_end) in pairwise(aged):
            if since_end < policy.keep_all_ns or version.seq in pinned:
                continue
            end = successor.time_ns
            lasted = since - since_end
            begin = min(version.time_ns, end - lasted)
            if not (
                _holds_kept_instant(begin, end, policy, end + since_end)
                or _holds_kept_instant(version.time_ns, version.time_ns + lasted, policy, version.time_ns + since)
            ):
                yield version.seq


def expired_adopted(adopted: Iterable[Taken], policy: Policy, age: Age) -> Iterator[int]:
    """The numbers of the adopted versions that may go: adopted longer ago than daily versions stay.

    Their own age says nothing: the backup file may be gone since, and they the only copy. So they count from when guard got
    them, none is thinned before, and what the log has nothing newer than stays for good.
    """
    return (one.seq for one in adopted if not one.last_hope and age(one.seq, one.adopted_ns) > policy.keep_daily_ns)


def over_quota(
    versions: Iterable[Aged],
    excess_bytes: int,
    age: Age,
    pinned: Container[int] = frozenset(),
    adopted: Iterable[Taken] = (),
) -> Iterator[int]:
    """What goes when the store is too large by `excess_bytes`: those superseded longest ago first, never a newest one.

    An adopted version counts as superseded when it was adopted.

    Where all of that would not be enough, what was in force in the last day stays: an undo is worth more than a quota that
    cannot be met.
    """
    superseded = [(-age(one.seq, one.adopted_ns), one.seq, one.bytes) for one in adopted if not one.last_hope]
    for _, group in groupby(versions, key=attrgetter("path_id")):
        for version, successor in pairwise(group):
            if version.seq not in pinned:
                superseded.append((-age(successor.seq, successor.time_ns), version.seq, version.bytes))
    if sum(size for _, _, size in superseded) < excess_bytes:
        superseded = [one for one in superseded if one[0] < -DAY_NS]
    for _, seq, size in sorted(superseded):
        if excess_bytes <= 0:
            break
        excess_bytes -= size
        yield seq


def _holds_kept_instant(begin: int, end: int, policy: Policy, now: int) -> bool:
    """Whether [begin, end), which ended before all that is kept, holds a full hour or day that is."""
    return _holds_boundary(begin, end, HOUR_NS, now - policy.keep_hourly_ns) or _holds_boundary(
        begin, end, DAY_NS, now - policy.keep_daily_ns
    )


def _holds_boundary(begin: int, end: int, step: int, horizon: int) -> bool:
    """Whether a multiple of `step`, not before `horizon`, lies in [begin, end)."""
    first = -(-max(begin, horizon) // step) * step
    return first < end
