"""Auto-restore: damaged members of a settled incident go back to what they were; bounded, verified, recorded."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from guardd import descriptors
from guardd.beneath import Root
from guardd.model import Incident, IncidentState, RepoPath, Suspect
from guardd.recovery.plan import Action, Plan, Verdict
from guardd.recovery.planning import plan_incident, plan_resume
from guardd.recovery.report import Report
from guardd.recovery.restore import carry_out, let_be
from guardd.recovery.sources import git_operation
from guardd.recovery.verify import Verified, verify
from guardd.selection import is_canary, matcher
from guardd.store.repos import Repo
from guardd.store.restores import Restore
from guardd.store.store import Store

_COMMAND = "auto-restore of incident"
"""What the log calls restores of this module, with the incident's number."""


class Policy(NamedTuple):
    """What may be restored by itself ("off", "protected", "all"), how often, and how it is verified."""

    auto_restore: str
    max_rounds: int
    protected: tuple[str, ...]
    markers: tuple[str, ...]
    commands: tuple[str, ...]
    verify_timeout_s: float


def respond(
    store: Store, repo: Repo, incident: Incident, policy: Policy, now_ns: int, on_obstacle: Callable[[str], None] = lambda _: None
) -> Report | None:
    """Answer a settled incident as the policy says; the report of the restore, or None where there was none.

    Only what is still as the damage left it is put back: edits made since are people's. After `max_rounds` restores of the
    same files, or in the middle of a git operation, the incident is left to people. During a pause or a run nothing is restored.
    `on_obstacle` hears what keeps it from a restore that it will carry out as soon as that is gone.
    """
    if incident.state is not IncidentState.OPEN or not incident.settled:
        return None
    if _is_held_back(store, repo, now_ns):
        return None
    chosen = _chosen(store.incidents.members(incident.id), policy)
    if not chosen:
        return None
    if incident.rounds >= policy.max_rounds:
        note = f"restored {incident.rounds} times, and damaged again: something goes on writing"
        store.incidents.escalate(incident.id, now_ns, note)
        return None
    operation = git_operation(repo.path)
    if operation:
        store.incidents.note(incident.id, f"not restored by itself: a git {operation} is under way")
        return None
    wrong = sum(1 for one in store.incidents.members(incident.id) if one.damaged and not one.returned)
    plan = _untouched_only(plan_incident(store, repo.id, chosen))
    if not plan.work:  # it is as it was, which detection will see; or people edited it
        if edited := len(plan.of(Action.SKIP)):
            store.incidents.note(incident.id, f"not restored by itself: {edited} edited since the damage; restore by hand")
        return None
    obstacle = _obstacle(repo.path, plan)
    if obstacle:
        store.incidents.note(incident.id, f"not restored by itself so far: {obstacle}")
        on_obstacle(f"incident {incident.id}: {obstacle}")
        return None
    store.incidents.begin_round(incident.id)
    report, verified = _carry_out(store, repo, plan, incident, policy)
    note = _told(report, verified)
    left = len(report.failed) + len(report.skipped) + len(verified.wrong)
    if left or len(chosen) < wrong or not store.incidents.close(incident.id, IncidentState.RESTORED, now_ns, note):
        store.incidents.note(incident.id, note)
    return report


def cut_short(store: Store, repo: Repo) -> list[Restore]:
    """The restores of `respond` that a crash cut short, newest first."""
    return [one for one in reversed(store.restores.unfinished(repo.id)) if one.command.startswith(_COMMAND)]


def complete(
    store: Store, repo: Repo, waiting: Sequence[Restore], policy: Policy, now_ns: int,
    on_obstacle: Callable[[str], None] = lambda _: None,
) -> Report | None:  # fmt: skip
    """Complete the newest of these restores that were cut short and that no incident asks for any more; None: there was none.

    One whose incident a person approved or dismissed ends as it is. One of an escalated incident is left to people, and so is
    one of which every file that it had not come to was edited since, or is not restored by this policy. `on_obstacle`: as for
    `respond`.
    """
    if _is_held_back(store, repo, now_ns) or git_operation(repo.path):
        return None
    for restore in waiting:
        incident = store.incidents.get(int(restore.command.removeprefix(_COMMAND)))
        if incident is None or incident.state in (IncidentState.APPROVED, IncidentState.DISMISSED):
            let_be(store, repo, restore)
            if incident is not None:
                _note_as_it_is(store, incident, restore)
        elif incident.state is not IncidentState.ESCALATED:
            plan = _within(_untouched_only(plan_resume(store, restore)), policy)
            if plan.of(Action.SKIP) and not plan.work:
                continue
            if obstacle := _obstacle(repo.path, plan):
                on_obstacle(f"restore {restore.id}: {obstacle}")
                continue
            report, verified = _carry_out(store, repo, plan, incident, policy)
            if report.restore_id is not None:
                store.incidents.note(incident.id, f"completed after it was cut short: {_told(report, verified)}")
            return report
    return None


def _carry_out(store: Store, repo: Repo, plan: Plan, incident: Incident, policy: Policy) -> tuple[Report, Verified]:
    report = carry_out(store, repo, plan, f"{_COMMAND} {incident.id}")
    is_canarys = any(is_canary(item.path) for item in plan.items)
    commands = () if is_canarys else policy.commands  # nobody's tests say anything of the canary's files
    with Root(repo.path) as root:
        verified = verify(
            store, root, report.written, policy.markers, commands, repo.rules.max_file_size, policy.verify_timeout_s
        )
    return report, verified


def _note_as_it_is(store: Store, incident: Incident, restore: Restore) -> None:
    ended = f"auto-restore {restore.id} had been cut short: 'guardctl undo {restore.id}' takes back what it wrote"
    store.incidents.note(incident.id, f"{incident.note}; {ended}" if incident.note else ended)


def _is_held_back(store: Store, repo: Repo, now_ns: int) -> bool:
    return store.incidents.pause_at(repo.id, now_ns) is not None or store.runs.alive(repo.id) is not None


def _obstacle(root: str, plan: Plan) -> str | None:
    """What keeps what is to be written from being taken: to try would cost a round, and versions in the log."""
    if descriptors.are_few():
        return descriptors.lack().message
    disk = os.statvfs(root)
    if disk.f_flag & os.ST_RDONLY:
        return f"the file system of {root} is read-only; remount it writable"
    if disk.f_blocks == 0 or disk.f_frsize == 0:  # a file system that does not say
        return None
    blocks = sum(1 + item.target.size // disk.f_frsize for item in plan.of(Action.WRITE))
    if disk.f_bavail < blocks:
        return f"the disk of {root} is full; free {blocks * disk.f_frsize:,} bytes"
    return None


def _chosen(members: Sequence[Suspect], policy: Policy) -> list[Suspect]:
    is_answered = _is_answered(policy)
    return [one for one in members if one.damaged and not one.returned and is_answered(one.path)]


def _is_answered(policy: Policy) -> Callable[[RepoPath], bool]:
    """Which files the policy lets guard restore by itself."""
    if policy.auto_restore == "all":
        return lambda path: True
    return matcher(policy.protected if policy.auto_restore == "protected" else ())


def _within(plan: Plan, policy: Policy) -> Plan:
    is_answered = _is_answered(policy)
    return Plan(
        tuple(
            item
            if item.action not in (Action.WRITE, Action.REMOVE) or is_answered(item.path)
            else item._replace(action=Action.SKIP, reason="not restored by itself by now; restore it by hand")
            for item in plan.items
        )
    )


def _untouched_only(plan: Plan) -> Plan:
    return Plan(
        tuple(
            item._replace(action=Action.SKIP, reason="edited since the damage; restore it by hand")
            if item.action in (Action.WRITE, Action.REMOVE) and item.verdict is not Verdict.UNCHANGED
            else item
            for item in plan.items
        )
    )


def _told(report: Report, verified: Verified) -> str:
    parts = [
        f"guard restored {len(report.restored)} and removed {len(report.removed)} in {report.seconds:.1f} s, "
        f"take it back with 'guardctl undo {report.restore_id}'"
    ]
    if report.skipped or report.failed:
        parts.append(f"{len(report.skipped)} skipped, {len(report.failed)} failed")
    if verified.wrong:
        parts.append(f"{len(verified.wrong)} changed again")
    parts += [f"verify: {one.command}: {'passed' if not one.exit else f'exit {one.exit}'}" for one in verified.commands]
    return "; ".join(parts)
