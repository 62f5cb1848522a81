"""The check: what is wrong with a tree, or what is newly wrong with it, held against another one."""

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

from guardd.analysis.environment import InstalledNames
from guardd.analysis.layout import LayoutOf
from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.analysis.undefined import not_defined
from guardd.checking.content import UNDEFINED_NAME
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
from guardd.model import RepoPath

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, RepoSettings


class Problem(NamedTuple):
    """Something wrong with a file; `line` is 1-based, 0 where none can be named."""

    path: RepoPath
    line: int
    rule: str
    message: str


class Conditions(NamedTuple):
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
    before: Tree | None,
    after: Tree,
    how: Conditions,
    facts: TreeFacts,
    only: Container[RepoPath] | None = None,
    lacking: Container[RepoPath] = frozenset(),
) -> list[Problem]:
    """What is wrong with `after`; with `before`, only what was not wrong before. By path and line.

    `only` restricts what is reported, not what is looked at: a function that is gone breaks files that no one touched. Where
    the content of a file in `before` is `lacking`, what became of it is judged by itself, as a new file is.
    """
    check = _Check(before, after, how, facts, lacking)
    found = {one for one in check.problems() if only is None or one.path in only}
    return sorted(check.without_given(found), key=lambda one: (one.path, one.line, one.rule, one.message))


class _Check:
    def __init__(self, before: Tree | None, after: Tree, how: Conditions, facts: TreeFacts, lacking: Container[RepoPath]) -> None:
        self._facts = facts
        self._facts.judge_by(how.markers)
        around = (InstalledNames(how.root, how.python), LayoutOf(how.root))
        self._now = Resolution(after, how.source_roots, facts, *around)
        self._then = Resolution(before, how.source_roots, facts, *around) if before is not None else None
        self._blobs = after.blobs()
        self._blobs_then: Mapping[RepoPath, bytes] = before.blobs() if before is not None else {}
        self._origins = {
            path: origin
            for path, origin in origins(self._blobs_then, self._blobs).items()
            if origin not in lacking or self._blobs_then[origin] == self._blobs[path]
        }
        self._pattern = marker_pattern(how.markers)
        rules = Rules(self._pattern, self._now.modules).all()
        self._rules: list[Rule] = [rule for rule in rules if not isinstance(rule, Marker)]

    def problems(self) -> Iterator[Problem]:
        """All of them, some perhaps twice."""
        changed = [path for path, blob in self._blobs.items() if blob != self._blob_then(path)]
        born = [path for path in changed if path not in self._origins]
        self._facts.learn(self._now.tree, born)
        for path in born:
            yield from self._troubles(path)
        if self._then is not None:
            yield from self._of_changes(self._then, [path for path in changed if path in self._origins], born)
        for path, missing in newly_missing(self._then, self._now, self._origins, changed):
            yield Problem(path, missing.line, "import", missing.what)

    def without_given(self, found: Collection[Problem]) -> Iterator[Problem]:
        """These problems without the names that some file of the tree puts among the built-in ones."""
        excused = set[str]()
        if any(one.rule == UNDEFINED_NAME for one in found):
            self._facts.learn(self._now.tree, self._blobs)
            for facts in map(self._now.facts_of, self._blobs):
                excused.update(map(not_defined, facts.gives if facts is not None else ()))
        return (one for one in found if one.rule != UNDEFINED_NAME or one.message not in excused)

    def _blob_then(self, path: RepoPath) -> bytes | None:
        return self._blobs_then.get(self._origins.get(path, path))

    def _troubles(self, path: RepoPath) -> Iterator[Problem]:
        for line, rule, message in self._facts.troubles(self._now.tree, path):
            if not (rule == UNDEFINED_NAME and path.endswith(".pyi")):  # a stub may name what comes later
                yield Problem(path, line, rule, message)

    def _of_changes(self, then: Resolution, changed: list[RepoPath], born: list[RepoPath]) -> Iterator[Problem]:
        """What the rules say of each change, but for code that only moved."""
        self._facts.learn_whole(self._now.tree, changed)
        self._facts.learn_whole(then.tree, (self._origins[path] for path in changed))
        lost: dict[RepoPath, list[str]] = {}
        gained: Counter[str] = Counter()
        losses: list[Problem] = []
        for path in changed:
            change = self._change(then, path)
            if change is None:
                continue
            if change.facts_before is not None and change.facts_after is not None:
                gained += Counter(change.facts_after.definitions) - Counter(change.facts_before.definitions)
            for problem in self._of_change(then, change):
                if problem.rule == CodeLoss.name and _may_have_moved(change):
                    lost[path] = lost_definitions(change)
                    losses.append(problem)
                else:
                    yield problem
        if lost:
            self._facts.learn_whole(self._now.tree, born)
            for facts in filter(None, (self._facts.whole(self._now.tree, path) for path in born)):
                gained += Counter(facts.definitions)
        moved = without_moved_code(lost, gained)
        yield from (problem for problem in losses if problem.path not in moved)

    def _change(self, then: Resolution, path: RepoPath) -> Change | None:
        """What became of a file since it was at its earlier place."""
        origin = self._origins[path]
        try:
            change = Change(path, then.tree.read(origin), self._now.tree.read(path))
        except GuardError:  # gone meanwhile, or only its hash is known: there is nothing to be judged
            return None
        change.facts_after = self._facts.whole(self._now.tree, path)
        change.facts_before = self._facts.whole(then.tree, origin)
        return change

    def _of_change(self, then: Resolution, change: Change) -> Iterator[Problem]:
        path = change.path
        yield from (Problem(path, line, rule, message) for line, rule, message in marked(change, self._pattern))
        undefined = self._newly_undefined(then, change)
        yield from undefined
        was_broken = change.facts_before is not None and not change.facts_before.parses
        for rule in self._rules:
            if isinstance(rule, Imports) and was_broken:
                continue  # what it imported before is not known
            for finding in rule.look(change):
                is_told = isinstance(rule, Imports) and not finding.line and undefined  # where the names are used
                if finding.damage and not is_told:
                    yield Problem(path, finding.line, finding.rule, finding.message)

    def _newly_undefined(self, then: Resolution, change: Change) -> list[Problem]:
        if change.facts_before is None or not change.facts_before.parses:
            return []
        known = {message for _, _, message in self._facts.troubles(then.tree, self._origins[change.path])}
        return [
            one for one in self._troubles(change.path) if one.rule == UNDEFINED_NAME and one.message not in known
        ]  # fmt: skip


def _may_have_moved(change: Change) -> bool:
    """Whether code that is gone may be in another file now: not what was turned to comments, nor what is still used here."""
    return len(change.commented_out) < FEWEST_COMMENTED and not dangling(change)
