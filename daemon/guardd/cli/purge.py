"""guardctl purge: forget every stored version of a file."""

import os

import click

from guardd.cli.asking import confirm
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, files, say
from guardd.cli.paths import choose
from guardd.cli.ran import refuse_during_run
from guardd.errors import Exit, NothingMatched
from guardd.escaping import printable
from guardd.model import RepoPath
from guardd.recovery.past import known_paths
from guardd.store import ballast
from guardd.store.space import purge


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common_options
@pass_context
def command(context: Context, paths: tuple[str, ...], yes: bool) -> int:
    """Remove every stored version of PATHS, for good: for the day when a secret got into a file.

    Take the secret out of the file first: what is on disk is kept again at the next look.
    """
    repo, store = context.repo, context.store
    refuse_during_run(context)
    chosen = _choose(context, paths)
    for path in chosen[:10]:
        say(context, f"  {printable(path)}")
    if len(chosen) > 10:
        say(context, f"  and {len(chosen) - 10} more")
    confirm(context, f"Forget every version of {files(len(chosen))}? This cannot be undone.", yes=yes)
    refuse_during_run(context)  # the answer may have taken its time
    ballast.ease(context.state_dir)
    freed, shared = purge(store, repo.id, chosen)
    still = [path for path in chosen if os.path.lexists(os.path.join(repo.path, path))]
    if context.json:
        emit(context, {"purged": chosen, "versions": freed.versions, "also_in": shared, "on_disk": still})
    if freed.versions:
        say(context, f"forgot {freed.versions:,} versions of {files(len(chosen))}")
    else:
        say(context, "all versions were forgotten before; by now their bytes are overwritten, too")
    for path, others in shared.items():
        say(
            context,
            f"{printable(path)}: the same content is also kept of {', '.join(map(printable, others[:5]))}; purge these too",
            fg="yellow",
        )
    if still:
        say(
            context,
            f"{files(len(still))} still on disk will be kept again as they are now; 'exclude' them if they must not be",
        )
    return Exit.DONE


def _choose(context: Context, paths: tuple[str, ...]) -> list[RepoPath]:
    repo, store = context.repo, context.store
    known = known_paths(store, repo)
    try:
        return choose(context, paths, known)
    except NothingMatched:  # a purge that was ended early may have forgotten them, and left their bytes
        return choose(context, paths, [*known, *store.log.forgotten(repo.id)])
