"""guardctl completion: the script that has a shell complete guardctl's command lines."""

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit
from guardd.cli.shells import NAMES
from guardd.errors import Exit


@click.command()
@click.argument("shell", type=click.Choice(NAMES))
@common_options
@pass_context
def command(context: Context, shell: str) -> int:
    """Print the script that completes commands, options, times, incidents, snapshots, restores and repos in SHELL.

    \b
    bash (4.4 or newer), in ~/.bashrc:   eval "$(guardctl completion bash)"
    zsh, in ~/.zshrc after compinit:     eval "$(guardctl completion zsh)"
    fish, once:   guardctl completion fish > ~/.config/fish/completions/guardctl.fish
    """  # noqa: D301  # the backspace is click's mark of lines to be left as they are
    from click.shell_completion import get_completion_class

    from guardd.cli.main import COMPLETE_VARIABLE, guardctl

    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(shell)
    script = kind(guardctl, {}, "guardctl", COMPLETE_VARIABLE).source()
    if context.json:
        emit(context, {"shell": shell, "script": script})
    else:
        click.echo(script, nl=False)
    return Exit.DONE
