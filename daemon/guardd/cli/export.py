"""guardctl export: the whole tree as it was, as plain files."""

import os

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.moments import moment, past
from guardd.cli.naming import number_of
from guardd.cli.output import emit, files, iso, say, warn, when
from guardd.cli.progress import bar
from guardd.errors import Exit, NothingMatched, UsageError
from guardd.escaping import printable
from guardd.recovery.export import export
from guardd.timespec import BeforeIncident


@click.command()
@click.argument("directory", type=click.Path())
@click.option("--at", metavar="T", shell_complete=completing.moments, help="The tree as it was at this moment.")
@click.option(
    "--incident",
    metavar="ID|last",
    shell_complete=completing.incidents,
    help="The tree as it was before this incident.",
)
@common_options
@pass_context
def command(context: Context, directory: str, at: str | None, incident: str | None) -> int:
    """Write every kept file, as it was at a moment, into an empty DIRECTORY: usable without guard."""
    if (at is None) == (incident is None):
        raise UsageError("say as of when: --at 14:30, or --incident ID for the moment before it")
    spec = moment(context, at) if at is not None else BeforeIncident(number_of(context, incident or ""))
    capture(context, just_to_read=True)
    then = past(context, spec)
    target = os.path.realpath(os.path.join(context.cwd, directory))
    if target.startswith(context.repo.path.rstrip("/") + "/"):
        raise UsageError(f"{directory} is inside of the repo; export to a directory elsewhere")
    try:
        os.makedirs(target, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{directory} is no directory; name an empty directory or a new one") from error
    if os.listdir(target):
        raise UsageError(f"{directory} is not empty; name an empty directory or a new one")
    with bar(context, "exporting") as progress:
        written, failed = export(context.store, context.repo, then.seq, then.time_ns, target, progress)
    if context.json:
        emit(context, {
            "directory": target, "at": iso(then.time_ns), "files": written,
            "failed": [{"path": path, "reason": reason} for path, reason in failed],
        })  # fmt: skip
    for path, reason in failed:
        warn(context, f"{printable(path)}: {reason}")
    if not written and not failed:
        raise NothingMatched(f"guard knows of no file at {when(then.time_ns)}; see 'guardctl log'")
    say(context, f"exported {files(written)} as of {when(then.time_ns)} to {printable(target)}")
    return Exit.PARTIAL if failed else Exit.DONE
