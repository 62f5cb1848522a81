"""guardctl alerts: list the outbox, test the targets."""

import time
from typing import TYPE_CHECKING

import click

from guardd.cli.context import NUMBER, Context, common_options, pass_context
from guardd.cli.output import emit, iso, say, when
from guardd.errors import ConfigError, Exit, NothingMatched, StoreError, UsageError
from guardd.escaping import printable
from guardd.model import Alert, Delivery, Severity, Stage

if TYPE_CHECKING:
    from guardd.config.alerts import AlertSettings

_WAIT_S = 60.0
_COLORS = {"sent": "green", "pending": "yellow", "failed": "red", "dropped": None}


@click.group(name="alerts", invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """What people were told, and whether it arrived: list (the default), test."""
    return int(ctx.invoke(list_)) if ctx.invoked_subcommand is None else Exit.DONE


@command.command("list")
@click.option("--limit", "-n", type=NUMBER, default=50, show_default=True, help="How many.")
@common_options
@pass_context
def list_(context: Context, limit: int = 50) -> int:
    """The outbox, newest first: what was told to which target, what still waits, what the target said."""
    found = context.store.outbox.newest(limit)
    if context.json:
        emit(context, [alert_document(one) for one in found])
        return Exit.DONE
    if not found:
        say(context, "no alert so far")
    for one in found:
        state = click.style(one.state, fg=_COLORS[one.state])
        say(context, f"{when(one.alert.time_ns)}  {one.alert.severity:<8}  {one.dedup_key} to {one.target}: {state}")
        said = alert_state(one)
        say(context, f"    {said}")
    return Exit.DONE


@command.command()
@click.argument("target", required=False)
@common_options
@pass_context
def test(context: Context, target: str | None) -> int:
    """Send a test message to TARGET (all by default), and print what it answered; exit 1 if one did not take it."""
    targets = [one for one in context.settings.alert if target is None or one.label == target]
    if not targets:
        known = ", ".join(one.label for one in context.settings.alert)
        if target is not None and known:
            raise UsageError(f"there is no alert target {target!r}; the config has {known}")
        raise NothingMatched("the config has no alert target: add an [[alert]] to it")
    results = [(one.label, *_test(context, one)) for one in targets]
    if context.json:
        emit(context, [{"target": name, "ok": ok, "answer": answer} for name, ok, answer in results])
    for name, ok, answer in results:
        sign = click.style("ok  ", fg="green") if ok else click.style("FAIL", fg="red")
        say(context, f"{sign}  {name}: {printable(answer)}")
    return Exit.DONE if all(ok for _, ok, _ in results) else Exit.PARTIAL


def alert_document(one: Delivery) -> dict[str, object]:
    """A delivery for scripts."""
    return {
        "id": one.id,
        "target": one.target,
        "stage": one.stage,
        "severity": one.alert.severity,
        "dedup_key": one.dedup_key,
        "incident": one.alert.incident_id,
        "state": one.state,
        "attempts": one.attempts,
        "queued_at": iso(one.alert.time_ns),
        "due_at": iso(one.due_ns) if one.state == "pending" else None,
        "sent_at": iso(one.sent_ns) if one.sent_ns else None,
        "answer": one.answer,
    }


def alert_state(one: Delivery) -> str:
    """How far a delivery has come, for people."""
    tries = f"{one.attempts} attempt{'' if one.attempts == 1 else 's'}"
    said = f": {printable(one.answer)}" if one.answer else ""
    if one.state == "sent":
        return f"sent {when(one.sent_ns or 0)}, {tries}{said}"
    if one.state == "pending":
        return f"waits, {tries} so far, next {when(one.due_ns)}{said}"
    return f"{one.state}, {tries}{said}"


def _test(context: Context, settings: "AlertSettings") -> tuple[bool, str]:
    """Whether the target took it, and what it answered."""
    from guardd.alerting.composing import test_message
    from guardd.alerting.endpoint import endpoint
    from guardd.alerting.http import NotDelivered
    from guardd.alerting.targets import send

    try:
        to = endpoint(settings)
    except ConfigError as error:
        return _test_by_daemon(context, settings.label, "; ".join(error.problems))
    try:
        answer = send(test_message(context.now.wall_ns), to)
    except NotDelivered as error:
        return False, str(error)
    context.store.outbox.answers(to.name, context.now.wall_ns)
    return True, answer


def _test_by_daemon(context: Context, target: str, why: str) -> tuple[bool, str]:
    """Ask the running daemon, which may be given what this process is not (a systemd credential, an environment)."""
    from guardd.store.lock import daemon_lock

    if daemon_lock(context.state_dir).holder() is None:
        return False, f"{why} (nor does guardd run, which may know it)"
    outbox, now_ns = context.store.outbox, context.now.wall_ns
    thread = f"test-{now_ns}"
    with context.store.db.transaction():
        outbox.queue([Alert(0, thread, Stage.TEST, Severity.INFO, now_ns, settled=True, detail=target)])
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        told = outbox.of_thread(thread, target)
        if told and told[-1].attempts:
            return told[-1].state == "sent", f"{told[-1].answer} (sent by guardd)"
        if told and told[-1].answer:
            return False, f"{told[-1].answer} (said by guardd)"
        time.sleep(0.1)
    raise StoreError("guardd did not send the test within a minute: it may have an older config; send it a SIGHUP")
