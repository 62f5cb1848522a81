"""The past beyond the log: what a file was at a time before guard first saw it, where an adopted backup tells."""

from dataclasses import replace

from guardd.model import ABSENT, Origin, RepoPath, Version
from guardd.store.adopted import Adopted
from guardd.store.log import Knowledge, Passage
from guardd.store.repos import Repo
from guardd.store.store import Store


def passages_since(store: Store, repo: Repo, place: int, time_ns: int, *, changed_only: bool = True) -> list[Passage]:
    """What became of each path since a moment, its place in the log and its time: of the changed ones, or of all; by path."""
    passages = store.log.passages(repo.id, place, changed_only=changed_only)
    adopted = store.adopted.all_at(repo.id, time_ns)
    if not adopted:
        return passages
    found = [reaching_back(one, adopted.get(one.path), time_ns, repo.baseline_ns) for one in passages]
    if _was_watched(repo.baseline_ns, time_ns):
        return found
    unseen = adopted.keys() - {one.path for one in passages} - set(store.log.paths(repo.id))
    found += [_of_unseen(adopted[path]) for path in unseen]
    return sorted(found, key=lambda one: one.path)


def passage_since(store: Store, repo: Repo, path: RepoPath, place: int, time_ns: int) -> Passage | None:
    """What became of one path since a moment; None where neither the log nor a backup knows it."""
    passage = store.log.passage(repo.id, path, place)
    adopted = store.adopted.at(repo.id, path, time_ns)
    if passage is None:
        return None if adopted is None or _was_watched(repo.baseline_ns, time_ns) else _of_unseen(adopted)
    return reaching_back(passage, adopted, time_ns, repo.baseline_ns)


def reaching_back(passage: Passage, adopted: Adopted | None, time_ns: int, baseline_ns: int) -> Passage:
    """The passage, begun with the newest adopted version until then where the log begins later. Pure.

    What guard saw for itself is never overruled. Nor is what the file says of itself: first seen later, but with an mtime after
    the backup and before this moment, it had its content by then.
    """
    if adopted is None:
        return passage
    first_seen = passage.then if passage.knowledge is Knowledge.FIRST_SEEN else None
    if first_seen is not None:
        if adopted.version.time_ns < first_seen.mtime_ns <= time_ns:
            return passage
    elif passage.then is not None or _was_watched(baseline_ns, time_ns):
        return passage
    return replace(passage, then=adopted.version, knowledge=Knowledge.KNOWN, first_after=first_seen or passage.first_after)


def numbered(store: Store, repo: Repo, number: int) -> Version | None:
    """The version of a repo with this number, of the log or adopted."""
    version = store.log.version(number)
    if version is not None and store.log.repo_of(number) == repo.id:
        return version
    adopted = store.adopted.get(repo.id, number)
    return adopted.version if adopted is not None else None


def head(store: Store, repo: Repo, path: RepoPath) -> Version:
    """The newest version that the log has of a path; absent, with the number 0, where it has none."""
    passage = store.log.passage(repo.id, path, store.log.last_seq())
    return passage.head if passage is not None else _unseen(path)


def known_paths(store: Store, repo: Repo) -> list[RepoPath]:
    """Every path that the log or a backup knows."""
    return sorted({*store.log.paths(repo.id), *store.adopted.paths(repo.id)})


def _was_watched(baseline_ns: int, time_ns: int) -> bool:
    """Whether guard saw the whole tree by then: what the log does not have was not there, whatever an older backup says."""
    return bool(baseline_ns) and time_ns >= baseline_ns


def _of_unseen(adopted: Adopted) -> Passage:
    return Passage(adopted.version.path, adopted.version, Knowledge.KNOWN, None, _unseen(adopted.version.path))


def _unseen(path: RepoPath) -> Version:
    return Version(0, path, ABSENT, 0, 0, Origin.ADOPT)
