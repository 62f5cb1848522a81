"""guardctl doctor: every check that explains a degraded state, with its cure."""

import os

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.config import locate
from guardd.errors import ConfigError, Exit
from guardd.escaping import printable
from guardd.service.checkup import Check, check_up


@click.command()
@common_options
@pass_context
def command(context: Context) -> int:
    """Check everything that protection needs, and name the cure; exit 1 if one check fails."""
    config = _check_config(context)
    checks = [config, *check_up(context.store, context.now.wall_ns, context.settings.alert if config.ok else ())]
    if context.json:
        emit(
            context,
            [
                {"name": one.name, "ok": one.ok, "message": one.message, "cure": one.cure if not one.ok else None}
                for one in checks
            ],
        )
    for one in checks:
        sign, color = ("ok  ", "green") if one.ok else ("FAIL", "red")
        say(context, f"{click.style(sign, fg=color)}  {printable(one.name)}: {printable(one.message)}")
        if not one.ok:
            say(context, f"      cure: {printable(one.cure)}")
    return Exit.DONE if all(one.ok for one in checks) else Exit.PARTIAL


def _check_config(context: Context) -> Check:
    path = locate(context.config)
    try:
        _ = context.settings
    except ConfigError as error:
        return Check("config", False, "; ".join(error.problems), f"mend {path}; guardd does not start with it")
    return Check("config", True, path if os.path.exists(path) else f"defaults: there is no {path}")
