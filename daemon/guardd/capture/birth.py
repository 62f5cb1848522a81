"""When a directory was made: what no one can change, and what not every file system tells."""

import ctypes
import os
import struct
import sys
from functools import cache

_AT_EMPTY_PATH, _STATX_BTIME = 0x1000, 0x800  # statx(2)
_STATX_BYTES = 256
_MASK_AT, _BTIME_AT = 0, 80
_MASK, _TIME = struct.Struct("=I"), struct.Struct("=qI")


def born_ns(fd: int) -> int:
    """When what is open came into being (ns); 0 where the file system, or the platform, does not say."""
    if sys.platform != "linux":
        return int(getattr(os.fstat(fd), "st_birthtime", 0) * 1e9)
    statx = getattr(_libc(), "statx", None)
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, found):
        return 0
    (mask,) = _MASK.unpack_from(found.raw, _MASK_AT)
    seconds, ns = _TIME.unpack_from(found.raw, _BTIME_AT)
    return int(seconds * 10**9 + ns) if mask & _STATX_BTIME else 0


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
