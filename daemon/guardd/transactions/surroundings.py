"""What lies around the files that guard keeps: directories, which a roll-back puts back, and files that it cannot."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field

from guardd.beneath import Root
from guardd.model import RepoPath
from guardd.selection import Selection, marks_environment

Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Directories with their modes, and files of no interest to guard with their keys (inode, size, mtime).

    `""` is the repo itself. Excluded directories, environments and `.git` are passed over.
    """

    folders: dict[RepoPath, int] = field(default_factory=dict)
    others: dict[RepoPath, Key] = field(default_factory=dict)


def look_around(root: str, selection: Selection) -> Surroundings:
    """One stat pass over the tree, symlinks not followed; what cannot be read is left out."""
    found = Surroundings()
    with suppress(OSError):
        found.folders[""] = stat.S_IMODE(os.stat(root).st_mode)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                entries = list(listing)
        except OSError:
            continue
        if folder and marks_environment(entry.name for entry in entries):
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            with suppress(OSError):  # gone by now
                if entry.is_dir(follow_symlinks=False):
                    if selection.wants_dir(path):
                        found.folders[path] = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                        pending.append(path)
                elif not selection.wants_name(path):
                    about = entry.stat(follow_symlinks=False)
                    found.others[path] = (about.st_ino, about.st_size, about.st_mtime_ns)
    return found


def others_changed(before: Surroundings, now: Surroundings) -> list[RepoPath]:
    """The files that guard does not keep and that came, changed or went."""
    return sorted(path for path in before.others.keys() | now.others.keys() if before.others.get(path) != now.others.get(path))


def put_back_folders(root: Root, before: Surroundings, now: Surroundings) -> None:
    """Make the directories that are gone, as they were, and remove those that came and are empty; the others stay."""
    for path in sorted(now.folders.keys() - before.folders.keys(), reverse=True):
        parent, _, name = path.rpartition("/")
        with suppress(OSError):  # not empty: something in it is not ours to remove
            fd = root.open_dir(parent)
            try:
                os.rmdir(name, dir_fd=fd)
            finally:
                os.close(fd)
    for path, mode in sorted(before.folders.items()):
        if now.folders.get(path) != mode:
            with suppress(OSError):  # something else has its name, and is not ours to change
                if path not in now.folders:
                    os.close(root.open_dir(path, create=True))
                root.chmod(path, mode)
