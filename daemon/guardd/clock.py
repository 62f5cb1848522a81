"""The clocks: the only place, with the edges that call it, where guard asks what time it is."""

import time
from functools import cache

from guardd.model import Moment

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> Moment:
    """Wall time, and the time since boot, which no one can set back, with and without suspends (clock_gettime(2))."""
    return Moment(time.time_ns(), time.clock_gettime_ns(_BOOT_CLOCK), _boot_id(), time.monotonic_ns())


@cache
def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # no Linux: boots are told apart by when they began, to the minute
        return str((time.time_ns() - time.clock_gettime_ns(_BOOT_CLOCK)) // 60_000_000_000)
