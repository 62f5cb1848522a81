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
        if path is not None and path.exists():
            for group, tree, figures in json.loads(path.read_text()):
                self._figures[group, tree] = [Figure(**one) for one in figures]

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._figures

    def add(self, group: str, tree: str, figures: list[Figure]) -> None:
        """Keep what was measured."""
        self._figures[group, tree] = figures
        if self._path is not None:
            kept = [[*key, [asdict(one) for one in found]] for key, found in self._figures.items()]
            self._path.write_text(json.dumps(kept, indent=1))

    def figures(self, order: Iterable[tuple[str, str]]) -> list[Figure]:
        """All figures, in this order of (group, tree)."""
        return [one for key in order for one in self._figures.get(key, [])]
