"""Markers: lines that a bulk script or a merge left behind.

Regular expressions are matched by RE2, in time linear in the text whatever they say: one that backtracks for ever would
hold the interpreter, and with it the daemon.
"""

import re
from collections.abc import Iterable
from typing import Protocol

DEFAULT_MARKERS = ("REMOVED_SYNTAX_ERROR", r"re:^(<{7}|>{7}) \S")
"""The founding incident's marker, and git's conflict markers (gitattributes(5): conflict-marker-size 7)."""

_NEVER = rb"\b\B"


class Match(Protocol):
    """A marker that was found."""

    def group(self) -> bytes:
        """Its text."""


class Pattern(Protocol):
    """What finds markers in a text."""

    def search(self, text: bytes, /) -> Match | None:
        """The first match, or None."""


def marker_pattern(markers: Iterable[str]) -> Pattern:
    """One pattern for all markers: literals, or regular expressions after `re:` (per line). Raises ValueError with the reason."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, of whatever encoding the file is
    parts = [(m[3:] if m.startswith("re:") else re.escape(m)).encode() for m in markers]
    try:
        for part in parts:  # each must stand on its own
            re2.compile(part, options)
        pattern: Pattern = re2.compile(b"(?m)" + (b"|".join(b"(?:%b)" % part for part in parts) or _NEVER), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(reason) from error
    return pattern
