"""Rescue: each damaged file back to the best version that the log, the adopted backups or git's history have of it.

What is damaged is seen by the files as they are now, so it serves whoever installed guard after the accident.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from guardd.analysis.environment import InstalledNames
from guardd.analysis.layout import LayoutOf
from guardd.analysis.sources import Facts
from guardd.checking.check import Conditions
from guardd.checking.facts import TreeFacts
from guardd.checking.outside import Outside
from guardd.checking.resolution import Resolution
from guardd.checking.trees import LogTree
from guardd.detection.change import Change
from guardd.detection.rules.imports import Imports
from guardd.errors import GuardError
from guardd.model import PYTHON, FileState, Kind, RepoPath
from guardd.recovery.overlay import Overlay
from guardd.recovery.plan import Action, Item, Plan, Verdict, Wanted, plan_states
from guardd.rescue.best import Candidate, Choice, Judged, Source, choose, newest_first
from guardd.rescue.health import ailment, damage_pattern, is_hollow, is_hollowed, unresolved
from guardd.rescue.history import GitHistory, Walked, readable
from guardd.store.codec import Encoded, decode, digest, encode
from guardd.store.repos import Repo
from guardd.store.store import Store

_ROUNDS = 5
"""A restored file may resolve what another one imports, or take it away: after so many rounds it stays as it is."""


@dataclass(slots=True)
class _Options:
    """What there is for one path: the candidates still to be read, newest first, and those that were."""

    waiting: list[Candidate]
    judged: list[Judged] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)


class _Contents(NamedTuple):
    """Some contents as a tree, for the parsers."""

    contents: Mapping[RepoPath, tuple[bytes, bytes]]
    outside: Outside

    def blobs(self) -> dict[RepoPath, bytes]:
        """Path -> hash."""
        return {path: hash_ for path, (hash_, _) in self.contents.items()}

    def read(self, path: RepoPath) -> bytes:
        """A content."""
        return self.contents[path][1]


class Rescue:
    """One rescue of one repo, captured right before. `chosen`: which paths it is about; `named`: those given by their names."""

    def __init__(
        self,
        store: Store,
        repo: Repo,
        how: Conditions,
        facts: TreeFacts,
        history: GitHistory,
        chosen: Callable[[RepoPath], bool] = lambda path: True,
        named: Container[RepoPath] = frozenset(),
    ) -> None:
        self._store = store
        self._repo = repo
        self._how = how
        self._facts = facts
        self._history = history
        self._chosen = chosen
        self._named = named
        self._pattern = damage_pattern(how.markers)
        self._heads = LogTree(store, repo.id, repo.path)
        self._now = self._heads.blobs()
        self._around = (InstalledNames(how.root, how.python), LayoutOf(how.root))
        self._known_damage = store.incidents.known_damage(repo.id)
        self._adopted = {path for path in store.adopted.paths(repo.id) if chosen(path)}
        self._options: dict[RepoPath, _Options] = {}
        self._cut: set[RepoPath] = set()
        self._contents: dict[bytes, Encoded] = {}
        self._facts_of: dict[bytes, Facts | None] = {}
        self._damage: dict[RepoPath, str] = {}
        self._imports: dict[RepoPath, str] = {}

    def plan(self, when: Callable[[int], str]) -> tuple[Plan, list[Encoded]]:
        """The plan, with the reason for each file, and the contents that the store lacks. `when` words a time."""
        self._damage = self._damaged() | self._missing()
        self._open_options(self._damage)
        choices = self._choose(None)
        for _ in range(_ROUNDS):
            resolution = self._resolution(choices)
            self._imports = dict(self._broken_imports(resolution))
            self._open_options(self._imports)
            before, choices = choices, self._choose(resolution)
            if _contents_of(before) == _contents_of(choices):
                break
        chosen = set(_contents_of(choices).values())
        return self._as_plan(choices, when), [content for blob, content in self._contents.items() if blob in chosen]

    # -- what is damaged ------------------------------------------------------------------------------------------

    def _damaged(self) -> dict[RepoPath, str]:
        """What is wrong by itself with the files that are there."""
        self._facts.learn(self._heads, self._now)
        damage = {}
        in_incident = self._members(gone=False)
        for path, blob in self._now.items():
            if not self._chosen(path):
                continue
            content = self._content(blob)
            found = ailment(path, content, self._facts.of(self._heads, path), self._pattern) if content is not None else None
            found = found or in_incident.get(path) or (self._hollowed(path, content) if path in self._adopted else None)
            if found is not None:
                damage[path] = found
        return damage

    def _hollowed(self, path: RepoPath, content: bytes | None) -> str | None:
        before = self._reference(path)
        return is_hollowed(Change(path, before, content)) if before is not None and content is not None else None

    def _reference(self, path: RepoPath) -> bytes | None:
        """The newest adopted content of a path, which people thought worth a copy."""
        newest = self._store.adopted.of_path(self._repo.id, path)[0].version.state.blob
        return self._content(newest) if newest != self._now.get(path) else None

    def _members(self, *, gone: bool) -> dict[RepoPath, str]:
        """The damaged members of open incidents that are still as the damage left them."""
        found = {}
        for incident in self._store.incidents.open(self._repo.id):
            for member in self._store.incidents.members(incident.id):
                if not member.damaged or member.returned or member.gone is not gone or not self._chosen(member.path):
                    continue
                after = self._store.log.version(member.after_seq)
                if gone or (after is not None and self._now.get(member.path) == after.state.blob):
                    found[member.path] = f"{'removed' if gone else 'damaged'} in incident {incident.id}"
        return found

    def _missing(self) -> dict[RepoPath, str]:
        """Files that are gone and should not be: removed in an incident, or backed up and not removed on purpose.

        On purpose is what guard saw go outside of an incident, and what a commit removed. Whoever names a file wants it.
        """
        missing = {path: why for path, why in self._members(gone=True).items() if path not in self._now}
        seen = set(self._store.log.paths(self._repo.id))
        backed_up = {path for path in self._adopted if path not in self._now}
        walked = self._history.walk(backed_up - seen)
        for path in backed_up:
            if path in self._named or (path not in seen and not walked.was_removed(path)):
                missing.setdefault(path, "is not there, and was backed up")
        for path in seen - self._now.keys() - backed_up:
            if path in self._named and path not in missing:
                missing[path] = "is not there"
        return missing

    def _broken_imports(self, resolution: Resolution) -> Iterator[tuple[RepoPath, str]]:
        """The files, sound by themselves, whose imports lead nowhere in the tree as it will be."""
        self._facts.learn(resolution.tree, resolution.tree.blobs())
        rule = Imports(resolution.modules)
        for path in self._now:
            if path in self._damage or not path.endswith(PYTHON) or not self._chosen(path):
                continue
            facts = self._facts.of(self._heads, path)
            if lost := unresolved(resolution, path, facts):
                yield path, lost[0]
            elif path in self._adopted and (lost_since := self._lost_since_backup(rule, path)):
                yield path, lost_since

    def _lost_since_backup(self, rule: Imports, path: RepoPath) -> str | None:
        """An import that may be a third party's, had it not been one of the tree's in the backup."""
        before, now = self._reference(path), self._content(self._now[path])
        if before is None or now is None:
            return None
        change = Change(path, before, now)
        change.facts_before = self._learned(path, digest(before), before)
        change.facts_after = self._facts.whole(self._heads, path)
        return next((finding.message for finding in rule.look(change)), None)

    # -- what may go back -----------------------------------------------------------------------------------------

    def _open_options(self, paths: Iterable[RepoPath]) -> None:
        new = {path for path in paths if path not in self._options}
        walked = self._history.walk(new)
        self._cut |= walked.cut
        for path in new:
            self._options[path] = _Options(newest_first(list(self._candidates(path, walked))))

    def _candidates(self, path: RepoPath, walked: Walked) -> Iterator[Candidate]:
        for version in self._store.log.versions_of(self._repo.id, path):
            if version.state.kind is Kind.FILE and version.state.stored:
                yield Candidate(path, version.time_ns, Source.LOG, str(version.seq), state=version.state)
        for one in self._store.adopted.of_path(self._repo.id, path):
            if one.version.state.stored:
                yield Candidate(path, one.version.time_ns, Source.ADOPTED, one.source, state=one.version.state)
        for each in walked.contents.get(path, ()):
            yield Candidate(path, each.time_ns, Source.GIT, each.commit[:12], each.object_id, _state_in_git(each.mode))

    def _choose(self, resolution: Resolution | None) -> dict[RepoPath, Choice]:
        """The choice for each damaged file, reading candidates as far back as needed; at first imports do not count."""
        choices: dict[RepoPath, Choice] = {}
        undecided = set(self._damage) | set(self._imports)
        while undecided:
            for path in sorted(undecided):
                options = self._options[path]
                judged = [self._with_imports(resolution, one) for one in options.judged]
                choice = choose(judged, is_all=not options.waiting, last_resort=path in self._damage)
                if choice is not None:
                    choices[path] = choice
                if choice is not None or not options.waiting:
                    undecided.discard(path)
            self._read_next(undecided)
        return choices

    def _with_imports(self, resolution: Resolution | None, one: Judged) -> Judged:
        state = one.candidate.state
        if resolution is None or state is None or one.ailment is not None:
            return one._replace(unresolved=())
        return one._replace(unresolved=unresolved(resolution, one.candidate.path, self._facts_of.get(state.blob)))

    def _read_next(self, paths: Collection[RepoPath]) -> None:
        """Read and judge the next candidate of each of these; they are parsed at once."""
        batch = {path: found for path in paths if (found := self._next(self._options[path], path)) is not None}
        contents = _Contents({path: (digest(content), content) for path, (_, content) in batch.items()}, self._heads.outside)
        self._facts.learn_whole(contents, batch)
        for path, (one, content) in batch.items():
            hash_, facts = contents.contents[path][0], self._facts.whole(contents, path)
            self._facts_of[hash_] = facts
            state = FileState(Kind.FILE, hash_, len(content), one.state.mode if one.state else 0o644)
            candidate = one._replace(state=state)
            wrong = "was damage in an incident" if hash_ in self._known_damage else ailment(path, content, facts, self._pattern)
            hollow = is_hollow(content, facts, was_copied=one.source is Source.ADOPTED)
            self._options[path].judged.append(Judged(candidate, wrong, hollow))
            if one.source is Source.GIT and wrong is None:
                self._contents[hash_] = encode(hash_, content)

    def _next(self, options: _Options, path: RepoPath) -> tuple[Candidate, bytes] | None:
        """The next candidate with a content that was not met yet, and is not that of the damage."""
        while options.waiting:
            one = options.waiting.pop(0)
            if one.source is not Source.GIT and one.state is not None and self._is_old_news(options, path, one.state.blob):
                continue
            content = (
                readable(self._history, one.key)
                if one.source is Source.GIT
                else self._content(one.state.blob if one.state else b"")
            )
            if content is None or self._is_old_news(options, path, digest(content)):
                continue
            options.seen.add(digest(content))
            return one, content
        return None

    def _is_old_news(self, options: _Options, path: RepoPath, blob: bytes) -> bool:
        return blob in options.seen or blob == self._now.get(path)

    # -- trees and contents ---------------------------------------------------------------------------------------

    def _resolution(self, choices: Mapping[RepoPath, Choice]) -> Resolution:
        tree = Overlay(self._heads, _contents_of(choices), self._content_or_raise)
        return Resolution(tree, self._how.source_roots, self._facts, *self._around)

    def _learned(self, path: RepoPath, hash_: bytes, content: bytes) -> Facts | None:
        return self._facts.whole(_Contents({path: (hash_, content)}, self._heads.outside), path)

    def _content(self, blob: bytes) -> bytes | None:
        try:
            return self._content_or_raise(blob)
        except GuardError:  # only its hash is kept, or the store is damaged: fsck's business
            return None

    def _content_or_raise(self, blob: bytes) -> bytes:
        one = self._contents.get(blob)
        if one is not None and one.data is not None:
            return decode(one.codec, one.data, one.size)
        return self._store.blobs.read(blob)

    # -- the plan -------------------------------------------------------------------------------------------------

    def _as_plan(self, choices: Mapping[RepoPath, Choice], when: Callable[[int], str]) -> Plan:
        damage = {**self._damage, **{path: f"imports lead nowhere ({what})" for path, what in self._imports.items()}}
        head = {path: self._store.log.head(self._repo.id, path) for path in damage}
        wanted = []
        for path, choice in choices.items():
            state, current = choice.judged.candidate.state, head[path].state
            if state is not None:
                mode = current.mode if current.kind is Kind.FILE else state.mode
                wanted.append(Wanted(path, replace(state, mode=mode)))
        items = {item.path: item for item in plan_states(wanted, lambda path: (head[path].seq, head[path].state)).items}
        for path, choice in choices.items():
            one, why = choice.judged.candidate, choice.why(when, damage[path])
            if items[path].action is not Action.SKIP:
                items[path] = items[path]._replace(reason=why, source=f"{one.source}:{one.name}")
        for path in damage.keys() - choices.keys():
            current, seq = head[path].state, head[path].seq
            reason = f"{damage[path]}; {_nothing_left(self._options[path].judged, is_cut=path in self._cut)}"
            items[path] = Item(path, Action.SKIP, Verdict.UNCHANGED, current, current, seq, current, reason=reason)
        return Plan(tuple(items[path] for path in sorted(items)))


def _contents_of(choices: Mapping[RepoPath, Choice]) -> dict[RepoPath, bytes]:
    return {path: one.judged.candidate.state.blob for path, one in choices.items() if one.judged.candidate.state is not None}


def _nothing_left(judged: Sequence[Judged], *, is_cut: bool) -> str:
    if not judged:
        return "there is no other version of it in the log, in adopted backups or in git"
    newest = judged[0]
    which = f"{len(judged)} newest other" if is_cut else f"{len(judged)} other"
    older = "; older ones: 'git log', then 'guardctl restore PATH --from git:REV'" if is_cut else ""
    return f"none of its {which} versions is healthy ({newest.candidate.words} {newest.complaint}){older}"


def _state_in_git(mode: int) -> FileState:
    """Git knows one bit of the mode; the content is not known before it is read."""
    return FileState(Kind.FILE, b"", 0, 0o755 if mode & 0o100 else 0o644)
