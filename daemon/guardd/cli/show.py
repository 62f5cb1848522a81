"""guardctl show: a file as it was, byte for byte."""

import sys

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import NUMBER, Context, common_options, pass_context
from guardd.cli.moments import moment, past
from guardd.cli.output import iso, when
from guardd.cli.paths import relative
from guardd.errors import Exit, GuardError, NothingMatched, UsageError
from guardd.escaping import printable
from guardd.model import Version
from guardd.recovery.past import numbered, passage_since
from guardd.store.log import Knowledge
from guardd.store.soundness import DOUBTFUL, doubtful


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "--at", metavar="T", shell_complete=completing.moments, help="As it was at this moment (default: the newest version)."
)
@click.option(
    "--version",
    "number",
    type=NUMBER,
    metavar="N",
    help="The version with this number in 'guardctl log'.",
)
@common_options
@pass_context
def command(context: Context, path: str, at: str | None, number: int | None) -> int:
    """Write a file's content to stdout, byte for byte, as it is now or was at a moment."""
    if at and number:
        raise UsageError("--at and --version exclude each other; give one of them")
    name = relative(context, path)
    version = _numbered(context, name, number) if number else _at(context, name, at)
    if doubtful(context.store, [version]):
        raise GuardError(f"version {version.seq} of {printable(name)}: {DOUBTFUL}")
    content = context.store.blobs.read(version.state.blob)
    if context.json:
        import base64

        from guardd.cli.output import emit

        emit(
            context,
            {
                "path": name,
                "seq": version.seq,
                "time": iso(version.time_ns),
                "size": len(content),
                "mode": f"{version.state.mode:04o}",
                "content_base64": base64.b64encode(content).decode(),
            },
        )
        return Exit.DONE
    sys.stdout.buffer.write(content)
    return Exit.DONE


def _numbered(context: Context, name: str, number: int) -> Version:
    version = numbered(context.store, context.repo, number)
    if version is None or version.path != name:
        raise NothingMatched(f"{printable(name)} has no version {number}; see 'guardctl log {printable(name)}'")
    if not version.state.present:
        raise NothingMatched(f"version {number} of {printable(name)} is its deletion; show an earlier one")
    return version


def _at(context: Context, name: str, at: str | None) -> Version:
    spec = moment(context, at) if at else None
    capture(context, [name], just_to_read=True)
    then = past(context, spec) if spec else None
    log, repo = context.store.log, context.repo
    if then is not None:
        passage = passage_since(context.store, repo, name, then.seq, then.time_ns)
    else:
        passage = log.passage(repo.id, name, log.last_seq())
    if passage is None:
        raise NothingMatched(f"guard has no version of {printable(name)}; see 'guardctl log'")
    if passage.knowledge is Knowledge.FORGOTTEN:
        raise NothingMatched(f"retention has removed what {printable(name)} was then; see 'guardctl log {printable(name)}'")
    if passage.then is None or not passage.then.state.present:
        words = f"at {when(then.time_ns)}" if then else "any more"
        raise NothingMatched(f"{printable(name)} was not there {words}; see 'guardctl log {printable(name)}'")
    if then is not None and not context.json and not context.quiet:
        click.echo(f"{printable(name)} at {when(then.time_ns)}: version {passage.then.seq}", err=True)
    return passage.then
