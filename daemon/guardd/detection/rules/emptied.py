"""emptied: nothing is left of a file, or its end is cut off."""

from collections.abc import Iterator
from typing import ClassVar

from guardd.detection.change import Change
from guardd.model import Finding

_LEAST_LOSS = 0.2


class Emptied:
    """Catches files that had code and have none left, and files cut off in the middle of a line.

    Must not catch: an empty `__init__.py` that gets its first line and loses it again, nor someone who removes the last
    function of a file: that ends at a line's end. A fifth must be gone, since an editor may cut trailing space.
    """

    name: ClassVar = "emptied"
    needs_facts: ClassVar = False

    def look(self, change: Change) -> Iterator[Finding]:
        """At most one finding."""
        before, after = change.before, change.after
        if not after.strip():
            if change.code_lines[0]:
                yield Finding(self.name, f"emptied: {len(before)} bytes are gone")
        elif (
            len(after) <= len(before) * (1 - _LEAST_LOSS)
            and before.startswith(after)
            and not after.endswith((b"\n", b"\r"))
            and before[len(after) : len(after) + 1] not in (b"\n", b"\r")
        ):
            yield Finding(
                self.name, f"truncated: {len(before) - len(after)} of {len(before)} bytes are gone", len(change.lines_after)
            )
