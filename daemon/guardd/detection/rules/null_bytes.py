"""null-bytes: NUL in a source."""

from collections.abc import Iterator
from typing import ClassVar

from guardd.detection.change import Change
from guardd.model import Finding


class NullBytes:
    """Catches files that have NUL bytes and had none: torn writes, UTF-16 rewrites, sparse files after a crash.

    Must not catch: binary test data called .py that had them before. No source has a reason for one.
    """

    name: ClassVar = "null-bytes"
    needs_facts: ClassVar = False

    def look(self, change: Change) -> Iterator[Finding]:
        """At most one finding, at the first NUL."""
        count = change.after.count(b"\0")
        if count and b"\0" not in change.before:
            yield Finding(
                self.name, f"{count} NUL byte{'s' * (count > 1)}", change.after[: change.after.find(b"\0")].count(b"\n") + 1
            )
