"""File descriptors: how many this process may still open, and which errors say that none was left."""

import errno
import os
import resource
import sys

from guardd.errors import LACKING_DESCRIPTORS, TooManyOpenFiles
from guardd.model import Reason

_OPEN = "/dev/fd"
_ENOUGH = 8
"""With fewer to spare the next burst fails: four readers, a connection to the store (3), a parsing process (2 pipes)."""


def spare() -> int:
    """How many more files this process may open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        numbers = os.listdir(_OPEN)
    except OSError as error:
        return 0 if is_lack(error) else limit  # a system that does not list them
    return limit - sum(int(number) < limit for number in numbers) + 1  # one was that of the listing


def are_few() -> bool:
    """Whether this process is about to run out of them, or has."""
    return spare() < _ENOUGH


def is_lack(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that no descriptor was left."""
    while error is not None:
        if isinstance(error, TooManyOpenFiles) or (isinstance(error, OSError) and error.errno in LACKING_DESCRIPTORS):
            return True
        if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):  # of a shared library, which has no errno
            return True
        error = error.__cause__
    return False


def lack() -> Reason:
    """Why guardd does not work as it should, where it lacks descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    cure = "raise it: LimitNOFILE= of its unit, or 'ulimit -n' before it is started (fs.file-max if the whole system lacks them)"
    return Reason("few-descriptors", f"guardd runs out of file descriptors (limit {limit:,})", cure)


def reason_of(error: BaseException, otherwise: Reason) -> Reason:
    """The lack of descriptors where that is what an error says, whatever failed by it."""
    return lack() if is_lack(error) else otherwise
