"""Adoption: backup files found, read and kept as versions of the files that they were made of. Writes nothing into the repo."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import islice
from typing import NamedTuple

from guardd.beneath import Root
from guardd.capture.reading import Trouble, read
from guardd.errors import UsageError
from guardd.model import FileState, Kind, Moment, RepoPath
from guardd.rescue.backups import Found, Pair, Reader, Unclear, without_stamps
from guardd.selection import NEVER, Selection, marks_environment
from guardd.store.adopted import Backup
from guardd.store.blobs import StaleBlob
from guardd.store.codec import Encoded, decode, encode
from guardd.store.repos import Repo
from guardd.store.store import Store

_BATCH = 256


class BackupTree(NamedTuple):
    """A tree of backups: the folder that it lies in (absolute), and the folder of the repo that it was made of."""

    folder: str
    to: RepoPath


class Read(NamedTuple):
    """A backup that was read: its file, its time, its content's state. `known_as`: the version that has it already."""

    pair: Pair
    time_ns: int
    state: FileState
    content: Encoded
    known_as: int | None = None

    @property
    def text(self) -> bytes:
        """The content itself; it is kept compressed, as there may be thousands of them."""
        return decode(self.content.codec, self.content.data or b"", self.content.size)


@dataclass(slots=True)
class Gathered:
    """All backups that were found: to be adopted, oldest first; there already; and what is left alone, and why.

    `troubled` could not be read now; `passed_over` is no file that could be a backup's (a link, a FIFO).
    """

    new: list[Read] = field(default_factory=list)
    known: list[Read] = field(default_factory=list)
    unclear: list[Unclear] = field(default_factory=list)
    passed_over: list[Unclear] = field(default_factory=list)
    troubled: list[Unclear] = field(default_factory=list)


class Where(NamedTuple):
    """Which backups are looked for: below a folder of the repo or of one file, in trees of backups, by these suffixes."""

    wanted: Callable[[RepoPath, str], bool] = lambda path, source: True
    maps: Sequence[BackupTree] = ()
    suffixes: Sequence[str] = ()
    zone: tzinfo | None = None


def gather(store: Store, repo: Repo, selection: Selection, where: Where, now_ns: int) -> Gathered:
    """Find and read the backups of a repo's files. Raises UsageError for a folder that is not there."""
    gathered = Gathered()
    there = set(store.log.paths(repo.id)) | set(store.adopted.paths(repo.id))
    reader = Reader(selection.wants, there.__contains__, now_ns, where.zone, where.suffixes)
    found: list[Read] = []
    with ExitStack() as stack:
        for root, shown, one in _candidates(stack, repo, selection, where.maps, gathered.troubled):
            verdict = reader.read(one)
            if verdict is None or not where.wanted(verdict.path if isinstance(verdict, Pair) else one.source, one.source):
                continue
            if isinstance(verdict, Unclear):
                gathered.unclear.append(verdict)
                continue
            seen = _read(root, shown, verdict, repo.rules.max_file_size, now_ns, gathered)
            if seen is not None:
                found.append(seen)
    _sort_out(store, repo, found, gathered)
    return gathered


def adopt(store: Store, repo: Repo, new: Sequence[Read], now: Moment) -> list[int]:
    """Keep these as versions of their files; their numbers, in the same order."""
    numbers: list[int] = []
    todo = iter(new)
    while batch := list(islice(todo, _BATCH)):
        try:
            numbers += store.adopted.add(repo.id, [_backup(store, repo, one, whole=False) for one in batch], now)
        except StaleBlob:  # gc took a base away meanwhile
            numbers += store.adopted.add(repo.id, [_backup(store, repo, one, whole=True) for one in batch], now)
    return numbers


def _backup(store: Store, repo: Repo, one: Read, *, whole: bool) -> Backup:
    head = store.log.head(repo.id, one.pair.path).state
    base = store.blobs.base_for(head.blob) if head.kind is Kind.FILE and not whole else None
    content = encode(one.state.blob, one.text, base) if base is not None else one.content
    # How the file may be used is not the backup's to say: tools make copies that no one else can read.
    state = FileState(Kind.FILE, one.state.blob, one.state.size, head.mode if head.kind is Kind.FILE else one.state.mode)
    return Backup(one.pair.path, state, content, one.time_ns, one.pair.source, one.pair.dated_by)


def _sort_out(store: Store, repo: Repo, found: Sequence[Read], gathered: Gathered) -> None:
    """What is new, and what a version has already: the one adopted for that time, the one in force then, or one of the log.

    A content that was lost (the store was damaged) is new again: every version that names it has it back.
    """
    held = store.blobs.held({one.state.blob for one in found})
    adopted: dict[RepoPath, list[tuple[int, bytes, int]]] = {}
    logged: dict[RepoPath, Mapping[bytes, int]] = {}
    for one in sorted(found, key=lambda read: (read.time_ns, read.pair.source)):
        path, blob = one.pair.path, one.state.blob
        if path not in adopted:
            versions = reversed(store.adopted.of_path(repo.id, path))
            adopted[path] = [(each.version.time_ns, each.version.state.blob, each.version.seq) for each in versions]
            logged[path] = store.adopted.logged(repo.id, path)
        seq = known_as(adopted[path], logged[path], one.time_ns, blob) if blob in held else None
        if seq is None:
            gathered.new.append(one)
            held.add(blob)
            adopted[path].append((one.time_ns, blob, 0))
            adopted[path].sort(key=lambda each: each[0])
        else:
            gathered.known.append(one._replace(known_as=seq))


def known_as(adopted: Sequence[tuple[int, bytes, int]], logged: Mapping[bytes, int], time_ns: int, blob: bytes) -> int | None:
    """The version that says already that a file had this content at this time; 0: one that is being adopted. Pure.

    `adopted` are (time, content, number), oldest first. A content that the log has is only new where an adopted version would
    hide it: the log itself begins later than all of those.
    """
    until = [(content, seq) for time, content, seq in adopted if time <= time_ns]
    same = [seq for time, content, seq in adopted if time == time_ns and content == blob]
    if same:
        return same[0]
    if until:
        content, seq = until[-1]
        return seq if content == blob else None
    return logged.get(blob)


def _read(root: Root, path: RepoPath, pair: Pair, most: int, now_ns: int, gathered: Gathered) -> Read | None:
    seen = read(root, path, most)
    if isinstance(seen, Trouble):
        gathered.troubled.append(Unclear(pair.source, seen.value))
    elif seen.odd or seen.state.kind is Kind.LINK:
        gathered.passed_over.append(Unclear(pair.source, seen.odd or "a symlink: what it leads to is not followed"))
    elif seen.state.kind is Kind.FILE and seen.content is None:
        gathered.troubled.append(Unclear(pair.source, f"{seen.state.size} bytes are over max_file_size ({most})"))
    elif seen.content is not None and seen.key is not None:
        time_ns = min(seen.key.mtime_ns, now_ns) if pair.time_ns is None else pair.time_ns
        return Read(pair, time_ns, seen.state, encode(seen.state.blob, seen.content))
    return None


def _candidates(
    stack: ExitStack, repo: Repo, selection: Selection, maps: Sequence[BackupTree], troubled: list[Unclear]
) -> Iterator[tuple[Root, RepoPath, Found]]:
    """Every file that may be a backup: the root that it is read beneath, its path there, what is to be known of it.

    Folders of backups that cannot be read are added to `troubled`; of those of the repo, the capture before this has told.
    """
    root = stack.enter_context(Root(repo.path))
    mapped = {one.folder for one in maps}
    for folder, names in _walk(root, lambda path: selection.wants_dir(path) and os.path.join(repo.path, path) not in mapped):
        for name in names:
            path = _join(folder, name)
            yield root, path, Found(path, name, folder)
    for one in maps:
        try:
            tree = stack.enter_context(Root(one.folder))
        except OSError as error:
            raise UsageError(f"--map {one.folder}: {error.strerror}; name a folder of backups") from error
        top = one.folder.removeprefix(repo.path.rstrip("/") + "/")  # relative where it lies inside

        def note(folder: RepoPath, error: OSError, top: str = top) -> None:
            troubled.append(Unclear(os.path.join(top, folder) if folder else top, f"{error.strerror}, nor what lies in it"))

        for folder, names in _walk(tree, _Below(one.folder, mapped - {one.folder}), note):
            parts = folder.split("/") if folder else []
            to = "/".join((*filter(None, [one.to]), *without_stamps(parts)))
            said_by = (*reversed(parts), *reversed(top.split("/")))
            for name in names:
                path = _join(folder, name)
                yield tree, path, Found(os.path.join(top, path), name, to, said_by, plain=True)


@dataclass(frozen=True, slots=True)
class _Below:
    """Which folders of a tree of backups are walked: not version control's, nor those that another --map speaks of."""

    top: str
    others: set[str]

    def __call__(self, folder: RepoPath) -> bool:
        name = folder.rpartition("/")[2]
        return name not in NEVER and name != "__pycache__" and os.path.join(self.top, folder) not in self.others


def _walk(
    root: Root, wants: Callable[[RepoPath], bool], unread: Callable[[RepoPath, OSError], None] = lambda folder, error: None
) -> Iterator[tuple[RepoPath, list[str]]]:
    """(folder, names of what is no folder in it) below a root; no link is followed. `unread` hears of what cannot be read."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            descriptor = root.open_dir(folder)
        except FileNotFoundError:  # gone by now
            continue
        except OSError as error:
            unread(folder, error)
            continue
        try:
            with os.scandir(descriptor) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)
        if folder and marks_environment(entry.name for entry in entries):
            continue
        pending += [path for name in reversed(below) if wants(path := _join(folder, name))]
        folders = set(below)
        yield folder, [entry.name for entry in entries if entry.name not in folders]


def _join(folder: RepoPath, name: str) -> RepoPath:
    return f"{folder}/{name}" if folder else name
