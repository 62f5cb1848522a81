"""Questions: asked on a terminal, refused without one unless `--yes` answers them."""

import click

from guardd.cli.context import Context
from guardd.errors import UsageError


def confirm(context: Context, question: str, *, yes: bool) -> None:
    """Go on only with a yes. Raises UsageError on a no, and where no one can be asked."""
    if yes:
        return
    if not context.on_terminal:
        raise UsageError("this needs a yes: there is no terminal to ask on, so add --yes (or --dry-run where it exists)")
    if not click.confirm(question, err=True):
        raise UsageError("not done, as you said")
