"""The ballast: a file whose only use is to be removed when the disk is full, so that the store can still work."""

import os
from collections.abc import Callable
from typing import TypeVar

from guardd.errors import StoreFull

SIZE = 16 * 1024 * 1024

_T = TypeVar("_T")


def lay(state_dir: str, *, spare: int = 0) -> bool:
    """Make sure that the ballast is there; False where the disk has no room for it, with so many bytes to `spare` after it."""
    path = _path(state_dir)
    try:
        if os.stat(path).st_size == SIZE:
            return True
    except FileNotFoundError:
        pass
    if spare and _free(state_dir) < SIZE + spare:
        return False
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except OSError:
        drop(state_dir)
        return False
    finally:
        os.close(fd)
    return True


def drop(state_dir: str) -> bool:
    """Give the ballast's space to the disk; False if there was none to give."""
    try:
        os.unlink(_path(state_dir))
    except FileNotFoundError:
        return False
    return True


def backing(state_dir: str, work: Callable[[], _T]) -> _T:
    """What `work` returns; where it finds the disk full, it is called once more with the ballast's room."""
    try:
        return work()
    except StoreFull:
        if not drop(state_dir):
            raise
        return work()


def ease(state_dir: str) -> None:
    """Give the ballast's space to a disk that has no more than that left: before work that cannot be begun a second time."""
    if _free(state_dir) < SIZE:
        drop(state_dir)


def _free(state_dir: str) -> int:
    disk = os.statvfs(state_dir)  # not by shutil: it imports every way to compress, and this every command needs
    return disk.f_bavail * disk.f_frsize


def _path(state_dir: str) -> str:
    return os.path.join(state_dir, "ballast")
