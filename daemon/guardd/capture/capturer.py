"""The capturer: looks at paths of one repo and records what it finds, as versions in the store."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from guardd import clock
from guardd.beneath import Root
from guardd.capture.reading import LARGE, Seen, Trouble, read
from guardd.capture.scanning import Differing, Scan, scan
from guardd.model import Kind, Origin, RepoPath
from guardd.selection import Selection
from guardd.store.appending import Head, Observation
from guardd.store.blobs import StaleBlob
from guardd.store.codec import Encoded, divide, encode, pack, unkept
from guardd.store.lock import restore_lock
from guardd.store.log import Recorded
from guardd.store.repos import Repo
from guardd.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_BATCH = 256
"""Paths that are read, and committed, together: a FULL commit costs 0.3 ms, a file some 0.1 ms."""

_BURST = 2000
"""With so many paths to look at, time counts for more than space: files in no order have their bases in as many frames."""

_FEW = 8
"""Fewer files than these are read and encoded at once, each by itself: threads and frames are for many."""

_PART_BYTES = 8 * 1024 * 1024
"""So many bytes are read in one go by one thread, at most."""

_THREADS = min(4, os.cpu_count() or 1)

_MORE_LOOKS = 3
"""At a file that another process records while we read it, again and again."""

_T = TypeVar("_T")
_R = TypeVar("_R")
_Job = tuple[bytes, bytes, tuple[bytes, bytes]]


@dataclass(slots=True)
class Looked:
    """What became of the paths that were looked at. Those in `again` and `troubled` are still dirty."""

    written: list[RepoPath] = field(default_factory=list)
    again: list[RepoPath] = field(default_factory=list)
    troubled: dict[RepoPath, Trouble] = field(default_factory=dict)
    odd: dict[RepoPath, str] = field(default_factory=dict)
    unkept: list[RepoPath] = field(default_factory=list)


class Capturer:
    """Captures one repo into one open store; used by one thread. Raises StoreError, and OSError for the root itself."""

    def __init__(self, store: Store, repo: Repo, selection: Selection | None = None) -> None:
        self._store = store
        self._repo = repo
        self.selection = selection or Selection(repo.path, repo.rules)
        self._pool: ThreadPoolExecutor | None = None

    def scan(
        self,
        origin: Origin,
        folder: RepoPath = "",
        on_progress: Callable[[int, int], None] | None = None,
        go_on: Callable[[], None] = lambda: None,
        *,
        refilled: bool = False,
    ) -> tuple[Scan, Looked]:
        """Bring the heads below `folder` up to the disk: the one way that serves start, doubt and `guardctl`.

        A scan of the whole repo under rules that were never scanned before is a baseline: what it meets was there
        before. `on_progress(done, total)` hears of each batch; `go_on` is called all along until then, and ends the scan by
        what it raises. `refilled`: an empty directory in the place of the root was made for its files to come back into; they are
        gone. Else it is taken for another one.
        """
        os.stat(self._repo.path)  # a missing root is an error, not a tree without files
        go_on()
        keys = self._store.log.keys(self._repo.id, folder)
        known_before = self._repo.scanned != self._repo.rules.fingerprint
        # What a .gitignore put out of sight stays known, whether it is there or not.
        seen_ns = 0 if known_before or self._repo.rules.respect_gitignore else self._repo.scan_ns
        found = scan(self._repo.path, self.selection, keys, folder, go_on, seen_ns, 0 if refilled else self._repo.scan_ns)
        dirty = found.differing + found.missing
        times: dict[RepoPath, int] = {}
        if known_before and not self._repo.baseline_ns:
            origin = Origin.BASELINE
        if origin is Origin.OFFLINE:  # when it happened is not when we look: the inode knows more
            dirty.sort(key=lambda one: one.changed_ns)
            times = {one.path: one.changed_ns for one in dirty}
        else:
            dirty.sort()  # by path: neighbours are alike, and lie together in the store
        looked = self.look(
            _paths(dirty), origin, times=times, known_before=known_before, on_progress=on_progress, total=len(dirty)
        )
        if known_before:
            self._store.log.note_known_before(self._repo.id, looked.troubled)
        if not folder and not found.unmounted:
            # What could not be seen was there before, too: until all was seen, nothing that a scan meets is new.
            ended_ns, complete = clock.now().wall_ns, not found.unreadable
            self._store.repos.mark_scanned(self._repo, ended_ns, complete=complete, ignoring=found.ignoring)
            self._repo = self._store.repos.find(self._repo.path) or self._repo
        return found, looked

    def look(
        self,
        paths: Iterable[RepoPath],
        origin: Origin,
        *,
        times: dict[RepoPath, int] | None = None,
        known_before: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
        on_written: Callable[[Sequence[RepoPath]], None] | None = None,
        total: int = 0,
    ) -> Looked:
        """Read these paths, verified, and record what differs from their heads; a batch is a transaction.

        While a batch is recorded, the next one is being encoded and the one after it read. `on_written` hears of the new
        versions of each batch as soon as they are durable. What another process records meanwhile is looked at again.
        """
        todo = list(paths)
        recording = _Recording(origin, times or {}, known_before, is_burst=len(todo) >= _BURST)
        self._look_once(todo, recording, on_progress, on_written, total)
        looks = 0 if origin is Origin.BASELINE else _MORE_LOOKS  # what came after a baseline is none
        while recording.stale and looks:
            looks -= 1
            self._look_once(recording.take_stale(), recording, None, on_written)
        recording.looked.again += recording.stale
        return recording.looked

    def _look_once(
        self,
        paths: Sequence[RepoPath],
        recording: "_Recording",
        on_progress: Callable[[int, int], None] | None,
        on_written: Callable[[Sequence[RepoPath]], None] | None,
        total: int = 0,
    ) -> None:
        done = 0
        with Root(self._repo.path) as root:
            read = _one_ahead(self._start_reading(root, batch) for batch in _batches(paths))
            encoded = _one_ahead(self._start_encoding(root, batch, recording) for batch in read)
            for batch in encoded:
                written = self._record(batch, recording)
                for path in batch.large:
                    written += self._look_alone(root, path, batch, recording)
                if on_written is not None:
                    on_written(written)
                done += len(batch.heads)
                if on_progress is not None:
                    on_progress(done, total)

    def close(self) -> None:
        """End the reading threads, and let go of what is kept at hand."""
        self._store.blobs.let_go()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _start_reading(self, root: Root, paths: Sequence[RepoPath]) -> "_Batch":
        # The heads first: a version that another process adds after this makes the observation stale, not wrong.
        heads = self._store.log.heads(self._repo.id, paths)
        read_all = partial(_read_all, root, self._repo.rules.max_file_size)
        return _Batch(heads, clock.now().wall_ns, self._each_part(read_all, list(heads)))

    def _start_encoding(self, root: Root, batch: "_Batch", recording: "_Recording") -> "_Batch":
        found: list[Seen] = []
        for path, seen in zip(batch.heads, batch.reads, strict=True):
            if seen is Trouble.LARGE:
                batch.large.append(path)
            elif isinstance(seen, Trouble):
                recording.looked.troubled[path] = seen
            else:
                found.append(seen)
        self._encode(batch, found, recording)
        return batch

    def _look_alone(self, root: Root, path: RepoPath, batch: "_Batch", recording: "_Recording") -> list[RepoPath]:
        """Read and record one large file, once all before it is recorded: times in the log never fall."""
        alone = _Batch({path: batch.heads[path]}, clock.now().wall_ns)
        one = read(root, path, self._repo.rules.max_file_size)
        if isinstance(one, Trouble):
            recording.looked.troubled[path] = one
            return []
        self._encode(alone, [one], recording)
        return self._record(alone, recording)

    def _encode(self, batch: "_Batch", found: Sequence[Seen], recording: "_Recording") -> None:
        """Begin to encode what the store lacks of what was found."""
        being_restored = self._being_restored(found, batch.heads)
        lacking: dict[bytes, Seen] = {}
        for one in found:
            head = batch.heads[one.path].state
            if one.path in being_restored:
                recording.looked.again.append(one.path)
                continue
            batch.seen.append(one)
            if one.odd:
                recording.looked.odd[one.path] = one.odd
            if not one.state.stored and one.state != head:
                recording.looked.unkept.append(one.path)
            if one.state.present and not (one.state == head and head.stored):
                lacking.setdefault(one.state.blob, one)
        known = self._store.blobs.held(lacking)
        batch.new = [one for hash_, one in lacking.items() if hash_ not in known and hash_ not in recording.under_way]
        recording.under_way.update(one.state.blob for one in batch.new)
        related = {one.path: state.blob for one in batch.new if (state := batch.heads[one.path].state).kind is Kind.FILE}
        bases = self._store.blobs.bases(related.values(), thrifty=recording.is_burst)
        deltas: list[_Job] = []
        fresh: list[tuple[bytes, bytes]] = []
        for one in batch.new:
            base = related.get(one.path, b"")
            if one.content is None:
                batch.unkept.append(unkept(one.state.blob, one.state.size))
            elif base in bases:
                deltas.append((one.state.blob, one.content, (base, bases[base])))
            else:
                fresh.append((one.state.blob, one.content))
        batch.deltas = self._each_part(_encode_all, deltas)
        batch.fresh = self._pack(fresh)

    def _record(self, batch: "_Batch", recording: "_Recording") -> list[RepoPath]:
        """Record what was found, durably; the paths with a new version."""
        if not batch.seen:
            return []
        contents = {blob.hash: blob for blob in chain(batch.unkept, batch.deltas, batch.fresh)}
        try:
            recorded = self._append(batch, contents, recording)
        except StaleBlob:  # gc took a content away that was known when this batch was encoded
            wholes = {one.state.blob: one.content for one in batch.seen if one.content is not None}
            hashed = [one.state for one in batch.seen if one.content is None and one.state.present and not one.state.stored]
            contents |= {blob.hash: blob for blob in self._pack(list(wholes.items()))}
            contents |= {state.blob: unkept(state.blob, state.size) for state in hashed}
            recorded = self._append(batch, contents, recording)
        recording.under_way.difference_update(one.state.blob for one in batch.new)
        recording.looked.written += recorded.written
        recording.stale.extend(recorded.stale)
        return recorded.written

    def _append(self, batch: "_Batch", contents: Mapping[bytes, Encoded], recording: "_Recording") -> Recorded:
        now = clock.now()
        observations = [
            Observation(
                one.path, batch.heads[one.path].seq, one.state, one.key, one.racy(batch.read_ns),
                contents.get(one.state.blob), recording.times.get(one.path),
            )
            for one in batch.seen
        ]  # fmt: skip
        known_before, heads = recording.known_before, batch.heads
        return self._store.log.record(self._repo.id, observations, recording.origin, now, known_before=known_before, heads=heads)

    def _pack(self, contents: Sequence[tuple[bytes, bytes]]) -> Iterator[Encoded]:
        if len(contents) < _FEW:
            return iter([encode(hash_, content) for hash_, content in contents])
        return chain.from_iterable(self._threads().map(pack, divide(contents)))

    def _each_part(self, work: Callable[[Sequence[_T]], list[_R]], items: Sequence[_T]) -> Iterator[_R]:
        """The results of `work`, which the threads have begun on a share of the items each."""
        if len(items) < _FEW:  # a single save is not worth a thread's wake-up
            return iter(work(items))
        share = -(-len(items) // _THREADS)
        parts = [items[begin : begin + share] for begin in range(0, len(items), share)]
        return chain.from_iterable(self._threads().map(work, parts))

    def _threads(self) -> "ThreadPoolExecutor":
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # with logging, a tenth of what a command imports

            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="guard-read")
        return self._pool

    def _being_restored(self, seen: Sequence[Seen], heads: dict[RepoPath, Head]) -> set[RepoPath]:
        """Paths whose head another process has committed but not written yet: theirs to finish, ours to look at later."""
        waiting = {
            one.path
            for one in seen
            if heads[one.path].origin is Origin.RESTORE and heads[one.path].key is None and one.state != heads[one.path].state
        }
        if waiting and restore_lock(self._store.state_dir, self._repo.id).holder() not in (None, os.getpid()):
            return waiting
        return set()


@dataclass(frozen=True, slots=True)
class _Recording:
    """How what is found is to be recorded, and what became of it.

    `under_way` are the blobs of batches not recorded yet, `stale` the paths of which another process recorded something else
    between our look at the head and at the file.
    """

    origin: Origin
    times: Mapping[RepoPath, int]
    known_before: bool
    is_burst: bool
    looked: Looked = field(default_factory=Looked)
    stale: list[RepoPath] = field(default_factory=list)
    under_way: set[bytes] = field(default_factory=set)

    def take_stale(self) -> list[RepoPath]:
        """The stale paths, to be looked at again: nothing of what was said of them holds."""
        found = self.stale.copy()
        self.stale.clear()
        gone = set(found)
        self.looked.unkept = [path for path in self.looked.unkept if path not in gone]
        self.looked.odd = {path: what for path, what in self.looked.odd.items() if path not in gone}
        return found


@dataclass(slots=True)
class _Batch:
    """Paths on their way: their heads before they were read, what was read, what is new of it, and that as blobs.

    `read_ns`: when the reading began; `large`: those that are read on their own, after the others.
    """

    heads: dict[RepoPath, Head]
    read_ns: int
    reads: Iterator[Seen | Trouble] = field(default_factory=lambda: iter(()))
    seen: list[Seen] = field(default_factory=list)
    large: list[RepoPath] = field(default_factory=list)
    new: list[Seen] = field(default_factory=list)
    unkept: list[Encoded] = field(default_factory=list)
    deltas: Iterator[Encoded] = field(default_factory=lambda: iter(()))
    fresh: Iterator[Encoded] = field(default_factory=lambda: iter(()))


def _batches(paths: Iterable[RepoPath]) -> Iterator[list[RepoPath]]:
    todo = iter(paths)
    while batch := list(islice(todo, _BATCH)):
        yield batch


def _one_ahead(items: Iterable[_T]) -> Iterator[_T]:
    """The same items, each asked for one earlier than it is given: what it stands for has begun by then."""
    ahead: list[_T] = []
    for item in items:
        yield from ahead
        ahead = [item]
    yield from ahead


def _read_all(root: Root, keep_up_to: int, paths: Sequence[RepoPath]) -> list[Seen | Trouble]:
    """Read these; what would make them too many bytes for the memory is left to be read on its own."""
    found: list[Seen | Trouble] = []
    room = _PART_BYTES
    for path in paths:
        one = read(root, path, keep_up_to, min(LARGE, room))
        if isinstance(one, Seen) and one.content is not None:
            room -= len(one.content)
        found.append(one)
    return found


def _encode_all(jobs: Sequence[_Job]) -> list[Encoded]:
    return [encode(*job) for job in jobs]


def _paths(found: Iterable[Differing]) -> Iterator[RepoPath]:
    return (one.path for one in found)
