"""What each group of measurements is given: a tree, scratch space beside it, how many pairs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guard import Guard
from benchmarks.processes import interleaved, is_installed
from benchmarks.trees import Tree

OURS = "guardd"
"""The name of our own series."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One tree to measure on. `base` is empty, on the same file system, and removed afterwards; the tree is left as it was."""

    tree: Tree
    base: Path
    pairs: int

    def guard(self) -> Guard:
        """Our programs on the tree."""
        return Guard(self.base / "guard", self.tree.root)

    def compare(self, measures: Mapping[str, Callable[[], float]], runs: int = 0) -> dict[str, list[float]]:
        """All of them in turn, but for those of peers that are not installed."""
        return interleaved(runs or self.pairs, present(measures), self.base)


def present(measures: Mapping[str, Callable[[], float]]) -> dict[str, Callable[[], float]]:
    """Without those whose program is missing: a series has the name of its program, and more words after it."""
    return {name: measure for name, measure in measures.items() if is_here(name)}


def is_here(name: str) -> bool:
    """Whether the program that a series has its name from is installed; our own are."""
    return name.startswith(OURS) or is_installed(name.split(maxsplit=1)[0])
