"""The pages of the manual: what stands in each, in the order of man-pages(7)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from docs.manual import commands, prose, settings
from docs.manual.roff import bold, entries, heading, literal, paragraphs, title

from guardd import __version__
from guardd.cli.main import guardctl
from guardd.config.describing import schema
from guardd.errors import Exit
from guardd.service.main import guardd

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    return {"guardctl.1": _guardctl(), "guardd.8": _guardd(), "guardd.toml.5": _config()}


def _guardctl() -> str:
    ctx = click.Context(guardctl, info_name="guardctl")
    return "".join(
        (
            title("guardctl", 1, __version__),
            _name("guardctl", "keep every version of your Python files, and put them back"),
            heading("SYNOPSIS"), commands.usage(guardctl, ctx), "\n",
            heading("DESCRIPTION"), paragraphs(guardctl.help or ""),
            heading("OPTIONS"), "These stand before or after the command; every command also has ", bold("--help"), ".\n",
            commands.options(guardctl, ctx),
            heading("COMMANDS"), commands.described(guardctl, ctx),
            heading("TIMES"), paragraphs(prose.TIMES_ABOUT), _terms(prose.TIMES),
            _exit_status(prose.EXIT_CODES),
            heading("ENVIRONMENT"), _terms(prose.ENVIRONMENT),
            heading("FILES"), _terms(prose.FILES),
            heading("EXAMPLES"), _examples(prose.GUARDCTL_EXAMPLES),
            _see_also("guardd(8)", "guardd.toml(5)", "git(1)"),
        )
    )  # fmt: skip


def _guardd() -> str:
    ctx = click.Context(guardd, info_name="guardd")
    environment = {name: prose.ENVIRONMENT[name] for name in list(prose.ENVIRONMENT)[:3]}
    return "".join(
        (
            title("guardd", 8, __version__),
            _name("guardd", "guard trees of Python files against mass damage"),
            heading("SYNOPSIS"), commands.usage(guardd, ctx), "\n",
            heading("DESCRIPTION"), paragraphs(guardd.help or ""),
            heading("OPTIONS"), commands.options(guardd, ctx),
            heading("SIGNALS"), _terms(prose.SIGNALS),
            _exit_status(prose.GUARDD_EXIT_CODES),
            heading("ENVIRONMENT"), _terms(environment),
            heading("FILES"), _terms(prose.FILES),
            heading("EXAMPLES"), _examples(prose.GUARDD_EXAMPLES),
            _see_also("guardctl(1)", "guardd.toml(5)", "inotify(7)"),
        )
    )  # fmt: skip


def _config() -> str:
    known = schema()
    example = settings.read_example(EXAMPLE.read_text(encoding="utf-8"), known)
    return "".join(
        (
            title("guardd.toml", 5, __version__),
            _name("guardd.toml", "the config of guardd and guardctl"),
            heading("DESCRIPTION"), paragraphs(prose.CONFIG_ABOUT),
            heading("TABLES"), settings.described(known, example),
            heading("FILES"), _terms(prose.FILES),
            heading("EXAMPLES"), literal(prose.CONFIG_EXAMPLE),
            _see_also("guardctl(1)", "guardd(8)", "gitignore(5)"),
        )
    )  # fmt: skip


def _name(name: str, about: str) -> str:
    return f"{heading('NAME')}{name} \\- {about}\n"


def _terms(rows: Mapping[str, str]) -> str:
    return entries((bold(term), about) for term, about in rows.items())


def _exit_status(codes: Mapping[Exit, str]) -> str:
    return heading("EXIT STATUS") + entries((bold(str(int(code))), about) for code, about in codes.items())


def _examples(rows: Iterable[tuple[str, str]]) -> str:
    return ".PP\n".join(paragraphs(about) + literal(lines) for about, lines in rows)


def _see_also(*names: str) -> str:
    linked = (f"{bold(name.partition('(')[0])}({name.partition('(')[2]}" for name in names)
    return heading("SEE ALSO") + ", ".join(linked) + "\n"
