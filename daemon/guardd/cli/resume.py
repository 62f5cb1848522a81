"""guardctl resume: end a pause."""

import click

from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, iso, say
from guardd.errors import Exit
from guardd.escaping import printable


@click.command()
@common_options
@pass_context
def command(context: Context) -> int:
    """End the pause of this repo: what has changed until now was announced, what changes from now on is judged."""
    capture(context)
    from guardd import clock

    now, repo = clock.now().wall_ns, context.repo  # after the capture: what it found still belongs to the pause
    ended = context.store.incidents.resume(repo.id, now)
    if context.json:
        emit(context, {"repo": repo.path, "ended": ended, "at": iso(now)})
    say(context, f"{printable(repo.path)} is watched for damage again" if ended else "there was no pause")
    return Exit.DONE
