"""The detector of one repo: tails the log, keeps what nothing explains, opens incidents and lets them grow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from guardd.analysis.sources import Parsers
from guardd.detection.benign.git_at_work import GitAtWork
from guardd.detection.benign.runs import Inside, RunEvidence
from guardd.detection.bursts import Limits, joining, opening
from guardd.detection.departures import Departures
from guardd.detection.doubts import Doubts
from guardd.detection.facts import FactsOfBlobs
from guardd.detection.growing import OpenIncidents
from guardd.detection.judge import Case, Judge
from guardd.errors import GuardError
from guardd.model import Finding, Incident, Kind, Origin, RepoPath, Suspect, Version
from guardd.selection import is_canary, matcher
from guardd.store.repos import Repo
from guardd.store.store import Store

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, RepoSettings

_SECOND_NS = 1_000_000_000
_BATCH = 100
_CLEAR = 20
"""Damaged files that leave no doubt; and the most that are judged at once until then, some 0.1 s on two cores."""

_HARMLESS = 200
"""Files in a row without damage, by which a burst shows that it is work."""

_LONGEST_WAIT_NS = 60 * _SECOND_NS
"""After so long a quiet, everything is decided and has settled."""


class Detector:
    """Detection for one repo, used by one thread.

    `wall_ns` is the wall clock. Without `remember` the store's incidents are neither read nor written: for a replay of the
    past, which has no clock.
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
        wall_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self.repo = repo
        self._wall_ns = wall_ns
        self.limits = limits
        self._store = store
        self._remember = remember
        self._facts = FactsOfBlobs(store, parsers)
        self._judge = Judge(
            store,
            repo,
            self._facts,
            settings.markers,
            about.python if about else None,
            about.source_roots if about else (),
            live=remember,
        )
        self._is_protected = matcher(about.protected if about else ())
        self._open = OpenIncidents(store, repo, limits, self._is_protected, remember=remember)
        self._suspects: dict[RepoPath, Suspect] = {}
        self._touched: set[RepoPath] = set()
        self._departures = Departures(self._judge, limits, lambda: store.repos.files(repo.id), self._contents)
        self._in_hand: set[RepoPath] = set()
        self._to_come: set[RepoPath] = set()
        self._doubts = Doubts(
            self._judge, self._departures, store.log, repo.id,
            acquit=self._acquit, is_watched=self._is_watched, wall_ns=wall_ns,
        )  # fmt: skip
        self._open.unsure = self._doubts.standing
        self._pauses: list[tuple[int, int, str]] = []
        self._runs = RunEvidence(store, repo.id)
        self._runs_incidents: frozenset[int] = frozenset()
        self._now_ns = self._harmless = 0
        self._git = GitAtWork(lambda: self._judge.git.is_busy("_"))
        self.cursor = 0
        if remember:
            cursor = store.incidents.cursor(repo.id)
            self.cursor = store.log.last_seq() if cursor is None else cursor
            self._suspects = {one.path: one for one in store.incidents.suspects(repo.id)}
            for one in list(self._suspects.values()):
                self._take_up_again(one)
            self._judge.known_damage = store.incidents.known_damage(repo.id)
            if cursor is None:
                self._save()

    @property
    def busy(self) -> bool:
        """Whether something is under way that time alone will move on."""
        is_unsure = bool(self._doubts.waiting) or self._departures.waiting or self._git.waits
        return is_unsure or self._is_settling

    @property
    def _is_settling(self) -> bool:
        """Whether an incident goes on."""
        return any(not one.incident.settled for one in self._open.all)

    @property
    def is_clear(self) -> bool:
        """Whether an incident that goes on has evidence enough: no parser is needed to convict more of the same."""
        return any(one.incident.damaged > _CLEAR and not one.incident.settled for one in self._open.all)

    @property
    def can_wait(self) -> bool:
        """Whether what goes on is no news: an incident that is clear, or many files in a row in which nothing is wrong."""
        return self.is_clear or self._harmless >= _HARMLESS

    @property
    def incidents(self) -> list[tuple[Incident, list[Suspect]]]:
        """The open incidents with their members, oldest first."""
        return [(one.incident, list(one.members.values())) for one in self._open.all]

    def look(self) -> None:
        """Nothing is new: take note of what changes may need to be explained by."""
        self._judge.git.look()

    def rest(self) -> None:
        """Nothing has come for a while: let go of what can be had again."""
        self._facts.rest()

    # -- one round ----------------------------------------------------------------------------------------------

    def round(self, tell: Callable[[], None]) -> bool:
        """Judge the next versions in the log; False when there was none.

        `tell` is called whenever there may be news of incidents: each time that something was saved, and at the end.
        """
        now_ns = self._now_ns = self._wall_ns()
        if not self._is_settling and self._git.asks_to_wait():  # not while an incident grows
            return False
        waiting = self._waiting()
        self._sync(now_ns)
        versions = _burst_of(waiting)
        self._take(versions, tell)
        if versions:
            self.cursor = versions[-1].seq
        self.decide(versions[-1].time_ns if versions else now_ns)
        if not versions:
            self._harmless = 0
            self.look()
            self.settle(now_ns)
        if versions or self._touched or self._open.has_news:
            self._save()
        tell()
        return bool(versions)

    def _waiting(self) -> Sequence[Version]:
        """The next versions that can be judged."""
        found = self._store.log.next_versions(self.repo.id, self.cursor, _BATCH)
        self._runs.look(self.cursor)  # after the log: a run that made one of these has told of itself before
        return self._runs.judgeable(found)

    def replay_round(self) -> int | None:
        """Judge the next versions as of their own time; that time, or None at the end of the log."""
        versions = _burst_of(self._waiting())
        self._take(versions, lambda: None)
        if not versions:
            return None
        self.cursor = versions[-1].seq
        self.decide(versions[-1].time_ns)
        self._save()
        return versions[-1].time_ns

    def let_pass(self, since_ns: int) -> None:
        """In a replay: what time alone decides, up to the next version."""
        following = self._store.log.next_versions(self.repo.id, self.cursor, 1)
        last_ns = since_ns + _LONGEST_WAIT_NS
        self.decide(min(following[0].time_ns if following else last_ns, since_ns + _SECOND_NS))
        if not following:
            self.decide(last_ns)
        self.settle(following[0].time_ns if following else last_ns)
        self._save()

    def decide(self, now_ns: int) -> None:
        """Open an incident if what nothing explains makes one by now, or let the newest one grow."""
        self._expire(now_ns)
        self._judge_gone(now_ns)
        self._judge_ripe(now_ns)
        undecided = self._doubts.waiting | self._in_hand | self._to_come
        candidates = [one for path, one in self._suspects.items() if path not in undecided and path not in self._departures]
        for canary in (False, True):  # the canary's files are never part of what happens to people's, nor the other way round
            self._decide_on([one for one in candidates if is_canary(one.path) is canary], now_ns, canary=canary)

    def _decide_on(self, candidates: Sequence[Suspect], now_ns: int, *, canary: bool) -> None:
        newest = self._open.newest(now_ns, canary=canary)
        if newest is not None:
            reach_ns, last_ns = self._open.reach_ns(newest), newest.incident.last_ns
            joined = joining(candidates, self.limits, last_ns, reach_ns, settled=newest.incident.settled)
            if joined:
                self._leave(joined)
                self._open.join(newest, joined)
                return
        found = opening(candidates, self.limits, now_ns, self._is_protected)
        if found is not None:
            self._leave(found.members)
            self._open.open(found.members, self._now_ns or now_ns, slow=found.why == "slow")

    def _leave(self, members: Iterable[Suspect]) -> None:
        """They are suspects no more: an incident has them."""
        for member in members:
            self._suspects.pop(member.path, None)
            self._touched.add(member.path)

    def settle(self, now_ns: int) -> None:
        """No change has come for a while: think again of what the last ones may explain, and let incidents settle."""
        if self._doubts.waiting or self._departures.waiting:
            return
        self._doubts.think_again(self.cursor, now_ns, is_settling=self._is_settling)
        self._open.settle(now_ns)

    # -- judging ------------------------------------------------------------------------------------------------

    def _take(self, versions: Sequence[Version], tell: Callable[[], None]) -> None:
        batches = _without_repeats(versions)
        for at, batch in enumerate(batches, 1):
            cases = [case for version in batch if (case := self._case(version)) is not None]
            self._in_hand = {case.version.path for case in cases}
            self._to_come = {one.path for later in batches[at:] for one in later}
            self._judge_some(cases, tell)

    def _judge_some(self, cases: Sequence[Case], tell: Callable[[], None]) -> None:
        """Judge changes of different paths a few at a time, and see in between whether an incident is to be opened."""
        if len(cases) > 2:
            self._open.witness.look()
        left, told = list(cases), list[Case]()
        while left:
            few = self._few()
            now, left = left[:few], left[few:]
            self._judge.look(now)
            self._in_hand -= {case.version.path for case in now if case.is_innocent}
            now = [case for case in now if not case.is_innocent]
            convicted = [case for case in now if case.convicted]
            if len(convicted) >= self.limits.damaged:  # the lines tell: what parsers add to it can wait
                for case in convicted:
                    self._conclude(case)
                told += convicted
                now = [case for case in now if not case.convicted]
                self._decide_now(convicted, tell)
            self._look_closely(now)
            if left:
                self._decide_now(now, tell)
        self._look_closely([] if self.is_clear else told)

    def _few(self) -> int:
        """How many files are parsed between two looks at whether an incident is to be opened."""
        if self.is_clear:
            return _BATCH
        return _CLEAR if self._is_settling else min(_CLEAR, self.limits.damaged + 1)

    def _look_closely(self, cases: Sequence[Case]) -> None:
        if cases:
            self._judge.look_closely(cases)
        for case in cases:
            self._conclude(case)

    def _decide_now(self, cases: Sequence[Case], tell: Callable[[], None]) -> None:
        """See within a round, of which more is to be judged, whether an incident is to be opened."""
        if cases:
            self.decide(cases[-1].version.time_ns)
        if self._touched or self._open.has_news:
            self._save()
            tell()

    def _case(self, version: Version) -> Case | None:
        """The change that a version makes, if it is one to be judged."""
        path = version.path
        (self._judge.modules.add if version.state.present else self._judge.modules.remove)(path)
        if version.origin is Origin.BASELINE:
            return None
        inside = self._runs.of(version)
        if inside is Inside.UNDONE:
            return None
        before = self._healthy(version)
        if is_canary(path) and not (before and before.state.present and version.state.present):
            self._clear(path)  # planted, or taken away again: no place that code of others went to, and no deletion
            return None
        if before is None or not before.state.present or (version.state.present and _is_empty(before)):
            self._clear(path)  # an empty file that is filled is as good as new: there was nothing to lose, only lines can tell
            self._departures.unborn(path)
            if version.state.present and version.origin is not Origin.RESTORE:
                self._departures.came(version)  # new files are no damage; but they may be where others went
            elif not version.state.present:
                self._note_arrival_gone(version)
            if before is None or not before.state.present or not version.state.present:
                return None
        case = Case(version, before, was_empty=_is_empty(before))
        suspect = self._suspects.get(path)
        is_back = suspect is not None and suspect.before_seq and self._is_content_of(suspect.before_seq, version)
        if is_back or inside is Inside.KEPT or self._is_announced(version.time_ns) or self._judge.evidence(case):
            self._clear(path)
            return None
        if not version.state.present:
            self._suspect(case, ())
            return None
        return case

    def _note_arrival_gone(self, version: Version) -> None:
        """What a mass move brought here is gone again: where it went to now is part of the same damage."""
        arrived = self._open.member(version.path)
        there = self._store.log.version(arrived.after_seq) if arrived is not None and not arrived.before_seq else None
        if there is not None and there.state.present and version.origin is not Origin.RESTORE:
            self._departures.went(Suspect(version.path, 0, version.seq, version.time_ns, gone=True), there)

    def _is_content_of(self, seq: int, version: Version) -> bool:
        earlier = self._store.log.version(seq)
        return earlier is not None and version.state.present and earlier.state.blob == version.state.blob

    def _healthy(self, version: Version) -> Version | None:
        """The last version of the path before this one that was whole, as far as detection remembers."""
        known = self._open.member(version.path) or self._suspects.get(version.path)
        if known is not None and not known.returned and (known.damaged or known.gone):
            return self._store.log.version(known.before_seq) if known.before_seq else None
        return self._store.log.before(version.seq)

    def _conclude(self, case: Case) -> None:
        self._in_hand.discard(case.version.path)
        self._harmless = 0 if case.convicted else self._harmless + 1
        self._doubts.note_gained(case)
        if case.explained:
            self._clear(case.version.path)
        else:
            self._suspect(case, tuple(case.findings))

    def _suspect(self, case: Case, findings: tuple[Finding, ...]) -> None:
        path, version = case.version.path, case.version
        damaged = any(finding.damage for finding in findings)
        edit = case.change.edit if case.change else ""
        gone = not version.state.present
        if damaged:
            self._facts.keep((case.before.state.blob, version.state.blob))
        found = Suspect(path, case.before.seq, version.seq, version.time_ns, findings, edit, gone)
        self._doubts.forget(path)
        self._departures.forget(path)
        for one in self._open.all:
            if path in one.members and (damaged or gone):
                if gone:  # what was wrong with it stays true
                    found = found._replace(findings=one.members[path].findings)
                self._open.grow(one, found)
                return
            if path in one.members and one.members[path].damaged:
                self._open.put_right(path)
        earlier = self._suspects.get(path)
        if earlier is not None and not damaged:
            found = found._replace(before_seq=earlier.before_seq)
        self._suspects[path] = found
        self._touched.add(path)
        if gone:
            self._departures.went(found, case.before)
        else:
            self._doubts.take(case)

    def _clear(self, path: RepoPath) -> None:
        """The path is whole again, or what was done to it is explained."""
        if self._suspects.pop(path, None) is not None:
            self._touched.add(path)
        self._doubts.forget(path)
        self._departures.forget(path)
        self._open.put_right(path)

    def _acquit(self, case: Case) -> None:
        """What seemed damage was none: nothing is held against this content any more."""
        self._judge.known_damage.discard(case.version.state.blob)
        self._open.acquit(case.version.path)
        self._clear(case.version.path)

    # -- what time and later changes decide -------------------------------------------------------------------

    def _judge_ripe(self, now_ns: int) -> None:
        """Look again at what may have waited for git, or for other changes of the same burst."""
        for case in self._doubts.ripe(now_ns):
            path = case.version.path
            suspect = self._suspects[path]._replace(findings=tuple(case.findings))
            if suspect != self._suspects[path]:
                self._suspects[path] = suspect
                self._touched.add(path)

    def _is_watched(self, path: RepoPath) -> bool:
        return path in self._suspects or self._open.member(path) is not None

    def _judge_gone(self, now_ns: int) -> None:
        """Files that are gone: taken away by git, moved, or deleted."""
        departed = self._departures.judge(now_ns)
        for path in departed.explained:
            if self._suspects.pop(path, None) is not None:
                self._touched.add(path)
            self._open.put_right(path)
        for found in departed.damaged:
            self._suspects[found.path] = found
            self._touched.add(found.path)

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
                if one.path in self._departures:
                    continue  # not judged yet
                del self._suspects[one.path]
                self._doubts.forget(one.path)
                self._touched.add(one.path)
        since_ns = now_ns - self.limits.window_ns
        self._departures.expire(since_ns)
        self._doubts.expire(since_ns)

    def _is_announced(self, time_ns: int) -> bool:
        return any(from_ns <= time_ns < to_ns for from_ns, to_ns, _ in self._pauses)

    # -- the store ----------------------------------------------------------------------------------------------

    def _sync(self, now_ns: int) -> None:
        """Take over what others did: incidents closed or escalated, pauses announced, runs rolled back."""
        if not self._remember:
            return
        self._pauses = self._store.incidents.pauses(self.repo.id, now_ns - self.limits.slow_window_ns)
        known = {one.incident.id for one in self._open.all}
        from_runs, self._runs_incidents = self._runs_incidents, self._runs.incidents
        if self._open.sync() or self._runs_incidents - from_runs:
            self._judge.known_damage = self._store.incidents.known_damage(self.repo.id)
        for member in [member for one in self._open.all if one.incident.id not in known for member in one.members.values()]:
            self._take_up_again(member)

    def _take_up_again(self, one: Suspect) -> None:
        """What a detector before this one left: deletions to be counted or judged, findings that may be explained yet."""
        before = self._store.log.version(one.before_seq) if one.before_seq else None
        after = self._store.log.version(one.after_seq)
        if one.gone and (one.findings or before is None):
            self._departures.was_deleted([one])
        elif one.gone and before is not None:
            self._departures.went(one, before)
        elif before is not None and after is not None and not one.returned:
            self._doubts.take_up(Case(after, before, findings=list(one.findings)))

    def _save(self) -> None:
        """Write the round in one transaction: cursor, suspects, incidents."""
        if not self._remember:
            self._open.save(self._now_ns)
            self._facts.forget_new()
            self._touched = set()
            return
        with self._store.db.transaction():
            self._facts.flush()
            fresh = self._open.touched
            for one in self._open.save(self._now_ns):
                self._suspects[one.path] = one
                self._touched.add(one.path)
            left = [self._suspects[path] for path in self._touched if path in self._suspects]
            self._store.incidents.put_suspects(self.repo.id, left, [path for path in self._touched if path not in self._suspects])
            self._store.incidents.move_cursor(self.repo.id, self.cursor)
        self._touched = set()
        self._note_damage(fresh)

    def _note_damage(self, members: Iterable[Suspect]) -> None:
        """What is damage in an incident is never excused later as something that git has, or that was there before."""
        for member in members:
            version = self._store.log.version(member.after_seq) if member.damaged and not member.gone else None
            if version is not None:
                self._judge.known_damage.add(version.state.blob)


def _is_empty(version: Version) -> bool:
    return version.state.kind is Kind.FILE and not version.state.size


def _burst_of(versions: Sequence[Version]) -> Sequence[Version]:
    """The first of these versions, and those within a second after it: an incident is dated by its own changes."""
    end = next((at for at, one in enumerate(versions) if one.time_ns > versions[0].time_ns + _SECOND_NS), len(versions))
    return versions[:end]


def _without_repeats(versions: Sequence[Version]) -> list[list[Version]]:
    """The versions in runs in which no path comes twice: each is judged on top of the one before it."""
    batches: list[dict[RepoPath, Version]] = [{}]
    for version in versions:
        if version.path in batches[-1]:
            batches.append({})
        batches[-1][version.path] = version
    return [list(batch.values()) for batch in batches]
