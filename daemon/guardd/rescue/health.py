"""Health: what can be said of one content alone, before anyone asks what it imports."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from guardd.analysis.markers import DEFAULT_MARKERS, Pattern, marker_pattern
from guardd.analysis.sources import Facts, Parsers
from guardd.checking.resolution import Resolution
from guardd.detection.change import Change
from guardd.detection.rules.code_loss import FEWEST_COMMENTED
from guardd.model import PYTHON, RepoPath

_PARSING_S = 20.0
_FEWEST_COMMENTS = 3


class Looks(NamedTuple):
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


def is_hollow(content: bytes, facts: Facts | None, *, was_copied: bool) -> bool:
    """Whether there is nothing in a content that once was more: only comments, some of them; or nothing, and it is a copy.

    An empty file is nothing special, an empty copy one that was made when the disk was full.
    """
    if not content.strip():
        return was_copied
    has_code = facts is None or not facts.is_valid or facts.statements > 0
    return not has_code and sum(1 for line in content.splitlines() if line.lstrip().startswith(b"#")) >= _FEWEST_COMMENTS


def is_hollowed(change: Change) -> str | None:
    """What was taken out of a file since, where it is beyond doubt: all of it, or half of its lines are comments now."""
    if not change.after.strip() and change.code_lines[0]:
        return "is empty"
    commented = len(change.commented_out)
    if commented >= FEWEST_COMMENTED and 2 * commented >= change.code_lines[0]:
        return f"{commented} of {change.code_lines[0]} lines of its backup's code are commented out"
    return None


def unresolved(resolution: Resolution, path: RepoPath, facts: Facts | None) -> tuple[str, ...]:
    """What the imports of a file ask of the tree itself and do not get; what may be a third party's is not counted."""
    return tuple(
        missing.what
        for missing, one in resolution.missing_to(path, facts)
        if missing.sure and resolution.modules.is_ours(path, one.level, one.module)
    )
