"""The one error family: a message for people (what, where, what to do next) and an exit code."""

import errno
from enum import IntEnum

LACKING_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""What the kernel says where the process, or the system, has no file descriptor left."""


class Exit(IntEnum):
    """Exit codes of both programs (a contract with scripts)."""

    DONE = 0
    PARTIAL = 1
    USAGE = 2
    NOTHING = 3
    UNUSABLE = 4
    INTERRUPTED = 130


class GuardError(Exception):
    """Something a person must know; `str()` is one line: what, where, what to do next."""

    exit_code = Exit.PARTIAL


class UsageError(GuardError):
    """The command cannot be carried out as given: wrong words, or refused for safety."""

    exit_code = Exit.USAGE


class NothingMatched(GuardError):
    """The selection names nothing that guard knows."""

    exit_code = Exit.NOTHING


class Interrupted(GuardError):
    """Someone pressed the interrupt key in the middle; the message says how to go on, or back."""

    exit_code = Exit.INTERRUPTED


class ConfigError(GuardError):
    """The config cannot be used; `problems` holds one line for each thing that is wrong."""

    exit_code = Exit.UNUSABLE

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(GuardError):
    """The store cannot be used: locked, damaged, too new, no space, no permission."""

    exit_code = Exit.UNUSABLE


class StoreDamaged(StoreError):
    """The store's file is not what SQLite wrote: only `guardctl fsck --repair` can use it."""


class StoreBusy(StoreError):
    """Others have used the store for longer than we wait."""


class StoreFull(StoreError):
    """No space is left for the store; nothing was recorded, what was stored stays readable."""


class TooManyOpenFiles(StoreError):
    """No file descriptor is left, for `what`; the cure is added."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; raise the limit: LimitNOFILE= of the unit, or 'ulimit -n'")


def unusable(state_dir: str, error: OSError) -> StoreError:
    """What the operating system says against a state dir, as an error of the store."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no space left for the store in {state_dir}; free some space (or inodes) on its disk")
    if error.errno in LACKING_DESCRIPTORS:
        return TooManyOpenFiles(f"no file descriptor is left for the store in {state_dir}")
    return StoreError(f"the state dir {state_dir} cannot be used ({error.strerror}); set GUARD_STATE_DIR")
