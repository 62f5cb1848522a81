"""The trees that are measured on: the standard library, and generated ones of 25,000 and 100,000 files."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.make_tree import copy_stdlib, make_tree

STDLIB = "stdlib"
MIDDLE = "25k"
LARGE = "100k"
TREES = (STDLIB, MIDDLE, LARGE)
_FILES = {MIDDLE: 25_000, LARGE: 100_000}


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree on disk: what it is called, where it is, how many files and bytes it has."""

    name: str
    root: Path
    files: int
    bytes: int


def make(name: str, root: Path) -> Tree:
    """Write one of TREES to `root`, which is not there yet. The same interpreter makes the same tree."""
    root.mkdir(parents=True)
    if name == STDLIB:
        copy_stdlib(root)
    else:
        make_tree(root, files=_FILES[name], folders=_FILES[name] // 10)
    return measured(name, root)


def measured(name: str, root: Path) -> Tree:
    """A tree that is there, counted."""
    sizes = [path.stat().st_size for path in sources(root)]
    return Tree(name, root, len(sizes), sum(sizes))


def sources(root: Path) -> list[Path]:
    """The Python files of a tree, by path."""
    return sorted(path for path in root.rglob("*.py") if path.is_file())


def copy(tree: Tree, root: Path) -> Tree:
    """The same tree once more, times and all, in place of what is at `root`."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(tree.root, root, symlinks=True)
    return Tree(tree.name, root, tree.files, tree.bytes)
