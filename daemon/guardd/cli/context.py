"""What every command starts from: its common options, the store, the repo, the clock."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from guardd.errors import UsageError
from guardd.model import Moment

if TYPE_CHECKING:
    from guardd.config import Settings
    from guardd.store.repos import Repo
    from guardd.store.store import Store


@dataclass
class Context:
    """The common options, and what they lead to, opened when first asked for."""

    config: str | None = None
    repo_option: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: bool | None = None
    cwd: str = field(default_factory=os.getcwd)

    @cached_property
    def now(self) -> Moment:
        """When the command was given."""
        from guardd import clock

        return clock.now()

    @cached_property
    def state_dir(self) -> str:
        """Where the store lies."""
        from guardd.config import locate, locate_state

        return locate_state(locate(self.config))

    @cached_property
    def store(self) -> "Store":
        """The store, which must be there."""
        from guardd.store.store import Store

        return Store(self.state_dir)

    @cached_property
    def settings(self) -> "Settings":
        """The validated config; defaults where there is no file."""
        from guardd.config import load, locate
        from guardd.config.places import is_named

        return load(locate(self.config), named=is_named(self.config))

    @cached_property
    def repo(self) -> "Repo":
        """The repo that is meant: `--repo`, else the one around the working directory."""
        start = os.path.realpath(self.repo_option or self.cwd)
        folder = start
        while True:
            found = self.store.repos.find(folder)
            if found is not None and (self.repo_option is None or folder == start):
                return found
            if self.repo_option is not None or folder == os.path.dirname(folder):
                break
            folder = os.path.dirname(folder)
        if self.repo_option is not None:
            raise UsageError(f"{start} is not guarded; run 'guardctl init {start}', or see 'guardctl status'")
        raise UsageError(
            f"no guarded repo at or above {start}; run 'guardctl init' there, or name one with --repo PATH"
        )

    @property
    def on_terminal(self) -> bool:
        """Whether a person is there to read and to answer."""
        return sys.stdin.isatty() and sys.stdout.isatty()


pass_context = click.make_pass_decorator(Context)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command takes; they may stand before or after the command's name."""
    options = (
        click.option("--config", type=click.Path(), expose_value=False, callback=_keep("config"), help="The config file."),
        click.option("--repo", type=click.Path(), expose_value=False, callback=_keep("repo_option"), help="The repo (default: the one around the working directory)."),
        click.option("--json", is_flag=True, default=None, expose_value=False, callback=_keep("json"), help="One JSON document on stdout."),
        click.option("--quiet", "-q", is_flag=True, default=None, expose_value=False, callback=_keep("quiet"), help="Say only what is wrong."),
        click.option("-v", "--verbose", count=True, default=None, expose_value=False, callback=_keep("verbose"), help="Say more; twice: tracebacks."),
        click.option("--color/--no-color", default=None, expose_value=False, callback=_keep("color"), help="Force colours on or off (default: on a terminal; NO_COLOR is honoured)."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value not in (None, 0):
            setattr(ctx.ensure_object(Context), name, value)
        elif value is False:
            setattr(ctx.ensure_object(Context), name, value)

    return keep
