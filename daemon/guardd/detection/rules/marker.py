"""marker: lines that a bulk script or a merge left behind."""

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar

from guardd.analysis.markers import Pattern
from guardd.detection.change import Change
from guardd.model import Finding

_COUNTED = 20
"""More need not be counted: a hollowed tree has a million of them, at 3 µs each."""


class Marker:
    """Catches lines with a configured marker that the file did not have before.

    Must not catch: a file that had the marker already and is edited elsewhere, or one that only moves such lines. One marked
    line is enough: markers are chosen so that no one writes them by hand, and a single file never makes an incident.
    """

    name: ClassVar = "marker"
    needs_facts: ClassVar = False

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def look(self, change: Change) -> Iterator[Finding]:
        """One finding, at the first marked line."""
        if not self._pattern.search(change.after):
            return
        marked = list(islice(((number, line) for number, line in change.added if self._pattern.search(line)), _COUNTED + 1))
        if marked:
            number, line = marked[0]
            count = (
                f"{len(marked)} added line{'s' * (len(marked) > 1)}"
                if len(marked) <= _COUNTED
                else f"over {_COUNTED} added lines"
            )
            yield Finding(self.name, f"{count} with a marker: {line.strip()[:60].decode('utf-8', 'replace')}", number)
