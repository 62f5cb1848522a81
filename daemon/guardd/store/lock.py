"""Locks between processes: flock(2), which the kernel drops with the process, never a pid file."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from guardd.errors import StoreError, unusable

_PROBE_S = 1.0
"""A `status` that looks whether the daemon runs may hold the lock for an instant; a starting daemon waits that long."""


class Lock:
    """An exclusive lock on a file of the state dir, which names its holder."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self, wait_s: float = 0.0) -> bool:
        """Take the lock; False if another process has it after `wait_s` seconds. Raises StoreError where the disk refuses it."""
        with _as_store_errors(self.path):
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if _is_locked(fd, time.monotonic() + wait_s):
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                    self._fd = fd
            finally:
                if self._fd != fd:
                    os.close(fd)
        return self._fd == fd

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> int | None:
        """The pid of the process that holds the lock, or None if no one does (0 where it did not say)."""
        with _as_store_errors(self.path):
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = os.pread(fd, 32, 0).strip()
                return int(said) if said.isdigit() else 0
            finally:
                os.close(fd)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _is_locked(fd: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.02)  # flock has no timeout of its own
        else:
            return True


@contextmanager
def _as_store_errors(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StoreError(
            f"{path} belongs to another user, or its permissions were changed; set GUARD_STATE_DIR to a directory of yours"
        ) from error
    except OSError as error:
        raise unusable(os.path.dirname(path), error) from error


def daemon_lock(state_dir: str) -> Lock:
    """The lock that the one daemon of a store holds while it runs."""
    return Lock(os.path.join(state_dir, "daemon.lock"))


def acquire_daemon_lock(state_dir: str) -> Lock:
    """Become the one daemon of a store. Raises StoreError with the pid of the other."""
    lock = daemon_lock(state_dir)
    if not lock.try_acquire(_PROBE_S):
        raise StoreError(f"guardd already runs for {state_dir} (pid {lock.holder() or 'unknown'}); stop it first")
    return lock


def restore_lock(state_dir: str, repo_id: int) -> Lock:
    """The lock of whoever writes into a repo: restores of one repo come one after the other."""
    return Lock(os.path.join(state_dir, f"restore-{repo_id}.lock"))


def run_lock(state_dir: str, repo_id: int) -> Lock:
    """The lock that a `guardctl run` holds from before its command until all is decided: one at a time in a repo."""
    return Lock(os.path.join(state_dir, f"run-{repo_id}.lock"))


def canary_lock(state_dir: str, repo_id: int) -> Lock:
    """The lock of whoever has a canary in a repo: what others left there is nobody's."""
    return Lock(os.path.join(state_dir, f"canary-{repo_id}.lock"))


def delivery_lock(state_dir: str) -> Lock:
    """The lock of the process that delivers alerts: two would send each twice."""
    return Lock(os.path.join(state_dir, "alerts.lock"))
