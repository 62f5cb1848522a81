"""Memory given back when there is nothing to do."""

import contextlib
import ctypes
import gc


def give_back() -> None:
    """Return what is free to the system: after a burst glibc keeps it (malloc_trim(3)), some 40 MB after a baseline."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
