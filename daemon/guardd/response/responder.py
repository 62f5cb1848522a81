"""Auto-restore: damaged members of a settled incident go back to what they were; bounded, verified, recorded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardd.beneath import Root
from guardd.model import Incident, IncidentState, Suspect
from guardd.recovery.plan import Action, Plan, Verdict
from guardd.recovery.restore import Report, carry_out, plan_incident, plan_resume
from guardd.recovery.sources import git_operation
from guardd.recovery.verify import Verified, verify
from guardd.selection import is_canary, matcher
from guardd.store.repos import Repo
from guardd.store.store import Store

_COMMAND = "auto-restore of incident"
"""What the log calls restores of this module, with the incident's number."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be restored by itself ("off", "protected", "all"), how often, and how it is verified."""

    auto_restore: str
    max_rounds: int
    protected: tuple[str, ...]
    markers: tuple[str, ...]
    commands: tuple[str, ...]
    verify_timeout_s: float


def respond(store: Store, repo: Repo, incident: Incident, policy: Policy, now_ns: int) -> Report | None:
    """Answer a settled incident as the policy says; the report of the restore, or None where there was none.

    Only what is still as the damage left it is put back: edits made since are people's. After `max_rounds` restores of the
    same files, or in the middle of a git operation, the incident is left to people. During a pause or a run nothing is restored.
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
    obstacle = _obstacle(repo.path, plan)
    if obstacle:
        store.incidents.note(incident.id, f"not restored by itself so far: {obstacle}")
        return None
    store.incidents.begin_round(incident.id)
    report = carry_out(store, repo, plan, f"{_COMMAND} {incident.id}")
    commands = () if is_canary(chosen[0].path) else policy.commands  # nobody's tests say anything of the canary's files
    with Root(repo.path) as root:
        verified = verify(
            store, root, report.written, policy.markers, commands, repo.rules.max_file_size, policy.verify_timeout_s
        )
    note = _told(report, verified)
    left = len(report.failed) + len(report.skipped) + len(verified.wrong)
    if left or len(chosen) < wrong or not store.incidents.close(incident.id, IncidentState.RESTORED, now_ns, note):
        store.incidents.note(incident.id, note)
    return report


def complete(store: Store, repo: Repo, now_ns: int) -> Report | None:
    """Complete a restore of `respond` that a crash cut short and that no incident asks for any more; None: there was none.

    Where every file that it had not come to was edited since, it is left to people.
    """
    cut_short = [one for one in store.restores.unfinished(repo.id) if one.command.startswith(_COMMAND)]
    if not cut_short or _is_held_back(store, repo, now_ns) or git_operation(repo.path):
        return None
    plan = _untouched_only(plan_resume(store, cut_short[-1]))
    if (plan.of(Action.SKIP) and not plan.work) or _obstacle(repo.path, plan):
        return None
    return carry_out(store, repo, plan, cut_short[-1].command)


def _is_held_back(store: Store, repo: Repo, now_ns: int) -> bool:
    return store.incidents.pause_at(repo.id, now_ns) is not None or store.runs.alive(repo.id) is not None


def _obstacle(root: str, plan: Plan) -> str | None:
    """What keeps the repo's disk from taking what is to be written: to try would cost a round, and versions in the log."""
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
    damaged = [one for one in members if one.damaged and not one.returned]
    if policy.auto_restore == "all":
        return damaged
    is_protected = matcher(policy.protected if policy.auto_restore == "protected" else ())
    return [one for one in damaged if is_protected(one.path)]


def _untouched_only(plan: Plan) -> Plan:
    return Plan(
        tuple(
            replace(item, action=Action.SKIP, reason="edited since the damage; restore it by hand")
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
