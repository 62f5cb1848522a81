"""Excerpts: the source line of a problem, and a line of carets under what it is about. Pure."""

import re
import unicodedata

from guardd.checking.check import Problem
from guardd.escaping import brief

_LONGEST = 110
_QUOTED = re.compile(r"'([^']+)'")


def excerpt(problem: Problem, content: bytes | None) -> list[str]:
    """The two lines, harmless to a terminal; none where the problem has no line, or the content is not there."""
    lines = content.splitlines() if content is not None and problem.line else []
    if not 0 < problem.line <= len(lines):
        return []
    text = lines[problem.line - 1].decode("utf-8", "replace").expandtabs(4)
    indent = len(text) - len(text.lstrip())
    shown = brief(text.strip(), _LONGEST)
    if not shown:
        return []
    at, length = _span(problem.message, shown)
    pad = min(indent, 12)
    return [" " * pad + shown, " " * (pad + _width(shown[:at])) + "^" * max(1, _width(shown[at : at + length]))]


def _span(message: str, shown: str) -> tuple[int, int]:
    """(place, length) of the word that the message quotes, as far as it stands in the line; else the whole line."""
    for word in reversed(_QUOTED.findall(message)):
        match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", shown)
        if match is not None:
            return match.start(), len(word)
    return 0, len(shown)


def _width(text: str) -> int:
    """How many columns a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )  # fmt: skip
