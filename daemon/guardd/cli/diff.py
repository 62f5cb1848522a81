"""guardctl diff: what changed since a moment, as a unified diff."""

from collections.abc import Iterator, Sequence

import click

from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.moments import place
from guardd.cli.output import emit, page, say, when
from guardd.cli.patches import Patch, patch
from guardd.cli.paths import choose
from guardd.errors import Exit, UsageError
from guardd.store.log import Passage


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--since", metavar="T", help="From this moment to now.")
@click.option("--at", metavar="T", help="The same as --since.")
@common_options
@pass_context
def command(context: Context, paths: tuple[str, ...], since: str | None, at: str | None) -> int:
    """Unified diff from then to now; without a moment, the last change of each given file."""
    if since and at:
        raise UsageError("--since and --at mean the same here; give one of them")
    moment = since or at
    if moment is None and not paths:
        raise UsageError("say since when: 'guardctl diff --since 10m', or name files to see their last change")
    then = place(context, moment) if moment else None
    capture(context)
    log, repo = context.store.log, context.repo
    if then is not None:
        passages = log.passages(repo.id, then.seq)
        chosen = set(choose(context, paths, log.paths(repo.id)))
        passages = [passage for passage in passages if passage.path in chosen]
        say(context, f"from {when(then.time_ns)} to now: {len(passages)} changed")
    else:
        passages = _last_changes(context, choose(context, paths, log.paths(repo.id)))
    patches = _patches(context, passages)
    if context.json:
        emit(context, [{"path": one.path, "diff": "".join(f"{line}\n" for line in one.lines)} for one in patches])
    else:
        page(context, (_colored(line) for one in patches for line in one.lines))
    return Exit.DONE


def _last_changes(context: Context, paths: Sequence[str]) -> list[Passage]:
    log, repo_id = context.store.log, context.repo.id
    found = []
    for path in paths:
        passage = log.passage(repo_id, path, log.head(repo_id, path).seq - 1)
        if passage is not None:
            found.append(passage)
    return found


def _patches(context: Context, passages: Sequence[Passage]) -> Iterator[Patch]:
    for passage in passages:
        one = patch(context.store.blobs, passage.path, passage.then.state if passage.then else None, passage.head.state)
        if one.lines:
            yield one


def _colored(line: str) -> str:
    if line.startswith(("+++", "---")):
        return click.style(line, bold=True)
    colors = {"+": "green", "-": "red", "@": "cyan"}
    return click.style(line, fg=colors[line[0]]) if line[:1] in colors else line
