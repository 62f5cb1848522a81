"""The entry of guardctl: its commands, its exit codes, and errors in one line."""

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from guardd import __version__
from guardd.cli.context import Context, common_options
from guardd.cli.output import mute, warn
from guardd.errors import ConfigError, Exit, GuardError
from guardd.escaping import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETE_VARIABLE = "_GUARDCTL_COMPLETE"
"""Set by the scripts of `guardctl completion`: guardctl then answers what completes a line, and does nothing else."""

COMMANDS = {
    "init": "Guard a repo: add it to the config.",
    "status": "How well each repo is protected right now.",
    "doctor": "Check everything that protection needs, and name the cure.",
    "incidents": "What was recognised as damage, and who did it.",
    "log": "The versions that were kept, newest first.",
    "show": "A file as it was, byte for byte.",
    "diff": "What changed since a moment.",
    "restore": "Put files back as they were.",
    "undo": "Take a restore back.",
    "run": "A bulk command as a transaction: kept if it passes, rolled back if not.",
    "check": "Find damage, broken imports and undefined names, here or in what is staged.",
    "adopt": "Take backup files that are there already as versions.",
    "snapshot": "Label this moment, to go back to right here.",
    "hook": "Have agents and git take a snapshot before they act.",
    "pause": "Announce bulk work: no incident meanwhile.",
    "resume": "End a pause.",
    "replay": "What the rules would have said of the past.",
    "export": "The whole tree as it was, as plain files.",
    "fsck": "Check every stored byte against its hash.",
    "gc": "Apply retention now and give space back.",
    "purge": "Forget every stored version of a file.",
    "alerts": "What people were told, and whether it arrived.",
    "demo": "See it happen: 1,381 files damaged and put back, in a throwaway directory.",
    "config": "Check and show the configuration.",
    "completion": "Complete commands, options and values in your shell.",
    "service": "Have systemd keep guardd running.",
}
"""The commands, each in its own module of this package: a new command is its file and one line here."""


class Commands(click.Group):
    """Imports a command's module only when the command is called: `--help` and `status` must be instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"guardd.cli.{cmd_name}").command
        return found

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """The commands and options that begin like this, without importing any command."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=about) for name, about in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant, or an error with the nearest names."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:  # completion asks of what is half typed
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS)
            hint = f"did you mean {' or '.join(near)}?" if near else "see guardctl --help"
            raise click.UsageError(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="guardctl")
@common_options
def guardctl() -> None:
    """Keeps every version of your Python files, and puts them back.

    First: `guardctl init` in a repo, then start `guardd`. In trouble: `guardctl restore --since 10m`.
    """


def main() -> None:
    """Run guardctl and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:  # noqa: C901, PLR0912 - one clause for each kind of error
    """Carry out a command line; its exit code. Errors go to stderr in one line."""
    context = Context()
    if COMPLETE_VARIABLE in os.environ:
        import guardd.cli.shells  # noqa: F401  # makes our bash known to click, which answers
    try:
        code = guardctl.main(args, prog_name="guardctl", standalone_mode=False, obj=context)
        sys.stdout.flush()
        if context.afterthought:
            warn(context, context.afterthought)
    except ConfigError as error:  # one line for each thing that is wrong
        return max(_complain(context, problem, error.exit_code) for problem in error.problems)
    except GuardError as error:
        return _complain(context, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return Exit.USAGE
    except click.ClickException as error:
        return _complain(context, " ".join(error.format_message().split("\n")), Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _complain(context, "interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        mute()  # the reader left: nothing to say to it
        return Exit.DONE
    except OSError as error:
        return _complain(context, f"{error.filename or 'system'}: {error.strerror or error}", Exit.PARTIAL)
    except RuntimeError as error:
        if "new thread" not in str(error):  # which has no name of its own
            raise
        return _complain(
            context, "the system has no room for another thread (ulimit -u, memory); free some, run it again", Exit.PARTIAL
        )
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        if not (odd := _oddity(context)):
            raise
        return _complain(context, f"the store is damaged ({odd}); run 'guardctl fsck --repair'", Exit.PARTIAL)
    return code if isinstance(code, int) else Exit.DONE


def _oddity(context: Context) -> str | None:
    """What in the store a command may have stumbled over; None where it used none, or nothing is wrong with it."""
    if "store" not in vars(context):
        return None
    from guardd.store.oddities import oddity

    try:
        return oddity(context.store)
    except GuardError as error:
        return str(error)


def _complain(context: Context, message: str, code: int) -> int:
    if context.verbose >= 2:
        import traceback

        traceback.print_exc()
    try:
        click.echo(f"guardctl: {one_line(message)}", err=True)
    except OSError:  # no one is there to read it
        mute()
    return code
