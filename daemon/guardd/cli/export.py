"""guardctl export: the whole tree as it was, as plain files."""

import os

import click

from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.moments import place
from guardd.cli.output import emit, files, iso, printable, say, warn, when
from guardd.cli.progress import bar
from guardd.errors import Exit, NothingMatched, UsageError
from guardd.recovery.export import export


@click.command()
@click.argument("directory", type=click.Path())
@click.option("--at", metavar="T", required=True, help="The tree as it was at this moment.")
@common_options
@pass_context
def command(context: Context, directory: str, at: str) -> int:
    """Write every kept file, as it was at a moment, into an empty DIRECTORY: usable without guard."""
    moment = place(context, at)
    capture(context)
    target = os.path.realpath(directory)
    if target.startswith(context.repo.path.rstrip("/") + "/"):
        raise UsageError(f"{directory} is inside of the repo; export to a directory elsewhere")
    os.makedirs(target, exist_ok=True)
    if os.listdir(target):
        raise UsageError(f"{directory} is not empty; name an empty directory or a new one")
    with bar(context, "exporting") as progress:
        written, failed = export(context.store, context.repo, moment.seq, target, progress)
    if context.json:
        emit(context, {
            "directory": target, "at": iso(moment.time_ns), "files": written,
            "failed": [{"path": path, "reason": reason} for path, reason in failed],
        })  # fmt: skip
    for path, reason in failed:
        warn(context, f"{printable(path)}: {reason}")
    if not written and not failed:
        raise NothingMatched(f"guard knows of no file at {when(moment.time_ns)}; see 'guardctl log'")
    say(context, f"exported {files(written)} as of {when(moment.time_ns)} to {printable(target)}")
    return Exit.PARTIAL if failed else Exit.DONE
