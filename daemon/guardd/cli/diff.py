"""guardctl diff: what changed since a moment, as a unified diff."""

import os
import sys
from collections.abc import Iterator, Sequence

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.moments import before_incident, moment, past
from guardd.cli.naming import number_of
from guardd.cli.output import emit, page, say, warn, when
from guardd.cli.paths import choose
from guardd.errors import Exit, UsageError
from guardd.escaping import printable
from guardd.recovery.patches import Patch, patch_of_versions
from guardd.store.log import Knowledge, Passage


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--since", metavar="T", shell_complete=completing.moments, help="From this moment to now.")
@click.option("--at", metavar="T", shell_complete=completing.moments, help="The same as --since.")
@click.option("--incident", metavar="ID|last", shell_complete=completing.incidents, help="What an incident did to its files.")
@common_options
@pass_context
def command(context: Context, paths: tuple[str, ...], since: str | None, at: str | None, incident: str | None) -> int:
    """Unified diff from then to now; without a moment, the last change of each given file."""
    if sum(1 for one in (since, at, incident) if one) > 1:
        raise UsageError("--since, --at and --incident each say from when; give one of them")
    words = since or at
    if words is None and incident is None and not paths:
        raise UsageError("say since when: 'guardctl diff --since 10m', or name files to see their last change")
    context.take_repo_of(incident, paths)
    spec = moment(context, words) if words else None
    capture(context, just_to_read=True)
    log, repo = context.store.log, context.repo
    if incident is not None:
        passages = _of_incident(context, number_of(context, incident), choose(context, paths, log.paths(repo.id)))
    elif spec is not None:
        then = past(context, spec, since=since is not None)
        passages = log.passages(repo.id, then.seq)
        chosen = set(choose(context, paths, log.paths(repo.id)))
        passages = [passage for passage in passages if passage.path in chosen]
        changed = sum(1 for one in passages if one.then is None or one.then.state != one.head.state)
        say(context, f"from {when(then.time_ns)} to now: {changed} changed")
    else:
        passages = _last_changes(context, choose(context, paths, log.paths(repo.id)))
    untold: list[Patch] = []
    patches = _patches(context, passages, untold)
    if context.json:
        emit(context, [{"path": one.path, "diff": "".join(f"{line}\n" for line in one.lines)} for one in patches])
    elif context.on_terminal:
        page(context, (_colored(line) for one in patches for line in one.shown))
    else:
        for one in patches:
            sys.stdout.buffer.write(b"".join(os.fsencode(line) + b"\n" for line in one.lines))
    for one in untold:
        warn(context, f"{printable(one.path)}: {one.problem}")
    return Exit.PARTIAL if untold else Exit.DONE


def _last_changes(context: Context, paths: Sequence[str]) -> list[Passage]:
    log, repo_id = context.store.log, context.repo.id
    found = []
    for path in paths:
        passage = log.passage(repo_id, path, log.head(repo_id, path).seq - 1)
        if passage is not None:
            found.append(passage)
    return found


def _of_incident(context: Context, id_: int, chosen: Sequence[str]) -> list[Passage]:
    """Each member from its last healthy version to what the incident left, whatever came later."""
    before_incident(context, id_)  # refuses an incident of another repo
    log, wanted = context.store.log, set(chosen)
    found = []
    for member in context.store.incidents.members(id_):
        after = log.version(member.after_seq)
        if after is not None and member.path in wanted:
            before = log.version(member.before_seq) if member.before_seq else None
            found.append(Passage(member.path, before, Knowledge.KNOWN, after, after))
    return found


def _patches(context: Context, passages: Sequence[Passage], untold: list[Patch]) -> Iterator[Patch]:
    for passage in passages:
        one = patch_of_versions(context.store, passage.path, passage.then, passage.head)
        if one.problem:
            untold.append(one)
        if one.lines:
            yield one


def _colored(line: str) -> str:
    if line.startswith(("+++", "---")):
        return click.style(line, bold=True)
    colors = {"+": "green", "-": "red", "@": "cyan"}
    return click.style(line, fg=colors[line[0]]) if line[:1] in colors else line
