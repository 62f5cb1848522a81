"""git: the content is one that git had before it came to be on disk, so a checkout, merge, rebase or stash put it there.

Reads git's own files, never its programs: index (gitformat-index(5), versions 2 to 4), loose objects, pack indexes
(gitformat-pack(5)), alternates, linked worktrees and submodules. A script that damages files and commits them is not
excused: its objects are newer than its files.
"""

import hashlib
import os
import struct
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from guardd.gitdir import git_dir_of
from guardd.model import RepoPath
from guardd.regular import open_regular, read_regular

_LOOK_AGAIN_S = 2.0
_LOCK_IS_LIVE_S = 30.0
_TICK_NS = 10_000_000
"""The kernel stamps files with a clock that ticks 100 to 1,000 times a second: what is closer has no order."""

_MOST_OF_INDEX = 1 << 29
"""An entry takes some 100 bytes: five million files. What is larger is no index."""

_MOST_ALTERNATES = 16
"""Of all that alternates name, and theirs: they may lead in a circle, or be made to take for ever."""

_SKIPPED = 0x4000
_LONGEST_NAME = 4096  # PATH_MAX
_LONGEST_VARINT = 10
_ENTRY = struct.Struct(">10L")
_CONVERSIONS = ("filter=", "ident", "working-tree-encoding", "eol=", "text=auto")


class Held(Enum):
    """Whether git had a content before it was written. UNSURE: it got it at the very same time."""

    NO = "no"
    UNSURE = "unsure"
    YES = "yes"


class Entry(NamedTuple):
    """What the index has for a path: object id, and the mtime (ns) and size of the file when git last looked at it."""

    object_id: bytes
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class _Index:
    """What an index says: path -> entry, and the paths with conflicts; not `is_known`: there was none to be read."""

    entries: dict[bytes, Entry]
    conflicts: frozenset[bytes]
    is_known: bool = True

    @cached_property
    def object_ids(self) -> frozenset[bytes]:
        """The objects that it names, for whatever path."""
        return frozenset(entry.object_id for entry in self.entries.values())


class GitEvidence:
    """What the git repositories around and below `root` know of its files."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._places: dict[str, _WorkTree | None] = {}
        self._looked = 0.0

    def holds(
        self, path: RepoPath, content: Callable[[], bytes], mtime_ns: int, size: int, *, written_ns: int | None = None,
    ) -> Held:  # fmt: skip
        """Whether git had the content of a file for this path before the file was written.

        `written_ns` is when that was (None: any age will do, for what changed while no one was watching); `mtime_ns` and
        `size` are the file's, as git notes them in its index. A content that the index has under other paths only is not
        held: one empty `__init__.py` would excuse every file that is emptied.
        """
        tree, name = self._tree_of(path)
        if tree is None:
            return Held.NO
        index = tree.index()
        entry = index.entries.get(name)
        if entry is not None and entry.mtime_ns == mtime_ns and entry.size == size:
            return _held(tree.objects.born_ns(entry.object_id), written_ns)
        data = content()
        found = _held_for(tree, index, name, data, written_ns)
        if found is Held.NO and tree.converts_line_ends and b"\r\n" in data:
            return _held_for(tree, index, name, data.replace(b"\r\n", b"\n"), written_ns)
        return found

    def removed(self, path: RepoPath, content: Callable[[], bytes], mtime_ns: int) -> bool:
        """Whether git took a file away: it has what was there, and its index names the path no more.

        Where git converts what it writes, it is enough that the index had the file with this mtime before.
        """
        tree, name = self._tree_of(path)
        if tree is None or not (index := tree.index()).is_known or name in index.entries:
            return False
        before = tree.before.get(name)
        if before is not None and before.mtime_ns == mtime_ns:
            return True
        return tree.objects.born_ns(tree.object_id(content())) is not None

    def look(self, folder: RepoPath = "") -> None:
        """Take note of the index as it is now, for what may be removed from it later."""
        tree, _ = self._tree_of(f"{folder}/x" if folder else "x")
        if tree is not None:
            tree.look()

    def is_conflicted(self, path: RepoPath) -> bool:
        """Whether a merge of git left this path to be resolved by hand."""
        tree, name = self._tree_of(path)
        return tree is not None and name in tree.index().conflicts

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
            git_dir = git_dir_of(folder)
            if git_dir is not None:
                self._places[folder] = _WorkTree(folder, git_dir)
            else:
                above = os.path.dirname(folder)
                self._places[folder] = self._find(above) if above != folder else None
        return self._places[folder]


class _WorkTree:
    """One work tree of git and its index."""

    def __init__(self, top: str, git_dir: str) -> None:
        self.top = top
        self._git_dir = git_dir
        common = _first_line(os.path.join(git_dir, "commondir"))
        self._common = os.path.normpath(os.path.join(git_dir, common)) if common else git_dir
        config = _text(os.path.join(self._common, "config")).lower()
        self._autocrlf = "autocrlf = true" in config
        self._hash = hashlib.sha256 if "objectformat = sha256" in config else hashlib.sha1
        self.objects = _Objects(os.path.join(self._common, "objects"), self._hash().digest_size)
        self._stamp: tuple[int, int, int] | None = None
        self._take_attributes()
        self.before: dict[bytes, Entry] = {}
        self._index = _Index({}, frozenset())

    def _take_attributes(self) -> None:
        """Whether git converts what it writes, as far as the attributes at the top say."""
        attributes = _text(os.path.join(self.top, ".gitattributes")) + _text(os.path.join(self._common, "info/attributes"))
        self.converts_line_ends = self._autocrlf or "eol=crlf" in attributes.lower()
        self.converts = self.converts_line_ends or any(word in attributes for word in _CONVERSIONS)

    def is_there(self) -> bool:
        return os.path.exists(os.path.join(self._git_dir, "HEAD"))

    def object_id(self, content: bytes) -> bytes:
        return self._hash(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()

    def is_busy(self) -> bool:
        """A lock older than any sane operation was left by a git that died; one of a time to come, by a clock that was set."""
        try:
            age_s = time.time() - os.stat(os.path.join(self._git_dir, "index.lock")).st_mtime
        except OSError:
            return False
        return abs(age_s) < _LOCK_IS_LIVE_S

    def look(self) -> None:
        """Nothing is under way: be ready for what may be."""
        self._take_attributes()
        if self.converts:
            self.index()

    def index(self) -> "_Index":
        """The index as it is now: one that is used for several questions, since git may write another meanwhile."""
        path = os.path.join(self._git_dir, "index")
        try:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                index = _parse_index(read_regular(path, _MOST_OF_INDEX), self._hash().digest_size)
                if self.converts:
                    self.before |= self._index.entries
                self._index, self._stamp = index, stamp
        except (OSError, ValueError, struct.error, IndexError):  # none, or being written: ask again next time
            self._index, self._stamp = _Index({}, frozenset(), is_known=False), None
        return self._index


def _parse_index(data: bytes, id_size: int) -> "_Index":
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
        is_extended = version >= 3 and flags & 0x4000
        name_at = id_at + id_size + (4 if is_extended else 2)
        more = int.from_bytes(data[name_at - 2 : name_at]) if is_extended else 0
        end = data.index(b"\0", name_at)
        if version == 4:
            strip, name_at = _varint(data, name_at)
            end = data.index(b"\0", name_at)
            name = name[: len(name) - strip] + data[name_at:end]
            if len(name) > _LONGEST_NAME:  # each entry may repeat all of the one before it: a small index, a huge memory
                raise ValueError("no index")
            next_at = end + 1
        else:
            name = data[name_at:end]
            next_at = at + ((end - at) // 8 + 1) * 8
        if flags & 0x3000:
            conflicts.add(name)
        elif not more & _SKIPPED:  # a sparse checkout names files that it took away (skip-worktree)
            entries[name] = Entry(data[id_at : id_at + id_size], fields[2] * 1_000_000_000 + fields[3], fields[9])
        at = next_at
    return _Index(entries, frozenset(conflicts))


def _held_for(tree: "_WorkTree", index: _Index, name: bytes, data: bytes, written_ns: int | None) -> Held:
    object_id = tree.object_id(data)
    entry = index.entries.get(name)
    is_here = entry is not None and entry.object_id == object_id
    if not is_here and (not data.strip() or object_id in index.object_ids):
        return Held.NO
    return _held(tree.objects.born_ns(object_id), written_ns)


def _held(born_ns: int | None, written_ns: int | None) -> Held:
    if born_ns is None or (written_ns is not None and born_ns > written_ns):
        return Held.NO
    return Held.UNSURE if written_ns is not None and born_ns > written_ns - _TICK_NS else Held.YES


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The offset encoding of packs: (value, where it ends)."""
    byte = data[at]
    value = byte & 0x7F
    begin = at
    while byte & 0x80:
        at += 1
        if at - begin >= _LONGEST_VARINT:  # with a million of them, each step would take longer than the one before
            raise ValueError("no index")
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
            names = {name for name in os.listdir(folder) if name.endswith(".idx")} if stamp != self._packs_stamp else set()
        except OSError:  # no packs
            return list(self._packs.values())
        if stamp != self._packs_stamp:
            for name in self._packs.keys() - names:
                self._packs.pop(name).close()
            for name in names - self._packs.keys():
                with suppress(OSError, ValueError):  # torn, of another version, or gone while we look
                    self._packs[name] = _PackIndex(os.path.join(folder, name), self.id_size)
            self._packs_stamp = stamp
        return list(self._packs.values())

    def _others(self) -> "list[_Objects]":
        """The databases that this one borrows from, and those that these do, each once: they may borrow in a circle."""
        if self._alternates is None:
            folders = [self.folder]
            for folder in folders:  # it grows meanwhile
                lines = _text(os.path.join(folder, "info/alternates")).splitlines()
                named = [os.path.normpath(os.path.join(folder, line)) for line in lines if line.strip()]
                folders += [one for one in dict.fromkeys(named) if one not in folders][: _MOST_ALTERNATES + 1 - len(folders)]
            self._alternates = [_Objects(folder, self.id_size, _alternates=[]) for folder in folders[1:]]
        return self._alternates


class _PackIndex:
    """The sorted object ids of one pack (version 2)."""

    _HEADER = 8 + 256 * 4

    def __init__(self, path: str, id_size: int) -> None:
        self._fd = open_regular(path)
        self.close = weakref.finalize(self, os.close, self._fd)  # by itself, too, with the evidence of a repo
        self.born_ns = os.fstat(self._fd).st_mtime_ns
        if os.pread(self._fd, 8, 0) != b"\xfftOc\0\0\0\2":
            self.close()
            raise ValueError(path)
        self._id_size = id_size

    def has(self, object_id: bytes) -> bool:
        low = self._total(object_id[0] - 1) if object_id[0] else 0
        high = self._total(object_id[0])
        at = bisect_left(range(high), object_id, low, high, key=self._id)
        return at < high and self._id(at) == object_id

    def _total(self, first_byte: int) -> int:
        return int.from_bytes(os.pread(self._fd, 4, 8 + 4 * first_byte))

    def _id(self, at: int) -> bytes:
        return os.pread(self._fd, self._id_size, self._HEADER + at * self._id_size)


def _text(path: str) -> str:
    """The text of one of git's files; empty where it is none: with a NUL in it, what it names could not even be asked for."""
    try:
        text = os.fsdecode(read_regular(path, 1 << 20))
    except OSError:
        return ""
    return "" if "\0" in text else text


def _first_line(path: str) -> str:
    return _text(path).partition("\n")[0].strip()
