"""From an alert in the store to the message that people read, composed when it is sent: it tells how things stand by then."""

import os
import socket
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from guardd.alerting.message import TOP_FILES, Message, Subject, clipped, harmless
from guardd.alerting.protection import UNGUARDED
from guardd.model import Alert, Certainty, Delivery, Incident, IncidentState, Severity, Stage, Suspect
from guardd.recovery.patches import patch_of_versions
from guardd.store.store import Store

_HUNK_LINES = 14
_LINE_LENGTH = 160


def compose(store: Store, delivery: Delivery, *, redact: bool) -> Message:
    """The message of a delivery. With `redact` it holds no line of code."""
    alert = delivery.alert
    if alert.stage is Stage.TEST:
        return test_message(alert.time_ns)
    incident = store.incidents.get(alert.incident_id) if alert.incident_id is not None else None
    if incident is not None:
        return _about_incident(store, delivery, incident, redact=redact)
    key = f"{host()}-{delivery.dedup_key}"
    repo = _root(store, alert.repo_id)
    title, facts, commands = _about_protection(alert, delivery.stage, repo)
    return Message(
        key, f"{host()}-{alert.thread}", delivery.stage, alert.severity, title, host(), alert.time_ns, harmless(repo),
        facts=(*facts, ("Host", host())), commands=commands,
    )  # fmt: skip


def test_message(now_ns: int) -> Message:
    """A message that shows that a target works."""
    thread = f"{host()}-test-{now_ns}"
    facts = (("Host", host()), ("Time", _local(now_ns)))
    title = f"guardd test message from {host()}: alerts arrive here"
    return Message(f"{thread}-test", thread, Stage.TEST, Severity.INFO, title, host(), now_ns, facts=facts,
                   commands=("guardctl status",))  # fmt: skip


def host() -> str:
    """The name of this machine, for people who get messages from many."""
    return harmless(socket.gethostname(), 80) or "localhost"


# -- incidents ------------------------------------------------------------------------------------------------------


def _about_incident(store: Store, delivery: Delivery, incident: Incident, *, redact: bool) -> Message:
    members = store.incidents.members(incident.id)
    damaged = [one for one in members if one.damaged]
    in_repo = store.repos.files(incident.repo_id)
    root = _root(store, incident.repo_id)
    rules = Counter(finding.rule for one in members for finding in one.findings if finding.damage).most_common()
    actor = incident.actor
    about = Subject(
        incident.id, incident.state, incident.files, incident.damaged, in_repo,
        tuple(rules), actor.certainty, actor.pid, harmless(actor.command) if actor.command else None,
        harmless(incident.note, 500), incident.opened_ns, incident.settled,
    )  # fmt: skip
    shown = [*damaged, *(one for one in members if not one.damaged)][:TOP_FILES]
    is_over = delivery.stage is Stage.RESOLVED
    hunk = () if redact or is_over else _hunk(store, damaged or members)
    severity = delivery.alert.severity if is_over else incident.severity
    title = _title(delivery.stage, incident, severity, in_repo, os.path.basename(root) or root)
    return Message(
        f"{host()}-{delivery.dedup_key}", f"{host()}-{delivery.alert.thread}", delivery.stage, severity, title, host(),
        delivery.alert.time_ns, harmless(root), about, _facts(about, incident, root), tuple(harmless(one.path) for one in shown),
        hunk, _commands(incident, is_open=incident.state.is_open),
    )  # fmt: skip


def _title(stage: Stage, incident: Incident, severity: Severity, in_repo: int, name: str) -> str:
    where = f"in {harmless(name, 80)} on {host()}"
    if stage is Stage.RESOLVED:
        ended = {
            IncidentState.RESTORED: "put right", IncidentState.APPROVED: "approved as wanted",
            IncidentState.DISMISSED: "dismissed as a false alarm",
        }  # fmt: skip
        return f"Resolved: incident {incident.id} {where}: {ended.get(incident.state, 'damaged again since')}"
    what = (
        f"{incident.damaged:,} of {in_repo:,} files damaged" if incident.damaged else f"{incident.files:,} files changed at once"
    )
    grown = ", no more for now" if incident.settled else ", and growing"
    again = {Stage.UPDATED: grown, Stage.ESCALATED: ", guard leaves it to you", Stage.REPEATED: ", still open"}.get(stage, "")
    if incident.rounds and stage is Stage.OPENED:
        again = ", again after guard had restored them"
    return f"{severity.upper()}: {what} {where}{again}"


def _facts(about: Subject, incident: Incident, root: str) -> tuple[tuple[str, str], ...]:
    growing = "" if about.settled or not incident.state.is_open else ", still growing"
    rules = ", ".join(f"{rule} ({count:,})" for rule, count in about.rules) or "none: a bulk change that nothing explains"
    facts = [
        ("Repo", harmless(root)),
        ("Host", host()),
        ("Files", f"{about.damaged:,} damaged of {about.files:,} changed, {about.files_in_repo:,} in the repo"),
        ("Rules", rules),
        ("Who", _who(about)),
        ("Since", _local(about.opened_ns)),
        ("State", f"incident {about.id} is {about.state}{growing}"),
    ]
    kept = "every file's content from before is stored; nothing was put back so far" if incident.state.is_open else ""
    did = about.note or kept
    return (*facts, ("Guard", did)) if did else tuple(facts)


def _who(about: Subject) -> str:
    if about.certainty == Certainty.UNKNOWN or about.command is None:
        return "unknown: no process was seen writing"
    return f"{about.certainty}: pid {about.pid}, {about.command}"


def _commands(incident: Incident, *, is_open: bool) -> tuple[str, ...]:
    shown = f"guardctl incidents show {incident.id}"
    return (shown, f"guardctl restore --incident {incident.id}") if is_open else (shown,)


def _hunk(store: Store, members: Sequence[Suspect]) -> tuple[str, ...]:
    """The beginning of the first member's diff."""
    for member in members[:1]:
        before = store.log.version(member.before_seq) if member.before_seq else None
        after = store.log.version(member.after_seq)
        lines = patch_of_versions(store, member.path, before, after).shown
        shown = [clipped(line.replace("\t", "    "), _LINE_LENGTH) for line in lines[:_HUNK_LINES]]
        return (*shown, f"... {len(lines) - _HUNK_LINES:,} more lines") if len(lines) > _HUNK_LINES else tuple(shown)
    return ()


# -- protection -----------------------------------------------------------------------------------------------------


def _about_protection(alert: Alert, stage: Stage, repo: str) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]:
    kind, _, rest = alert.thread.partition("-")
    is_over = stage is Stage.RESOLVED
    facts = [("Repo", harmless(repo))] if repo else []
    if kind == "target":
        name = rest.rpartition("-")[0]
        title = f"The alert target {name} works again" if is_over else f"The alert target {name} takes no message"
        return (
            f"{title}, says guardd on {host()}",
            (*facts, *_reasons(alert)),
            ("guardctl alerts list", f"guardctl alerts test {name}"),
        )
    what = (harmless(os.path.basename(repo), 80) or repo) if repo else "guardd"
    if alert.detail == UNGUARDED:
        return f"Resolved: {what} on {host()} is not guarded any more", tuple(facts), ("guardctl status",)
    if is_over:
        return f"Resolved: {what} on {host()} is protected again", tuple(facts), ("guardctl status",)
    if alert.detail.startswith("restarted:"):
        title = f"guardd on {host()} had crashed, and was started again"
    else:
        title = f"{alert.severity.upper()}: {what} on {host()} is not fully protected"
    return title, (*facts, *_reasons(alert)), ("guardctl status", "guardctl doctor")


def _reasons(alert: Alert) -> list[tuple[str, str]]:
    return [("Reason", harmless(line)) for line in alert.detail.splitlines()[:TOP_FILES]]


def _root(store: Store, repo_id: int | None) -> str:
    return next((repo.path for repo in store.repos.all() if repo.id == repo_id), "")


def _local(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
