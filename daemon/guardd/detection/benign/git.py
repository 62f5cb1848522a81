"""git: the content is one that git had before it came to be on disk, so a checkout, merge, rebase or stash put it there.

Reads git's own files, never its programs: index (gitformat-index(5), versions 2 to 4), loose objects, pack indexes
(gitformat-pack(5)), alternates, linked worktrees and submodules. A script that damages files and commits them is not
excused: its objects are newer than its files.
"""

import hashlib
import mmap
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from guardd.model import RepoPath

_LOOK_AGAIN_S = 2.0
_LOCK_IS_LIVE_S = 30.0
_ENTRY = struct.Struct(">10L")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index has for a path: object id, and the mtime (ns) and size of the file when git last looked at it."""

    object_id: bytes
    mtime_ns: int
    size: int


class GitEvidence:
    """What the git repositories around and below `root` know of its files."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._places: dict[str, _WorkTree | None] = {}
        self._looked = 0.0

    def holds(self, path: RepoPath, content: Callable[[], bytes], mtime_ns: int, size: int, *, any_age: bool = False) -> bool:
        """Whether git had the content of a file before the file was written (`mtime_ns`).

        `any_age`: also where it came to git later, for what changed while no one was watching.
        """
        tree, name = self._tree_of(path)
        if tree is None:
            return False
        limit = (1 << 62) if any_age else mtime_ns
        entry = tree.index().get(name)
        if entry is not None and entry.mtime_ns == mtime_ns and entry.size == size:
            born_ns = tree.objects.born_ns(entry.object_id)
        else:
            data = content()
            born_ns = tree.objects.born_ns(tree.object_id(data))
            if born_ns is None and tree.converts_line_ends and b"\r\n" in data:
                born_ns = tree.objects.born_ns(tree.object_id(data.replace(b"\r\n", b"\n")))
        return born_ns is not None and born_ns <= limit

    def removed(self, path: RepoPath, content: Callable[[], bytes]) -> bool:
        """Whether git took a file away: it has what was there, and its index names the path no more."""
        tree, name = self._tree_of(path)
        return tree is not None and name not in tree.index() and tree.objects.born_ns(tree.object_id(content())) is not None

    def is_conflicted(self, path: RepoPath) -> bool:
        """Whether a merge of git left this path to be resolved by hand."""
        tree, name = self._tree_of(path)
        return tree is not None and name in tree.conflicts()

    def is_busy(self, path: RepoPath) -> bool:
        """Whether git is at work on the index now: what it has removed is named there until it is done."""
        tree, _ = self._tree_of(path)
        return tree is not None and tree.is_busy()

    def _tree_of(self, path: RepoPath) -> "tuple[_WorkTree | None, bytes]":
        now = time.monotonic()
        if now - self._looked > _LOOK_AGAIN_S:
            self._looked = now
            known = self._places
            self._places = {folder: tree for folder, tree in known.items() if tree is not None and tree.is_there()}
        absolute = os.path.join(self._root, path)
        tree = self._find(os.path.dirname(absolute))
        return tree, os.fsencode(os.path.relpath(absolute, tree.top)) if tree else b""

    def _find(self, folder: str) -> "_WorkTree | None":
        if folder not in self._places:
            git_dir = _git_dir(os.path.join(folder, ".git"))
            if git_dir is not None:
                self._places[folder] = _WorkTree(folder, git_dir)
            else:
                above = os.path.dirname(folder)
                self._places[folder] = self._find(above) if above != folder else None
        return self._places[folder]


def _git_dir(path: str) -> str | None:
    """Where a `.git` leads: itself, or for worktrees and submodules the directory that it names."""
    if os.path.isdir(path):
        return path if os.path.exists(os.path.join(path, "HEAD")) else None
    try:
        with open(path, "rb") as file:
            text = os.fsdecode(file.read(4096))
    except OSError:
        return None
    if not text.startswith("gitdir:"):
        return None
    return os.path.normpath(os.path.join(os.path.dirname(path), text.removeprefix("gitdir:").strip()))


class _WorkTree:
    """One work tree of git and its index."""

    def __init__(self, top: str, git_dir: str) -> None:
        self.top = top
        self._git_dir = git_dir
        common = _first_line(os.path.join(git_dir, "commondir"))
        self._common = os.path.normpath(os.path.join(git_dir, common)) if common else git_dir
        config = _text(os.path.join(self._common, "config")).lower()
        self._hash = hashlib.sha256 if "objectformat = sha256" in config else hashlib.sha1
        self.converts_line_ends = "autocrlf = true" in config or "eol=crlf" in _text(os.path.join(top, ".gitattributes")).lower()
        self.objects = _Objects(os.path.join(self._common, "objects"), self._hash().digest_size)
        self._stamp: tuple[int, int, int] | None = None
        self._index: dict[bytes, Entry] = {}
        self._conflicts: frozenset[bytes] = frozenset()

    def is_there(self) -> bool:
        return os.path.exists(os.path.join(self._git_dir, "HEAD"))

    def object_id(self, content: bytes) -> bytes:
        return self._hash(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()

    def is_busy(self) -> bool:
        """A lock that is older than any sane operation was left by a git that died."""
        try:
            age = time.time() - os.stat(os.path.join(self._git_dir, "index.lock")).st_mtime
        except OSError:
            return False
        return age < _LOCK_IS_LIVE_S

    def index(self) -> dict[bytes, Entry]:
        self._refresh()
        return self._index

    def conflicts(self) -> frozenset[bytes]:
        self._refresh()
        return self._conflicts

    def _refresh(self) -> None:
        path = os.path.join(self._git_dir, "index")
        try:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                with open(path, "rb") as file:
                    self._index, self._conflicts = _parse_index(file.read(), self._hash().digest_size)
                self._stamp = stamp
        except (OSError, ValueError, struct.error, IndexError):  # none, or being written: ask again next time
            self._index, self._conflicts, self._stamp = {}, frozenset(), None


def _parse_index(data: bytes, id_size: int) -> tuple[dict[bytes, Entry], frozenset[bytes]]:
    """Path -> entry of a git index, and the paths with conflicts."""
    magic, version, count = struct.unpack_from(">4sLL", data)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no index")
    entries: dict[bytes, Entry] = {}
    conflicts = set()
    at, name = 12, b""
    for _ in range(count):
        fields = _ENTRY.unpack_from(data, at)
        id_at = at + _ENTRY.size
        flags = int.from_bytes(data[id_at + id_size : id_at + id_size + 2])
        name_at = id_at + id_size + (4 if version >= 3 and flags & 0x4000 else 2)
        end = data.index(b"\0", name_at)
        if version == 4:
            strip, name_at = _varint(data, name_at)
            end = data.index(b"\0", name_at)
            name = name[: len(name) - strip] + data[name_at:end]
            next_at = end + 1
        else:
            name = data[name_at:end]
            next_at = at + ((end - at) // 8 + 1) * 8
        if flags & 0x3000:
            conflicts.add(name)
        else:
            entries[name] = Entry(data[id_at : id_at + id_size], fields[2] * 1_000_000_000 + fields[3], fields[9])
        at = next_at
    return entries, frozenset(conflicts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The offset encoding of packs: (value, where it ends)."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1


@dataclass
class _Objects:
    """An object database and its alternates: since when it has an object."""

    folder: str
    id_size: int
    _packs: dict[str, "_PackIndex"] = field(default_factory=dict)
    _packs_stamp: int = -1
    _alternates: "list[_Objects] | None" = None

    def born_ns(self, object_id: bytes) -> int | None:
        """Since when the object is there (mtime, ns); None if it is not."""
        name = object_id.hex()
        try:
            return os.stat(f"{self.folder}/{name[:2]}/{name[2:]}").st_mtime_ns
        except OSError:
            pass
        found = [pack.born_ns for pack in self._pack_indexes() if pack.has(object_id)]
        found += [born for other in self._others() if (born := other.born_ns(object_id)) is not None]
        return min(found, default=None)

    def _pack_indexes(self) -> "list[_PackIndex]":
        folder = os.path.join(self.folder, "pack")
        try:
            stamp = os.stat(folder).st_mtime_ns
            if stamp != self._packs_stamp:
                names = {name for name in os.listdir(folder) if name.endswith(".idx")}
                for name in self._packs.keys() - names:
                    self._packs.pop(name).close()
                for name in names - self._packs.keys():
                    self._packs[name] = _PackIndex(os.path.join(folder, name), self.id_size)
                self._packs_stamp = stamp
        except (OSError, ValueError):  # no packs, or one that goes while we look
            pass
        return list(self._packs.values())

    def _others(self) -> "list[_Objects]":
        if self._alternates is None:
            lines = _text(os.path.join(self.folder, "info/alternates")).splitlines()
            folders = [os.path.normpath(os.path.join(self.folder, line)) for line in lines if line.strip()]
            self._alternates = [_Objects(folder, self.id_size) for folder in folders if folder != self.folder][:8]
        return self._alternates


class _PackIndex:
    """The sorted object ids of one pack (version 2)."""

    _HEADER = 8 + 256 * 4

    def __init__(self, path: str, id_size: int) -> None:
        with open(path, "rb") as file:
            self.born_ns = os.fstat(file.fileno()).st_mtime_ns
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._data[:8] != b"\xfftOc\0\0\0\2":
            raise ValueError(path)
        self._id_size = id_size

    def has(self, object_id: bytes) -> bool:
        low = self._total(object_id[0] - 1) if object_id[0] else 0
        high = self._total(object_id[0])
        at = bisect_left(range(high), object_id, low, high, key=self._id)
        return at < high and self._id(at) == object_id

    def close(self) -> None:
        self._data.close()

    def _total(self, first_byte: int) -> int:
        return int.from_bytes(self._data[8 + 4 * first_byte : 12 + 4 * first_byte])

    def _id(self, at: int) -> bytes:
        start = self._HEADER + at * self._id_size
        return self._data[start : start + self._id_size]


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(1 << 20))
    except OSError:
        return ""


def _first_line(path: str) -> str:
    return _text(path).partition("\n")[0].strip()
