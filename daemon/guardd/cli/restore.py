"""guardctl restore: put files back as they were."""

import functools
import shlex
import sys
from collections.abc import Container, Sequence

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import NUMBER, Context, common_options, pass_context
from guardd.cli.moments import Place, moment, past
from guardd.cli.naming import choose_incident
from guardd.cli.output import files, say, when
from guardd.cli.paths import choose, chooser, relative
from guardd.cli.settling import Choices, check_choices, settle, settling_options
from guardd.errors import NothingMatched, UsageError
from guardd.escaping import printable
from guardd.model import Incident, RepoPath
from guardd.recovery.past import head, known_paths, numbered, passages_since
from guardd.recovery.plan import Plan, plan_return, plan_version
from guardd.recovery.planning import plan_git, plan_incident, plan_merged, plan_resume
from guardd.selection import Selection
from guardd.store.codec import Encoded


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--since",
    metavar="T",
    shell_complete=completing.moments,
    help="Take back what changed since this moment (10m, 14:30, yesterday).",
)
@click.option("--at", metavar="T", shell_complete=completing.moments, help="As it was at this moment.")
@click.option(
    "--version",
    "number",
    type=NUMBER,
    metavar="N",
    help="The version with this number in 'guardctl log'.",
)
@click.option(
    "--from", "source", metavar="git:REV", shell_complete=completing.sources, help="From a git revision: git:HEAD, git:v1.2."
)
@click.option(
    "--incident", metavar="ID|last", shell_complete=completing.incidents, help="Take back what this incident did to its files."
)
@click.option(
    "--best", is_flag=True, help="Each damaged file to its newest healthy version: of the log, adopted backups, or git."
)
@click.option("--only-damaged", is_flag=True, help="With --incident: only files that a rule found damaged.")
@click.option("--resume", is_flag=True, help="Finish a restore that was interrupted.")
@click.option("--merge", is_flag=True, help="Keep edits made after the damage: three-way merge; conflicts are left alone.")
@click.option("--keep-new", is_flag=True, help="Leave files that were born since where they are.")
@settling_options
@common_options
@pass_context
def command(
    context: Context, paths: tuple[str, ...], since: str | None, at: str | None, number: int | None, source: str | None,
    incident: str | None, best: bool, only_damaged: bool, resume: bool, merge: bool, keep_new: bool, choices: Choices,
) -> int:  # fmt: skip
    """Put PATHS (files, directories, globs; all by default) back as they were.

    What is overwritten or removed is stored first: 'guardctl undo' takes a restore back.
    """
    ways = sum(1 for one in (since, at, number, source, incident, best, resume) if one)
    if ways != 1:
        choice = "--since 10m, --at 14:30, --incident last, --version N, --from git:HEAD, --best, --resume"
        raise UsageError(f"say what to go back to: {'one' if not ways else 'only one'} of {choice}")
    if only_damaged and incident is None:
        raise UsageError("--only-damaged needs to know of which incident: add --incident ID, or --incident last")
    context.take_repo_of(incident, paths)
    meant = choose_incident(context, incident) if incident else None
    words = since or at
    spec = moment(context, words) if words else None
    check_choices(context, choices)  # last of all: 'add --yes' is no answer to a wrong time
    capture(context, refilled=choices.yes and not choices.dry_run)
    contents: list[Encoded] = []
    then_ns = None
    if spec is not None:
        then = past(context, spec, since=since is not None)
        then_ns = then.time_ns
        plan, title = _plan_place(context, paths, then, keep_new=keep_new), f"back to {when(then.time_ns)}"
        if context.afterthought:  # here it is one before anyone agrees
            title, context.afterthought = f"{title} ({printable(context.afterthought)})", ""
    elif number is not None:
        plan, title = _plan_number(context, paths, number)
    elif meant is not None:
        plan, title = _plan_incident(context, paths, meant, only_damaged=only_damaged), f"back to before incident {meant.id}"
    elif source is not None:
        plan, contents = _plan_git(context, paths, source)
        title = f"from {source}"
    elif best:
        from guardd.cli.rescuing import plan_best

        (plan, contents), title = plan_best(context, paths), "each damaged file to its newest healthy version"
    else:
        plan, title = _plan_interrupted(context), "finish the interrupted restore"
    if merge:
        plan, merged = plan_merged(context.store, plan)
        contents += merged
    on_success = functools.partial(_close, context, meant, {item.path for item in plan.items}) if meant else None
    return settle(
        context,
        plan,
        shlex.join(["guardctl", *sys.argv[1:]]),
        title,
        choices,
        blobs=contents,
        on_success=on_success,
        then_ns=then_ns,
    )


def _plan_place(context: Context, paths: Sequence[str], then: Place, *, keep_new: bool) -> Plan:
    store, repo = context.store, context.repo
    passages = passages_since(store, repo, then.seq, then.time_ns)
    if paths:
        chosen = set(choose(context, paths, known_paths(store, repo)))
        passages = [passage for passage in passages if passage.path in chosen]
    return plan_return(passages, keep_new=keep_new)


def _plan_incident(context: Context, paths: Sequence[str], incident: Incident, *, only_damaged: bool) -> Plan:
    members = context.store.incidents.members(incident.id)
    chosen = chooser(context, paths)
    wanted = [one for one in members if chosen(one.path) and (one.damaged or not only_damaged)]
    if not wanted:
        raise NothingMatched(f"incident {incident.id} has no such file; see 'guardctl incidents show {incident.id}'")
    return plan_incident(context.store, context.repo.id, wanted)


def _close(context: Context, incident: Incident, restored: Container[RepoPath], restore_id: int | None) -> None:
    if restore_id is not None and incident.state.is_open:
        note = f"restored by hand, restore {restore_id}"
        left = context.store.incidents.close_restored(incident.id, restored, context.now.wall_ns, note)
        if left:
            say(context, f"incident {incident.id} stays open: {files(left)} of it {'is' if left == 1 else 'are'} still damaged")


def _plan_number(context: Context, paths: Sequence[str], number: int) -> tuple[Plan, str]:
    store, repo = context.store, context.repo
    version = numbered(store, repo, number)
    if version is None:
        raise NothingMatched(f"there is no version {number} in {repo.path}; see 'guardctl log'")
    if len(paths) > 1 or (paths and relative(context, paths[0]) != version.path):
        raise UsageError(f"version {number} is one of {printable(version.path)}; name that file, or none")
    return plan_version(version, head(store, repo, version.path)), f"back to version {number} of {when(version.time_ns)}"


def _plan_git(context: Context, paths: Sequence[str], source: str) -> tuple[Plan, list[Encoded]]:
    kind, _, rev = source.partition(":")
    if kind != "git" or not rev:
        raise UsageError(f"--from {source}: a source is git:REV, as in git:HEAD or git:HEAD~3")
    repo = context.repo
    return plan_git(context.store, repo, Selection(repo.path, repo.rules), rev, chooser(context, paths))


def _plan_interrupted(context: Context) -> Plan:
    unfinished = context.store.restores.unfinished(context.repo.id)
    if not unfinished:
        raise NothingMatched("no restore of this repo was interrupted")
    return plan_resume(context.store, unfinished[-1], Selection(context.repo.path, context.repo.rules).wants)
