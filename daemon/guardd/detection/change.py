"""A change: two neighbouring contents of one path, and what both together say."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from guardd.analysis.sources import Facts
from guardd.model import RepoPath

_EDIT_PREFIX = 12
_CHATTER = re.compile(rb"(p?print|breakpoint|i?pdb\.set_trace|(self\.)?_?log(ger|ging)?\.\w+)\s*\(")


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
    def _texts(self) -> tuple[list[bytes], list[bytes]]:
        """The lines before and now, without the spaces around them."""
        return [line.strip() for line in self.lines_before], [line.strip() for line in self.lines_after]

    @cached_property
    def added(self) -> list[tuple[int, bytes]]:
        """(1-based number, text) of the lines that were nowhere in the file before, spaces around them aside."""
        before, after = self._texts
        known = set(before)
        return [(at + 1, self.lines_after[at]) for at, text in enumerate(after) if text not in known]

    @cached_property
    def removed(self) -> set[bytes]:
        """The code lines that are nowhere in the file now, spaces around them aside."""
        before, after = self._texts
        return {text for text in set(before).difference(after) if text and not text.startswith(b"#")}

    @cached_property
    def commented_out(self) -> list[tuple[int, bytes]]:
        """The added comments that hold a line which was code before, perhaps behind a marker and a colon.

        Prints and logging do not count: people silence them.
        """
        found = []
        removed = self.removed
        after = self._texts[1]
        for number, line in self.added:
            text = after[number - 1]
            if text.startswith(b"#"):
                inside = text.lstrip(b"#").strip()
                code = inside if inside in removed else inside.partition(b": ")[2].strip()
                if code in removed and not (b"(" in code and _CHATTER.match(code)):
                    found.append((number, line))
        return found

    @cached_property
    def code_lines(self) -> tuple[int, int]:
        """How many lines are neither empty nor a comment: before, now."""
        before, after = self._texts
        return _count_code(before), _count_code(after)

    @cached_property
    def edit(self) -> str:
        """What the edit looks like: the most frequent beginning of its added lines. Near-identical edits have the same."""
        starts = Counter(text[:_EDIT_PREFIX] for _, line in self.added[:500] if (text := line.strip()))
        if not starts:
            return ""
        # Ties go to the first in the alphabet, not in the file: the same edit may begin at another place.
        start, _ = min(starts.items(), key=lambda item: (-item[1], item[0]))
        return start.decode("utf-8", "replace")


def _count_code(texts: list[bytes]) -> int:
    return sum(1 for text in texts if text and not text.startswith(b"#"))
