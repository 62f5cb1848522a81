"""The incidents of one repo that are open: how they take members in, settle, and are closed."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

from guardd.detection.actors import Witness
from guardd.detection.bursts import Limits, verdict
from guardd.detection.rules.same_edit import shared_edit
from guardd.model import Actor, Incident, IncidentState, RepoPath, Severity, Suspect
from guardd.selection import is_canary
from guardd.store.repos import Repo
from guardd.store.store import Store

_AGAIN_NS = 600_000_000_000
"""Damage that comes back so soon after guard has restored it is the same incident's next round."""

_SECOND_THOUGHTS = 5
"""Damage that later changes may explain (an import of what is still to be written) settles only after so many times the
settle time, ten seconds by default, and is no more than a warning until then: people rename file by file."""


@dataclass
class Growing:
    """An open incident, its members by path, and what is not written yet (`was`: its state in the store)."""

    incident: Incident
    members: dict[RepoPath, Suspect] = field(default_factory=dict)
    touched: set[RepoPath] = field(default_factory=set)
    was: IncidentState = IncidentState.OPEN
    changed: bool = False

    @property
    def is_canary(self) -> bool:
        """Whether it is the canary's: all of its members are, or none."""
        return is_canary(next(iter(self.members), ""))

    @property
    def wrong(self) -> list[Suspect]:
        """The damaged members that were not put right; without any damage, all members that were not."""
        members = list(self.members.values())
        damaged = [one for one in members if one.damaged]
        return [one for one in damaged or members if not one.returned]


class OpenIncidents:
    """Used by one detector. Without `remember` the store's incidents are neither read nor written."""

    def __init__(
        self, store: Store, repo: Repo, limits: Limits, is_protected: Callable[[RepoPath], bool], *, remember: bool
    ) -> None:
        self._store = store
        self._repo = repo
        self._limits = limits
        self._is_protected = is_protected
        self._remember = remember
        self._all: list[Growing] = []
        self.witness = Witness(repo.path)
        self.unsure: Container[RepoPath] = ()

    @property
    def all(self) -> Sequence[Growing]:
        """The open incidents, oldest first."""
        return self._all

    def member(self, path: RepoPath) -> Suspect | None:
        """What the newest open incident that has this path knows of it."""
        return next((one.members[path] for one in reversed(self._all) if path in one.members), None)

    def newest(self, now_ns: int, *, canary: bool) -> Growing | None:
        """The incident that what comes now to the canary's files, or to people's, may belong to."""
        reachable = (one for one in reversed(self._all) if now_ns <= one.incident.last_ns + self.reach_ns(one))
        return next((one for one in reachable if one.is_canary is canary), None)

    def reach_ns(self, one: Growing) -> int:
        """How long after its last change more damage still belongs to an incident."""
        return self._limits.slow_window_ns if one.incident.slow else self._limits.window_ns

    @property
    def touched(self) -> list[Suspect]:
        """The members with news that are not saved yet."""
        return [one.members[path] for one in self._all for path in one.touched]

    # -- growing ------------------------------------------------------------------------------------------------

    def open(self, members: Sequence[Suspect], now_ns: int, *, slow: bool) -> None:
        """Open an incident with these members, or the last one anew if they are its next round."""
        last = self._store.incidents.last(self._repo.id) if self._remember else None
        if last is not None and self._is_next_round(last, members, now_ns):
            known = {one.path: one._replace(returned=True) for one in self._store.incidents.members(last.id)}
            one = Growing(last._replace(state=IncidentState.OPEN, closed_ns=None, settled=False), known, was=last.state)
        else:
            first_seq = min(self._first_seq(member) for member in members)
            opened = Incident(
                0, self._repo.id, IncidentState.OPEN, Severity.WARNING, now_ns, None, first_seq, 0, (), 0, 0, "", slow=slow
            )
            one = Growing(opened)
        self._all.append(one)
        self.join(one, members)

    def join(self, one: Growing, members: Iterable[Suspect]) -> None:
        """Take members in. What was damaged and put right is not turned into a mere change by an edit after that."""
        for member in members:
            known = one.members.get(member.path)
            if known is None or not known.damaged or member.damaged:
                self.grow(one, member)

    def grow(self, one: Growing, member: Suspect) -> None:
        """Take one member in, or what has become of it."""
        one.members[member.path] = member
        one.touched.add(member.path)
        one.changed = True
        one.incident = one.incident._replace(last_ns=max(one.incident.last_ns, member.time_ns), settled=False)

    def put_right(self, path: RepoPath) -> None:
        """The path is whole again."""
        for one in self._all:
            member = one.members.get(path)
            if member is not None and not member.returned:
                one.members[path] = member._replace(returned=True)
                one.touched.add(path)
                one.changed = True

    def acquit(self, path: RepoPath) -> None:
        """There was no damage in it after all."""
        for one in self._all:
            member = one.members.get(path)
            if member is not None and member.damaged:
                left = tuple(finding for finding in member.findings if not finding.damage)
                one.members[path] = member._replace(findings=left, returned=True)
                one.touched.add(path)
                one.changed = True

    def settle(self, now_ns: int) -> None:
        """No change has come for a while: incidents that stopped growing have their final count."""
        for one in self._all:
            patience = self._limits.settle_ns * (_SECOND_THOUGHTS if self._is_unsure(one) else 1)
            if one.wrong and not one.incident.settled and now_ns > one.incident.last_ns + patience:
                self._take_alike(one)
                one.incident = one.incident._replace(settled=True)
                one.changed = True

    def _take_alike(self, one: Growing) -> None:
        """Members with the very edit that is damage in most others are damaged too, small as they may be."""
        for member, finding in shared_edit(list(one.members.values())):
            one.members[member.path] = member._replace(findings=(*member.findings, finding))
            one.touched.add(member.path)

    def _is_unsure(self, one: Growing) -> bool:
        damaged = [member for member in one.wrong if member.damaged]
        return bool(damaged) and all(member.path in self.unsure for member in damaged)

    def _is_next_round(self, last: Incident, members: Sequence[Suspect], now_ns: int) -> bool:
        if last.state is not IncidentState.RESTORED or not last.rounds or (last.closed_ns or 0) < now_ns - _AGAIN_NS:
            return False
        known = {one.path for one in self._store.incidents.members(last.id)}
        return any(one.path in known for one in members)

    def _first_seq(self, member: Suspect) -> int:
        if not member.before_seq:  # it came with the incident, whatever the path was before
            return member.after_seq
        found = self._store.log.versions_of(self._repo.id, member.path, member.before_seq, member.after_seq)
        return min((version.seq for version in found), default=member.after_seq)

    def _weighed(self, one: Growing, now_ns: int) -> Incident:
        """The incident with what its members amount to; closed where all that was wrong has been put right."""
        members = [member for member in one.members.values() if one.incident.rounds == 0 or not member.returned]
        found = verdict(
            members or list(one.members.values()), self._store.repos.files(self._repo.id), self._limits, self._is_protected
        )
        severity = found.severity
        if self._is_unsure(one) and not one.incident.settled:
            severity = Severity.WARNING
        incident = one.incident._replace(severity=severity, rules=found.rules, files=found.files, damaged=found.damaged,
                           summary=found.summary)  # fmt: skip
        if not one.wrong:
            if not one.incident.settled and one.incident.severity is Severity.WARNING:
                incident = incident._replace(severity=Severity.INFO)  # explained before anyone had to act
            is_damaged = any(member.damaged for member in one.members.values())
            note = "every damaged file was put right" if is_damaged else "later changes explain it"
            return incident._replace(state=IncidentState.RESTORED, closed_ns=now_ns, settled=True, note=note)
        if incident.actor.pid is None:
            begun_s = max(0, now_ns - min(member.time_ns for member in one.members.values())) / 1_000_000_000
            incident = incident._replace(actor=self.witness.actor(begun_s) if self._remember else Actor())
        return incident

    # -- the store ----------------------------------------------------------------------------------------------

    def sync(self) -> bool:
        """Take over what others did: incidents closed, escalated, restored. Whether any was closed."""
        stored = {incident.id: incident for incident in self._store.incidents.open(self._repo.id)}
        left = [one for one in self._all if one.incident.id in stored]
        was_closed = len(left) < len(self._all)
        self._all = left
        for one in self._all:
            there = stored[one.incident.id]
            one.incident = one.incident._replace(state=there.state, rounds=there.rounds, note=there.note)
            one.was = there.state
        known = {one.incident.id for one in self._all}
        for incident in stored.values():
            if incident.id not in known:
                members = {member.path: member for member in self._store.incidents.members(incident.id)}
                self._all.append(Growing(incident, members, was=incident.state))
        return was_closed

    def save(self, now_ns: int) -> list[Suspect]:
        """Write what has become of the incidents, inside a transaction.

        Returns the damaged members that an incident took in after someone had closed it: they belong to none.
        """
        homeless: list[Suspect] = []
        for one in [one for one in self._all if one.changed]:
            one.incident = self._weighed(one, now_ns or one.incident.last_ns)
            one.changed = False
            if not self._remember:
                continue
            if not one.incident.id:
                one.incident = one.incident._replace(id=self._store.incidents.add(one.incident))
            elif not self._store.incidents.grow(one.incident, one.was):
                homeless += [one.members[path] for path in one.touched if one.members[path] in one.wrong]
                one.touched = set()
                continue
            self._store.incidents.put_members(one.incident, [one.members[path] for path in one.touched])
            one.was = one.incident.state
            one.touched = set()
        if self._remember:
            self._all = [one for one in self._all if one.incident.state.is_open]
        return homeless

    @property
    def has_news(self) -> bool:
        """Whether there is something to be saved."""
        return any(one.changed for one in self._all)
