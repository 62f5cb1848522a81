"""What every command starts from: its common options, the store, the repo, the clock."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from guardd.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from guardd.config import Settings
    from guardd.model import Moment
    from guardd.store.repos import Repo
    from guardd.store.store import Store


def NUMBER(value: str | int) -> int:  # noqa: N802 - stands where click's types stand
    """The numbers of versions, incidents, restores and runs: what SQLite can hold. Click would tell people of the range."""
    number = int(value) if str(value).isascii() and str(value).isdecimal() and len(str(value)) < 20 else 0
    if not 1 <= number < 2**63:
        raise click.BadParameter(f"{str(value)!r} is not a number from 1 on")
    return number


@dataclass
class Context:
    """The common options, and what they lead to, opened when first asked for; `afterthought` is said once all went well."""

    config: str | None = None
    repo_option: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: bool | None = None
    afterthought: str = ""

    @cached_property
    def cwd(self) -> str:
        """The working directory. Raises UsageError where it is gone."""
        try:
            return os.getcwd()
        except FileNotFoundError as error:
            raise UsageError("the working directory is not there any more; cd to one that is") from error

    @cached_property
    def now(self) -> "Moment":
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
        """The store, which must be there; one of an older schema is migrated, if need be with the room of the ballast."""
        from guardd.store import ballast
        from guardd.store.store import Store

        return ballast.backing(self.state_dir, lambda: Store(self.state_dir, brief=True))

    @cached_property
    def settings(self) -> "Settings":
        """The validated config; defaults where there is no file."""
        from guardd.config import load, locate
        from guardd.config.places import is_named

        return load(locate(self.config), named=is_named(self.config))

    @cached_property
    def repo(self) -> "Repo":
        """The repo that is meant: `--repo`, else the one around the working directory."""
        start = os.path.realpath(os.path.expanduser(self.repo_option) if self.repo_option else self.cwd)
        found = self.store.repos.find(start) if self.repo_option is not None else self.repo_around(start)
        if found is not None:
            return found
        if self.repo_option is not None:
            raise UsageError(f"{start} is not guarded; run 'guardctl init {start}', or see 'guardctl status'")
        raise UsageError(f"no guarded repo at or above {start}; run 'guardctl init' there, or name one with --repo PATH")

    def take_repo_of(self, incident: str | int | None, paths: Sequence[str]) -> None:
        """An incident's number names its repo too, so that what an alert says to type works from anywhere.

        Not where `--repo` names one, nor with paths, which are relative to the working directory.
        """
        if self.repo_option is not None or paths or not str(incident or "").isdecimal() or len(str(incident)) > 12:
            return
        found = self.store.incidents.get(int(incident or 0))
        repo = next((one for one in self.store.repos.all() if found is not None and one.id == found.repo_id), None)
        if repo is not None:
            self.repo = repo

    def repo_around(self, folder: str) -> "Repo | None":
        """The repo at or above a resolved folder, None where there is none: the innermost one that the daemon guards.

        Where it guards none of them, the innermost that it did: one within another may be left from a mistaken `init`.
        """
        innermost: Repo | None = None
        while True:
            found = self.store.repos.find(folder)
            if found is not None and self.store.repos.live(found.id) is not None:
                return found
            innermost = innermost or found
            if folder == os.path.dirname(folder):
                return innermost
            folder = os.path.dirname(folder)

    def take_rules_from_config(self) -> None:
        """Keep what the config says of the repo by now, as a daemon does when it starts; a config that is broken waits.

        For commands that capture while no daemon runs: what was excluded since must not be stored again.
        """
        from guardd.config import locate
        from guardd.config.places import is_named
        from guardd.errors import ConfigError

        if not is_named(self.config) and not os.path.lexists(locate(self.config)):
            return
        try:
            about = next((one for one in self.settings.repo if one.path == self.repo.path), None)
        except ConfigError:
            return
        if about is not None and about.selection_rules() != self.repo.rules:
            self.repo = self.store.repos.add(self.repo.path, about.selection_rules())

    @property
    def on_terminal(self) -> bool:
        """Whether a person is there to read and to answer."""
        return sys.stdin.isatty() and sys.stdout.isatty()


pass_context = click.make_pass_decorator(Context)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command takes; they may stand before or after the command's name."""
    options = (
        _option("config", "--config", type=click.Path(), help="The config file."),
        _option(
            "repo_option", "--repo", type=click.Path(), shell_complete=_complete_repo,
            help="The repo (default: the one around the working directory).",
        ),
        _option("json", "--json", is_flag=True, default=None, help="One JSON document on stdout."),
        _option("quiet", "--quiet", "-q", is_flag=True, default=None, help="Say only what is wrong."),
        _option("verbose", "-v", "--verbose", count=True, default=None, help="Say more; twice: tracebacks."),
        _option("color", "--color/--no-color", default=None, help="Force colours on or off (NO_COLOR is honoured)."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _complete_repo(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    from guardd.cli import completing  # which needs this module

    return completing.repos(ctx, param, incomplete)


def _option(field_name: str, *words: str, **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that is kept in the context, wherever on the command line it stands."""

    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if (value is not None and value != 0) or value is False:
            setattr(ctx.ensure_object(Context), field_name, value)

    return click.option(*words, expose_value=False, callback=keep, **how)
