"""The check: what is wrong with a tree, or what is newly wrong with it, held against another one."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Self

from guardd.analysis.environment import installed_names
from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.analysis.sources import Facts
from guardd.checking.facts import TreeFacts
from guardd.checking.marked import marked
from guardd.checking.origins import origins
from guardd.checking.resolution import Resolution, newly_missing
from guardd.checking.trees import Tree
from guardd.detection.bursts import without_moved_code
from guardd.detection.change import Change
from guardd.detection.rules import Rule, Rules
from guardd.detection.rules.code_loss import FEWEST_COMMENTED, CodeLoss, dangling, lost_definitions
from guardd.detection.rules.imports import Imports
from guardd.detection.rules.marker import Marker
from guardd.errors import GuardError
from guardd.model import Finding, RepoPath

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, RepoSettings

_EMPTY = Facts(parses=True)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file; `line` is 1-based, 0 where none can be named."""

    path: RepoPath
    line: int
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a tree is checked by: its place on disk, and what the config says of it."""

    root: str
    markers: tuple[str, ...] = DEFAULT_MARKERS
    python: str | None = None
    source_roots: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: str, detection: "DetectionSettings", about: "RepoSettings | None") -> Self:
        """The conditions that the config sets."""
        if about is None:
            return cls(root, detection.markers)
        return cls(root, detection.markers, about.python, about.source_roots)


def problems(
    before: Tree | None, after: Tree, how: Conditions, facts: TreeFacts, only: Container[RepoPath] | None = None
) -> list[Problem]:
    """What is wrong with `after`; with `before`, only what was not wrong before. By path and line.

    `only` restricts what is reported, not what is looked at: a function that is gone breaks files that no one touched.
    """
    check = _Check(before, after, how, facts)
    found = {one for one in check.problems() if only is None or one.path in only}
    return sorted(found, key=lambda one: (one.path, one.line, one.rule, one.message))


class _Check:
    def __init__(self, before: Tree | None, after: Tree, how: Conditions, facts: TreeFacts) -> None:
        self._facts = facts
        installed = cache(lambda: installed_names(how.root, how.python))
        self._now = Resolution(after, how.source_roots, facts, installed)
        self._then = Resolution(before, how.source_roots, facts, installed) if before is not None else None
        self._blobs = after.blobs()
        self._blobs_then: Mapping[RepoPath, bytes] = before.blobs() if before is not None else {}
        self._origins = origins(self._blobs_then, self._blobs)
        self._pattern = marker_pattern(how.markers)
        rules = Rules(self._pattern, self._now.modules).all()
        self._rules: list[Rule] = [rule for rule in rules if not isinstance(rule, Marker)]

    def problems(self) -> Iterator[Problem]:
        """All of them, some perhaps twice."""
        changed = [path for path, blob in self._blobs.items() if blob != self._blob_then(path)]
        self._learn(changed)
        yield from self._of_changes(changed)
        for path, missing in newly_missing(self._then, self._now, self._origins, changed):
            yield Problem(path, missing.line, "import", missing.what)

    def _blob_then(self, path: RepoPath) -> bytes | None:
        return self._blobs_then.get(self._origins.get(path, path))

    def _learn(self, changed: list[RepoPath]) -> None:
        self._facts.learn(self._now.tree, changed)
        if self._then is not None:
            self._facts.learn(self._then.tree, (self._origins[path] for path in changed if path in self._origins))

    def _of_changes(self, changed: list[RepoPath]) -> Iterator[Problem]:
        """What the rules say of each change, but for code that only moved."""
        lost: dict[RepoPath, list[str]] = {}
        gained: Counter[str] = Counter()
        losses: list[tuple[RepoPath, Finding]] = []
        for path in changed:
            change = self._change(path)
            if change is None:
                continue
            yield from (Problem(path, line, rule, text) for line, rule, text in marked(change, self._pattern))
            if change.facts_before is not None and change.facts_after is not None:
                gained += Counter(change.facts_after.definitions) - Counter(change.facts_before.definitions)
            for rule in self._rules:
                if isinstance(rule, Imports) and change.facts_before and not change.facts_before.parses:
                    continue  # what it imported before is not known
                for finding in rule.look(change):
                    if isinstance(rule, CodeLoss) and _may_have_moved(change):
                        lost[path] = lost_definitions(change)
                        losses.append((path, finding))
                    elif finding.damage:
                        yield self._problem(path, finding)
        moved = without_moved_code(lost, gained)
        yield from (self._problem(path, finding) for path, finding in losses if path not in moved)

    def _change(self, path: RepoPath) -> Change | None:
        """What became of a file: since it was at its earlier place, or since there was nothing."""
        origin = self._origins.get(path)
        try:
            after = self._now.tree.read(path)
            before = self._then.tree.read(origin) if self._then is not None and origin is not None else b""
        except GuardError:  # gone meanwhile, or only its hash is known: there is nothing to be judged
            return None
        change = Change(path, before, after)
        change.facts_after = self._now.facts_of(path)
        if change.facts_after is not None:
            change.facts_before = self._then.facts_of(origin) if self._then is not None and origin is not None else _EMPTY
        return change

    def _problem(self, path: RepoPath, finding: Finding) -> Problem:
        message = finding.message if path in self._origins else finding.message.replace(" any more", "", 1)
        return Problem(path, finding.line, finding.rule, message)


def _may_have_moved(change: Change) -> bool:
    """Whether code that is gone may be in another file now: not what was turned to comments, nor what is still used here."""
    return len(change.commented_out) < FEWEST_COMMENTED and not dangling(change)
