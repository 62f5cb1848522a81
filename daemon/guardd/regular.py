"""Reading files that a repo put where guard looks for something: regular ones only, and never more than was asked for.

A FIFO named `.gitignore` would hold whoever opens it for ever, a link to a device would never end.
"""

import errno
import os
import stat


def open_regular(path: str) -> int:
    """A descriptor to read a regular file, or a link to one. Raises OSError, also for anything else."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may do something to it
        raise OSError(errno.EINVAL, "not a regular file", path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)  # something else took its name meanwhile
    raise OSError(errno.EINVAL, "not a regular file", path)


def read_regular(path: str, most: int) -> bytes:
    """The content of a regular file, but for what lies beyond `most` bytes. Raises OSError, also for anything else."""
    with open(open_regular(path), "rb", buffering=0) as file:
        parts = []
        left = most
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
