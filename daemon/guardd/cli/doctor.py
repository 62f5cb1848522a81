"""guardctl doctor: every check that explains a degraded state, with its cure; and the canary that proves protection."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.config import locate
from guardd.errors import ConfigError, Exit, Interrupted, StoreDamaged, UsageError
from guardd.escaping import printable
from guardd.service.checkup import Check, check_up
from guardd.timespec import parse_duration

if TYPE_CHECKING:
    from guardd.store.repos import Repo


@click.command()
@click.option("--canary", is_flag=True, help="Plant files, damage them, see them flagged and put back; needs the daemon.")
@click.option("--deadline", metavar="DURATION", default="10s", show_default=True, help="How long a step of the canary may take.")
@common_options
@pass_context
def command(context: Context, canary: bool, deadline: str) -> int:
    """Check everything that protection needs, and name the cure; exit 1 if one check fails.

    --canary works in the repo of --repo, or the one around the working directory, else in each: in a folder of its own that
    git does not see and that is gone after some seconds.
    """
    deadline_ns = parse_duration(deadline)
    if deadline_ns <= 0:
        raise UsageError(f"--deadline {deadline}: a step needs some time, as 10s")
    checks: list[Check] = []

    def tell(one: Check) -> None:
        checks.append(one)
        _print(context, one)

    config = _check_config(context)
    tell(config)
    for one in _check_exposures(context) if config.ok else ():
        tell(one)
    try:
        for one in check_up(context.store, context.now, context.settings.alert if config.ok else ()):
            tell(one)
    except StoreDamaged as error:  # so far that it does not even open
        message, _, cure = str(error).partition("; ")
        tell(Check("store", False, message, cure))
    if canary and all(one.ok for one in checks if one.name == "store"):
        _try_canary(context, deadline_ns / 1e9, tell)
    if context.json:
        emit(context, [_document(one) for one in checks])
    return Exit.DONE if all(one.ok for one in checks) else Exit.PARTIAL


def _try_canary(context: Context, deadline_s: float, tell: Callable[[Check], None]) -> None:
    from guardd.service.canary import Stopped, trial_of, try_out

    try:
        trial = trial_of(context.settings, deadline_s)
    except ConfigError:
        tell(Check("canary", False, "the config does not say how much damage makes an incident", "mend it first"))
        return
    with _told_to_stop() as stop:
        for repo in _repos(context):
            try:
                try_out(context.store, repo, trial, tell, stop.wait)
            except Stopped as stopped:
                raise Interrupted("interrupted; the canary's files are removed") from stopped


def _repos(context: Context) -> "list[Repo]":
    """The repo that is meant, or all of them where none is."""
    if context.repo_option is None:
        here = os.path.join(os.path.realpath(context.cwd), "")
        every = context.store.repos.all()
        return [repo for repo in every if here.startswith(os.path.join(repo.path, ""))] or every
    return [context.repo]


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set: whoever waits on it cleans up first."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _print(context: Context, one: Check) -> None:
    sign, color = ("ok  ", "green") if one.ok else ("FAIL", "red")
    say(context, f"{click.style(sign, fg=color)}  {printable(one.name)}: {printable(one.message)}")
    if not one.ok:
        say(context, f"      cure: {printable(one.cure)}")


def _document(one: Check) -> dict[str, object]:
    return {
        "name": one.name,
        "ok": one.ok,
        "message": one.message,
        "cure": one.cure if not one.ok else None,
        "seconds": one.seconds,
    }


def _check_config(context: Context) -> Check:
    path = locate(context.config)
    try:
        _ = context.settings
    except ConfigError as error:
        return Check("config", False, "; ".join(error.problems), f"mend {path}; guardd does not start with it")
    return Check("config", True, path if os.path.exists(path) else f"defaults: there is no {path}")


def _check_exposures(context: Context) -> Iterator[Check]:
    """What others may do with the config, where they may."""
    from guardd.config.describing import exposures

    for line in exposures(context.settings, locate(context.config)):
        what, _, cure = line.partition("; ")
        yield Check("privacy of the config", False, what, cure)
