"""The dirty set of one repo: hints from watching, and when each is due to be looked at."""

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from guardd.model import RepoPath

_WRITING_S = 0.2
"""A file that is still being written is looked at this long after the first hint, and again while it goes on."""

_PACE_S = 0.05
"""The least time between two looks at one path; a save is looked at at once, a file rewritten in a loop 20 times a second."""


class Due(NamedTuple):
    """What is to be looked at now: files, and folders (`""`: everything) with what is in doubt there.

    `since`: when each file was first hinted of what has not been settled yet.
    """

    paths: list[RepoPath]
    folders: dict[RepoPath, str]
    since: Mapping[RepoPath, float]


class Dirty:
    """Hints waiting for capture. The sink of a watch; safe for any number of threads. Times are monotonic seconds."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: dict[RepoPath, float] = {}
        self._folders: dict[RepoPath, tuple[float, str]] = {}
        self._looked: dict[RepoPath, float] = {}
        self._since: dict[RepoPath, float] = {}

    def changed(self, path: RepoPath, *, settled: bool) -> None:
        """One file may differ from its head; `settled`: it was closed, moved or deleted, so look at once."""
        now = time.monotonic()
        due = now if settled else now + _WRITING_S
        with self._lock:
            due = max(due, self._looked.get(path, 0.0) + _PACE_S)
            self._paths[path] = min(due, self._paths.get(path, due))
            self._since.setdefault(path, now)
        self._wake.set()

    def rescan(self, folder: RepoPath, why: str) -> None:
        """Everything below `folder` may differ; `why` says what is in doubt, empty where nothing is."""
        with self._lock:
            _, before = self._folders.get(folder, (0.0, ""))
            self._folders[folder] = 0.0, why or before
        self._wake.set()

    def doubts(self) -> list[str]:
        """What was in doubt in the scans that still wait."""
        with self._lock:
            return [why for _, why in self._folders.values() if why]

    def again(self, path: RepoPath, in_s: float, since: float | None = None) -> None:
        """A look at `path` did not settle it: look again in some seconds. `since`: its first hint, where it waits from there."""
        now = time.monotonic()
        with self._lock:
            self._paths.setdefault(path, now + in_s)
            self._since[path] = min(now if since is None else since, self._since.get(path, now))
        self._wake.set()

    def rescan_again(self, folder: RepoPath, why: str, in_s: float) -> None:
        """A scan did not succeed: scan again in some seconds."""
        with self._lock:
            self._folders.setdefault(folder, (time.monotonic() + in_s, why))
        self._wake.set()

    def take(self) -> Due:
        """What is due now; it is the caller's from here on."""
        now = time.monotonic()
        with self._lock:
            folders = {folder: why for folder, (due, why) in self._folders.items() if due <= now}
            paths = [path for path, due in self._paths.items() if due <= now]
            for folder in folders:
                del self._folders[folder]
            for path in paths:
                del self._paths[path]
            since = {path: self._since.pop(path) for path in paths}
            self._looked = {path: at for path, at in self._looked.items() if at + _PACE_S > now}
            self._looked.update(dict.fromkeys(paths, now))
        return Due(paths, folders, since)

    def next_due(self) -> float | None:
        """When something is due next; None while nothing waits."""
        with self._lock:
            waiting = [*self._paths.values(), *(due for due, _ in self._folders.values())]
        return min(waiting, default=None)

    def lag_ns(self) -> int:
        """The age of the oldest hint of a file that still waits; 0 while none does."""
        with self._lock:
            oldest = min(self._since.values(), default=None)
        return 0 if oldest is None else int((time.monotonic() - oldest) * 1e9)

    def __len__(self) -> int:
        with self._lock:
            return len(self._paths) + len(self._folders)
