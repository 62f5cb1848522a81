"""Marked lines: those that a merge or a bulk script left behind, each by itself. Pure."""

from collections.abc import Iterator
from itertools import islice

from guardd.analysis.markers import Pattern
from guardd.detection.change import Change

MARKER, CONFLICT_MARKER = "marker", "conflict-marker"
_CONFLICT = (b"<<<<<<< ", b">>>>>>> ")
"""The first and the last line of a conflict (gitattributes(5): conflict-marker-size 7)."""

_MOST = 20
"""So many of a file tell enough: a hollowed tree has a million of them."""


def marked(change: Change, markers: Pattern) -> Iterator[tuple[int, str, str]]:
    """(line, rule, message) of the marked lines that the file did not have before, up to 20; a conflict is one."""
    after = change.after
    if not markers.search(after) and not any(start in after for start in _CONFLICT):
        return
    found = list(islice(_all(change, markers), _MOST + 1))
    for number, (line, rule, message) in enumerate(found[:_MOST], 1):
        yield line, rule, message + " (and more below)" * (number == _MOST < len(found))


def _all(change: Change, markers: Pattern) -> Iterator[tuple[int, str, str]]:
    in_conflict = False
    for number, line in change.added:
        if line.startswith(_CONFLICT):
            if line.startswith(_CONFLICT[0]) or not in_conflict:
                yield number, CONFLICT_MARKER, f"a merge left its conflict here: {_shown(line)}"
            in_conflict = line.startswith(_CONFLICT[0])
        elif markers.search(line):
            yield number, MARKER, f"marked line: {_shown(line)}"


def _shown(line: bytes) -> str:
    return line.strip()[:60].decode("utf-8", "replace")
