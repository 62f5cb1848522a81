"""The judge: one change after the other, held against the evidence and the rules."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from guardd.analysis.environment import CompiledModules, InstalledNames
from guardd.analysis.imports import NO_MODULE, Modules
from guardd.analysis.layout import LayoutOf
from guardd.analysis.markers import marker_pattern
from guardd.analysis.sources import Facts, Import
from guardd.detection.benign.git import GitEvidence, Held
from guardd.detection.benign.same_code import same_code
from guardd.detection.change import Change
from guardd.detection.facts import FactsOfBlobs
from guardd.detection.rules import Rules
from guardd.detection.rules.code_loss import FEWEST_COMMENTED, dangling, lost_definitions
from guardd.model import PYTHON, FileState, Finding, Kind, Origin, RepoPath, Version
from guardd.store.repos import Repo
from guardd.store.store import Store

_OURS = frozenset({Origin.BASELINE, Origin.RESTORE, Origin.ADOPT})
_IN_FORCE_NS = 60 * 1_000_000_000
"""A content that was a path's for a minute was no accident: to come back to it is a return."""

_LONGEST_GIT_NS = 30 * 1_000_000_000
"""As long as a lock counts as live."""


@dataclass
class Case:
    """A version to be judged, and the last healthy one before it.

    `git_busy`: git was at work when it was asked, so it must be asked again. `git_at_once`: git got the content in the very
    instant in which it was written; that explains what no rule convicts. `conflicted`: a merge's conflict markers came;
    `left_by_git`: and its index says that it left them to be resolved. `lost`: the definitions that went; `dangling`: the code
    uses names that nothing in it binds any more. `superseded`: the log has a newer version of the path. `was_empty`: there was
    nothing to lose.
    """

    version: Version
    before: Version
    change: Change | None = None
    findings: list[Finding] = field(default_factory=list)
    explained: str | None = None
    git_busy: bool = False
    git_at_once: bool = False
    conflicted: bool = False
    left_by_git: bool = False
    lost: set[str] = field(default_factory=set)
    dangling: bool = False
    superseded: bool = False
    was_empty: bool = False

    @property
    def is_commented_out(self) -> bool:
        """Whether code was turned into comments: no other file explains that."""
        return self.change is not None and len(self.change.commented_out) >= FEWEST_COMMENTED

    @property
    def may_be_halfway(self) -> bool:
        """Whether time alone may set it right: git is at work, or left a conflict, or a file is empty that is being written."""
        return self.git_busy or self.conflicted or any(finding.rule == "emptied" for finding in self.findings)

    @property
    def convicted(self) -> bool:
        """Whether a rule has found damage."""
        return bool(self.rules)

    @property
    def is_innocent(self) -> bool:
        """Whether an empty file was filled, and no line of it tells of damage: a script's marker in it would."""
        return self.was_empty and not self.convicted

    @property
    def lacks_modules(self) -> bool:
        """Whether all damage in it is that modules are not there."""
        damage = [finding for finding in self.findings if finding.damage]
        return bool(damage) and all(one.rule == "import" and one.message.startswith(NO_MODULE) for one in damage)

    @property
    def rules(self) -> set[str]:
        """The rules that have found damage."""
        return {finding.rule for finding in self.findings if finding.damage}


class Judge:
    """Judges changes of one repo. `known_damage` holds contents that nothing excuses; not `live`: changes of long ago."""

    def __init__(
        self,
        store: Store,
        repo: Repo,
        facts: FactsOfBlobs,
        markers: Sequence[str],
        python: str | None,
        source_roots: Sequence[str],
        *,
        live: bool = True,
    ) -> None:
        self._store = store
        self._repo = repo
        self._facts = facts
        self._live = live
        self.known_damage: set[bytes] = set()
        self.git = GitEvidence(repo.path)
        self.modules = Modules(
            store.log.keys(repo.id),
            source_roots,
            self._facts_at,
            CompiledModules(repo.path).has,
            InstalledNames(repo.path, python),
            LayoutOf(repo.path),
        )
        self._rules = Rules(marker_pattern(markers), self.modules).all()

    def evidence(self, case: Case) -> str | None:
        """What explains a change without a look at what it says; None if nothing does."""
        version, before = case.version, case.before
        if version.origin in _OURS:
            return "ours"
        case.git_busy = self.git.is_busy(version.path)  # before its index is read: what it says now may be old
        if version.state.blob == before.state.blob and version.state.kind == before.state.kind:
            return "unchanged"
        if version.state.present and version.state.blob not in self.known_damage:
            held = self._git_holds(version) if version.state.kind is Kind.FILE and version.state.stored else Held.NO
            case.git_at_once = held is Held.UNSURE
            if held is Held.YES:
                return "git"
            if self._store.log.was_in_force(version.seq, _IN_FORCE_NS):
                return "returned"
        return None

    def waits_for_git(self, path: RepoPath, changed_ns: int, now_ns: int) -> bool:
        """Whether what changed then must wait until git is done. Not for ever: anyone can make its lock, and make it again."""
        return now_ns < changed_ns + _LONGEST_GIT_NS and self.git.is_busy(path)

    def removed_by_git(self, path: RepoPath, before: Version) -> bool:
        """Whether git took this file away."""
        if not before.state.stored:
            return False
        return self.git.removed(path, lambda: self._store.blobs.read(before.state.blob), before.mtime_ns)

    def is_there(self, path: RepoPath) -> bool:
        """Whether there is something at this path on disk, whatever the log says by now; not asked in a replay."""
        return self._live and os.path.lexists(os.path.join(self._repo.path, path))

    def look(self, cases: Sequence[Case]) -> None:
        """Ask the rules that need no parser. What is damaged in the store is fsck's business: there is nothing to compare."""
        states = [(case.before.state, case.version.state) for case in cases]
        contents = dict(self._store.blobs.read_many(state.blob for pair in states for state in pair if _is_readable(state)))
        for case, (before, after) in zip(cases, states, strict=True):
            was, is_now = contents.get(before.blob), contents.get(after.blob)
            case.change = None
            if _is_readable(before) and _is_readable(after) and isinstance(was, bytes) and isinstance(is_now, bytes):
                case.change = Change(case.version.path, was, is_now)
                self._ask_rules(case, with_facts=False)

    def look_closely(self, cases: Sequence[Case]) -> None:
        """Ask all rules, then whether the code is still the same; the files are parsed at once, in processes of their own."""
        self.modules.refresh()
        parsed = [case for case in cases if case.change is not None and case.version.path.endswith(PYTHON)]
        facts = self._facts.of(hash_ for case in parsed for hash_ in (case.before.state.blob, case.version.state.blob))
        for case in parsed:
            change = case.change
            if change is None:
                continue
            change.facts_before = facts.get(case.before.state.blob)
            change.facts_after = facts.get(case.version.state.blob)
            self._ask_rules(case, with_facts=True)
            case.lost = set(lost_definitions(change))
            case.dangling = bool(dangling(change))
            if not case.findings:
                case.explained = same_code(change, partial(self._resolves, change.path))
        for case in cases:
            if (case.git_at_once or case.left_by_git) and not case.convicted:
                case.explained = "git"

    def _resolves(self, path: RepoPath, one: Import) -> bool:
        return not self.modules.missing(path, one)

    def definitions(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        """The facts of contents, for those who compare whole files."""
        return self._facts.of(hashes)

    def _ask_rules(self, case: Case, *, with_facts: bool) -> None:
        change = case.change
        if change is None:
            return
        case.findings = [finding for rule in self._rules if with_facts or not rule.needs_facts for finding in rule.look(change)]
        case.conflicted = any(_is_conflict(finding, change) for finding in case.findings)
        if case.conflicted and self.git.is_conflicted(change.path):
            # git itself left the conflict here, to be resolved; whatever else is wrong with the file stays
            case.left_by_git = True
            case.findings = [one for one in case.findings if one.rule != "syntax" and not _is_conflict(one, change)]

    def _git_holds(self, version: Version) -> Held:
        read: Callable[[], bytes] = lambda: self._store.blobs.read(version.state.blob)  # noqa: E731  # read only if needed
        written_ns = None if version.origin is Origin.OFFLINE else self._written_ns(version)
        return self.git.holds(version.path, read, version.mtime_ns, version.state.size, written_ns=written_ns)

    def _written_ns(self, version: Version) -> int:
        """When the file was written: its ctime as long as it is the head, which no one can set, else its mtime."""
        head = self._store.log.head(self._repo.id, version.path)
        return head.key.ctime_ns if head.key is not None and head.seq == version.seq else version.mtime_ns

    def _facts_at(self, path: RepoPath) -> Facts | None:
        head = self._store.log.head(self._repo.id, path).state
        return self._facts.of([head.blob]).get(head.blob) if head.kind is Kind.FILE and head.stored else None


def _is_readable(state: FileState) -> bool:
    return state.kind is Kind.FILE and state.stored


def _is_conflict(finding: Finding, change: Change) -> bool:
    return finding.rule == "marker" and change.lines_after[finding.line - 1].startswith(b"<<<<<<< ")
