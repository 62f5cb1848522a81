"""Space: retention applied, blobs that nothing needs dropped, pages given back, paths forgotten on demand."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from guardd.errors import StoreError
from guardd.model import Moment, RepoPath
from guardd.store.blobs import MissingBlob
from guardd.store.clocks import ages
from guardd.store.codec import DENSE, BrokenBlob, Frame, denser, divide, encode, pack
from guardd.store.retention import Aged, Policy, Taken, expired, expired_adopted, over_quota
from guardd.store.store import Store

_STEP = 500
"""Rows a transaction, so that a capture never waits long for the store."""

_QUOTA_ROUNDS = 10
"""What several versions share is counted for each, so that one round may free less than it reckons."""

_SPARSE = 0.5
"""A frame of which less than this is needed is written anew: what it takes to do so is less than what it gives back."""

_AGED = """
    SELECT v.seq, v.path_id, v.time_ns, coalesce(length(b.data), b.size * length(f.data) / nullif(f.size, 0), 0)
    FROM versions v LEFT JOIN blobs b ON b.id = v.blob_id LEFT JOIN frames f ON f.id = b.frame_id
    ORDER BY v.path_id, v.seq
"""
_TAKEN = """
    SELECT a.seq, a.adopted_ns, coalesce(length(b.data), 0),
        NOT EXISTS (SELECT 1 FROM paths p WHERE p.repo_id = a.repo_id AND p.path = a.path AND p.head_seq > 0)
        AND NOT EXISTS (SELECT 1 FROM adopted n WHERE n.repo_id = a.repo_id AND n.path = a.path
                        AND (n.time_ns, n.seq) > (a.time_ns, a.seq))
    FROM adopted a JOIN blobs b ON b.id = a.blob_id
"""
_PINNED = """
    SELECT i.safety_seq, i.target_seq FROM restore_items i JOIN restores r ON r.id = i.restore_id
    WHERE r.state = 'applying'
    UNION ALL
    SELECT m.before_seq, m.after_seq FROM members m JOIN incidents n ON n.id = m.incident_id
    WHERE n.state IN ('open', 'escalated')
    UNION ALL
    SELECT before_seq, after_seq FROM suspects
    UNION ALL
    SELECT (SELECT max(v.seq) FROM versions v WHERE v.path_id = p.id AND v.seq <= r.from_seq), p.head_seq
    FROM runs r JOIN paths p ON p.repo_id = r.repo_id AND p.head_seq > r.from_seq
    WHERE r.state IN ('running', 'interrupted')
"""
_DROP_VERSION = """
    DELETE FROM versions WHERE seq = ? AND seq <> (SELECT head_seq FROM paths WHERE paths.id = versions.path_id)
"""
_DROP_ADOPTED = "DELETE FROM adopted WHERE seq = ?"
_ORPHANS = """
    SELECT id FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM versions WHERE blob_id = b.id)
        AND NOT EXISTS (SELECT 1 FROM adopted WHERE blob_id = b.id)
"""
_IS_ORPHAN = """
    SELECT base_id FROM blobs b WHERE id = ? AND NOT EXISTS (SELECT 1 FROM versions WHERE blob_id = b.id)
        AND NOT EXISTS (SELECT 1 FROM adopted WHERE blob_id = b.id)
"""
_DEPENDENTS = "SELECT hash FROM blobs WHERE base_id = ?"
_DROP_EMPTY_FRAMES = "DELETE FROM frames WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE frame_id = frames.id)"
_SPARSE_FRAMES = """
    SELECT f.id FROM frames f JOIN blobs b ON b.frame_id = f.id GROUP BY f.id HAVING sum(b.size) < f.size * ?
"""
_QUICK_FRAME = "SELECT id, size, level, data FROM frames WHERE level < ? AND id > ? ORDER BY id LIMIT 1"
_MAKE_DENSE = "UPDATE frames SET level = ?, data = ? WHERE id = ?"
_FRAME_OF = "SELECT frame_id FROM blobs WHERE id = ?"
_MEMBERS = "SELECT hash FROM blobs WHERE frame_id = ? ORDER BY place"
_DROP_FRAME = "DELETE FROM frames WHERE id = ?"
_DROP_BLOB = "DELETE FROM blobs WHERE id = ?"
_DROP_FACTS = "DELETE FROM facts WHERE hash = (SELECT hash FROM blobs WHERE id = ?)"
_VACUUM_STEP = "PRAGMA incremental_vacuum(2000)"

_PURGE_ITEMS = "DELETE FROM restore_items WHERE path_id = ?"
_PURGE_MEMBERS = "DELETE FROM members WHERE path_id = ?"
_PURGE_SUSPECTS = "DELETE FROM suspects WHERE path_id = ?"
_PURGE_VERSIONS = "DELETE FROM versions WHERE path_id = ?"
_PURGE_ADOPTED = "DELETE FROM adopted WHERE repo_id = ? AND path = ?"
_PURGE_HEAD = "UPDATE paths SET head_seq = 0, present = 0, stat = NULL WHERE id = ?"
_BEGIN_PURGING = "INSERT OR IGNORE INTO purging (id) VALUES (1)"
_IS_PURGING = "SELECT 1 FROM purging"
_END_PURGING = "DELETE FROM purging"
_BLOBS_OF = """
    SELECT blob_id FROM versions WHERE path_id = ? AND blob_id IS NOT NULL
    UNION
    SELECT blob_id FROM adopted WHERE repo_id = ? AND path = ?
"""
_ALSO_IN = """
    SELECT DISTINCT p.repo_id, r.path, p.path FROM versions v JOIN paths p ON p.id = v.path_id JOIN repos r ON r.id = p.repo_id
    WHERE v.blob_id = ?1
    UNION
    SELECT a.repo_id, r.path, a.path FROM adopted a JOIN repos r ON r.id = a.repo_id WHERE a.blob_id = ?1
"""


class Freed(NamedTuple):
    """What was removed: versions, blobs, and bytes given back to the disk."""

    versions: int
    blobs: int
    bytes: int


def collect(store: Store, policy: Policy, now: Moment) -> Freed:
    """Apply retention and the quota now. Works in small transactions, beside captures; needs no spare space to speak of."""
    before = _file_bytes(store)
    if store.db.row(_IS_PURGING):  # it was killed before it was done
        overwrite(store)
    age = ages(store.db, now)
    pinned = frozenset(seq for pair in store.db.each(_PINNED) for seq in pair)
    versions = _drop_versions(store, list(expired(_aged(store), policy, age, pinned)))
    versions += _drop_versions(store, list(expired_adopted(_taken(store), policy, age)))
    blobs = _drop_orphans(store)
    repack(store, _SPARSE)
    store.checked.prune()
    if over_quota_by(store, policy):  # before any version goes
        store.checked.clear()
        repack(store, 1.0)
    for _ in range(_QUOTA_ROUNDS):
        excess = over_quota_by(store, policy)
        gone = _drop_versions(store, list(over_quota(_aged(store), excess, age, pinned, _taken(store))))
        if not gone:
            break
        versions += gone
        blobs += _drop_orphans(store)
        repack(store, 1.0)  # else what went would free nothing, and more would go
    store.runs.prune(policy.keep_daily_ns, age)
    store.labels.prune(policy.keep_all_ns, policy.keep_daily_ns, age)
    store.repos.prune_watched(policy.keep_daily_ns, lambda time_ns: age(store.log.place_at(time_ns), time_ns))
    _give_back(store)
    return Freed(versions, blobs, max(0, before - _file_bytes(store)))


def over_quota_by(store: Store, policy: Policy) -> int:
    """How many bytes the store holds above its quota; 0 if none."""
    return max(0, _used_bytes(store) - policy.quota_bytes)


def purge(store: Store, repo_id: int, paths: Sequence[RepoPath]) -> tuple[Freed, dict[RepoPath, list[RepoPath]]]:
    """Forget every version of these paths, and overwrite their bytes in the store's files.

    Also returns, for each path, other paths that keep a content which it had; those of other repos are absolute.
    """
    before = _file_bytes(store)
    store.db.run("PRAGMA secure_delete = ON")
    versions, shared = 0, {}
    frames: set[int] = set()
    purged: set[int] = set()
    for path in paths:
        with store.db.transaction():
            store.db.run(_BEGIN_PURGING)
            path_id = store.log.head(repo_id, path).path_id
            whole_name = (repo_id, os.fsencode(path))
            blob_ids = [row[0] for row in store.db.rows(_BLOBS_OF, (path_id, *whole_name))]
            purged.update(blob_ids)
            frames.update(row[0] for blob_id in blob_ids for row in store.db.rows(_FRAME_OF, (blob_id,)))
            for statement in (_PURGE_ITEMS, _PURGE_MEMBERS, _PURGE_SUSPECTS):
                store.db.run(statement, (path_id,))
            versions += store.db.run(_PURGE_VERSIONS, (path_id,)) + store.db.run(_PURGE_ADOPTED, whole_name)
            store.db.run(_PURGE_HEAD, (path_id,))
            others = {
                os.fsdecode(other if id_ == repo_id else os.path.join(root, other))
                for blob_id in blob_ids
                for id_, root, other in store.db.rows(_ALSO_IN, (blob_id,))
            }
        if others - set(paths):
            shared[path] = sorted(others - set(paths))
    blobs, damaged, is_back = overwrite(store)
    if frames & damaged or any(store.db.row(_IS_ORPHAN, (blob_id,)) for blob_id in purged):
        raise StoreError(
            "forgotten, but its bytes lie in a damaged part of the store; run 'guardctl fsck --repair' to remove them"
        )
    if not is_back:
        raise StoreError("forgotten, but another process still reads old pages of the store; run 'guardctl gc' to overwrite them")
    return Freed(versions, blobs, max(0, before - _file_bytes(store))), shared


def overwrite(store: Store) -> tuple[int, set[int], bool]:
    """Overwrite what was purged: the number of blobs that went, the frames that are damaged, whether none reads old pages.

    What lies in a damaged part is left to a repair, which ends with this.
    """
    store.db.run("PRAGMA secure_delete = ON")
    store.checked.clear()
    known = set(store.db.rows(_ORPHANS))
    blobs = _drop_orphans(store)
    damaged = repack(store, 1.0)
    is_back = _give_back(store)
    if is_back:
        with store.db.transaction():
            if known.issuperset(store.db.rows(_ORPHANS)):  # else another purge has just begun
                store.db.run(_END_PURGING)
    return blobs, damaged, is_back


def _aged(store: Store) -> Iterator[Aged]:
    return (Aged(*row) for row in store.db.each(_AGED))


def _taken(store: Store) -> list[Taken]:
    return [Taken(seq, adopted_ns, size, bool(last_hope)) for seq, adopted_ns, size, last_hope in store.db.rows(_TAKEN)]


def _drop_versions(store: Store, seqs: list[int]) -> int:
    """Takes a list: an unfinished query would hold an old snapshot, from which SQLite refuses to write (BUSY_SNAPSHOT)."""
    dropped = 0
    for batch in _batches(seqs):
        with store.db.transaction():
            dropped += sum(store.db.run(_DROP_VERSION, (seq,)) or store.db.run(_DROP_ADOPTED, (seq,)) for seq in batch)
    return dropped


def _drop_orphans(store: Store) -> int:
    """Drop the blobs that no version names; deltas made against one are kept whole first. Newest first: chains end there."""
    dropped = 0
    orphans = sorted((row[0] for row in store.db.each(_ORPHANS)), reverse=True)
    for batch in _batches(orphans):
        with store.db.transaction():
            for blob_id in batch:
                if store.db.row(_IS_ORPHAN, (blob_id,)) is None:
                    continue  # a capture met the content again meanwhile
                try:
                    wholes = [encode(row[0], store.blobs.read(row[0])) for row in store.db.rows(_DEPENDENTS, (blob_id,))]
                except (BrokenBlob, MissingBlob):
                    continue  # a damaged blob is for fsck to report, and its base may help to mend it
                store.blobs.keep_anew(wholes)
                store.db.run(_DROP_FACTS, (blob_id,))
                dropped += store.db.run(_DROP_BLOB, (blob_id,))
    return dropped


def repack(store: Store, least: float) -> set[int]:
    """Write the frames anew of which less than this share is still needed; those that are damaged, and for fsck to mend."""
    store.db.run(_DROP_EMPTY_FRAMES)
    damaged = set()
    for (frame_id,) in store.db.rows(_SPARSE_FRAMES, (least,)):
        with store.db.transaction():
            try:
                contents = [(row[0], store.blobs.read(row[0])) for row in store.db.rows(_MEMBERS, (frame_id,))]
            except (BrokenBlob, MissingBlob):
                damaged.add(frame_id)
                continue
            store.blobs.keep_anew([blob for part in divide(contents) for blob in pack(part)])
            store.db.run(_DROP_FRAME, (frame_id,))
    return damaged


def compact(store: Store, go_on: Callable[[], bool]) -> int:
    """Compress densely what was compressed quickly, a frame at a time while `go_on`; how many frames it was.

    Their contents stay where they are, so that no reader notices. Damaged ones are left to fsck.
    """
    done = after = 0
    while go_on() and (row := store.db.row(_QUICK_FRAME, (DENSE, after))) is not None:
        after = row[0]
        made = denser(Frame(*row[1:]))
        if made is not None:
            with store.db.transaction():
                done += store.db.run(_MAKE_DENSE, (made.level, made.data, after))
    if done:
        _give_back(store)
    return done


def _give_back(store: Store) -> bool:
    """Return free pages to the disk, step by step, then the write-ahead log's; False if someone reads from that log now."""
    while (free := store.db.value("PRAGMA freelist_count")) > 0:
        store.db.rows(_VACUUM_STEP)
        if store.db.value("PRAGMA freelist_count") >= free:
            break
    return not store.db.value("PRAGMA wal_checkpoint(TRUNCATE)")


def _used_bytes(store: Store) -> int:
    pages = store.db.value("PRAGMA page_count") - store.db.value("PRAGMA freelist_count")
    return int(pages * store.db.value("PRAGMA page_size"))


def _file_bytes(store: Store) -> int:
    return store.size().bytes


def _batches(seqs: Iterable[int]) -> Iterator[list[int]]:
    todo = iter(seqs)
    while batch := list(islice(todo, _STEP)):
        yield batch
