"""The canary's files, written beneath a root only: what is in them, how they are planted and damaged, that nothing stays."""

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator

from guardd.beneath import Root
from guardd.model import RepoPath
from guardd.selection import CANARY, TEMPORARY

_FOLDER = re.compile(re.escape(CANARY) + "[0-9a-f]{8}")
_FILE = re.compile(r"canary_\d{3}\.py")
_HIDE = ".gitignore"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = '''\
"""Planted by 'guardctl doctor --canary'; gone in a moment."""


def canary_{token}_{number}(value):
    total = value + {number}
    doubled = total * 2
    return doubled


ANSWER_{token}_{number} = canary_{token}_{number}({number})
'''


def damage_of(source: bytes, marker: str) -> bytes:
    """The source as a bulk script leaves it: every line of code a comment, behind the marker if there is one."""
    sign = f"# {marker}: ".encode() if marker else b"# "
    return b"".join(sign + line if line.strip() else line for line in source.splitlines(keepends=True)) + b"pass\n"


def name_of_planting() -> RepoPath:
    """The path of a file that a canary could plant."""
    return f"{CANARY}{0:08x}/canary_000.py"


class Planted:
    """Files in a new folder at the top of a repo; nothing is written before `plant`. All errors are OSError."""

    def __init__(self, root: Root, files: int, marker: str, *, hide_from_git: bool) -> None:
        self._root = root
        self._hide = hide_from_git
        token = secrets.token_hex(4)
        self.folder = CANARY + token
        self.contents = {
            f"{self.folder}/canary_{number:03}.py": _SOURCE.format(token=token, number=number).encode() for number in range(files)
        }
        self.damaged = {path: damage_of(content, marker) for path, content in self.contents.items()}

    def plant(self) -> float:
        """Write the files whole; when the last one was closed (monotonic seconds)."""
        fd = self._root.open_dir(self.folder, create=True)
        try:
            if self._hide:  # git does not see the folder at all
                _write(fd, _HIDE, b"*\n")
            for path, content in self.contents.items():
                _write(fd, _name(path), content)
        finally:
            os.close(fd)
        return time.monotonic()

    def damage(self) -> float:
        """Overwrite each file with its damaged self; when the first one was closed (monotonic seconds)."""
        began = 0.0
        fd = self._root.open_dir(self.folder)
        try:
            for path, content in self.damaged.items():
                _write(fd, _name(path), content)
                began = began or time.monotonic()
        finally:
            os.close(fd)
        return began

    def is_whole(self) -> bool:
        """Whether each file is what was planted, byte for byte."""
        return all(self._read(path) == content for path, content in self.contents.items())

    def remove(self) -> str:
        """Take all of it away; what is in the way of that, or nothing."""
        return _remove(self._root, self.folder)

    def _read(self, path: RepoPath) -> bytes | None:
        try:
            with open(self._root.open_read(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


def clear_leftovers(root: Root) -> Iterator[tuple[str, str]]:
    """Remove the folders that canaries left; (name, what is in the way of that, or nothing) of each."""
    top = root.open_dir("")
    try:
        found = [name for name in os.listdir(top) if _FOLDER.fullmatch(name)]
    finally:
        os.close(top)
    for name in sorted(found):
        yield name, _remove(root, name)


def _remove(root: Root, folder: str) -> str:
    """Remove what canaries write in a folder, and the folder, if nothing else is in it."""
    try:
        fd = root.open_dir(folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{folder} is no folder of a canary's ({error.strerror})"
    try:
        for name in filter(lambda name: _is_ours(fd, name), os.listdir(fd)):
            os.unlink(name, dir_fd=fd)
        left = os.listdir(fd)
        if left:
            return f"{folder} holds {left[0]!r}, which no canary planted"
        os.rmdir(folder, dir_fd=root.fd)
    except OSError as error:
        return f"{folder} cannot be removed ({error.strerror})"
    finally:
        os.close(fd)
    return ""


def _is_ours(folder: int, name: str) -> bool:
    """What a canary writes, and what a restore of it that was killed has in hand."""
    known = name == _HIDE or _FILE.fullmatch(name) or name.startswith(TEMPORARY)
    return bool(known) and stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _name(path: RepoPath) -> str:
    return path.rpartition("/")[2]


def _write(folder: int, name: str, content: bytes) -> None:
    with open(os.open(name, _WRITE, 0o644, dir_fd=folder), "wb") as file:
        file.write(content)
