"""Trees: the files of a repo at one moment, wherever they are kept."""

import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Protocol

from guardd.beneath import Root
from guardd.capture.reading import RACY_NS, key_of
from guardd.capture.scanning import scan
from guardd.checking.memory import Look, Memory
from guardd.checking.outside import Outside
from guardd.errors import GuardError, UsageError
from guardd.escaping import printable
from guardd.model import RepoPath
from guardd.selection import Selection, SelectionRules, is_canary
from guardd.store.codec import digest
from guardd.store.store import Store
from guardd.store.trees import blobs_at

_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENXIO, errno.ENODEV)
"""What opening says of links, sockets and devices, and of what is gone by now."""


class Tree(Protocol):
    """The files of a repo at one moment."""

    @property
    def outside(self) -> Outside:
        """What imports can find besides."""

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular selected file, and what its content is addressed by: BLAKE3, or git's object id.

        Two trees that are held against each other address alike.
        """

    def read(self, path: RepoPath) -> bytes:
        """The content of one of them. Raises GuardError where it cannot be had (any more)."""


class LogTree:
    """The tree as the log has it at a place; without one, its present heads."""

    def __init__(self, store: Store, repo_id: int, root: str, place: int | None = None) -> None:
        self._store = store
        self._repo_id = repo_id
        self._place = place
        repo = store.repos.find(root)
        self.outside = Outside(root, Selection(root, repo.rules if repo is not None else SelectionRules()))

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular file that the log has, and the hash of its content; the canary's aside."""
        return self._blobs

    @cached_property
    def _blobs(self) -> dict[RepoPath, bytes]:
        found = blobs_at(self._store, self._repo_id, self._place)
        return {path: blob for path, blob in found.items() if not is_canary(path)}

    def read(self, path: RepoPath) -> bytes:
        """A file's content, from the store."""
        return self._store.blobs.read(self._blobs[path])


class DiskTree:
    """The tree on disk, read when first asked for. `unread` and `too_large` tell what was not, and why.

    With a `memory`, files that have not changed since the look that it recalls are not read for their addresses.
    """

    def __init__(
        self, root: str, selection: Selection, memory: Memory | None = None, address: Callable[[bytes], bytes] = digest
    ) -> None:
        self._root = root
        self._selection = selection
        self._memory = memory
        self._address = address
        self.unread: dict[RepoPath, str] = {}
        self.too_large: dict[RepoPath, str] = {}
        self.outside = Outside(root, selection)

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular selected file, and the address of its content."""
        return self._blobs

    @cached_property
    def _blobs(self) -> dict[RepoPath, bytes]:
        known = self._memory.recall() if self._memory is not None else Look()
        found = scan(self._root, self._selection, dict(known.keys))
        self.unread |= found.unreadable
        stale = {one.path for one in (*found.differing, *found.missing)}
        now = Look()
        for path, key in known.keys.items():
            if path not in stale and self._selection.wants(path):
                now.keys[path], now.addresses[path] = key, known.addresses[path]
        with self._open() as root:
            for one in found.differing:
                seen = self._look(root, one.path)
                if seen is not None:
                    content, now.keys[one.path] = seen
                    now.addresses[one.path] = self._address(content)
        if self._memory is not None and stale:
            self._memory.keep(now)
        return {path: now.addresses[path] for path in sorted(now.addresses) if not is_canary(path)}

    def read(self, path: RepoPath) -> bytes:
        """A file's content, from the disk. Raises GuardError where it is not what it was."""
        with self._open() as root:
            seen = self._look(root, path)
        if seen is None or self._address(seen[0]) != self._blobs[path]:
            raise GuardError(f"{printable(path)} changed while it was checked; run the check again")
        return seen[0]

    def _look(self, root: Root, path: RepoPath) -> tuple[bytes, bytes | None] | None:
        """A regular file's content, and its key where that can be trusted; None for what is no file, or cannot be read.

        Not proven to be of one moment, as a capture's reads are: that takes twice as long.
        """
        try:
            fd = root.open_read(path)
        except OSError as error:
            if error.errno not in _NO_FILE:
                self.unread[path] = error.strerror or str(error)
            return None
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                return None
            if about.st_size > self._selection.rules.max_file_size:
                self.too_large[path] = f"larger than max_file_size ({self._selection.rules.max_file_size} bytes)"
                return None
            with open(fd, "rb", buffering=0, closefd=False) as file:
                is_racy = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) < RACY_NS
                return file.readall(), None if is_racy else key_of(about).pack()
        except OSError as error:
            self.unread[path] = error.strerror or str(error)
            return None
        finally:
            os.close(fd)

    def _open(self) -> Root:
        try:
            return Root(os.path.realpath(self._root))
        except OSError as error:
            raise UsageError(f"{printable(self._root)}: {error.strerror}; name a directory that can be read") from error
