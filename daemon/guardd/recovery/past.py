"""The past beyond the log: what a file was at a time before guard first saw it, where an adopted backup tells."""

from collections.abc import Callable

from guardd.model import ABSENT, Origin, RepoPath, Version
from guardd.selection import Selection
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
    outlived = _outlived(store, repo, time_ns)
    found = [reaching_back(one, adopted.get(one.path), time_ns, outlived) for one in passages]
    unseen = adopted.keys() - {one.path for one in passages} - set(store.log.paths(repo.id))
    noted = set(store.log.forgotten(repo.id))
    found += [_of_unseen(adopted[path]) for path in unseen if path in noted or not outlived(adopted[path].version)]
    return sorted(found, key=lambda one: one.path)


def passage_since(store: Store, repo: Repo, path: RepoPath, place: int, time_ns: int) -> Passage | None:
    """What became of one path since a moment; None where neither the log nor a backup knows it."""
    passage = store.log.passage(repo.id, path, place)
    adopted = store.adopted.at(repo.id, path, time_ns)
    if adopted is None:
        return passage
    outlived = _outlived(store, repo, time_ns)
    if passage is not None:
        return reaching_back(passage, adopted, time_ns, outlived)
    return None if outlived(adopted.version) and path not in store.log.forgotten(repo.id) else _of_unseen(adopted)


def reaching_back(passage: Passage, adopted: Adopted | None, time_ns: int, outlived: Callable[[Version], bool]) -> Passage:
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
    elif passage.then is not None or outlived(adopted.version):
        return passage
    return passage._replace(then=adopted.version, knowledge=Knowledge.KNOWN, first_after=first_seen or passage.first_after)


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


def _outlived(store: Store, repo: Repo, time_ns: int) -> Callable[[Version], bool]:
    """Whether guard looked for a file, and would have it in the log, between the time of an adopted version and a moment.

    So it did where it had all in sight under rules that want the file; then what the log does not have was not there. What
    .gitignore leaves out is known only as long as no such file has changed.
    """
    watched = store.repos.watched_at(repo.id, time_ns)
    if watched is None or (watched.rules.respect_gitignore and not watched.goes_on):
        return lambda version: False
    selection = Selection(repo.path, watched.rules)
    return lambda version: version.time_ns < watched.from_ns and selection.wants(version.path)


def _of_unseen(adopted: Adopted) -> Passage:
    return Passage(adopted.version.path, adopted.version, Knowledge.KNOWN, None, _unseen(adopted.version.path))


def _unseen(path: RepoPath) -> Version:
    return Version(0, path, ABSENT, 0, 0, Origin.ADOPT)
