"""guardctl service: have systemd (on macOS: launchd) keep guardd running."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.config import locate
from guardd.config.places import is_named
from guardd.errors import Exit, NothingMatched, UsageError
from guardd.escaping import printable

if TYPE_CHECKING:
    from guardd.service.supervision import Step, UnitStanding
    from guardd.service.units import Placing


@click.group(name="service")
@common_options
def command() -> None:
    """Have systemd (on macOS: launchd) keep guardd running."""


def _whose(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--user", help="Whose guardd it is, with --system (default: you).")(function)
    return click.option("--system", is_flag=True, help="The system's manager, guardd@USER, instead of your own.")(function)


@command.command()
@_whose
@click.option("--linger", is_flag=True, help="Have your units run while you are logged out, too (loginctl enable-linger).")
@click.option("--dry-run", is_flag=True, help="Print the unit, and write nothing.")
@common_options
@pass_context
def install(context: Context, system: bool, user: str | None, linger: bool, dry_run: bool) -> int:
    """Write guardd's unit with the paths of this machine, enable and start it."""
    from guardd.service.installing import is_managed, login_name, placing_of, supervisor, take_home_of
    from guardd.service.supervision import STARTED
    from guardd.service.systemd import make_state_dir
    from guardd.store.lock import daemon_lock

    name = _user(user, system=system) or login_name()
    if system and not dry_run:
        _need_root(context, "install", name)
    home = take_home_of(name) if system else os.path.expanduser("~")
    repos = [repo.path for repo in context.settings.repo]
    placing = placing_of(context.config, repos, home)
    manager = supervisor(system=system, user=name)
    if dry_run:
        return _print_units(context, manager.files(placing))
    if not is_managed():
        raise UsageError(_without_manager(placing))
    if not repos:
        raise UsageError(f"{locate(context.config)} names no repo to guard; run 'guardctl init' in one first")
    if system:
        make_state_dir(context.state_dir, name)
    by_hand = daemon_lock(context.state_dir).holder() if manager.standing().active not in STARTED else None
    steps = manager.install(placing, start=by_hand is None)
    if by_hand is not None:
        cure = f"stop it ('kill {by_hand}'), then run 'guardctl service install' again"
        steps.append(_step(f"guardd was started by hand (pid {by_hand}), and only one can run", cure))
    now = manager.standing()
    steps += _linger(context, now, asked=linger)
    if context.json:
        emit(context, {"unit": now.unit, "file": now.file, "steps": [step._asdict() for step in steps]})
    _tell(context, steps)
    if all(step.ok for step in steps):
        say(context, "'guardctl status' shows when everything is protected, 'guardctl service status' how the unit stands")
    return _exit(steps)


@command.command()
@_whose
@common_options
@pass_context
def uninstall(context: Context, system: bool, user: str | None) -> int:
    """Stop guardd, disable its unit and remove it; the store stays."""
    from guardd.service.installing import login_name, supervisor

    name = _user(user, system=system) or login_name()
    if system:
        _need_root(context, "uninstall", name)
    manager = supervisor(system=system, user=name)
    before = manager.standing()
    steps = manager.uninstall()
    if not steps:
        raise NothingMatched(f"no unit of guardd is installed there ({before.file}); see 'guardctl service status'")
    if context.json:
        emit(context, {"unit": before.unit, "file": before.file, "steps": [step._asdict() for step in steps]})
    _tell(context, steps)
    return _exit(steps)


@command.command()
@_whose
@common_options
@pass_context
def status(context: Context, system: bool, user: str | None) -> int:
    """How the unit stands with its manager, and guardd itself."""
    from guardd.service.installing import is_managed, login_name, supervisor, take_home_of, unit_standing
    from guardd.service.supervision import UnitStanding, health

    name = _user(user, system=system) or login_name()
    if system:
        take_home_of(name)
        now = supervisor(system=True, user=name).standing() if is_managed() else UnitStanding("", "system")
    else:
        now = unit_standing(name)
    daemon = _daemon(context)
    ok, seen, cure = health(now, running=daemon["running"] is True)
    if context.json:
        emit(context, {**now._asdict(), "manager": now.manager or None, "ok": ok, "daemon": daemon})
    say(context, f"unit    {printable(seen)}", fg="green" if ok else "red")
    if not ok:
        say(context, f"        cure: {cure}")
    if now.manager:
        say(context, f"file    {printable(now.file)}{'' if now.installed else ' (not there)'}")
        _say_facts(context, now)
    if daemon["running"]:
        say(context, f"guardd  running (pid {daemon['pid']})")
    else:
        say(context, "guardd  not running: nothing is protected", fg="red")
    for path, state in daemon["repos"].items():
        say(context, f"        {printable(path)}: {state}")
    return Exit.DONE


def _say_facts(context: Context, now: "UnitStanding") -> None:
    say(context, f"enabled {now.enabled or 'not known'}")
    say(context, f"active  {now.active or 'not known'}")
    if now.linger is not None:
        said = "yes" if now.linger else "no: guardd ends when you log out; 'loginctl enable-linger' keeps it"
        say(context, f"linger  {said}")


def _daemon(context: Context) -> dict[str, Any]:
    """The daemon's own standing; without a store there is none."""
    from guardd.errors import StoreError
    from guardd.service.standing import standing

    if not os.path.exists(os.path.join(context.state_dir, "guard.db")):
        return {"running": False, "pid": None, "repos": {}}
    try:
        now = standing(context.store, context.now)
    except StoreError as error:
        return {"running": None, "pid": None, "repos": {}, "error": str(error)}
    return {"running": now.pid is not None, "pid": now.pid, "repos": {repo.path: str(repo.state) for repo in now.repos}}


def _user(named: str | None, *, system: bool) -> str | None:
    if named and not system:
        raise UsageError("--user is for --system; without it the unit is that of whoever runs this command")
    return named


def _need_root(context: Context, verb: str, user: str) -> None:
    """Refuse what only root may do, with the line that does it."""
    if os.geteuid() == 0:
        return
    words = ["sudo"]
    if state_dir := os.environ.get("GUARD_STATE_DIR"):
        words += ["env", f"GUARD_STATE_DIR={os.path.abspath(state_dir)}"]
    words += [os.path.abspath(sys.argv[0]), "service", verb, "--system", "--user", user]
    if is_named(context.config) or os.environ.get("XDG_CONFIG_HOME"):
        words += ["--config", locate(context.config)]
    raise UsageError(f"--system needs root; run: {shlex.join(words)}")


def _without_manager(placing: "Placing") -> str:
    words = [placing.program, *(["--config", placing.config] if placing.config else [])]
    if placing.state_dir:
        words = ["env", f"GUARD_STATE_DIR={placing.state_dir}", *words]
    return (
        f"no systemd runs here; have your own supervisor (of the container, runit, tmux) keep this running: {shlex.join(words)}"
    )


def _print_units(context: Context, files: dict[str, str]) -> int:
    if context.json:
        emit(context, {"files": [{"file": path, "text": text} for path, text in files.items()]})
        return Exit.DONE
    for path, text in files.items():
        if not path.endswith(".plist"):
            click.echo(f"# {path}")
        click.echo(text)
    return Exit.DONE


def _linger(context: Context, now: "UnitStanding", *, asked: bool) -> "list[Step]":
    """Offer that the user's units go on when they are logged out."""
    from guardd.service.systemd import enable_linger

    if now.linger is not False:
        return []
    if asked:
        return [enable_linger()]
    if context.on_terminal and not context.json and not context.quiet:
        if click.confirm("Keep guardd running when you are logged out (loginctl enable-linger)?", err=True):
            return [enable_linger()]
        return []
    say(context, "it ends when you log out; to keep it running then: loginctl enable-linger")
    return []


def _step(what: str, cure: str) -> "Step":
    from guardd.service.supervision import Step

    return Step(what, ok=False, cure=cure)


def _tell(context: Context, steps: "Sequence[Step]") -> None:
    for step in steps:
        if step.ok:
            say(context, printable(step.what))
        else:
            click.echo(f"guardctl: {printable(step.what)}; {printable(step.cure)}", err=True)


def _exit(steps: "Sequence[Step]") -> int:
    return Exit.DONE if all(step.ok for step in steps) else Exit.PARTIAL
