"""guardctl demo: the founding incident, on a throwaway tree."""

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.errors import Exit
from guardd.escaping import printable


@click.command()
@common_options
@pass_context
def command(context: Context) -> int:
    """Show what guardd is for: 1,381 files damaged, recognised, told of and put back, in a throwaway directory.

    Your files and your store are not touched, and nothing is left behind.
    """
    from guardd.service.demo import demonstrate

    outcome = demonstrate(lambda text: say(context, f"  {printable(text)}"))
    if context.json:
        told = [{key: value for key, value in one.items() if key != "received"} for one in outcome.messages]
        seconds = {name: round(value, 3) for name, value in outcome.seconds.items()}
        emit(context, {"files": outcome.files, "restored": outcome.restored, "summary": outcome.summary, "seconds": seconds,
                       "messages": told})  # fmt: skip
    say(context, f"{outcome.seconds['all']:.1f} s in all, and nothing is left behind", fg="green", bold=True)
    say(context, "Guard your own tree: cd into it, 'guardctl init', then leave 'guardd' running.")
    return Exit.DONE
