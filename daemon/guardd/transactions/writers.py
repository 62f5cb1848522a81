"""Who writes into a tree while a command runs: what others write is theirs, and no roll-back touches it.

fanotify(7) tells the process of each change, to those who have CAP_SYS_ADMIN, on Linux. Elsewhere no one is told apart.
"""

import ctypes
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from guardd.detection.actors import at_work
from guardd.model import RepoPath
from guardd.transactions.command import descendants

_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _REPORT_DIR_AND_NAME = 0x1, 0x2, 0x10, 0xC00
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_CHANGES = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_OVERFLOW = 0x4000
_INFO_DFID_NAME = 2
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBH8xIi")
_BUFFER = 256 * 1024


class Writers:
    """The paths that processes outside of our own tree of processes have written, from enter to exit.

    A process that had ended before it was looked at counts as ours: a command's own helpers live short, editors do not.
    `watching` is false where the kernel does not tell, or had more to tell than fitted.
    """

    def __init__(self, root: str, wanted: Callable[[RepoPath], bool]) -> None:
        self._root = os.fsencode(root).rstrip(b"/") + b"/"
        self._wanted = wanted
        self._others: set[RepoPath] = set()
        self._lock = threading.Lock()
        self._group = -1
        self.watching = False

    def __enter__(self) -> Self:
        if sys.platform == "linux" and os.geteuid() == 0:  # without CAP_SYS_ADMIN there is no mark for a file system
            self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Look no longer: what was seen stays known. A second call does nothing."""
        if self._group < 0:
            return
        with self._lock:
            self._drain()
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopped)
        os.close(self._mount)
        os.close(self._group)
        self._group = -1

    def others(self) -> set[RepoPath]:
        """What others have written so far."""
        if self._group >= 0:
            with self._lock:
                self._drain()
        return self._others if self.watching else set()

    def _begin(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not all(hasattr(self._libc, name) for name in ("fanotify_init", "fanotify_mark", "open_by_handle_at")):
            return
        group = self._libc.fanotify_init(_CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _REPORT_DIR_AND_NAME, 0)
        if group < 0:
            return
        mask = ctypes.c_uint64(_CHANGES)
        if self._libc.fanotify_mark(group, _MARK_ADD | _MARK_FILESYSTEM, mask, _AT_FDCWD, self._root):
            os.close(group)
            return
        self._group = group
        self._mount = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stopped, self._stop = os.pipe()
        self.watching = True
        self._thread = threading.Thread(target=self._follow, name="guard-writers", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        """Look at once who it was, as long as the process is there to be asked."""
        while self._stopped not in (ready := select.select([self._group, self._stopped], [], [])[0]):
            if ready:
                with self._lock:
                    self._drain()

    def _drain(self) -> None:
        while True:
            try:
                events = os.read(self._group, _BUFFER)
            except BlockingIOError:
                return
            folders: dict[bytes, bytes | None] = {}
            ours: dict[int, bool] = {}
            for mask, pid, handle, name in _events(events):
                if mask & _OVERFLOW:
                    self.watching = False
                    continue
                if handle not in folders:
                    folders[handle] = self._folder(handle)
                path = self._path(folders[handle], name)
                if path is None or not self._wanted(path):
                    continue
                if pid not in ours:
                    ours[pid] = _is_ours(pid)
                if not ours[pid]:
                    self._others.add(path)

    def _path(self, folder: bytes | None, name: bytes) -> RepoPath | None:
        if folder is None or not (folder + b"/").startswith(self._root):
            return None
        below = (folder + b"/")[len(self._root) :]
        return os.fsdecode(below + name)

    def _folder(self, handle: bytes) -> bytes | None:
        """The path of a directory, by the handle that the kernel gave; None once it is gone."""
        fd = self._libc.open_by_handle_at(self._mount, handle, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
        if fd < 0:
            return None
        try:
            return os.readlink(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)


def _events(packed: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(mask, pid, handle of the directory, name in it) of each event; fanotify(7)."""
    at = 0
    while at + _EVENT.size <= len(packed):
        length, _, _, begin, mask, _, pid = _EVENT.unpack_from(packed, at)
        info = at + begin
        handle = name = b""
        if info + _INFO.size <= at + length:
            kind, _, size, handle_bytes, _ = _INFO.unpack_from(packed, info)
            if kind == _INFO_DFID_NAME:
                end = info + _INFO.size + handle_bytes
                handle = packed[info + 12 : end]  # struct file_handle: after the header and the file system's id
                name = packed[end : info + size].split(b"\0", 1)[0]
        yield mask, pid, handle, name
        at += length


def _is_ours(pid: int) -> bool:
    """Whether a process is guardctl or below it; so is one that has ended. 0: someone outside of our namespace."""
    ours = os.getpid()
    while pid > 1:
        if pid == ours:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            return True
        if state in b"XZ" and parent == b"0":  # it ended while it was asked, and has no parent any more
            return True
        pid = int(parent)
    return False


def strangers(root: str) -> dict[tuple[int, int], tuple[str, int]]:
    """Processes at work in the repo that are neither above nor below us, with the bytes that each has written so far."""
    ours = {os.getpid(), *descendants(os.getpid()), *_above()}
    return {key: (name, written) for key, name, written in at_work(root) if key[0] not in ours}


def begun_since(root: str, time_ns: int) -> list[str]:
    """Processes at work in the repo that began after a time: of a run that lost its guardctl, the command may be among them."""
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - (time.time_ns() - time_ns) / 1e9
    first = int(boot_s * os.sysconf("SC_CLK_TCK"))
    found = strangers(root).items()
    return [f"{name} (pid {pid})" for (pid, started), (name, _) in found if started >= first and not _is_beside_us(pid)]


def _is_beside_us(pid: int) -> bool:
    """Whether a process is of our own pipeline (`guardctl ... | less`); a run's command never is."""
    try:
        return os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return True


def _above() -> Iterator[int]:
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return
