"""syntax: a file that parsed does not parse any more."""

from collections.abc import Iterator
from typing import ClassVar

from guardd.detection.change import Change
from guardd.model import Finding


class Syntax:
    """Catches the step from valid to invalid, never the state: half-typed files and old breakage stay quiet.

    Must not catch: syntax that is newer than our interpreter (ruff is asked), or what no parser could tell in time.
    """

    name: ClassVar = "syntax"
    needs_facts: ClassVar = True

    def look(self, change: Change) -> Iterator[Finding]:
        """At most one finding, where the parser stopped."""
        then, now = change.facts_before, change.facts_after
        if then is not None and now is not None and then.is_valid and now.parses is False:
            yield Finding(self.name, f"does not parse any more: {now.error}", now.error_line)
