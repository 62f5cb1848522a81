"""A hook that was called: a snapshot of each repo that may be written to, in no one's way."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from guardd.cli.context import Context
from guardd.cli.output import emit, warn
from guardd.cli.snapshot import document, take
from guardd.errors import Exit, GuardError
from guardd.escaping import one_line
from guardd.hooks.claude_code import Call, parse_call
from guardd.store.repos import Repo

_LONGEST_INPUT = 64 * 2**20


class Trouble:
    """What went wrong while a hook ran, and the exit code that says so."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._any = False

    def extend(self, messages: Iterable[str]) -> None:
        """Say each of these on stderr."""
        for message in messages:
            self._any = True
            click.echo(f"guardctl hook: {one_line(message)}", err=True)

    @property
    def code(self) -> int:
        """0, or with --strict 1: never 2, which would keep an agent's tool from running."""
        return Exit.PARTIAL if self._strict and self._any else Exit.DONE


@contextmanager
def never_in_the_way(timeout_s: float, *, strict: bool) -> Iterator[Trouble]:
    """What fails inside is said on stderr, and what takes too long is left: whoever called the hook goes on."""
    trouble = Trouble(strict=strict)

    def leave() -> None:  # from a thread: SQLite waits for a lock where no signal is heard. To be killed harms no store.
        os.write(2, f"guardctl hook: no snapshot within {timeout_s:g} s; guardd keeps what changes all the same\n".encode())
        os._exit(Exit.PARTIAL if strict else Exit.DONE)

    timer = threading.Timer(timeout_s, leave)
    timer.daemon = True
    timer.start()
    try:
        yield trouble
    except Exception as error:  # whatever it is, it must not keep an agent or git from acting
        trouble.extend([f"no snapshot: {error if isinstance(error, (GuardError, OSError)) else type(error).__name__}"])
    finally:
        timer.cancel()


def read_call(context: Context) -> Call:
    """The call that stdin tells of; where it tells nothing, the snapshot is taken all the same."""
    is_told = sys.stdin is not None and not sys.stdin.isatty()  # None: stdin is closed
    text = sys.stdin.buffer.read(_LONGEST_INPUT).decode("utf-8", "replace") if is_told else ""
    try:
        return parse_call(text, context.cwd)
    except ValueError as error:
        warn(context, f"the hook's input on stdin is no JSON that Claude Code sends ({one_line(str(error))})")
        return Call("", "", (context.cwd,))


def snapshots(context: Context, folders: Sequence[str], label: Callable[[str], str]) -> Iterator[str]:
    """Take a snapshot of each repo at, above or below these folders; gives what went wrong with each."""
    if not os.path.exists(os.path.join(context.state_dir, "guard.db")):
        return  # nothing is guarded here, nor anywhere
    taken = []
    for repo in _touched(context, folders):
        one = Context(config=context.config, quiet=True)
        one.store, one.repo = context.store, repo
        try:
            taken.append(document(one, take(one, label(repo.path))))
        except (GuardError, OSError) as error:
            yield f"no snapshot of {repo.path}: {error}"
    if context.json:
        emit(context, taken)


def _touched(context: Context, folders: Sequence[str]) -> list[Repo]:
    found: dict[str, Repo] = {}
    for folder in map(os.path.realpath, folders):
        around = context.repo_around(folder)
        below = [repo for repo in context.store.repos.all() if repo.path.startswith(os.path.join(folder, ""))]
        found |= {repo.path: repo for repo in ([around] if around else below)}
    return list(found.values())
