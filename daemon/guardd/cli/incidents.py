"""guardctl incidents: list, show, approve, dismiss."""

from collections import Counter
from collections.abc import Iterator, Sequence

import click

from guardd.cli import completing
from guardd.cli.alerts import alert_document, alert_state
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.naming import choose_incident
from guardd.cli.output import emit, files, iso, page, say, when
from guardd.cli.ran import run_document, run_line
from guardd.detection.actors import is_running
from guardd.errors import Exit, UsageError
from guardd.escaping import printable
from guardd.model import Certainty, Incident, IncidentState, Severity, Suspect
from guardd.recovery.patches import patch_of_versions

_COLORS = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.HIGH: "red", Severity.CRITICAL: "red"}
_SHOWN = 10
_EXAMPLES = 2
_EXAMPLE_LINES = 14


@click.group(name="incidents", invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """What was recognised as damage: list (the default), show, approve, dismiss."""
    return int(ctx.invoke(list_)) if ctx.invoked_subcommand is None else Exit.DONE


@command.command("list")
@common_options
@pass_context
def list_(context: Context) -> int:
    """The incidents, newest first: of the repo named with --repo, else of all."""
    repo_id = context.repo.id if context.repo_option is not None else None
    found = context.store.incidents.all(repo_id)
    if context.json:
        emit(context, [document(context, one) for one in found])
        return Exit.DONE
    if not found:
        say(context, "no incident so far")
    for one in found:
        say(context, f"{one.id:>5}  {when(one.opened_ns)}  {_state(one)}  {printable(_root(context, one))}")
        say(context, f"       {printable(one.summary)}")
    return Exit.DONE


@command.command()
@click.argument("id_", metavar="ID|last", shell_complete=completing.incidents)
@common_options
@pass_context
def show(context: Context, id_: str) -> int:
    """One incident: what happened, since when, which files and rules, who, and what to type."""
    incident = choose_incident(context, id_, any_repo=True)
    members = context.store.incidents.members(incident.id)
    if context.json:
        told = [alert_document(one) for one in context.store.outbox.of_incident(incident.id)]
        run = context.store.runs.of_incident(incident.id)
        by_run = {"run": run_document(run)} if run is not None else {}
        emit(context, {**document(context, incident), "members": [_member(one) for one in members], "alerts": told, **by_run})
    else:
        page(context, _lines(context, incident, members))
    return Exit.DONE


@command.command()
@click.argument("id_", metavar="ID|last", shell_complete=completing.incidents)
@click.option("--reason", default="", help="Why, for the record.")
@common_options
@pass_context
def approve(context: Context, id_: str, reason: str) -> int:
    """Accept the change as wanted: it stays, and the incident is closed."""
    return _close(context, id_, IncidentState.APPROVED, reason)


@command.command()
@click.argument("id_", metavar="ID|last", shell_complete=completing.incidents)
@click.option("--reason", required=True, help="What made it a false alarm, for the record.")
@common_options
@pass_context
def dismiss(context: Context, id_: str, reason: str) -> int:
    """Close an incident as a false alarm. No threshold is lowered: 'guardctl replay' shows what others would have said."""
    if not reason.strip():
        raise UsageError("--reason must not be empty: say what made it a false alarm")
    return _close(context, id_, IncidentState.DISMISSED, reason)


def document(context: Context, one: Incident) -> dict[str, object]:
    """The promised JSON of an incident."""
    return {
        "id": one.id,
        "repo": _root(context, one),
        "state": one.state,
        "severity": one.severity,
        "opened_at": iso(one.opened_ns),
        "closed_at": iso(one.closed_ns) if one.closed_ns else None,
        "rules": list(one.rules),
        "files": one.files,
        "damaged": one.damaged,
        "summary": one.summary,
        "actor": {"certainty": one.actor.certainty, "pid": one.actor.pid, "command": one.actor.command},
        "settled": one.settled,
        "rounds": one.rounds,
        "note": one.note,
    }


def _member(one: Suspect) -> dict[str, object]:
    findings = [{"rule": finding.rule, "message": finding.message, "line": finding.line or None} for finding in one.findings]
    return {"path": one.path, "damaged": one.damaged, "returned": one.returned, "findings": findings}


def _close(context: Context, id_: str, state: IncidentState, reason: str) -> int:
    incident = choose_incident(context, id_, any_repo=True)
    if not context.store.incidents.close(incident.id, state, context.now.wall_ns, reason):
        raise UsageError(f"incident {incident.id} is {incident.state} already")
    if context.json:
        closed = context.store.incidents.get(incident.id)
        emit(context, document(context, closed or incident))
    say(context, f"incident {incident.id} is {state}; its {files(incident.files)} stay as they are", fg="green")
    return Exit.DONE


def _lines(context: Context, one: Incident, members: Sequence[Suspect]) -> Iterator[str]:
    damaged = [member for member in members if member.damaged]
    yield click.style(f"incident {one.id}: {printable(one.summary)}", bold=True)
    yield f"  repo      {printable(_root(context, one))}"
    yield f"  state     {_state(one)}{f', closed {when(one.closed_ns)}' if one.closed_ns else ''}"
    first = context.store.log.version(one.first_seq)
    yield f"  since     {when(first.time_ns if first else one.opened_ns)}, last change {when(one.last_ns)}"
    yield f"  who       {_who(one)}"
    if one.note:
        yield f"  note      {printable(one.note)}"
    run = context.store.runs.of_incident(one.id)
    if run is not None:
        yield f"  run       {run_line(run)}"
    rules = Counter(finding.rule for member in members for finding in member.findings)
    if rules:
        yield f"  rules     {', '.join(f'{rule} ({count:,})' for rule, count in rules.most_common())}"
    for told in context.store.outbox.of_incident(one.id):
        yield f"  alert     {told.stage} to {told.target}: {alert_state(told)}"
    yield ""
    shown = members if context.verbose else [*damaged, *(member for member in members if not member.damaged)][:_SHOWN]
    for member in shown:
        yield from _member_lines(member)
    if len(shown) < len(members):
        yield f"    and {len(members) - len(shown):,} more (-v shows all)"
    for member in damaged[:_EXAMPLES]:
        yield ""
        yield from _example(context, one, member)
    yield ""
    yield from _advice(one, damaged, members)


def _member_lines(member: Suspect) -> Iterator[str]:
    sign, color = ("!", "red") if member.damaged else ("~", "yellow")
    returned = "  (put right since)" if member.returned else ""
    yield f"  {click.style(f'{sign} {printable(member.path)}', fg=color)}{returned}"
    for finding in member.findings:
        line = f":{finding.line}" if finding.line else ""
        yield f"      {finding.rule}{line}: {printable(finding.message)}"


def _example(context: Context, one: Incident, member: Suspect) -> Iterator[str]:
    before = context.store.log.version(member.before_seq) if member.before_seq else None
    after = context.store.log.version(member.after_seq)
    lines = patch_of_versions(context.store, member.path, before, after).shown
    yield from (f"    {line}" for line in lines[:_EXAMPLE_LINES])
    if len(lines) > _EXAMPLE_LINES:
        yield f"    ... {len(lines) - _EXAMPLE_LINES:,} more lines: guardctl diff --incident {one.id}"


def _advice(one: Incident, damaged: Sequence[Suspect], members: Sequence[Suspect]) -> Iterator[str]:
    if not one.state.is_open:
        yield f"see all of it     guardctl diff --incident {one.id}"
        return
    if damaged and len(damaged) < len(members):
        yield f"put back the damaged {files(len(damaged))}:  guardctl restore --incident {one.id} --only-damaged"
    yield f"put back all {files(len(members))}:  guardctl restore --incident {one.id}"
    yield f"it was wanted:  guardctl incidents approve {one.id}"
    yield f"a false alarm:  guardctl incidents dismiss {one.id} --reason '...'"


def _state(one: Incident) -> str:
    growing = "" if one.settled or not one.state.is_open else ", still growing"
    return f"{click.style(one.severity, fg=_COLORS[one.severity], bold=True)}, {one.state}{growing}"


def _who(one: Incident) -> str:
    if one.actor.certainty is Certainty.UNKNOWN or one.actor.command is None:
        return "unknown: no process was seen writing"
    ended = "" if is_running(one.actor) else ", which has ended"
    return f"{one.actor.certainty}: pid {one.actor.pid}{ended}, {printable(one.actor.command)}"


def _root(context: Context, one: Incident) -> str:
    return next((repo.path for repo in context.store.repos.all() if repo.id == one.repo_id), "?")
