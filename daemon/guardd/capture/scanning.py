"""A scan: which paths of a tree differ from their heads, by one stat pass."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from guardd.model import RepoPath, StatKey
from guardd.selection import Selection, marks_environment

_LOOKS = 64
"""So many entries between two signs of life: where a stat takes half a second, that is half a minute."""

_T = TypeVar("_T")


class Differing(NamedTuple):
    """A path that must be read: its size in bytes as the scan saw it, and when it changed, as far as its inode says."""

    path: RepoPath
    size: int
    changed_ns: int


@dataclass(slots=True)
class Scan:
    """What a scan of one folder found.

    `unreadable` maps directories to the error that hid them, `unmounted` names empty directories whose files lay on
    another file system; nothing below either is taken for deleted.
    """

    files: int = 0
    differing: list[Differing] = field(default_factory=list)
    missing: list[Differing] = field(default_factory=list)
    unreadable: dict[RepoPath, str] = field(default_factory=dict)
    unmounted: set[RepoPath] = field(default_factory=set)


def scan(
    root: str,
    selection: Selection,
    known: Mapping[RepoPath, bytes | None],
    folder: RepoPath = "",
    go_on: Callable[[], None] = lambda: None,
) -> Scan:
    """Hold the tree below `folder` (`""`: all of it) against the packed keys of its present heads; None: look again.

    `go_on` is called for each directory and every few entries; what it raises ends the scan.
    """
    return _Walk(root, selection, known, go_on).over(folder)


class _Walk:
    def __init__(
        self, root: str, selection: Selection, known: Mapping[RepoPath, bytes | None], go_on: Callable[[], None]
    ) -> None:
        self._root = root
        self._selection = selection
        self._known = known
        self._go_on = go_on
        self._result = Scan()
        self._seen: set[RepoPath] = set()
        self._unseen: set[RepoPath] = set()  # directories that hold files, but not for us
        self._empty: dict[RepoPath, int] = {}  # empty directories -> their st_dev

    def over(self, folder: RepoPath) -> Scan:
        """The scan of one folder."""
        if self._selection.wants_dir(folder):
            pending = [folder]
            while pending:
                self._go_on()
                pending += self._list(pending.pop())
            for path in self._going_on(self._known.keys() - self._seen):
                self._judge_missing(path)
        return self._result

    def _going_on(self, each: Iterable[_T]) -> Iterator[_T]:
        for number, one in enumerate(each, 1):
            yield one
            if number % _LOOKS == 0:
                self._go_on()

    def _list(self, folder: RepoPath) -> list[RepoPath]:
        """Compare the files of one directory; the directories in it that are to be scanned too."""
        absolute = os.path.join(self._root, folder) if folder else self._root
        prefix = folder + "/" if folder else ""
        wants_name, wants_dir = self._selection.wants_name, self._selection.wants_dir
        try:
            with os.scandir(absolute) as listing:
                entries = list(listing)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._result.unreadable[folder] = error.strerror or str(error)
                self._unseen.add(folder)
            return []
        if folder and marks_environment(entry.name for entry in entries):
            self._unseen.add(folder)
            return []
        if not entries:
            with suppress(OSError):  # gone by now
                self._empty[folder] = os.lstat(absolute).st_dev
        below = []
        for entry in self._going_on(entries):
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if wants_dir(path):
                    below.append(path)
            elif wants_name(path):
                self._compare(path, entry)
        return below

    def _compare(self, path: RepoPath, entry: os.DirEntry[str]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:  # a directory that may be listed but not entered
            self._result.unreadable[path.rpartition("/")[0]] = error.strerror or str(error)
            self._seen.add(path)
            return
        self._seen.add(path)
        self._result.files += 1
        key = StatKey(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if self._known.get(path) != key.pack():
            changed_ns = found.st_ctime_ns
            if path not in self._known:  # a directory that was moved in brings files with old times
                changed_ns = max(changed_ns, _changed_ns(os.path.dirname(os.path.join(self._root, path))))
            self._result.differing.append(Differing(path, found.st_size, changed_ns))

    def _judge_missing(self, path: RepoPath) -> None:
        """Tell a deleted file from one that is only out of sight, or out of the selection."""
        if not self._selection.wants(path):
            return
        above = path.rpartition("/")[0]
        if self._is_hidden(above):
            return
        while above and not os.path.isdir(os.path.join(self._root, above)):
            above = above.rpartition("/")[0]
        key = self._known[path]
        if key is not None and above in self._empty and StatKey.unpack(key).dev != self._empty[above]:
            self._result.unmounted.add(above)
            return
        self._result.missing.append(Differing(path, 0, _changed_ns(os.path.join(self._root, above))))

    def _is_hidden(self, folder: RepoPath) -> bool:
        while folder not in self._unseen:
            if not folder:
                return False
            folder = folder.rpartition("/")[0]
        return True


def _changed_ns(directory: str) -> int:
    """When something was last made, moved or removed in a directory (ns), at the latest; 0 if it is gone."""
    try:
        found = os.lstat(directory)
    except OSError:
        return 0
    return max(found.st_mtime_ns, found.st_ctime_ns)
