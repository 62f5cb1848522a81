"""The detector of one repo: tails the log, keeps what nothing explains, opens incidents and lets them grow."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guardd.analysis.sources import Parsers
from guardd.detection.actors import Witness
from guardd.detection.bursts import Limits, joining, opening, verdict, with_finding, without_moved_code
from guardd.detection.facts import FactsOfBlobs
from guardd.detection.judge import Case, Judge
from guardd.detection.moves import broken_importers
from guardd.detection.rules.deleted import deleted
from guardd.errors import GuardError
from guardd.model import Actor, Finding, Incident, IncidentState, Kind, Origin, RepoPath, Severity, Suspect, Version
from guardd.selection import matcher
from guardd.store.repos import Repo
from guardd.store.store import Store

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, RepoSettings

_SECOND_NS = 1_000_000_000
_BATCH = 100
_SLICE = 20
"""Files parsed between two looks at whether an incident is to be opened: some 0.1 s on two cores."""

_RIPE_NS = 300_000_000
"""A module moved, or a file replaced, comes in several changes: what depends on others is judged when they are there too."""

_FEW_STATEMENTS = 2
"""Files of so little code are alike by chance."""

_AGAIN_NS = 600 * _SECOND_NS
"""Damage that comes back so soon after guard has restored it is the same incident's next round."""


@dataclass
class _Open:
    """An incident that waits for an answer, its members by path, and what is not written yet."""

    incident: Incident
    members: dict[RepoPath, Suspect] = field(default_factory=dict)
    touched: set[RepoPath] = field(default_factory=set)
    was: IncidentState = IncidentState.OPEN
    changed: bool = False


class Detector:
    """Detection for one repo, used by one thread.

    Without `remember` the store's incidents are neither read nor written: for a replay of the past.
    """

    def __init__(
        self,
        store: Store,
        repo: Repo,
        settings: "DetectionSettings",
        limits: Limits,
        about: "RepoSettings | None",
        parsers: Parsers,
        *,
        remember: bool = True,
    ) -> None:
        self.repo = repo
        self.limits = limits
        self._store = store
        self._remember = remember
        self._facts = FactsOfBlobs(store, parsers)
        self._judge = Judge(
            store, repo, self._facts, settings.markers, about.python if about else None, about.source_roots if about else ()
        )
        self._is_protected = matcher(about.protected if about else ())
        self._witness = Witness(repo.path)
        self._suspects: dict[RepoPath, Suspect] = {}
        self._touched: set[RepoPath] = set()
        self._pending: dict[RepoPath, Case] = {}
        self._births: dict[RepoPath, Version] = {}
        self._gained: Counter[str] = Counter()
        self._gone_judged: frozenset[RepoPath] = frozenset()
        self._pauses: list[tuple[int, int, str]] = []
        self._open: list[_Open] = []
        self._now_ns = 0
        self.cursor = 0
        if remember:
            cursor = store.incidents.cursor(repo.id)
            self.cursor = store.log.last_seq() if cursor is None else cursor
            self._suspects = {one.path: one for one in store.incidents.suspects(repo.id)}
            self._judge.known_damage = store.incidents.known_damage(repo.id)
            if cursor is None:
                self._save()

    @property
    def busy(self) -> bool:
        """Whether something is under way that time alone will move on."""
        return (
            bool(self._pending)
            or any(one.gone for one in self._suspects.values())
            or any(not one.incident.settled for one in self._open)
        )

    @property
    def incidents(self) -> list[tuple[Incident, list[Suspect]]]:
        """The open incidents with their members, oldest first."""
        return [(one.incident, list(one.members.values())) for one in self._open]

    # -- one round ----------------------------------------------------------------------------------------------

    def round(self, now_ns: int) -> bool:
        """Judge the next versions in the log; False when there was none. `now_ns` is the wall clock's."""
        self._now_ns = now_ns
        self._sync(now_ns)
        waiting = self._store.log.next_versions(self.repo.id, self.cursor, _BATCH)
        versions = _burst_of(waiting)
        for batch in _without_repeats(versions):
            self._take(batch)
        if versions:
            self.cursor = versions[-1].seq
        self.decide(versions[-1].time_ns if versions else now_ns)
        if not versions:
            self.settle(now_ns)
        if versions or self._touched or any(one.changed for one in self._open):
            self._save()
        return bool(versions)

    def replay_round(self) -> int | None:
        """Judge the next versions as of their own time; that time, or None at the end of the log."""
        versions = _burst_of(self._store.log.next_versions(self.repo.id, self.cursor, _BATCH))
        for batch in _without_repeats(versions):
            self._take(batch)
        if not versions:
            return None
        self.cursor = versions[-1].seq
        self.decide(versions[-1].time_ns)
        self._save()
        return versions[-1].time_ns

    def let_pass(self, since_ns: int) -> None:
        """In a replay: what time alone decides, up to the next version."""
        following = self._store.log.next_versions(self.repo.id, self.cursor, 1)
        until_ns = min(following[0].time_ns if following else since_ns + _SECOND_NS, since_ns + _SECOND_NS)
        self.decide(until_ns)
        self.settle(following[0].time_ns if following else since_ns + self.limits.settle_ns + 1)
        self._save()

    def decide(self, now_ns: int) -> None:
        """Open an incident if what nothing explains makes one by now, or let the newest one grow."""
        self._expire(now_ns)
        self._judge_gone(now_ns)
        self._judge_ripe(now_ns)
        candidates = [one for one in self._suspects.values() if one.path not in self._pending]
        newest = next((one for one in reversed(self._open) if now_ns <= one.incident.last_ns + self.limits.window_ns), None)
        if newest is not None:
            joined = joining(candidates, self.limits, newest.incident.last_ns, settled=newest.incident.settled)
            if joined:
                self._join(newest, joined)
                return
        found = opening(candidates, self.limits, now_ns, self._is_protected)
        if found is not None:
            self._open_incident(found.members, now_ns)

    def settle(self, now_ns: int) -> None:
        """No change has come for a while: incidents that stopped growing have their final count."""
        for one in self._open:
            if not one.incident.settled and now_ns > one.incident.last_ns + self.limits.settle_ns and not self._pending:
                one.incident = replace(one.incident, settled=True)
                one.changed = True

    # -- judging ------------------------------------------------------------------------------------------------

    def _take(self, versions: Sequence[Version]) -> None:
        cases = [case for version in versions if (case := self._case(version)) is not None]
        for case in cases:
            self._judge.look(case)
        if len(cases) > 2:
            self._witness.look()
        convicted = [case for case in cases if case.convicted]
        for case in convicted[_SLICE:]:
            self._conclude(case)
        if len(convicted) >= self.limits.damaged:
            for case in convicted[:_SLICE]:
                self._conclude(case)
            self.decide(versions[-1].time_ns)  # the first files tell: the rest of the evidence can wait
            self._save()
        rest = convicted[:_SLICE] + [case for case in cases if not case.convicted]
        for at in range(0, len(rest), _SLICE):
            part = rest[at : at + _SLICE]
            self._judge.look_closely(part)
            for case in part:
                self._conclude(case)
            if at + _SLICE < len(rest):
                self.decide(part[-1].version.time_ns)
                self._save()

    def _case(self, version: Version) -> Case | None:
        """The change that a version makes, if it is one to be judged."""
        path = version.path
        (self._judge.modules.add if version.state.present else self._judge.modules.remove)(path)
        if version.origin is Origin.BASELINE:
            return None
        before = self._healthy(version)
        if before is None or not before.state.present:
            if version.state.present and version.origin is not Origin.RESTORE:
                self._births[path] = version  # new files are no damage; but they may be where others went
            self._clear(path)
            return None
        case = Case(version, before)
        suspect = self._suspects.get(path)
        is_back = suspect is not None and suspect.before_seq and self._is_content_of(suspect.before_seq, version)
        if is_back or self._is_announced(version.time_ns) or self._judge.evidence(case):
            self._clear(path)
            return None
        if not version.state.present:
            self._suspect(case, ())
            return None
        return case

    def _is_content_of(self, seq: int, version: Version) -> bool:
        earlier = self._store.log.version(seq)
        return earlier is not None and version.state.present and earlier.state.blob == version.state.blob

    def _healthy(self, version: Version) -> Version | None:
        """The last version of the path before this one that was whole, as far as detection remembers."""
        known = self._member(version.path) or self._suspects.get(version.path)
        if known is not None and (known.damaged or known.gone):
            return self._store.log.version(known.before_seq) if known.before_seq else None
        return self._store.log.before(version.seq)

    def _conclude(self, case: Case) -> None:
        if case.change is not None and case.change.facts_before and case.change.facts_after:
            new = Counter(case.change.facts_after.definitions) - Counter(case.change.facts_before.definitions)
            self._gained.update(new)
        if case.explained:
            self._clear(case.version.path)
        else:
            self._suspect(case, tuple(case.findings))

    def _suspect(self, case: Case, findings: tuple[Finding, ...]) -> None:
        path, version = case.version.path, case.version
        damaged = any(finding.damage for finding in findings)
        edit = case.change.edit if case.change else ""
        gone = not version.state.present
        found = Suspect(path, case.before.seq, version.seq, version.time_ns, findings, edit, gone)
        for one in self._open:
            if path in one.members and (damaged or gone):
                self._grow(one, found)
                return
            if path in one.members and one.members[path].damaged:
                self._put_right(path)
        earlier = self._suspects.get(path)
        if earlier is not None and not damaged:
            found = replace(found, before_seq=earlier.before_seq)
        self._suspects[path] = found
        self._touched.add(path)
        self._pending.pop(path, None)
        if gone or self._may_be_explained_yet(found):
            self._pending[path] = case
        if damaged:
            self._judge.known_damage.add(version.state.blob)

    def _may_be_explained_yet(self, one: Suspect) -> bool:
        rules = {finding.rule for finding in one.findings if finding.damage}
        return bool(rules) and (rules <= {"import", "code-loss"} or ("marker" in rules and self._judge.git.is_busy(one.path)))

    def _clear(self, path: RepoPath) -> None:
        """The path is whole again, or what was done to it is explained."""
        if self._suspects.pop(path, None) is not None:
            self._touched.add(path)
        self._pending.pop(path, None)
        self._put_right(path)

    def _put_right(self, path: RepoPath) -> None:
        for one in self._open:
            member = one.members.get(path)
            if member is not None and not member.returned:
                one.members[path] = replace(member, returned=True)
                one.touched.add(path)
                one.changed = True

    # -- what later changes can explain -------------------------------------------------------------------------

    def _judge_ripe(self, now_ns: int) -> None:
        """Look again at what may have waited for other changes: imports of modules just moved, definitions gone elsewhere."""
        cases = [
            case
            for case in self._pending.values()
            if case.version.state.present
            and now_ns >= case.version.time_ns + _RIPE_NS
            and not self._judge.git.is_busy(case.version.path)
        ]
        if not cases:
            return
        self._judge.look_closely(cases)
        for case in cases:
            path = case.version.path
            del self._pending[path]
            suspect = replace(self._suspects[path], findings=tuple(case.findings))
            if suspect != self._suspects[path]:
                self._suspects[path] = suspect
                self._touched.add(path)
            if case.explained:
                self._clear(path)
        lost = {case.version.path: case.lost for case in cases}
        gained = self._gained_now() if any(lost.values()) else self._gained
        for path, suspect in without_moved_code(list(self._suspects.values()), lost, gained).items():
            self._suspects[path] = suspect
            self._touched.add(path)

    def _gained_now(self) -> Counter[str]:
        """The names defined anew of late, those of new files among them."""
        born = self._judge.definitions(
            one.state.blob for one in list(self._births.values())[-200:] if one.state.kind is Kind.FILE
        )
        return self._gained + Counter(name for facts in born.values() for name in facts.definitions)

    def _judge_gone(self, now_ns: int) -> None:
        """Files that are gone: taken away by git, moved, or deleted."""
        ripe = [one for one in self._suspects.values() if one.gone and one.path in self._pending]
        if (
            not ripe
            or now_ns < max(one.time_ns for one in ripe) + _RIPE_NS
            or any(self._judge.git.is_busy(o.path) for o in ripe[:1])
        ):
            return
        left = []
        for one in ripe:
            if self._judge.removed_by_git(one.path, self._pending[one.path].before):
                self._clear(one.path)
            else:
                left.append(one)
        moved_to = self._moved(left)
        importers = self._broken_importers(moved_to) if len(moved_to) >= self.limits.deleted else 0
        others = [one for one in self._suspects.values() if one.gone and one.path not in self._pending and not one.damaged]
        found = deleted([*left, *others], moved_to, importers, self.limits.deleted)
        for one in left:
            self._pending.pop(one.path, None)
            if one.path in moved_to and one.path not in found:
                self._clear(one.path)
        for path, finding in found.items():
            self._suspects[path] = with_finding(self._suspects[path], finding)
            self._touched.add(path)
            if path in moved_to:
                self._suspect_birth(self._births[moved_to[path]], path)

    def _suspect_birth(self, version: Version, source: RepoPath) -> None:
        finding = Finding("deleted", f"came from {source}")
        self._suspects[version.path] = Suspect(version.path, 0, version.seq, version.time_ns, (finding,))
        self._touched.add(version.path)

    def _moved(self, gone: Sequence[Suspect]) -> dict[RepoPath, RepoPath]:
        """Gone path -> where its content, or at least its code, has come up since."""
        births: dict[bytes, list[RepoPath]] = {}
        for path, version in self._births.items():
            births.setdefault(version.state.blob, []).append(path)
        before = {one.path: self._pending[one.path].before.state.blob for one in gone}
        moved = {path: births[blob].pop() for path, blob in before.items() if births.get(blob)}
        rest = {path: blob for path, blob in before.items() if path not in moved and path.endswith(".py")}
        unmatched = {blob: paths for blob, paths in births.items() if paths}
        if rest and unmatched:
            facts = self._judge.definitions([*rest.values(), *unmatched])
            by_code = {facts[blob].skeleton: paths for blob, paths in unmatched.items()
                       if blob in facts and facts[blob].statements > _FEW_STATEMENTS}  # fmt: skip
            for path, blob in rest.items():
                if blob in facts and by_code.get(facts[blob].skeleton):
                    moved[path] = by_code[facts[blob].skeleton].pop()
        return moved

    def _broken_importers(self, moved_to: Iterable[RepoPath]) -> int:
        return broken_importers(self._judge.modules, moved_to, self._contents())

    def _contents(self) -> Iterator[tuple[RepoPath, bytes]]:
        log, blobs = self._store.log, self._store.blobs
        for path in log.keys(self.repo.id):
            state = log.head(self.repo.id, path).state
            if state.kind is Kind.FILE and state.stored:
                try:
                    yield path, blobs.read(state.blob)
                except GuardError:  # fsck's business
                    continue

    def _expire(self, now_ns: int) -> None:
        """Forget what is too old to be part of anything."""
        for one in list(self._suspects.values()):
            if one.time_ns <= now_ns - (self.limits.slow_window_ns if one.damaged else self.limits.window_ns):
                del self._suspects[one.path]
                self._pending.pop(one.path, None)
                self._touched.add(one.path)
        births = {path: one for path, one in self._births.items() if one.time_ns > now_ns - self.limits.window_ns}
        if len(births) < len(self._births):
            self._births = births
        if not self._suspects:
            self._gained.clear()

    def _is_announced(self, time_ns: int) -> bool:
        return any(from_ns <= time_ns < to_ns for from_ns, to_ns, _ in self._pauses)

    # -- incidents ----------------------------------------------------------------------------------------------

    def _member(self, path: RepoPath) -> Suspect | None:
        return next((one.members[path] for one in reversed(self._open) if path in one.members), None)

    def _open_incident(self, members: Sequence[Suspect], now_ns: int) -> None:
        again = self._store.incidents.last(self.repo.id) if self._remember else None
        if again is not None and self._is_next_round(again, members, now_ns):
            known = {one.path: replace(one, returned=True) for one in self._store.incidents.members(again.id)}
            opened = replace(again, state=IncidentState.OPEN, closed_ns=None, settled=False)
            one = _Open(opened, known, was=again.state)
        else:
            first_seq = min(self._first_seq(member) for member in members)
            opened_ns = self._now_ns or now_ns
            opened = Incident(0, self.repo.id, IncidentState.OPEN, Severity.WARNING, opened_ns, None, first_seq, 0, (), 0, 0, "")
            one = _Open(opened)
        self._open.append(one)
        self._join(one, members)

    def _is_next_round(self, last: Incident, members: Sequence[Suspect], now_ns: int) -> bool:
        if last.state is not IncidentState.RESTORED or not last.rounds or (last.closed_ns or 0) < now_ns - _AGAIN_NS:
            return False
        known = {one.path for one in self._store.incidents.members(last.id)}
        return any(one.path in known for one in members)

    def _first_seq(self, member: Suspect) -> int:
        found = self._store.log.versions_of(self.repo.id, member.path, member.before_seq, member.after_seq)
        return min((version.seq for version in found), default=member.after_seq)

    def _join(self, one: _Open, members: Iterable[Suspect]) -> None:
        for member in members:
            self._suspects.pop(member.path, None)
            self._pending.pop(member.path, None)
            self._touched.add(member.path)
            self._grow(one, member)

    def _grow(self, one: _Open, member: Suspect) -> None:
        one.members[member.path] = member
        one.touched.add(member.path)
        one.changed = True
        last_ns = max(one.incident.last_ns, member.time_ns)
        one.incident = replace(one.incident, last_ns=last_ns, settled=False)

    def _weighed(self, one: _Open, now_ns: int) -> Incident:
        """The incident with what its members amount to; closed where all that was wrong has been put right."""
        members = [member for member in one.members.values() if one.incident.rounds == 0 or not member.returned] or list(
            one.members.values()
        )
        found = verdict(members, self._store.repos.files(self.repo.id), self.limits)
        incident = replace(one.incident, severity=found.severity, rules=found.rules, files=found.files, damaged=found.damaged,
                           summary=found.summary)  # fmt: skip
        wrong = [member for member in one.members.values() if member.damaged] or list(one.members.values())
        if all(member.returned for member in wrong):
            return replace(
                incident, state=IncidentState.RESTORED, closed_ns=now_ns, settled=True, note="every damaged file was put right"
            )
        if incident.actor.pid is None:
            incident = replace(incident, actor=self._witness.actor() if self._remember else Actor())
        return incident

    # -- the store ----------------------------------------------------------------------------------------------

    def _sync(self, now_ns: int) -> None:
        """Take over what others did: incidents closed or escalated, pauses announced."""
        if not self._remember:
            return
        self._pauses = self._store.incidents.pauses(self.repo.id, now_ns - self.limits.slow_window_ns)
        stored = {incident.id: incident for incident in self._store.incidents.open(self.repo.id)}
        self._open = [one for one in self._open if one.incident.id in stored]
        for one in self._open:
            there = stored[one.incident.id]
            one.incident = replace(one.incident, state=there.state, rounds=there.rounds, note=there.note)
            one.was = there.state
        known = {one.incident.id for one in self._open}
        for incident in stored.values():
            if incident.id not in known:
                members = {member.path: member for member in self._store.incidents.members(incident.id)}
                self._open.append(_Open(incident, members, was=incident.state))

    def _save(self) -> None:
        """Write the round in one transaction: cursor, suspects, incidents."""
        changed = [one for one in self._open if one.changed]
        for one in changed:
            one.incident = self._weighed(one, self._now_ns or one.incident.last_ns)
        if not self._remember:
            for one in changed:
                one.changed = False
            return
        store = self._store.incidents
        with self._store.db.transaction():
            self._facts.flush()
            left = [self._suspects[path] for path in self._touched if path in self._suspects]
            store.put_suspects(self.repo.id, left, [path for path in self._touched if path not in self._suspects])
            for one in changed:
                if not one.incident.id:
                    one.incident = replace(one.incident, id=store.add(one.incident))
                elif not store.grow(one.incident, one.was):
                    continue  # closed by someone meanwhile: the next round takes notice
                store.put_members(one.incident, [one.members[path] for path in one.touched])
                one.was = one.incident.state
                one.touched = set()
                one.changed = False
            store.move_cursor(self.repo.id, self.cursor)
        self._touched = set()
        self._open = [one for one in self._open if one.incident.state.is_open]


def _burst_of(versions: Sequence[Version]) -> Sequence[Version]:
    """The first of these versions, and those within a second after it: an incident is dated by its own changes."""
    end = next((at for at, one in enumerate(versions) if one.time_ns > versions[0].time_ns + _SECOND_NS), len(versions))
    return versions[:end]


def _without_repeats(versions: Sequence[Version]) -> Iterator[list[Version]]:
    """The versions in runs in which no path comes twice: each is judged on top of the one before it."""
    batch: dict[RepoPath, Version] = {}
    for version in versions:
        if version.path in batch:
            yield list(batch.values())
            batch = {}
        batch[version.path] = version
    if batch:
        yield list(batch.values())
