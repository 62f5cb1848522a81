"""What the manual says of a program's commands and options, from click's own help."""

import re
from collections.abc import Iterator

import click
from docs.manual.roff import bold, entries, italic, paragraphs, subheading

_WORD = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")


def options(command: click.Command, ctx: click.Context, *, but: frozenset[tuple[str, ...]] = frozenset()) -> str:
    """The options of a command, other than those that it shares with all."""
    records = (
        record
        for param in command.params
        if isinstance(param, click.Option) and _identity(param) not in but and (record := param.get_help_record(ctx))
    )
    return entries((_declaration(words), about) for words, about in records)


def common(command: click.Command) -> frozenset[tuple[str, ...]]:
    """What tells the options of the program itself, which its commands take too."""
    return frozenset(_identity(param) for param in command.params if isinstance(param, click.Option))


def usage(command: click.Command, ctx: click.Context) -> str:
    """A synopsis: how the command is called."""
    pieces = " ".join(command.collect_usage_pieces(ctx))
    return f"{bold(ctx.command_path)} {italic(pieces)}".rstrip()


def described(group: click.Group, ctx: click.Context) -> str:
    """All commands of a group, and the commands of those that are groups themselves."""
    shared = common(ctx.find_root().command)
    return "".join(
        subheading(usage(command, below)) + paragraphs(command.help or "") + options(command, below, but=shared)
        for command, below in _commands(group, ctx)
    )


def _commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=ctx)
        yield command, below
        if isinstance(command, click.Group):
            yield from _commands(command, below)


def _identity(option: click.Option) -> tuple[str, ...]:
    return (*option.opts, option.help or "")


def _declaration(words: str) -> str:
    """`--limit, -n N` with what is typed in bold, and what stands for something in italics."""
    parts, at = [], 0
    for match in _WORD.finditer(words):
        parts += [_placeholder(words[at : match.start()]), bold(match[0])]
        at = match.end()
    return "".join([*parts, _placeholder(words[at:])])


def _placeholder(text: str) -> str:
    return italic(text) if text.strip(" ,/") else text
