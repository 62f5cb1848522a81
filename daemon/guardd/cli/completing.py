"""What completes the values of options and arguments: numbers from the store, examples of times. Never an error, never slow."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from guardd.cli.context import Context
from guardd.cli.output import when
from guardd.errors import GuardError
from guardd.escaping import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_MOST = 20
"""As many as a person reads; the store may hold thousands."""

_TIMES = {
    "10m": "ten minutes ago",
    "1h": "an hour ago",
    "3d": "three days ago",
    "today": "since midnight",
    "yesterday": "since the midnight before",
    "14:30": "today at this time",
    "2026-01-31T09:00": "any date or time",
    "@1700000000": "seconds since the epoch",
}
"""One of each kind of time expression."""

_DURATIONS = {"10m": "ten minutes", "1h": "an hour", "2h30m": "two and a half hours"}

Candidates = Callable[[Context], Iterator[tuple[str, str]]]
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


def completer(candidates: Candidates) -> Completer:
    """A completer out of (value, help) pairs; where the store or the config cannot be used there are none."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
        from click.shell_completion import CompletionItem

        context = ctx.find_object(Context) or Context()
        found = []
        try:
            for value, about in candidates(context):
                if value.startswith(incomplete) and value.isprintable():  # what breaks its line is no value for a shell
                    found.append(CompletionItem(value, help=one_line(about)))
        except (GuardError, OSError):
            pass  # a shell that completes is no place for errors; the command itself says what is wrong
        return found

    return complete


def _moments(context: Context) -> Iterator[tuple[str, str]]:
    yield from _TIMES.items()
    yield from ((f"incident:{number}", f"before it: {about}") for number, about in _numbered_incidents(context))
    yield from ((f"snapshot:{number}", about) for number, about in _snapshots(context))


def _numbered_incidents(context: Context) -> Iterator[tuple[str, str]]:
    for one in islice(context.store.incidents.all(context.repo.id), _MOST):
        yield str(one.id), f"{when(one.opened_ns)} {one.state}, {one.damaged} damaged"


def _incidents(context: Context) -> Iterator[tuple[str, str]]:
    yield "last", "the newest incident"
    yield from _numbered_incidents(context)


def _restores(context: Context) -> Iterator[tuple[str, str]]:
    for one in context.store.restores.of_repo(context.repo.id, _MOST):
        yield str(one.id), f"{when(one.time_ns)} {one.command}"


def _snapshots(context: Context) -> Iterator[tuple[str, str]]:
    for one in islice(context.store.labels.of_repo(context.repo.id), _MOST):
        yield str(one.id), f"{when(one.time_ns)} {one.label}"


def _repos(context: Context) -> Iterator[tuple[str, str]]:
    for one in context.store.repos.all():
        yield one.path, ""


moments = completer(_moments)
durations = completer(lambda context: iter(_DURATIONS.items()))
incidents = completer(_incidents)
restores = completer(_restores)
sources = completer(lambda context: iter({"git:HEAD": "what is committed", "git:HEAD~1": "the commit before"}.items()))
repos = completer(_repos)
