"""Problems for people: path and line, the source with a caret under it, and what it comes to."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import click

from guardd.checking.check import Problem
from guardd.checking.excerpts import excerpt
from guardd.cli.output import files
from guardd.escaping import one_line, printable

_MOST_OF_A_FILE = 5
_FEW = 200
"""With more problems than this, the source lines are left out: no one reads them."""


def lines(problems: Sequence[Problem], read: Callable[[str], bytes | None]) -> Iterator[str]:
    """The lines to print, styled; `read` gives the content of a file. Of each file, the first few in full."""
    for path, group in groupby(problems, key=lambda one: one.path):
        found = list(group)
        content = read(path) if len(problems) <= _FEW else None
        for one in found[:_MOST_OF_A_FILE]:
            where = printable(path) + (f":{one.line}" if one.line else "")
            yield f"{click.style(where, bold=True)}: {click.style(one.rule, fg='red')}: {one_line(one.message)}"
            source, carets = excerpt(one, content) or ("", "")
            if source:
                yield f"    {source}"
                yield f"    {click.style(carets, fg='red')}"
        if len(found) > _MOST_OF_A_FILE:
            yield f"{click.style(printable(path), bold=True)}: {len(found) - _MOST_OF_A_FILE} more; --json has them all"


def summary(problems: Sequence[Problem]) -> str:
    """What the problems come to: `12 problems in 10 files (import 9, marker 3)`."""
    if not problems:
        return "no problem"
    rules = ", ".join(f"{rule} {count:,}" for rule, count in Counter(one.rule for one in problems).most_common())
    counted = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"
    return f"{counted} in {files(len({one.path for one in problems}))} ({rules})"
