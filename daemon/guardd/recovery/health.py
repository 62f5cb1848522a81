"""Health: what can be said of one content alone, before anyone asks what it imports."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from guardd.analysis.markers import DEFAULT_MARKERS, Pattern, marker_pattern
from guardd.analysis.sources import Facts, Parsers
from guardd.model import RepoPath

PYTHON = (".py", ".pyi")
_PARSING_S = 20.0


@dataclass(frozen=True, slots=True)
class Looks:
    """How a backup looks: whether it parses (None: no Python, or not known in time), whether a line of it is marked."""

    parses: bool | None
    marker: bool

    @property
    def words(self) -> str:
        """The same for people."""
        parses = {True: "parses", False: "does not parse", None: "syntax not known"}[self.parses]
        return f"{parses}, HAS MARKERS" if self.marker else parses


def looks_of(contents: Sequence[tuple[RepoPath, bytes]], markers: Sequence[str]) -> list[Looks]:
    """How these contents look, in their order; parsed in processes of their own, in bounded time."""
    pattern = damage_pattern(markers)
    python = [content for path, content in contents if path.endswith(PYTHON)]
    with Parsers("syntax") as parsers:
        answers = iter(parsers.ask(python, time.monotonic() + _PARSING_S) if python else [])
    found = []
    for path, content in contents:
        facts = Facts.from_json(next(answers)) if path.endswith(PYTHON) else None
        parses = None if facts is None else facts.is_valid if facts.parses is not None or facts.error else None
        found.append(Looks(parses, pattern.search(content) is not None))
    return found


def damage_pattern(markers: Sequence[str]) -> Pattern:
    """The markers that the config names, and a merge's conflict lines whatever it names."""
    return marker_pattern(dict.fromkeys((*markers, *(one for one in DEFAULT_MARKERS if one.startswith("re:")))))


def ailment(path: RepoPath, content: bytes, facts: Facts | None, pattern: Pattern) -> str | None:
    """What is wrong with a content by itself, in words; None: nothing, or nothing that is sure."""
    if pattern.search(content) is not None:
        return "has markers"
    if not path.endswith(PYTHON):
        return None
    if b"\0" in content:
        return "has NUL bytes"
    if facts is not None and facts.parses is False:
        return "does not parse"
    return None
