"""Backups: which file a backup file was made of, and when, as its name tells. Pure; what may be meant twice is not guessed."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from fnmatch import fnmatchcase
from typing import NamedTuple

from guardd.model import RepoPath
from guardd.rescue.stamps import DATE, Undatable, stamp_of
from guardd.selection import TEMPORARY

_WORDS = (
    r"(?:backups?|bak(?:up)?|bkup|bkp|bck|bk|back|original|orig|old|saved?|sav|previous|prev|copy|before|"
    r"dpkg-old|rpmsave|rpmorig|ucf-old)"
)
_DIGITS = rf"(?:{DATE}\d*|1\d{{9}}(?:\d{{3}})?(?!\d)|\d\d[-_.]\d\d[-_.](?:19|20)\d\d(?!\d))"
_SUFFIX = re.compile(
    rf"~+ | \.~\d+~ | [._-]{_WORDS}\d{{0,4}}(?:[-_.~\s(+@].*)? | [._-]{_DIGITS}.* | \.\d{{1,3}}(?:[._-]{_WORDS})?",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
"""What may follow a file's name in that of its backup."""

_INFIX = re.compile(rf"(?P<stem>.+)\.(?:{_WORDS}\d{{0,4}}(?:[-_].*)?|{_DIGITS}[^.]*)(?P<end>\.[^.]+)", re.IGNORECASE | re.DOTALL)
"""`x.bak.py`: no module can be imported by such a name."""

_LOOK_ALIKE = re.compile(
    rf"(?P<stem>.+?)(?:[-_ ]\(?{_WORDS}\)?[-_ ]?(?:\d{{0,4}}|{_DIGITS}.*)|[-_ ]{_DIGITS}.*)(?P<end>\.[^.]+)",
    re.IGNORECASE | re.DOTALL,
)
"""`x_backup.py`: a backup, or a module that makes backups."""

_BARE = re.compile(rf"(?P<stem>[^.].*)\.{_WORDS}", re.IGNORECASE | re.DOTALL)
"""`x.bak`: of x.py, or of x.txt."""

_AUTO_SAVE = re.compile(r"#(?P<name>.+)#", re.DOTALL)
_FOLDER = re.compile(rf"(?:(?:{_WORDS}|snapshots?)[-_.])?{_DIGITS}[-_T.\dZ:]*", re.IGNORECASE)
_NEVER = (
    ".rej", ".swp", ".swo", ".swn", ".swx", ".un~", ".pyc", ".pyo", ".lock", ".part", ".tmp", ".patch", ".diff",
    ".gz", ".bz2", ".xz", ".zst", ".zip",
)  # fmt: skip
"""Endings of what lies beside a file and does not hold what the file held."""


class Found(NamedTuple):
    """A file that may be a backup: how it is called for people, its name, and the folder of the file that it may be one of.

    `folders` are the names of the folders that may say when it was made, the nearest first. `plain`: it lies in a tree of
    backups, where a file's own name is a backup's, too.
    """

    source: str
    name: str
    folder: RepoPath
    folders: tuple[str, ...] = ()
    plain: bool = False


class Pair(NamedTuple):
    """A backup and its file. `time_ns` is None where only the backup's mtime can tell; `dated_by`: name, folder, mtime."""

    source: str
    path: RepoPath
    time_ns: int | None
    dated_by: str
    is_known: bool = True


class Unclear(NamedTuple):
    """What is, or looks like, a backup, and why guard does not say of which file, or of when."""

    source: str
    reason: str


class Reader(NamedTuple):
    """How names are read: `wants` tells which files guard keeps, `knows` which of them are, or were, there.

    `suffixes` are globs for what may follow a file's name; none: the usual ones. `zone`: see `stamp_of`.
    """

    wants: Callable[[RepoPath], bool]
    knows: Callable[[RepoPath], bool]
    now_ns: int
    zone: tzinfo | None = None
    suffixes: Sequence[str] = ()

    def read(self, found: Found) -> Pair | Unclear | None:
        """Of which file this is a backup, and when it was made; None: it is none at all."""
        if found.name.endswith(_NEVER) or found.name.startswith((".#", TEMPORARY)):
            return None
        places = {_join(found.folder, name): rest for name, rest in self._readings(found)}
        known = [path for path in places if self.knows(path)]
        if len(known) > 1:
            return Unclear(found.source, f"it may be a backup of {' or of '.join(sorted(known))}")
        if known:
            return self._dated(found, known[0], places[known[0]])
        surely = {_join(found.folder, name): rest for name, rest in self._of_files_gone(found)}
        if len(surely) > 1:
            return Unclear(found.source, f"neither {' nor '.join(sorted(surely))} is, or was, there")
        for path, rest in surely.items():
            return self._dated(found, path, rest, is_known=False)
        return self._look_alike(found)

    def _readings(self, found: Found) -> Iterator[tuple[str, str]]:
        """(name of a file, what makes this its backup): every way to read the name."""
        yield from self._of_files_gone(found)
        if not self.suffixes and (match := _INFIX.fullmatch(found.name)):
            yield from self._wanted(found, match["stem"] + match["end"], found.name[len(match["stem"]) :])

    def _of_files_gone(self, found: Found) -> Iterator[tuple[str, str]]:
        """The ways to read the name that do not need the file to be there."""
        if found.plain:
            yield from self._wanted(found, found.name, "")
        if not self.suffixes and (match := _AUTO_SAVE.fullmatch(found.name)):
            yield from self._wanted(found, match["name"], "")
        for at in range(1, len(found.name)):
            if found.name[at] not in "._-~ ":
                continue
            name, rest = found.name[:at], found.name[at:]
            if self._is_suffix(rest):
                yield from self._wanted(found, name, rest)
                if self.suffixes and (end := _end_of(rest)):  # asked for by name: `x_backup.py`
                    yield from self._wanted(found, name + end, rest)

    def _is_suffix(self, rest: str) -> bool:
        if self.suffixes:
            return any(fnmatchcase(rest, one) for one in self.suffixes)
        return _SUFFIX.fullmatch(rest) is not None

    def _wanted(self, found: Found, name: str, rest: str) -> Iterator[tuple[str, str]]:
        is_named = not name.startswith(".") or "." in name[1:]  # not what is left of `.py.bak`
        if is_named and (found.plain or name != found.name) and self.wants(_join(found.folder, name)):
            yield name, rest

    def _dated(self, found: Found, path: RepoPath, rest: str, *, is_known: bool = True) -> Pair | Unclear:
        try:
            time_ns = stamp_of(rest, self.zone, self.now_ns)
            if time_ns is not None:
                return Pair(found.source, path, time_ns, "name", is_known)
            for folder in found.folders:
                time_ns = stamp_of(folder, self.zone, self.now_ns)
                if time_ns is not None:
                    return Pair(found.source, path, time_ns, "folder", is_known)
        except Undatable as error:
            return Unclear(found.source, f"a backup of {path}, but {error}")
        return Pair(found.source, path, None, "mtime", is_known)

    def _look_alike(self, found: Found) -> Unclear | None:
        """A module whose name only suggests that it is a copy of one that is there."""
        if self.suffixes:
            return None
        if match := _LOOK_ALIKE.fullmatch(found.name):
            path = _join(found.folder, match["stem"] + match["end"])
            if self.wants(path) and self.knows(path):
                rest = found.name[len(match["stem"]) :]
                return Unclear(
                    found.source, f"a backup of {path}, or a file of its own; if it is one, adopt it by --suffix '{rest}'"
                )
        if match := _BARE.fullmatch(found.name):
            path = _join(found.folder, match["stem"] + ".py")
            if self.wants(path) and self.knows(path):
                return Unclear(found.source, f"it may be a backup of {path}, or of another file of that name")
        return None


def without_stamps(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders below a tree of backups, less those at its top that only say when a backup was made."""
    left = list(folders)
    while left and _FOLDER.fullmatch(left[0]):
        del left[0]
    return tuple(left)


def _end_of(rest: str) -> str:
    at = rest.rfind(".")
    return rest[at:] if at > 0 else ""


def _join(folder: RepoPath, name: str) -> RepoPath:
    return f"{folder}/{name}" if folder else name
