"""guardctl init: guard a repo."""

import os

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.config import add_repo, load, locate
from guardd.errors import Exit, UsageError
from guardd.escaping import printable
from guardd.service.checkup import check_limits
from guardd.store.lock import daemon_lock
from guardd.store.store import Store


@click.command()
@click.argument("path", default=".", type=click.Path())
@common_options
@pass_context
def command(context: Context, path: str) -> int:
    """Register the repo at PATH (default: here) in the config, and say what comes next."""
    root = os.path.realpath(os.path.join(context.cwd, path))
    if not os.path.isdir(root):
        raise UsageError(f"{path} is not a directory; name the top directory of a repo")
    config = locate(context.config)
    add_repo(config, root)
    rules = next(repo.selection_rules() for repo in load(config).repo if repo.path == root)
    with Store(context.state_dir, create=True) as store:
        store.repos.add(root, rules)
    findings = [one for one in check_limits(root, rules) if not one.ok]
    running = daemon_lock(context.state_dir).holder() is not None
    if context.json:
        emit(context, {"repo": root, "config": config, "problems": [f"{one.message}; {one.cure}" for one in findings]})
    say(context, f"{printable(root)} is now in {printable(config)}", fg="green")
    for one in findings:
        say(context, f"  {one.message}; {one.cure}", fg="red")
    say(
        context,
        "next: "
        + (
            "send guardd a SIGHUP (pkill -HUP guardd), so that it takes the repo up"
            if running
            else "start 'guardd', or have it kept running: guardctl service install"
        ),
    )
    say(context, "then: 'guardctl status' shows that it is protected; 'guardctl restore --since 10m' is for the bad day")
    return Exit.PARTIAL if findings else Exit.DONE
