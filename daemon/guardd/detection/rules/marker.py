"""marker: lines that a bulk script or a merge left behind."""

import re
from collections.abc import Iterator
from typing import ClassVar

from guardd.detection.change import Change
from guardd.model import Finding


class Marker:
    """Catches lines with a configured marker that the file did not have before.

    Must not catch: a file that had the marker already and is edited elsewhere, or one that only moves such lines. One marked
    line is enough: markers are chosen so that no one writes them by hand, and a single file never makes an incident.
    """

    name: ClassVar = "marker"
    needs_facts: ClassVar = False

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def look(self, change: Change) -> Iterator[Finding]:
        """One finding, at the first marked line."""
        if not self._pattern.search(change.after):
            return
        marked = [(number, line) for number, line in change.added if self._pattern.search(line)]
        if marked:
            number, line = marked[0]
            shown = line.strip()[:60].decode("utf-8", "replace")
            yield Finding(self.name, f"{len(marked)} added line{'s' * (len(marked) > 1)} with a marker: {shown}", number)
