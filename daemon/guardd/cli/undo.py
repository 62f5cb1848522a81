"""guardctl undo: take a restore back."""

import shlex
import sys

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import NUMBER, Context, common_options, pass_context
from guardd.cli.output import relapse_line, say, warn, when
from guardd.cli.settling import Choices, check_choices, settle, settling_options
from guardd.errors import NothingMatched
from guardd.recovery.planning import plan_undo
from guardd.store.restores import Restore


@click.command()
@click.argument("restore_id", required=False, type=NUMBER, shell_complete=completing.restores)
@settling_options
@common_options
@pass_context
def command(context: Context, restore_id: int | None, choices: Choices) -> int:
    """Take a restore back: the last one, or the one with this number.

    An undo is a restore itself: give its number to take it back in turn.
    """
    check_choices(context, choices)
    restore = _restore(context, restore_id)
    capture(context, refilled=choices.yes and not choices.dry_run)
    title = f"take back restore {restore.id} of {when(restore.time_ns)}"
    command = shlex.join(["guardctl", *sys.argv[1:]])
    code = settle(context, plan_undo(context.store, restore), command, title, choices, undoes=restore.id)
    relapse = context.store.incidents.relapse(context.repo.id)
    if relapse and not choices.dry_run:
        say(context, relapse_line(relapse), fg="yellow")
    return code


def _restore(context: Context, restore_id: int | None) -> Restore:
    restores, repo = context.store.restores, context.repo
    if restore_id is None:
        found = restores.last_undoable(repo.id)
        if found is None:
            raise NothingMatched(f"there is no restore of {repo.path} to take back")
        return found
    found = restores.get(restore_id)
    if found is None or found.repo_id != repo.id:
        raise NothingMatched(f"there is no restore {restore_id} of {repo.path}")
    if before := restores.undone_by(found.id):
        warn(context, f"restore {found.id} was taken back by {before.id} of {when(before.time_ns)}; this takes it back once more")
    return found
