"""guardctl hook: have agents, git and pre-commit take a snapshot before they act."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.hook_run import never_in_the_way, read_call, snapshots
from guardd.cli.output import emit, say, warn
from guardd.errors import Exit, UsageError
from guardd.escaping import printable
from guardd.hooks import claude_code, git, pre_commit
from guardd.hooks.program import calling
from guardd.regular import read_regular

_LARGEST = 4 << 20
"""Bytes of a file that a hook is added to."""

_SETTINGS = os.path.join(".claude", "settings.json")


@click.group(name="hook")
@common_options
def command() -> None:
    """Print or install the hook that takes a labelled snapshot before an agent, git or a bulk tool acts.

    Where something went wrong afterwards, 'guardctl log' shows the snapshot, and 'guardctl restore --since snapshot:ID' goes back
    to it. A hook never keeps anything from running, and says nothing outside of guarded repos.
    """


class _Choices(NamedTuple):
    """What to do with a hook: print it (none of the first three), and how to run it."""

    install: bool
    uninstall: bool
    run: bool
    strict: bool
    timeout_s: float


def _hook_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every kind of hook has, given to the command as `choices`."""

    @functools.wraps(function)
    def wrapped(*, install: bool, uninstall: bool, run: bool, strict: bool, timeout: float, **rest: Any) -> Any:
        if install + uninstall + run > 1:
            raise UsageError("--install, --uninstall and --run exclude each other; give one of them, or none to print the hook")
        return function(choices=_Choices(install, uninstall, run, strict, timeout), **rest)

    options = (
        click.option("--install", is_flag=True, help="Put the hook in its place; a second time changes nothing."),
        click.option("--uninstall", is_flag=True, help="Take it out again; what is not guard's stays."),
        click.option("--run", is_flag=True, help="Take the snapshot: what the hook calls."),
        click.option("--strict", is_flag=True, help="With --run: exit 1 where no snapshot could be taken; else 0."),
        click.option(
            "--timeout", type=click.FloatRange(0.01, 600), default=5.0, show_default=True, metavar="SECONDS",
            help="With --run: give up after so long.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@command.command("claude-code")
@_hook_options
@click.option("--user", is_flag=True, help="Your own settings, for all projects, instead of the repo's.")
@common_options
@pass_context
def claude_code_(context: Context, choices: _Choices, user: bool) -> int:
    """The PreToolUse hook of Claude Code: a snapshot before each tool that can write.

    Prints the settings to be merged by hand; with --install merges them into .claude/settings.json of the repo.
    """
    if choices.run:
        with never_in_the_way(choices.timeout_s, strict=choices.strict) as trouble:
            call = read_call(context)
            trouble.extend(snapshots(context, call.folders, call.label))
        return trouble.code
    words = calling(sys.argv[0], os.environ, context.config)
    if not choices.install and not choices.uninstall:
        click.echo(claude_code.settings_text(claude_code.with_hook({}, words)), nl=False)
        return Exit.DONE
    path = _settings_path(context, user=user)
    change = functools.partial(claude_code.with_hook, command=words) if choices.install else claude_code.without_hook
    _tell(context, "hook", path, _rewrite_settings(path, change), install=choices.install)
    return Exit.DONE


@command.command("git")
@_hook_options
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@common_options
@pass_context
def git_(context: Context, choices: _Choices, words: Sequence[str]) -> int:
    """Git's hooks pre-commit, pre-merge-commit and pre-rebase: a snapshot before a commit and before a rebase.

    Prints them; with --install writes them where git looks for hooks. A hook of someone else's is never touched: the line to add
    to it is shown instead. git has no hook before checkout, reset and stash; guardd keeps what they overwrite all the same.
    """
    if choices.run:
        with never_in_the_way(choices.timeout_s, strict=choices.strict) as trouble:
            trouble.extend(snapshots(context, [context.cwd], lambda root: " ".join(("git:", *words))))
        return trouble.code
    if words:
        raise UsageError(f"{words[0]}: WORDS are for --run, which git's hooks call; leave them out")
    program = calling(sys.argv[0], os.environ, context.config)
    if not choices.install and not choices.uninstall:
        return _print_scripts(context, program)
    places = _git_places(context)
    return _install_git(context, places, program) if choices.install else _uninstall_git(context, places, program)


@command.command("pre-commit")
@_hook_options
@common_options
@pass_context
def pre_commit_(context: Context, choices: _Choices) -> int:
    """The entry for .pre-commit-config.yaml: a snapshot before the tools that pre-commit runs, formatters and fixers.

    Prints it; with --install adds it as the first of the repos, where that takes no more than adding lines. pre-commit puts
    changes aside that are not staged while its hooks run: the snapshot holds what is staged.
    """
    if choices.run:
        with never_in_the_way(choices.timeout_s, strict=choices.strict) as trouble:
            trouble.extend(snapshots(context, [context.cwd], lambda root: "pre-commit"))
        return trouble.code
    program = calling(sys.argv[0], os.environ, context.config)
    if not choices.install and not choices.uninstall:
        if context.json:
            emit(context, {"file": pre_commit.FILE, "text": pre_commit.document(program)})
        else:
            click.echo(pre_commit.document(program), nl=False)
        return Exit.DONE
    path = _inside(_git_places(context).top, pre_commit.FILE)
    before = _read(path)
    edit = pre_commit.installed(before, program) if choices.install else pre_commit.removed(before or "")
    _tell(context, "entry", path, _write(path, before, edit.text), install=choices.install)
    return Exit.DONE


def _settings_path(context: Context, *, user: bool) -> str:
    """Claude Code's settings file, links resolved: one that is a link into someone's dotfiles stays one."""
    if user:
        return os.path.realpath(os.path.expanduser(os.path.join("~", _SETTINGS)))
    return _inside(context.repo.path, _SETTINGS)


def _inside(root: str, name: str) -> str:
    """A file of the repo, links resolved. Raises UsageError where one leads out of it: we write only inside."""
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(os.path.join(root, "")):
        raise UsageError(f"{os.path.join(root, name)} leads out of the repo, to {path}; add the hook there by hand")
    return path


def _rewrite_settings(path: str, change: Callable[[claude_code.Object], claude_code.Object]) -> bool:
    before = _read(path)
    try:
        settings = claude_code.read_settings(before or "")
        changed = change(settings)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if changed == settings:
        return False
    return _write(path, before, claude_code.settings_text(changed, before or "") if changed else None)


def _git_places(context: Context) -> git.Places:
    repo = context.repo  # a hook outside of any guarded repo would do nothing
    inside = os.path.join(context.cwd, "").startswith(os.path.join(repo.path, ""))
    return git.find_places(context.cwd if inside and context.repo_option is None else repo.path)


def _print_scripts(context: Context, program: str) -> int:
    scripts = {name: git.script(name, program) for name in git.HOOKS}
    if context.json:
        emit(context, scripts)
        return Exit.DONE
    for name, text in scripts.items():
        click.echo(f"# .git/hooks/{name}\n{text}")
    return Exit.DONE


def _install_git(context: Context, places: git.Places, program: str) -> int:
    found = {name: _judged(places, name, program) for name in git.HOOKS}
    wanted = [name for name, what in found.items() if what in (git.Found.ABSENT, git.Found.OUTDATED)]
    if places.shared and wanted:
        lines = "; ".join(git.line(name, program) for name in wanted)
        raise UsageError(f"core.hooksPath is {places.hooks}, which other repos share; add to its hooks by hand: {lines}")
    for name in wanted:
        path = os.path.join(places.hooks, name)
        if found[name] is git.Found.OUTDATED:
            os.unlink(path)  # its permissions too may be what is wrong with it
        _write(path, None, git.script(name, program), mode=0o777)
    foreign = [name for name, what in found.items() if what is git.Found.FOREIGN]
    left = [{"path": os.path.join(places.hooks, name), "line": git.line(name, program)} for name in foreign]
    if context.json:
        emit(context, {"folder": places.hooks, "installed": wanted, "left": left})
    for name, what in found.items():
        if what is not git.Found.FOREIGN:
            done = "is installed now" if name in wanted else f"was there already ({what})"
            say(context, f"{printable(os.path.join(places.hooks, name))} {done}", fg="green")
    for one in left:
        warn(context, f"{printable(one['path'])} is someone else's and stays; add this line to it: {one['line']}")
    return Exit.PARTIAL if left else Exit.DONE


def _uninstall_git(context: Context, places: git.Places, program: str) -> int:
    found = {name: _judged(places, name, program) for name in git.HOOKS}
    ours = [name for name, what in found.items() if what in (git.Found.CURRENT, git.Found.OUTDATED)]
    for name in ours:
        os.unlink(os.path.join(places.hooks, name))
        say(context, f"{printable(os.path.join(places.hooks, name))} is gone")
    left = [os.path.join(places.hooks, name) for name, what in found.items() if what is git.Found.CALLED]
    if context.json:
        emit(context, {"folder": places.hooks, "removed": ours, "left": left})
    for path in left:
        warn(context, f"{printable(path)} is someone else's and stays; take the line with 'hook git --run' out of it by hand")
    if not ours and not left:
        say(context, "there was none")
    return Exit.PARTIAL if left else Exit.DONE


def _judged(places: git.Places, name: str, program: str) -> git.Found:
    path = os.path.join(places.hooks, name)
    found = git.judge(git.read_hook(path), name, program)
    return git.Found.OUTDATED if found is git.Found.CURRENT and not os.access(path, os.X_OK) else found


def _tell(context: Context, what: str, path: str, changed: bool, *, install: bool) -> None:
    if context.json:
        emit(context, {"file": path, "changed": changed})
    words = ("is in" if changed else "was already in") if install else ("is no longer in" if changed else "was not in")
    say(context, f"the {what} {words} {printable(path)}", fg="green")


def _read(path: str) -> str | None:
    try:
        found = read_regular(path, _LARGEST + 1)
        if len(found) > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST >> 20} MiB; add the hook there by hand")
        return found.decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; mend it first") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8; mend it first") from error


def _write(path: str, before: str | None, text: str | None, mode: int = 0o666) -> bool:
    """Write a file, or remove it where it held nothing else; whether something changed."""
    from guardd.config.editing import replace_text

    if text == before:
        return False
    if text is None:
        os.unlink(path)
        return True
    replace_text(path, text, mode=mode)
    return True
