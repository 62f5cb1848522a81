"""What a restore did to the imports of a tree: how many led nowhere before it, how many do now, and which of them are new."""

import time
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from guardd.analysis.environment import InstalledNames
from guardd.analysis.layout import LayoutOf
from guardd.analysis.sources import Parsers
from guardd.checking.check import Conditions
from guardd.checking.facts import TreeFacts
from guardd.checking.resolution import Resolution
from guardd.checking.trees import LogTree, Tree
from guardd.model import FileState, Kind, RepoPath
from guardd.recovery.health import PYTHON
from guardd.recovery.overlay import Overlay
from guardd.recovery.verify import ImportCounts
from guardd.store.repos import Repo
from guardd.store.store import Store

_MOST_S = 10.0
_FOR_THE_REST_S = 0.2
_FOR_EACH_S = 0.02
"""A restore of one file must not wait for the parsing of thousands; of a thousand, it may take as long as those did."""

_AT_ONCE = 50


def count_imports(store: Store, repo: Repo, how: Conditions, replaced: Mapping[RepoPath, FileState]) -> ImportCounts | None:
    """Count them, given what the restored paths were before; None where not even theirs could be parsed in time."""
    started = time.monotonic()
    now = LogTree(store, repo.id, repo.path)
    then = Overlay(
        now, {path: state.blob if state.kind is Kind.FILE else None for path, state in replaced.items()}, store.blobs.read
    )
    with Parsers() as parsers:
        facts = TreeFacts(parsers, store, started + _MOST_S)
        facts.judge_by(how.markers)
        for tree in (then, now):
            facts.learn(tree, replaced)
        if not facts.in_time:
            return None
        others = [path for path in now.blobs() if path.endswith(PYTHON) and path not in replaced]
        patience_s = min(_MOST_S, _FOR_THE_REST_S + _FOR_EACH_S * len(replaced))
        whole_tree = _learn(facts, now, others, time.monotonic() + patience_s)
        around = (InstalledNames(how.root, how.python), LayoutOf(how.root))
        looked_at = {*replaced, *(others if whole_tree else ())}
        lost_then = _lost(Resolution(then, how.source_roots, facts, *around), looked_at)
        lost_now = _lost(Resolution(now, how.source_roots, facts, *around), looked_at)
    return ImportCounts(len(lost_then), len(lost_now), tuple(sorted(lost_now - lost_then)), whole_tree)


def _lost(resolution: Resolution, paths: Collection[RepoPath]) -> set[tuple[RepoPath, str]]:
    return {(path, missing.what) for path in paths for missing, _ in resolution.missing(path) if missing.sure}


def _learn(facts: TreeFacts, tree: Tree, paths: Collection[RepoPath], deadline: float) -> bool:
    """Learn the facts of these files, a few at a time; whether all could be learnt in time."""
    for batch in _batches(paths):
        if time.monotonic() > deadline:
            return False
        facts.learn(tree, batch)
    return facts.in_time


def _batches(paths: Collection[RepoPath]) -> Iterator[list[RepoPath]]:
    todo = iter(paths)
    while batch := list(islice(todo, _AT_ONCE)):
        yield batch
