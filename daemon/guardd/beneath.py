"""File operations that stay beneath a root and follow no symlink, whatever happens to the tree meanwhile.

Linux: openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS. Elsewhere, and where a sandbox forbids it: each directory of
a path opened in turn with O_NOFOLLOW, which holds as well but costs a system call a directory.
"""

import ctypes
import errno
import os
import re
import stat
import struct
import sys
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Self

from guardd.model import RepoPath

_SYS_OPENAT2 = 437  # the same number on every architecture: it came after the tables were unified
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
_HOW = struct.Struct("=QQQ")
_UNCLEAN = re.compile(rb"\0|(?:^|/)\.{0,2}(?:/|\Z)")
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ITSELF = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
_RETRY = (errno.EAGAIN, errno.EINTR)  # openat2(2): EAGAIN where a rename elsewhere raced with a check


class Root:
    """An open repo root. Paths are relative and clean (no `..`, else ValueError); errors are OSError as the kernel gives them.

    `by_steps` forces the portable way.
    """

    def __init__(self, path: str, *, by_steps: bool = False) -> None:
        self.path = path
        self.fd = os.open(path, _ROOT)
        self._by_steps = by_steps or not _has_openat2()

    @property
    def identity(self) -> tuple[int, int]:
        """(st_dev, st_ino) of the directory that was opened, which a later one of the same name does not share."""
        found = os.fstat(self.fd)
        return found.st_dev, found.st_ino

    def open_read(self, path: RepoPath) -> int:
        """A descriptor to read from; opening a FIFO or a device does not block. ELOOP: a link is, or is in, the path."""
        return self._open(path, _READ)

    def open_dir(self, path: RepoPath, *, create: bool = False) -> int:
        """A descriptor of a directory (`""`: the root); with `create`, missing ones are made."""
        if not path:
            return os.open(".", _DIRECTORY, dir_fd=self.fd)
        try:
            return self._open(path, _DIRECTORY)
        except FileNotFoundError:
            if not create:
                raise
        parent, _, name = path.rpartition("/")
        above = self.open_dir(parent, create=True)
        try:
            made = False
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=above)
                made = True
            fd = os.open(name, _DIRECTORY, dir_fd=above)
            if made:
                _be_like(fd, os.fstat(above))
            return fd
        finally:
            os.close(above)

    def lstat(self, path: RepoPath) -> os.stat_result:
        """The stat of what is at `path` itself."""
        parent, _, name = path.rpartition("/")
        above = self.open_dir(parent)
        try:
            return os.stat(name, dir_fd=above, follow_symlinks=False)
        finally:
            os.close(above)

    def chmod(self, path: RepoPath, mode: int) -> None:
        """Set the mode of what is at `path` itself (`""`: the root), though it may not be read; a symlink has none (OSError)."""
        if not path:
            _chmod(self.fd, mode)
            return
        parent, _, name = path.rpartition("/")
        above = self.open_dir(parent)
        try:
            fd = os.open(name, _ITSELF, dir_fd=above)
            try:
                _chmod(fd, mode)
            finally:
                os.close(fd)
        finally:
            os.close(above)

    def readlink(self, path: RepoPath) -> bytes:
        """The target of the symlink at `path`."""
        parent, _, name = path.rpartition("/")
        above = self.open_dir(parent)
        try:
            return os.fsencode(os.readlink(name, dir_fd=above))
        finally:
            os.close(above)

    def close(self) -> None:
        """Close the root."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self, path: RepoPath, flags: int) -> int:
        encoded = clean(path)
        return _step_by_step(self.fd, encoded, flags) if self._by_steps else _openat2(self.fd, encoded, flags)


def _chmod(fd: int, mode: int) -> None:
    """A descriptor by O_PATH takes no fchmod(2), its link in /proc a chmod(2)."""
    if hasattr(os, "O_PATH"):
        os.chmod(f"/proc/self/fd/{fd}", mode)
    else:
        os.fchmod(fd, mode)


def _be_like(fd: int, above: os.stat_result) -> None:
    """A directory made anew is as open as the one above it, whatever our umask; and root's directories would help no one."""
    with suppress(OSError):  # a file system without modes or owners
        os.fchmod(fd, stat.S_IMODE(above.st_mode) & 0o777)
        if os.geteuid() == 0:
            os.fchown(fd, above.st_uid, above.st_gid)


def exchange(folder: int, one: str, other: str) -> None:
    """Swap two names of an open directory in one step (renameat2(2), RENAME_EXCHANGE). OSError ENOSYS/EINVAL: cannot."""
    _renameat2(folder, one, other, _RENAME_EXCHANGE)


def move_to_free_name(folder: int, old: str, new: str) -> None:
    """Rename within an open directory, never over something (RENAME_NOREPLACE). OSError ENOSYS/EINVAL: cannot."""
    _renameat2(folder, old, new, _RENAME_NOREPLACE)


def sync_filesystem(fd: int) -> None:
    """Make everything written so far on the file system of `fd` durable (syncfs(2); sync(2) elsewhere)."""
    if sys.platform != "linux":
        os.sync()
    elif _libc().syncfs(fd):
        raise _error("syncfs")


def clean(path: RepoPath) -> bytes:
    """The path as the system takes it. Raises OSError for one that is empty, absolute, leads upwards, or has a NUL in it."""
    encoded = os.fsencode(path)
    below = b"/" + encoded
    if (b"/." in below or b"//" in below or below[-1:] == b"/" or b"\0" in encoded) and _UNCLEAN.search(encoded):
        raise OSError(errno.EINVAL, "not a path inside of a repo", path)
    return encoded


def _openat2(root: int, path: bytes, flags: int) -> int:
    """9.6 µs a file over a standard library, with the close; os.open by absolute path 3.8, step by step 11.7."""
    how = _HOW.pack(flags, 0, _RESOLVE)
    while True:
        fd = int(_libc().syscall(_SYS_OPENAT2, root, path, how, _HOW.size))
        if fd >= 0:
            return fd
        if ctypes.get_errno() == errno.ENAMETOOLONG:  # longer than PATH_MAX: only steps can walk it
            return _step_by_step(root, path, flags)
        if ctypes.get_errno() not in _RETRY:
            raise _error(os.fsdecode(path))


def _step_by_step(root: int, path: bytes, flags: int) -> int:
    *folders, name = path.split(b"/")
    above = root
    try:
        for folder in folders:
            try:
                below = os.open(folder, _DIRECTORY, dir_fd=above)
            except NotADirectoryError as error:  # what openat2 calls ELOOP, O_DIRECTORY|O_NOFOLLOW calls ENOTDIR
                if _is_link(above, folder):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path)) from error
                raise
            if above != root:
                os.close(above)
            above = below
        return os.open(name, flags, dir_fd=above)
    finally:
        if above != root:
            os.close(above)


def _is_link(folder: int, name: bytes) -> bool:
    try:
        os.readlink(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _renameat2(folder: int, old: str, new: str, flags: int) -> None:
    rename = getattr(_libc(), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(folder, os.fsencode(old), folder, os.fsencode(new), flags):
        raise _error(new)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _has_openat2() -> bool:
    if sys.platform != "linux":
        return False
    root = os.open("/", _ROOT)
    try:
        os.close(_openat2(root, b"proc", _DIRECTORY))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM)
    finally:
        os.close(root)
    return True
