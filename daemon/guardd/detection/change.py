"""A change: two neighbouring contents of one path, and what both together say."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from guardd.analysis.sources import Facts
from guardd.model import RepoPath

_EDIT_PREFIX = 12
_COMMENT = re.compile(rb"^\s*#+\s?(.*)$")


@dataclass
class Change:
    """A path's last healthy content and its newest one, neither of them absent.

    The facts are None until someone has asked a parser for them, and for files that are not Python.
    """

    path: RepoPath
    before: bytes
    after: bytes
    facts_before: Facts | None = None
    facts_after: Facts | None = None

    @property
    def is_parsed(self) -> bool:
        """Whether the facts of both sides are there."""
        return self.facts_before is not None and self.facts_after is not None

    @cached_property
    def lines_before(self) -> list[bytes]:
        """The lines before, without their ends."""
        return self.before.splitlines()

    @cached_property
    def lines_after(self) -> list[bytes]:
        """The lines now, without their ends."""
        return self.after.splitlines()

    @cached_property
    def added(self) -> list[tuple[int, bytes]]:
        """(1-based number, text) of the lines that were nowhere in the file before, spaces around them aside."""
        known = {line.strip() for line in self.lines_before}
        return [(number, line) for number, line in enumerate(self.lines_after, 1) if line.strip() not in known]

    @cached_property
    def removed(self) -> set[bytes]:
        """The code lines that are nowhere in the file now, spaces around them aside."""
        return {text for line in self.lines_before if (text := line.strip()) and not text.startswith(b"#")} - {
            line.strip() for line in self.lines_after
        }

    @cached_property
    def commented_out(self) -> list[tuple[int, bytes]]:
        """The added comments that hold a line which was code before, perhaps behind a marker and a colon."""
        found = []
        for number, line in self.added:
            if match := _COMMENT.match(line):
                text = match[1].strip()
                if text in self.removed or text.partition(b": ")[2].strip() in self.removed:
                    found.append((number, line))
        return found

    @cached_property
    def code_lines(self) -> tuple[int, int]:
        """How many lines are neither empty nor a comment: before, now."""
        return _count_code(self.lines_before), _count_code(self.lines_after)

    @cached_property
    def edit(self) -> str:
        """What the edit looks like: the most frequent beginning of its added lines. Near-identical edits have the same."""
        starts = Counter(text[:_EDIT_PREFIX] for _, line in self.added[:500] if (text := line.strip()))
        if not starts:
            return ""
        # Ties go to the first in the alphabet, not in the file: the same edit may begin at another place.
        start, _ = min(starts.items(), key=lambda item: (-item[1], item[0]))
        return start.decode("utf-8", "replace")


def _count_code(lines: list[bytes]) -> int:
    return sum(1 for line in lines if (text := line.strip()) and not text.startswith(b"#"))
