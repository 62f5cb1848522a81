"""The capturer: looks at paths of one repo and records what it finds, as versions in the store."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from guardd import clock
from guardd.beneath import Root
from guardd.capture.reading import LARGE, Seen, Trouble, read
from guardd.capture.scanning import Differing, Scan, scan
from guardd.model import Kind, Origin, RepoPath
from guardd.selection import Selection
from guardd.store.blobs import StaleBlob
from guardd.store.codec import Encoded, encode, unkept
from guardd.store.lock import restore_lock
from guardd.store.log import Head, Observation
from guardd.store.repos import Repo
from guardd.store.store import Store

_BATCH = 256
"""Paths that are read, and committed, together: a FULL commit costs 0.3 ms, a file some 0.1 ms."""

_READERS = min(4, os.cpu_count() or 1)


@dataclass(slots=True)
class Looked:
    """What became of the paths that were looked at. Those in `again` and `troubled` are still dirty."""

    written: list[RepoPath] = field(default_factory=list)
    again: list[RepoPath] = field(default_factory=list)
    troubled: dict[RepoPath, Trouble] = field(default_factory=dict)
    odd: dict[RepoPath, str] = field(default_factory=dict)
    unkept: list[RepoPath] = field(default_factory=list)

    def absorb(self, other: "Looked") -> None:
        """Add what another look found."""
        self.written += other.written
        self.again += other.again
        self.troubled |= other.troubled
        self.odd |= other.odd
        self.unkept += other.unkept


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
    ) -> tuple[Scan, Looked]:
        """Bring the heads below `folder` up to the disk: the one way that serves start, doubt and `guardctl`.

        A scan of the whole repo under rules that were never scanned before is a baseline: what it meets was there
        before. `on_progress(done, total)` hears of each batch; `go_on` is called all along until then, and ends the scan by
        what it raises.
        """
        os.stat(self._repo.path)  # a missing root is an error, not a tree without files
        go_on()
        keys = self._store.log.keys(self._repo.id, folder)
        found = scan(self._repo.path, self.selection, keys, folder, go_on)
        known_before = self._repo.scanned != self._repo.rules.fingerprint
        dirty = found.differing + found.missing
        times: dict[RepoPath, int] = {}
        if origin is Origin.OFFLINE:  # when it happened is not when we look: the inode knows more
            dirty.sort(key=lambda one: one.changed_ns)
            times = {one.path: one.changed_ns for one in dirty}
        if known_before and not self._repo.baseline_ns:
            origin, times = Origin.BASELINE, {}
        looked = self.look(
            _paths(dirty), origin, times=times, known_before=known_before, on_progress=on_progress, total=len(dirty)
        )
        if known_before:
            self._store.log.note_known_before(self._repo.id, looked.troubled)
        if not folder and not found.unmounted:
            # What could not be seen was there before, too: until all was seen, nothing that a scan meets is new.
            self._store.repos.mark_scanned(self._repo, clock.now().wall_ns, complete=not found.unreadable)
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

        `on_written` hears of the new versions of each batch as soon as they are durable.
        """
        looked = Looked()
        done = 0
        with Root(self._repo.path) as root:
            for batch, reads in self._read_ahead(root, paths):
                recorded = self._record(root, batch, reads, origin, times or {}, known_before=known_before)
                looked.absorb(recorded)
                if on_written is not None:
                    on_written(recorded.written)
                done += len(batch)
                if on_progress is not None:
                    on_progress(done, total)
        return looked

    def close(self) -> None:
        """End the reading threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _read_ahead(
        self, root: Root, paths: Iterable[RepoPath]
    ) -> Iterator[tuple[dict[RepoPath, Head], list["Future[Seen | Trouble] | Seen | Trouble"]]]:
        """Batches with their heads as they were before the reads; the next batch is read while one is recorded."""
        todo = iter(paths)
        ahead = None
        while batch := list(islice(todo, _BATCH)):
            # The heads first: a version that another process adds after this makes the observation stale, not wrong.
            heads = {path: self._store.log.head(self._repo.id, path) for path in dict.fromkeys(batch)}
            reads = self._start_reads(root, list(heads))
            if ahead is not None:
                yield ahead
            ahead = heads, reads
        if ahead is not None:
            yield ahead

    def _start_reads(self, root: Root, batch: Sequence[RepoPath]) -> list["Future[Seen | Trouble] | Seen | Trouble"]:
        limit = self._repo.rules.max_file_size
        if len(batch) < 8:  # a single save is not worth a thread's wake-up
            return [read(root, path, limit, LARGE) for path in batch]
        return [self._threads().submit(read, root, path, limit, LARGE) for path in batch]

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="guard-read")
        return self._pool

    def _record(
        self,
        root: Root,
        heads: dict[RepoPath, Head],
        reads: Sequence["Future[Seen | Trouble] | Seen | Trouble"],
        origin: Origin,
        times: dict[RepoPath, int],
        *,
        known_before: bool,
    ) -> Looked:
        looked = Looked()
        seen: list[Seen] = []
        for path, pending in zip(heads, reads, strict=True):
            found = pending.result() if isinstance(pending, Future) else pending
            if found is Trouble.LARGE:
                large = read(root, path, self._repo.rules.max_file_size)
                if isinstance(large, Seen):
                    one = self._commit([large], heads, origin, times, known_before=known_before)
                    looked.absorb(one)
                    continue
                found = large
            if isinstance(found, Trouble):
                looked.troubled[path] = found
            else:
                seen.append(found)
        looked.absorb(self._commit(seen, heads, origin, times, known_before=known_before))
        return looked

    def _commit(
        self,
        seen: Sequence[Seen],
        heads: dict[RepoPath, Head],
        origin: Origin,
        times: dict[RepoPath, int],
        *,
        known_before: bool,
    ) -> Looked:
        looked = Looked()
        kept = []
        being_restored = self._being_restored(seen, heads)
        for one in seen:
            if one.path in being_restored:
                looked.again.append(one.path)
                continue
            kept.append(one)
            if one.odd:
                looked.odd[one.path] = one.odd
            if not one.state.stored and one.state != heads[one.path].state:
                looked.unkept.append(one.path)
        if not kept:
            return looked
        for whole in (False, True):
            contents = self._encode(kept, heads, whole=whole)
            now = clock.now()
            observations = [
                Observation(
                    one.path, heads[one.path].seq, one.state, one.key, one.racy(now.wall_ns),
                    contents.get(one.state.blob), times.get(one.path),
                )
                for one in kept
            ]  # fmt: skip
            try:
                recorded = self._store.log.record(self._repo.id, observations, origin, now, known_before=known_before)
            except StaleBlob:
                if whole:
                    raise
            else:
                looked.written += recorded.written
                looked.again += recorded.stale
                break
        return looked

    def _encode(self, seen: Sequence[Seen], heads: dict[RepoPath, Head], *, whole: bool) -> dict[bytes, Encoded]:
        """The blobs that the store lacks (`whole`: all of them, without bases), by hash."""
        blobs: dict[bytes, Encoded] = {}
        jobs: dict[bytes, tuple[bytes, tuple[bytes, bytes] | None]] = {}
        for one in seen:
            head, state = heads[one.path].state, one.state
            known = state == head and head.stored
            if not state.present or known or state.blob in jobs or state.blob in blobs:
                continue
            if one.content is None:
                blobs[state.blob] = unkept(state.blob, state.size)
            elif whole or not self._store.blobs.holds(state.blob):
                related = not whole and head.kind is Kind.FILE
                jobs[state.blob] = one.content, self._store.blobs.base_for(head.blob) if related else None
        if len(jobs) < 8:
            return blobs | {hash_: encode(hash_, *job) for hash_, job in jobs.items()}
        encoded = self._threads().map(encode, jobs, *zip(*jobs.values(), strict=True))
        return blobs | {blob.hash: blob for blob in encoded}

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


def _paths(found: Iterable[Differing]) -> Iterator[RepoPath]:
    return (one.path for one in found)
