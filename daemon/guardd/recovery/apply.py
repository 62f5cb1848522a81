"""Apply: put states into a tree, so that each path is its old self or its new self and no newer edit is lost.

A chunk at a time: all new contents into temporary files beside their targets, one syncfs, all swapped in, one syncfs. A swap
is an exchange of two names: what comes out is looked at, and if it is not what the store holds a copy of, it goes back.
"""

import errno
import os
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from guardd.beneath import Root, clean, exchange, move_to_free_name, sync_filesystem
from guardd.capture.reading import key_of
from guardd.errors import GuardError
from guardd.model import FileState, Kind, RepoPath, StatKey
from guardd.recovery.pool import Pool
from guardd.selection import TEMPORARY

_CHUNK_FILES = 2_000
_CHUNK_BYTES = 256 * 1024 * 1024
_OPEN_FOLDERS = 32
_AHEAD_BYTES = 16 * 1024 * 1024
"""So much may wait in memory until it is written, but for the handful that goes beyond it."""

_HANDFUL_FILES, _HANDFUL_BYTES = 32, 4 * 1024 * 1024

_SWAPPERS = 8
"""What a swap takes out is unlinked, and that waits where the file system discards its blocks at once: 1,250 files took
1.3 s one by one. A folder's own lock is not held while it waits."""

_TOGETHER = 32
"""Files of one folder that one thread swaps in."""

_UNFINISHED = ".part"
"""Of a name that never held anything but half-written new content."""

_ADVICE = {
    errno.EACCES: "no permission; make the directory writable for this user",
    errno.EPERM: "not permitted; the file or directory may be immutable (chattr -i)",
    errno.EROFS: "the file system is read-only; remount it writable",
    errno.ENOSPC: "the disk is full; free some space and run the restore again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the restore again",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.ELOOP: "a directory above it is a symlink now; guard never writes through one",
    errno.EEXIST: "a FIFO, socket or device is in the way; move it away",
    errno.ENOTDIR: "a symlink or a file is where a directory above it was; move that away",
}


ReadBlobs = Callable[[Iterable[bytes]], Iterator[tuple[bytes, bytes | GuardError]]]
"""Gives each of these contents once, in any order, or what keeps it from being read."""


class Step(NamedTuple):
    """One path to be put into a state (ABSENT: removed). `expected` is the key of what must be there now, None: nothing."""

    path: RepoPath
    target: FileState
    expected: StatKey | None


@dataclass(slots=True)
class Applied:
    """What became of the steps.

    `done`: the keys of what is there now (None: removed); `failed`: with the reasons; `changed`: paths that differed from
    `expected` at the last moment and were left alone.
    """

    done: dict[RepoPath, StatKey | None] = field(default_factory=dict)
    failed: list[tuple[RepoPath, str]] = field(default_factory=list)
    changed: list[RepoPath] = field(default_factory=list)

    def fail(self, step: Step, error: OSError) -> None:
        """A step could not be carried out; what to do about it is added."""
        if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
            reason = "a directory with files in it is in the way; move it away"
        else:
            reason = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        self.failed.append((step.path, reason))

    def absorb(self, other: "Applied") -> None:
        """Add what became of other steps."""
        self.done |= other.done
        self.failed += other.failed
        self.changed += other.changed


class _Changed(Exception):
    """What is at a path is not what was expected there."""


class _KeptAside(Exception):
    """What was taken out could not be given its name back: it stays under the temporary one."""


def apply(
    steps: Sequence[Step],
    root: Root,
    read_blobs: ReadBlobs,
    *,
    tag: str,
    on_progress: Callable[[int], None] = lambda done: None,
    on_removed: Callable[[], None] = lambda: None,
) -> Applied:
    """Carry out the steps, removals first; `tag` names the temporary files, for `leftovers`.

    `on_removed` is called once between the removals and the first write.
    Every expected content must be durable in the store before. What fails is reported and leaves its path as it was.
    """
    run = _Run(root, read_blobs, tag)
    steps = [step for step in steps if run.is_inside(step)]
    try:
        removals = [step for step in steps if not step.target.present]
        run.remove(removals)
        on_removed()
        on_progress(len(removals))
        done = len(removals)
        for chunk in _chunks([step for step in steps if step.target.present]):
            run.write(chunk)
            done += len(chunk)
            on_progress(done)
        return run.applied
    finally:
        run.close()


def leftovers(root: Root, folders: Iterable[RepoPath], tag: str, is_stored: Callable[[RepoPath], bool]) -> list[RepoPath]:
    """Clear the temporary files that a killed `apply` left in these folders; those that are kept, by path.

    A temporary file is unfinished, or is new content from the store, or what a swap took out. The last was stored before the
    first write, unless someone edited it in that very instant: so of the finished ones only what `is_stored` knows is removed.
    """
    kept = []
    for folder in folders:
        try:
            fd = root.open_dir(folder)
        except OSError:
            continue  # the folder is gone, and with it what was left there
        try:
            for name in os.listdir(fd):
                if name.startswith(_prefix(tag)):
                    path = f"{folder}/{name}" if folder else name
                    if name.endswith(_UNFINISHED) or is_stored(path):
                        with suppress(FileNotFoundError):  # it is the user's folder: anyone may clear it
                            os.unlink(name, dir_fd=fd)
                    else:
                        kept.append(path)
        finally:
            os.close(fd)
    return kept


class _Run:
    def __init__(self, root: Root, read_blobs: ReadBlobs, tag: str) -> None:
        self.applied = Applied()
        self._root = root
        self._read_blobs = read_blobs
        self._full: OSError | None = None
        self._tag = tag
        self._folders: OrderedDict[RepoPath, int] = OrderedDict()
        self._count = 0

    def is_inside(self, step: Step) -> bool:
        """Whether a step is for a path of the repo, and not one that a damaged or hostile store made up; else it has failed."""
        try:
            clean(step.path)
        except OSError as error:
            self.applied.fail(step, error)
            return False
        return True

    def remove(self, steps: Sequence[Step]) -> None:
        """Take files away; directories that this empties go too."""
        emptied: set[RepoPath] = set()
        for step in steps:
            try:
                if step.expected is not None:
                    self._take_out(step.path, step.expected)
                self.applied.done[step.path] = None
                emptied.add(step.path.rpartition("/")[0])
            except FileNotFoundError:
                self.applied.done[step.path] = None
            except _Changed:
                self.applied.changed.append(step.path)
            except _KeptAside as error:
                self.applied.failed.append((step.path, str(error)))
            except OSError as error:
                self.applied.fail(step, error)
        for folder in sorted(emptied, reverse=True):
            self._remove_empty(folder)
        if steps:
            sync_filesystem(self._folder(""))

    def write(self, steps: Sequence[Step]) -> None:
        """Write one chunk: temporary files, sync, swaps, sync."""
        ready = self._prepare_all(steps)
        sync_filesystem(self._folder(""))
        unused: list[tuple[Step, str]] = []
        with Pool(_SWAPPERS, "guard-swap") as swappers:
            for outcome, out_of_reach in swappers.map(self._swap_all, _by_folder(ready)):
                self.applied.absorb(outcome)
                unused += out_of_reach
        self._discard(unused)
        sync_filesystem(self._folder(""))
        self.applied.failed.sort()
        self.applied.changed.sort()

    def close(self) -> None:
        """Close the directories that are open."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    # -- many at once -------------------------------------------------------------------------------------------

    def _prepare_all(self, steps: Sequence[Step]) -> list[tuple[Step, str]]:
        """Write the new contents into temporary files, in another thread than the one that reads them from the store."""
        wanting: dict[bytes, list[Step]] = {}
        for step in steps:
            wanting.setdefault(step.target.blob, []).append(step)
        ready: list[tuple[Step, str]] = []
        self._full = None
        with Pool(1, "guard-write") as writer:
            written: deque[tuple[int, Future[list[tuple[Step, str]]]]] = deque()
            for some in _handfuls(self._read_blobs(wanting)):
                size = sum(len(content) for _, content in some if isinstance(content, bytes))
                todo = [(content, wanting[hash_]) for hash_, content in some]
                written.append((size, writer.submit(self._prepare_some, todo)))
                while sum(size for size, _ in written) > _AHEAD_BYTES:
                    ready += written.popleft()[1].result()
            for _, one in written:
                ready += one.result()
        return ready

    def _prepare_some(self, some: Sequence[tuple[bytes | GuardError, Sequence[Step]]]) -> list[tuple[Step, str]]:
        ready: list[tuple[Step, str]] = []
        for content, steps in some:
            for step in steps:
                try:
                    if isinstance(content, GuardError):
                        raise content
                    if self._full is not None:
                        raise self._full
                    ready.append((step, self._prepare(step, content)))
                except GuardError as error:
                    self.applied.failed.append((step.path, str(error)))
                except OSError as error:
                    self._full = error if error.errno in (errno.ENOSPC, errno.EDQUOT) else self._full
                    self.applied.fail(step, error)
        return ready

    def _swap_all(self, some: Sequence[tuple[Step, str]]) -> tuple[Applied, list[tuple[Step, str]]]:
        """Swap in the new files of one folder; what became of them, and which files are still there under their temporary names.

        Nothing of ours is touched here but the root: others swap at the same time.
        """
        outcome = Applied()
        out_of_reach: list[tuple[Step, str]] = []
        folder = -1
        try:
            for step, temp in some:
                try:
                    folder = folder if folder >= 0 else self._root.open_dir(_split(step.path)[0], create=True)
                except OSError as error:
                    outcome.fail(step, error)
                    out_of_reach.append((step, temp))
                    continue
                try:
                    outcome.done[step.path] = _swap_in(folder, step, temp)
                except _Changed:
                    outcome.changed.append(step.path)
                except _KeptAside as error:
                    outcome.failed.append((step.path, str(error)))
                except OSError as error:
                    outcome.fail(step, error)
        finally:
            if folder >= 0:
                os.close(folder)
        return outcome, out_of_reach

    def _discard(self, unused: Sequence[tuple[Step, str]]) -> None:
        """Remove new contents whose folder could not be opened: for want of descriptors, most likely, so with few in use."""
        for step, temp in unused:
            self.close()
            with suppress(OSError):
                os.unlink(temp, dir_fd=self._folder(_split(step.path)[0]))

    # -- one path -----------------------------------------------------------------------------------------------

    def _prepare(self, step: Step, content: bytes) -> str:
        """Write the target state into a temporary file beside the path; its name."""
        parent, name = _split(step.path)
        folder = self._folder(parent, create=True)
        temp = self._temp_name()
        if step.target.kind is Kind.LINK:
            os.symlink(os.fsdecode(content), temp, dir_fd=folder)
            return temp
        part = temp + _UNFINISHED
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
            try:
                _write_all(fd, content)
                _own_like(fd, folder, name)
                os.fchmod(fd, step.target.mode & 0o777)
            finally:
                os.close(fd)
            os.rename(part, temp, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)
            raise
        return temp

    def _take_out(self, path: RepoPath, expected: StatKey) -> None:
        parent, name = _split(path)
        folder = self._folder(parent)
        temp = self._temp_name()
        if not _same(_key(folder, name), expected):
            raise _Changed
        try:
            move_to_free_name(folder, name, temp)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
            os.rename(name, temp, src_dir_fd=folder, dst_dir_fd=folder)
        _finish_off(folder, temp, name, expected)

    def _remove_empty(self, folder: RepoPath) -> None:
        while folder:
            parent, name = _split(folder)
            self._forget(folder)
            try:
                os.rmdir(name, dir_fd=self._folder(parent))
            except OSError:
                return  # not empty, or not ours to remove
            folder = parent

    # -- directories --------------------------------------------------------------------------------------------

    def _folder(self, path: RepoPath, *, create: bool = False) -> int:
        """An open directory, of the few that are kept open."""
        if path in self._folders:
            self._folders.move_to_end(path)
            return self._folders[path]
        fd = self._root.open_dir(path, create=create)
        self._folders[path] = fd
        if len(self._folders) > _OPEN_FOLDERS:
            os.close(self._folders.popitem(last=False)[1])
        return fd

    def _forget(self, path: RepoPath) -> None:
        fd = self._folders.pop(path, None)
        if fd is not None:
            os.close(fd)

    def _temp_name(self) -> str:
        self._count += 1
        return f"{_prefix(self._tag)}{self._count}.tmp"


def _swap_in(folder: int, step: Step, temp: str) -> StatKey:
    """Put a temporary file in its place, in its open folder; the key of what is there then."""
    name = _split(step.path)[1]
    try:
        if step.expected is None:
            _fill_free_name(folder, temp, name)
        else:
            _replace(folder, temp, name, step.expected)
    except (_Changed, OSError):  # after these the temporary file is ours; after an interrupt, no one knows
        with suppress(FileNotFoundError):
            os.unlink(temp, dir_fd=folder)
        raise
    return _key(folder, name)


def _fill_free_name(folder: int, temp: str, name: str) -> None:
    with suppress(OSError):
        os.rmdir(name, dir_fd=folder)  # an empty directory in the way is nothing that could be lost
    try:
        move_to_free_name(folder, temp, name)
    except FileExistsError as error:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            raise _Changed from error
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EEXIST
        raise OSError(code, os.strerror(code), name) from error
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        if _exists(folder, name):
            raise _Changed from error
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)


def _replace(folder: int, temp: str, name: str, expected: StatKey) -> None:
    try:
        exchange(folder, temp, name)
    except FileNotFoundError as error:
        raise _Changed from error
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        # No exchange on this file system: between this look and the rename, an edit could still slip in.
        if not _same(_key(folder, name), expected):
            raise _Changed from error
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    _finish_off(folder, temp, name, expected)


def _finish_off(folder: int, temp: str, name: str, expected: StatKey) -> None:
    """Remove what was taken out, if it is what the store holds a copy of; else give it back its name."""
    try:
        known = _same(_key(folder, temp), expected)
    except OSError:
        known = False
    if known:
        os.unlink(temp, dir_fd=folder)
        return
    for give_back in (exchange, move_to_free_name):
        with suppress(OSError):
            give_back(folder, temp, name)
            raise _Changed
    raise _KeptAside(f"it was edited in this very instant; the edit is kept beside it as {temp}")


def _chunks(steps: Sequence[Step]) -> Iterator[list[Step]]:
    chunk: list[Step] = []
    size = 0
    for step in steps:
        if chunk and (len(chunk) >= _CHUNK_FILES or size + step.target.size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(step)
        size += step.target.size
    if chunk:
        yield chunk


def _handfuls(contents: Iterable[tuple[bytes, bytes | GuardError]]) -> Iterator[list[tuple[bytes, bytes | GuardError]]]:
    some: list[tuple[bytes, bytes | GuardError]] = []
    size = 0
    for hash_, content in contents:
        some.append((hash_, content))
        size += len(content) if isinstance(content, bytes) else 0
        if len(some) >= _HANDFUL_FILES or size > _HANDFUL_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _by_folder(ready: Iterable[tuple[Step, str]]) -> Iterator[list[tuple[Step, str]]]:
    folders: dict[RepoPath, list[tuple[Step, str]]] = {}
    for step, temp in ready:
        folders.setdefault(_split(step.path)[0], []).append((step, temp))
    for some in folders.values():
        for at in range(0, len(some), _TOGETHER):
            yield some[at : at + _TOGETHER]


def _prefix(tag: str) -> str:
    return f"{TEMPORARY}{tag}-"


def _split(path: RepoPath) -> tuple[RepoPath, str]:
    parent, _, name = path.rpartition("/")
    return parent, name


def _key(folder: int, name: str) -> StatKey:
    return key_of(os.stat(name, dir_fd=folder, follow_symlinks=False))


def _same(found: StatKey, expected: StatKey) -> bool:
    """Whether it is the expected file; a rename changes ctime, so that does not count."""
    return (found.dev, found.ino, found.size, found.mtime_ns) == (
        expected.dev, expected.ino, expected.size, expected.mtime_ns,
    )  # fmt: skip


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _own_like(fd: int, folder: int, name: str) -> None:
    """Running as root, keep the owner of what is replaced, else take the directory's: root's files help no one."""
    if os.geteuid() != 0:
        return
    try:
        like = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(like.st_mode):
            like = os.fstat(folder)
    except FileNotFoundError:
        like = os.fstat(folder)
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, like.st_uid, like.st_gid)
