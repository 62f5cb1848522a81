"""A verified read: what is at a path, proven not to have changed while it was read."""

import errno
import os
import stat
from enum import Enum
from typing import NamedTuple

from blake3 import blake3

from guardd.beneath import Root
from guardd.errors import LACKING_DESCRIPTORS
from guardd.model import ABSENT, FileState, Kind, RepoPath, StatKey
from guardd.store.codec import digest

RACY_NS = 2_000_000_000
"""A key younger than this may be that of two contents: file systems with coarse times (FAT: 2 s) cannot tell them apart."""

LARGE = 1024 * 1024
"""Files over this size in bytes are read one at a time, so that memory stays bounded."""

_TRIES = 3
_CHUNK = 1024 * 1024


class Trouble(Enum):
    """Why a path could not be read for now; it stays dirty."""

    UNSTEADY = "it kept changing while it was read"
    UNREADABLE = "no permission to read it"
    FAILING = "the disk reports an error for it"
    LARGE = "it is read on its own"
    NO_DESCRIPTOR = "no file descriptor was left to read it by"


class Seen(NamedTuple):
    """What a verified read found. `content` is None where only the hash is kept; `odd` names what is no file or link."""

    path: RepoPath
    state: FileState
    key: StatKey | None
    content: bytes | None = None
    odd: str | None = None

    def racy(self, now_ns: int) -> bool:
        """Whether the file may change again without its key changing."""
        return self.key is not None and now_ns - max(self.key.mtime_ns, self.key.ctime_ns) < RACY_NS


def key_of(found: os.stat_result) -> StatKey:
    """The key of a file state, from its stat."""
    return StatKey(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read(root: Root, path: RepoPath, keep_up_to: int, at_once_up_to: int | None = None) -> Seen | Trouble:
    """What is at `path`. Contents over `keep_up_to` bytes are hashed only; over `at_once_up_to`, Trouble.LARGE."""
    for _ in range(_TRIES):
        try:
            fd = root.open_read(path)
        except OSError as error:
            if error.errno != errno.ELOOP:
                return _unopened(path, error)
            seen = _read_link(root, path)
        else:
            try:
                seen = _read_open(fd, path, keep_up_to, at_once_up_to)
            except OSError as error:
                return _unopened(path, error)
            finally:
                os.close(fd)
        if seen is not Trouble.UNSTEADY:
            return seen
    return Trouble.UNSTEADY


def _read_open(fd: int, path: RepoPath, keep_up_to: int, at_once_up_to: int | None) -> Seen | Trouble:
    before = os.fstat(fd)
    if not stat.S_ISREG(before.st_mode):
        return Seen(path, ABSENT, None, odd=None if stat.S_ISDIR(before.st_mode) else _what(before.st_mode))
    size = before.st_size
    content = None
    if size > keep_up_to:
        blob, length = _hash(fd)
    elif at_once_up_to is not None and size > at_once_up_to:
        return Trouble.LARGE
    else:
        content = _slurp(fd, size)
        blob, length = digest(content), len(content)
    key, after = key_of(before), key_of(os.fstat(fd))
    if length != size or after != key:
        return Trouble.UNSTEADY
    state = FileState(Kind.FILE, blob, size, stat.S_IMODE(before.st_mode) & 0o777, content is not None)
    return Seen(path, state, after, content)


def _read_link(root: Root, path: RepoPath) -> Seen | Trouble:
    try:
        before = root.lstat(path)
        if not stat.S_ISLNK(before.st_mode):
            return Trouble.UNSTEADY
        target = root.readlink(path)
        after = key_of(root.lstat(path))
    except OSError as error:
        if error.errno == errno.ELOOP:  # a directory above is a link: what is behind it is not of this repo
            return Seen(path, ABSENT, None)
        return _unopened(path, error)
    if after != key_of(before):
        return Trouble.UNSTEADY
    return Seen(path, FileState(Kind.LINK, digest(target), len(target), 0o777), after, target)


def _unopened(path: RepoPath, error: OSError) -> Seen | Trouble:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EXDEV:
            return Seen(path, ABSENT, None)
        case errno.ENXIO | errno.ENODEV:
            return Seen(path, ABSENT, None, odd="a socket or device")
        case errno.EACCES | errno.EPERM:
            return Trouble.UNREADABLE
        case errno.EINTR | errno.EAGAIN | errno.ESTALE:
            return Trouble.UNSTEADY
        case code if code in LACKING_DESCRIPTORS:
            return Trouble.NO_DESCRIPTOR
        case _:
            return Trouble.FAILING


def _slurp(fd: int, size: int) -> bytes:
    content = os.read(fd, size + 1)
    if len(content) >= size:
        return content
    parts = [content]
    while parts[-1]:
        parts.append(os.read(fd, _CHUNK))
    return b"".join(parts)


def _hash(fd: int) -> tuple[bytes, int]:
    hasher, length = blake3(), 0
    while chunk := os.read(fd, _CHUNK):
        hasher.update(chunk)
        length += len(chunk)
    return hasher.digest(), length


def _what(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
