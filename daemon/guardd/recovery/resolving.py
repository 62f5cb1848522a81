"""What a restore did to the imports of a tree: how many led nowhere before it, how many do now, and which of them are new."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from guardd.analysis.environment import InstalledNames
from guardd.analysis.layout import LayoutOf
from guardd.analysis.sources import WORKERS, Parsers
from guardd.checking.check import Conditions
from guardd.checking.facts import TreeFacts
from guardd.checking.resolution import Resolution
from guardd.checking.trees import LogTree
from guardd.model import PYTHON, FileState, Kind, RepoPath
from guardd.recovery.overlay import Overlay
from guardd.recovery.verify import ImportCounts
from guardd.store.repos import Repo
from guardd.store.store import Store

Lost = tuple[RepoPath, str]
"""A file, and what one of its imports asks for and does not get."""

_MOST_S = 2.0
"""As long as a person waits for this beyond the restore itself."""

_FOR_THE_REST_S, _FOR_EACH_S = 0.5, 0.01
"""A restore of one file must not wait for thousands of others; of a thousand, it may take longer."""

_FEW = 50
"""So many files of the rest, and one for each restored one, may have to be parsed: more of them would not be ready in time."""

_AT_ONCE = 250

_PARSED_A_SECOND = 430
"""Files that one core parses in a second: the standard library's."""


def count_imports(store: Store, repo: Repo, how: Conditions, replaced: Mapping[RepoPath, FileState]) -> ImportCounts | None:
    """Count them, given what the restored paths were before; None where not even theirs are known in time.

    Those after the restore matter more: where the time does not last, the ones before it are left out, then the other files'.
    """
    deadline = time.monotonic() + _MOST_S
    tree = LogTree(store, repo.id, repo.path)
    earlier = {path: state.blob if state.kind is Kind.FILE else None for path, state in replaced.items()}
    around = (InstalledNames(how.root, how.python), LayoutOf(how.root))
    with Parsers() as parsers:
        facts = TreeFacts(parsers, store, deadline)
        facts.judge_by(how.markers)
        now = Resolution(tree, how.source_roots, facts, *around)
        then = Resolution(Overlay(tree, earlier, store.blobs.read), how.source_roots, facts, *around)
        if _takes_too_long(now, then, replaced):
            return None
        lost = _lost_in_time(now, replaced)
        if lost is None:
            return None
        lost_then = _lost_in_time(then, replaced)
        if lost_then is None:
            return ImportCounts(None, len(lost), whole_tree=False)
        facts.deadline = min(deadline, time.monotonic() + _FOR_THE_REST_S + _FOR_EACH_S * len(replaced))
        others = [path for path in tree.blobs() if path.endswith(PYTHON) and path not in replaced]
        of_others = _of_others(now, then, others, _FEW + len(replaced))
    lost_now, lost_then = (mine | rest for mine, rest in zip((lost, lost_then), of_others or (set(), set()), strict=True))
    return ImportCounts(len(lost_then), len(lost_now), tuple(sorted(lost_now - lost_then)), of_others is not None)


def _takes_too_long(now: Resolution, then: Resolution, paths: Collection[RepoPath]) -> bool:
    """Whether the restored files could not even be parsed by the deadline: then they are not begun with."""
    unknown = now.facts.recall(now.tree, paths) | then.facts.recall(then.tree, paths)
    return len(now.facts.without_facts(unknown)) > _MOST_S * _PARSED_A_SECOND * WORKERS


def _of_others(
    now: Resolution, then: Resolution, others: Sequence[RepoPath], most_unknown: int
) -> tuple[set[Lost], set[Lost]] | None:
    """Which imports of files that were not restored lead nowhere, now and then; None where that is not known in time."""
    facts = now.facts
    unknown = 0
    for batch in _batches(others):
        unknown += len(facts.recall(now.tree, batch))
        if unknown > most_unknown or _is_late(facts):
            return None
    lost_now = _lost_in_time(now, others)
    lost_then = _lost_in_time(then, others) if lost_now is not None else None
    return None if lost_now is None or lost_then is None else (lost_now, lost_then)


def _lost_in_time(resolution: Resolution, paths: Collection[RepoPath]) -> set[Lost] | None:
    """Which imports of these files lead nowhere; None where that is not known by the deadline."""
    resolution.facts.learn(resolution.tree, paths)
    found: set[Lost] = set()
    for path in paths:
        if _is_late(resolution.facts):
            return None
        found |= {(path, missing.what) for missing, _ in resolution.missing(path) if missing.sure}
    return found if resolution.facts.in_time else None


def _is_late(facts: TreeFacts) -> bool:
    return not facts.in_time or (facts.deadline is not None and time.monotonic() > facts.deadline)


def _batches(paths: Collection[RepoPath]) -> Iterator[list[RepoPath]]:
    todo = iter(paths)
    while batch := list(islice(todo, _AT_ONCE)):
        yield batch
