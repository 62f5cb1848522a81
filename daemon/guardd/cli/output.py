"""What commands print: text for people with nothing raw in it, JSON for scripts."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import click

from guardd.cli.context import Context
from guardd.escaping import one_line

if TYPE_CHECKING:
    from guardd.store.incidents import Relapse

_AT_ONCE = 256
"""Lines that are written, and flushed, together: one by one takes 50 us each."""


def emit(context: Context, document: object) -> None:
    """Print the one JSON document of a command. Bytes of no encoding in a path stand as lone surrogates (U+DC80..U+DCFF)."""
    import json

    click.echo(json.dumps(document, indent=2 if sys.stdout.isatty() else None))


def say(context: Context, text: str = "", **style: bool | str) -> None:
    """Print a line for people, unless they asked for JSON or for quiet."""
    if not context.json and not context.quiet:
        click.echo(click.style(text, **style) if style else text, color=colors(context))  # type: ignore[arg-type]  # click's own kwargs


def say_all(context: Context, lines: Iterable[str]) -> None:
    """Print lines for people as `say` does, many at once."""
    if not context.json and not context.quiet:
        _echo_all(context, lines)


def _echo_all(context: Context, lines: Iterable[str]) -> None:
    coming = iter(lines)
    while some := list(islice(coming, _AT_ONCE)):
        click.echo("\n".join(some), color=colors(context))


def warn(context: Context, text: str) -> None:
    """Print a line on stderr that does not end the command; what it quotes does nothing to a terminal."""
    click.echo(f"guardctl: {one_line(text)}", err=True)


def tell(context: Context, text: str) -> None:
    """Print a line on stderr in the middle of work that goes on whether anyone hears of it or not."""
    with suppress(OSError):  # the terminal is gone, the reader of a pipe left
        warn(context, text)


@contextmanager
def whoever_reads() -> Iterator[None]:
    """The last words of a command: that no one reads them to their end changes nothing of its exit code."""
    try:
        yield
        sys.stdout.flush()
    except OSError:
        mute()


def mute() -> None:
    """The reader left: nothing is said to anyone any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or never open
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def colors(context: Context) -> bool | None:
    """Whether to colour: `--color`, else NO_COLOR, else whatever stdout is (None: click looks)."""
    if context.color is None and os.environ.get("NO_COLOR"):
        return False
    return context.color


def when(time_ns: int) -> str:
    """A time for people: local, to the second."""
    return _to_the_second(time_ns // 1_000_000_000)


@lru_cache
def _to_the_second(time_s: int) -> str:  # kept: the versions of a burst or a baseline share their seconds
    from datetime import datetime

    return datetime.fromtimestamp(time_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def iso(time_ns: int) -> str:
    """A time for scripts: ISO 8601 with UTC offset."""
    from guardd.timespec import format_instant

    return format_instant(time_ns)


def size(count: int) -> str:
    """A number of bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def files(count: int) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} file{'' if count == 1 else 's'}"


def relapse_line(relapse: "Relapse") -> str:
    """That the damage of an incident is back, and how it goes again."""
    back = f"the damage of incident {relapse.incident_id} is back in {files(relapse.files)}"
    return f"{back}: its restore was taken back; 'guardctl restore --incident {relapse.incident_id}' puts them right again"


def page(context: Context, lines: Iterable[str]) -> None:
    """Print lines, in a pager when a person reads them."""
    if context.on_terminal:
        click.echo_via_pager((line + "\n" for line in lines), color=colors(context))
    else:
        _echo_all(context, lines)
