"""guardctl config: check, show, schema."""

import json

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.config import locate
from guardd.errors import ConfigError, Exit
from guardd.escaping import one_line, printable


@click.group(name="config")
@common_options
def command() -> None:
    """Check and show the configuration."""


@command.command()
@common_options
@pass_context
def check(context: Context) -> int:
    """Validate the config: every error with its line, and what is odd about it."""
    from guardd.config.describing import oddities

    path = locate(context.config)
    try:
        odd = oddities(context.settings, path)
    except ConfigError as error:
        if context.json:
            emit(context, {"file": path, "errors": error.problems, "warnings": []})
            return error.exit_code
        raise
    if context.json:
        emit(context, {"file": path, "errors": [], "warnings": odd})
    for line in odd:
        say(context, f"warning: {printable(line)}", fg="yellow")
    say(context, f"{printable(path)}: no errors", fg="green")
    return Exit.DONE


@command.command()
@common_options
@pass_context
def show(context: Context) -> int:
    """Print every value in force, and where it comes from."""
    from guardd.config.describing import effective

    rows = effective(context.settings, locate(context.config))
    if context.json:
        emit(context, [{"key": one.key, "value": one.value, "source": one.source} for one in rows])
    for one in rows:
        say(context, one_line(f"{one.key} = {one.text}  # {one.source}"))
    return Exit.DONE


@command.command()
@common_options
@pass_context
def schema(context: Context) -> int:
    """Print the JSON schema of the config, for editors."""
    from guardd.config.describing import schema as describe

    click.echo(json.dumps(describe(), indent=2))
    return Exit.DONE
