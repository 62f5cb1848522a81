"""A scan: which paths of a tree differ from their heads, by one stat pass."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from blake3 import blake3

from guardd.capture.birth import born_ns
from guardd.descriptors import is_lack
from guardd.model import RepoPath, StatKey, pack_key
from guardd.selection import Selection, marks_environment

_LOOKS = 64
"""So many entries between two signs of life: where a stat takes half a second, that is half a minute."""

_CLOCK_STEP_NS = 3600 * 1_000_000_000
"""By so much the wall clock of a scan may be ahead of that of the file system (a server's, or ours that was set since)."""

_T = TypeVar("_T")

_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNKNOWN = b""


class Differing(NamedTuple):
    """A path that must be read: its size in bytes as the scan saw it, and when it changed, as far as inodes say.

    `came`: it is no file that was known there, but a new one, or another in its place.
    """

    path: RepoPath
    size: int
    changed_ns: int
    came: bool = False


@dataclass(slots=True)
class Scan:
    """What a scan of one folder found.

    `unreadable` maps directories to the error that hid them, `unmounted` names empty directories that are not those that
    held the files; nothing below either is taken for deleted. `ignoring` is a fingerprint of the .gitignore files that
    were respected: equal where none has changed.
    """

    files: int = 0
    differing: list[Differing] = field(default_factory=list)
    missing: list[Differing] = field(default_factory=list)
    unreadable: dict[RepoPath, str] = field(default_factory=dict)
    unmounted: set[RepoPath] = field(default_factory=set)
    ignoring: str = ""


def scan(
    root: str,
    selection: Selection,
    known: MutableMapping[RepoPath, bytes | None],
    folder: RepoPath = "",
    go_on: Callable[[], None] = lambda: None,
    seen_ns: int = 0,
    root_seen_ns: int = 0,
) -> Scan:
    """Hold the tree below `folder` (`""`: all of it) against the packed keys of its present heads; None: look again.

    `known` is used up: what is met is taken out of it. `go_on` is called for each directory and every few entries; what it
    raises ends the scan. `seen_ns`: all of `known` was there at this time (wall clock) or later; 0: no one knows.
    `root_seen_ns`: when the root was last scanned: an empty one that was made since never held the files; 0: no one knows.
    """
    return _Walk(root, selection, known, go_on, seen_ns, root_seen_ns).over(folder)


class _Walk:
    def __init__(
        self, root: str, selection: Selection, known: MutableMapping[RepoPath, bytes | None], go_on: Callable[[], None],
        seen_ns: int, root_seen_ns: int,
    ) -> None:  # fmt: skip
        self._root = root
        self._selection = selection
        self._known = known
        self._go_on = go_on
        self._result = Scan()
        self._unseen: set[RepoPath] = set()  # directories that hold files, but not for us
        self._seen_ns = seen_ns
        self._root_seen_ns = root_seen_ns
        self._root_is_new = False
        self._empty: dict[RepoPath, os.stat_result] = {}
        self._emptied: dict[RepoPath, list[RepoPath]] = {}  # empty directories -> the files that are missing below
        self._held: set[RepoPath] = set()  # directories with a file below that is still the one it was: none of them came anew
        self._came_ns: dict[RepoPath, int] = {}  # of directories that may have come anew: when, those above them included
        self._respects_gitignore = selection.rules.respect_gitignore
        self._ignoring: list[str] = []

    def over(self, folder: RepoPath) -> Scan:
        """The scan of one folder."""
        if self._selection.wants_dir(folder):
            pending = [folder]
            while pending:
                self._go_on()
                pending += self._list(pending.pop())
            if (above := self._what_is_left(folder)) != folder:
                self._look_whether_empty(above)
            for some in self._going_on(list(self._known)):
                for path in some:
                    self._judge_missing(path)
            self._judge_emptied()
            self._result.differing = [self._dated(one) for one in self._result.differing]
        if self._respects_gitignore:
            self._note_ignoring(".git/info/exclude")
            self._result.ignoring = blake3("\0".join(sorted(self._ignoring)).encode(errors="surrogateescape")).hexdigest(8)
        return self._result

    def _note_ignoring(self, path: RepoPath) -> None:
        with suppress(OSError):
            found = os.lstat(os.path.join(self._root, path))
            self._ignoring.append(f"{path} {found.st_mtime_ns} {found.st_ctime_ns}")

    def _going_on(self, each: Sequence[_T]) -> Iterator[Sequence[_T]]:
        """A few at a time: a call for each entry would double what the scan of an unchanged tree costs."""
        for begin in range(0, len(each), _LOOKS):
            yield each[begin : begin + _LOOKS]
            if begin + _LOOKS <= len(each):
                self._go_on()

    def _list(self, folder: RepoPath) -> list[RepoPath]:
        """Compare the files of one directory; the directories in it that are to be scanned too."""
        try:
            # By a descriptor, the kernel looks up each name in its directory only: two thirds of the time by whole paths.
            fd = os.open(f"{self._root}/{folder}", _LISTED | (os.O_NOFOLLOW if folder else 0))
        except OSError as error:
            return self._pass_over(folder, error)
        try:
            try:
                with os.scandir(fd) as listing:
                    entries = list(listing)
            except OSError as error:
                return self._pass_over(folder, error)
            if folder and marks_environment([entry.name for entry in entries]):
                self._unseen.add(folder)
                return []
            if not entries:
                self._note_empty(folder, fd)
            below: list[RepoPath] = []
            known, self._others = len(self._known), 0
            for some in self._going_on(entries):
                below += self._compare(folder, some)
            if known - len(self._known) > self._others:
                self._hold(folder)
            return below
        finally:
            os.close(fd)

    def _look_whether_empty(self, folder: RepoPath) -> None:
        """Of a directory that is not scanned, but out of which the scanned one is gone."""
        with suppress(OSError):
            fd = os.open(f"{self._root}/{folder}", _LISTED | (os.O_NOFOLLOW if folder else 0))
            try:
                with os.scandir(fd) as listing:
                    if next(listing, None) is None:
                        self._note_empty(folder, fd)
            finally:
                os.close(fd)

    def _what_is_left(self, folder: RepoPath) -> RepoPath:
        """The nearest directory that is still there: this one, or one above it."""
        while folder and not os.path.isdir(os.path.join(self._root, folder)):
            folder = _above(folder)
        return folder

    def _note_empty(self, folder: RepoPath, fd: int) -> None:
        self._empty[folder] = os.fstat(fd)
        if not folder and self._root_seen_ns:
            self._root_is_new = born_ns(fd) > self._root_seen_ns

    def _pass_over(self, folder: RepoPath, error: OSError) -> list[RepoPath]:
        if is_lack(error):  # that is no matter of this directory
            raise error
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._result.unreadable[folder] = error.strerror or str(error)
            self._unseen.add(folder)
        return []

    def _hold(self, folder: RepoPath) -> None:
        while folder not in self._held:
            self._held.add(folder)
            folder = _above(folder)

    def _compare(self, folder: RepoPath, entries: Sequence["os.DirEntry[str]"]) -> list[RepoPath]:
        """Compare the files among some entries of a directory; the directories among them that are to be scanned too."""
        prefix = folder + "/" if folder else ""
        wants_name, wants_dir, take = self._selection.wants_name, self._selection.wants_dir, self._known.pop
        suffixes, pack = self._selection.suffixes, pack_key
        below = []
        for entry in entries:
            name = entry.name
            if name == ".gitignore" and self._respects_gitignore:
                self._note_ignoring(prefix + name)
            if entry.is_dir(follow_symlinks=False):
                if wants_dir(prefix + name):
                    below.append(prefix + name)
                continue
            if not (name.endswith(suffixes) if suffixes is not None else wants_name(prefix + name)):
                continue
            path = prefix + name
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:  # a directory that may be listed but not entered
                self._result.unreadable[folder] = error.strerror or str(error)
                take(path, None)
                continue
            self._result.files += 1
            key = take(path, _UNKNOWN)
            if key != pack(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns):
                was = StatKey.unpack(key or _UNKNOWN)
                came = was is None or was.ino != found.st_ino
                self._others += came and key != _UNKNOWN
                self._result.differing.append(Differing(path, found.st_size, found.st_ctime_ns, came))
        return below

    def _judge_missing(self, path: RepoPath) -> None:
        """Tell a deleted file from one that is only out of sight, or out of the selection."""
        if not self._selection.wants(path):
            return
        if self._is_hidden(_above(path)):
            return
        above = self._what_is_left(_above(path))
        if above in self._empty:
            self._emptied.setdefault(above, []).append(path)
        else:
            self._miss(path, above)

    def _miss(self, path: RepoPath, above: RepoPath) -> None:
        """`above`: the nearest directory above it that is there."""
        self._result.missing.append(Differing(path, 0, max(self._changed_ns(above), self._moved_ns(above))))

    def _dated(self, one: Differing) -> Differing:
        """The same, not earlier than the directories that brought it: it may have been in them for years."""
        if not one.came:
            return one
        return one._replace(changed_ns=max(one.changed_ns, self._moved_ns(_above(one.path))))

    def _moved_ns(self, folder: RepoPath) -> int:
        """When a directory, or one above it, came to be where it is (ns), at the latest; 0 where it has been there all along.

        A rename changes the ctime of what is renamed, but of nothing below.
        """
        chain = []
        while folder not in self._held and folder not in self._came_ns:
            chain.append(folder)
            if not folder:
                break
            folder = _above(folder)
        moved_ns = self._came_ns.get(folder, 0)
        for one in reversed(chain):
            moved_ns = self._came_ns[one] = max(moved_ns, self._changed_ns(one))
        return moved_ns

    def _changed_ns(self, folder: RepoPath) -> int:
        """When something was last made, moved or removed in a directory, or it was moved (ns), at the latest; 0 if it is gone."""
        try:
            found = os.lstat(os.path.join(self._root, folder))
        except OSError:
            return 0
        return max(found.st_mtime_ns, found.st_ctime_ns)

    def _judge_emptied(self) -> None:
        """Tell a directory out of which all files were taken from one that is mounted over it, or was below its mount."""
        for folder, paths in self._emptied.items():
            self._go_on()
            if self._is_another(folder, paths):
                self._result.unmounted.add(folder)
            else:
                for path in paths:
                    self._miss(path, folder)

    def _is_another(self, folder: RepoPath, paths: Sequence[RepoPath]) -> bool:
        """Whether an empty directory is, or may well be, not the one that held these files.

        What takes a file away changes its directory's ctime, which no one can set back: a directory that has not changed since
        after the files were there never held them. Times that are still to come are those of a clock that was wrong. Of an empty
        directory that is mounted out of the same file system no one knows whether it is the one that was mounted before. A root
        that was made since the last scan is another: the one that held them was moved away, or removed with all of them.
        """
        keys = [key for path in paths if (key := StatKey.unpack(self._known[path] or _UNKNOWN))]
        now_ns = time.time_ns()
        there = [time_ns for time_ns in (self._seen_ns - _CLOCK_STEP_NS, *(key.ctime_ns for key in keys)) if time_ns <= now_ns]
        empty = self._empty[folder]
        return (
            any(key.dev != empty.st_dev for key in keys)
            or max(there, default=0) > empty.st_ctime_ns
            or self._is_bound(folder, empty)
            or (not folder and self._root_is_new)
        )

    def _is_bound(self, folder: RepoPath, found: os.stat_result) -> bool:
        """Whether a directory of the same file system is mounted there (proc(5)); False where no one says."""
        directory = os.path.join(self._root, folder).rstrip("/")
        escaped = re.sub(rb"[ \t\n\\]", lambda one: b"\\%03o" % one[0][0], os.fsencode(directory))
        return escaped in self._mount_points and os.stat(os.path.dirname(directory)).st_dev == found.st_dev

    @cached_property
    def _mount_points(self) -> frozenset[bytes]:
        try:
            with open("/proc/self/mountinfo", "rb") as file:
                return frozenset(line.split(b" ", 5)[4] for line in file)
        except OSError:
            return frozenset()

    def _is_hidden(self, folder: RepoPath) -> bool:
        while folder not in self._unseen:
            if not folder:
                return False
            folder = _above(folder)
        return True


def _above(path: RepoPath) -> RepoPath:
    """The directory that a path lies in; `""` is the root."""
    return path.rpartition("/")[0]
