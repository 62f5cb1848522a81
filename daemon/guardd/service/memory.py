"""Memory: little of it kept, and given back when there is nothing to do."""

import contextlib
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

_LARGE = 1024 * 1024
"""Each delta needs some 500 KiB for a moment: fetched from the system every time, a burst met four times as many page faults,
which took a fifth of its CPU time. With 4 MiB a frame's window is not either, for 10 MB more at the peak."""

_SPARE = 4 * 1024 * 1024
"""So much that is free at an arena's end is kept, until there is nothing to do."""


def keep_little() -> None:
    """Have all threads allocate from two arenas, and what is large (a frame's window) from the system, which has it back at once.

    By default each thread gets an arena of its own and keeps there what it freed, soon large blocks, too: glibc learns to take
    them from there. For the start of the process (mallopt(3)).
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 2)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _SPARE)


def give_back() -> None:
    """Return what is free to the system: after a burst glibc keeps it (malloc_trim(3)), some 40 MB after a baseline."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
