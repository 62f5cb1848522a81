"""What a command left where files and directories go back to: renamed aside, never removed, for guard keeps no copy of it."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from guardd.beneath import Root, move_to_free_name
from guardd.model import RepoPath

_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)


class Aside(NamedTuple):
    """What was in the way at `path`, and the name beside it that it has now."""

    path: RepoPath
    to: RepoPath


def folders_of(files: Iterable[RepoPath]) -> set[RepoPath]:
    """Every directory above these files; the root aside."""
    found: set[RepoPath] = set()
    for path in files:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def make_way(
    root: Root, files: Iterable[RepoPath], folders: Iterable[RepoPath], suffix: str, until_ns: int | None = None
) -> list[Aside]:
    """Rename aside what is no directory where `folders` were, and what is no file where `files` were; what it was.

    Files and symlinks where `files` were are kept by guard: they are the restore's own work. So is an empty directory. What
    changed after `until_ns` (None: no matter when) is another's, and stays, as does what cannot be renamed: the restore
    says then what is in its way.
    """
    moved: list[Aside] = []
    for path in sorted(folders):  # those above first: what lies below an obstacle is not there
        if _is_in_the_way(root, path, until_ns, of_folder=True):
            moved += _move(root, path, suffix)
    for path in sorted(files):
        if _is_in_the_way(root, path, until_ns, of_folder=False):
            moved += _move(root, path, suffix)
    return moved


def _is_in_the_way(root: Root, path: RepoPath, until_ns: int | None, *, of_folder: bool) -> bool:
    try:
        about = root.lstat(path)
    except OSError:  # nothing is there, or there is an obstacle above that stays
        return False
    if until_ns is not None and about.st_ctime_ns > until_ns:
        return False
    if stat.S_ISDIR(about.st_mode):
        return not of_folder and not _is_empty(root, path)
    return of_folder or not (stat.S_ISREG(about.st_mode) or stat.S_ISLNK(about.st_mode))


def _is_empty(root: Root, path: RepoPath) -> bool:
    with suppress(OSError):
        fd = root.open_dir(path)
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)
    return False


def _move(root: Root, path: RepoPath, suffix: str) -> Iterator[Aside]:
    parent, _, name = path.rpartition("/")
    with suppress(OSError):
        folder = root.open_dir(parent)
        try:
            new = _rename(folder, name, name + suffix)
        finally:
            os.close(folder)
        yield Aside(path, f"{parent}/{new}" if parent else new)


def _rename(folder: int, name: str, wanted: str) -> str:
    """Give it a name that is free; which one. An earlier roll-back may have taken the first."""
    for number in count(1):
        new = wanted if number == 1 else f"{wanted}.{number}"
        try:
            move_to_free_name(folder, name, new)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            if _exists(folder, new):
                continue
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=folder)
        return new
    raise AssertionError("unreachable: some name is free")


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
