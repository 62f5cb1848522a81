"""guardctl snapshot: capture the repo now, and label that place of the log."""

from collections.abc import Iterator

import click

from guardd import clock
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, iso, page, say, when
from guardd.errors import Exit, UsageError
from guardd.store.labels import Label


@click.command()
@click.option("--label", default=None, metavar="TEXT", help="What is about to happen; shown by 'guardctl log'.")
@click.option("--list", "listing", is_flag=True, help="List the snapshots of the repo instead, newest first.")
@common_options
@pass_context
def command(context: Context, label: str | None, listing: bool) -> int:
    """Capture the repo now, so that one command goes back to right here, whatever the clock says.

    Works with and without the daemon. Agents and bulk tools take one before they act: see 'guardctl hook'.
    """
    if listing:
        if label is not None:
            raise UsageError("--list and --label exclude each other; give one of them")
        return _list(context)
    one = take(context, label or "")
    if context.json:
        emit(context, document(context, one))
    say(context, f"snapshot {one.id} at {when(one.time_ns)}; go back to it with: {way_back(one)}", fg="green")
    return Exit.DONE


def take(context: Context, label: str) -> Label:
    """Capture the context's repo, and label the place that its log has reached."""
    capture(context)
    return context.store.labels.add(context.repo.id, label, clock.now().wall_ns)


def document(context: Context, one: Label) -> dict[str, object]:
    """The JSON of a snapshot."""
    return {
        "id": one.id,
        "repo": context.repo.path,
        "seq": one.seq,
        "time": iso(one.time_ns),
        "label": one.label,
        "restore": way_back(one),
    }


def way_back(one: Label) -> str:
    """The command that takes back what came after a snapshot."""
    return f"guardctl restore --since snapshot:{one.id}"


def _list(context: Context) -> int:
    found = context.store.labels.of_repo(context.repo.id)
    if context.json:
        emit(context, [document(context, one) for one in found])
    elif not context.quiet:
        page(context, _lines(found))
    return Exit.DONE


def _lines(found: Iterator[Label]) -> Iterator[str]:
    one = None
    for one in found:
        yield f"{one.id:>6}  {when(one.time_ns)}  {one.label or '(no label)'}"
        yield f"        {way_back(one)}"
    if one is None:
        yield "no snapshot so far; 'guardctl snapshot' takes one, 'guardctl hook' has agents and git take them"
