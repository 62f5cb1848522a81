"""What a run has measured so far, kept in a file: a run that was cut goes on where it was."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.goals import Figure


class Results:
    """Figures by (group, tree), in `path` if there is one; each group is written down as soon as it is measured."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._figures: dict[tuple[str, str], list[Figure]] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        if path is not None and path.exists():
            for group, tree, seconds, figures in json.loads(path.read_text()):
                self._figures[group, tree] = [Figure(**one) for one in figures]
                self._seconds[group, tree] = seconds

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._figures

    @property
    def seconds(self) -> float:
        """How long all of it took to measure."""
        return sum(self._seconds.values())

    def add(self, group: str, tree: str, figures: list[Figure], seconds: float) -> None:
        """Keep what was measured, and how long that took."""
        self._figures[group, tree] = figures
        self._seconds[group, tree] = seconds
        if self._path is not None:
            kept = [[*key, self._seconds[key], [asdict(one) for one in found]] for key, found in self._figures.items()]
            self._path.write_text(json.dumps(kept, indent=1))

    def figures(self, order: Iterable[tuple[str, str]]) -> list[Figure]:
        """All figures, in this order of (group, tree)."""
        return [one for key in order for one in self._figures.get(key, [])]
