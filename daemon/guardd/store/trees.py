"""Whole trees out of the log: the contents of every file of a repo, at a place in the log or now."""

import os

from guardd.model import Kind, RepoPath
from guardd.store.store import Store

_HEADS = """
    SELECT p.path, p.head_seq, v.kind, b.hash
    FROM paths p JOIN versions v ON v.seq = p.head_seq LEFT JOIN blobs b ON b.id = v.blob_id
    WHERE p.repo_id = ? AND p.head_seq > 0
"""


def blobs_at(store: Store, repo_id: int, place: int | None = None) -> dict[RepoPath, bytes]:
    """The hash of the content of each regular file at a place in the log; None: of the heads.

    What guard first saw after that place and knows to have been there before counts as it was first seen.
    """
    found: dict[RepoPath, bytes] = {}
    for path_bytes, head_seq, kind, hash_ in store.db.rows(_HEADS, (repo_id,)):
        path = os.fsdecode(path_bytes)
        if place is None or head_seq <= place:
            if kind == Kind.FILE:
                found[path] = hash_
            continue
        passage = store.log.passage(repo_id, path, place)
        if passage is not None and passage.then is not None and passage.then.state.kind is Kind.FILE:
            found[path] = passage.then.state.blob
    return found
