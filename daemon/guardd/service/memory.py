"""Memory: little of it kept, and given back when there is nothing to do."""

import contextlib
import ctypes
import gc

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE = 256 * 1024


def keep_little() -> None:
    """Have all threads allocate from two arenas, and what is large (a frame) from the system, which gets it back at once.

    By default each thread gets an arena of its own and keeps there what it freed, soon large blocks, too: glibc learns to take
    them from there. For the start of the process (mallopt(3)).
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 2)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Return what is free to the system: after a burst glibc keeps it (malloc_trim(3)), some 40 MB after a baseline."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
