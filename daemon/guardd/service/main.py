"""The entry of guardd: options, config, and the daemon in the foreground."""

import os
import sys
from typing import TYPE_CHECKING

import click

from guardd import __version__
from guardd.descriptors import is_lack
from guardd.errors import Exit, GuardError, StoreBusy, StoreFull, TooManyOpenFiles

if TYPE_CHECKING:
    from guardd.config import Settings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="guardd")
@click.option("--config", type=click.Path(), help="The config file.")
@click.option("--repo", "repos", multiple=True, type=click.Path(), help="Guard this repo (repeatable); needs no config file.")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), help="Overrides the config's log_format.")
def guardd(config: str | None, repos: tuple[str, ...], log_format: str | None) -> None:
    """Guard the repos of the config, or those given with --repo, until told to stop.

    Runs in the foreground: let systemd, launchd or a shell keep it.
    """
    from guardd import logs
    from guardd.config import defaults, load, locate, locate_state
    from guardd.config.places import is_named
    from guardd.service.daemon import Daemon
    from guardd.service.notify import manager_environment
    from guardd.service.progress import progress
    from guardd.service.settings import Duties, default_duties, duties_of

    os.umask(0o077)
    repos = tuple(map(os.path.expanduser, repos))  # not every shell does in 'make run REPO=~/app'
    path, explicit = locate(config), is_named(config)

    def duties() -> Duties:
        if not explicit and not os.path.lexists(path):
            logs.set_up(defaults.LOG_LEVEL, log_format or defaults.LOG_FORMAT)
            return default_duties(repos)
        settings = load(path, named=explicit)
        if log_format is not None:
            told = settings.daemon.model_copy(update={"log_format": log_format})
            settings = settings.model_copy(update={"daemon": told})
        found = duties_of(settings, repos)
        logs.set_up(settings.daemon.log_level, settings.daemon.log_format)
        _warn_of_exposures(settings, path)
        return found

    daemon = Daemon(locate_state(path), duties(), duties, progress(), manager_environment())
    if not daemon.run():
        sys.stdout.flush()
        os._exit(Exit.PARTIAL)  # what hangs would hang the interpreter's end, too


def _warn_of_exposures(settings: "Settings", path: str) -> None:
    """Say in the log what others can read or write that is for the owner alone."""
    from guardd.alerting.endpoint import exposed
    from guardd.config.describing import exposures
    from guardd.logs import log

    for line in exposures(settings, path):
        log.warning("exposed", what=line)
    for file in (file for one in settings.alert for file in exposed(one)):
        log.warning("exposed", what=f"others can read {file}, a secret of an [[alert]]; run 'chmod 600 {file}'")


def main() -> None:
    """Run guardd and exit with its code; errors go to stderr in one line."""
    try:
        guardd.main(prog_name="guardd", standalone_mode=False)
    except GuardError as error:
        _fail(str(error), code_of(error))
    except click.ClickException as error:
        _fail(error.format_message(), Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(Exit.INTERRUPTED)
    except (OSError, ImportError) as error:
        if not is_lack(error):
            raise
        _fail(str(TooManyOpenFiles("no file descriptor is left")), Exit.PARTIAL)


def code_of(error: GuardError) -> Exit:
    """What guardd exits with: what may pass by itself ends with PARTIAL, and its manager tries again."""
    return Exit.PARTIAL if isinstance(error, StoreFull | StoreBusy | TooManyOpenFiles) else error.exit_code


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        click.echo(f"guardd: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
