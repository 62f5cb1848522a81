"""The clocks that the log was timed by: noted where one parts from the next, and what its times are worth now.

Someone may set the wall clock, so an age by it proves nothing. Within one boot ages are told by the time since boot, exactly.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

from guardd.model import Moment
from guardd.store.database import Database

STEP_NS = 1_000_000_000
"""NTP slews the wall clock by less than this; anything more is a step, and begins a new stretch of the log."""

GAP_NS = 86_400_000_000_000
"""So much at most counts what lies between the records of two boots (a day), as long as the clock after it is young."""

PROBATION_NS = 7 * GAP_NS
"""After so long (by all that is sure) what the wall clock says of earlier boots is believed."""

_NEVER = -(1 << 62)

_LAST = "SELECT first_seq, boot_id, offset_ns FROM clocks ORDER BY first_seq DESC LIMIT 1"
_ALL = "SELECT first_seq, boot_id, offset_ns FROM clocks ORDER BY first_seq"
_ADD = "INSERT OR REPLACE INTO clocks (first_seq, boot_id, offset_ns) VALUES (?, ?, ?)"
_FIRST_TIME = """
    SELECT min(time_ns) FROM (
        SELECT * FROM (SELECT time_ns FROM versions WHERE seq >= ?1 AND seq < ?2 AND origin <> 'offline' ORDER BY seq LIMIT 1)
        UNION ALL SELECT adopted_ns FROM adopted WHERE seq >= ?1 AND seq < ?2)
"""
_LAST_TIME = """
    SELECT max(time_ns) FROM (
        SELECT * FROM (SELECT time_ns FROM versions WHERE seq >= ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1)
        UNION ALL SELECT adopted_ns FROM adopted WHERE seq >= ?1 AND seq < ?2)
"""


class Stretch(NamedTuple):
    """A part of the log in which wall clock and boot clock ran together; `offset_ns` is what lay between them.

    `first_ns` is the first time that was read from this clock; None where all are those that inodes told (found after the daemon
    was off), by whatever clock. `last_ns` is the time of its last record.
    """

    first_seq: int
    boot_id: str
    offset_ns: int
    first_ns: int | None
    last_ns: int


class Ages:
    """How long ago something was recorded, at the least, whatever the clocks did since. Pure.

    Within a boot that is exact. What lies between the last record of one boot and the first of the next is a day at most: the
    clock may have been set meanwhile. Once all that is sure has come to a week, earlier boots are as old as the wall clock says,
    by the earliest of all its readings in that week. So a clock that is set ahead ages nothing, and weeks in which the machine
    was off count, a week late. A boot began when the latest of its clocks says; where that is before what earlier boots had
    shown, its clocks are believed nothing.
    """

    def __init__(self, stretches: Sequence[Stretch], now: Moment) -> None:
        """`stretches` in the order of the log; those of which nothing is left may be missing."""
        self._now_ns = now.wall_ns
        self._floors = [one.last_ns if one.first_ns is None else one.first_ns for one in stretches]
        self._first_seqs = [one.first_seq for one in stretches]
        self._shown = _shown_now(stretches, now)

    def __call__(self, seq: int, time_ns: int) -> int:
        """Of what was recorded at this place in the log, with this time."""
        if not self._floors:
            return self._now_ns - time_ns
        at = max(0, bisect_right(self._first_seqs, seq) - 1)
        return self._shown[at] - max(time_ns, self._floors[at])


def _shown_now(stretches: Sequence[Stretch], now: Moment) -> list[int]:
    """What the clock of each stretch would show now, at the least."""
    boots = [list(boot) for _, boot in groupby(stretches, lambda one: one.boot_id)]
    highests = accumulate((max(one.last_ns for one in boot) for boot in boots), max, initial=_NEVER)
    shown: list[int] = []
    cautious = now.wall_ns
    boot_id, uptime = now.boot_id, now.boot_ns  # of the boot that is looked at: its clock now, had it gone on
    later_ns, later_uptime = now.wall_ns, now.boot_ns  # what came right after
    for boot, highest in reversed(list(zip(boots, highests, strict=False))):
        last, believed = boot[-1], _NEVER
        since = uptime - later_uptime
        if last.boot_id != boot_id:
            began = max(one.offset_ns for one in boot)  # other clocks may have lain behind at first, as before NTP
            if since > PROBATION_NS and began >= highest:  # else all of them lay behind, and nothing is known
                believed = cautious - began
            gap = min(max(later_ns - last.last_ns, 0), GAP_NS)
            later_ns, later_uptime = last.last_ns, last.last_ns - last.offset_ns
            boot_id, uptime = last.boot_id, later_uptime + gap + since
        for one in reversed(boot):
            reading = one.last_ns + uptime - later_uptime if one.first_ns is None else one.offset_ns + uptime
            if since <= PROBATION_NS:
                cautious = min(cautious, reading)
            shown.append(max(reading, one.offset_ns + believed))
            if one.first_ns is not None:
                later_ns, later_uptime = one.first_ns, one.first_ns - one.offset_ns
            since = uptime - later_uptime
    shown.reverse()
    return shown


def note(db: Database, next_seq: int, now: Moment) -> int | None:
    """Note this clock for what is recorded from `next_seq` on.

    Returns the first place of the stretch that goes on, or None where a new one begins.
    """
    offset = now.wall_ns - now.boot_ns
    last = db.row(_LAST)
    if last is not None and last[1] == now.boot_id and abs(last[2] - offset) <= STEP_NS:
        return int(last[0])
    db.run(_ADD, (next_seq, now.boot_id, offset))
    return None


def ages(db: Database, now: Moment) -> Ages:
    """The ages of what is in the log, and of what was adopted."""
    clocks = db.rows(_ALL)
    found = []
    ends = [*(first_seq for first_seq, *_ in clocks[1:]), 1 << 62]  # one without a clock, in a store that nothing was recorded in
    for (first_seq, boot_id, offset), end in zip(clocks, ends, strict=False):
        last_ns = db.value(_LAST_TIME, (first_seq, end))
        if last_ns is not None:
            found.append(Stretch(first_seq, boot_id, offset, db.value(_FIRST_TIME, (first_seq, end)), last_ns))
    return Ages(found, now)
