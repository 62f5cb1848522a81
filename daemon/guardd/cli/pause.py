"""guardctl pause: announce bulk work."""

import click

from guardd import clock
from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, iso, say, when
from guardd.errors import Exit, UsageError
from guardd.escaping import printable
from guardd.timespec import parse_duration

_LONGEST_NS = 24 * 3600 * 1_000_000_000


@click.command()
@click.argument("duration", shell_complete=completing.durations)
@click.option("--reason", default="", help="What for; shown by status.")
@common_options
@pass_context
def command(context: Context, duration: str, reason: str) -> int:
    """Announce bulk work for DURATION (10m, 1h30m; a day at most): capture goes on, but no incident and no auto-restore."""
    length = parse_duration(duration)
    if not 0 < length <= _LONGEST_NS:
        raise UsageError(f"{duration!r}: a pause is longer than nothing and at most a day, as 10m or 1h30m")
    capture(context, must_be_there=False)
    now, repo = clock.now().wall_ns, context.repo  # after the capture: what it found came before the pause, and is judged
    context.store.incidents.pause(repo.id, now, now + length, reason)
    if context.json:
        emit(context, {"repo": repo.path, "from": iso(now), "until": iso(now + length), "reason": reason})
    say(context, f"no incident in {printable(repo.path)} until {when(now + length)}; 'guardctl resume' ends it sooner")
    return Exit.DONE
